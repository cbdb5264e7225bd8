"""The log: JSON lines, one per request with what an operator needs, never a token."""

import json
import re

from harness import packs, wait, wire


def fields(line):
    return {**line, **line.get("fields", {})}


def requests(hub):
    return [fields(line) for line in hub.log(whole=True) if "route" in fields(line)]


def find(hub, request_id):
    return wait.until(lambda: next((row for row in requests(hub) if row.get("request_id") == request_id), None), f"the line of {request_id}")


def test_every_request_has_its_line(hub, repo, alice):
    path = repo()
    commit, pack = packs.single_commit()
    body = wire.push_body([(wire.ZERO, commit, "refs/heads/main")], pack)
    wire.receive_pack(f"{hub.url}/{path}", body, token=alice, headers={"X-Request-Id": "log-push"})
    wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body(wants=[commit]), token=alice, headers={"X-Request-Id": "log-fetch"})
    wire.http(f"{hub.url}/{path}/info/refs?service=git-upload-pack", headers={"X-Request-Id": "log-refused"})
    wire.http(f"{hub.url}/no/such/route/at/all", headers={"X-Request-Id": "log-nothing"})
    push, fetch, refused, nothing = (find(hub, f"log-{name}") for name in ("push", "fetch", "refused", "nothing"))
    assert push["route"] != fetch["route"]
    for row in (push, fetch):
        assert row["user"] == "alice" and path in row["repo"] and row["status"] == 200
        assert row["duration_ms"] > 0
    assert push["bytes_in"] == len(body) and fetch["bytes_out"] > len(pack) // 2
    assert refused["status"] == 401 and not refused.get("user")
    assert nothing["status"] in (401, 404)
    assert {row["level"] for row in (push, fetch, refused, nothing)} == {"INFO"}


def test_tokens_never_appear(fresh_hub, git, tmp):
    hub = fresh_hub(settings={"log.level": "trace"})
    user = hub.user("grace")
    path = hub.repo("grace/r")
    work = git.init(tmp / "work")
    work.commit()
    work("push", "-q", hub.git_url(path, user), "main")
    wrong = "hf_" + "Wrong" * 8
    for token in (user, wrong, hub.admin_token):
        wire.advertisement(f"{hub.url}/{path}", token=token)
        wire.http(f"{hub.url}/{path}/info/refs?service=git-upload-pack&token={token}", headers={"Authorization": f"Bearer {token}"})
        wire.http(f"{hub.url}/{token}/{token}", headers={"Cookie": f"token={token}"})
    hub.stop()
    text = hub.log_path.read_text() + "".join(hub.stdout)
    encoded = [wire.basic(token).split()[1].rstrip("=")[-40:] for token in (user, wrong, hub.admin_token)]
    for secret in (user, hub.admin_token, *encoded):
        assert secret not in text
    assert "authorization" not in text.lower() or "redacted" in text.lower()
    hub.start()


def test_lines_are_json_with_a_time(hub):
    wire.http(hub.url + "/healthz")
    wait.until(lambda: hub.log(whole=True), "a line")
    for line in hub.log(whole=True):
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(line["timestamp"])), json.dumps(line)
        assert line["level"] in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")


def test_hostile_text_cannot_forge_a_line(hub):
    wire.http(f"{hub.url}/a%0a%7b%22level%22:%22ERROR%22%7d/b/info/refs")
    wire.http(f"{hub.url}/healthz", headers={"X-Request-Id": 'x"},{"level":"ERROR'})
    assert all(line["level"] != "ERROR" for line in hub.log(whole=True))


def test_metrics_count_what_happened(hub, repo, alice):
    def value(name, **labels):
        text = wire.http(f"{hub.url}/metrics").text()
        rows = [row for row in text.splitlines() if row.startswith(name) and all(f'{key}="{value}"' in row for key, value in labels.items())]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    path = repo()
    before = value("granary_pushes_total"), value("granary_http_requests_total")
    commit, pack = packs.single_commit()
    wire.receive_pack(f"{hub.url}/{path}", wire.push_body([(wire.ZERO, commit, "refs/heads/main")], pack), token=alice)
    wait.until(lambda: value("granary_pushes_total") == before[0] + 1, "the push is counted")
    assert value("granary_http_requests_total") > before[1]
    assert value("granary_process_resident_bytes") > 0
    assert "alice" not in wire.http(f"{hub.url}/metrics").text(), "names are not labels"
