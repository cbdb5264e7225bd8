"""Credentials of the bucket that somebody issues and that end: as an instance role's do, from a container's endpoint."""

import datetime
import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from harness import lfs_api, s3, wait, wire
from harness.httpd import Httpd
from harness.lfs import MIB, content, multipart
from harness.lfs_api import Api
from harness.watched import Offering

UNUSED = 60
"""Seconds before the end of credentials in which the hub signs nothing by them."""


class Issuer(Httpd):
    """What AWS_CONTAINER_CREDENTIALS_FULL_URI names. `ends` is {access key: when it ends}; the bucket knows them all."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.lifetime = 3600
        self.ends = {}

    def handle(self, exchange):
        access = f"ISSUED{len(self.ends)}"
        end = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=self.lifetime)
        self.ends[access] = end.timestamp()
        self.store.secrets[access] = f"secret-of-{access}"
        exchange.answer(200, json.dumps({
            "AccessKeyId": access, "SecretAccessKey": self.store.secrets[access], "Token": f"token of {access}/+=",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode(), Content_Type="application/json")


@pytest.fixture
def issuer(lax_store):
    lax_store.secrets.clear()
    with Issuer(lax_store) as issuer:
        yield issuer


@pytest.fixture
def hub(fresh_hub, issuer, lax_store, tmp):
    """Starts a hub with nothing but the address of the issuer."""
    def start():
        there = s3.S3(lax_store.listen("hub"), "lax").settings(tmp.name, public=lax_store.listen("client"))
        keys = {"storage.s3_access_key", "storage.s3_secret_key"}
        return fresh_hub(settings={**multipart("s3"), **{name: value for name, value in there.items() if name not in keys}}, debug=True,
                         environment={"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{issuer.listen()}/role"})
    return start


def signed(href):
    """(access key, when the URL ends)"""
    query = {name: values[0] for name, values in parse_qs(urlsplit(href).query).items()}
    at = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    access = query["X-Amz-Credential"].partition("/")[0]
    assert query["X-Amz-Security-Token"] == f"token of {access}/+="
    return access, at + int(query["X-Amz-Expires"])


def test_urls_end_with_the_credentials_that_signed_them(hub, issuer):
    """These last for half an hour, which is less than an action lives otherwise."""
    issuer.lifetime = 1800
    hub = hub()
    path = hub.repo("admin/r")
    at, hf = Api(hub, path, hub.admin_token), Offering(hub, path, hub.admin_token, agent=lfs_api.HF)
    small, large = content(1000, "small"), content(5 * MIB + 1, "large")
    at.upload(small)
    before = time.time()
    upload, download = hf.grant(large)["upload"], at.grant(small, "download")["download"]
    after = time.time()
    for action, hrefs in ((upload, lfs_api.parts(upload)[0]), (download, [download["href"]])):
        for access, end in map(signed, hrefs):
            assert before < end <= issuer.ends[access] - UNUSED
        left = issuer.ends[access] - UNUSED
        assert left - after - 1 <= action["expires_in"] <= left - before
    assert lfs_api.complete(upload, large, lfs_api.put_parts(upload, large)).status == 200
    wait.until(lambda: at.has(large), "it is proven")
    assert at.download(large) == large and at.download(small) == small


def test_urls_are_signed_by_new_credentials_once_the_old_ones_end(hub, issuer, lax_store):
    """While the hub runs, and a minute before that end."""
    issuer.lifetime = UNUSED + 8
    hub = hub()
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    data = content(1000, "data")
    at.upload(data)
    assert at.download(data) == data

    def href():
        return json.loads(at.batch("download", data).body)["objects"][0]["actions"]["download"]["href"]

    old = href()
    first, _ = signed(old)
    issuer.lifetime = 1800
    new = wait.until(lambda: signed(now := href())[0] != first and now, "a URL is signed by another key")
    second, _ = signed(new)
    assert time.time() >= issuer.ends[first] - UNUSED - 1, "the old ones were used as long as they were good"
    secret = lax_store.secrets.pop(first)
    assert wire.http(old).status == 403 and wire.http(new).body == data
    lax_store.secrets[first] = secret
    other = content(1000, "other")
    at.upload(other)
    assert at.download(other) == other
    assert [*issuer.ends][-1] == second, "no others are asked for as long as these are new"
