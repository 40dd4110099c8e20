"""The audit log: what is done is written first, what is refused too; a chain that shows what was changed; exports; what happens to it when nodes die, Redis is full or away, and time goes by."""
import hashlib
import json
import os
import re
import subprocess

import pytest

from harness import agents, hooks
from harness.build import script_mark
from harness.http_client import Connection, encode, request
from harness.nodes import build_dir
from harness.wait import holds_for, wait_until

pytestmark = pytest.mark.root_key

WEBHOOK = {"url": "https://127.0.0.1:1/", "events": ["run.error"]}
HELLO = agents.shell("true", name="hello", protocol="text")
SLEEPER = agents.shell("sleep 60", name="sleeper", protocol="text", graceMs=1000)
TRUST = {"issuer": "https://ci.example.com", "audience": "errand", "claims": {"repository": "example/app"}, "scopes": ["runs:read"]}
# What leaves no entry: submits (a run's record says whose it is), the chunks of a bundle (the entry of its beginning says whose they are), and what has credentials of its own (sessions and exchanged tokens leave theirs, see below and test_token.py).
NOT_AUDITED = {"submitRun", "submitRuns", "submitAndStream", "submitAndWait", "rerunRun", "postEvents", "putBundleChunk", "beginSession", "endSession", "exchangeToken", "putStorage", "deleteStorage"}


def entries_of(api, ws=None, **query):
    """All entries, oldest first."""
    found, after = [], None
    while True:
        parameters = "&".join(f"{k}={v}" for k, v in {**query, **({"after": after} if after else {})}.items())
        answer = api.get(f"/v1/audit?{parameters}", headers={"X-Errand-Workspace": ws} if ws else None)
        assert answer.status == 200, answer
        page = answer.json()
        found += page["entries"]
        after = page["cursor"]
        if not after:
            return found


def export_of(api, query="", ws=None):
    answer = api.get(f"/v1/audit?format=ndjson{query}", headers={"X-Errand-Workspace": ws} if ws else None)
    assert answer.status == 200 and answer.headers["content-type"] == "application/x-ndjson", answer
    return [json.loads(line) for line in answer.body.decode().splitlines()]


def errand(stack, *args, node=0):
    """(exit status, standard output, standard error) of `errand audit …`."""
    env = stack.environment({"ERRAND_URL": stack.apis[node].url, "ERRAND_KEY": stack.key})
    done = subprocess.run([os.path.join(build_dir(), "errand"), "audit", *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def verified(stack, *args, node=0):
    status, out, err = errand(stack, "verify", "--json", *args, node=node)
    assert err == "" or status != 0, err
    return status, json.loads(out)


def pause(api, name="q"):
    assert api.post(f"/v1/queues/{name}/pause").status == 200


def log_key(stack, ws="default"):
    return stack.shard() + f"auditlog:{ws}"


def sealed_through(stack, ws="default"):
    last = stack.redis.command("XREVRANGE", stack.shard() + f"auditseal:{ws}", "+", "-", "COUNT", 1)
    return int(last[0][0].split(b"-")[1]) if last else 0


def wait_sealed(stack, n, ws="default"):
    wait_until(lambda: sealed_through(stack, ws) >= n and not stack.redis.command("SISMEMBER", stack.shard() + "auditopen", ws), 10, f"entry {n} is sealed")


def is_fine(stack, n, **kwargs):
    status, said = verified(stack, **kwargs)
    assert status == 0 and said["ok"] and said["entries"] == n, said
    return said


# ---- what is written ----

def test_what_is_done_is_said(api, stack):
    stack.runner()
    run = api.submit(SLEEPER)
    api.wait(run, "running")
    answer = api.post(f"/v1/runs/{run}/stop")
    assert answer.status == 202
    entry, = entries_of(api)
    assert {k: entry[k] for k in ("n", "who", "from", "what", "object")} == {"n": 1, "who": "root", "from": "127.0.0.1", "what": "stopRun", "object": run}
    assert entry["request"] == answer.headers["x-request-id"] and "outcome" not in entry and "detail" not in entry
    assert len(entry["at"]) == 24
    api.wait(run)


def test_what_is_refused_is_said_behind_it(api):
    run = api.submit(HELLO)
    refused = api.request("DELETE", f"/v1/runs/{run}")
    assert refused.status == 409
    assert api.request("DELETE", "/v1/agents/nobody").status == 404
    first, second, third, fourth = entries_of(api)
    assert (first["what"], first["object"], second["outcome"]) == ("deleteRun", run, "run_active") and first["request"] == second["request"] == refused.headers["x-request-id"]
    assert "outcome" not in first and second["object"] == run and (third["object"], fourth["outcome"]) == ("nobody", "agent_not_found")
    # What is no valid request is nobody's deed.
    assert api.request("PUT", "/v1/agents/x", {"comand": ["x"]}).status == 400 and api.post("/v1/runs/no-run/stop").status == 404
    assert len(entries_of(api)) == 4


def test_an_unversioned_path_is_the_same_deed(api):
    run = api.submit(HELLO, queue="nobody")
    assert api.post(f"/runs/{run}/stop").status in (200, 202) and api.request("DELETE", f"/runs/{run}").status == 204
    assert [(e["what"], e["object"]) for e in entries_of(api)] == [("stopRun", run), ("deleteRun", run)]


def test_a_stop_that_is_waited_for_is_no_refusal(api, stack):
    stack.runner()
    run = api.submit(SLEEPER)
    api.wait(run, "running")
    assert api.post(f"/v1/runs/{run}/stop?wait=20").status == 200
    assert [e.get("outcome") for e in entries_of(api)] == [None]


class Deeds:
    """For each mutating route a call of it that succeeds, whatever a test did before."""

    def __init__(self, stack, api):
        self.stack, self.api = stack, api
        assert api.request("PUT", "/v1/agents/hello", HELLO).status == 201
        self.made = 0

    def schedule(self):
        self.made += 1
        name = f"s{self.made}"
        assert self.api.request("PUT", f"/v1/schedules/{name}", {"everyMs": 3600000, "run": {"agent": "hello"}}).status == 201
        return name

    def key(self):
        return make_key(self.api, ["runs:read"])["id"]

    def trust(self):
        self.made += 1
        name = f"t{self.made}"
        assert self.api.request("PUT", f"/v1/trust/{name}", TRUST).status == 201
        return name

    def webhook(self):
        answer = self.api.post("/v1/webhooks", WEBHOOK)
        assert answer.status == 201, answer
        return answer.json()["id"]

    def delivery(self):
        self.hook = self.webhook()
        return self.api.post(f"/v1/webhooks/{self.hook}/test").json()["deliveryId"]

    def bundle(self, whole=True):
        self.made += 1
        data = f"bundle {self.made}".encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert self.api.post("/v1/bundles", {"digest": digest, "bytes": len(data)}).status == 200
        assert self.api.request("PUT", f"/v1/bundles/{digest}/chunks/0", data).status == 204
        assert not whole or self.api.post(f"/v1/bundles/{digest}/complete").status == 200
        return digest

    def ended(self, agent=HELLO):
        run = self.api.submit(agent)
        self.api.wait(run)
        return run

    def of(self, operation):
        """(path's parameter, body) of a call."""
        known = {
            "bulkRuns": lambda: (None, {"action": "stop", "filter": {"queue": "nothing"}}),
            "deleteRun": lambda: (self.ended(), None),
            "stopRun": lambda: (self.api.submit(HELLO, queue="nobody"), None),
            "sendInput": lambda: (self.api.submit({**HELLO, "stdin": "open"}, queue="nobody"), {"data": 1}),
            "redriveRun": lambda: (self.ended(agents.shell("exit 1", name="bad", protocol="text")), None),
            "putAgent": lambda: ("other", {**HELLO, "name": "other"}),
            "deleteAgent": lambda: ("other", None),
            "rollbackAgent": lambda: ("hello", {"version": 1}),
            "beginBundle": lambda: (None, {"digest": "sha256:" + "0" * 64, "bytes": 1}),
            "completeBundle": lambda: (self.bundle(whole=False), None),
            "deleteBundle": lambda: (self.bundle(), None),
            "createSchedule": lambda: (None, {"name": "made", "everyMs": 3600000, "run": {"agent": "hello"}}),
            "putSchedule": lambda: ("put", {"everyMs": 3600000, "run": {"agent": "hello"}}),
            "deleteSchedule": lambda: (self.schedule(), None),
            "pauseSchedule": lambda: (self.schedule(), None),
            "resumeSchedule": lambda: (self.schedule(), None),
            "triggerSchedule": lambda: (self.schedule(), None),
            "putArtifact": lambda: ("kept", {"any": "body"}),
            "deleteArtifact": lambda: ("kept", None),
            "putSecret": lambda: ("KEPT", {"value": "x"}),
            "deleteSecret": lambda: ("KEPT", None),
            "rekeySecrets": lambda: (None, {}),
            "drainRunner": lambda: (self.stack.runners[-1].inc, None),
            "putQueue": lambda: ("q", {"maxWaiting": 5}),
            "pauseQueue": lambda: ("q", None),
            "resumeQueue": lambda: ("q", None),
            "drainQueue": lambda: ("q", None),
            "createKey": lambda: (None, {"name": "fresh", "scopes": ["runs:read"]}),
            "putKey": lambda: (self.key(), {"name": "x", "scopes": ["runs:read"]}),
            "rotateKey": lambda: (self.key(), None),
            "revokeKey": lambda: (self.key(), None),
            "putTrust": lambda: ("ci", TRUST),
            "deleteTrust": lambda: (self.trust(), None),
            "createWebhook": lambda: (None, WEBHOOK),
            "putWebhook": lambda: (self.webhook(), WEBHOOK),
            "deleteWebhook": lambda: (self.webhook(), None),
            "rotateWebhook": lambda: (self.webhook(), None),
            "testWebhook": lambda: (self.webhook(), None),
            "resendDelivery": lambda: (self.delivery() and self.hook, None),
            "putWorkspace": lambda: ("other", {"weight": 2}),
            "deleteWorkspace": lambda: ("other", None),
        }
        assert operation in known, f"{operation} changes something: say in this test how it succeeds, and let its handler call audit_then"
        return known[operation]()


def test_every_route_that_changes_something_leaves_one_entry(stack):
    api = stack.api(env=hooks.ENV)
    stack.runner()
    stack.runner()
    deeds = Deeds(stack, api)
    paths = api.get("/openapi.json").json()["paths"]
    routes = [(method.upper(), path, item["operationId"]) for path, methods in paths.items() for method, item in methods.items() if method not in ("get", "head", "parameters")]
    assert len(routes) > 20
    looked_at = 0
    for method, path, operation in sorted(routes, key=lambda r: r[2] == "drainRunner"):
        if operation in NOT_AUDITED:
            continue
        parameter, body = deeds.of(operation)
        before = [e["n"] for e in entries_of(api)]
        for name in ("{id}", "{name}", "{digest}"):
            path = path.replace(name, str(parameter))
        if "{delivery}" in path:
            path = path.replace("{delivery}", api.get(f"/v1/webhooks/{parameter}/deliveries").json()["deliveries"][0]["id"])
        answer = api.request(method, path, body)
        assert answer.status in (200, 201, 202, 204), (operation, answer)
        new = [e for e in entries_of(api) if e["n"] not in before]
        assert [(e["what"], e.get("outcome")) for e in new] == [(operation, None)], (operation, new)
        wanted = parameter or {"bulkRuns": "stop", "createSchedule": "made", "createKey": "fresh", "rekeySecrets": "rekey", "beginBundle": "sha256:" + "0" * 64, "createWebhook": answer.json().get("id")}[operation]
        assert new[0]["object"] == wanted and new[0]["request"] == answer.headers["x-request-id"]
        looked_at += 1
    assert looked_at >= 19
    wait_until(lambda: not stack.runners[-1].process.alive(), 10, "the runner that was drained ends")
    assert [e["n"] for e in entries_of(api)] == list(range(1, len(entries_of(api)) + 1))


def test_a_bulk_action_says_what_it_was_told(api):
    for limit in (7, 8):
        assert api.post("/v1/runs/bulk", {"action": "delete", "filter": {"queue": "x"}, "limit": limit}).status == 200
    first, second = entries_of(api)
    assert first["object"] == "delete" and first["detail"]["limit"] == 7 and len(first["detail"]["filter"]) == 64
    assert first["detail"]["filter"] == second["detail"]["filter"]


def test_sessions_leave_theirs(api):
    key = make_key(api, ["runs:read"])
    begun = api.post("/v1/session", headers={"Authorization": f"Bearer {key['key']}"})
    ours = {"Authorization": None, "Cookie": begun.headers["set-cookie"].split(";")[0], "Host": "errand.example.com", "Origin": "https://errand.example.com"}
    assert (begun.status, api.request("DELETE", "/v1/session", headers=ours).status) == (201, 204)
    assert [(e["who"], e["what"], e["object"]) for e in entries_of(api)][1:] == [(key["id"], "beginSession", key["id"]), (key["id"], "endSession", key["id"])]


def test_submits_leave_none(api):
    run = api.submit(HELLO)
    assert api.post("/v1/runs/batch", {"runs": [{"agent": HELLO}]}).status == 200
    assert entries_of(api) == [] and api.record(run)["createdBy"] == "root"


def test_a_workspace_sees_its_own(api, stack):
    pause(api)
    assert api.post("/v1/queues/q/pause", headers={"X-Errand-Workspace": "b"}).status == 200
    assert api.request("PUT", "/v1/workspaces/b", {"weight": 2}).status == 200
    assert [(e["n"], e["what"]) for e in entries_of(api)] == [(1, "pauseQueue"), (2, "putWorkspace")]
    assert [(e["n"], e["what"]) for e in entries_of(api, ws="b")] == [(1, "pauseQueue")]
    assert entries_of(api, ws="c") == []
    wait_sealed(stack, 2)
    wait_sealed(stack, 1, "b")
    assert export_of(api)[-2]["h"] != export_of(api, ws="b")[-2]["h"]


# ---- refused credentials ----

def make_key(api, scopes, **fields):
    answer = api.post("/v1/keys", {"name": "k", "scopes": scopes, **fields})
    assert answer.status == 201, answer
    return answer.json()


def as_key(text):
    return {"Authorization": f"Bearer {text}"}


def test_refused_attempts_of_a_known_key_are_written_and_a_flood_fills_nothing(api, stack):
    key = make_key(api, ["runs:read"])
    for _ in range(300):
        assert api.post("/v1/queues/q/pause", headers=as_key(key["key"])).status == 403
    entry, = wait_until(lambda: entries_of(api)[1:], 5, "the first one is written")
    assert (entry["who"], entry["what"], entry["outcome"], entry["from"]) == (key["id"], "pauseQueue", "forbidden", "127.0.0.1") and "detail" not in entry
    # At the minute's end, or when the node ends: how many there were.
    other = stack.api()
    assert api.process.end() == 0
    found = wait_until(lambda: entries_of(other)[2:], 5, "the rest is told")
    assert len(found) == 1 and (found[0]["who"], found[0]["outcome"], found[0]["detail"]) == (key["id"], "forbidden", {"times": 299})


def test_each_refusal_of_a_known_key_is_said_once(api):
    """A wrong secret, a revoked key, another address, another workspace, what a handler forbids."""
    key, gone, far = make_key(api, ["runs:read"]), make_key(api, ["runs:read"]), make_key(api, ["runs:read"], cidrs=["192.0.2.0/24"])
    admin = make_key(api, ["keys:admin"])
    assert api.request("DELETE", f"/v1/keys/{gone['id']}").status == 204
    before = len(entries_of(api))
    wait_until(lambda: api.get("/v1/runs", headers=as_key(gone["key"])).status == 401, 5)
    assert api.get("/v1/runs", headers=as_key(far["key"])).status == 403
    assert api.get("/v1/runs", headers={**as_key(key["key"]), "X-Errand-Workspace": "other"}).status == 403
    assert api.post("/v1/keys", {"name": "stronger", "scopes": ["runs:create"]}, headers=as_key(admin["key"])).status == 403
    found = wait_until(lambda: (lambda e: e if len(e) >= 4 else None)(entries_of(api)[before:]), 5)
    assert sorted((e["who"], e["what"], e["outcome"]) for e in found) == sorted([(gone["id"], "listRuns", "unauthorized"), (far["id"], "listRuns", "forbidden"), (key["id"], "listRuns", "forbidden"),
                                                                                 (admin["id"], "createKey", "forbidden")])
    assert entries_of(api, ws="other") == []


def test_strangers_are_counted_and_not_written(api, stack):
    for headers in ({"Authorization": "Bearer nobody"}, {"Authorization": None}, {"Authorization": "Bearer ert_1_" + "a" * 43}):
        assert api.post("/v1/queues/q/pause", headers=headers).status in (401, 403)
    assert entries_of(api) == [] and api.metric("errand_auth_failures_total") == 3 and not stack.redis.keys("*audit*")


def test_a_key_reads_the_log_with_the_scope_and_of_its_workspace_alone(api):
    pause(api)
    assert api.post("/v1/queues/q/pause", headers={"X-Errand-Workspace": "b"}).status == 200
    reader, other = make_key(api, ["audit:read"]), make_key(api, ["runs:read"])
    page = api.get("/v1/audit", headers=as_key(reader["key"]))
    assert page.status == 200 and [e["what"] for e in page.json()["entries"]] == ["pauseQueue", "createKey", "createKey"]
    assert api.get("/v1/audit", headers=as_key(other["key"])).status == 403
    assert api.get("/v1/audit?format=ndjson", headers={**as_key(reader["key"]), "X-Errand-Workspace": "b"}).status == 403


# ---- pages, filters, exports ----

def test_pages_and_filters(api):
    for i in range(25):
        pause(api, f"q{i}")
    assert api.post("/v1/queues/q/resume").status == 200
    everything = entries_of(api)
    assert len(everything) == 26 and entries_of(api, limit=4) == everything
    assert [e["object"] for e in entries_of(api, limit=10, what="pauseQueue")] == [f"q{i}" for i in range(25)]
    assert [e["n"] for e in entries_of(api, what="resumeQueue")] == [26] and entries_of(api, who="somebody") == [] and len(entries_of(api, who="root")) == 26
    cut = everything[10]["at"]
    assert [e["n"] for e in entries_of(api, until=cut) + entries_of(api, since=cut)] == list(range(1, 27))
    begins = api.get("/v1/audit").json()["begins"]
    assert begins == 1
    for query in ("after=5", "after=x-1", "limit=0", "limit=201", "since=yesterday", "who=", "format=xml", "seal=1", f"what={'x' * 129}"):
        answer = api.get(f"/v1/audit?{query}")
        assert answer.status == 400 and answer.json()["code"] == "invalid_parameter", query


def test_an_export_is_whole_and_verifies_without_a_node(api, stack, folder):
    for i in range(450):  # more than one read
        pause(api, f"q{i}")
    wait_sealed(stack, 450)
    lines = export_of(api)
    assert [line["kind"] for line in lines[:2]] == ["begin", "entry"] and lines[-1] == {"kind": "end", "entries": 450, "seals": sum(line["kind"] == "seal" for line in lines)}
    assert [line["n"] for line in lines if line["kind"] == "entry"] == list(range(1, 451))
    accepted = request(api.port, "GET", "/v1/audit", headers={"Authorization": f"Bearer {stack.key}", "Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in accepted.body.decode().splitlines()] == lines
    status, out, _ = errand(stack, "export")
    path = os.path.join(folder, "audit.ndjson")
    with open(path, "w", encoding="utf-8") as f:
        f.write(out)
    assert status == 0 and [json.loads(line) for line in out.splitlines()] == lines
    online, offline = is_fine(stack, 450), verified(stack, "--file", path)
    assert offline == (0, online) and online["sealed"] == 450
    # Any cut, any change of the file shows.
    rows = out.splitlines(keepends=True)

    def of(changed):
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(changed))
        status, said = verified(stack, "--file", path)
        assert status == 1 and not said["ok"]
        return said["why"]
    assert "cut short" in of(rows[:-1]) and "cut short" in of(rows[:100]) and "begins" in of(rows[1:])
    at = next(i for i, row in enumerate(rows) if '"n":200,' in row and '"entry"' in row)
    assert "not what was sealed" in of(rows[:at] + [rows[at].replace("q199", "q198")] + rows[at + 1:])
    assert "entry 200: removed" in of(rows[:at] + rows[at + 1:])
    assert "twice" in of(rows[:at] + [rows[at], rows[at]] + rows[at + 1:])
    assert of([]) and of(["\n"]) and of(["[" * 100000]) and of(rows + rows)
    # A part of it by key or operation has no chain, one by time has.
    filtered = export_of(api, "&what=pauseQueue&limit=5")
    assert filtered[0]["filtered"] is True and len(filtered) == 452
    since = lines[300]["at"] if "at" in lines[300] else lines[301]["at"]
    status, said = verified(stack, "--since", since)
    assert status == 0 and 1 < said["begins"] <= 301 and said["head"] == online["head"]


def test_the_cli_shows_lines(api, stack):
    pause(api)
    api.request("DELETE", "/v1/agents/nobody")
    status, out, _ = errand(stack)
    lines = out.splitlines()
    assert status == 0 and len(lines) == 3 and "pauseQueue q" in lines[0] and "refused: agent_not_found" in lines[2] and "root  127.0.0.1" in lines[0]
    status, out, _ = errand(stack, "--what", "pauseQueue", "--json", "--since", "1h")
    assert status == 0 and json.loads(out)["object"] == "q"
    for args in (["--file", "x"], ["verify", "--who", "a"], ["verify", "--expect", "5"], ["look"], ["--since", "tomorrowish"], ["verify", "--file", "x", "--since", "1h"]):
        assert errand(stack, *args)[0] == 2, args
    assert errand(stack, "verify", "--file", "/nowhere")[0] == 2


def test_a_reader_of_an_export_that_goes_away_or_stalls_harms_nobody(api, stack):
    fill(stack, 3000)
    for _ in range(40):  # more than a node writes at a time
        with Connection(api.port, receive_buffer=4096) as c:
            c.send(encode("GET", "/v1/audit?format=ndjson", None, {"Authorization": f"Bearer {stack.key}"}))
            c.read_head()
    open_ones = []
    for _ in range(32):
        open_ones.append(Connection(api.port, receive_buffer=4096))
        open_ones[-1].send(encode("GET", "/v1/audit?format=ndjson", None, {"Authorization": f"Bearer {stack.key}"}))
        open_ones[-1].read_head()
    refusal = wait_until(lambda: (lambda a: a if a.status == 503 else None)(api.get("/v1/audit?format=ndjson")), 5, "as many as may be")
    assert refusal.json()["code"] == "overloaded" and api.get("/v1/audit").status == 200
    for c in open_ones:
        c.close()
    wait_until(lambda: api.get("/v1/audit?format=ndjson").status == 200, 5, "there is room again")


def fill(stack, n, ws="default", **fields):
    """Entries written by the script, without a node between."""
    script = stack.redis.command("SCRIPT", "LOAD", _script("audit_add"))
    values = {"who": "root", "from": "192.0.2.1", "what": "stopRun", "object": "x" * 36, "request": "0" * 16, "outcome": "", "detail": "", **fields}
    for _ in range(n):
        assert stack.redis.command("EVALSHA", script, 1, stack.shard(), ws, *values.values(), 250000)[0] == b"ok"


def _script(name):
    with open(os.path.join(build_dir(), "lua", "expanded", f"{name}.lua"), encoding="utf-8") as f:
        return f.read()


# ---- the chain ----

def rebuild(stack, key, entries):
    """Writes a stream anew as a whole, as somebody would who has Redis and knows the format."""
    info = stack.redis.command("XINFO", "STREAM", key)
    last = info[info.index(b"last-generated-id") + 1]
    stack.redis.command("DEL", key)
    for identity, fields in entries:
        stack.redis.command("XADD", key, identity, *fields)
    if not entries:
        stack.redis.command("XADD", key, "MAXLEN", 0, last, "x", "")
    elif tuple(map(int, entries[-1][0].split(b"-"))) < tuple(map(int, last.split(b"-"))):
        stack.redis.command("XSETID", key, last)


def entry_n(entry):
    return int(entry[0].split(b"-")[1])


def numbered(entry, n):
    return [entry[0].split(b"-")[0] + b"-%d" % n, entry[1]]


def changed(entries, n, field=b"who", value=b"somebody"):
    out = [[i, list(f)] for i, f in entries]
    fields = out[n - 1][1]
    fields[fields.index(field) + 1] = value
    return out


def swapped(entries, n):
    out = list(entries)
    a, b = out[n - 1], out[n]
    out[n - 1], out[n] = [a[0], b[1]], [b[0], a[1]]
    return out


TAMPERED = {
    "changed": (lambda e: changed(e, 5), "not what was sealed"),
    "another address": (lambda e: changed(e, 5, b"from", b"192.0.2.9"), "not what was sealed"),
    "a detail": (lambda e: changed(e, 5, b"detail", b'{"times":1}'), "not what was sealed"),
    "a detail that is no JSON": (lambda e: changed(e, 5, b"detail", b"{\n"), "not what was sealed"),
    "another outcome": (lambda e: changed(e, 10, b"outcome", b"forbidden"), "not what was sealed"),
    "bytes that are no text": (lambda e: changed(e, 5, b"object", b"\xff\xfe"), "not what was sealed"),
    "boundaries moved": (lambda e: changed(changed(e, 5, b"who", b"roo"), 5, b"from", b"t127.0.0.1"), "not what was sealed"),
    "another time": (lambda e: [[b"%d-%d" % (int(i.split(b"-")[0]) - 1000 * (n < 5), n + 1), f] for n, (i, f) in enumerate(e)], None),
    "removed": (lambda e: e[:4] + e[5:], "entry 5: removed (entry 6 follows)"),
    "several removed": (lambda e: e[:4] + e[7:], "entries 5 to 6: removed (a seal speaks of entry 6)"),
    "the first removed": (lambda e: e[1:], "entry 1: removed"),
    "removed and numbered anew": (lambda e: e[:4] + [numbered(x, entry_n(x) - 1) for x in e[5:]], None),
    "inserted": (lambda e: e[:4] + [numbered(e[3], 5)] + [numbered(x, entry_n(x) + 1) for x in e[4:]], None),
    "reordered": (lambda e: swapped(e, 5), "not what was sealed"),
    "the end removed": (lambda e: e[:9], "entry 10: removed (a seal speaks of entry 10)"),
    "the beginning removed, but not its seals": (lambda e: e[6:], "entries 4 to 6: removed (a seal speaks of entry 6)"),
    "all removed": (lambda e: [], "entries 4 to 6: removed (a seal speaks of entry 6)"),
}


@pytest.fixture
def ten(api, stack):
    """A log of ten entries, sealed in three pieces. (A busy machine may be slower than the sealer, which then makes more of them: once more.)"""
    for _ in range(10):
        for i in range(10):
            pause(api, f"q{i}")
            if i in (2, 5):
                wait_sealed(stack, i + 1)
        wait_sealed(stack, 10)
        seals = [entry_n(s) for s in stack.redis.command("XRANGE", log_key(stack).replace("auditlog:", "auditseal:"), "-", "+")]
        if seals == [3, 6, 10]:
            break
        stack.redis.command("DEL", log_key(stack), log_key(stack).replace("auditlog:", "auditseal:"))
    assert seals == [3, 6, 10]
    is_fine(stack, 10)
    return api


def test_whatever_is_changed_in_redis_shows(ten, stack, folder):
    """One after the other, from the same log."""
    key = log_key(stack)
    entries, last = stack.redis.command("XRANGE", key, "-", "+"), stack.redis.command("XREVRANGE", key, "+", "-", "COUNT", 1)[0][0]
    head = is_fine(stack, 10)["head"]
    for what, (change, sentence) in TAMPERED.items():
        made = change(entries)
        rebuild(stack, key, made)
        status, said = verified(stack)
        assert status == 1 and not said["ok"] and "head" not in said, (what, said)
        assert sentence is None or sentence in said["why"], (what, said)
        named = [int(n) for n in re.findall(r"\d+", said["why"])]
        wanted = {"another outcome": 10, "the first removed": 1, "the end removed": 10, "another time": 1}.get(what, 5)
        assert named[0] <= wanted <= (named[1] if " to " in said["why"] else named[0]), (what, said)
        exported = errand(stack, "export")[1]
        path = os.path.join(folder, "x.ndjson")
        with open(path, "w", encoding="utf-8") as f:
            f.write(exported)
        assert verified(stack, "--file", path) == (status, said), what
        rebuild(stack, key, entries)
        assert is_fine(stack, 10)["head"] == head, what
    assert stack.redis.command("XREVRANGE", key, "+", "-", "COUNT", 1)[0][0] == last


def test_seals_that_are_changed_show(ten, stack):
    key = stack.shard() + "auditseal:default"
    seals = stack.redis.command("XRANGE", key, "-", "+")
    assert len(seals) >= 3
    for made, sentence in ((seals[1:], "begins at entry"), (seals[:1] + seals[2:], "begins at entry"), ([[seals[0][0], [b"from", b"1", b"h", b"0" * 64]]] + seals[1:], "not what was sealed"),
                           (seals + [[b"9999999999999-11", [b"from", b"11", b"h", b"0" * 64]]], "removed (a seal")):
        rebuild(stack, key, made)
        status, said = verified(stack)
        assert status == 1 and sentence in said["why"], said
        stack.redis.command("DEL", key)
        for identity, fields in seals:
            stack.redis.command("XADD", key, identity, *fields)
    is_fine(stack, 10)


def test_a_log_that_was_written_anew_as_a_whole_shows_to_those_who_noted_its_head(ten, stack):
    head = is_fine(stack, 10)["head"]
    pause(ten)
    wait_sealed(stack, 11)
    is_fine(stack, 11) and verified(stack, "--expect", head)[0] == 0
    later = is_fine(stack, 11)["head"]
    # Changed, and sealed again by a node that does not know.
    rebuild(stack, log_key(stack), changed(stack.redis.command("XRANGE", log_key(stack), "-", "+"), 5))
    stack.redis.command("DEL", stack.shard() + "auditseal:default")
    stack.redis.command("SADD", stack.shard() + "auditopen", "default")
    wait_sealed(stack, 11)
    is_fine(stack, 11)
    for noted in (head, later):
        status, said = verified(stack, "--expect", noted)
        assert status == 1 and "written anew" in said["why"], said
    status, said = verified(stack, "--expect", "12:" + later.split(":")[1])
    assert status == 1 and "before the expected entry 12" in said["why"]
    stack.redis.command("DEL", log_key(stack), stack.shard() + "auditseal:default")
    status, said = verified(stack, "--expect", head)
    assert status == 1 and "before the expected entry 10" in said["why"]


def test_a_beginning_that_was_removed_up_to_the_oldest_seal_is_said(ten, stack):
    """As trimming would leave it: only who knows what was there, or how old it was, can tell."""
    lines = export_of(ten)
    rebuild(stack, log_key(stack), stack.redis.command("XRANGE", log_key(stack), "-", "+")[3:])
    status, said = verified(stack)
    assert (status, said["begins"], said["trimmedAt"]) == (0, 4, lines[3]["at"])
    assert f"begins behind entry 3, of {lines[3]['at']}" in errand(stack, "verify")[1]
    status, said = verified(stack, "--expect", "0:" + lines[0]["h"])
    assert status == 1 and "begins at entry 4" in said["why"]


def test_seals_that_were_removed_are_made_again_and_nothing_stands_still(ten, stack):
    key = stack.shard() + "auditseal:default"
    for identity, _ in stack.redis.command("XRANGE", key, "-", "+")[-2:]:
        stack.redis.command("XDEL", key, identity)
    pause(ten)
    wait_sealed(stack, 11)
    is_fine(stack, 11)
    stack.redis.command("XTRIM", key, "MAXLEN", 0)
    pause(ten)
    wait_sealed(stack, 12)
    is_fine(stack, 12)


def test_nodes_that_seal_at_once_and_die_in_the_middle(stack, proxy):
    """Sealing goes on elsewhere, and the chain is one."""
    steady, n = [stack.api(), stack.api()], 0
    for round_ in range(3):
        victim = stack.api(env={"ERRAND_REDIS_URL": proxy.url})
        died = proxy.before(script_mark("audit_seal"), victim.kill9)

        def one_more():
            nonlocal n
            n += 1
            pause(steady[n % 2], f"q{n % 10}")
            return died.is_set()
        wait_until(one_more, 20, f"round {round_}: it is about to seal")
        wait_sealed(stack, n)
        is_fine(stack, n)
    # Each entry is sealed once.
    seals = [line for line in export_of(steady[0]) if line["kind"] == "seal"]
    assert [s["from"] for s in seals] == [1] + [s["n"] + 1 for s in seals[:-1]] and len(seals) > 3


# ---- full, away, old ----

def test_it_works_while_redis_is_full(api, stack):
    run = api.submit(HELLO, queue="nobody")
    stack.redis.set_maxmemory(1)
    try:
        assert api.post(f"/v1/runs/{run}/stop").status in (200, 202)
        wait_sealed(stack, 1)
        is_fine(stack, 1)
    finally:
        stack.redis.set_maxmemory(0)


def test_what_can_not_be_written_is_not_done(api, stack):
    # The log's key is of another kind: the entry is refused, and so is the deed.
    stack.redis.command("SET", log_key(stack), "x")
    answer = api.post("/v1/queues/q/pause")
    assert answer.status == 500 and "nothing was done" in answer.json()["detail"] and api.get("/v1/queues/q").json()["paused"] is False
    assert api.request("PUT", "/v1/agents/hello", HELLO).status == 500 and api.get("/v1/agents/hello").status == 404
    stack.redis.command("DEL", log_key(stack), stack.shard() + "auditopen")
    assert api.metric("errand_audit_failed_total") == 2


def test_redis_away_is_503_and_nothing_is_done(stack, proxy):
    api, other = stack.api(env={"ERRAND_REDIS_URL": proxy.url}), stack.api()
    proxy.cut(refuse=True)
    wait_until(lambda: not api.ready(), 10)
    answer = api.post("/v1/queues/q/pause")
    assert answer.status == 503 and answer.json()["code"] == "redis_unavailable"
    proxy.accept()
    wait_until(api.ready, 10)
    assert other.get("/v1/queues/q").json()["paused"] is False and entries_of(other) == []


def test_old_entries_go_up_to_a_seal_and_the_rest_still_verifies(stack):
    api = stack.api(env={"ERRAND_AUDIT_RETENTION_MS": 3000})
    for i in range(5):
        pause(api, f"q{i}")
    wait_sealed(stack, 5)
    head = is_fine(stack, 5)["head"]

    def begins():
        pause(api)
        status, said = verified(stack)
        assert status == 0, said
        return said["begins"] if said["begins"] > 5 else None
    wait_until(begins, 20, "the first five went")
    wait_sealed(stack, entries_of(api)[-1]["n"])
    said = verified(stack)[1]
    assert said["ok"] and api.get("/v1/audit").json()["begins"] >= said["begins"] > 5
    status, old = verified(stack, "--expect", head)
    assert status == (0 if said["begins"] == 6 else 1), old
    # What comes behind the last of them goes on with its number, also when all went.
    wait_until(lambda: stack.redis.command("XLEN", log_key(stack)) == 0, 20, "all went")
    last = verified(stack)[1]
    assert last["ok"] and last["entries"] == 0 and verified(stack, "--expect", last["head"])[0] == 0
    pause(api)
    entry = entries_of(api)[0]
    assert entry["n"] == int(last["head"].split(":")[0]) + 1
    wait_sealed(stack, entry["n"])
    assert verified(stack, "--expect", last["head"])[0] == 0


def test_entries_that_are_not_sealed_are_not_trimmed_away(stack, redis):
    api = stack.api(env={"ERRAND_AUDIT_RETENTION_MS": 1000})
    api.process.freeze()  # nobody seals
    fill(stack, 5)
    assert holds_for(lambda: redis.command("XLEN", log_key(stack)) == 5, 2) is None
    api.process.thaw()
    wait_sealed(stack, 5)
    wait_until(lambda: redis.command("XLEN", log_key(stack)) == 0, 90, "sealed, then trimmed")


def test_an_entry_costs_about_this_much(stack, capsys):
    """Without a node: nothing is sealed or trimmed."""
    fill(stack, 1000)
    used = stack.redis.command("MEMORY", "USAGE", log_key(stack), "SAMPLES", 0)
    with capsys.disabled():
        print(f"\nan entry takes {used / 1000:.0f} bytes of Redis")
    assert used / 1000 < 200


def test_doctor_knows_its_keys(ten, stack):
    env = stack.environment({"ERRAND_REDIS_URL": stack.redis.url, "ERRAND_PREFIX": stack.prefix})
    done = subprocess.run([os.path.join(build_dir(), "errand"), "doctor", "--audit"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
