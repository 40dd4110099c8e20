"""`./dev bench longest`: how long one call of a script keeps Redis from all others, where there is as much to do at once as there may be. No call may take LONGEST_MS.

ERRAND_BENCH_PHASES=word… takes only the phases whose function is named longest_word.
"""
import os
import time

from scripts import HOUR, INPUT, PREFIX, RID, WEEK, Server, new_id, pack, scaled

LONGEST_MS = 10
CALLERS = {"reap": {"lease_ms": 10000, "max": 64, "max_losses": 3, "rid": RID, "retention_ms": WEEK}, "sweep": {"max": 100}, "promote": {"max": 100, "rid": RID, "retention_ms": WEEK},
           "watch": {"max": 50, "rid": RID}}  # as common/chores.c calls them


class Longest:
    """A phase: what the slow log says of its calls, by script. The log goes by the clock; where others had the core meanwhile (noCoreMs), a call of a chore shows by onCoreMs what was its own."""

    def __init__(self, server, figure, name):
        self.server, self.figure, self.name = server, figure, name

    def __enter__(self):
        self.server.do("SLOWLOG", "RESET")
        self.server.asked.clear()
        self.before, self.waited, self.began = self.server.stats("fcall"), self.server.scheduled()[1], time.perf_counter()
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            return
        s = self.server
        seconds, waited = time.perf_counter() - self.began, s.scheduled()[1] - self.waited
        calls, usec = s.stats("fcall")[0] - self.before[0], s.stats("fcall")[1] - self.before[1]
        name_of = {function: name for name, function in s.functions.items()}
        by_script = {}
        for entry in s.do("SLOWLOG", "GET", -1):
            if entry[3][0] in (b"FCALL", b"FCALL_RO"):
                by_script.setdefault(name_of[entry[3][1].decode()], []).append(entry[2] / 1000)
        longest = {name: max(times) for name, times in by_script.items()}
        worst, excess = max(longest.values(), default=1.0), [ms - LONGEST_MS for times in by_script.values() for ms in times if ms > LONGEST_MS]
        self.figure(f"longest-{self.name}", worst, "ms, the longest call (1: none took longer)", PLAIN_LONGEST[0], "ms, the longest of the plain script", calls=calls, totalMs=round(usec / 1000), most=LONGEST_MS, over=len(excess),
                    ok=sum(excess) <= waited and max(s.asked.values(), default=0) <= LONGEST_MS, second=round(sorted(ms for times in by_script.values() for ms in times)[-2:][0], 2) if by_script else 0, byScript=longest, wallS=round(seconds, 1),
                    onCoreMs={name: round(ms, 2) for name, ms in s.asked.items()}, noCoreMs=round(waited, 1))


PLAIN_LONGEST = [0.0]


def until_done(s, script, field, rounds=1000000):
    """Calls a chore as the nodes do until its reply's field says that nothing is left."""
    for _ in range(rounds):
        if s.ask(script, **CALLERS[script])[field] == 0:
            return
    raise SystemExit(f"bench: {script} comes to no end")


def promote_all(s):
    while s.ask("promote", **CALLERS["promote"])["next_ms"] == 0:
        pass


def now_ms(s):
    seconds, us = s.do("TIME")
    return int(seconds) * 1000 + int(us) // 1000


def trust_reap(s):
    """As if the nodes had looked all the time: leases of the dead are over."""
    s.do("HSET", PREFIX + "reap", "tick", now_ms(s), "until", 0)


def longest_plain(s, phase, n):
    with phase("plain"):
        s.client.many(pack("EVALSHA", s.plain, 1, "raw:{0}:", new_id(), INPUT, i) for i in range(n))
    PLAIN_LONGEST[0] = max([e[2] / 1000 for e in s.do("SLOWLOG", "GET", -1)], default=1.0)


def longest_stop_and_sweep(s, phase, n):
    ids = [new_id() for _ in range(n)]
    with phase("submit"):
        s.all("submit", (s.submit(run) for run in ids))
    with phase("stop"):
        s.all("stop", (s.stop(run, 0) for run in ids))
    with phase("sweep"):
        until_done(s, "sweep", "more")


def longest_sweep_events(s, phase, n):
    """Ended runs with 2,000 entries of events each, whose events or all of which go."""
    for part in ("events", "whole"):
        s.fresh()
        s.runner("r")
        ids = [new_id() for _ in range(n)]
        s.all("submit", (s.submit(run) for run in ids))
        rows = s.rows(s.all("claim", (s.claim("r", 64) for _ in range(n // 64 + 1))))
        for row in rows:
            s.client.many(pack("XADD", f"{PREFIX}run:{row['run'].decode()}:events", "NOMKSTREAM", f"{row['epoch']}-{i}", "h", f"{i},{i},{i},1,{i},{i}", "b", INPUT)
                          for i in range(1, 2001))
        s.all("finish", (s.finish("r", row) for row in rows))
        s.client.many(pack("ZADD", PREFIX + "retain", 1, ("e:" if part == "events" else "") + row["run"].decode()) for row in rows)
        with phase(f"sweep-{part}-of-2000-entries"):
            until_done(s, "sweep", "more")


def longest_tree(s, phase, n):
    parent = new_id()
    s.all("submit", [s.submit(parent)])
    s.all("submit", (s.submit(parent=parent) for _ in range(n)))
    with phase("stop-tree"):
        s.all("stop", [s.stop(parent)])
        until_done(s, "reap", "more")


def longest_reap(s, phase, n):
    """Runs held by runners that are all gone at once."""
    runners = [f"r{i}" for i in range(max(1, n // 1000))]
    s.all("register", [s.register(inc) for inc in runners])
    s.all("submit", (s.submit() for _ in range(n)))
    with phase("claim-64"):
        rows = s.rows(s.all("claim", (s.claim(inc, 64) for _ in range(n // len(runners) // 64 + 1) for inc in runners)))
    s.all("started", (s.started(inc, row) for inc, row in ((runners[i // 64 % len(runners)], row) for i, row in enumerate(rows[:len(rows) // 64 * 64]))))
    s.client.many(pack("ZADD", PREFIX + "leases", 1, inc) for inc in runners)
    trust_reap(s)
    with phase("reap"):
        until_done(s, "reap", "more")


def longest_suspects(s, phase, n):
    """A thousand living runners that nobody listens for, after an outage and then."""
    s.all("register", [s.register(f"r{i}") for i in range(1000)])
    with phase("reap-1000-runners"):
        for _ in range(5):
            s.ask("reap", **CALLERS["reap"])
            trust_reap(s)


def longest_heartbeat(s, phase, n):
    """A runner of 1,024 slots: it holds all, then it has lost all."""
    s.runner("r")
    s.all("submit", (s.submit() for _ in range(1024)))
    rows = s.rows(s.all("claim", (s.claim("r", 64) for _ in range(16))))
    s.all("started", (s.started("r", row) for row in rows))
    values = {"inc": "r", "lease_ms": HOUR, "answered": 16, "busy": 1024, "rid": RID, "retention_ms": WEEK, "max_losses": 3}
    with phase("heartbeat"):
        for _ in range(20):
            s.ask("heartbeat", held=[{"run": row["run"], "epoch": row["epoch"]} for row in rows], **values)
    with phase("heartbeat-lost-1024"):
        while s.do("ZCARD", PREFIX + "held:r") > 0:
            s.ask("heartbeat", held=[], **values)


def longest_dependents(s, phase, n):
    for outcome, on_dep_fail in (("success", "fail"), ("stopped", "fail")):
        s.fresh()
        s.runner("r")
        s.all("submit", [s.submit()])
        row = s.rows(s.all("claim", [s.claim("r", 1)]))[0]
        with phase("submit-dependent"):
            s.all("submit", (s.submit(depends=[row["run"]], on_dep_fail=on_dep_fail) for _ in range(n)))
        with phase(f"dependents-of-{outcome}"):
            s.all("finish", [s.finish("r", row, outcome)])
            promote_all(s)


def longest_dependencies(s, phase, n):
    """Runs that each wait for the same 100 others, one of which is stopped."""
    others = [new_id() for _ in range(100)]
    s.all("submit", (s.submit(run) for run in others))
    with phase("submit-100-dependencies"):
        s.all("submit", (s.submit(depends=others) for _ in range(n // 20)))
    with phase("dependencies-100-one-stopped"):
        s.all("stop", [s.stop(others[0])])
        promote_all(s)


def longest_agent_limit(s, phase, n):
    """An agent whose concurrency goes from 1 to all, with all waiting."""
    s.agent("one", concurrency="1")
    s.runner("r")
    with phase("submit-to-a-full-gate"):
        s.all("submit", (s.submit(agent="one") for _ in range(n)))
    with phase("agent-limit-raised"):
        s.agent("one", concurrency=str(n))
        left = n
        while left > 0:
            promote_all(s)
            rows = s.rows(s.all("claim", [s.claim("r", 64)]))
            s.all("finish", (s.finish("r", row) for row in rows))
            left = left - len(rows) if rows else 0


def longest_workspaces(s, phase, n):
    """A queue where every run is of a workspace of its own."""
    ids = []
    with phase("submit-100000-workspaces"):
        s.all("agent_put", (s.call("agent_put", ws=f"w{i}", name="noop", digest="d", def_fields=["json", "{}", "queue", "default", "source", "stdout", "executor", "process"], max_agents=10,
                                   max_versions=10) for i in range(n)))
        s.all("submit", (s.submit(ws=f"w{i}") for i in range(n)))
    s.runner("r")
    with phase("queue-stats-100000-workspaces"):
        s.ask("queue_stats", names=["default"], minutes=5)
    with phase("claim-100000-workspaces"):
        for _ in range(n // 64 + 1):
            ids += s.rows(s.all("claim", [s.claim("r", 64)]))
    if len(ids) != n:
        raise SystemExit(f"bench: {len(ids)} of {n} runs were claimed")


def longest_promote(s, phase, n):
    s.all("submit", (s.submit(delay_ms=HOUR) for _ in range(n)))
    due = s.do("ZRANGE", PREFIX + "delayed", 0, -1)
    s.client.many(pack("ZADD", PREFIX + "delayed", 1, run) for run in due)
    with phase("promote"):
        promote_all(s)
    s.fresh()
    ids = [new_id() for _ in range(n)]
    s.all("submit", (s.submit(run, start_within_ms=HOUR) for run in ids))
    s.client.many(pack("ZADD", PREFIX + "expiry", 1, run) for run in ids)
    with phase("promote-expired"):
        promote_all(s)


def longest_rates(s, phase, n):
    """A hundred rate gates, each with a line, all of which have room at once."""
    s.all("submit", (s.submit(gates=[f"rk:k{i % 100}=1000000/1/1000000"] if i >= 100 else [f"rk:k{i}=1/1000000/1"]) for i in range(100)))
    ids = [new_id() for _ in range(n // 10)]
    s.all("submit", (s.submit(run, gates=[f"rk:k{i % 100}=1/1000000/1"]) for i, run in enumerate(ids)))
    s.client.many(pack("HSET", f"{PREFIX}run:{run}", "gates", f"rk:k{i % 100}=1000000/1/1000000") for i, run in enumerate(ids))
    s.client.many(pack("DEL", f"{PREFIX}rate:default:rk:k{i}") for i in range(100))
    s.client.many(pack("ZADD", PREFIX + "throttled", 1, f"default:rk:k{i}") for i in range(100))
    with phase("promote-100-rate-gates"):
        promote_all(s)


def longest_inputs(s, phase, n):
    """64 runs of 1 MB each, claimed at once."""
    s.runner("r")
    text = '"' + "x" * (1 << 20) + '"'
    s.all("submit", (s.submit(fields=["input", text]) for _ in range(128)))
    with phase("claim-inputs-of-1MB"):
        for _ in range(128):
            if not s.rows(s.all("claim", [s.claim("r", 64)])):
                break


def longest_replace(s, phase, n):
    """A run that takes the place of all who wait under its key."""
    with phase("submit-replace"):
        for _ in range(10):
            s.all("submit", (s.submit(gates=["k:a=64"]) for _ in range(n)))
            s.all("submit", [s.submit(gates=["k:a=1"], on_limit="replace")])
            s.fresh()


def longest_requirements(s, phase, n):
    """250 requirements in 8 queues: claims of a runner that serves all, watch without one."""
    queues = [f"q{i}" for i in range(8)]
    s.runner("r", queues=",".join(queues), tags=",".join(f"t{i}" for i in range(250)))
    s.all("submit", (s.submit(queue=queue, requires=[f"t{i}"]) for i in range(250) for queue in queues))
    with phase("claim-250-requirements"):
        for _ in range(40):
            s.rows(s.all("claim", [s.claim("r", 64, queues)]))


def longest_watch(s, phase, n):
    """1,000 runners, all different, that serve none of 200 queues in which long since something waits; the same with 20 requirements."""
    for reqs in (1, 20):
        s.fresh()
        s.all("register", [s.register(f"r{i}", queues=f"own{i},other", tags=f"t{i}") for i in range(1000)])
        s.all("submit", (s.submit(queue=f"q{i}", requires=[f"tag{t}"] if t else []) for i in range(200) for t in range(reqs)))
        with phase(f"watch-1000-runners-200-queues-{reqs}-requirements"):
            for _ in range(20):
                s.do("HDEL", PREFIX + "reap", "watch")
                s.ask("watch", **CALLERS["watch"])


def longest_ops(s, phase, n):
    """What operators ask for: 1,000 queues with settings, runners and workspaces, pages of runs."""
    s.all("register", [s.register(f"r{i}", queues=f"q{i}") for i in range(1000)])
    for i in range(1000):
        s.ask("queue_put", name=f"q{i}", paused=-1, draining=-1, max_waiting=1000000, max_queues=1000)
        s.ask("ws_put", ws=f"w{i}", max_workspaces=10000, fields=["weight", "2", "queueMax", "1000", "bytesMax", "1000000"])
        s.ask("agent_put", ws="default", name=f"a{i % 900}", digest=f"d{i}", def_fields=["json", "{}", "executor", "process"], max_agents=1000, max_versions=10)
    s.all("submit", (s.submit(queue=f"q{i % 1000}", fields=["input", INPUT, "createdBy", "root", "labels", '{"team":"a","stage":"' + "x" * 100 + '"}']) for i in range(n // 10)))
    calls = {"queues": {"limit": 1000}, "queue_stats": {"names": [f"q{i}" for i in range(100)], "minutes": 5}, "runners": {"limit": 1000}, "ws_list": {"limit": 200},
             "agent_list": {"ws": "default", "limit": 200}, "list": {"ws": "default", "limit": 200, "examine": 250}, "runner_drain": {"id": "nobody", "limit": 1000}}
    for name, values in calls.items():
        with phase(name):
            for _ in range(20):
                s.ask(name, **values)
    with phase("list-that-finds-nothing"):
        for _ in range(20):
            s.ask("list", ws="default", limit=200, examine=250, labels=['"team":"b"'])


PHASES = [(longest_plain, 100000), (longest_stop_and_sweep, 100000), (longest_sweep_events, 300), (longest_tree, 20000), (longest_reap, 100000), (longest_suspects, 1000), (longest_heartbeat, 1024),
          (longest_dependents, 100000), (longest_dependencies, 100000), (longest_agent_limit, 100000), (longest_workspaces, 100000), (longest_promote, 100000), (longest_rates, 100000),
          (longest_inputs, 128), (longest_replace, 128), (longest_requirements, 2000), (longest_watch, 1000), (longest_ops, 100000)]


def bench_longest(figure):
    """The longest call of each script where there is much to do at once."""
    only = os.environ.get("ERRAND_BENCH_PHASES", "").split()
    s = Server()
    try:
        s.do("CONFIG", "SET", "slowlog-log-slower-than", 1000, "slowlog-max-len", 1000000)
        for run, n in PHASES:
            if not only or run.__name__[8:] in only:
                s.fresh()
                run(s, lambda name: Longest(s, figure, name), scaled(n))
    finally:
        s.close()


FIGURES = {"longest": bench_longest}
