"""`noop`: runs that do nothing, from submit to their end, beside what their scripts alone allow on one Redis. `claim`: how fast runners take what waits."""
import statistics
import time

import limits
import load
from alone import CLAIM, Alone
from report import figure
from system import System, Usage, private_bytes, wait_for

SLOTS = 1024
REDIS_A_RUN = 3.75  # times a script of 8 plain commands: 90 us where that takes 24


def total(lives, key):
    return sum(step[key] for step in lives.values())


def steps(lives, key="redisUs"):
    return {name: round(step[key], 1) for name, step in lives.items()}


def bench_noop(quick):
    n, rounds = (256, 2) if quick else (6400, 3)
    with System(runners=0) as s:
        alone = Alone(s, lambda: s.add_runner(SLOTS, "noop"))
        plain = limits.plain_costs(s, 200 if quick else 3000)
        lives, results, uses = [], [], []
        for _ in range(rounds):
            lives.append(alone.lives(n))
            with Usage(s) as u:
                results.append(load.bench(s, "noop", "--requests", n, "--executor", "noop", "--sample"))
            uses.append(u.per(n))
        rates = [r["value"] for r in results]
        middle = rates.index(statistics.median_low(rates))
        walls, redis = [total(one, "wallUs") for one in lives], [total(one, "redisUs") for one in lives]
        typical = lives[redis.index(statistics.median_low(redis))]
        figure("noop", statistics.median(rates), "runs/s", 1e6 / statistics.median(walls), "runs/s, its scripts alone", must=">= 0.60", values=rates, p50Us=results[middle]["p50Us"], p99Us=results[middle]["p99Us"], **uses[middle], **load.client_of(results[middle]),
               scriptsUs=steps(typical), **limits.redis_share([{"redisUs": us} for us in redis], uses[middle]), **memory_of(s))
        figure("noop-redis-cpu", statistics.median(use["cpuUs"]["redis"] for use in uses), "us of Redis a run", plain["evalsha8Us"], "us, a script of 8 plain commands", must=f"<= {REDIS_A_RUN}", steps=steps(typical),
               aloneUs=statistics.median(redis), aloneInsideUs=round(total(typical, "scriptUs"), 1), claimOf=CLAIM, **plain)
        alone.close()


def memory_of(s):
    return {"memoryMb": {"api": round(private_bytes(s.apis[0].pid) / 1e6, 1), "runner": round(private_bytes(s.runners[0].pid) / 1e6, 1)}}


def waiting(s):
    for q in s.get("/v1/queues")["queues"]:
        if q["name"] == "default":
            return q["waiting"] + q["running"]
    return 0


def fill(s, n):
    """So many no-op runs that wait, because their queue is paused."""
    s.call("POST", "/v1/queues/default/pause")
    for _ in range(n // 1000):
        s.call("POST", "/v1/runs/batch", {"runs": [{"agent": "noop", "input": {"n": 1}}] * 1000})
    if n % 1000:
        s.call("POST", "/v1/runs/batch", {"runs": [{"agent": "noop", "input": {"n": 1}}] * (n % 1000)})


def drained(s):
    """Seconds from the queue's resumption to the end of all that waited."""
    began = time.monotonic()
    s.call("POST", "/v1/queues/default/resume")
    wait_for(lambda: waiting(s) == 0, "the runs to end", 60, 0.01)
    return time.monotonic() - began


def bench_claim(quick):
    """Runs that wait, taken (and, being no-ops, ended) by one runner and by four; beside claim, started and finish alone."""
    n, rounds = (256, 2) if quick else (6400, 3)
    with System(runners=0) as s:
        alone = Alone(s, lambda: s.add_runner(SLOTS, "noop"))
        plain = limits.plain_costs(s, 200 if quick else 3000)
        lives, singles, rates, uses = [], [], {1: [], 4: []}, {}
        for runners in rates:
            while len(s.runners) < runners:
                s.add_runner(SLOTS, "noop")
            for _ in range(rounds):
                lives.append(alone.lives(n))
                limits.calls(s, alone.submits(n // 8))
                singles.append(alone.claimed(n // 8, 1)[0])
                fill(s, n)
                with Usage(s) as u:
                    rates[runners].append(n / drained(s))
                uses[runners] = u.per(n)
        rest = [total({name: step for name, step in one.items() if name != "submit"}, "wallUs") for one in lives]
        for runners, values in rates.items():
            figure(f"claim-{runners}-runner{'s' if runners > 1 else ''}", statistics.median(values), "runs/s claimed and ended", 1e6 / statistics.median(rest), "runs/s, claim and what follows alone", values=values, **uses[runners])
        for name, costs in (("claim-script", [one["claim"] for one in lives]), ("claim-script-one-by-one", singles)):
            figure(name, statistics.median(c["perSecond"] for c in costs), "runs/s claimed", 1e6 / plain["evalsha8Us"], "scripts of 8 plain commands/s", values=[c["perSecond"] for c in costs], runsACall=CLAIM if name == "claim-script" else 1,
                   redisUs=round(statistics.median(c["redisUs"] for c in costs), 2), insideUs=round(statistics.median(c["scriptUs"] for c in costs), 2), **plain)
        alone.close()


FIGURES = {"noop": bench_noop, "claim": bench_claim}
