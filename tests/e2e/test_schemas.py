"""Schemas of agents: what is no schema is refused; an input that does not meet its agent's is refused on every route, with a pointer to each fault; results get warnings, or are an error."""
import json

import pytest

from harness import agents
from harness.wait import wait_until
from test_ingress import Remote, event, terminal

INPUT = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 1, "maximum": 14}}, "additionalProperties": False}
GOOD, BAD = {"city": "Oslo", "days": 3}, {"days": 0, "more": 1}
FAULTS = [("", "required"), ("/days", "minimum"), ("/more", "additionalProperties")]
QUICK = agents.shell("true", name="quick", protocol="text", inputSchema=INPUT)


def put(api, definition, name=None, status=(200, 201)):
    answer = api.request("PUT", f"/v1/agents/{name or definition['name']}", definition)
    assert answer.status in status, answer
    return answer


def check_refused(answer, faults=None):
    """A 400 input_invalid that names each fault."""
    assert (answer.status, answer.code) == (400, "input_invalid"), answer
    body = answer.json()
    assert [(f["pointer"], f["keyword"]) for f in body["faults"]] == (faults or FAULTS), body
    assert all(f["message"] for f in body["faults"]) and body["detail"].startswith("input")
    return body


def count(api):
    return len(api.get("/v1/runs?limit=200").json()["runs"])


def scripts(stack, name="fcall"):
    return int(stack.redis.command("INFO", "commandstats").decode().split(f"cmdstat_{name}:calls=")[1].split(",")[0])


# ---- definitions ----

@pytest.mark.parametrize("field", ["inputSchema", "outputSchema"])
def test_what_is_no_schema_is_refused(api, field):
    for schema, where in (({"type": "strin"}, "/type"), ({"properties": {"a": {"minimun": 1}}}, "/properties/a/minimun"), ({"unevaluatedProperties": False}, "/unevaluatedProperties"),
                          ({"pattern": "("}, "/pattern"), ({"$ref": "#/$defs/a"}, "$ref"), ({"$ref": "#"}, "$ref"), ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"), ([], "object")):
        for answer in (put(api, {**QUICK, "inputSchema": {}, field: schema}, status=(400,)), api.post("/v1/runs", {"agent": {**QUICK, "inputSchema": {}, field: schema}})):
            assert answer.status == 400 and answer.code == "invalid_field" and field in answer.json()["detail"] and where in answer.json()["detail"], answer
    assert count(api) == 0


def test_strict_output_wants_a_schema(api):
    assert "outputSchema" in put(api, {**QUICK, "strictOutput": True}, status=(400,)).json()["detail"]


# ---- inputs ----

def test_every_route_refuses_and_takes(api, runner):
    """Named and inline; nothing is left of what was refused."""
    put(api, QUICK)
    for agent in ("quick", QUICK):
        for path in ("/v1/runs", "/v1/runs/stream", "/v1/runs/wait", "/agents/run-code/start", "/agents/run-code/stream"):
            check_refused(api.post(path, {"agent": agent, "input": BAD}))
            check_refused(api.post(path, {"agent": agent}), [("", "type")])
        assert api.post("/v1/runs", {"agent": agent, "input": GOOD}).status == 202
        assert api.post("/v1/runs/wait", {"agent": agent, "input": GOOD}).json()["status"] == "success"
    check_refused(api.post("/rest/quick", BAD))
    assert api.post("/rest/quick", GOOD).status == 200
    assert count(api) == 5


def test_each_item_of_a_batch(api):
    put(api, QUICK)
    put(api, agents.shell("true", name="free", protocol="text"))
    runs = [{"agent": "quick", "input": GOOD}, {"agent": "quick", "input": BAD}, {"agent": "free", "input": BAD}, {"agent": QUICK, "input": BAD}, {"agent": "quick", "input": GOOD, "dependsOn": ["#1"]}]
    results = api.post("/v1/runs/batch", {"runs": runs}).json()["results"]
    assert "runId" in results[0] and "runId" in results[2]
    for i in (1, 3):
        assert results[i]["error"]["code"] == "input_invalid" and [(f["pointer"], f["keyword"]) for f in results[i]["error"]["faults"]] == FAULTS
    assert results[4]["error"]["code"] == "dependency_refused" and count(api) == 2


def test_many_faults_are_cut(api):
    put(api, {**QUICK, "inputSchema": {"items": {"type": "string"}}})
    assert len(api.post("/v1/runs", {"agent": "quick", "input": list(range(100))}).json()["faults"]) == 16
    assert len(api.post("/v1/runs", {"agent": "quick", "input": ["x" * 1000, {"y" * 3000: 1}]}).json()["faults"]) == 1
    put(api, {**QUICK, "inputSchema": {"additionalProperties": {"additionalProperties": False}}})
    long = {f"\u0001{i}" * 100: {f"\u0002{i}" * 100: 1} for i in range(20)}
    assert len(api.post("/v1/runs", {"agent": "quick", "input": long}).json()["faults"]) == 16


def test_a_new_version_counts_at_once_on_every_node(apis):
    """What a node knows of an agent is never taken for the newest."""
    put(apis[0], QUICK)
    for api in apis:
        assert api.post("/v1/runs", {"agent": "quick", "input": GOOD}).status == 202
        check_refused(api.post("/v1/runs", {"agent": "quick", "input": BAD}))
    put(apis[0], {**QUICK, "inputSchema": {"type": "object", "required": ["town"]}})
    for api in reversed(apis):
        check_refused(api.post("/v1/runs", {"agent": "quick", "input": GOOD}), [("", "required")])
        assert api.post("/v1/runs", {"agent": "quick", "input": {"town": "Oslo"}}).status == 202
    put(apis[1], agents.shell("true", name="quick", protocol="text"))
    for api in apis:
        assert api.post("/v1/runs", {"agent": "quick", "input": 7}).status == 202
    put(apis[1], QUICK)
    for api in apis:
        check_refused(api.post("/v1/runs", {"agent": "quick", "input": BAD}))


def test_a_checked_submit_costs_one_call(stack, api):
    """But the first of an agent."""
    put(api, QUICK)
    put(api, agents.shell("true", name="free", protocol="text"))
    assert api.post("/v1/runs", {"agent": "quick", "input": GOOD}).status == 202
    def cost(agent, n=200):
        before = scripts(stack)
        answers = [api.post("/v1/runs", {"agent": agent, "input": GOOD}).status for _ in range(n)]
        assert answers == [202] * n
        return scripts(stack) - before
    free, checked = cost("free"), cost("quick")
    assert 200 <= checked <= free + 50, (free, checked)


def test_an_idempotency_key_gives_the_first_answer(api):
    put(api, QUICK)
    key = {"Idempotency-Key": "k"}
    check_refused(api.post("/v1/runs", {"agent": "quick", "input": BAD}, headers=key))
    first = api.post("/v1/runs", {"agent": "quick", "input": GOOD}, headers=key)
    assert first.status == 202, "what was refused took no key"
    put(api, {**QUICK, "inputSchema": {"type": "string"}})
    again = api.post("/v1/runs", {"agent": "quick", "input": GOOD}, headers=key)
    assert again.status == 202 and again.json()["runId"] == first.json()["runId"]


def test_a_rerun_is_of_the_version_that_it_was(api, runner):
    put(api, QUICK)
    run_id = api.submit("quick", GOOD)
    api.wait(run_id)
    put(api, {**QUICK, "inputSchema": {"type": "string"}})
    assert api.post(f"/v1/runs/{run_id}/rerun").status == 202


def test_the_simple_form(api):
    put(api, {**QUICK, "inputSchema": {"name": "string", "n": "integer", "x": "float", "on": "boolean", "all": "list", "any": "json"}})
    good = {"name": "a", "n": 1, "x": 0.5, "on": True, "all": [], "any": None}
    assert api.post("/v1/runs", {"agent": "quick", "input": good}).status == 202
    check_refused(api.post("/v1/runs", {"agent": "quick", "input": {**good, "n": 1.5, "more": 1}}), [("/n", "type"), ("/more", "additionalProperties")])
    shown = api.get("/v1/agents/quick").json()
    assert (shown.get("definition") or shown)["inputSchema"]["n"] == "integer", "kept as it was sent"


def test_a_pattern_that_never_ends_ends(api):
    put(api, {**QUICK, "inputSchema": {"type": "string", "pattern": "^(a+)+$"}})
    assert api.post("/v1/runs", {"agent": "quick", "input": "aaa"}).status == 202
    answer = api.post("/v1/runs", {"agent": "quick", "input": "a" * 5000 + "!"}, timeout=10)
    assert (answer.status, answer.code) == (400, "input_invalid"), answer


def test_a_batch_is_no_way_around_the_bounds(api):
    """All of its items together may cost what one may."""
    put(api, {**QUICK, "inputSchema": {"items": {"enum": list(range(4000))}}})
    ok = {"agent": "quick", "input": [3999] * 100}
    results = api.post("/v1/runs/batch", {"runs": [ok] * 100}, timeout=20).json()["results"]
    taken = [r for r in results if "runId" in r]
    assert 5 <= len(taken) <= 12 and all("more steps" in r["error"]["faults"][0]["message"] for r in results if "error" in r)
    assert api.post("/v1/runs", ok).status == 202, "each request has its own"


# ---- schedules ----

def test_a_schedule_is_checked_when_it_is_made_and_at_each_tick(api, runner):
    put(api, QUICK)
    for agent in ("quick", QUICK):
        check_refused(api.request("PUT", "/v1/schedules/s", {"everyMs": 1000, "run": {"agent": agent, "input": BAD}}))
    assert api.get("/v1/schedules/s").status == 404
    assert api.request("PUT", "/v1/schedules/s", {"everyMs": 1000, "overlap": "allow", "run": {"agent": "quick", "input": GOOD}}).status == 201
    wait_until(lambda: api.get("/v1/schedules/s").json()["runs"] >= 2, 15, "ticks that are good")
    assert api.post("/v1/schedules/s/trigger").status == 202
    put(api, {**QUICK, "inputSchema": {"type": "object", "required": ["city"]}})
    runs = api.get("/v1/schedules/s").json()["runs"]
    wait_until(lambda: api.get("/v1/schedules/s").json()["runs"] > runs, 15, "another schema, which it meets")
    put(api, {**QUICK, "inputSchema": {"type": "string"}})
    wait_until(lambda: api.get("/v1/schedules/s").json().get("lastError") == "input_invalid", 15, "one that it does not meet")
    check_refused(api.post("/v1/schedules/s/trigger"), [("", "type")])
    skipped = api.get("/v1/schedules/s").json()["skipped"]
    wait_until(lambda: api.get("/v1/schedules/s").json()["skipped"] > skipped, 15, "it goes on")
    put(api, QUICK)
    wait_until(lambda: "lastError" not in api.get("/v1/schedules/s").json(), 15, "and is well again")


# ---- results ----

OUTPUT = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_a_result_gets_warnings(stack, api, runner):
    echo = agents.python(stack.folder, 'end("success", **({"result": job["input"]} if job["input"] != "none" else {}))', "echo", outputSchema=OUTPUT)
    good, bad, none = (api.wait(api.submit(echo, given)) for given in ({"n": 1}, {"n": "x"}, "none"))
    assert good["status"] == bad["status"] == none["status"] == "success"
    assert good["schemaWarnings"] == [] and bad["result"] == {"n": "x"}
    assert bad["schemaWarnings"] == [{"pointer": "/n", "keyword": "type", "message": "must be integer, not string"}]
    assert none["schemaWarnings"][0]["keyword"] == "type", "nothing counts as null"


def test_a_strict_result_is_an_error_that_may_be_tried_again(stack, api, runner):
    text = 'end("success", result={"n": 1 if os.environ["ERRAND_ATTEMPT"] == "2" else "x"})'
    fields = {"outputSchema": OUTPUT, "strictOutput": True, "backoff": {"type": "fixed", "baseMs": 1}}
    once = api.wait(api.submit(agents.python(stack.folder, text, "strict", **fields)))
    assert once["status"] == "error" and once["error"]["class"] == "output_invalid" and "/n" in once["error"]["message"] and "result" not in once, once
    assert once["schemaWarnings"] == []
    again = api.wait(api.submit(agents.python(stack.folder, text, "strict", maxAttempts=2, **fields)))
    assert again["status"] == "success" and again["result"] == {"n": 1} and [a.get("error", {}).get("class") for a in again["attempts"]] == ["output_invalid", None]
    never = api.wait(api.submit(agents.python(stack.folder, text, "strict", maxAttempts=2, noRetryOn=["output_invalid"], **fields)))
    assert never["status"] == "error" and never["attempt"] == 1


def test_an_error_is_not_checked(stack, api, runner):
    record = api.wait(api.submit(agents.python(stack.folder, 'end("error", error={"message": "no"}, result=1)', "failing", outputSchema=OUTPUT, strictOutput=True)))
    assert record["error"] == {"class": "agent_error", "message": "no"} and record["schemaWarnings"] == []


def test_a_text_is_a_string(api, runner):
    record = api.wait(api.submit(agents.shell("echo hello", protocol="text", outputSchema={"type": "string", "maxLength": 3})))
    assert [w["keyword"] for w in record["schemaWarnings"]] == ["maxLength"]
    record = api.wait(api.submit(agents.shell("echo hello", protocol="text", outputSchema={"type": "object"}, strictOutput=True)))
    assert record["error"]["class"] == "output_invalid"


@pytest.mark.parametrize("strict", [False, True])
def test_a_claimed_result_is_checked_when_it_is_taken(stack, api, runner, strict):
    """So that it is also when the runner is gone and a reaper honours the claim. A batch that is sent again is the same again."""
    remote = Remote(stack, api, outputSchema=OUTPUT, strictOutput=strict)
    t = remote.now()
    end = [event(10, t, text="x"), terminal(11, t, result={"n": "x"})]
    assert remote.batch(*end).status == 202
    assert remote.batch(*end).json()["duplicate"] is True
    runner.kill9()
    record = api.wait(remote.run_id, timeout=40)
    if strict:
        assert record["status"] == "error" and record["error"]["class"] == "output_invalid" and "/n" in record["error"]["message"] and "result" not in record
    else:
        assert record["status"] == "success" and record["result"] == {"n": "x"} and [w["pointer"] for w in record["schemaWarnings"]] == ["/n"]
    last = json.loads(list(api.replay(remote.run_id).lines())[-1])
    assert last["kind"] == "runtime_terminal" and last["data"]["status"] == record["status"]


def test_a_claimed_result_that_is_good(stack, api, runner):
    remote = Remote(stack, api, outputSchema=OUTPUT, strictOutput=True)
    assert remote.batch(terminal(10, remote.now(), result={"n": 1})).status == 202
    remote.exit()
    record = api.wait(remote.run_id)
    assert record["status"] == "success" and record["result"] == {"n": 1} and record["schemaWarnings"] == []
