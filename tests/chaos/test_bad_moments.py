"""Faults at the moment that hurts most: between two steps of a runner that are usually one. The proxy waits for the request, so nothing here is left to luck."""
import functools
import os
import re
import signal

import pytest

from harness import agents, http_client
from harness.build import script_mark
from harness.delivery import check_exact_delivery
from harness.processes import of_run
from harness.wait import holds_for, wait_until

QUICK = {"ERRAND_HEARTBEAT_MS": 300}
KEPT_S = 2.3  # longer than a runner keeps events that were answered
EMIT = 'for i in 1 2 3 4 5; do echo \'{"kind":"assistant_text","data":{"i":\'$i\'}}\'; done; '


def through(proxy, **more):
    return {"ERRAND_REDIS_URL": proxy.url, **QUICK, **more}


def gate(stack, name):
    """Shell text that waits for open_gate."""
    return f"while [ ! -e {stack.folder}/{name} ]; do sleep 0.01; done; "


def open_gate(stack, name):
    with open(os.path.join(stack.folder, name), "w", encoding="ascii"):
        pass


def count_of(stack, file):
    """Lines of a file that agents write to."""
    try:
        with open(os.path.join(stack.folder, file), encoding="ascii") as f:
            return len(f.readlines())
    except FileNotFoundError:
        return 0


def says(runner, text, timeout=5.0):
    wait_until(lambda: text in runner.process.output(), timeout, f"the runner says {text!r}")


def back_without_tail(stack, redis, size):
    """Redis dies, stays away for longer than events are kept, and comes back without what was written behind `size`."""
    redis.kill9()
    assert redis.cut_aof(size) > 0
    holds_for(lambda: not redis.process.alive(), KEPT_S, "Redis is away")
    redis.start()
    wait_until(lambda: all(a.ready() for a in stack.apis), 5, "nodes are ready again")


def remote(**fields):
    return agents.shell("exec sleep 1000", name="remote", eventSource="remote", graceMs=200, **fields)


# ---- `started` of a remote run is unanswered ----

def test_a_remote_run_is_handed_back_before_its_start_was_answered(stack, api, proxy):
    leaving = stack.runner(env=through(proxy, ERRAND_DRAIN_MS=200))
    proxy.lose_reply_to(script_mark("started"), then_refuse=True)
    run_id = api.submit(remote())
    wait_until(lambda: proxy.lost == 1, 10, "`started` was told")
    leaving.process.signal(signal.SIGTERM)
    says(leaving, b"handing runs back")
    proxy.accept()
    assert leaving.process.end(6) == 0
    record = api.record(run_id)
    assert record["status"] == "queued" and [a["status"] for a in record["attempts"]] == ["handed_back"]
    api.post(f"/v1/runs/{run_id}/stop")
    check_exact_delivery(stack, [run_id])


def test_a_remote_run_that_is_lost_before_its_start_was_answered_frees_its_slot(stack, api, proxy):
    runner = stack.runner(env=through(proxy, ERRAND_ORPHAN_MS=1000), slots=1)
    proxy.lose_reply_to(script_mark("started"), then_refuse=True)
    run_id = api.submit(remote())
    wait_until(lambda: proxy.lost == 1, 10, "`started` was told")
    says(runner, b"cut off from Redis")
    proxy.accept()
    wait_until(lambda: (r := api.record(run_id))["attempt"] == 2 and r["status"] == "running", 8, "the only slot is free again")
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert [a["status"] for a in record["attempts"]] == ["lost", "stopped"]


# ---- a runner that gave its runs up, though its lease goes on ----

@pytest.mark.parametrize("once", [True, False])
def test_a_run_that_its_runner_gave_up_counts_as_lost(stack, api, proxy, once):
    """It has been executed, so one that asked for atMostOnce ends; any other is executed again."""
    runner = stack.runner(env=through(proxy, ERRAND_ORPHAN_MS=1000))
    run_id = api.submit(agents.shell(f'echo x >> {stack.folder}/ran; [ "$ERRAND_ATTEMPT" -gt 1 ] || exec sleep 1000', name="given-up", protocol="text", atMostOnce=once))
    api.wait(run_id, "running")
    wait_until(lambda: count_of(stack, "ran") == 1, 5)
    proxy.cut(refuse=True)
    says(runner, b"cut off from Redis")
    wait_until(lambda: not of_run(run_id), 5, "it was killed")
    proxy.accept()
    record = check_exact_delivery(stack, [run_id], timeout=10)[run_id]
    assert [a["status"] for a in record["attempts"]] == (["lost"] if once else ["lost", "success"])
    assert record.get("error", {}).get("class") == ("runner_lost" if once else None)
    assert count_of(stack, "ran") == len(record["attempts"])


# ---- Redis is away for long, and comes back without its tail ----

def test_events_lost_in_a_long_outage_are_sent_again(stack, api, redis):
    """They were answered long before the connection is back, yet right before it went."""
    stack.runner(env=QUICK)
    run_id = api.submit(agents.shell(gate(stack, "emit") + EMIT + gate(stack, "end"), name="gates"))
    api.wait(run_id, "running")
    reader, size = stack.reader(run_id), redis.aof_size()
    open_gate(stack, "emit")
    wait_until(lambda: api.record(run_id)["eventCount"] == 6, 10)
    back_without_tail(stack, redis, size)
    open_gate(stack, "end")
    record = check_exact_delivery(stack, [run_id], {run_id: [reader]})[run_id]
    assert record["status"] == "success" and record["attempt"] == 1 and record["eventCount"] == 7


def test_a_remote_start_lost_in_a_long_outage_is_told_again(stack, api, redis, proxy):
    """Without it Redis would not know the agent's token."""
    sizes = []
    told = proxy.before(script_mark("started"), lambda: sizes.append(redis.aof_size()))
    stack.runner(env=through(proxy))
    agent = remote()
    agent["command"][2] = f'printf %s "$ERRAND_RUNNER_TOKEN" > {stack.folder}/token.new; mv {stack.folder}/token.new {stack.folder}/token; exec sleep 1000'
    run_id = api.submit(agent)
    wait_until(lambda: count_of(stack, "token") == 1, 10, "the agent has its token")
    assert told.is_set()
    with open(f"{stack.folder}/token", encoding="ascii") as f:
        headers = {"Authorization": f"Bearer {f.read()}"}
    back_without_tail(stack, redis, sizes[0])

    def known():
        return http_client.request(api.port, "GET", f"/v1/runs/{run_id}/runner/manifest", headers=headers).status == 200
    wait_until(known, 4, "its token is known again")
    assert api.record(run_id)["attempt"] == 1 and of_run(run_id)
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    check_exact_delivery(stack, [run_id])


# ---- the end of a run is on its way ----

def test_redis_is_full_when_a_lost_end_is_told_again(stack, api, redis, proxy):
    """Its events can't be stored again, and need not be: the end needs no room."""
    stack.runner(env=through(proxy, ERRAND_FULL_MS=1000))
    run_id = api.submit(agents.shell(gate(stack, "end") + "echo hi", name="full", protocol="text"))
    api.wait(run_id, "running")
    cut = proxy.before(script_mark("finish"), functools.partial(proxy.cut, refuse=True))
    open_gate(stack, "end")
    wait_until(cut.is_set, 10, "the end was to be told")
    redis.set_maxmemory(1)
    proxy.accept()
    assert api.wait(run_id, timeout=6)["status"] == "success"
    redis.set_maxmemory(0)
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["result"] == "hi\n" and record["eventCount"] == 3


def test_the_last_lines_of_a_log_survive_a_lost_connection(stack, api, proxy):
    stack.runner(env=through(proxy))
    cut = proxy.before(script_mark("logs"), proxy.cut)
    run_id = api.submit(agents.shell("echo first >&2; echo last >&2", name="log", protocol="text"))
    assert api.wait(run_id)["status"] == "success" and cut.is_set()
    lines = api.get(f"/v1/runs/{run_id}/logs").json()["lines"]
    assert [line["text"] for line in lines] == ["first", "last"]
    check_exact_delivery(stack, [run_id])


def test_a_heartbeat_that_speaks_of_the_attempt_before_kills_nothing(stack, api, proxy):
    """Its question was put while the first attempt's end was under way; its answer comes when the second one is here."""
    stack.runner(env=through(proxy, ERRAND_HEARTBEAT_MS=2000))
    run_id = api.submit(agents.shell(gate(stack, "end") + 'printf bye >&2; exit $((ERRAND_ATTEMPT == 1))', name="twice", protocol="text",
                                     maxAttempts=2, backoff={"type": "fixed", "baseMs": 0, "capMs": 0}))
    api.wait(run_id, "running")
    wait_until(proxy.before(script_mark("heartbeat")).is_set, 5, "the next heartbeat is 2 s away")
    behind = []

    def hold():  # called behind the unfinished line's event, so the claim that a free slot leads to is answered
        proxy.hold()
        behind.extend((script, proxy.before(script_mark(script))) for script in ("claim", "heartbeat"))
    ended = proxy.before(script_mark("finish"), hold)
    open_gate(stack, "end")
    wait_until(ended.is_set, 5, "the first attempt ended")
    for script, sent in behind:
        wait_until(sent.is_set, 5, f"{script} was sent behind the end")
    proxy.release()
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert [a["status"] for a in record["attempts"]] == ["error", "success"]


def test_a_redis_that_refuses_writes_is_not_hammered(stack, api, redis):
    """It is up, but takes nothing (too few replicas): the end of a run, and of its log, is tried again at leisure."""
    stack.runner(env=QUICK)
    run_id = api.submit(agents.shell("echo last >&2; " + gate(stack, "go"), name="refused"))
    wait_until(lambda: api.record(run_id)["eventCount"] == 2, 5, "its events are stored, its log is about to be")
    redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
    open_gate(stack, "go")
    wait_until(lambda: not of_run(run_id), 5)

    def calls():
        stats = redis.command("INFO", "commandstats").decode()
        return sum(int(n) for line in stats.splitlines() if line.startswith("cmdstat_fcall:") for n in re.findall(r"calls=(\d+)", line))
    before = calls()
    holds_for(lambda: calls() - before < 200, 1.5, "a few calls a second")
    redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
    assert api.wait(run_id)["status"] == "success"
    assert [line["text"] for line in api.get(f"/v1/runs/{run_id}/logs").json()["lines"]] == ["last"]


# ---- a runner leaves ----

def test_a_run_claimed_while_the_signal_came_is_handed_back(stack, api, proxy):
    """Nothing of it was begun, so it waits again, though it asked for atMostOnce; the runner, idle before, does not stay for it."""
    leaving = stack.runner(env=through(proxy, ERRAND_DRAIN_MS=500))
    held = proxy.before(script_mark("claim"), proxy.hold)
    wait_until(held.is_set, 5, "it asks for runs")
    run_id = api.submit(agents.sleeper(atMostOnce=True))
    leaving.process.signal(signal.SIGTERM)
    says(leaving, b'"draining"')
    proxy.release()
    assert leaving.process.end(6) == 0
    record = api.record(run_id)
    assert record["status"] == "queued" and [a["status"] for a in record["attempts"]] == ["handed_back"]
    assert not of_run(run_id)
    stack.runner()
    assert api.wait(run_id, "running")["attempt"] == 2
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    check_exact_delivery(stack, [run_id])


def test_a_runner_leaves_while_it_waits_for_what_is_due(stack, proxy):
    """Its goodbye is answered, its question about scheduled runs, put meanwhile, is not: the status is still 0."""
    leaving = stack.runner(env=through(proxy))
    wait_until(proxy.before(script_mark("promote")).is_set, 5)
    for _ in range(2):
        wait_until(proxy.before(script_mark("heartbeat")).is_set, 5, "what was asked before is answered")
    bye = proxy.before(script_mark("deregister"), functools.partial(proxy.hold, requests=False))
    leaving.process.signal(signal.SIGTERM)
    wait_until(bye.is_set, 5, "it says goodbye")
    asked = proxy.before(script_mark("promote"), functools.partial(proxy.hold, replies=False))
    wait_until(asked.is_set, 5, "it asks what is due")
    proxy.release(requests=False)
    assert leaving.process.end(5) == 0
