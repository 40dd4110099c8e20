"""API keys: what they are, what each may do, and that a revoked one is of no use to anybody at once."""
import json
import re
import secrets
import time

import pytest

from harness import agents
from harness.http_client import Connection, encode, request
from harness.sse import Stream, stream_path
from harness.wait import wait_until
from test_secrets import assert_nowhere, stored_files

pytestmark = pytest.mark.root_key


def make(api, name="test", scopes=("*",), workspace=None, key=None, **fields):
    """A key: its whole record, `key` included."""
    headers = bearer(key) if key else {}
    if workspace:
        headers["X-Errand-Workspace"] = workspace
    answer = api.post("/v1/keys", {"name": name, "scopes": list(scopes), **fields}, headers=headers)
    assert answer.status == 201, answer
    return answer.json()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def as_key(api, key, method, path, body=None, **headers):
    return api.request(method, path, body, headers={**bearer(key), **headers})


def calls(redis, command):
    """How often Redis was asked for this."""
    return int(re.search(rf"cmdstat_{command}:calls=(\d+)", redis.command("INFO", "commandstats").decode()).group(1))


def test_a_key_is_shown_once_and_has_its_form(api, redis):
    made = make(api, scopes=["runs:read"])
    assert re.fullmatch(r"errand_[0-9a-z]{16}_[0-9A-Za-z]{49}", made["key"]) and made["id"] in made["key"]
    shown = api.get(f"/v1/keys/{made['id']}").json()
    assert "key" not in shown and shown["scopes"] == ["runs:read"] and shown["status"] == "active" and shown["createdBy"] == "root"
    assert shown in api.get("/v1/keys").json()["keys"]
    stored = redis.command("HGETALL", f"{api.stack.prefix}{{g}}:key:{made['id']}")
    assert not any(made["key"][24:] in str(text) for text in stored), "only a hash is stored"


def test_what_is_no_key(api):
    made = make(api)["key"]
    other = make(api)["key"]
    wrong = [made[:-1] + ("a" if made[-1] != "a" else "b"), made[:30] + ("x" if made[30] != "x" else "y") + made[31:], made[:-1], made + "a", "errand_", made.upper(), made[:24] + other[24:], "x" * 73, "Ä" * 20]
    for key in wrong:
        answer = as_key(api, key, "GET", "/v1/runs")
        assert answer.status == 401 and answer.code == "unauthorized" and answer.headers["www-authenticate"] == "Bearer", key
    assert as_key(api, made, "GET", "/v1/runs").status == 200
    assert request(api.port, "GET", "/v1/runs", headers={"x-api-key": made}).status == 200


@pytest.mark.parametrize("body, code, word", [
    ({"scopes": ["runs:read"]}, "missing_field", "name"),
    ({"name": "a"}, "missing_field", "scopes"),
    ({"name": "a", "scopes": ["runs:fly"]}, "invalid_field", "runs:fly"),
    ({"name": "a", "scopes": []}, "invalid_field", "scopes"),
    ({"name": "a", "scopes": "*"}, "invalid_field", "scopes"),
    ({"name": "a b", "scopes": ["*"]}, "invalid_field", "name"),
    ({"name": "a", "scopes": ["*"], "agents": ["x"]}, "invalid_field", "agents or queues only"),
    ({"name": "a", "scopes": ["runs:read"], "agents": []}, "invalid_field", "agents"),
    ({"name": "a", "scopes": ["runs:read"], "cidrs": ["10.0.0.1/8"]}, "invalid_field", "cidrs"),
    ({"name": "a", "scopes": ["runs:read"], "cidrs": ["example.com"]}, "invalid_field", "cidrs"),
    ({"name": "a", "scopes": ["runs:read"], "concurrency": 0}, "invalid_field", "concurrency"),
    ({"name": "a", "scopes": ["runs:read"], "rateLimit": {"limit": 0}}, "invalid_field", "rateLimit"),
    ({"name": "a", "scopes": ["runs:read"], "expiresInMs": 5, "expiresAt": "2030-01-01T00:00:00.000Z"}, "invalid_field", "expiresAt"),
    ({"name": "a", "scopes": ["runs:read"], "expiresAt": "2020-01-01T00:00:00.000Z"}, "invalid_field", "expiresAt"),
    ({"name": "a", "scopes": ["runs:read"], "expiresInMs": 0}, "invalid_field", "expiresInMs"),
    ({"name": "a", "scopes": ["runs:read"], "secret": "mine"}, "unknown_field", "secret"),
    ([], "invalid_field", "object"),
])
def test_what_a_key_may_not_be(api, body, code, word):
    answer = api.post("/v1/keys", body)
    assert (answer.status, answer.code) == (400, code) and word in answer.json()["detail"], answer


def test_no_key_gives_more_than_it_has(api):
    admin = make(api, scopes=["keys:admin", "runs:read"], cidrs=["127.0.0.0/8"], expiresInMs=3600000)["key"]
    fine = {"name": "b", "scopes": ["runs:read"], "cidrs": ["127.0.0.1"], "expiresInMs": 1000000}
    assert as_key(api, admin, "POST", "/v1/keys", fine).status == 201
    for change in ({"scopes": ["runs:create"]}, {"scopes": ["*"]}, {"cidrs": ["126.0.0.0/7"]}, {"cidrs": None}, {"expiresInMs": 7200000}, {"expiresInMs": None}):
        body = {k: v for k, v in {**fine, **change}.items() if v is not None}
        answer = as_key(api, admin, "POST", "/v1/keys", body)
        assert (answer.status, answer.code) == (403, "forbidden"), (change, answer)
    strong = make(api, scopes=["*"])
    for method, path, body in (("PUT", "", {"name": "b", "scopes": ["runs:read"], "cidrs": ["127.0.0.1"], "expiresInMs": 1000}), ("POST", "/rotate", None)):
        assert as_key(api, admin, method, f"/v1/keys/{strong['id']}{path}", body).status == 403, "a stronger key is not taken over"


def test_what_is_executed_needs_the_right_to_write_agents(api):
    """Inline definitions, by whatever way they come."""
    key = make(api, scopes=["runs:create", "schedules:write", "schedules:read"])["key"]
    api.request("PUT", "/v1/agents/known", agents.shell("exit 0", name="known"))
    for path, wrap in (("/v1/runs", lambda a: {"agent": a}), ("/v1/schedules", lambda a: {"name": "often", "everyMs": 3600000, "run": {"agent": a}})):
        answer = as_key(api, key, "POST", path, wrap(agents.shell("id")))
        assert (answer.status, answer.code) == (403, "forbidden") and "agents:write" in answer.json()["detail"], path
        assert as_key(api, key, "POST", path, wrap("known")).status in (201, 202), path


def test_a_key_stays_in_its_workspace(api):
    key = make(api, workspace="acme")
    mine = as_key(api, key["key"], "POST", "/v1/runs", {"agent": agents.sleeper()})
    assert mine.status == 202
    assert as_key(api, key["key"], "GET", "/v1/runs", **{"X-Errand-Workspace": "acme"}).status == 200
    for workspace in ("default", "other"):
        answer = as_key(api, key["key"], "GET", "/v1/runs", **{"X-Errand-Workspace": workspace})
        assert answer.status == 403, answer
    assert [r["runId"] for r in as_key(api, key["key"], "GET", "/v1/runs").json()["runs"]] == [mine.json()["runId"]]
    assert api.get(f"/v1/keys/{key['id']}").status == 404, "nobody of the default workspace sees it"
    record = as_key(api, key["key"], "GET", f"/v1/runs/{mine.json()['runId']}").json()
    assert record["createdBy"] == key["id"] and record["workspaceId"] == "acme"


def test_a_rotated_key_is_valid_twice_for_a_while(api, apis):
    old = make(api)
    new = api.post(f"/v1/keys/{old['id']}/rotate", {"overlapMs": 60000}).json()
    assert new["id"] == old["id"] and new["key"] != old["key"] and new["previousUntil"]
    for node in apis:
        assert as_key(node, old["key"], "GET", "/v1/whoami").status == as_key(node, new["key"], "GET", "/v1/whoami").status == 200
    newest = api.post(f"/v1/keys/{old['id']}/rotate", {"overlapMs": 0}).json()
    for node in apis:
        wait_until(lambda node=node: [as_key(node, k["key"], "GET", "/v1/whoami").status for k in (old, new, newest)] == [401, 401, 200], 2)


def test_a_revoked_key_is_of_no_use_on_any_node(apis, runner):
    api = apis[0]
    made = make(api)
    run_id = api.submit(agents.sleeper())
    token = as_key(api, made["key"], "POST", "/v1/runs", {"agent": agents.sleeper()}).json()["streamUrl"]
    readers = [Stream(node.port, stream_path(run_id), made["key"]) for node in apis] + [Stream(node.port, token) for node in apis]
    for reader in readers:
        reader.until("run")
    assert api.request("DELETE", f"/v1/keys/{made['id']}").status == 204
    began = time.monotonic()
    for node in apis:
        wait_until(lambda node=node: as_key(node, made["key"], "GET", "/v1/whoami").status == 401, 1, "within a second")
        wait_until(lambda node=node: request(node.port, "GET", token).status == 401, 1)
    for reader in readers:
        assert reader.frames() is not None and reader.end == "cut"
    assert time.monotonic() - began < 2
    shown = api.get(f"/v1/keys/{made['id']}").json()
    assert shown["status"] == "revoked" and shown["revokedAt"]
    assert api.request("DELETE", f"/v1/keys/{made['id']}").status == 204
    assert api.post(f"/v1/keys/{made['id']}/rotate").status == 404


def test_an_expired_key_is_none_and_its_stream_ends(api, runner):
    made = make(api, expiresInMs=1500)
    run_id = api.submit(agents.sleeper())
    reader = Stream(api.port, stream_path(run_id), made["key"], timeout=5)
    reader.until("run")
    answer = wait_until(lambda: (a := as_key(api, made["key"], "GET", "/v1/whoami")).status == 401 and a, 4)
    assert "expired" in answer.json()["detail"]
    assert reader.frames() is not None and reader.end == "cut"
    assert api.get(f"/v1/keys/{made['id']}").json()["status"] == "expired"


def test_a_long_poll_of_a_revoked_key_gets_nothing(api, runner):
    made = make(api)
    run_id = api.submit(agents.sleeper())
    poll = Connection(api.port, timeout=5)
    poll.send(encode("GET", f"/v1/runs/{run_id}?wait=60", headers=bearer(made["key"])))
    wait_until(lambda: api.metric("errand_http_connections") >= 2, 5)
    assert api.request("DELETE", f"/v1/keys/{made['id']}").status == 204
    assert poll.read_response().status == 401


def test_narrowed_to_agents_and_queues(api, runner):
    for name in ("one", "two"):
        assert api.request("PUT", f"/v1/agents/{name}", {**agents.shell("exit 0", name=name), "queue": "default"}).status == 201
    only = make(api, scopes=["runs:create", "runs:read", "runs:stop", "agents:read"], agents=["one"])["key"]
    mine = as_key(api, only, "POST", "/v1/runs", {"agent": "one"})
    assert mine.status == 202
    theirs = api.submit("two")
    for body in ({"agent": "two"}, {"agent": agents.sleeper()}, {"agent": agents.shell("exit 0", name="one")}):
        answer = as_key(api, only, "POST", "/v1/runs", body)
        assert (answer.status, answer.code) == (403, "forbidden"), body
    answer = as_key(api, only, "POST", "/v1/runs/batch", {"runs": [{"agent": "one"}, {"agent": "two"}]}).json()["results"]
    assert "runId" in answer[0] and answer[1]["error"]["code"] == "forbidden"
    assert as_key(api, only, "POST", "/rest/two").status == 403
    missing = "00000000-0000-4000-8000-000000000000"
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("GET", "/logs"), ("POST", "/stop"), ("POST", "/rerun")):
        hidden, none = (as_key(api, only, method, f"/v1/runs/{i}{path}") for i in (theirs, missing))
        assert hidden.status == none.status == 404 and hidden.body.replace(theirs.encode(), b"") == none.body.replace(missing.encode(), b"")
    assert {r["agent"] for r in as_key(api, only, "GET", "/v1/runs").json()["runs"]} == {"one"}
    for path in ("/v1/agents", "/v1/agents?limit=1"):
        assert (lambda page: ([a["name"] for a in page["agents"]], page["cursor"]))(as_key(api, only, "GET", path).json()) == (["one"], None), "no cursor names another"
    assert as_key(api, only, "GET", "/v1/agents/two").status == 404
    assert as_key(api, only, "POST", "/v1/runs", {"agent": "one", "parentRunId": theirs}).status == 404
    assert as_key(api, only, "POST", "/v1/runs", {"agent": "one", "dependsOn": [theirs]}).status == 404
    queue = make(api, scopes=["runs:create", "runs:read"], queues=["batch"])["key"]
    assert as_key(api, queue, "POST", "/v1/runs", {"agent": "one", "queue": "batch"}).status == 202
    assert as_key(api, queue, "POST", "/v1/runs", {"agent": "one"}).status == 403, "the agent's own queue is another"
    assert as_key(api, queue, "GET", f"/v1/runs/{theirs}").status == 404


def test_from_where_it_may_be_used(api, stack):
    assert as_key(api, make(api, cidrs=["127.0.0.0/8", "2001:db8::/32"])["key"], "GET", "/v1/whoami").status == 200
    far = make(api, cidrs=["192.0.2.0/24"])["key"]
    answer = as_key(api, far, "GET", "/v1/whoami")
    assert (answer.status, answer.code) == (403, "forbidden") and "address" in answer.json()["detail"]
    assert as_key(api, far, "GET", "/v1/whoami", **{"X-Forwarded-For": "192.0.2.7"}).status == 403, "nobody is believed unasked"
    behind = stack.api(env={"ERRAND_TRUSTED_PROXIES": "127.0.0.1, 198.51.100.0/24"})
    for header, status in (("192.0.2.7", 200), ("203.0.113.9, 192.0.2.7", 200), ("192.0.2.7, 203.0.113.9", 403), ("192.0.2.7, 198.51.100.3", 200), ("192.0.2.7, rubbish", 403), ("", 403), ("rubbish", 403)):
        assert as_key(behind, far, "GET", "/v1/whoami", **{"X-Forwarded-For": header}).status == status, header


def test_several_lines_of_addresses_are_one_list(stack):
    """A proxy that adds a line of its own: the client's line is not the last word."""
    api = stack.api(env={"ERRAND_TRUSTED_PROXIES": "127.0.0.1"})
    here = make(api, cidrs=["127.0.0.1/32"])["key"]
    there = make(api, cidrs=["192.0.2.0/24"])["key"]
    lines = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: %s\r\n"
    for key, last, status in ((here, b"203.0.113.9", 403), (there, b"203.0.113.9", 403), (there, b"192.0.2.8", 200), (there, b"x", 403), (here, b"x", 403)):
        with Connection(api.port, timeout=5) as connection:
            connection.send(f"GET /v1/whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n".encode() + lines % last + b"\r\n")
            assert connection.read_response().status == status, (key, last)


def test_a_rate_limit_is_one_for_all_nodes(apis):
    key = make(apis[0], scopes=["runs:read", "runs:create"], rateLimit={"limit": 10, "perMs": 60000, "burst": 10})["key"]
    paths = [("GET", "/v1/runs", None), ("GET", "/v1/whoami", None), ("GET", "/v1/runs/00000000-0000-4000-8000-000000000000", None), ("POST", "/v1/runs", {"agent": "nobody"})]
    left = []
    for i in range(10):
        method, path, body = paths[i % len(paths)]
        answer = as_key(apis[i % len(apis)], key, method, path, body)
        assert answer.status in (200, 404), answer
        assert answer.headers["ratelimit-policy"] == '"key";q=10;w=60'
        left.append(int(re.fullmatch(r'"key";r=(\d+);t=(\d+)', answer.headers["ratelimit"]).group(1)))
    assert left == list(range(9, -1, -1))
    for i, (method, path, body) in enumerate(paths):
        answer = as_key(apis[i % len(apis)], key, method, path, body)
        assert (answer.status, answer.code) == (429, "rate_limited") and 1 <= int(answer.headers["retry-after"]) <= 7, answer
    assert as_key(apis[0], key, "POST", "/v1/runs", [], ).status == 400, "what is refused without asking Redis is not counted"


def test_a_rate_without_a_burst_may_come_at_once(api):
    made = make(api, rateLimit={"limit": 5, "perMs": 60000})
    assert api.get(f"/v1/keys/{made['id']}").json()["rateLimit"] == {"limit": 5, "perMs": 60000, "burst": 5}
    assert [as_key(api, made["key"], "GET", "/v1/whoami").status for _ in range(6)] == [200] * 5 + [429]


def test_a_concurrency_limit_of_its_own(api, runner):
    key = make(api, scopes=["runs:create", "runs:read", "agents:write"], concurrency=1)["key"]
    first, second = (as_key(api, key, "POST", "/v1/runs", {"agent": agents.sleeper()}).json()["runId"] for _ in range(2))
    api.wait(first, ("running",))
    other = api.submit(agents.shell("exit 0"))
    api.wait(other)
    record = api.record(second)
    assert record["status"] == "queued" and "waitingFor" in record
    api.post(f"/v1/runs/{first}/stop")
    api.wait(second, ("running",))


def test_failures_are_limited_by_source(stack, redis):
    api = stack.api(env={"ERRAND_AUTH_FAILURES_MAX": "5"})
    good = make(api)["key"]
    for _ in range(6):
        assert request(api.port, "GET", "/v1/runs", headers=bearer("nonsense")).status in (401, 429)
    answer = wait_until(lambda: (a := request(api.port, "GET", "/v1/runs", headers=bearer("nonsense"))).status == 429 and a, 5)
    assert answer.code == "rate_limited" and 1 <= int(answer.headers["retry-after"]) <= 61
    assert as_key(api, good, "GET", "/v1/whoami").status == 200, "a good key is let in all the same"
    other = stack.api(env={"ERRAND_AUTH_FAILURES_MAX": "5"})
    wait_until(lambda: request(other.port, "GET", "/v1/runs", headers=bearer("nonsense")).status == 429, 5, "it is one count for all nodes")
    assert as_key(other, good, "GET", "/v1/whoami").status == 200


def test_last_used_is_written_now_and_then(api):
    made = make(api)
    for _ in range(50):
        assert as_key(api, made["key"], "GET", "/v1/whoami").status == 200
    shown = wait_until(lambda: (k := api.get(f"/v1/keys/{made['id']}").json()).get("lastUsedAt") and k, 15)
    assert shown["lastUsedAt"] >= made["createdAt"]


def test_a_key_is_looked_up_once_a_second_at_most(api, redis):
    key = make(api)["key"]
    as_key(api, key, "GET", "/v1/whoami")
    before, began = calls(redis, "fcall_ro"), time.monotonic()
    for _ in range(200):
        assert as_key(api, key, "GET", "/v1/whoami").status == 200
    assert calls(redis, "fcall_ro") - before <= 2 + (time.monotonic() - began), "whoami itself asks nothing"


def test_a_change_is_told_to_all_nodes(apis):
    """Each of several at once, not when its second is over."""
    for _ in range(8):
        made = make(apis[0])
        assert as_key(apis[1], made["key"], "GET", "/v1/whoami").status == 200
        assert apis[0].request("DELETE", f"/v1/keys/{made['id']}").status == 204
        wait_until(lambda made=made: as_key(apis[1], made["key"], "GET", "/v1/whoami").status == 401, 0.5, "the other node was told")


def test_what_a_node_knows_of_a_key_is_a_second_old_at_most(api, redis):
    """Even where neither the message nor the counter says that it changed."""
    made = make(api)
    assert as_key(api, made["key"], "GET", "/v1/whoami").status == 200
    redis.command("HSET", f"{api.stack.prefix}{{g}}:key:{made['id']}", "revoked", "1")
    wait_until(lambda: as_key(api, made["key"], "GET", "/v1/whoami").status == 401, 3)


def test_a_change_is_seen_though_its_message_is_lost(apis, redis):
    """The counter that each node reads is the net under the message."""
    api = apis[0]
    made = make(api)
    run_id = api.submit(agents.sleeper())
    reader = Stream(apis[1].port, stream_path(run_id), made["key"], timeout=5)
    reader.until("run")
    prefix = f"{api.stack.prefix}{{g}}:"
    redis.command("HSET", f"{prefix}key:{made['id']}", "revoked", "1")
    redis.command("INCR", f"{prefix}keyver")
    assert reader.frames() is not None and reader.end == "cut"


def test_a_session_of_a_browser(stack):
    api = stack.api(env={"ERRAND_SESSION_COOKIE_SECURE": "false", "ERRAND_CORS_ORIGINS": "https://app.example.com"})
    made = make(api)
    begun = as_key(api, made["key"], "POST", "/v1/session")
    assert begun.status == 201
    cookie = begun.headers["set-cookie"]
    assert re.fullmatch(r"errand=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Max-Age=\d+", cookie) and made["key"] not in cookie
    held = {"Cookie": cookie.split(";")[0], "Authorization": None}
    ours = {"Origin": f"http://127.0.0.1:{api.port}", "Host": f"127.0.0.1:{api.port}"}
    assert api.get("/v1/whoami", headers=held).json()["key"] == made["id"]
    assert api.get("/v1/whoami", headers={"Cookie": f"a=b; {cookie.split(';')[0]}; c=d", "Authorization": None}).status == 200
    run = {"agent": agents.sleeper()}
    for headers, status in (({}, 403), ({"Origin": "https://evil.example.com"}, 403), ({"Origin": "null"}, 403), (ours, 202), ({"Origin": "https://app.example.com"}, 202), ({**ours, "Content-Type": "text/plain"}, 415),
                            ({**ours, "Content-Type": "application/x-www-form-urlencoded"}, 415), ({**ours, "Content-Type": "application/json; charset=utf-8"}, 202)):
        assert api.post("/v1/runs", run, headers={**held, **headers}).status == status, headers
    preflight = api.request("OPTIONS", "/v1/runs", headers={"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"})
    assert preflight.headers["access-control-allow-credentials"] == "true"
    for name in ("Location", "Content-Location", "Last-Event-ID", "RateLimit", "RateLimit-Policy", "Retry-After"):
        assert name in preflight.headers["access-control-expose-headers"].split(", "), name
    assert api.post("/v1/session", headers={**held, **ours}).status == 403, "no session begets another"
    assert api.request("DELETE", "/v1/session", headers=held).status == 403
    assert api.request("DELETE", "/v1/session", headers={**held, **ours}).status == 204
    wait_until(lambda: api.get("/v1/whoami", headers=held).status == 401, 1)
    again = as_key(api, made["key"], "POST", "/v1/session").headers["set-cookie"].split(";")[0]
    assert api.get("/v1/whoami", headers={"Cookie": again, "Authorization": None}).status == 200
    api.request("DELETE", f"/v1/keys/{made['id']}")
    wait_until(lambda: api.get("/v1/whoami", headers={"Cookie": again, "Authorization": None}).status == 401, 1, "it ends with its key")
    assert api.post("/v1/session").status == 403, "the root key does not belong into a browser"


def test_the_secure_cookie_is_the_default(api):
    cookie = as_key(api, make(api)["key"], "POST", "/v1/session").headers["set-cookie"]
    assert cookie.startswith("__Host-errand=") and cookie.endswith("; Secure")


def test_all_of_it_waits_for_redis(api, redis):
    """Without Redis nobody can say whether a key is good: 503, never in."""
    key = make(api)["key"]
    redis.stop()
    answer = wait_until(lambda: (a := as_key(api, key, "GET", "/v1/whoami")).status == 503 and a, 5)
    assert answer.code == "redis_unavailable"
    redis.start()
    wait_until(lambda: as_key(api, key, "GET", "/v1/whoami").status == 200, 10)
    assert json.loads(as_key(api, key, "GET", "/v1/whoami").body)["scopes"]


def test_nothing_that_redis_keeps_is_a_credential(stack, runner):
    """After a busy time: keys, rotated and revoked ones too, sessions, stream tokens, webhook secrets, runner tokens, the root key."""
    api = stack.api(env={"ERRAND_MASTER_KEY": secrets.token_hex(32)})
    said = [stack.key]
    for i in range(5):
        made = make(api, rateLimit={"limit": 1000})
        said += [made["key"], api.post(f"/v1/keys/{made['id']}/rotate").json()["key"]]
        begun = as_key(api, said[-1], "POST", "/v1/session")
        said.append(begun.headers["set-cookie"].split("=", 1)[1].split(";")[0])
        run = as_key(api, said[-2], "POST", "/v1/runs", {"agent": agents.shell("printf %s \"$ERRAND_RUNNER_TOKEN\" | sha256sum", protocol="text")})
        assert run.status == 202, run
        run = run.json()
        said.append(run["streamUrl"].split("~")[-1])
        api.wait(run["runId"])
        if i % 2:
            api.request("DELETE", f"/v1/keys/{made['id']}")
    hook = api.post("/v1/webhooks", {"url": "https://example.com/hook", "events": ["run.error"]}).json()
    said.append(hook["secret"])
    files = stored_files(stack)
    for text in said:
        assert len(text) > 20
        assert_nowhere(text, files)
        assert_nowhere(text[24:67], files) if text.startswith("errand_") and len(text) == 73 else None
    assert any(made["id"].encode() in f for f in files.values()), "the scan would find what is there"


# ---- what a review found ----

def test_two_requests_in_one_write_keep_their_own_limits(api):
    """The first is refused without Redis, while its key is looked up; the second begins in its wake, with another key."""
    limited, free = make(api, rateLimit={"limit": 2, "perMs": 60000})["key"], make(api)["key"]
    assert as_key(api, free, "GET", "/v1/runs").status == 200
    connection = Connection(api.port, timeout=10)
    connection.send(encode("GET", "/v1/runs?limit=abc", headers=bearer(limited)) + encode("GET", "/v1/runs", headers=bearer(free)))
    first, second = connection.read_response(), connection.read_response()
    assert (first.status, second.status) == (400, 200) and "ratelimit" not in second.headers
    assert [as_key(api, limited, "GET", "/v1/runs").status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("change", ["revoke", "expire", "narrow"])
def test_a_body_that_comes_after_the_keys_end(api, change):
    made = make(api, expiresInMs=1500) if change == "expire" else make(api)
    request_bytes = encode("POST", "/v1/runs", {"agent": agents.sleeper()}, headers=bearer(made["key"]))
    connection = Connection(api.port, timeout=10)
    connection.send(request_bytes[:-5])
    wait_until(lambda: api.get(f"/v1/keys/{made['id']}").json().get("lastUsedAt") or True, 1)
    if change == "revoke":
        assert api.request("DELETE", f"/v1/keys/{made['id']}").status == 204
    elif change == "narrow":
        assert api.request("PUT", f"/v1/keys/{made['id']}", {"name": "less", "scopes": ["runs:read"]}).status == 200
    wait_until(lambda: as_key(api, made["key"], "POST", "/v1/runs", {}).status == (403 if change == "narrow" else 401), 4)
    connection.send(request_bytes[-5:])
    assert connection.read_response().status == (403 if change == "narrow" else 401)


@pytest.mark.parametrize("overlap", [0, 700])
def test_a_rotation_ends_what_the_former_secret_opened(stack, runner, overlap):
    api = stack.api(env={"ERRAND_SESSION_COOKIE_SECURE": "false"})
    made = make(api)
    run = as_key(api, made["key"], "POST", "/v1/runs", {"agent": agents.sleeper()}).json()
    cookie = as_key(api, made["key"], "POST", "/v1/session").headers["set-cookie"].split(";")[0]
    held = {"Cookie": cookie, "Authorization": None}
    streams = [Stream(api.port, stream_path(run["runId"]), made["key"], timeout=6), Stream(api.port, run["streamUrl"], timeout=6)]
    for stream in streams:
        stream.until("run")
    new = api.post(f"/v1/keys/{made['id']}/rotate", {"overlapMs": overlap}).json()["key"]
    fresh = Stream(api.port, stream_path(run["runId"]), new, timeout=3)
    fresh.until("run")
    for stream in streams:
        assert stream.frames() is not None and stream.end == "cut"
    wait_until(lambda: api.get("/v1/whoami", headers=held).status == 401, 3)
    assert request(api.port, "GET", run["streamUrl"]).status == 401
    assert as_key(api, new, "GET", "/v1/whoami").status == 200 and fresh.end is None


def test_a_shorter_life_ends_streams(api, runner):
    made = make(api)
    run_id = api.submit(agents.sleeper())
    stream = Stream(api.port, stream_path(run_id), made["key"], timeout=7)
    stream.until("run")
    assert api.request("PUT", f"/v1/keys/{made['id']}", {"name": "short", "scopes": ["*"], "expiresInMs": 1000}).status == 200
    assert stream.frames() is not None and stream.end == "cut"
    answer = api.request("PUT", f"/v1/keys/{made['id']}", {"name": "again", "scopes": ["*"]})
    assert answer.status == 404, "an expired key does not come back"


def test_a_narrowed_key_takes_nobodys_place(api, runner):
    for name in ("one", "two"):
        api.request("PUT", f"/v1/agents/{name}", {**agents.sleeper(), "name": name})
    limit = {"concurrencyKey": {"key": "deploy", "limit": 1}}
    first = api.submit("one", **limit)
    api.wait(first, ("running",))
    for fields in ({"scopes": ["runs:create"], "agents": ["two"]}, {"scopes": ["runs:create", "runs:stop"], "agents": ["two"]}, {"scopes": ["runs:create"]}):
        key = make(api, **fields)["key"]
        answer = as_key(api, key, "POST", "/v1/runs", {"agent": "two", "concurrencyKey": {**limit["concurrencyKey"], "onLimit": "replace"}})
        assert answer.status == 403, answer
    assert api.record(first)["status"] == "running"


def test_a_first_answer_is_for_who_may_have_it(api):
    api.request("PUT", "/v1/agents/one", {**agents.sleeper(), "name": "one", "queue": "other"})
    headers = {"Idempotency-Key": "same"}
    assert api.post("/v1/runs", {"agent": "one"}, headers=headers).status == 202
    key = make(api, scopes=["runs:create"], queues=["mine"])["key"]
    assert as_key(api, key, "POST", "/v1/runs", {"agent": "one"}, **headers).status == 403


def test_one_credential_a_request(api):
    good = make(api)["key"]
    raw = f"GET /v1/whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {good}\r\n%s\r\n".encode()
    for more, status in ((b"", 200), (f"Authorization: Bearer {good}\r\n".encode(), 401), (b"x-api-key: x\r\n", 401)):
        with Connection(api.port, timeout=5) as connection:
            connection.send(raw % more)
            assert connection.read_response().status == status


def test_a_key_has_so_many_sessions(api, redis):
    made = make(api)
    tokens = []
    for _ in range(103):
        tokens.append(as_key(api, made["key"], "POST", "/v1/session").headers["set-cookie"].split(";")[0])
    prefix = f"{api.stack.prefix}{{g}}:"
    assert redis.command("ZCARD", f"{prefix}sessions:{made['id']}") == 100 and len(redis.keys(f"{prefix}session:*")) == 100
    assert [api.get("/v1/whoami", headers={"Cookie": t, "Authorization": None}).status for t in (tokens[0], tokens[2], tokens[3], tokens[-1])] == [401, 401, 200, 200]


def test_what_tells_of_runs_needs_the_right_to_read_them(stack):
    api = stack.api(env={"ERRAND_MASTER_KEY": secrets.token_hex(32)})
    key, both = (make(api, scopes=scopes)["key"] for scopes in (["webhooks:write"], ["webhooks:write", "runs:read"]))
    hook = {"url": "https://example.com/hook", "events": ["run.success"]}
    assert as_key(api, key, "POST", "/v1/webhooks", hook).status == 403
    assert as_key(api, both, "POST", "/v1/webhooks", hook).status == 201
    api.request("PUT", "/v1/agents/known", agents.shell("exit 0", name="known"))
    only = make(api, scopes=["schedules:write"])["key"]
    assert as_key(api, only, "POST", "/v1/schedules", {"name": "often", "everyMs": 3600000, "run": {"agent": "known"}}).status == 403
