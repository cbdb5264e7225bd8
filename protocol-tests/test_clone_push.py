"""First use as a newcomer has it: names, tokens, clone and push with plain git, and what git prints when something is wrong."""

import re
import shutil
import subprocess

import pytest

from harness import wait, wire
from harness.client import text
from harness.hub import BINARY, ROOT


def test_first_start_prints_what_to_do_next(fresh_hub):
    hub = fresh_hub()
    shown = wait.until(lambda: hub.url in "".join(hub.stdout) and "".join(hub.stdout), "the URL on stdout")
    assert "/initial-admin-token" in shown, "not on a terminal: the path of the token, not the token"
    assert (hub.data / "initial-admin-token").stat().st_mode & 0o777 == 0o600
    assert hub.admin_token not in shown + hub.log_path.read_text()
    assert BINARY.name in shown, "the printed commands name the real binary"


def test_printed_commands_work_when_pasted(fresh_hub, git, tmp):
    """All of them, in the order in which they are printed, from the directory where the server was started."""
    hub = fresh_hub()
    shown = wait.until(lambda: "git push" in "".join(hub.stdout) and "".join(hub.stdout), "commands on stdout")
    lines = [line.strip() for line in shown.splitlines()]
    commands = [line for line in lines if line.startswith(("git ", "cd ", "echo ")) or " repo create " in line]
    assert len(commands) >= 5, shown
    helper = f"!f() {{ echo username=any; echo password={hub.admin_token}; }}; f"  # what the user types when asked
    environment = {**git.with_config().environment, "GIT_CONFIG_COUNT": "5",
                   "GIT_CONFIG_KEY_4": "credential.helper", "GIT_CONFIG_VALUE_4": helper}
    done = subprocess.run("set -e\n" + "\n".join(commands), shell=True, cwd=hub.directory, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    assert "admin/hello" in hub.run("repo", "list").stdout
    assert "refs/heads/main" in git.refs(hub.git_url("admin/hello", hub.admin_token))


@pytest.mark.shows("push", "clone")
def test_push_then_clone(hub, any_git, tmp, repo, alice):
    path = repo()
    work = any_git.init(tmp / "work")
    work.commit("README.md", "# hello\n")
    work.commit("weights/config.json", "{}\n")
    work("remote", "add", "origin", hub.git_url(path, alice))
    work("push", "-u", "origin", "main")
    assert "up to date" in work("status", "-sb", "--porcelain=v1") or work("status", "--porcelain") == ""

    copy = any_git.clone(hub.git_url(path, alice), tmp / "copy")
    assert (tmp / "copy/README.md").read_text() == "# hello\n"
    assert copy("rev-parse", "HEAD") == work("rev-parse", "HEAD")
    copy.fsck()

    # and onwards: a second push, a pull of it
    copy.commit("README.md", "# hello again\n")
    copy("push", "-q")
    work("pull", "-q", "--ff-only")
    assert (tmp / "work/README.md").read_text() == "# hello again\n"
    work.fsck()


@pytest.mark.shows("clone of an empty repository")
def test_clone_of_an_empty_repository(hub, any_git, tmp, repo, alice):
    path = repo()
    done = any_git.run("clone", hub.git_url(path, alice), tmp / "empty")
    assert "You appear to have cloned an empty repository." in text(done.stderr)
    work = any_git.at(tmp / "empty")
    assert work("symbolic-ref", "HEAD") == "refs/heads/main"
    work.commit()
    work("push", "-q", "origin", "HEAD")
    assert work("ls-remote", "origin", "refs/heads/main").startswith(work("rev-parse", "HEAD"))


def test_this_projects_own_history(hub, git, tmp, repo, alice):
    if not (ROOT / ".git").exists() or git.at(ROOT).with_config("safe.directory=*").run("rev-parse", "HEAD", check=False).returncode:
        pytest.skip("not in a git checkout with commits")
    source = git.with_config("safe.directory=*")
    bare = source.clone(ROOT, tmp / "source.git", "--bare", "--no-local")
    if bare("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("this checkout is shallow")
    branch = bare("symbolic-ref", "--short", "HEAD")
    path = repo()
    bare("push", "-q", hub.git_url(path, alice), f"{branch}:refs/heads/main")
    copy = git.clone(hub.git_url(path, alice), tmp / "copy")
    assert copy("rev-parse", "HEAD^{tree}") == bare("rev-parse", f"{branch}^{{tree}}")
    assert copy.objects("--all") == bare.objects(branch)
    copy.fsck()


@pytest.mark.parametrize("prefix", ["", "datasets/", "spaces/"])
@pytest.mark.parametrize("suffix", ["", ".git", "/", ".git/"])
def test_url_forms(hub, git, tmp, alice, prefix, suffix):
    path = hub.repo(f"{prefix}alice/form{next(hub.names)}")
    work = git.init(tmp / "work")
    work.commit()
    url = hub.git_url(path + suffix, alice)
    work("push", "-q", url, "main")
    assert git.clone(url, tmp / "copy")("rev-parse", "HEAD") == work("rev-parse", "HEAD")


def test_kinds_do_not_share_names(hub, git, tmp, alice):
    name = f"alice/same{next(hub.names)}"
    tips = {}
    for prefix in ("", "datasets/", "spaces/"):
        hub.repo(prefix + name)
        work = git.init(tmp / f"work-{prefix.strip('/')}")
        tips[prefix] = work.commit(content=f"in {prefix}\n")
        work("push", "-q", hub.git_url(prefix + name, alice), "main")
    for prefix, tip in tips.items():
        assert git.refs(hub.git_url(prefix + name, alice))["refs/heads/main"] == tip


def test_names_ignore_case(hub, any_git, tmp, alice):
    number = next(hub.names)
    hub.repo(f"alice/CamelCase{number}")
    work = any_git.init(tmp / "work")
    work.commit()
    for spelling in (f"ALICE/camelcase{number}", f"Alice/CAMELCASE{number}.git"):
        work("push", "-q", hub.git_url(spelling, alice), "main")
        assert work.refs(hub.git_url(spelling, alice))["refs/heads/main"] == work("rev-parse", "HEAD")
    assert hub.run("repo", "create", f"alice/camelCASE{number}", check=False).returncode != 0


@pytest.mark.shows("redirects after a rename")
def test_rename_redirects_and_post_is_served_in_place(hub, any_git, tmp, alice, repo):
    old = repo()
    new = f"alice/renamed{next(hub.names)}"
    work = any_git.init(tmp / "work")
    work.commit()
    work("remote", "add", "origin", hub.git_url(old, alice))
    work("push", "-q", "origin", "main")
    hub.run("repo", "rename", old, new)

    assert work.refs("origin") == work.refs(hub.git_url(new, alice))
    work.commit(content="after the rename\n")
    work("push", "-q", "origin", "main")
    assert any_git.clone(hub.git_url(old, alice), tmp / "copy")("rev-parse", "HEAD") == work("rev-parse", "HEAD")

    answer = wire.advertisement(f"{hub.url}/{old}", token=alice, version=2)
    assert answer.status in (301, 302, 307, 308)
    assert f"/{new}" in answer.headers["location"] and "service=git-upload-pack" in answer.headers["location"]
    in_place = wire.upload_pack(f"{hub.url}/{old}", wire.ls_refs_body("ref-prefix refs/heads/"), token=alice)
    assert in_place.status == 200 and b"refs/heads/main" in in_place.body


def test_redirects_do_not_reveal_names(hub, repo):
    old = repo()
    hub.run("repo", "rename", old, f"alice/secret{next(hub.names)}")
    missing = f"{hub.url}/alice/never-was"
    for token, status in ((None, 401), (hub.tokens["bob"], 404)):
        renamed = wire.advertisement(f"{hub.url}/{old}", token=token)
        absent = wire.advertisement(missing, token=token)
        assert renamed.status == absent.status == status
        assert "location" not in renamed.headers
        assert renamed.body.replace(old.encode(), b"") == absent.body.replace(b"alice/never-was", b"")


def test_a_live_repository_beats_a_redirect(hub, git, tmp, alice, repo):
    old = repo()
    hub.run("repo", "rename", old, f"alice/moved{next(hub.names)}")
    hub.repo(old)
    assert wire.advertisement(f"{hub.url}/{old}", token=alice).status == 200


# -- who may ------------------------------------------------------------------------------------------------------


def test_public_is_read_by_everyone_and_written_by_its_owner(hub, any_git, tmp, repo, alice):
    path = repo(public=True)
    work = any_git.init(tmp / "work")
    work.commit()
    work("push", "-q", hub.git_url(path, alice), "main")
    assert any_git.refs(hub.git_url(path))["refs/heads/main"] == work("rev-parse", "HEAD")
    any_git.clone(hub.git_url(path), tmp / "anonymous")

    anonymous = work.fails("push", hub.git_url(path), "main")
    assert "terminal prompts disabled" in anonymous or "could not read Username" in anonymous, "401 asks for a token"
    other = work.fails("push", hub.git_url(path, hub.tokens["bob"]), "main")
    assert "403" in other


def test_private_and_missing_look_the_same(hub, any_git, repo, alice):
    path = repo()
    for absent in (path, "alice/never-was", "nobody/never-was", "datasets/" + path):
        assert "could not read Username" in any_git.fails("ls-remote", hub.git_url(absent))
        stranger = any_git.fails("ls-remote", hub.git_url(absent, hub.tokens["bob"]))
        assert "not found" in stranger, stranger
    bodies = {wire.advertisement(f"{hub.url}/{name}").body.replace(name.encode(), b"") for name in (path, "alice/no")}
    assert len(bodies) == 1


@pytest.mark.parametrize("who, visibility, service, status", [
    (None, "public", "git-upload-pack", 200), (None, "public", "git-receive-pack", 401),
    (None, "private", "git-upload-pack", 401), (None, "private", "git-receive-pack", 401),
    ("bob", "public", "git-upload-pack", 200), ("bob", "public", "git-receive-pack", 403),
    ("bob", "private", "git-upload-pack", 404), ("bob", "private", "git-receive-pack", 404),
    ("alice", "private", "git-upload-pack", 200), ("alice", "private", "git-receive-pack", 200),
    ("admin", "private", "git-upload-pack", 200), ("admin", "private", "git-receive-pack", 200),
    ("wrong", "public", "git-upload-pack", 401), ("wrong", "private", "git-receive-pack", 401),
])
def test_statuses(hub, repo, who, visibility, service, status):
    path = repo(public=visibility == "public")
    token = {"wrong": "hf_" + "x" * 34, None: None}.get(who) if who in ("wrong", None) else hub.tokens[who]
    answer = wire.advertisement(f"{hub.url}/{path}", service, token=token)
    # Whoever may propose may reach receive-pack on a public repository; the refs are refused then.
    assert answer.status == status or (who == "bob" and status == 403 and answer.status == 200), answer.text()
    if status == 401:
        assert answer.headers["www-authenticate"].startswith('Basic realm="')
    if answer.status >= 400:
        assert answer.body, "says what is wrong"


def test_a_token_of_role_read_cannot_push(hub, git, tmp, repo):
    path = repo()
    reader = hub.token("alice", "read")
    work = git.init(tmp / "work")
    work.commit()
    assert "403" in work.fails("push", hub.git_url(path, reader), "main")
    assert git.refs(hub.git_url(path, reader)) == {}


@pytest.mark.parametrize("header", ["basic", "basic-other-user", "basic-token-as-user", "bearer", "lower-case"])
def test_ways_to_present_a_token(hub, git, repo, alice, header):
    path = repo()
    value = {
        "basic": wire.basic(alice, "alice"), "basic-other-user": wire.basic(alice, "x-access-token"),
        "basic-token-as-user": wire.basic("", alice), "bearer": f"Bearer {alice}", "lower-case": f"bearer {alice}",
    }[header]
    git.with_config(f"http.extraHeader=Authorization: {value}")("ls-remote", hub.git_url(path))


@pytest.mark.shows("credential helper")
def test_a_credential_helper_is_asked_and_told(hub, any_git, tmp, repo, alice):
    helper = tmp / "helper"
    helper.write_text(f'#!/bin/sh\necho "$1" >> {tmp}/asked\n[ "$1" = get ] && printf "username=u\\npassword={alice}\\n"\nexit 0\n')
    helper.chmod(0o755)
    user = any_git.with_config(f"credential.helper={helper}")
    user("ls-remote", hub.git_url(repo()))
    assert (tmp / "asked").read_text().split() == ["get", "store"], "approved, so kept"
    (tmp / "asked").unlink()
    helper.write_text(helper.read_text().replace(alice, "hf_" + "w" * 34))
    assert "Authentication failed" in user.fails("ls-remote", hub.git_url(repo()))
    assert (tmp / "asked").read_text().split() == ["get", "erase"], "refused, so forgotten"


def test_revoked_tokens_and_disabled_users(hub, git, repo, alice):
    path = repo()
    hub.user("carol")
    value = hub.token("carol")
    public = repo(public=True)
    assert wire.advertisement(f"{hub.url}/{public}", token=value).status == 200
    hub.run("user", "disable", "carol")
    assert wire.advertisement(f"{hub.url}/{public}", token=value).status == 401
    assert "Authentication failed" in git.fails("ls-remote", hub.git_url(path, value))


def test_malformed_credentials_are_answered(hub, repo):
    target = f"{hub.url}/{repo(public=True)}/info/refs?service=git-upload-pack"
    for header in ("Basic", "Basic !!!", "Basic " + "A" * 20000, "Digest x", "Bearer", "Bearer \x7f", "\xff\xfe"):
        answer = wire.http(target, headers={"Authorization": header})
        assert answer.status in (400, 401, 431), (header[:20], answer.status)


@pytest.mark.parametrize("name", ["alice/x.git", "alice/..", "alice/a--b", "alice/-a", "api/x", "alice/" + "a" * 97, "alice/é"])
def test_refused_names(hub, name):
    done = hub.run("repo", "create", name, check=False)
    assert done.returncode != 0 and done.stderr.strip(), "a message, no panic"
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("name", ["datasets", "API", "spaces", "login", "v2", "a--b", "x.git"])
def test_refused_users(hub, name):
    assert hub.run("user", "create", name, check=False).returncode != 0


def test_what_a_newcomer_types_wrong(hub, any_git, tmp, pushed, alice):
    path, work = pushed
    assert re.search("not found|couldn't find remote ref", work.fails("fetch", "origin", "no-such-branch"))
    assert "src refspec" in work.fails("push", "origin", "no-such-branch")
    other = any_git.init(tmp / "other")
    other.commit(content="unrelated\n")
    refused = other.fails("push", hub.git_url(path, alice), "main")
    assert "[rejected]" in refused and "fetch first" in refused


def test_home_page_and_probes(hub):
    home = wire.http(hub.url + "/", headers={"Accept": "text/html"})
    assert home.status == 200 and home.headers["content-type"].startswith("text/html")
    assert "git clone" in home.text() or "Granary" in home.text()
    assert wire.http(hub.url + "/healthz").status == 200
    assert wire.http(hub.url + "/readyz").status == 200
    metrics = wire.http(hub.url + "/metrics")
    assert metrics.status == 200 and "# TYPE" in metrics.text()


def test_the_model_package(hub, git, tmp, repo, alice, model_files):
    """The real model: its text as plain git; its weights are refused with the file's name and the way out."""
    path = repo()
    work = git.init(tmp / "work")
    for file in model_files.rglob("*"):
        if file.is_file() and file.stat().st_size < 5 << 20:
            target = tmp / "work" / file.relative_to(model_files)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    work("add", "-A")
    work("commit", "-q", "-m", "the model without its weights")
    work("push", "-q", hub.git_url(path, alice), "main")
    copy = git.clone(hub.git_url(path, alice), tmp / "copy")
    assert copy("rev-parse", "HEAD^{tree}") == work("rev-parse", "HEAD^{tree}")
    copy.fsck()

    weights = next(file for file in model_files.rglob("*.safetensors"))
    shutil.copyfile(weights, tmp / "work/model.safetensors")
    work = work.with_config("core.compression=0")
    work("add", "-A")
    work("commit", "-q", "-m", "weights")
    refused = work.fails("push", hub.git_url(path, alice), "main", seconds=300)
    assert "model.safetensors" in refused and "git lfs" in refused
    assert git.refs(hub.git_url(path, alice))["refs/heads/main"] == work("rev-parse", "HEAD~")

    # unless the repository was made for it
    roomy = repo("--blob-max", "200MiB")
    work("push", "-q", hub.git_url(roomy, alice), "main", seconds=300)
    whole = git.clone(hub.git_url(roomy, alice), tmp / "whole", "--bare")
    assert whole("rev-parse", "HEAD:model.safetensors") == work("hash-object", "model.safetensors")


def test_a_token_revoked_between_two_requests_of_a_connection(hub, repo):
    path = repo()
    token = hub.token("alice")
    number = hub.run("token", "list", "alice").stdout.splitlines()[-1].split("\t")[0]
    with wire.Raw(hub.url) as connection:
        for expected in (200, 401):
            connection.request("GET", f"/{path}/info/refs?service=git-upload-pack", {"Authorization": wire.basic(token)})
            assert connection.answer().status == expected
            if expected == 200:
                hub.run("token", "revoke", number)
