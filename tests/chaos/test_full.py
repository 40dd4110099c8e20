"""Redis at its memory bound: submits are refused with a clear answer, and every accepted run ends."""
from harness import agents
from harness.delivery import check_exact_delivery
from harness.wait import wait_until

QUIET = agents.shell("read line; exit 0", name="quiet", protocol="text")


def fill(redis):
    """Full at once: even what scripts without allow-oom want to write is refused."""
    redis.set_maxmemory(1)


def test_submits_are_refused_and_every_accepted_run_ends(stack, apis, redis):
    stack.runner(slots=16)
    queued = [apis[0].submit(QUIET, delayMs=1500) for _ in range(5)]
    chatty = [apis[0].submit(agents.counter(stack.folder), {"n": 300, "group": 10, "pauseMs": 50}) for _ in range(3)]
    live = {r: [stack.reader(r)] for r in chatty}
    for run_id in chatty:
        wait_until(lambda: apis[0].record(run_id)["eventCount"] > 20, 20)
    stopped = apis[0].submit(agents.sleeper())
    wait_until(lambda: apis[0].record(stopped)["eventCount"] == 2, 20, "what it says is stored: an end waits for its events")
    fill(redis)
    for api in apis:
        refused = api.post("/v1/runs", {"agent": QUIET})
        assert refused.status == 503 and refused.code == "memory_pressure" and "retry-after" in refused.headers, refused
    batch = apis[0].post("/v1/runs/batch", {"runs": [{"agent": QUIET}, {"agent": QUIET}]})
    assert [r["error"]["code"] for r in batch.json()["results"]] == ["memory_pressure"] * 2
    # stop, promotion, claim and the end work while it is full
    assert apis[1].post(f"/v1/runs/{stopped}/stop").status == 202
    assert apis[1].wait(stopped)["status"] == "stopped"
    for run_id in queued:
        assert apis[1].wait(run_id)["status"] == "success"
    for run_id in chatty:
        assert apis[0].record(run_id)["status"] == "running", "its output waits"
    redis.set_maxmemory(0)
    for record in check_exact_delivery(stack, chatty + queued + [stopped], live).values():
        assert record["status"] in ("success", "stopped") and record["attempt"] == 1
    wait_until(lambda: apis[0].post("/v1/runs", {"agent": QUIET}).status == 202, 5, "submits are accepted again")


def test_output_that_waits_too_long_ends_the_run(stack, api, redis):
    """`storage_full`, after ERRAND_FULL_MS, while Redis is still full."""
    stack.runner(env={"ERRAND_FULL_MS": 1500})
    run_id = api.submit(agents.counter(stack.folder), {"n": 100000, "group": 10, "pauseMs": 20})
    wait_until(lambda: api.record(run_id)["eventCount"] > 20, 20)
    fill(redis)
    record = api.wait(run_id, timeout=15)
    assert record["status"] == "error" and record["error"]["class"] == "storage_full"
    redis.set_maxmemory(0)
    check_exact_delivery(stack, [run_id])


def test_a_killed_runners_runs_are_taken_back_while_redis_is_full(stack, api, redis):
    quick = {"ERRAND_LEASE_MS": 2000, "ERRAND_HEARTBEAT_MS": 300}
    first = stack.runner(env=quick)
    waits = agents.shell(f"while [ ! -e {stack.folder}/go ]; do sleep 0.02; done", name="waits")
    run_id = api.submit(waits)
    api.wait(run_id, "running")
    stack.runner(env=quick)
    fill(redis)
    first.kill9()
    wait_until(lambda: (r := api.record(run_id))["attempt"] == 2 and r["status"] == "running", 15)
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    assert api.wait(run_id)["status"] == "success"
    redis.set_maxmemory(0)
    check_exact_delivery(stack, [run_id])


def test_submits_are_refused_before_redis_is_full(stack, api, redis):
    """From 90 % on: what was accepted needs the rest, for its events and its end."""
    stack.runner()
    for i in range(300):
        redis.command("SET", f"ballast{i}", b"x" * 100_000)
    run_id = api.submit(agents.counter(stack.folder), {"n": 300, "group": 10, "pauseMs": 50})
    wait_until(lambda: api.record(run_id)["eventCount"] > 20, 20)
    redis.set_maxmemory(int(redis.used_memory() / 0.93))
    wait_until(lambda: api.post("/v1/runs", {"agent": QUIET}).code == "memory_pressure", 5, "submits are refused")
    assert redis.command("SET", "more", b"x" * 1000) == b"OK", "Redis itself has room"
    before = api.record(run_id)["eventCount"]
    wait_until(lambda: api.record(run_id)["eventCount"] > before, 5, "its events are stored")
    assert api.wait(run_id)["status"] == "success"
    assert api.post("/v1/runs", {"agent": QUIET}).code == "memory_pressure"
    redis.set_maxmemory(0)
    wait_until(lambda: api.post("/v1/runs", {"agent": QUIET}).status == 202, 5, "submits are accepted again")
    redis.command("DEL", "more", *[f"ballast{i}" for i in range(300)])
