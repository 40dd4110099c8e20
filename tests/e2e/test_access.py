"""Who may do what: each route, with each kind of credential and each scope; and that nothing of another workspace is told from nothing at all."""
import hashlib
import re
import statistics
import time

import pytest

from harness import agents, hooks
from harness.http_client import Connection, request
from harness.wait import wait_until
from test_keys import bearer, make

pytestmark = pytest.mark.root_key

RUN, NOBODY, NO_BUNDLE = "00000000-0000-4000-8000-000000000000", "0123456789abcdef", "sha256:" + "0" * 64

# operationId → the scope it needs: the test's own word, beside the route table. "": any valid key. None: no API key at all.
SCOPES = {
    "submitRun": "runs:create", "submitRuns": "runs:create", "submitAndStream": "runs:create", "submitAndWait": "runs:create", "rerunRun": "runs:create", "sendInput": "runs:create", "redriveRun": "runs:create",
    "bulkRuns": "runs:read", "listRuns": "runs:read", "getRun": "runs:read", "streamRun": "runs:read", "listEvents": "runs:read", "getTree": "runs:read", "getLogs": "runs:read",
    "stopRun": "runs:stop", "deleteRun": "runs:delete",
    "putAgent": "agents:write", "deleteAgent": "agents:write", "getAgent": "agents:read", "listAgents": "agents:read",
    "listArtifacts": "storage:read", "getArtifact": "storage:read", "putArtifact": "storage:write", "deleteArtifact": "storage:write",
    "listAgentVersions": "agents:read", "rollbackAgent": "agents:write", "beginBundle": "agents:write", "listBundles": "agents:read", "getBundle": "agents:read", "deleteBundle": "agents:write",
    "completeBundle": "agents:write", "putBundleChunk": "agents:write", "getBundleChunk": "agents:read",
    "createSchedule": "schedules:write", "putSchedule": "schedules:write", "deleteSchedule": "schedules:write", "pauseSchedule": "schedules:write", "resumeSchedule": "schedules:write",
    "triggerSchedule": "schedules:write", "listSchedules": "schedules:read", "getSchedule": "schedules:read",
    "putSecret": "secrets:write", "deleteSecret": "secrets:write", "listSecrets": "secrets:read", "getSecret": "secrets:read", "rekeySecrets": "workspaces:admin",
    "listRunners": "runners:read", "drainRunner": "runners:write",
    "listQueues": "queues:read", "getQueue": "queues:read", "putQueue": "queues:write", "pauseQueue": "queues:write", "resumeQueue": "queues:write", "drainQueue": "queues:write",
    "listWorkspaces": "workspaces:admin", "getWorkspace": "workspaces:admin", "putWorkspace": "workspaces:admin", "deleteWorkspace": "workspaces:admin",
    "createKey": "keys:admin", "listKeys": "keys:admin", "getKey": "keys:admin", "putKey": "keys:admin", "rotateKey": "keys:admin", "revokeKey": "keys:admin",
    "listAudit": "audit:read",
    "listTrust": "trust:admin", "putTrust": "trust:admin", "getTrust": "trust:admin", "deleteTrust": "trust:admin",
    "createWebhook": "webhooks:write", "putWebhook": "webhooks:write", "deleteWebhook": "webhooks:write", "rotateWebhook": "webhooks:write", "testWebhook": "webhooks:write",
    "resendDelivery": "webhooks:write", "listWebhooks": "webhooks:read", "getWebhook": "webhooks:read", "listDeliveries": "webhooks:read",
    "whoami": "", "beginSession": "", "endSession": "",
    "listStorage": None, "getStorage": None, "putStorage": None, "deleteStorage": None,
    "postEvents": None, "getManifest": None, "getHealth": None, "getReadiness": None, "getMetrics": None, "getOpenapi": None, "exchangeToken": None,
}
OPEN = {"getHealth": 200, "getReadiness": 200, "getMetrics": 200, "getOpenapi": 200, "exchangeToken": 400}  # without credentials; what an empty request is answered
REFUSED_TO_ALL = ("endSession",)  # 403 to a key: it wants a session
ALIASES = [("POST", "/agents/run-code/start", "submitRun"), ("POST", "/agents/run-code/stream", "submitAndStream"), ("POST", "/rest/{agent}", "submitAndWait"), ("GET", "/runs", "listRuns"), ("GET", "/runs/{id}", "getRun"),
           ("DELETE", "/runs/{id}", "deleteRun"), ("GET", "/runs/{id}/stream", "streamRun"), ("POST", "/runs/{id}/stop", "stopRun")]


def filled(path, run=RUN, name="nobody", key=NOBODY, hook=NOBODY, delivery=NOBODY, bundle=NO_BUNDLE):
    """A path whose parameters name what is not there, or what is given."""
    for prefix, value in (("/keys/", key), ("/runs/", run), ("/webhooks/", hook), ("/deliveries/", delivery), ("/bundles/", bundle), ("/chunks/", "0")):
        path = re.sub(rf"({prefix})\{{\w+\}}", rf"\g<1>{value}", path)
    return re.sub(r"\{\w+\}", name, path)


def operations(api):
    """(method, path with its parameters, operationId) of every route, aliases included; each has its row in SCOPES."""
    paths = request(api.port, "GET", "/openapi.json").json()["paths"]
    found = [(method.upper(), path, item[method]["operationId"], item[method].get("x-required-scope", "")) for path, item in paths.items() for method in item if method != "parameters"]
    assert {operation for _, _, operation, _ in found} == set(SCOPES), "each route has its row, and each row its route"
    for _, path, operation, scope in found:
        assert scope == (SCOPES[operation] or ""), path
    return [row[:3] for row in found] + ALIASES


def scopes_of(api):
    return sorted({s for s in SCOPES.values() if s} | set(api.get("/v1/whoami").json()["scopes"]))


class Caller:
    """Requests over one connection, as long as it lives."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def status(self, method, path, headers, body=None):
        return self.ask(method, path, headers, body).status

    def ask(self, method, path, headers, body=None):
        for _ in range(2):
            try:
                self.connection = self.connection or Connection(self.port)
                answer = self.connection.request(method, path, body, headers)
            except (ConnectionError, BrokenPipeError):
                self.connection = None
                continue
            if answer.headers.get("connection") == "close":
                self.connection.close()
                self.connection = None
            return answer
        raise AssertionError(f"no answer to {method} {path}")


def test_every_route_with_every_scope_and_every_kind_of_credential(stack):
    api = stack.api(env={"ERRAND_AUTH_FAILURES_MAX": "0", "ERRAND_MASTER_KEY": hooks.MASTER_KEY})
    caller, wrong = Caller(api.port), []
    scopes = scopes_of(api)
    assert len(scopes) >= 20
    keys = {scope: make(api, scopes=[scope])["key"] for scope in scopes}
    everything = make(api, scopes=scopes)
    bad = {
        "no key": {},
        "bad checksum": bearer(everything["key"][:-1] + ("a" if everything["key"][-1] != "a" else "b")),
        "unknown": None,
        "revoked": bearer(make(api, scopes=scopes)["key"]),
        "expired": bearer(make(api, scopes=scopes, expiresInMs=1)["key"]),
    }
    gone = make(api, scopes=scopes)
    api.stack.redis.command("DEL", f"{stack.prefix}{{g}}:key:{gone['id']}")
    bad["unknown"] = bearer(gone["key"])
    api.request("DELETE", f"/v1/keys/{bad['revoked']['Authorization'][14:30]}")
    far = bearer(make(api, scopes=scopes, cidrs=["192.0.2.0/24"])["key"])
    for name, headers in bad.items():
        wait_until(lambda headers=headers: caller.status("GET", "/v1/whoami", headers) == 401, 2, name)
    count = 0
    for method, path, operation in operations(api):
        needed, body = SCOPES[operation], {} if method in ("POST", "PUT") else None
        at = filled(path)
        for name, headers in bad.items():
            status, want = caller.status(method, at, headers, body), OPEN.get(operation, 401)
            if status != want:
                wrong.append((name, method, at, status, want))
        if needed is None:
            for headers in (far, bearer(everything["key"])):
                status, want = caller.status(method, at, headers, body), OPEN.get(operation, 401)
                if status != want:
                    wrong.append(("an API key", method, at, status, want))
            continue
        if caller.status(method, at, far, body) != 403:
            wrong.append(("wrong CIDR", method, at))
        for scope in scopes:
            status, count = caller.status(method, at, bearer(keys[scope]), body), count + 1
            allowed = needed in ("", scope) and operation not in REFUSED_TO_ALL
            if (status == 403) == allowed or status in (401, 429) or status >= 500:
                wrong.append((scope, method, at, status, "let in" if allowed else 403))
    assert not wrong, wrong[:20]
    assert count > 20 * 40


def test_a_key_of_another_agent(api, runner):
    """Wrong agent: every route that names a run or an agent, or makes a run."""
    for name in ("mine", "theirs"):
        assert api.request("PUT", f"/v1/agents/{name}", agents.shell("exit 0", name=name)).status == 201
    theirs = api.submit("theirs")
    api.wait(theirs)
    narrow = bearer(make(api, scopes=["runs:create", "runs:read", "runs:stop", "runs:delete", "agents:read"], agents=["mine"])["key"])
    caller, seen = Caller(api.port), 0
    for method, path, operation in operations(api):
        if not (SCOPES[operation] or "").startswith(("runs:", "agents:read")) or "{" not in path or operation == "submitAndWait":
            continue
        seen += 1
        there, nowhere = caller.ask(method, filled(path, run=theirs, name="theirs"), narrow), caller.ask(method, filled(path, name="nobody"), narrow)
        if operation == "getTree":
            assert there.status == nowhere.status == 403
            continue
        assert there.status == nowhere.status == 404, (method, path, there)
        assert there.body.replace(theirs.encode(), b"").replace(b"theirs", b"") == nowhere.body.replace(RUN.encode(), b"").replace(b"nobody", b""), (method, path)
    assert seen >= 14
    for path, body in (("/v1/runs", {"agent": "theirs"}), ("/v1/runs/stream", {"agent": "theirs"}), ("/v1/runs/wait", {"agent": "theirs"}), ("/rest/theirs", {}), ("/agents/run-code/start", {"agentId": "theirs"})):
        assert caller.status("POST", path, narrow, body) == 403, path
    assert caller.ask("POST", "/v1/runs/bulk", narrow, {"action": "delete", "filter": {"agent": "theirs"}}).json()["done"] == 0
    assert api.record(theirs)["status"] == "success"


def things_of(api, headers):
    """One of each thing, in the workspace of the credential: what fills the parameters of paths."""
    api.request("PUT", "/v1/agents/ours", agents.shell("exit 0", name="ours"), headers=headers)
    run = api.post("/v1/runs", {"agent": "ours"}, headers=headers).json()["runId"]
    wait_until(lambda: api.get(f"/v1/runs/{run}", headers=headers).json()["status"] == "success", 20)
    assert api.request("PUT", "/v1/schedules/ours", {"everyMs": 86400000, "run": {"agent": "ours"}}, headers=headers).status == 201
    policy = {"issuer": "https://issuer.example.com", "audience": "errand", "claims": {"sub": "x"}, "scopes": ["runs:read"]}
    assert api.request("PUT", "/v1/trust/ours", policy, headers=headers).status == 201
    assert api.request("PUT", "/v1/secrets/ours", {"value": "x"}, headers=headers).status == 201
    key = api.post("/v1/keys", {"name": "ours", "scopes": ["runs:read"]}, headers=headers).json()["id"]
    hook = api.post("/v1/webhooks", {"url": "https://127.0.0.1:1/", "events": ["run.error"]}, headers=headers).json()["id"]
    delivery = api.post(f"/v1/webhooks/{hook}/test", headers=headers).json()["deliveryId"]
    assert api.request("PUT", "/v1/artifacts/ours", b"x", headers=headers).status == 201
    bundle = "sha256:" + hashlib.sha256(b"code").hexdigest()
    assert api.post("/v1/bundles", {"digest": bundle, "bytes": 4}, headers=headers).status == 200 and api.request("PUT", f"/v1/bundles/{bundle}/chunks/0", b"code", headers).status == 204
    assert api.post(f"/v1/bundles/{bundle}/complete", headers=headers).status == 200
    return {"bundle": bundle, "run": run, "name": "ours", "key": key, "hook": hook, "delivery": delivery}


# What makes or replaces by name what is not there yet: it is made in the caller's own workspace, whatever others have.
MAKES = ("putArtifact", "putAgent", "putSchedule", "putTrust", "putSecret")
# They name what the whole deployment has; the key of the test has no scope for them.
BEYOND = ("runners:", "queues:", "workspaces:")


def test_what_another_workspace_has_is_as_if_it_were_not_there(stack):
    api = stack.api(env=hooks.ENV)
    stack.runner(api=api)
    a, b = ({"X-Errand-Workspace": w} for w in ("alpha", "beta"))
    theirs = things_of(api, a)
    key = bearer(make(api, scopes=["*"], workspace="beta")["key"])
    assert b and api.get("/v1/whoami", headers=key).json()["workspace"] == "beta"
    caller, timings, seen = Caller(api.port), {}, 0
    for method, path, operation in operations(api):
        needed = SCOPES[operation]
        if needed is None or "{" not in path or operation in MAKES or needed.startswith(BEYOND):
            continue
        seen += 1
        bodies = {"sendInput": {"data": 1}, "putKey": {"name": "x", "scopes": ["runs:read"]}, "putWebhook": {"url": "https://example.com/", "events": ["run.error"]}, "rollbackAgent": {"version": 1}}
        body = bodies[operation] if operation in bodies else {} if method in ("POST", "PUT") else None
        at, nowhere = filled(path, **theirs), filled(path, run=theirs["run"][:2] + RUN[2:])
        answers = [caller.ask(method, p, key, body) for p in (at, nowhere)]
        assert answers[0].status == answers[1].status == 404, (method, at, answers)
        told = []
        for p, answer in zip((at, nowhere), answers):
            text = answer.body.decode()
            for value in (p, *theirs.values(), theirs["run"][:2] + RUN[2:], "nobody", NOBODY, NO_BUNDLE):
                text = text.replace(value, "")
            told.append((text, {n: v for n, v in answer.headers.items() if n not in ("x-request-id", "content-length", "date")}))
        assert told[0] == told[1], (method, at)
        timings[(method, path)] = (at, nowhere, body)
    assert seen >= 25
    for method, path, operation in operations(api):  # alpha still has all of it
        if method == "GET" and "{" in path and operation not in ("streamRun", "getManifest") and not (SCOPES[operation] or "runners:").startswith(BEYOND):
            assert api.get(filled(path, **theirs), headers=a).status == 200, path
    slower = []
    for (method, path), (at, nowhere, body) in timings.items():
        took = ([], [])
        for i in range(40):
            for which, p in enumerate((at, nowhere)):
                began = time.perf_counter()
                caller.ask(method, p, key, body)
                took[which].append(time.perf_counter() - began)
        here, there = (statistics.median(t) for t in took)
        if abs(here - there) > max(0.4 * max(here, there), 0.001):
            slower.append((method, path, here, there))
    assert not slower, slower


@pytest.mark.parametrize("scope", ["runs:read", "runs:stop"])
def test_bulk_needs_the_scope_of_its_action(api, scope):
    key = bearer(make(api, scopes=sorted({"runs:read", scope}))["key"])
    for action, needed in (("stop", "runs:stop"), ("delete", "runs:delete"), ("rerun", "runs:create"), ("redrive", "runs:create")):
        status = api.post("/v1/runs/bulk", {"action": action, "filter": {"agent": "x"}}, headers=key).status
        assert status == (200 if needed == scope else 403), action
