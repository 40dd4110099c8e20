"""`submit`: one at a time, 64 in flight, batches of 100, through one API thread; beside the rate at which the same Redis executes the submit script alone. `keys`: what a key costs."""
import statistics

import limits
import load
from report import figure
from system import KEY, System, Usage

NOOP = {"executor": "process", "command": ["/bin/true"], "protocol": "text"}
REDIS_A_SUBMIT = 1.25  # of a script of 8 plain commands: 30 us where that takes 24
GROUP = 16  # common/script.c
BATCH = 100
SUBMIT = ["--agent", "noop", "--queue", "parked"]


def submit_call(system):
    """The call of the submit script that this submit ends in."""
    scripts = limits.Scripts()
    with limits.Watch(system.redis) as w:
        load.bench(system, "submit", "--connections", 1, "--requests", 1, *SUBMIT)
    return w.calls(scripts, "submit")[-1]


def kinds(quick):
    """name: connections, requests, runs a request, bound of the ratio, raw calls and how many of them are under way."""
    n = 300 if quick else 12000
    yield "submit-1", 1, n // 10, 1, None, n // 5, 1
    yield "submit-64", 64, n, 1, ">= 0.80", n, 0
    yield f"submit-batch-{BATCH}", 4, max(8, n // BATCH), BATCH, ">= 0.95", n, 0


def bench_submit(quick):
    rounds = 2 if quick else 3
    with System(runners=0) as s:
        s.call("PUT", "/v1/agents/noop", NOOP)
        one = submit_call(s)
        plain = limits.plain_costs(s, 200 if quick else 3000)
        for name, connections, count, runs, must, raw_calls, depth in kinds(quick):
            options = ["--connections", connections, "--requests", count, *SUBMIT, *(["--batch", runs] if runs > 1 else [])]
            raws, groups, rates, uses, loads = [], [], [], [], []
            for _ in range(rounds):
                raws.append(limits.calls(s, one.copies(raw_calls), depth=depth))
                if not depth:
                    groups.append(limits.calls(s, one.groups(raw_calls, GROUP)))
                with Usage(s) as u:
                    r = load.bench(s, "submit", *options)
                rates.append(r["value"])
                uses.append(u.per(r["made"]))
                loads.append(r)
            middle = rates.index(statistics.median_low(rates))
            bound = {"must": must} if must else {}
            # What Redis does of the same calls in groups, which is how a node sends what comes together.
            alone = GROUP * statistics.median(g["perSecond"] for g in groups) if groups else None
            grouped = {"groupedPerSecond": round(alone), "ofGrouped": round(statistics.median(rates) / alone, 4)} if groups else {}
            figure(name, statistics.median(rates), "runs/s", statistics.median(r["perSecond"] for r in raws), "submit scripts/s alone" + (", one by one" if depth else ""), values=rates, **bound,
                   p50Us=loads[middle]["p50Us"], p99Us=loads[middle]["p99Us"], **uses[middle], **grouped, rawScriptUs=round(statistics.median(r["scriptUs"] for r in raws), 1), **limits.redis_share(raws, uses[middle]),
                   **load.client_of(loads[middle]))
            if name == "submit-64":
                figure("submit-redis-cpu", statistics.median(use["cpuUs"]["redis"] for use in uses), "us of Redis a submit", plain["evalsha8Us"], "us, a script of 8 plain commands", must=f"<= {REDIS_A_SUBMIT}",
                       aloneUs=statistics.median(r["redisUs"] for r in raws), aloneInsideUs=round(statistics.median(r["scriptUs"] for r in raws), 1),
                       groupedUs=round(statistics.median(g["redisUs"] for g in groups) / GROUP, 1), **plain)


def bench_keys(quick):
    """Submits a second with the root key, an API key, and one with a rate limit: the same request in turns."""
    with System(runners=0) as s:
        s.call("PUT", "/v1/agents/noop", NOOP)
        keys = {"root": KEY}
        for name, more in (("key", {}), ("key-limited", {"rateLimit": {"limit": 1000000, "perMs": 1000, "burst": 1000000}})):
            keys[name] = s.call("POST", "/v1/keys", {"name": name, "scopes": ["runs:create", "runs:read"], **more})["key"]
        rates, uses = {name: [] for name in keys}, {}
        for _ in range(2 if quick else 5):
            for name, key in keys.items():
                with Usage(s) as u:
                    r = load.bench(s, "submit", "--connections", 64, "--requests", 200 if quick else 10000, *SUBMIT, key=key)
                rates[name].append(r["value"])
                uses[name] = u.per(r["made"])
        root = statistics.median(rates["root"])
        for name, values in rates.items():
            figure(f"submit-64-{name}", statistics.median(values), "runs/s", root, "runs/s, the root key", values=values, **uses[name])


FIGURES = {"submit": bench_submit}
MORE = {"keys": bench_keys}
