"""`scale`: API threads, and shards on as many Redis processes. With eight cores and more by the rates; with fewer by what an operation costs, which may hardly grow."""
import contextlib
import os
import statistics

import load
from report import figure
from system import System, Usage

COUNTS = (1, 2, 4)
RATE_BOUNDS = {2: 1.8, 4: 3.2}
COST_BOUND = 1.1


def workspaces(s):
    """A workspace in each shard: a run's id begins with the shard's number."""
    found = {}
    for i in range(400):
        if len(found) == s.shards:
            break
        name = f"w{i}"
        run = s.call("POST", "/v1/runs", {"agent": {"executor": "noop"}, "queue": "parked"}, headers={"X-Errand-Workspace": name})["runId"]
        found.setdefault(int(run[:2], 16), name)
    return ",".join(found[shard] for shard in sorted(found))


def submits(s, n, count, at):
    return load.bench(s, "submit", "--connections", 64 * count, "--requests", n, "--workspace", at)


def noops(s, n, count, at):
    return load.bench(s, "noop", "--connections", 2 * count, "--requests", n, "--executor", "noop", "--workspace", at, "--sample")


def in_turns(s, work, n):
    """What an operation costs where the same shards are loaded one after the other: as many processes, but no more of them at a time than with one shard, so cores are no part of it."""
    with Usage(s) as u:
        done = sum(work(s, n // s.shards, 1, name)["made"] for name in s.workspaces.split(","))
    return u.per(done)


def bench_shards(quick):
    cores, rounds = len(os.sched_getaffinity(0)), 1 if quick else 3
    with contextlib.ExitStack() as stack:
        systems = {count: stack.enter_context(System(shards=count, redises=count, threads=min(4, max(1, cores // 2)) if cores >= 8 else 1, runners=count if cores >= 8 else 1, slots=1024, executors="noop"))
                   for count in COUNTS}
        for s in systems.values():
            s.workspaces = workspaces(s)
        for name, work, n, roles in (("submit", submits, 300 if quick else 6000, ("api", "redis")), ("noop", noops, 200 if quick else 3000, ("api", "runner", "redis"))):
            rates, uses, turns = {count: [] for count in COUNTS}, {count: [] for count in COUNTS}, []
            for _ in range(rounds):
                for count, s in systems.items():
                    with Usage(s) as u:
                        r = work(s, n * (2 if count > 1 else 1), count, s.workspaces)
                    rates[count].append(r["value"])
                    uses[count].append(u.per(r["made"]))
                turns.append(in_turns(systems[COUNTS[-1]], work, n))
            tell(name, rates, uses, turns, roles, cores)


def tell(name, rates, uses, turns, roles, cores):
    one = statistics.median(rates[1])
    for count in COUNTS:
        cpu = {role: statistics.median(u["cpuUs"][role] for u in uses[count]) for role in roles}
        first = {role: statistics.median(u["cpuUs"][role] for u in uses[1]) for role in roles}
        bound = RATE_BOUNDS.get(count)
        more = {"must": f">= {bound}", "informative": cores < 8} if bound else {}
        rest = {k: v for k, v in uses[count][0].items() if k != "cpuUs"}
        figure(f"scale-{name}-{count}-shard{'s' if count > 1 else ''}", statistics.median(rates[count]), "runs/s", one, "runs/s, one shard", values=rates[count], cpuUs={k: round(v, 2) for k, v in cpu.items()}, cores=cores, **more,
               **rest)
        if count == COUNTS[-1]:
            for role in roles:
                figure(f"scale-{name}-cost-{role}", cpu[role], f"us a run at {count} shards", first[role], "us a run at one", must=f"<= {COST_BOUND}", informative=cores >= 8, cores=cores,
                       **turned(statistics.median(t["cpuUs"][role] for t in turns), first[role]))


def turned(us, one):
    return {"inTurnsUs": round(us, 2), "inTurnsRatio": round(us / one, 3) if one else None}


def bench_threads(quick):
    """Submits through one node with more threads: below eight cores Redis, load and threads share them, so a rate says little and the cost is shown beside it."""
    cores, rounds = len(os.sched_getaffinity(0)), 1 if quick else 3
    with contextlib.ExitStack() as stack:
        systems = {count: stack.enter_context(System(threads=count, runners=0)) for count in COUNTS}
        rates, uses = {count: [] for count in COUNTS}, {count: [] for count in COUNTS}
        for s in systems.values():
            s.call("PUT", "/v1/agents/noop", {"executor": "noop"})
        for _ in range(rounds):
            for count, s in systems.items():
                with Usage(s) as u:
                    r = load.bench(s, "submit", "--connections", 64 * count, "--requests", 300 if quick else 5000, "--agent", "noop", "--queue", "parked")
                rates[count].append(r["value"])
                uses[count].append(u.per(r["made"]))
        for count in COUNTS:
            middle = rates[count].index(statistics.median_low(rates[count]))
            figure(f"scale-submit-{count}-thread{'s' if count > 1 else ''}", statistics.median(rates[count]), "runs/s", statistics.median(rates[1]), "runs/s, one thread", values=rates[count], **uses[count][middle], cores=cores)


def bench_scale(quick):
    bench_threads(quick)
    bench_shards(quick)


FIGURES = {"scale": bench_scale}
