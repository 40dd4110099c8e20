"""What the agents themselves witnessed (their journal, see agent.c), held against what Redis says of the attempts.

An execution is an agent's process, known by (run, attempt, pid). It counts as accepted when the record's attempt of that number was closed by its own `finish` and, where the record has a
handle, names that process. Only accepted executions are held to the limits: one that was taken away from its runner (frozen, cut off, or forgotten with Redis' tail) is fenced from
that moment, its slot is free for others, and its process may go on until its runner hears of it. An accepted one held its slot from its claim to its finish, which comes after its death.

An agent that finds all slots of its limit taken says so and names the holders; the limit is broken if it and as many of them as the limit allows are accepted."""
import collections


class Execution:
    """One process of an agent; times in µs, `end` is None when it was killed."""

    __slots__ = ("run", "attempt", "pid", "parent", "real", "mono", "end", "end_real", "lock", "accepted")

    def __init__(self, words):
        self.run, self.attempt, self.pid, self.parent, self.real, self.mono = words[0], *map(int, words[1:6])
        self.lock, self.end, self.end_real, self.accepted = words[6], None, None, False


def read_journal(path):
    """(executions, crowded): crowded are (execution that found its limit full, [the holders' executions]). A pid is the latest execution that had it."""
    executions, by_pid, crowded = [], {}, []
    try:
        with open(path, encoding="ascii") as f:
            lines = f.read().splitlines()
    except FileNotFoundError:
        return [], []
    for line in lines:
        what, *words = line.split(" ")
        if what == "B":
            executions.append(Execution(words))
            by_pid[executions[-1].pid] = executions[-1]
        elif what == "E":
            ended = by_pid[int(words[2])]
            ended.end, ended.end_real = int(words[5]), int(words[4])
        elif what == "O":
            crowded.append((by_pid[int(words[2])], [by_pid.get(int(p)) for p in words[4:]]))
    return executions, crowded


def accept(executions, summaries):
    """Marks the accepted executions; returns {(run, attempt): execution} of them and violations: an attempt that two processes executed to its end."""
    found, violations = {}, []
    for e in executions:
        attempts = summaries.get(e.run, {}).get("attempts", [])
        a = attempts[e.attempt - 1] if e.attempt <= len(attempts) else None
        if a is None or a["by"] != "finish" or a["pid"] and a["pid"] not in (e.pid, e.parent):
            continue
        e.accepted = True
        other = found.setdefault((e.run, e.attempt), e)
        if other is not e and a["pid"]:
            violations.append({"check": "double", "run": e.run, "text": f"attempt {e.attempt} was executed by {other.pid} and {e.pid}"})
    return found, violations


def check_witnesses(executions, crowded, accepted, summaries, specs):
    """Limits held, attempts in turn, dependencies ended first, nothing executed behind its end. (violations, {limit key: peak})"""
    violations = []

    def violate(check, run_id, text):
        violations.append({"check": check, "run": run_id, "text": text})
    for one, holders in crowded:
        limit = specs[one.run].input["slots"] if one.run in specs else 0
        together = [h for h in holders if h is not None and h.accepted and h.run != one.run]
        if one.accepted and limit and len(together) >= limit:
            violate("limit", one.run, f"{one.lock} (limit {limit}) was held by {[(h.run, h.attempt) for h in together]} when attempt {one.attempt} began")
    for (run_id, attempt), e in accepted.items():
        before = accepted.get((run_id, attempt - 1))
        if before and before.end and before.end > e.mono:
            violate("double", run_id, f"attempt {attempt} began {before.end - e.mono} us before attempt {attempt - 1} ended")
        completed = summaries[run_id]["completed"]
        if completed and e.end_real and e.end_real // 1000 > completed:
            violate("early", run_id, f"it was ended at {completed}, its process went on to {e.end_real // 1000}")
    _check_dependencies(accepted, summaries, specs, violate)
    _check_rates(accepted, summaries, specs, violate)
    return violations, peaks(accepted.values())


def _check_dependencies(accepted, summaries, specs, violate):
    ids = {spec.index: run_id for run_id, spec in specs.items()}
    first = {}
    for (run_id, _), e in accepted.items():
        first[run_id] = min(first.get(run_id, e.real), e.real)
    for run_id, spec in specs.items():
        for above in spec.depends:
            other = summaries.get(ids.get(above.index), {})
            if run_id in first and first[run_id] // 1000 < other.get("completed", 0):
                violate("dependency", run_id, f"began at {first[run_id] // 1000}, {ids[above.index]} ended at {other['completed']}")
        if spec.kind == "broken" and spec.expect == "error" and run_id in first:
            violate("dependency", run_id, "it was executed though its dependency failed")


def _check_rates(accepted, summaries, specs, violate):
    """From a key's first submit on, never more first starts than the rate has let through by then; twice the burst, as a lost tail may forget one."""
    starts, began = collections.defaultdict(list), {}
    for run_id, spec in specs.items():
        if spec.rate and run_id in summaries:
            began[spec.rate] = min(began.get(spec.rate, 1 << 62), summaries[run_id]["created"])
            e = accepted.get((run_id, 1))
            if e:
                starts[spec.rate].append((e.real // 1000, run_id, spec.fields["rateLimit"]))
    for name, rows in starts.items():
        for count, (at, run_id, rate) in enumerate(sorted(rows, key=lambda r: r[:2]), 1):
            allowed = 2 * rate["burst"] + rate["limit"] * (at - began[name]) / rate["perMs"] + 1
            if count > allowed:
                violate("rate", run_id, f"{count} starts of {name} by {at - began[name]} ms, {allowed:.0f} are allowed")
                break


def peaks(executions):
    """The most accepted executions that were there at once, by limit key; '' is all of them. One that was killed counts as a moment."""
    edges = collections.defaultdict(list)
    for e in executions:
        for key in {"", e.lock} - {"-"}:
            edges[key] += [(e.mono, 1), (e.end or e.mono, -1)]
    found = {}
    for key, list_of in edges.items():
        now = most = 0
        for _, step in sorted(list_of):
            now += step
            most = max(most, now)
        found[key] = most
    return found


def recovery_ms(summaries, kills):
    """The longest time from a runner's loss to the next attempt of one of its runs, in ms."""
    longest = 0
    for summary in summaries.values():
        attempts = summary["attempts"]
        for lost, after in zip(attempts, attempts[1:]):
            if lost["status"] == "lost":
                begins = [at for at, name in kills if name == lost["runner"] and lost["claimed"] <= at + 50 and at <= lost["ended"]]
                if begins and after["claimed"]:
                    longest = max(longest, after["claimed"] - max(begins))
    return round(longest)
