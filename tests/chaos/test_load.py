"""Many runs of all kinds under faults of all kinds, drawn from a seed; then the exact-delivery check over all of them."""
import random

import pytest

from harness import agents
from harness.delivery import check_exact_delivery, check_no_keys_left
from harness.redis_proxy import RedisProxy
from harness.wait import wait_until

QUICK = {"ERRAND_LEASE_MS": 3000, "ERRAND_HEARTBEAT_MS": 500}
RUNS, FAULTS = 150, 12


class Load:
    """Submits, stops and breaks things."""

    def __init__(self, stack, redis, folder, seed):
        self.stack, self.redis, self.rng = stack, redis, random.Random(seed)
        self.runs, self.stops, self.live = [], set(), {}
        self.proxies = [RedisProxy(folder, redis.socket, f"p{i}") for i in range(2)]
        count = agents.counter(folder)
        fails = agents.fails_until(folder, 3)
        self.kinds = [
            lambda: (count, {"n": self.rng.randint(1, 40), "group": 5, "pauseMs": 5}, {}),
            lambda: (count, {"n": 100, "group": 10, "pauseMs": 30}, {}),
            lambda: (fails, None, {}),
            lambda: (agents.shell("echo hello; echo world >&2", protocol="text", name="text"), None, {"delayMs": self.rng.randint(1, 3000)}),
            lambda: (count, {"n": 20, "group": 5, "pauseMs": 10}, {"priority": self.rng.choice(["high", "normal", "low"])}),
            lambda: (agents.sleeper(), None, {}),
        ]

    def node(self):
        return self.rng.choice([a for a in self.stack.apis if a.process.alive()])

    def submit(self):
        kind = self.rng.randrange(len(self.kinds))
        agent, data, fields = self.kinds[kind]()
        key = f"k{len(self.runs)}"
        body = {"agent": agent, **fields, **({"input": data} if data is not None else {})}

        def accepted():
            answer = self.node().post("/v1/runs", body, headers={"Idempotency-Key": key})
            assert answer.status in (202, 503), answer
            return answer.json()["runId"] if answer.status == 202 else None
        run_id = wait_until(accepted, 30, "a submit is accepted")
        self.stack.run_ids.append(run_id)
        self.runs.append(run_id)
        if kind == 5:
            self.stops.add(run_id)
        if self.rng.random() < 0.2:
            self.live[run_id] = [self.stack.reader(run_id, seed=len(self.runs), cut_between=self.rng.choice([None, (100, 3000)]), deadline=240)]

    def add_runner(self):
        env = dict(QUICK)
        if self.rng.random() < 0.5:
            env["ERRAND_REDIS_URL"] = self.rng.choice(self.proxies).url
        self.stack.runner(env=env, slots=6)

    def living_runner(self):
        return self.rng.choice([r for r in self.stack.runners if r.process.alive()])

    def kill_runner(self):
        self.living_runner().kill9()
        self.add_runner()

    def freeze_runner(self):
        frozen = self.living_runner()
        frozen.freeze()
        self.add_runner()
        wait_until(lambda: frozen.inc not in self.stack.incarnations(), 20, "the frozen runner is reaped")
        frozen.thaw()

    def drain_runner(self):
        drained = self.living_runner()
        self.add_runner()
        drained.process.end()

    def kill_api(self):
        self.node().kill9()
        self.stack.api()

    def restart_redis(self):
        self.redis.kill9()
        self.redis.start()

    def flush_scripts(self):
        self.redis.command("SCRIPT", "FLUSH")

    def kill_clients(self):
        self.redis.command("CLIENT", "KILL", "TYPE", self.rng.choice(["normal", "pubsub"]), "SKIPME", "yes")

    def cut_proxy(self):
        self.rng.choice(self.proxies).cut()

    def fault(self):
        self.rng.choice([self.kill_runner, self.freeze_runner, self.drain_runner, self.kill_api, self.restart_redis, self.flush_scripts, self.kill_clients, self.cut_proxy])()

    def stop_all(self):
        for run_id in self.stops:
            wait_until(lambda: self.node().post(f"/v1/runs/{run_id}/stop").status in (200, 202), 20, "a stop is accepted")


@pytest.mark.parametrize("seed", [7, 11])
def test_everything_at_once(stack, redis, folder, seed):
    stack.api()
    stack.api()
    load = Load(stack, redis, folder, seed)
    for _ in range(3):
        load.add_runner()
    for i in range(RUNS):
        load.submit()
        if i % (RUNS // FAULTS) == RUNS // FAULTS - 1:
            load.fault()
    load.stop_all()
    wait_until(lambda: all(a.ready() for a in stack.apis if a.process.alive()), 10)
    records = check_exact_delivery(stack, load.runs, load.live, timeout=120)
    for run_id, record in records.items():
        if run_id in load.stops:
            assert record["status"] == "stopped" or (record["error"] or {}).get("class") == "runner_lost", record
        else:
            assert record["status"] == "success" or record["error"]["class"] == "runner_lost", record
    wait_until(lambda: stack.redis.command("HVALS", stack.shard() + "queued") in ([], [b"0"]), 5, "nothing is counted as waiting")
    for run_id in load.runs:
        assert load.node().request("DELETE", f"/v1/runs/{run_id}").status == 204
    check_no_keys_left(stack, load.runs)
    for proxy in load.proxies:
        proxy.stop()
