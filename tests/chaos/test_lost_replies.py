"""The connection is cut between a script's execution and its answer: nothing is stranded, nothing happens twice."""
import json

import pytest

from harness import agents
from harness.build import script_mark
from harness.delivery import check_exact_delivery
from harness.wait import wait_until


def through(proxy, **more):
    return {"ERRAND_REDIS_URL": proxy.url, **more}


@pytest.mark.parametrize("script", ["claim", "started", "finish", "heartbeat"])
def test_a_lost_reply_strands_nothing(stack, apis, proxy, script):
    """The run ends as if nothing had been; a claim whose answer was lost (others may be under way on the same connection) makes a further attempt, but only one ever executed."""
    stack.runner(env=through(proxy, ERRAND_HEARTBEAT_MS=500))
    proxy.lose_reply_to(script_mark(script), times=2)
    runs = [apis[0].submit(agents.counter(stack.folder), {"n": 300, "group": 10, "pauseMs": 10}) for _ in range(4)]
    live = {r: [stack.reader(r)] for r in runs}
    wait_until(lambda: proxy.lost >= 1, 20, "replies were lost")
    records = check_exact_delivery(stack, runs, live)
    for record in records.values():
        assert record["status"] == "success" and record["failures"] == 0
        executed = [a for a in record["attempts"] if a.get("handle")]
        assert len(executed) == 1 and executed[0]["status"] == "success"
        assert all(a["status"] == "handed_back" for a in record["attempts"][:-1])


def test_a_lost_append_is_neither_lost_nor_stored_twice(stack, apis, proxy):
    stack.runner(env=through(proxy, ERRAND_HEARTBEAT_MS=500))
    proxy.lose_reply_to(b"XADD", times=3)
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 500, "group": 5, "pauseMs": 10})
    live = [stack.reader(run_id), stack.reader(run_id)]
    wait_until(lambda: proxy.lost == 3, 20, "replies were lost")
    record = check_exact_delivery(stack, [run_id], {run_id: live})[run_id]
    assert record["status"] == "success" and record["attempt"] == 1
    assert [e["data"]["i"] for e in map(json.loads, apis[1].replay(run_id).lines()) if e["kind"] == "assistant_text"] == list(range(500))


def test_a_lost_hand_back_is_told_again(stack, apis, proxy):
    first = stack.runner(env=through(proxy, ERRAND_DRAIN_MS=100))
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 300, "group": 10, "pauseMs": 100})
    wait_until(lambda: apis[0].record(run_id)["status"] == "running", 10)
    proxy.lose_reply_to(script_mark("hand_back"))
    stack.runner()
    assert first.process.end() == 0
    assert proxy.lost == 1
    record = check_exact_delivery(stack, [run_id], {run_id: []})[run_id]
    assert record["status"] == "success" and record["attempt"] == 2 and record["failures"] == 0
    assert [a["status"] for a in record["attempts"]] == ["handed_back", "success"]


def test_a_lost_submit_can_be_repeated_with_its_idempotency_key(stack, proxy):
    """The node can't know whether the run was accepted, and says so; the same key gives the same run."""
    stack.api()
    api = stack.api(env=through(proxy))
    stack.runner(api=stack.apis[0])
    proxy.lose_reply_to(script_mark("submit"))
    body = {"agent": agents.shell("true", name="once")}
    first = api.post("/v1/runs", body, headers={"Idempotency-Key": "one"})
    assert proxy.lost == 1
    assert first.status == 503 and first.code == "redis_unavailable" and "retry-after" in first.headers
    again = stack.apis[0].post("/v1/runs", body, headers={"Idempotency-Key": "one"})
    assert again.status == 202 and again.headers.get("idempotency-replayed") == "true"
    listed = stack.apis[0].get("/v1/runs").json()["runs"]
    assert [r["runId"] for r in listed] == [again.json()["runId"]]
    wait_until(api.ready, 5)
    check_exact_delivery(stack, [again.json()["runId"]])


def test_a_cut_connection_in_the_middle_of_everything(stack, apis, proxy):
    """All connections of a runner are cut again and again while it executes; nobody waits for a time, each cut follows new events."""
    stack.runner(env=through(proxy, ERRAND_HEARTBEAT_MS=500))
    runs = [apis[i % 2].submit(agents.counter(stack.folder), {"n": 1000, "group": 10, "pauseMs": 20}) for i in range(4)]
    live = {r: [stack.reader(r)] for r in runs}
    for _ in range(5):
        seen = {r: apis[0].record(r)["eventCount"] for r in runs}
        wait_until(lambda: all(apis[0].record(r)["eventCount"] > seen[r] for r in runs), 20, "events go on")
        proxy.cut()
    for record in check_exact_delivery(stack, runs, live).values():
        assert record["status"] == "success" and record["attempt"] == 1


def test_a_partition_longer_than_the_lease(stack, apis, proxy):
    """The runner behind it is reaped; when it hears of Redis again, it kills its agent and is refused."""
    quick = {"ERRAND_LEASE_MS": 2000, "ERRAND_HEARTBEAT_MS": 300}
    stack.runner(env=through(proxy, **quick))
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 400, "group": 10, "pauseMs": 100})
    live = [stack.reader(run_id)]
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 20, 10)
    proxy.hold()
    stack.runner(env=quick)
    wait_until(lambda: (r := apis[0].record(run_id))["attempt"] == 2 and r["status"] == "running", 15)
    proxy.release()
    wait_until(lambda: b"declared dead" in stack.runners[0].process.output(), 10)
    record = check_exact_delivery(stack, [run_id], {run_id: live})[run_id]
    assert record["status"] == "success" and record["attempt"] == 2 and record["failures"] == 0
