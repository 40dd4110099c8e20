"""The executor `fly` against a strict stand-in for the Machines API, whose machines are processes that post their own events."""
import json
import os
import signal
import subprocess

import pytest

from harness.delivery import check_exact_delivery
from harness.fly_server import Fly
from harness.nodes import ROOT, build_dir
from harness.processes import of_run
from harness.wait import holds_for, wait_until

IMAGE = "registry.example.com/agents/one:1"
with open(os.path.join(ROOT, "tests", "e2e", "harness", "runtime_agent.py"), encoding="utf-8") as source:
    REMOTE = source.read()
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1000)"


def is_deaf(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return any(line.startswith("SigIgn:") and int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1 for line in f)


def machine(text=REMOTE, **fields):
    return {"name": "flying", "executor": "fly", "image": IMAGE, "command": ["/usr/bin/python3", "-c", text], "graceMs": 500, **fields}


def options(fly, **more):
    return {"ERRAND_EXECUTORS": "fly", "ERRAND_IMAGES": "registry.example.com/agents/*", "ERRAND_FLY_API_URL": fly.url, "ERRAND_FLY_APP": fly.app, "ERRAND_FLY_TOKEN": fly.token, **more}


@pytest.fixture
def fly():
    made = Fly()
    yield made
    made.stop()
    assert not made.faults, made.faults


@pytest.fixture
def air(stack, api, fly):
    """An API node, and a runner that makes machines."""
    stack.runner(env=options(fly))
    return api


def is_over(fly, run_id, machines=1):
    """As many machines as there were attempts, all destroyed, no process left."""
    found = fly.of_run(run_id)
    return len(found) == machines and all(m.state == "destroyed" for m in found) and not of_run(run_id)


def test_the_whole_way(stack, air, fly):
    run_id = air.submit(machine(region="ams", resources={"memoryMb": 300, "cpus": 1.5}, env=[{"key": "GREETING", "value": "hi"}]), input={"say": ["a", "b"]})
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["result"] == {"n": 2, "attempt": 1, "env": "hi"}, record
    assert is_over(fly, run_id)
    (body,) = fly.bodies
    config = body["config"]
    assert body["name"] == f"errand-{run_id}-1" and body["region"] == "ams" and config["image"] == IMAGE
    assert config["guest"] == {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512} and config["auto_destroy"] is True and config["restart"] == {"policy": "no"}
    assert {k for k in config["env"] if not k.startswith("ERRAND_STORAGE_")} == {"ERRAND_RUN_ID", "ERRAND_ATTEMPT", "ERRAND_API_BASE", "ERRAND_RUNNER_TOKEN", "GREETING"}
    (made,) = fly.machines.values()
    handle = record["attempts"][0]["handle"]
    assert handle == {"appName": fly.app, "machineId": made.id, "region": "ams", "consoleUrl": f"https://fly.io/apps/{fly.app}/machines/{made.id}"}
    assert ("lease", made.id) in fly.log and made.nonce is None, "leased, and the lease is given back"


@pytest.mark.parametrize("job,fields,wanted", [
    ({"exit": 7}, {}, "exit_nonzero"),
    ({"fail": "no luck"}, {}, "agent_error"),
    (None, {"text": "import os; os.kill(os.getpid(), 9)"}, "oom_killed"),
    (None, {"text": "import os; os.kill(os.getpid(), 15)"}, "signal"),
    ({"wait": True}, {"timeoutMs": 700}, "timeout"),
])
def test_how_it_ends(stack, air, fly, job, fields, wanted):
    run_id = air.submit(machine(**fields), input=job)
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "error" and record["error"]["class"] == wanted, record["error"]
    assert is_over(fly, run_id)


@pytest.mark.parametrize("text", [REMOTE, DEAF])
def test_a_stop_destroys_it(stack, air, fly, text):
    run_id = air.submit(machine(text), input={"wait": True})
    air.wait(run_id, "running")
    wait_until(lambda: of_run(run_id), 10, "it runs")
    air.post(f"/v1/runs/{run_id}/stop")
    assert air.wait(run_id)["status"] == "stopped" and is_over(fly, run_id)


def test_a_stop_while_it_starts(stack, air, fly):
    fly.gate.clear()
    run_id = air.submit(machine(), input={"wait": True})
    wait_until(lambda: fly.of_run(run_id) and fly.of_run(run_id)[0].state == "starting", 10)
    air.post(f"/v1/runs/{run_id}/stop")
    holds_for(lambda: air.record(run_id)["status"] != "stopped", 0.3, "not before the machine is gone")
    fly.gate.set()
    assert air.wait(run_id)["status"] == "stopped" and is_over(fly, run_id)


@pytest.mark.parametrize("how", ["cut", "lost", 500, 503])
def test_a_create_without_an_answer_is_never_two_machines(stack, air, fly, how):
    fly.break_next.append(("create", how))
    run_id = air.submit(machine(), input={"say": ["once"]})
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["attempt"] == 1, record
    assert is_over(fly, run_id, 1)


def test_a_create_that_is_done_late_leaves_nobody_behind(stack, air, fly):
    """The API goes on with a create whose connection was cut, when the run was stopped and the machine looked for in vain."""
    fly.break_next.append(("create", "late"))
    run_id = air.submit(machine(DEAF))
    wait_until(lambda: ("create", "") in fly.log, 10, "it is asked for")
    air.post(f"/v1/runs/{run_id}/stop")
    assert air.wait(run_id, timeout=60)["status"] == "stopped" and is_over(fly, run_id, 1)


def test_one_that_was_created_unanswered_and_is_over_already(stack, air, fly):
    """The answer to its create was lost, and it ended before it was looked for: found among the destroyed, not executed again."""
    fly.break_next += [("create", "cut"), ("list", 500)]
    run_id = air.submit(machine("pass"))
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and is_over(fly, run_id, 1) and not fly.break_next, record


# Not here: a lease whose answer was lost. It is this runner's own, but nobody can tell: it ends by itself after 60 s.
@pytest.mark.parametrize("action, how", [("get", 500), ("get", "cut"), ("wait", 500), ("wait", "cut"), ("lease", 500), ("delete", 500), ("delete", "cut"), ("stop", 500)])
def test_errors_on_the_way(stack, air, fly, action, how):
    """5xx and cut connections at every other step: it goes on."""
    stops = action in ("stop", "delete", "wait")
    fly.break_next.append((action, how))
    run_id = air.submit(machine(DEAF if action == "delete" else REMOTE), input={"wait": True} if stops else {"say": ["a"]})
    if action == "wait":
        wait_until(lambda: not fly.break_next, 15, "it waits")
    if stops:
        wait_until(lambda: air.record(run_id)["attempts"][:1] and air.record(run_id)["attempts"][0].get("handle"), 15, "it is known to run")
        if action == "delete":
            wait_until(lambda: any(is_deaf(m.process.pid) for m in fly.of_run(run_id) if m.process), 15, "a stop will not end it")
        air.post(f"/v1/runs/{run_id}/stop")
    record = air.wait(run_id, timeout=40)
    assert not fly.break_next, "it was met"
    assert record["status"] == ("stopped" if stops else "success") and is_over(fly, run_id, 1), record


def test_no_capacity_is_an_error_that_is_tried_again(stack, air, fly):
    fly.break_next += [("create", 412), ("create", 422)]
    run_id = air.submit(machine(maxAttempts=3, backoff={"type": "fixed", "baseMs": 10, "capMs": 10}), input={"say": ["a"]})
    record = air.wait(run_id)
    assert record["status"] == "success" and record["attempt"] == 3 and is_over(fly, run_id, 1)
    assert [a["error"]["class"] for a in record["attempts"][:2]] == ["start_failed"] * 2 and "insufficient resources" in record["attempts"][0]["error"]["message"]


def test_a_machine_that_is_lost(stack, air, fly):
    """Its host went: no exit event, no process."""
    fly.lose = True
    run_id = air.submit(machine(), input={"wait": True})
    air.wait(run_id, "running")
    wait_until(lambda: of_run(run_id) and air.record(run_id)["attempts"][0].get("handle"), 15, "it is known to run")
    fly.of_run(run_id)[0].kill(9)
    record = air.wait(run_id)
    assert record["status"] == "error" and record["error"]["class"] == "signal" and "gone" in record["error"]["message"]
    assert is_over(fly, run_id)


def test_one_that_fails_to_start(stack, air, fly):
    fly.fail_start = True
    run_id = air.submit(machine())
    record = air.wait(run_id)
    assert record["error"]["class"] == "start_failed" and is_over(fly, run_id), record["error"]


def test_its_rate_limits_are_kept_with_a_queue(stack, api, fly):
    """Eight at once: the API hardly ever has to say 429, and when it does that is waited for."""
    stack.runner(env=options(fly), slots=8)
    runs = [api.submit(machine(), input={"say": ["a"]}) for _ in range(8)]
    for run_id in runs:
        assert api.wait(run_id, timeout=60)["status"] == "success"
        assert is_over(fly, run_id)
    assert fly.limited == 0 and sum(1 for action, _ in fly.log if action == "create") == 8
    fly.break_next.append(("create", 429))
    assert api.wait(api.submit(machine(), input={}), timeout=30)["status"] == "success"


def test_what_may_not_be_run(stack, air, fly):
    for fields, words in (({"image": "registry.example.com/other:1"}, "may use"), ({"eventSource": "stdout"}, "eventSource"), ({"resources": {"memoryMb": 100000}}, "as large")):
        record = air.wait(air.submit({**machine(), **fields}))
        assert record["error"]["class"] == "start_failed" and words in record["error"]["message"], record["error"]
    assert not fly.machines


def test_options_are_checked_at_the_start(stack, api, fly):
    for fields, words in (({"ERRAND_FLY_TOKEN": "wrong"}, b"answered 401"), ({"ERRAND_FLY_APP": "other"}, b"answered 404"), ({"ERRAND_FLY_APP": "../x"}, b"fly-app"), ({"ERRAND_FLY_TOKEN": ""}, b"fly-token"),
                          ({"ERRAND_IMAGES": "a//b"}, b"images")):
        process = stack.start("errand-runner", [], options(fly, **fields))
        assert process.wait(20) == 2 and words in process.output(), fields


def test_capabilities(stack, air, fly):
    (runner,) = air.get("/v1/runners").json()["runners"]
    assert sorted(runner["capabilities"]["fly"]) == ["cpu_limit", "filesystem_isolation", "memory_limit", "process_isolation", "timeout"]


def handle_tool(stack, fly, verb, handle):
    path = os.path.join(build_dir(), "tests", "handle")
    if not os.path.exists(path):
        pytest.skip(f"{path} is not built")
    done = subprocess.run([path, "fly", verb, json.dumps(handle)], env={**stack.environment(), **options(fly), "ERRAND_NODE": "tool"}, stdout=subprocess.PIPE, timeout=90, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_taken_over_by_its_handle(stack, api, fly):
    """A killed runner's machine: seen by the handle alone; stopped by another process, as soon as the dead one's lease is over."""
    runner = stack.runner(env=options(fly))
    run_id = api.submit(machine(atMostOnce=True), input={"wait": True})
    wait_until(lambda: api.record(run_id)["attempts"][:1] and api.record(run_id)["attempts"][0].get("handle"), 15)
    handle = api.record(run_id)["attempts"][0]["handle"]
    wait_until(lambda: of_run(run_id), 10)
    runner.kill9()
    assert handle_tool(stack, fly, "status", handle) == [{"status": "running", "errorClass": ""}]
    fly.of_run(run_id)[0].lease_end = 0  # the time it would take
    (end,) = handle_tool(stack, fly, "stop", handle)
    assert end["gone"]["started"] and is_over(fly, run_id)
    assert handle_tool(stack, fly, "status", handle)[0]["status"] in ("terminated", "failed")
    api.wait(run_id)


def test_what_a_killed_runner_left_is_swept_and_what_a_living_one_has_is_not(stack, api, fly):
    one, _ = (stack.runner(env=options(fly, ERRAND_TAGS=tag)) for tag in ("a", "b"))
    runs = {tag: api.submit(machine(requires=[tag], atMostOnce=True), input={"wait": True}) for tag in ("a", "b")}
    for run_id in runs.values():
        wait_until(lambda run_id=run_id: of_run(run_id), 15)
    one.kill9()
    (left,), (kept,) = fly.of_run(runs["a"]), fly.of_run(runs["b"])
    left.lease_end = 0
    stack.runner(env=options(fly))
    wait_until(lambda: left.state == "destroyed", 15, "the machine of the dead runner is destroyed")
    assert kept.state == "started"
    api.post(f"/v1/runs/{runs['b']}/stop")
    assert api.wait(runs["b"])["status"] == "stopped" and api.wait(runs["a"])["status"] == "error"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_machine_goes_on_under_the_next_runner(stack, fly, how):
    """Restart with --adopt: the same machine, whose end its next runner waits for."""
    lease = {"ERRAND_LEASE_MS": "4000"}
    api = stack.api(env=lease)
    steady = {**lease, "ERRAND_ADOPT": "true", "ERRAND_NODE": "steady", "ERRAND_HEARTBEAT_MS": "500"}
    first = stack.runner(env=options(fly, **steady))
    run_id = api.submit(machine(), input={"wait": True})
    wait_until(lambda: api.record(run_id)["attempts"][:1] and api.record(run_id)["attempts"][0].get("handle"), 15)
    pids = wait_until(lambda: of_run(run_id), 10)
    first.process.signal(how)
    first.process.popen.wait(20)
    first.process.killed = True
    assert of_run(run_id) == pids, "nothing of it died"
    stack.runner(env=options(fly, **steady))
    holds_for(lambda: of_run(run_id) == pids, 1.5, "it goes on")
    fly.of_run(run_id)[0].lease_end = 0  # of a killed one; it would end by itself
    api.post(f"/v1/runs/{run_id}/stop")
    record = api.wait(run_id, timeout=40)
    assert record["status"] == "stopped" and record["attempt"] == 1 and is_over(fly, run_id, 1), record
