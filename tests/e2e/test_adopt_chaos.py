"""Runners with --adopt that are killed again and again: an attempt's record has every number once and in order, as far as it goes; the last attempt's is whole."""
import os
import random
import signal
import time

import pytest

from harness import agents
from harness.wait import wait_until
from test_adopt import all_events, end, runner, LEASE

LINES = 2500

# Numbered lines of random sizes on both outputs, some of them without haste, some larger than a pipe holds.
EVENTS = """\
    import random
    r = random.Random(int(job["input"]["seed"]))
    attempt = int(os.environ["ERRAND_ATTEMPT"])
    for i in range(job["input"]["n"]):
        size = r.choice([0, 10, 100, 1000, 1000, 9000, 70000]) if r.random() < 0.1 else r.randrange(200)
        way = r.random()
        if way < 0.4:
            say("notification", {"o": i, "attempt": attempt, "pad": "x" * size})
        elif way < 0.6:
            sys.stdout.write('{"kind":"notification","data":{"o":%d,"attempt":%d,' % (i, attempt)); sys.stdout.flush()
            time.sleep(0.0005)
            sys.stdout.write('"pad":"%s"}}\\n' % ("y" * size)); sys.stdout.flush()
        elif way < 0.8:
            sys.stdout.write("plain o=%d;%s\\n" % (i, "z" * size)); sys.stdout.flush()
        else:
            say("notification", {"o": i, "attempt": attempt})
        sys.stderr.write("err e=%d;" % i); sys.stderr.flush()
        sys.stderr.write("w" * r.randrange(100) + "\\n"); sys.stderr.flush()
        time.sleep(0.002)
    end("success", result=job["input"]["n"])
    """


def by_attempt(events):
    """Per attempt what its standard output and its standard error said, in the order of the record."""
    found, at = {}, None
    for e in events:
        d = e["data"]
        if e["kind"] == "runtime_started":
            at = found.setdefault(d["attempt"], {"o": [], "e": []})
        elif e["kind"] == "notification" and "o" in d:
            assert at is found[d["attempt"]], "an event of another attempt"
            at["o"].append(d["o"])
        elif e["kind"] == "notification" and d.get("text", d.get("line", "")).startswith("plain o="):
            at["o"].append(int(d.get("text", d.get("line")).split("=")[1].split(";")[0]))
        elif e["kind"] == "notification" and d.get("text", d.get("line", "")).startswith("err e="):
            at["e"].append(int(d.get("text", d.get("line")).split("=")[1].split(";")[0]))
    return found


def end_somehow(r, process):
    """Killed, told to leave, or told twice."""
    how = r.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
    if how == signal.SIGTERM and r.random() < 0.5:
        process.popen.send_signal(how)
    end(process, how)


def lose_the_tail(r, stack):
    """Redis dies and comes back without the last moments."""
    stack.redis.kill9()
    stack.redis.cut_aof(max(0, stack.redis.aof_size() - r.randrange(20000)))
    stack.restart_redis()


def check(api, run_id, where):
    record = api.wait(run_id, timeout=60)
    events = all_events(api, run_id)
    assert [e["seq"] for e in events] == sorted({e["seq"] for e in events})
    for n, said in by_attempt(events).items():
        for stream in "oe":
            wanted = list(range(len(said[stream])))
            assert said[stream] == wanted, (where, run_id, n, stream, [(a, b) for a, b in zip(said[stream], wanted) if a != b][:5])
            assert n < record["attempt"] or len(said[stream]) == LINES, (where, run_id, n, stream, len(said[stream]))
    assert record["status"] == "success", record
    return record["attempt"] - 1


@pytest.mark.parametrize("kills,redis_dies", [(12, False), (3, True)])
def test_ended_again_and_again(stack, kills, redis_dies):
    seed = int(os.environ.get("ERRAND_TEST_SEED", random.randrange(1 << 30)))
    r = random.Random(seed)
    print("seed", seed)
    api = stack.api(env={"ERRAND_LEASE_MS": LEASE})
    first = runner(stack, ERRAND_STATS_MS="200")
    ids = [api.submit(agents.python(stack.folder, EVENTS, f"noisy{i}"), input={"n": LINES, "seed": seed + i}) for i in range(3)]
    for _ in range(kills):
        wait_until(lambda: all(api.record(i)["status"] in ("running", "success") for i in ids), 20, "all run")
        moment = time.monotonic() + r.random() * 0.5
        wait_until(lambda: time.monotonic() >= moment, 1, "an unlucky moment")
        end_somehow(r, first.process)
        if redis_dies:
            lose_the_tail(r, stack)
        first = runner(stack, ERRAND_STATS_MS="200")
    again = sum(check(api, i, seed) for i in ids)
    print("executed again", again, "times of", kills * len(ids))
    assert redis_dies or again <= kills
