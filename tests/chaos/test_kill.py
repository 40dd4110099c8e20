"""Nodes and Redis are killed in the middle of runs; the runs go on, and what readers hold stays exact."""
import json
import os
import time

import pytest

from harness import agents
from harness.delivery import check_exact_delivery
from harness.processes import of_run
from harness.wait import holds_for, wait_until

# Short leases where the deadline itself is not what is tested.
QUICK = {"ERRAND_LEASE_MS": 3000, "ERRAND_HEARTBEAT_MS": 500}


def executing(stack, api, run_id, timeout=30.0):
    """The runner that executes the run now, and the attempt."""
    attempt = api.wait(run_id, "running", timeout)["attempt"]
    inc = stack.redis.command("HGET", f"{stack.shard()}run:{run_id}", "inc").decode()
    return next(r for r in stack.runners if r.inc == inc), attempt


def test_a_killed_runners_run_is_executed_by_another_within_15_s(stack, apis):
    """With the shipped lease. The first attempt's processes, in sessions of their own, are gone within 2 s, and readers see one seamless run."""
    stack.runner()
    stack.runner()
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 2000, "group": 10, "pauseMs": 50})
    live = [stack.reader(run_id), stack.reader(run_id)]
    victim, attempt = executing(stack, apis[1], run_id)
    wait_until(lambda: apis[1].record(run_id)["eventCount"] > 100, 20)
    killed = time.monotonic()
    victim.kill9()
    wait_until(lambda: not of_run(run_id) or apis[1].record(run_id)["attempt"] > attempt, 2, "the killed runner's agent is gone")
    record = wait_until(lambda: (r := apis[1].record(run_id))["attempt"] > attempt and r["status"] == "running" and r, 15 - (time.monotonic() - killed), "it is executed again")
    assert record["failures"] == 0 and record["attempts"][0]["status"] == "lost"
    records = check_exact_delivery(stack, [run_id], {run_id: live}, timeout=120)
    assert records[run_id]["status"] == "success" and records[run_id]["attempt"] == 2
    kinds = [json.loads(line) for line in apis[0].replay(run_id).lines()]
    closing = [e for e in kinds if e["kind"] == "stream_error"]
    assert len(closing) == 1 and closing[0]["data"]["willRetry"] is True and closing[0]["data"]["attempt"] == 1
    assert closing[0]["data"]["error"]["class"] == "runner_lost"


def test_a_killed_runners_tree_is_gone_within_2_s(stack, api):
    """Grandchildren that called setsid and ignore SIGTERM, too."""
    work = os.path.join(stack.folder, "work")
    os.mkdir(work)
    runner = stack.runner(args=["--work-dir", work])
    run_id = api.submit(agents.tree(stack.folder, atMostOnce=True))
    with api.stream(run_id) as stream:
        pids = json.loads(stream.until("notification")[-1].data)["data"]["pids"]
    assert len(pids) == 3 and len(of_run(run_id)) >= 3
    runner.kill9()
    wait_until(lambda: not of_run(run_id), 2, "the tree is gone")
    wait_until(lambda: not [f for n in os.listdir(work) if n.startswith("errand-") for f in os.listdir(os.path.join(work, n))], 2, "and its private folder")
    stack.runner()
    record = api.wait(run_id, timeout=20)
    assert record["status"] == "error" and record["error"]["class"] == "runner_lost"
    check_exact_delivery(stack, [run_id])


def test_a_killed_api_nodes_readers_resume_elsewhere(stack, apis, redis):
    stack.runner()
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 2000, "group": 10, "pauseMs": 10})
    live = [stack.reader(run_id, seed=i) for i in range(8)]
    wait_until(lambda: all(len(r.record.events) > 50 for r in live), 20)
    apis[0].kill9()
    wait_until(lambda: all(r.record.connections >= 1 for r in live), 5)
    records = check_exact_delivery(stack, [run_id], {run_id: live})
    assert records[run_id]["status"] == "success" and records[run_id]["attempt"] == 1
    assert any(r.record.connections > 1 for r in live), "nobody read from the node that was killed"


@pytest.mark.parametrize("away_s", [0, 15])
def test_redis_killed_and_restarted(stack, apis, redis, away_s):
    """Executing runs go on on the same attempt, nodes recover within 5 s of its return, nothing is stuck."""
    stack.runner(slots=4)
    stack.runner(slots=4)
    busy = [apis[i % 2].submit(agents.counter(stack.folder, name=f"c{i}"), {"n": 3000, "group": 10, "pauseMs": 20 if away_s == 0 else 60}) for i in range(4)]
    for run_id in busy:
        apis[0].wait(run_id, "running")
    waiting = [apis[0].submit(agents.shell("echo later", protocol="text", name="later"), delayMs=1000) for _ in range(4)]
    live = {r: [stack.reader(r, seed=i)] for i, r in enumerate(busy)}
    wait_until(lambda: all(apis[0].record(r)["eventCount"] > 50 for r in busy), 20)
    redis.kill9()
    wait_until(lambda: not apis[0].ready() and not apis[1].ready(), 10, "nodes say that Redis is away")
    if away_s:
        holds_for(lambda: all(of_run(r) for r in busy), away_s, "agents go on while Redis is away")
    redis.start()
    back = time.monotonic()
    wait_until(lambda: apis[0].ready() and apis[1].ready(), 5, "nodes are ready again")
    fresh = apis[1].submit(agents.shell("echo new", protocol="text", name="new"))
    assert apis[0].wait(fresh, timeout=5 - (time.monotonic() - back) + 1)["status"] == "success"
    records = check_exact_delivery(stack, busy + waiting + [fresh], live, timeout=90)
    for run_id, record in records.items():
        assert record["status"] == "success" and record["attempt"] == 1, record


def test_a_frozen_runner_past_its_lease_is_refused(stack, api):
    """What it still sends after it goes on is refused, and its agent is killed."""
    env = dict(QUICK)
    frozen = stack.runner(env=env)
    agent = {**agents.counter(stack.folder), "timeoutMs": 120000}
    run_id = api.submit(agent, {"n": 600, "group": 10, "pauseMs": 100})
    live = [stack.reader(run_id)]
    wait_until(lambda: api.record(run_id)["eventCount"] > 20, 20)
    agent_pids = set(of_run(run_id))
    frozen.freeze()
    stack.runner(env=env)
    wait_until(lambda: (r := api.record(run_id))["attempt"] == 2 and r["status"] == "running", 15)
    new_pids = set(of_run(run_id)) - agent_pids
    assert new_pids
    frozen.thaw()
    wait_until(lambda: not (set(of_run(run_id)) & agent_pids), 5, "the first attempt's processes are killed")
    wait_until(lambda: b"declared dead" in frozen.process.output(), 5)
    records = check_exact_delivery(stack, [run_id], {run_id: live})
    assert records[run_id]["status"] == "success" and records[run_id]["attempt"] == 2 and records[run_id]["failures"] == 0
    # it starts anew under another incarnation, and works
    wait_until(lambda: len(stack.incarnations()) == 2, 10)
    last = api.submit(agents.shell("true", name="last"))
    assert api.wait(last)["status"] == "success"


def test_a_run_that_keeps_killing_its_runners_ends(stack, api):
    """After three losses a lost runner ends it, with a clear error."""
    run_id = api.submit(agents.sleeper())
    for attempt in range(1, 5):
        runner = stack.runner(env=QUICK)
        wait_until(lambda: (r := api.record(run_id))["attempt"] == attempt and r["status"] == "running", 20)
        runner.kill9()
    stack.runner(env=QUICK)
    record = api.wait(run_id, timeout=20)
    assert record["status"] == "error" and record["error"]["class"] == "runner_lost" and record["attempt"] == 4 and record["failures"] == 0
    check_exact_delivery(stack, [run_id])


def test_without_any_runner_the_api_nodes_keep_the_books(stack):
    """The last runner dies: its run is taken back, it leaves the list, and what is due is promoted, so that the next runner finds all of it."""
    api = stack.api(env=QUICK)
    runner = stack.runner(env=QUICK)
    held, later = api.submit(agents.sleeper()), api.submit(agents.shell("echo later", protocol="text"), delayMs=1500)
    api.wait(held, "running")
    runner.kill9()
    api.wait(held, "queued", timeout=10)
    api.wait(later, "queued", timeout=10)
    assert api.get("/v1/runners").json()["runners"] == []
    api.post(f"/v1/runs/{held}/stop")
    stack.runner(env=QUICK)
    assert api.wait(later)["status"] == "success"
