"""A run from end to end over HTTP: submitted here, read there, retried, delayed, waited for, listed, rerun, deleted."""
import json
import time

import pytest

from harness import agents
from harness.delivery import check_exact_delivery, check_no_keys_left
from harness.http_client import Connection, encode, request
from harness.sse import Stream, stream_path
from harness.wait import holds_for, wait_until

HELLO = agents.shell("echo hello", name="hello", protocol="text")


def echo(folder):
    """Its result is what it was given."""
    return agents.python(folder, 'end("success", result={"input": job["input"], "keys": sorted(job), "env": {k: v for k, v in os.environ.items()}, "argv": sys.argv[1:], "cwd": os.getcwd()})', "echo")


def events_of(api, run_id):
    return [json.loads(line) for line in api.replay(run_id).lines()]


# ---- submit and read ----

def test_submitted_here_read_there(stack, apis, runner):
    answer = apis[0].post("/v1/runs", {"agent": agents.counter(stack.folder), "input": {"n": 50, "group": 5, "pauseMs": 10}})
    assert answer.status == 202
    body = answer.json()
    run_id = body["runId"]
    assert set(body) == {"runId", "status", "streamUrl"} and body["status"] == "queued"
    assert answer.headers["location"] == f"/v1/runs/{run_id}" and body["streamUrl"].split("?")[0] == stream_path(run_id)
    with apis[1].stream(run_id) as stream:
        first = stream.next(10)
        assert first.event == "run" and first.id is None and stream.retry_ms == 1000
        summary = json.loads(first.data)
        assert summary["runId"] == run_id and not {"input", "result", "attempts", "schemaWarnings"} & set(summary)
        frames = stream.frames()
    assert [f.event for f in frames] == ["runtime_started"] + ["assistant_text"] * 50 + ["runtime_terminal", "done"]
    assert [f.seq for f in frames[:-1]] == list(range(1, 53)) and frames[-1].id is None
    final = json.loads(frames[-1].data)
    assert final["status"] == "success" and final["result"] == {"n": 50} and "input" not in final and len(final["attempts"]) == 1
    record = apis[0].record(run_id)
    assert record["input"] == {"n": 50, "group": 5, "pauseMs": 10} and record["eventCount"] == 52 and record["lastSeq"] == 52
    check_exact_delivery(stack, [run_id])


def test_twenty_readers_that_disconnect_at_random(stack, apis, runner):
    """5,000 events; each reader drops its connection again and again and resumes on a node drawn by chance."""
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 5000, "size": 60, "group": 50, "pauseMs": 20})
    live = [stack.reader(run_id, seed=i, cut_between=(2000, 120000)) for i in range(20)]
    record = check_exact_delivery(stack, [run_id], {run_id: live}, timeout=90)[run_id]
    assert record["status"] == "success" and record["eventCount"] == 5002
    assert sum(r.record.connections for r in live) > 60


def test_the_first_event_is_always_the_start(stack, api, runner):
    """Also of an agent that prints and ends at once."""
    runs = [api.submit(HELLO) for _ in range(60)]
    for run_id in runs:
        assert api.wait(run_id)["status"] == "success"
        assert [e["kind"] for e in events_of(api, run_id)] == ["runtime_started", "assistant_text", "runtime_terminal"]
        assert api.record(run_id)["attempt"] == 1


def test_what_an_agent_is_given(stack, api, runner):
    definition = {**echo(stack.folder), "env": [{"key": "FROM_AGENT", "value": "a", "description": "x"}, {"key": "BOTH", "value": "agent"}]}
    run_id = api.submit(definition, {"x": [1, 2.50, "ü\u2028", None]}, env={"FROM_RUN": "r", "BOTH": "run"})
    record = api.wait(run_id)
    assert record["status"] == "success", record
    env = record["result"]["env"]
    assert env["ERRAND_RUN_ID"] == run_id and env["ERRAND_ATTEMPT"] == "1" and env["ERRAND_API_BASE"] == api.url
    assert (env["FROM_AGENT"], env["FROM_RUN"], env["BOTH"]) == ("a", "r", "run")
    assert not [k for k in env if k.startswith("ERRAND_REDIS") or k == "ERRAND_ROOT_KEY"] and not [key for key in (stack.key, stack.root_key) if key in json.dumps(env)]
    assert record["result"]["input"] == {"x": [1, 2.5, "ü\u2028", None]}


def test_text_protocol_and_standard_error(api, runner):
    run_id = api.submit(agents.shell("printf 'one\\ntw'; printf 'o\\n\\303\\050'; echo problem >&2", protocol="text", name="t"))
    record = api.wait(run_id)
    assert record["status"] == "success" and record["result"] == "one\ntwo\n\ufffd("
    events = events_of(api, run_id)
    assert "".join(e["data"]["text"] for e in events if e["kind"] == "assistant_text") == "one\ntwo\n\ufffd("
    assert [e["data"] for e in events if e["kind"] == "notification"] == [{"stream": "stderr", "text": "problem"}]
    logs = api.get(f"/v1/runs/{run_id}/logs?lines=10").json()["lines"]
    assert [(l["stream"], l["text"]) for l in logs] == [("stderr", "problem")]


@pytest.mark.parametrize("text, result, logged", [
    ("cat /dev/stdin", '{"', []), ("echo hello > /dev/stdout", "hello\n", []), ("echo hello > /dev/stderr", "", ["hello"]), ("cat /proc/self/fd/0 | tee /dev/stderr > /dev/null", "", ['{"']),
])
def test_standard_streams_can_be_opened_by_name(api, runner, text, result, logged):
    """As programs do that want a file's name; a socket could not be opened so."""
    run_id = api.submit(agents.shell(text, protocol="text", name="named"))
    record = api.wait(run_id)
    assert record["status"] == "success", record
    assert record["result"].startswith(result) and bool(record["result"]) == bool(result)
    lines = [line["text"] for line in api.get(f"/v1/runs/{run_id}/logs").json()["lines"]]
    assert len(lines) == len(logged) and all(line.startswith(start) for line, start in zip(lines, logged)), lines


@pytest.mark.parametrize("text, error", [
    ("exit 3", "exit_nonzero"), ("kill -9 $$", "signal"), ("echo '{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\",\"error\":{\"message\":\"no luck\"}}}'", "agent_error"),
    ("echo '{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\",\"result\":1}}'; exit 1", "exit_nonzero"), ("exec sleep 100", "timeout"),
])
def test_how_a_run_fails(api, runner, text, error):
    run_id = api.submit(agents.shell(text, name="f", graceMs=500), timeoutMs=700 if error == "timeout" else 60000)
    record = api.wait(run_id)
    assert record["status"] == "error" and record["error"]["class"] == error and record["failures"] == 1, record
    last = events_of(api, run_id)[-1]
    assert last["kind"] == "runtime_terminal" and last["data"]["error"] == record["error"]


def test_a_command_that_is_not_there(api, runner):
    record = api.wait(api.submit(agents.process(["/nonexistent/agent"])))
    assert record["status"] == "error" and record["error"]["class"] == "start_failed" and "No such file" in record["error"]["message"]


def test_retries_until_it_succeeds(stack, api, runner):
    run_id = api.submit(agents.fails_until(stack.folder, 3))
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["attempt"] == 3 and record["failures"] == 2 and record["result"] == {"attempt": 3}
    kinds = [e["kind"] for e in events_of(api, run_id)]
    assert kinds == ["runtime_started", "stream_error"] * 2 + ["runtime_started", "runtime_terminal"]


def test_retries_are_used_up(stack, api, runner):
    agent = {**agents.fails_until(stack.folder, 9), "maxAttempts": 2}
    record = api.wait(api.submit(agent))
    assert record["status"] == "error" and record["attempt"] == 2 and record["failures"] == 2
    record = api.wait(api.submit({**agent, "maxAttempts": 5, "atMostOnce": True}))
    assert record["status"] == "error" and record["attempt"] == 1


def test_delays_and_due_times(api, runner):
    run_id = api.submit(HELLO, delayMs=700)
    assert api.record(run_id)["status"] == "scheduled" and "scheduledAt" in api.record(run_id)
    record = api.wait(run_id)
    created, started = (time.mktime(time.strptime(record[k][:19], "%Y-%m-%dT%H:%M:%S")) + int(record[k][20:23]) / 1000 for k in ("createdAt", "startedAt"))
    assert 0.7 <= started - created < 1.5
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    far = api.submit(HELLO, scheduledAt=at)
    assert api.record(far)["status"] == "scheduled" and api.record(far)["scheduledAt"] == at[:-1] + ".000Z"
    assert api.post(f"/v1/runs/{far}/stop").json()["status"] == "stopped"
    past = api.submit(HELLO, scheduledAt="2020-01-01T00:00:00Z")
    assert api.wait(past)["status"] == "success"


def test_priorities(stack, api):
    runs = [(p, api.submit(HELLO, priority=p)) for p in ("low", "normal", "high") for _ in range(3)]
    stack.runner(slots=1)
    done = {run_id: api.wait(run_id)["startedAt"] for _, run_id in runs}
    order = [p for p, run_id in sorted(runs, key=lambda r: done[r[1]])]
    assert order[0] == "high" and order.index("high") < order.index("normal") < order.index("low"), order


# ---- idempotency, batch ----

def test_idempotency(stack, apis, runner):
    body = {"agent": HELLO, "input": {"a": 1}}
    first = apis[0].post("/v1/runs", body, headers={"Idempotency-Key": "k-1"})
    again = apis[1].post("/v1/runs", body, headers={"Idempotency-Key": "k-1"})
    other = apis[1].post("/v1/runs", {"agent": HELLO, "input": {"a": 2}}, headers={"Idempotency-Key": "k-1"})
    assert first.status == again.status == 202 and "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true" and again.json()["runId"] == first.json()["runId"]
    assert other.status == 422 and other.code == "idempotency_mismatch"
    assert len(apis[0].get("/v1/runs").json()["runs"]) == 1


def test_a_batch_refuses_only_its_bad_items(stack, api, runner):
    runs = [{"agent": HELLO}, {"agent": "nobody"}, {"agent": HELLO, "colour": 1}, {"agent": HELLO, "delayMs": 10}, 7, {"agent": HELLO, "tags": ["gpu"]}]
    answer = api.post("/v1/runs/batch", {"runs": runs})
    assert answer.status == 200
    results = answer.json()["results"]
    assert [r.get("status") or r["error"]["code"] for r in results] == ["queued", "agent_not_found", "unknown_field", "scheduled", "invalid_field", "unknown_field"]
    for result in results:
        if "runId" in result:
            assert api.wait(result["runId"])["status"] == "success"
    big = api.post("/v1/runs/batch", {"runs": [{"agent": HELLO, "delayMs": 3600000}] * 1000})
    assert big.status == 200 and len({r["runId"] for r in big.json()["results"]}) == 1000
    assert api.post("/v1/runs/batch", {"runs": [{"agent": HELLO}] * 1001}).status == 400
    assert api.post("/v1/runs/batch", {"runs": []}).status == 400


@pytest.mark.parametrize("field, value", [
    ("depends_on", []), ("startwithinms", 5), ("tags", []), ("schedule", "* * * * *"), ("userId", 1)])
def test_what_is_not_there_is_refused_by_name(api, field, value):
    answer = api.post("/v1/runs", {"agent": HELLO, field: value})
    assert answer.status == 400 and answer.code == "unknown_field" and field in answer.json()["detail"]


def test_gofannons_names(api, runner):
    answer = api.post("/agents/run-code/start", {"agentId": "x", "inputDict": {}, "envVars": {}})
    assert answer.status == 404 and answer.code == "agent_not_found"
    assert api.request("PUT", "/v1/agents/hello", HELLO).status == 201
    answer = api.post("/agents/run-code/start", {"agentId": "hello", "inputDict": {"a": 1}, "envVars": {"B": "2"}})
    assert answer.status == 202
    assert api.wait(answer.json()["runId"])["input"] == {"a": 1}
    assert api.get(f"/runs/{answer.json()['runId']}").json()["status"] == "success"


# ---- waiting ----

def test_submit_and_wait(stack, api, runner):
    answer = api.post("/v1/runs/wait", {"agent": HELLO})
    assert answer.status == 200 and answer.json()["status"] == "success" and answer.json()["result"] == "hello\n"
    slow = api.post("/v1/runs/wait?wait=1", {"agent": agents.sleeper()})
    assert slow.status == 202 and slow.json()["status"] == "running" and "location" in slow.headers
    run_id = slow.json()["runId"]
    assert api.post(f"/v1/runs/{run_id}/stop?wait=10").json()["status"] == "stopped"
    assert api.get(f"/v1/runs/{run_id}?wait=10").json()["status"] == "stopped"


def test_rest_gives_the_bare_result(api, runner):
    api.request("PUT", "/v1/agents/good", agents.shell('read l; echo \'{"kind":"runtime_terminal","data":{"status":"success","result":{"answer":42}}}\'', name="good"))
    api.request("PUT", "/v1/agents/bad", agents.shell("exit 4", name="bad"))
    good = api.post("/rest/good", {"q": 1})
    assert good.status == 200 and good.json() == {"answer": 42}
    bad = api.post("/rest/bad", {"q": 1})
    assert bad.status == 502 and bad.headers["content-type"].startswith("application/problem+json") and bad.json()["runId"]
    assert api.post("/rest/none", {}).code == "agent_not_found"


def test_submit_and_stream(stack, api, runner):
    with Stream(api.port, "/v1/runs/stream", stack.key, method="POST", body={"agent": agents.counter(stack.folder), "input": {"n": 20, "group": 2, "pauseMs": 20}}, cut_after=2500) as stream:
        assert stream.status == 200
        run = json.loads(stream.next(10).data)
        frames = stream.frames()
    location = stream.headers["location"]
    assert location == stream_path(run["runId"]) and stream.end == "ours"
    last = [f.seq for f in frames if f.seq][-1]
    with Stream(api.port, location, stack.key, last_event_id=last) as rest:  # closing did not stop it
        later = rest.frames()
    assert [f.seq for f in later if f.seq] == list(range(last + 1, 23)) and later[-1].event == "done"


def test_a_long_poll_ends_with_the_run(api, runner):
    run_id = api.submit(agents.shell("sleep 0.5", name="s"))
    began = time.monotonic()
    answer = api.get(f"/v1/runs/{run_id}?wait=30")
    assert answer.json()["status"] == "success" and time.monotonic() - began < 10


# ---- positions ----

def test_positions(stack, api, runner):
    run_id = api.submit(agents.counter(stack.folder), {"n": 10})
    api.wait(run_id)
    whole = api.replay(run_id).events

    def read(**kwargs):
        with Stream(api.port, kwargs.pop("path", stream_path(run_id)), stack.key, **kwargs) as stream:
            return stream.status, [f for f in stream.frames() if f.seq], stream
    for after in range(-1, 12):
        assert [f.raw for f in read(last_event_id=after)[1]] == [f.raw for f in whole if f.seq > after]
        assert [f.raw for f in read(path=f"{stream_path(run_id)}?after={after}")[1]] == [f.raw for f in whole if f.seq > after]
    assert [f.seq for f in read(path=stream_path(run_id) + "?after=3", last_event_id=5)[1]] == list(range(6, 13)), "the header wins"
    for at in (12, 13, 9007199254740991, "99999999999999999999"):
        assert read(last_event_id=at)[0] == 204
    status, frames, stream = read(path=stream_path(run_id) + "?after=12")
    assert status == 200 and not frames and stream.end == "clean"
    for bad in ("x", "-2", "1.0", "", "+1", "1e3", "1 2"):
        assert read(last_event_id=bad)[0] == 400, bad
    page = api.get(f"/v1/runs/{run_id}/events?after=2&limit=3").json()
    assert [e["seq"] for e in page["events"]] == [3, 4, 5] and page["next"] == 5 and page["terminal"] is False
    assert api.get(f"/v1/runs/{run_id}/events?after=11").json()["terminal"] is True
    assert api.get(f"/v1/runs/{run_id}/events?limit=0").status == 400


def test_heartbeats_on_an_idle_stream(api, runner):
    run_id = api.submit(agents.sleeper())
    with api.stream(run_id) as stream:
        stream.until("notification")
        stream.connection.sock.settimeout(1)
        wait_until(lambda: _beat(stream), 12, "a heartbeat")
    api.post(f"/v1/runs/{run_id}/stop")


def _beat(stream):
    try:
        stream._read()
    except TimeoutError:
        pass
    return stream.heartbeats


# ---- credentials ----

def test_credentials(stack, api, runner):
    run_id = api.submit(HELLO)
    api.wait(run_id)
    path = f"/v1/runs/{run_id}"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": stack.key}, {"x-api-key": stack.key + "x"}, {"Authorization": "Basic " + stack.key}):
        answer = request(api.port, "GET", path, headers=headers)
        assert answer.status == 401 and answer.code == "unauthorized" and answer.headers["www-authenticate"].startswith("Bearer"), headers
    for headers in ({"Authorization": f"Bearer {stack.key}"}, {"authorization": f"bearer {stack.key}"}, {"X-API-Key": stack.key}):
        assert request(api.port, "GET", path, headers=headers).status == 200, headers
    other = api.get(path, workspace="other")
    assert other.status == 404 and other.code == "run_not_found"


def test_stream_tokens(stack, apis, runner):
    answer = apis[0].post("/v1/runs", {"agent": HELLO}).json()
    other = apis[0].post("/v1/runs", {"agent": HELLO}).json()
    apis[0].wait(answer["runId"])
    token = answer["streamUrl"].split("token=")[1]
    with Stream(apis[1].port, answer["streamUrl"]) as stream:  # another node, no key
        assert stream.status == 200 and stream.frames()[-1].event == "done"
    for path in (stream_path(other["runId"]) + "?token=" + token, stream_path(answer["runId"]) + "?token=" + token[:-2], stream_path(answer["runId"]) + "?token="):
        assert request(apis[1].port, "GET", path).status == 401, path
    assert request(apis[1].port, "GET", f"/v1/runs/{answer['runId']}?token={token}").status in (400, 401), "it reads its stream, nothing else"
    for log in (a.process.output() for a in apis):
        assert not [text for text in (token, stack.key, stack.root_key) if text.encode() in log]


def test_cors(stack):
    api = stack.api(env={"ERRAND_CORS_ORIGINS": "https://app.example.com"})
    preflight = request(api.port, "OPTIONS", "/v1/runs", headers={"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"})
    assert preflight.status == 204 and preflight.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "POST" in preflight.headers["access-control-allow-methods"] and "authorization" in preflight.headers["access-control-allow-headers"].lower()
    answer = api.get("/v1/runs", headers={"Origin": "https://app.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com" and "location" in answer.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-origin" not in api.get("/v1/runs", headers={"Origin": "https://evil.example"}).headers


# ---- lists, rerun, delete ----

def test_lists(stack, api, runner):
    api.request("PUT", "/v1/agents/hello", HELLO)
    a = [api.submit("hello", labels={"team": "x", "n": str(i)}) for i in range(5)]
    b = [api.submit({**HELLO, "name": "inline"}) for _ in range(3)]
    for run_id in a + b:
        api.wait(run_id)

    def ids(query=""):
        return [r["runId"] for r in api.get("/v1/runs" + query).json()["runs"]]
    assert ids() == (a + b)[::-1]
    assert ids("?agent=hello") == ids("?agent_id=hello") == a[::-1]
    assert ids("?label=team:x&label=n:2") == [a[2]] and ids("?status=error&status=stopped") == []
    assert ids("?createdBy=me") == ids() and ids("?status=success&agent=inline") == b[::-1]
    page = api.get("/v1/runs?limit=3").json()
    seen = [r["runId"] for r in page["runs"]]
    while page["cursor"]:
        page = api.get(f"/v1/runs?limit=3&cursor={page['cursor']}").json()
        seen += [r["runId"] for r in page["runs"]]
    assert seen == (a + b)[::-1]
    at = api.record(a[4])["createdAt"]
    until = api.get(f"/v1/runs?until={at}").json()["runs"]
    assert all(r["createdAt"] <= at for r in until) and a[0] in [r["runId"] for r in until] and ids("?since=2099-01-01T00:00:00Z") == []
    for bad in ("?limit=201", "?limit=x", "?status=odd", "?cursor=zz", "?since=noon", "?colour=1", "?label=x"):
        assert api.get("/v1/runs" + bad).status == 400, bad


def test_rerun(api, runner):
    run_id = api.submit(HELLO, {"a": 1}, labels={"x": "y"}, priority="high")
    api.wait(run_id)
    answer = api.post(f"/v1/runs/{run_id}/rerun")
    assert answer.status == 202 and answer.json()["runId"] != run_id
    record = api.wait(answer.json()["runId"])
    assert record["status"] == "success" and record["input"] == {"a": 1} and record["labels"] == {"x": "y"} and record["priority"] == "high"


def test_delete(stack, apis, runner):
    run_id = apis[0].submit(agents.sleeper())
    apis[0].wait(run_id, "running")
    refused = apis[1].request("DELETE", f"/v1/runs/{run_id}")
    assert refused.status == 409 and refused.code == "run_active"
    apis[0].post(f"/v1/runs/{run_id}/stop?wait=10")
    assert apis[1].request("DELETE", f"/v1/runs/{run_id}").status == 204
    for path in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/stream", f"/v1/runs/{run_id}/events", f"/v1/runs/{run_id}/logs"):
        assert apis[0].get(path).code == "run_not_found", path
    assert apis[0].request("DELETE", f"/v1/runs/{run_id}").status == 404
    check_no_keys_left(stack, [run_id])


def test_retention_sweeps_everything(stack, api):
    stack.runner(env={"ERRAND_RETENTION_MS": 1000})
    runs = [api.submit(HELLO) for _ in range(3)]
    wait_until(lambda: all(api.get(f"/v1/runs/{r}").status == 404 for r in runs), 15, "they are swept")
    check_no_keys_left(stack, runs)


# ---- agents ----

def test_agents_are_versioned_and_runs_keep_theirs(api, runner):
    one, two = {**HELLO, "name": "greeter"}, {**HELLO, "name": "greeter", "command": ["/bin/echo", "two"]}
    put = api.request("PUT", "/v1/agents/greeter", one)
    assert put.status == 201 and put.json() == {"name": "greeter", "version": 1}
    old = api.submit("greeter", delayMs=600)
    assert api.request("PUT", "/v1/agents/greeter", one).json()["version"] == 1, "the same again is no new version"
    put = api.request("PUT", "/v1/agents/greeter", two)
    assert put.status == 200 and put.json()["version"] == 2
    new = api.submit("greeter")
    assert (api.wait(new)["result"], api.record(new)["agentVersion"]) == ("two\n", 2)
    assert (api.wait(old)["result"], api.record(old)["agentVersion"]) == ("hello\n", 1)
    assert api.get("/v1/agents/greeter?version=1").json()["definition"]["command"] == one["command"]
    assert [a["name"] for a in api.get("/v1/agents").json()["agents"]] == ["greeter"]
    assert api.request("DELETE", "/v1/agents/greeter").status == 204
    assert api.post("/v1/runs", {"agent": "greeter"}).code == "agent_not_found" and api.get("/v1/agents/greeter").status == 404
    assert api.record(new)["result"] == "two\n"


def test_a_provider_without_a_runtime(api):
    answer = api.post("/v1/runs", {"agent": {**HELLO, "provider": "acme"}})
    assert answer.status == 422 and answer.code == "runtime_not_implemented" and "acme" in answer.json()["detail"]


def test_a_runner_without_the_process_executor_takes_nothing_of_it(stack, api):
    stack.runner(env={"ERRAND_EXECUTORS": ""})
    run_id = api.submit(HELLO)
    holds_for(lambda: api.record(run_id)["status"] == "queued", 1.5, "it waits for a runner that may execute it")
    stack.runner()
    assert api.wait(run_id)["status"] == "success"


# ---- operations ----

def test_runners_and_queues(stack, api, runner):
    shown = api.get("/v1/runners").json()["runners"]
    assert [(r["id"], r["slots"], r["busy"], r["draining"]) for r in shown] == [(runner.inc, 8, 0, False)]
    run_id = api.submit(HELLO, queue="elsewhere")
    queues = {q["name"]: q for q in api.get("/v1/queues").json()["queues"]}
    assert queues["elsewhere"]["waiting"] == 1 and api.record(run_id)["queue"] == "elsewhere"


def test_health(stack, redis):
    api = stack.api()
    assert request(api.port, "GET", "/healthz").status == 200 and request(api.port, "GET", "/readyz").status == 200
    redis.freeze()
    wait_until(lambda: request(api.port, "GET", "/readyz", timeout=20).status == 503, 20)
    assert request(api.port, "GET", "/healthz").status == 200
    redis.thaw()
    wait_until(api.ready, 10)


def test_head_and_options(stack, api):
    with Connection(api.port) as c:
        for path in ("/healthz", "/openapi.json", "/v1/runs"):
            auth = {"Authorization": f"Bearer {stack.key}"}
            get = c.request("GET", path, headers=auth)
            head = c.request("HEAD", path, headers=auth)
            assert head.status == get.status == 200 and head.headers["content-length"] == get.headers["content-length"] and head.body == b""
        assert set(c.request("OPTIONS", "/v1/runs").headers["allow"].replace(" ", "").split(",")) >= {"GET", "HEAD", "POST", "OPTIONS"}
        wrong = c.request("PATCH", "/v1/runs", headers={"Authorization": f"Bearer {stack.key}"})
        assert wrong.status == 405 and "POST" in wrong.headers["allow"] and wrong.code == "method_not_allowed"


def test_pipelined_requests_are_answered_in_order(stack, api):
    auth = {"Authorization": f"Bearer {stack.key}"}
    with Connection(api.port) as c:
        c.send(b"".join(encode("GET", f"/v1/runs?limit={i}", headers=auth) + encode("GET", f"/v1/nothing/{i}", headers=auth) for i in range(1, 20)))
        for i in range(1, 20):
            assert c.read_response().status == 200
            missing = c.read_response()
            assert missing.status == 404 and missing.json()["instance"] == f"/v1/nothing/{i}"
