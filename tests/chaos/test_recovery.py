"""How soon the runs of a runner are executed again: when its process dies, when it falls silent, and when it only loses its connections."""
import time

from harness import agents
from harness.wait import holds_for, wait_until

RUNS = 200


def hash_of(stack, run_id, *fields):
    return [v.decode() if v is not None else "" for v in stack.redis.command("HMGET", f"{stack.shard()}run:{run_id}", *fields)]


def loaded(stack, api):
    """A runner that executes RUNS runs, and one beside it that has room for them all."""
    victim = stack.runner(slots=RUNS)
    body = {"runs": [{"agent": agents.sleeper(graceMs=100)}] * RUNS}
    runs = [r["runId"] for r in api.post("/v1/runs/batch", body).json()["results"]]
    wait_until(lambda: all(hash_of(stack, r, "status") == ["running"] for r in runs), 60)
    heir = stack.runner(slots=RUNS)
    reap = f"{stack.shard()}reap"  # nobody is reaped right after an outage
    wait_until(lambda: int(stack.redis.command("HGET", reap, "until") or 1 << 50) < int(stack.redis.command("TIME")[0]) * 1000, 20)
    holds_for(lambda: stack.redis.command("ZCARD", f"{stack.shard()}held:{heir.inc}") == 0, 0.5)
    return victim, heir, runs


def all_on(stack, runs, runner):
    return stack.redis.command("ZCARD", f"{stack.shard()}held:{runner.inc}") == len(runs) and all(hash_of(stack, r, "status", "inc") == ["running", runner.inc] for r in runs)


def nothing_of(stack, inc):
    return not [k for k in stack.redis.keys() if inc.encode() in k] and not stack.redis.command("ZSCORE", f"{stack.shard()}leases", inc)


def end_all(api, runs):
    for run_id in runs:
        api.post(f"/v1/runs/{run_id}/stop")
    for run_id in runs:
        record = api.wait(run_id, timeout=60)
        assert record["status"] == "stopped" and record["failures"] == 0


def test_two_hundred_runs_of_a_killed_process(stack, api):
    """All are executing again within 4 s: its control channel has no listener any more."""
    victim, heir, runs = loaded(stack, api)
    victim.kill9()
    killed = time.monotonic()
    wait_until(lambda: all_on(stack, runs, heir), 4, "all of them are executed again")
    print(f"recovered after {time.monotonic() - killed:.2f} s")
    wait_until(lambda: nothing_of(stack, victim.inc), 2)
    end_all(api, runs)


def test_two_hundred_runs_of_a_silent_runner(stack, api):
    """It still holds its connections: its lease decides, 15 s at most."""
    victim, heir, runs = loaded(stack, api)
    victim.freeze()
    stopped = time.monotonic()
    wait_until(lambda: all_on(stack, runs, heir), 15, "all of them are executed again")
    print(f"recovered after {time.monotonic() - stopped:.2f} s")
    assert time.monotonic() - stopped > 5
    wait_until(lambda: nothing_of(stack, victim.inc), 2)
    victim.thaw()
    end_all(api, runs)


def test_a_reconnect_costs_nothing(stack, api):
    """Every connection of a living runner is cut, ten times: no run changes hands."""
    victim = stack.runner(slots=20)
    stack.runner(slots=20)
    body = {"runs": [{"agent": agents.sleeper(graceMs=100)}] * 20}
    runs = [r["runId"] for r in api.post("/v1/runs/batch", body).json()["results"]]
    wait_until(lambda: all(hash_of(stack, r, "status") == ["running"] for r in runs), 30)
    before = [hash_of(stack, r, "inc", "attempt") for r in runs]
    for _ in range(10):
        for line in stack.redis.command("CLIENT", "LIST").decode().splitlines():
            fields = dict(f.split("=", 1) for f in line.split() if "=" in f)
            if fields.get("name", "").startswith("errand-runner"):
                stack.redis.command("CLIENT", "KILL", "ID", fields["id"])
        channel = f"{stack.shard()}ctl:{victim.inc}"
        wait_until(lambda: stack.redis.command("PUBSUB", "NUMSUB", channel)[1] == 1, 5)
    holds_for(lambda: [hash_of(stack, r, "inc", "attempt") for r in runs] == before, 3.0)
    end_all(api, runs)
