"""Stop means stop: the whole process tree, children, whatever the state; and nodes that leave do it gracefully."""
import json
import os
import signal
import time

import pytest

from harness import agents
from harness.delivery import check_exact_delivery
from harness.processes import of_run
from harness.wait import holds_for, wait_until

HELLO = agents.shell("echo hello", name="hello", protocol="text")


def tree_pids(api, run_id):
    with api.stream(run_id) as stream:
        return json.loads(stream.until("notification")[-1].data)["data"]["pids"]


@pytest.mark.parametrize("grace_ms", [300, 1500])
def test_a_tree_that_ignores_sigterm_is_gone_within_its_grace_and_a_second(stack, apis, runner, grace_ms):
    run_id = apis[0].submit(agents.tree(stack.folder, graceMs=grace_ms))
    pids = tree_pids(apis[0], run_id)
    assert len(pids) == 3 and set(pids) <= set(of_run(run_id))
    began = time.monotonic()
    answer = apis[1].post(f"/v1/runs/{run_id}/stop")
    assert answer.status == 202 and answer.json() == {"runId": run_id, "status": "stopping"}
    wait_until(lambda: not of_run(run_id), grace_ms / 1000 + 1, "the tree is gone")
    assert time.monotonic() - began >= grace_ms / 1000, "it had its grace time"
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "stopped" and "stopRequestedAt" in record and "error" not in record
    again = apis[1].post(f"/v1/runs/{run_id}/stop")
    assert again.status == 200 and again.json()["status"] == "stopped"


def test_an_agent_that_heeds_sigterm_ends_at_once(stack, api, runner):
    run_id = api.submit(agents.sleeper(graceMs=60000))
    api.wait(run_id, "running")
    with api.stream(run_id) as stream:
        stream.until("notification")
        answer = api.post(f"/v1/runs/{run_id}/stop?wait=20")
        assert answer.json()["status"] == "stopped"
        assert json.loads(stream.until("runtime_terminal")[-1].data)["data"] == {"status": "stopped", "attempt": 1}


def test_a_stop_overrides_a_claimed_success(stack, api, runner):
    agent = agents.python(stack.folder, """\
        def leave(*_):
            end("success", result=1)
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        say("notification", {"ready": True})
        time.sleep(1000)
        """)
    run_id = api.submit(agent)
    with api.stream(run_id) as stream:
        stream.until("notification")
    assert api.post(f"/v1/runs/{run_id}/stop?wait=20").json()["status"] == "stopped"
    check_exact_delivery(stack, [run_id])


def test_an_agent_that_says_that_it_stopped(api, runner):
    """Its own word, whatever the source of its events."""
    run_id = api.submit(agents.shell("""echo '{"kind":"runtime_terminal","data":{"status":"stopped"}}'"""))
    record = api.wait(run_id)
    assert record["status"] == "stopped" and record.get("error") is None and record["attempts"][0]["status"] == "stopped"


def test_a_stopped_queued_run_never_starts(stack, api):
    run_id, other = api.submit(HELLO), api.submit(HELLO)
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"
    stack.runner()
    assert api.wait(other)["status"] == "success"
    holds_for(lambda: api.record(run_id)["status"] == "stopped" and api.record(run_id)["attempt"] == 0, 0.5)
    events = [json.loads(line) for line in api.replay(run_id).lines()]
    assert [(e["seq"], e["kind"], e["data"]) for e in events] == [(1, "runtime_terminal", {"status": "stopped", "attempt": 0})]
    check_exact_delivery(stack, [run_id, other])


def test_a_stopped_scheduled_run_never_starts(stack, api, runner):
    run_id = api.submit(HELLO, delayMs=400)
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"
    holds_for(lambda: api.record(run_id)["status"] == "stopped", 0.8)


def test_a_run_that_waits_for_its_retry_stops(stack, api, runner):
    run_id = api.submit(agents.shell("exit 1", name="f", maxAttempts=5, backoff={"type": "fixed", "baseMs": 60000, "capMs": 60000}))
    api.wait(run_id, "scheduled")
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"
    check_exact_delivery(stack, [run_id])


def test_a_parent_takes_its_children_along(stack, apis, runner):
    """Running, queued and scheduled ones, and theirs; a child submitted afterwards is refused."""
    parent = apis[0].submit(agents.sleeper())
    child = apis[0].submit(agents.tree(stack.folder, graceMs=300), parentRunId=parent)
    grandchild = apis[1].submit(agents.sleeper(), parentRunId=child)
    later = apis[1].submit(HELLO, parentRunId=grandchild, delayMs=600000)
    bystander = apis[0].submit(agents.sleeper())
    waiting = apis[0].submit(HELLO, parentRunId=parent, queue="nobody-serves-this")
    for run_id in (parent, child, grandchild, bystander):
        apis[0].wait(run_id, "running")
    tree_pids(apis[0], child)
    assert apis[1].post(f"/v1/runs/{parent}/stop").status == 202
    for run_id in (parent, child, grandchild, later, waiting):
        assert apis[0].wait(run_id, timeout=10)["status"] == "stopped"
    assert not of_run(child) and apis[0].record(bystander)["status"] == "running"
    refused = apis[0].post("/v1/runs", {"agent": HELLO, "parentRunId": parent})
    assert refused.status == 409 and refused.code == "parent_stopped"
    apis[0].post(f"/v1/runs/{bystander}/stop?wait=10")
    check_exact_delivery(stack, [parent, child, grandchild, later, waiting, bystander])


def test_many_children(stack, api):
    """More than one step of the tree's walk takes."""
    parent = api.submit(agents.sleeper())
    answer = api.post("/v1/runs/batch", {"runs": [{"agent": HELLO, "parentRunId": parent, "delayMs": 3600000}] * 900})
    children = [r["runId"] for r in answer.json()["results"]]
    stack.runner()
    api.wait(parent, "running")
    api.post(f"/v1/runs/{parent}/stop")
    wait_until(lambda: all(api.record(c)["status"] == "stopped" for c in children[::90] + children[-1:]), 20, "all children are stopped")
    assert stack.redis.command("ZCARD", stack.shard() + "delayed") == 0


def test_an_unknown_run(api):
    answer = api.post("/v1/runs/00000000-0000-4000-8000-000000000000/stop")
    assert answer.status == 404 and answer.code == "run_not_found"


# ---- nodes that leave ----

def test_a_draining_runner_lets_its_runs_end(stack, api):
    leaving = stack.runner(env={"ERRAND_DRAIN_MS": 20000})
    run_id = api.submit(agents.shell("sleep 1; echo done", name="s", protocol="text"))
    api.wait(run_id, "running")
    leaving.process.signal(signal.SIGTERM)
    wait_until(lambda: [r["draining"] for r in api.get("/v1/runners").json()["runners"]] == [True], 5)
    queued = api.submit(HELLO)
    assert leaving.process.wait(10) == 0
    record = api.record(run_id)
    assert record["status"] == "success" and record["attempt"] == 1
    assert api.record(queued)["status"] == "queued", "it claimed nothing more"
    assert stack.incarnations() == []


def test_a_draining_runner_hands_the_rest_back(stack, api):
    """To the front of its queue, as no failure; another runner executes it."""
    leaving = stack.runner(env={"ERRAND_DRAIN_MS": 300}, slots=1)
    run_id = api.submit(agents.tree(stack.folder, graceMs=200))
    tree_pids(api, run_id)
    behind = api.submit(HELLO)
    leaving.process.signal(signal.SIGTERM)
    assert leaving.process.wait(10) == 0
    assert not of_run(run_id)
    record = api.record(run_id)
    assert record["status"] == "queued" and record["failures"] == 0 and record["attempts"][0]["status"] == "handed_back"
    stack.runner(slots=1)
    assert api.wait(run_id, "running")["attempt"] == 2
    assert api.record(behind)["status"] == "queued", "the one that was handed back goes first"
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    check_exact_delivery(stack, [run_id, behind])


def test_a_draining_runner_does_not_hand_back_what_may_run_only_once(stack, api):
    """It was begun, so it ends as lost. One that was not begun is in tests/chaos/test_bad_moments.py."""
    leaving = stack.runner(env={"ERRAND_DRAIN_MS": 200})
    ran = os.path.join(stack.folder, "ran")
    run_id = api.submit(agents.shell(f'echo x >> {ran}; [ "$ERRAND_ATTEMPT" -gt 1 ] || exec sleep 1000', name="once", protocol="text", atMostOnce=True))
    api.wait(run_id, "running")
    wait_until(lambda: os.path.exists(ran), 5)
    assert leaving.process.end(10) == 0
    stack.runner()
    record = check_exact_delivery(stack, [run_id], timeout=10)[run_id]
    assert record["status"] == "error" and record["error"]["class"] == "runner_lost" and record["failures"] == 0
    assert [a["status"] for a in record["attempts"]] == ["lost"]
    with open(ran, encoding="ascii") as f:
        assert f.read() == "x\n"


def test_a_second_signal_hands_back_at_once(stack, api):
    leaving = stack.runner(env={"ERRAND_DRAIN_MS": 60000})
    run_id = api.submit(agents.sleeper())
    api.wait(run_id, "running")
    leaving.process.signal(signal.SIGTERM)
    wait_until(lambda: b'"draining"' in leaving.process.output(), 5)
    leaving.process.signal(signal.SIGTERM)
    assert leaving.process.wait(10) == 0
    assert api.record(run_id)["status"] == "queued"
    api.post(f"/v1/runs/{run_id}/stop")


def test_a_runner_leaves_though_redis_is_away(stack, redis):
    """Neither what still runs nor what has ended and can't be told keeps it; both are executed again by another."""
    quick = {"ERRAND_LEASE_MS": 3000, "ERRAND_HEARTBEAT_MS": 500}
    api = stack.api(env={"ERRAND_LEASE_MS": 3000})
    leaving = stack.runner(env={"ERRAND_DRAIN_MS": 300, **quick}, slots=2)
    go = os.path.join(stack.folder, "go")
    ends = api.submit(agents.shell(f"while [ ! -e {go} ]; do sleep 0.05; done; echo done", name="ends", protocol="text"))
    stays = api.submit(agents.tree(stack.folder))
    tree_pids(api, stays)
    api.wait(ends, "running")
    redis.kill9()
    with open(go, "w", encoding="ascii"):
        pass
    wait_until(lambda: not of_run(ends), 10)
    leaving.process.signal(signal.SIGTERM)
    assert leaving.process.wait(20) == 0
    assert not of_run(stays) and b"giving them up" in leaving.process.output()
    redis.start()
    wait_until(api.ready, 10)
    stack.runner(env=quick, slots=2)
    assert api.wait(ends, timeout=40)["attempt"] == 2
    api.post(f"/v1/runs/{stays}/stop?wait=10")
    records = check_exact_delivery(stack, [ends, stays])
    assert [records[r]["attempts"][0]["status"] for r in (ends, stays)] == ["lost", "lost"]


def test_a_draining_api_node(stack, apis, runner):
    """Its streams are cut without `done` and without a clean end; requests under way are answered; readers resume elsewhere."""
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 1000, "group": 10, "pauseMs": 20})
    stream = apis[0].stream(run_id)
    stream.until("assistant_text")
    live = [stack.reader(run_id, seed=i) for i in range(4)]
    wait_until(lambda: all(r.record.events for r in live), 10)
    apis[0].process.signal(signal.SIGTERM)
    frames = stream.frames()
    assert stream.end == "cut" and all(f.event != "done" for f in frames)
    assert apis[0].process.wait(10) == 0
    record = check_exact_delivery(stack, [run_id], {run_id: live})[run_id]
    assert record["status"] == "success"


def test_a_draining_api_node_says_so(stack, api):
    from harness.http_client import Connection
    with Connection(api.port) as idle, Connection(api.port) as busy:
        assert idle.request("GET", "/readyz").status == 200
        busy.send(b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + stack.key.encode() + b"\r\nContent-Length: 100\r\n\r\n{")
        wait_until(lambda: api.metric("errand_http_connections") >= 3, 5)
        api.process.signal(signal.SIGTERM)
        assert idle.closed(), "an idle connection is closed"
        assert api.process.wait(10) == 0
