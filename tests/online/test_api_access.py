"""Who may ask for what: keys, scopes, projects, sessions, and pages of others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from online_farm import OnlineFarm, eventually

from deployments.api.auth import COOKIE
from deployments.api.settings import ApiSettings

ASK = {"prompt": "a red ball"}


def error_of(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer wf_nothing"}, "invalid_api_key"),
        ({"Authorization": "Bearer " + "x" * 5000}, "invalid_api_key"),
        ({"Authorization": "Bearer"}, "invalid_api_key"),
        ({"Authorization": "Basic YTpi"}, "invalid_api_key"),
        ({"Authorization": "Bearer ../../keys/x"}, "invalid_api_key"),
        ({"Cookie": f"{COOKIE}=made-up"}, "missing_api_key"),
        ({"Cookie": f"{COOKIE}=../../x"}, "missing_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/videos", "/v1/models", "/v1/queue", "/v1/keys", "/v1/videos/video_x/events"])
def test_without_a_key_nothing_is_told(farm: OnlineFarm, headers: dict[str, str], code: str, path: str) -> None:
    answer = farm.client().get(path, headers=headers)
    assert (answer.status_code, error_of(answer)) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_keys_weight_goes_with_its_jobs(farm: OnlineFarm) -> None:
    weighty, plain = (farm.client(farm.key("a", **limits)) for limits in ({"weight": 2.0}, {}))
    ids = [client.post("/v1/videos", json=ASK).json()["id"] for client in (weighty, plain)]
    assert [farm.store.get(job_id).weight for job_id in ids] == [2.0, None]


@pytest.mark.parametrize("sent", ["Bearer", "Bearer anything", "Basic YTpi", "Bearer " + "x" * 500])
def test_where_no_keys_are_asked_for_any_will_do(tmp_path: Path, sent: str) -> None:
    with OnlineFarm.start(tmp_path / "out") as farm, farm.client() as client:
        assert client.get("/v1/videos", headers={"Authorization": sent}).status_code == 200


def test_what_is_open_to_all(farm: OnlineFarm) -> None:
    with farm.client() as anybody:
        for path in ("/healthz", "/readyz", "/openapi.json", "/", "/v1/session"):
            assert anybody.get(path).status_code == 200, path
        assert anybody.get("/v1/session").json()["is_signed_in"] is False


def test_scopes(farm: OnlineFarm) -> None:
    reads, submits = farm.client(farm.key("a", scopes=("read",))), farm.client(farm.key("a", scopes=("submit",)))
    assert reads.get("/v1/videos").status_code == 200
    assert error_of(reads.post("/v1/videos", json=ASK)) == "missing_scope"
    job_id = submits.post("/v1/videos", json=ASK).json()["id"]
    assert error_of(submits.get(f"/v1/videos/{job_id}")) == "missing_scope"
    assert reads.delete(f"/v1/videos/{job_id}").status_code == 403
    for answer in (reads.get("/v1/keys"), submits.post("/v1/keys", json={"name": "x"}), reads.get("/v1/runs")):
        assert (answer.status_code, error_of(answer)) == (403, "missing_scope")
    assert reads.post("/v1/queue/pause").status_code == 403


def test_another_projects_videos_are_not_there(farm: OnlineFarm, client: httpx2.Client) -> None:
    job_id = client.post("/v1/videos", json={**ASK, "seed": 1}).json()["id"]
    farm.finish(job_id)
    assert client.get(f"/v1/videos/{job_id}").status_code == 200
    made_up = job_id[:-1] + ("0" if job_id[-1] != "0" else "1")
    with farm.client(farm.key("rival", scopes=("submit", "read", "admin"))) as rival:
        for ask in (
            lambda at: rival.get(f"/v1/videos/{at}"),
            lambda at: rival.get(f"/v1/videos/{at}/content"),
            lambda at: rival.get(f"/v1/videos/{at}/events"),
            lambda at: rival.get(f"/v1/videos/{at}/preview"),
            lambda at: rival.get(f"/v1/videos/{at}/link"),
            lambda at: rival.post(f"/v1/videos/{at}/cancel"),
            lambda at: rival.post(f"/v1/videos/{at}/retry"),
            lambda at: rival.post(f"/v1/videos/{at}/remix", json=ASK),
            lambda at: rival.post(f"/v1/videos/{at}/extend", json=ASK),
            lambda at: rival.post("/v1/videos/extensions", json={**ASK, "video": {"id": at}}),
            lambda at: rival.delete(f"/v1/videos/{at}"),
        ):
            theirs, nobodys = ask(job_id), ask(made_up)
            assert theirs.status_code == 404
            # Nothing in the answer tells another's video from none.
            assert theirs.text == nobodys.text.replace(made_up, job_id)
        assert rival.get("/v1/videos").json()["data"] == []
        # The same clip is made for them anew: that it is there already must not show.
        assert rival.post("/v1/videos", json={**ASK, "seed": 1}).json()["status"] == "queued"
    assert client.get(f"/v1/videos/{job_id}").json()["status"] == "completed"


def test_a_keys_weight_and_expiry_are_asked_for(farm: OnlineFarm, admin: httpx2.Client) -> None:
    soon = int(time.time()) + 3600
    asked = {"name": "heavy", "limits": {"weight": 3.0}, "expires_at": soon}
    made = admin.post("/v1/keys", json=asked).json()
    assert (made["limits"]["weight"], made["expires_at"]) == (3.0, soon)
    assert admin.get("/v1/videos", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 200
    gone = admin.post("/v1/keys", json=asked | {"expires_at": 1}).json()["key"]
    assert admin.get("/v1/videos", headers={"Authorization": f"Bearer {gone}"}).status_code == 401
    for wrong in ({"limits": {"weight": 0}}, {"expires_at": 10**15}, {"limits": {"requests_per_minute": 10**400}}):
        assert admin.post("/v1/keys", json={"name": "x"} | wrong).status_code == 422, wrong


def test_keys_are_made_listed_and_revoked(farm: OnlineFarm, admin: httpx2.Client) -> None:
    made = admin.post("/v1/keys", json={"name": "studio", "project": "studio", "limits": {"max_open_jobs": 3}}).json()
    assert made["key"].startswith("wf_")
    listed = admin.get("/v1/keys").json()["data"]
    assert made["id"] in {key["id"] for key in listed}
    assert not any("key" in key for key in listed)
    with farm.client(made["key"]) as studio:
        assert studio.post("/v1/videos", json=ASK).status_code == 200
        assert admin.delete(f"/v1/keys/{made['id']}").json()["revoked_at"] is not None
        assert studio.get("/v1/videos").status_code == 401
    assert admin.delete("/v1/keys/key_nobody").status_code == 404
    for wrong in (
        {"name": ""}, {"name": "x", "project": "../x"}, {"name": "x", "scopes": ["root"]}, {"name": "x", "scopes": []},
        {"name": "x", "limits": {"max_open_jobs": 0}}, {"name": "x", "limits": {"speed": 1}}, {},
    ):  # fmt: skip
        assert admin.post("/v1/keys", json=wrong).status_code == 422, wrong


def test_a_revoked_key_is_out_within_the_time_it_is_believed(tmp_path: Path) -> None:
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings(key_cache_s=0.2)) as farm:
        secret = farm.key()
        with farm.client(secret) as client:
            assert client.get("/v1/videos").status_code == 200
            found = farm.keys.find(secret)
            assert found is not None
            farm.keys.revoke(found.id)  # by another process
            eventually(lambda: client.get("/v1/videos").status_code == 401, timeout_s=5.0)


class Browser:
    """A signed-in page's client: cookies are kept, and changes bear the page's origin."""

    def __init__(self, farm: OnlineFarm, **options: Any) -> None:
        self.client = farm.client(**options)
        self.origin = farm.base_url

    def sign_in(self, key: str) -> httpx2.Response:
        return self.client.post("/v1/session", json={"key": key}, headers={"Origin": self.origin})


def test_a_key_for_a_cookie(farm: OnlineFarm) -> None:
    browser, key = Browser(farm), farm.key()
    answer = browser.sign_in(key)
    assert answer.json()["is_signed_in"] is True
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert key not in cookie
    assert browser.client.get("/v1/videos").status_code == 200
    shown = browser.client.get("/v1/session").json()
    assert (shown["project"], shown["scopes"]) == ("default", ["submit", "read"])
    token = cookie.split("=", 1)[1].split(";")[0]
    everything = " ".join(farm.files()) + "".join(farm.out.read(path).decode() for path in farm.files())
    assert token not in everything
    assert key not in everything
    assert browser.sign_in("wf_wrong").status_code == 401


def test_changes_with_a_cookie_come_from_our_own_page(farm: OnlineFarm) -> None:
    browser = Browser(farm)
    browser.sign_in(farm.key())
    post = browser.client.post
    assert post("/v1/videos", json=ASK, headers={"Origin": farm.base_url}).status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", farm.base_url + ".evil.example", ""):
        answer = post("/v1/videos", json=ASK, headers={"Origin": origin})
        assert (answer.status_code, error_of(answer)) == (403, "origin_mismatch"), origin
    assert post("/v1/videos", json=ASK).status_code == 403
    job_id = browser.client.get("/v1/videos").json()["data"][0]["id"]
    assert browser.client.delete(f"/v1/videos/{job_id}").status_code == 403
    # A key in the header is no page's to send, so it needs no origin.
    assert farm.client(farm.key()).post("/v1/videos", json=ASK).status_code == 200


def test_signing_in_and_out_is_no_other_pages_to_do(farm: OnlineFarm) -> None:
    browser = Browser(farm)
    browser.sign_in(farm.key())
    evil = {"Origin": "https://evil.example"}
    assert browser.client.post("/v1/session", json={"key": farm.key()}, headers=evil).status_code == 403
    assert browser.client.delete("/v1/session", headers=evil).status_code == 403
    token = browser.client.cookies[COOKIE]
    assert browser.client.delete("/v1/session", headers={"Origin": farm.base_url}).status_code == 204
    # Signed out is signed out, also for whoever has copied the cookie.
    assert farm.client().get("/v1/videos", headers={"Cookie": f"{COOKIE}={token}"}).status_code == 401


def test_a_session_ends(tmp_path: Path) -> None:
    api = ApiSettings(session_s=0.3, key_cache_s=0.0)
    with OnlineFarm.start(tmp_path / "out", api=api) as farm:
        browser = Browser(farm)
        token = browser.sign_in(farm.key()).headers["set-cookie"].split("=", 1)[1].split(";")[0]
        headers = {"Cookie": f"{COOKIE}={token}"}
        assert farm.client().get("/v1/videos", headers=headers).status_code == 200
        eventually(lambda: farm.client().get("/v1/videos", headers=headers).status_code == 401, timeout_s=5.0)


def test_a_trusted_page_elsewhere(tmp_path: Path) -> None:
    api = ApiSettings(origins=("https://studio.example",))
    with OnlineFarm.start(tmp_path / "out", api=api) as farm:
        browser = Browser(farm)
        browser.sign_in(farm.key())
        answer = browser.client.post("/v1/videos", json=ASK, headers={"Origin": "https://studio.example"})
        assert answer.status_code == 200


def test_where_no_key_is_asked_for_only_this_machine_is_spoken_to(tmp_path: Path) -> None:
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings(is_open=True)) as farm, farm.client() as client:
        assert client.post("/v1/videos", json=ASK).status_code == 200
        assert client.get("/v1/session").json()["is_key_needed"] is False
        for host in ("evil.example", "127.0.0.1.evil.example", "169.254.1.1", "localhost.evil", "", "[::2]:80"):
            answer = client.get("/v1/videos", headers={"Host": host})
            assert answer.status_code in (400, 403), host
        for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"):
            assert client.get("/v1/videos", headers={"Host": host}).status_code == 200, host
        assert client.get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200
        # A page of anybody's can have a browser post a form here.
        answer = client.post("/v1/videos", files={"prompt": (None, "a")}, headers={"Origin": "https://evil.example"})
        assert (answer.status_code, error_of(answer)) == (403, "origin_mismatch")


def test_hosts_that_were_named(tmp_path: Path) -> None:
    api = ApiSettings(hosts=("farm.example",))
    with OnlineFarm.start(tmp_path / "out", api=api) as farm, farm.client(farm.key()) as client:
        assert client.get("/v1/videos").json()["error"]["code"] == "unknown_host"
        assert client.get("/v1/videos", headers={"Host": "farm.example"}).status_code == 200
