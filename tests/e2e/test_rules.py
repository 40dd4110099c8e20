"""The queue's rules from outside: limits, rates, dependencies, expiry, stalls, retries, tags, slots, and what a run that can't go on says of itself."""
import json
import os
import time

import pytest

from harness import agents
from harness.wait import holds_for, wait_until


def gate_agent(folder, hold=0.05, **fields):
    """Writes `+` when it begins and `-` when it ends into one file, and so shows how many ran at once."""
    return agents.shell(f'printf + >> {folder}/log; sleep {hold}; printf - >> {folder}/log', name="gate", **fields)


def most_at_once(folder):
    with open(os.path.join(folder, "log"), encoding="ascii") as f:
        now = most = 0
        for mark in f.read():
            now += 1 if mark == "+" else -1
            most = max(most, now)
    return most


def test_a_concurrency_key_of_one_is_never_two(stack, apis):
    for _ in range(2):
        stack.runner(slots=8)
    runs = [apis[i % 2].submit(gate_agent(stack.folder), concurrencyKey="one at a time") for i in range(30)]
    waiting = [r for r in (apis[0].record(i) for i in runs) if r.get("waitingFor")]
    assert waiting and waiting[0]["waitingFor"] == {"gate": "concurrencyKey", "key": "one at a time"} and waiting[0]["concurrencyKey"] == {"key": "one at a time", "limit": 1}
    for run_id in runs:
        assert apis[0].wait(run_id, timeout=60)["status"] == "success"
    assert most_at_once(stack.folder) == 1
    assert not [k for k in stack.redis.keys() if b":gate:" in k or b":wait:" in k]


def test_a_limit_of_the_agent_and_of_the_workspace(stack, apis):
    stack.runner(slots=16)
    apis[0].request("PUT", "/v1/workspaces/default", {"concurrency": 5})
    apis[0].request("PUT", "/v1/agents/three", gate_agent(stack.folder, concurrency=3) | {"name": "three"})
    runs = [apis[i % 2].submit("three") for i in range(12)] + [apis[i % 2].submit(gate_agent(stack.folder)) for i in range(12)]
    for run_id in runs:
        assert apis[0].wait(run_id, timeout=60)["status"] == "success"
    assert 2 <= most_at_once(stack.folder) <= 5


def test_reject_and_replace(stack, api):
    stack.runner()
    first = api.submit(agents.sleeper(graceMs=300), concurrencyKey="x")
    api.wait(first, ["running"])
    refused = api.post("/v1/runs", {"agent": agents.sleeper(), "concurrencyKey": {"key": "x", "onLimit": "reject"}})
    assert refused.status == 409 and refused.code == "concurrency_limit"
    second = api.submit(agents.shell("exit 0"), concurrencyKey={"key": "x", "onLimit": "replace"})
    assert api.wait(first)["status"] == "stopped"
    assert api.wait(second)["status"] == "success"


def test_a_rate_over_ten_seconds(stack, apis):
    """100 a second, four runners: within 5 %."""
    for _ in range(4):
        stack.runner(slots=32, build=None)
    body = {"runs": [{"agent": agents.process(["/bin/true"], name="t", protocol="text"), "rateLimit": {"key": "r", "limit": 100}}] * 1000}
    for api in apis:
        assert api.post("/v1/runs/batch", body).status == 200

    def started():
        return 2000 - int(stack.redis.command("HGET", stack.shard() + "queued", "default") or 0)
    wait_until(lambda: started() >= 50, 20)
    begun, at = started(), time.monotonic()
    wait_until(lambda: time.monotonic() - at >= 10, 11)
    rate = (started() - begun) / (time.monotonic() - at)
    assert 95 <= rate <= 105, rate


def test_dependencies(stack, apis):
    stack.runner()
    answer = agents.shell('echo \'{"kind":"runtime_terminal","data":{"status":"success","result":{"n":7}}}\'', name="answer")
    echo = agents.python(stack.folder, 'end("success", result=job.get("dependencies"))', "echo")
    hold = agents.shell(f"while [ ! -e {stack.folder}/go ]; do sleep 0.02; done; exit 3", name="hold")
    a, b = apis[0].submit(answer), apis[0].submit(hold)
    c = apis[1].submit(echo, dependsOn=[a, b], onDependencyFailure="run")
    d = apis[1].submit(echo, dependsOn=[a, b])
    e = apis[1].submit(echo, dependsOn=[d])
    apis[0].wait(a)
    record = apis[0].record(c)
    assert record["status"] == "scheduled" and record["waitingFor"] == {"dependencies": [a, b]} and record["dependsOn"] == [a, b]
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    result = apis[0].wait(c)["result"]
    assert [r["runId"] for r in result] == [a, b] and result[0] == {"runId": a, "status": "success", "result": {"n": 7}}
    assert result[1]["status"] == "error" and result[1]["error"]["class"] == "exit_nonzero"
    for run_id, dep in ((d, b), (e, d)):
        record = apis[0].wait(run_id)
        assert record["status"] == "error" and record["error"]["class"] == "start_failed" and dep in record["error"]["message"] and record["attempt"] == 0


def test_dependencies_that_are_refused(api, runner):
    agent = agents.shell("sleep 1")
    missing = api.post("/v1/runs", {"agent": agent, "dependsOn": ["00000000-0000-4000-8000-000000000000"]})
    assert missing.status == 404 and missing.code == "dependency_not_found"
    parent = api.submit(agent)
    cycle = api.post("/v1/runs", {"agent": agent, "parentRunId": parent, "dependsOn": [parent]})
    assert cycle.status == 422 and cycle.code == "dependency_cycle"


def test_what_does_not_start_in_time(stack, api):
    run_id = api.submit(agents.shell("exit 0"), startWithinMs=700)
    assert api.record(run_id)["expiresAt"]
    record = api.wait(run_id, timeout=5)
    assert record["status"] == "error" and record["error"]["class"] == "expired" and record["attempt"] == 0 and record["deadLetter"] is True
    stack.runner()
    started = api.submit(agents.shell("sleep 1.2"), startWithinMs=1000)
    assert api.wait(started)["status"] == "success"


@pytest.mark.parametrize("agent, stalls", [("sleep 30", True), ("for i in 1 2 3 4 5 6; do echo x; sleep 0.3; done", False)])
def test_a_stall(api, runner, agent, stalls):
    record = api.wait(api.submit(agents.shell(agent, graceMs=200), stallMs=1000))
    assert record["status"] == ("error" if stalls else "success")
    if stalls:
        assert record["error"] == {"class": "timeout", "message": "no event came for 1000 ms"}


def test_what_an_agent_says_of_its_retry(stack, api, runner):
    def claims(**data):
        line = json.dumps({"kind": "runtime_terminal", "data": {"status": "error", "error": {"message": "no"}, **data}})
        return agents.shell(f"echo '{line}'", name="c", maxAttempts=3, backoff={"type": "fixed", "baseMs": 1, "capMs": 1})
    record = api.wait(api.submit(claims(noRetry=True)))
    assert record["status"] == "error" and record["attempt"] == 1
    begun = time.monotonic()
    record = api.wait(api.submit(claims(retryAfterMs=400)))
    assert record["attempt"] == 3 and time.monotonic() - begun >= 0.8
    record = api.wait(api.submit(agents.shell("exit 1", maxAttempts=3, noRetryOn=["exit_nonzero"])))
    assert record["attempt"] == 1
    record = api.wait(api.submit(agents.shell("exit 1", maxAttempts=2, retryOn=["exit_nonzero"], backoff={"type": "fixed", "baseMs": 1, "capMs": 1})))
    assert record["attempt"] == 2


def test_a_delay_is_exact(api, runner):
    """Due to claimed: within 50 ms."""
    late = []
    for ms in (300, 450, 700):
        record = api.wait(api.submit(agents.process(["/bin/true"]), delayMs=ms))
        due, claimed = (time.mktime(time.strptime(record[k][:19], "%Y-%m-%dT%H:%M:%S")) * 1000 + int(record[k][20:23]) for k in ("scheduledAt", "startedAt"))
        late.append(claimed - due)
    assert min(late) >= 0 and sorted(late)[1] < 50, late


def test_tags(stack, api):
    stack.runner()
    run_id = api.submit(agents.shell("exit 0"), requires=["gpu", "region=lhr"])
    plain = api.submit(agents.shell("exit 0"))
    assert api.wait(plain)["status"] == "success"
    record = wait_until(lambda: (r := api.record(run_id)).get("waitingFor") and r, 15)
    assert record["status"] == "queued" and record["waitingFor"] == {"runner": {"queue": "default", "requires": ["gpu", "region=lhr"]}}
    assert record["requires"] == ["gpu", "region=lhr"]
    stack.runner(args=["--tags", "region=lhr,gpu,x"])
    record = api.wait(run_id)
    assert record["status"] == "success" and "waitingFor" not in record
    assert [json.loads(line)["kind"] for line in api.replay(run_id).lines()][0] == "notification"


def test_slots_are_weighed(stack, api):
    stack.runner(slots=4)
    runs = [api.submit(gate_agent(stack.folder, hold=0.2, slots=2)) for _ in range(6)] + [api.submit(gate_agent(stack.folder, hold=0.2, slots=4))]
    for run_id in runs:
        assert api.wait(run_id)["status"] == "success"
    assert most_at_once(stack.folder) == 2
    large = api.submit(agents.shell("exit 0", slots=5))
    holds_for(lambda: api.record(large)["status"] == "queued", 1.0)
    api.post(f"/v1/runs/{large}/stop")


def test_retention_of_events_and_results(api, runner):
    answer = agents.shell('echo \'{"kind":"runtime_terminal","data":{"status":"success","result":1}}\'', eventsRetentionMs=300, resultRetentionMs=300)
    run_id = api.submit(answer)
    assert api.wait(run_id)["result"] == 1
    record = wait_until(lambda: (r := api.record(run_id)).get("droppedTo") and r.get("resultDropped") and r, 10)
    assert "result" not in record and record["droppedTo"] == record["lastSeq"]
    with api.stream(run_id) as stream:
        assert [f.event for f in stream.until("done")][-2:] == ["gap", "done"]
    page = api.get(f"/v1/runs/{run_id}/events").json()
    assert page["events"] == [] and page["terminal"] is True and page["next"] is None


def test_one_run_beside_a_hundred_thousand(stack, apis):
    """Another workspace's single run waits for what is executed already and one round, however much is queued."""
    body = {"runs": [{"agent": agents.process(["/bin/true"], name="t", protocol="text")}] * 1000}
    for i in range(20):
        assert apis[i % 2].post("/v1/runs/batch", body).status == 200
    stack.runner(slots=4)
    wait_until(lambda: int(stack.redis.command("HGET", stack.shard() + "queued", "default")) < 19900, 20)
    answer = apis[0].request("POST", "/v1/runs", {"agent": agents.process(["/bin/true"], name="t", protocol="text")}, workspace="small")
    run_id = answer.json()["runId"]
    at = int(stack.redis.command("HGET", stack.shard() + "queued", "default"))

    def begun():
        status = stack.redis.command("HGET", f"{stack.shard()}run:{run_id}", "status")
        return status != b"queued" and int(stack.redis.command("HGET", stack.shard() + "queued", "default"))
    left = wait_until(begun, 10)
    assert at - left <= 40, (at, left)
    stack.redis.command("HSET", f"{stack.shard()}queue:default", "paused", "1")


def test_the_command_line_has_it_all(stack, api, runner):
    with open(os.path.join(stack.folder, "agent.json"), "w", encoding="utf-8") as f:
        json.dump(agents.shell("exit 0"), f)
    def run(*options):
        p = stack.cli("run", "--file", os.path.join(stack.folder, "agent.json"), *options)
        text = p.wait(), p.output().decode()
        return text[0], text[1].strip()
    first = run()[1]
    second = run("--depends-on", first, "--on-dependency-failure", "run", "--concurrency-key", "a b", "--concurrency", "2", "--on-limit", "queue",
                 "--start-within", "1h", "--stall", "10m")[1]
    record = api.wait(second)
    assert record["status"] == "success" and record["dependsOn"] == [first] and record["concurrencyKey"] == {"key": "a b", "limit": 2} and record["expiresAt"]
    status, complaint = run("--on-limit", "queue")
    assert status == 2 and "--concurrency-key" in complaint
    assert api.record(run("--require", "gpu")[1])["requires"] == ["gpu"]
