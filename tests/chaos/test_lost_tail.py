"""Redis dies and comes back without the tail of its append-only file, as when its machine dies under `appendfsync everysec`. What was accepted before the cut ends well; no reader ever takes a new event for one that it has seen."""
import json

import pytest

from harness import agents
from harness.build import script_mark
from harness.delivery import check_exact_delivery
from harness.wait import wait_until


@pytest.fixture(autouse=True)
def written_at_once(redis):
    """What Redis has answered is in its file: under `everysec` it may wait up to 2 s for an fsync that is under way."""
    redis.options["appendfsync"] = "no"
    redis.command("CONFIG", "SET", "appendfsync", "no")


SLOW = {"n": 400, "group": 5, "pauseMs": 50}


def seen_nothing_twice(stack, run_id, reader):
    """A reader that was there all the time may hold events that Redis lost; under every seq that the stream now has, it holds just what the stream has."""
    stored = {f.seq: f.raw for f in stack.apis[0].replay(run_id).events}
    held = reader.result().events
    seqs = [f.seq for f in held]
    assert seqs == sorted(set(seqs)), "a reader got an event twice, or backwards"
    for frame in held:
        assert stored.get(frame.seq, frame.raw) == frame.raw, f"seq {frame.seq} was {frame.raw!r} and is {stored[frame.seq]!r}"
    assert {s for s in stored if s > min(seqs)} <= set(seqs), "a reader missed an event"
    assert held[-1].raw == stored[max(stored)]


def lose_tail(stack, redis, size):
    redis.kill9()
    assert redis.cut_aof(size) > 0
    redis.start()
    wait_until(lambda: all(a.ready() for a in stack.apis), 5, "nodes are ready again")


def test_the_claim_is_lost(stack, apis, redis):
    """The runner executes a run that Redis believes to be waiting: it is executed anew, under a new epoch, and the first execution is killed."""
    run_id = apis[0].submit(agents.counter(stack.folder), SLOW)
    reader = stack.reader(run_id)
    size = redis.aof_size()
    stack.runner()
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 50, 20)
    lose_tail(stack, redis, size)
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["failures"] == 0
    seen_nothing_twice(stack, run_id, reader)


def test_the_start_is_lost(stack, apis, redis):
    """Claimed, but `started` and all events are gone: the runner tells them again, on the same attempt."""
    stack.runner(env={"ERRAND_HEARTBEAT_MS": 500})
    gate = agents.shell(f'while [ ! -e {stack.folder}/go ]; do sleep 0.01; done; for i in 1 2 3 4 5; do echo \'{{"kind":"assistant_text","data":{{"i":\'$i\'}}}}\'; done; sleep 1', name="gate")
    run_id = apis[0].submit(gate)
    apis[0].wait(run_id, "running")
    reader = stack.reader(run_id)
    size = redis.aof_size()
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    wait_until(lambda: apis[0].record(run_id)["eventCount"] >= 6, 10)
    lose_tail(stack, redis, size)
    record = check_exact_delivery(stack, [run_id], {run_id: [reader]})[run_id]
    assert record["status"] == "success" and record["attempt"] == 1 and record["eventCount"] == 7


def test_the_last_second_of_events_is_sent_again(stack, apis, redis):
    stack.runner()
    run_id = apis[0].submit(agents.counter(stack.folder), SLOW)
    reader = stack.reader(run_id)
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 50, 20)
    size, count = redis.aof_size(), apis[0].record(run_id)["eventCount"]
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > count + 50, 20)
    lose_tail(stack, redis, size)
    record = check_exact_delivery(stack, [run_id], {run_id: [reader]})[run_id]
    assert record["status"] == "success" and record["attempt"] == 1
    numbers = [e["data"]["i"] for e in map(json.loads, apis[1].replay(run_id).lines()) if e["kind"] == "assistant_text"]
    assert numbers == list(range(400))


def test_the_end_is_lost(stack, apis, redis):
    """The run was over, its runner has forgotten it; it is executed again, and ends once more, above all that was seen."""
    stack.runner()
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 20, "group": 5, "pauseMs": 100})
    reader = stack.reader(run_id)
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 5, 20)
    size = redis.aof_size()
    apis[0].wait(run_id)
    seen = {f.seq: f.raw for f in reader.result().events}
    lose_tail(stack, redis, size)
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["failures"] == 0
    for frame in apis[1].replay(run_id).events:
        assert seen.get(frame.seq, frame.raw) == frame.raw


def test_the_end_and_the_events_before_it_are_lost_while_the_end_is_unanswered(stack, apis, redis, proxy):
    """The runner told the end, never heard of it, and Redis forgot it together with the last events: those are sent again first, all of them, then the end."""
    stack.runner(env={"ERRAND_REDIS_URL": proxy.url})
    gate = agents.python(stack.folder, f"""\
        say("notification", {{"ready": True}})
        while not os.path.exists("{stack.folder}/go"):
            time.sleep(0.01)
        for i in range(2000):
            sys.stdout.write('{{"kind":"assistant_text","data":{{"i":%d,"pad":"%s"}}}}\\n' % (i, "x" * 200))
        end("success", result=1)
        """)
    run_id = apis[0].submit(gate)
    wait_until(lambda: apis[0].record(run_id)["eventCount"] == 2, 10)
    reader = stack.reader(run_id)
    size = redis.aof_size()
    proxy.lose_reply_to(script_mark("finish"), then_refuse=True)
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    wait_until(lambda: proxy.lost == 1, 10, "the end was told")
    assert apis[0].record(run_id)["status"] == "success"
    lose_tail(stack, redis, size)
    assert apis[0].record(run_id)["status"] == "running"
    proxy.accept()
    record = check_exact_delivery(stack, [run_id], cut_between=(80000, 300000))[run_id]
    assert record["status"] == "success" and record["attempt"] == 1
    numbers = [e["data"]["i"] for e in map(json.loads, apis[1].replay(run_id).lines()) if e["kind"] == "assistant_text"]
    assert numbers == list(range(2000)), "events are missing"
    stored = {f.seq: f.raw for f in apis[0].replay(run_id).events}
    assert all(stored[f.seq] == f.raw for f in reader.result().events if f.event == "assistant_text")


def test_a_claim_lost_while_the_run_waited_again(stack, apis, redis):
    """The second attempt's claim is lost, the first one's end is not."""
    stack.runner()
    agent = agents.counter(stack.folder, maxAttempts=3, backoff={"type": "fixed", "baseMs": 500, "capMs": 500})
    agent["command"] = ["/bin/sh", "-c", '[ "$ERRAND_ATTEMPT" = 1 ] && exit 1; exec "$0" "$@"', *agent["command"]]
    run_id = apis[0].submit(agent, {"n": 200, "group": 5, "pauseMs": 50})
    reader = stack.reader(run_id)
    wait_until(lambda: apis[0].record(run_id)["failures"] == 1, 10)
    size = redis.aof_size()
    wait_until(lambda: (r := apis[0].record(run_id))["attempt"] == 2 and r["eventCount"] > 20, 20)
    lose_tail(stack, redis, size)
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["failures"] == 1
    seen_nothing_twice(stack, run_id, reader)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_runs_and_a_lost_tail(stack, apis, redis, seed):
    """Whatever each run was doing: all that were accepted before the cut end, once."""
    for _ in range(2):
        stack.runner(slots=6)
    size_of = [{"n": 20 * seed, "group": 5, "pauseMs": 20}, {"n": 200, "group": 5, "pauseMs": 20}, {"n": 5, "group": 1, "pauseMs": 1}]
    runs = [apis[i % 2].submit(agents.counter(stack.folder), size_of[i % 3], **({"delayMs": 300} if i % 5 == 0 else {})) for i in range(40)]
    readers = {r: stack.reader(r) for r in runs[::4]}
    wait_until(lambda: sum(apis[0].record(r)["status"] == "success" for r in runs) > 3, 30)
    size = redis.aof_size()
    wait_until(lambda: sum(apis[0].record(r)["status"] == "success" for r in runs) > 10 + 3 * seed, 30)
    lose_tail(stack, redis, size)
    for record in check_exact_delivery(stack, runs, timeout=90).values():
        assert record["status"] == "success" and record["failures"] == 0
    for run_id, reader in readers.items():
        reader.result()
        stored = {f.seq: f.raw for f in apis[0].replay(run_id).events}
        for frame in reader.record.events:
            assert stored.get(frame.seq, frame.raw) == frame.raw


# ---- found by the chaos driver ----

def test_the_claim_is_lost_after_a_restart(stack, apis, redis):
    """Submitted under one Redis, claimed under the next, which is lost, claimed again under a third: the third's numbers are none that readers saw."""
    run_id = apis[0].submit(agents.counter(stack.folder), SLOW)
    redis.restart()
    wait_until(lambda: all(a.ready() for a in apis), 5)
    reader, size = stack.reader(run_id), redis.aof_size()
    stack.runner()
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 50 and len(reader.record.events) > 20, 20)
    lose_tail(stack, redis, size)
    assert check_exact_delivery(stack, [run_id])[run_id]["status"] == "success"
    seen_nothing_twice(stack, run_id, reader)


def test_a_lost_end_of_an_attempt_reaches_readers(stack, redis):
    """The second attempt had begun when Redis forgot that the first one was over: its end is written again, and read by those who had read on in the second."""
    quick = {"ERRAND_LEASE_MS": 2000, "ERRAND_HEARTBEAT_MS": 300}
    apis = [stack.api(env={"ERRAND_LEASE_MS": quick["ERRAND_LEASE_MS"]}) for _ in range(2)]
    first = stack.runner(env=quick)
    run_id = apis[0].submit(agents.counter(stack.folder), SLOW)
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 50, 20)
    reader, size = stack.reader(run_id), redis.aof_size()
    first.kill9()
    stack.runner(env=quick)
    wait_until(lambda: any(f.event == "runtime_started" and b'"attempt":2' in f.data for f in reader.record.events), 20, "the reader sees the second attempt")
    lose_tail(stack, redis, size)
    assert check_exact_delivery(stack, [run_id])[run_id]["status"] == "success"
    seen_nothing_twice(stack, run_id, reader)


def test_a_lost_end_that_a_reaper_wrote_keeps_its_number(stack, redis, proxy):
    """A runner that is cut off goes on numbering events; a reaper gives its run up, readers see that end, and Redis loses just that: what the runner numbered meanwhile is shown to nobody under the end's number."""
    quick = {"ERRAND_LEASE_MS": 3000, "ERRAND_HEARTBEAT_MS": 500}
    apis = [stack.api(env={"ERRAND_LEASE_MS": quick["ERRAND_LEASE_MS"]}) for _ in range(2)]
    cut_off = stack.runner(env={**quick, "ERRAND_REDIS_URL": proxy.url})
    reap, record = f"{stack.shard()}reap", f"{stack.shard()}runner:{cut_off.inc}"  # nobody is reaped right after an outage
    wait_until(lambda: int(redis.command("HGET", reap, "until")) < int(redis.command("TIME")[0]) * 1000, 20)
    run_id = apis[0].submit(agents.counter(stack.folder), {"n": 400, "group": 2, "pauseMs": 40})
    wait_until(lambda: apis[0].record(run_id)["eventCount"] > 30, 20)
    reader = stack.reader(run_id)
    proxy.hold()
    wait_until(lambda: int(redis.command("HGET", reap, "tick")) - int(redis.command("HGET", record, "seen")) > 2000, 10, "it has not been heard of for most of its lease")
    size = redis.aof_size()
    wait_until(lambda: any(f.event == "stream_error" for f in reader.record.events), 20, "the reader sees the end that the reaper wrote")
    lose_tail(stack, redis, size)
    proxy.release()
    assert check_exact_delivery(stack, [run_id], timeout=90)[run_id]["status"] == "success"
    seen_nothing_twice(stack, run_id, reader)
