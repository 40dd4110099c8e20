"""What must be true of each accepted run, looked at from the outside by several processes at once: the exact-delivery check, the status it must have, and what its agent printed."""
import concurrent.futures
import json
import multiprocessing
import random
import signal
import traceback

from harness import delivery, http_client
from harness.nodes import TERMINAL
from harness.redis_server import RedisClient, RedisError
from harness.sse import replay


class Node:
    """An API node by its port."""

    def __init__(self, port, key):
        self.port, self.key = port, key

    def record(self, run_id):
        answer = http_client.request(self.port, "GET", f"/v1/runs/{run_id}", headers={"Authorization": f"Bearer {self.key}"})
        assert answer.status == 200, answer
        return answer.json()


class View:
    """As much of a stack as the exact-delivery check needs, made anew in each checking process."""

    def __init__(self, ports, key, prefix, socket, login):
        self.key, self.prefix, self.ports = key, prefix, ports
        self.apis = [Node(p, key) for p in ports]
        self.redis = RedisClient(socket, 60, login)

    def shard(self, n=0):
        return f"{self.prefix}{{{n}}}:"


class Task:
    """One run to check."""

    def __init__(self, run_id, spec, stop_status, stop_said, live):
        self.run_id, self.kind, self.index = run_id, spec.kind, spec.index
        self.expect, self.input, self.max_attempts = spec.expect, spec.input, spec.agent.get("maxAttempts", 1)
        self.at_most_once, self.in_tree = spec.agent.get("atMostOnce", False), spec.parent is not None
        self.stop_status, self.stop_said = stop_status, stop_said
        self.live = live  # [(Record, how)]: "exact", "tainted" (a tail was lost meanwhile), "before" (it ended before Redis was back)


CHECK_S = 20.0
ENOUGH = 10  # faults of one process, after which the rest goes unchecked: each may have cost a timeout
_view, _faults = None, 0


def _begin(*args):
    global _view
    _view = View(*args)
    signal.signal(signal.SIGALRM, _too_long)


def check_all(tasks, view_args, seed, jobs):
    """({run id: summary}, violations)"""
    context = multiprocessing.get_context("spawn")
    parts = [tasks[i:i + 25] for i in range(0, len(tasks), 25)]
    summaries, violations = {}, []
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=view_args) as pool:
        for found, faults in pool.map(_check_part, parts, [f"{seed} {i}" for i in range(len(parts))]):
            summaries.update(found)
            violations += faults
    return summaries, violations


def _check_part(tasks, seed):
    global _faults
    rng, summaries, violations = random.Random(seed), {}, []
    for task in tasks:
        try:
            summary = summaries[task.run_id] = summary_of(task.run_id)
            if summary["status"] not in TERMINAL:
                violations.append({"check": "lost", "run": task.run_id, "text": f"{task.kind} is {summary['status']}: {summary['hash']}"})
                continue
            for check in (check_status, check_delivery, check_tail) if _faults < ENOUGH else (check_status,):
                fault = _try(check, task, summary, rng)
                if fault:
                    _faults += 1
                    violations.append({"check": fault[0], "run": task.run_id, "text": f"{task.kind}: {fault[1]}"})
        except Exception:
            violations.append({"check": "checker", "run": task.run_id, "text": traceback.format_exc()[-1500:]})
        summaries.get(task.run_id, {}).pop("hash", None)
    return summaries, violations


def _too_long(*_):
    raise AssertionError(f"not within {CHECK_S} s: a reader of an ended run never comes to its end")


def _try(check, *args):
    """None, or (the check that failed, why)."""
    signal.setitimer(signal.ITIMER_REAL, CHECK_S)
    try:
        check(*args)
        return None
    except AssertionError as e:
        text = str(e) or traceback.format_exc()[-800:]
        return ("double" if "runtime_terminal, last is" in text else check.__name__[6:]), text[:2000]
    except (OSError, RedisError, ValueError, KeyError):
        return "checker", traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def number(fields, name):
    """0 when it is not there."""
    return int(fields.get(name) or 0)


def summary_of(run_id):
    """The run's hash: status and attempts with the script that closed each."""
    flat = [v.decode("utf-8", "replace") for v in _view.redis.command("HGETALL", f"{_view.shard()}run:{run_id}")]
    h = dict(zip(flat[::2], flat[1::2]))
    if not h:
        return {"status": "gone", "hash": {}, "attempts": [], "completed": 0, "created": 0, "parent": "", "events": 0, "error": None, "failures": 0, "result": None}
    attempts = []
    for n in range(1, number(h, "attempt") + 1):
        # What is in these fields: lua/include/run.lua, at af().
        claim, end, begun = h.get(f"a{n}", "").split(" ", 4), h.get(f"a{n}:end", "").split(), f"a{n}:tok" in h
        a = {"handle": h.get(f"a{n}:handle", ""), "runner": claim[4] if claim else ""}
        a.update(n=n, status=end[0] if end else "running" if begun else "provisioning" if claim else "", by=end[1] if end else "", claimed=int(claim[2]) if claim else 0,
                 started=number(h, f"a{n}:started") or (number(h, "started") if begun else 0), ended=int(end[2]) if end else 0)
        a["pid"] = int(json.loads(a["handle"]).get("pid", 0)) if a["handle"] else 0
        attempts.append(a)
    return {"status": h["status"], "hash": h, "attempts": attempts, "completed": number(h, "completed"), "created": int(h["made"].split()[0]) // 1000, "parent": h.get("parent", ""),
            "events": int(h["tail"].split(",")[4]) if "tail" in h else 0, "error": json.loads(h["error"]) if h.get("error") else None, "failures": number(h, "failures"),
            "result": json.loads(h["result"]) if h.get("result") else None}


def check_status(task, summary, _):
    """The status that its agent and its stop make it have. Losing its runner more often than a run survives is the one other way to end."""
    status, error = summary["status"], (summary["error"] or {}).get("class")
    told = f"{status} {error} after {[(a['status'], a['by']) for a in summary['attempts']]}, stop {task.stop_status} {task.stop_said}"
    if task.stop_status == 202:
        assert status == "stopped", f"a stop was accepted, and it is {told}"
        return
    if task.stop_status == 200:
        assert status == task.stop_said, f"it had ended as {task.stop_said} when it was to be stopped, and is {told}"
    lost = sum(a["status"] == "lost" for a in summary["attempts"])
    if status == "error" and error == "runner_lost":
        assert lost > 3 or task.at_most_once and lost == 1, f"given up too early: {told}"
        return
    if status == "stopped":
        assert task.stop_status or task.in_tree or task.expect == "stopped", f"nobody stopped it: {told}"
        return
    if task.expect == "expires":
        assert status == "success" or not any(a["started"] for a in summary["attempts"]), told
    elif task.expect == "any":
        assert status == "success" or task.max_attempts == 1 and task.input.get("fail"), told
    else:
        assert status == task.expect, f"{task.expect} was expected: {told}"
    if task.kind == "failing":
        assert summary["failures"] == (1 if task.at_most_once else task.max_attempts) and error == "exit_nonzero", f"{summary['failures']} failures of {task.max_attempts}: {told}"
    if status == "success":
        assert summary["result"] == {"events": task.input.get("events", 0)}, f"result {summary['result']}"
        assert summary["failures"] <= task.input.get("fail", 0), f"{summary['failures']} failures: {told}"


def check_delivery(task, summary, rng):
    """testing.md's exact-delivery check, and: within each attempt the agent's texts are complete, in order, each once."""
    nodes, run_id = _view.apis, task.run_id
    exact = [record for record, how in task.live if how == "exact"]
    delivery._check_run(_view, nodes, run_id, nodes[0].record(run_id), exact, rng.randrange(1 << 30), (200, 20000))
    stored = replay(rng.choice(nodes).port, run_id, _view.key)
    texts = {}
    for line in stored.lines():
        event = json.loads(line)
        if event["kind"] == "assistant_text":
            texts.setdefault(event["data"]["attempt"], []).append(event["data"]["i"])
    for attempt, numbers in texts.items():
        assert numbers == list(range(len(numbers))), f"{run_id}: the texts of attempt {attempt} are {numbers[:50]}"
    if summary["status"] == "success":
        last = texts.get(summary["attempts"][-1]["n"], [])
        assert len(last) == task.input.get("events", 0), f"{run_id}: {len(last)} of {task.input.get('events')} texts of the attempt that succeeded"


def check_tail(task, _, rng):
    """Readers that were there when Redis lost its tail may hold events that are lost; what the run now has under the same seq is the same, and nothing else is missing."""
    tainted = [(record, how) for record, how in task.live if how != "exact"]
    if not tainted:
        return
    now = {f.seq: f.raw for f in replay(rng.choice(_view.apis).port, task.run_id, _view.key).events}
    for record, how in tainted:
        held = [f.seq for f in record.events]
        assert held == sorted(set(held)), "a reader got an event twice, or backwards"
        for frame in record.events:
            assert now.get(frame.seq, frame.raw) == frame.raw, f"seq {frame.seq} was {frame.raw[:200]!r} and is {now[frame.seq][:200]!r}"
        if how == "tainted":
            missed = sorted(set(now) - set(held))
            assert not missed, f"a reader missed {[now[s][:300] for s in missed[:5]]}, between {max([h for h in held if h < missed[0]], default=None)} and {min([h for h in held if h > missed[0]], default=None)}"
