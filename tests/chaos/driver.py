#!/usr/bin/python3
"""The chaos driver: thousands of short runs of all kinds while nodes and Redis are killed, frozen, filled and cut off, all drawn from a seed; then everything is checked.

    ./dev chaos [--seeds A..B] [--seconds N] [--runs N] [--jobs N] [--only FAULT,…] [--keep]

One JSON line a seed: runs accepted, how they ended, faults by kind, events, runs lost, done twice, leaked, other violations by check, the longest recovery, and the most that executed at once
by limit key. Exit status 1 on any violation; the seed's folder with its logs, Redis' append-only file, the agents' journal and result.json (seed, all violations) is then kept.

What was broken on purpose, and what said so:

| broken | caught by |
| --- | --- |
| the ends of runs and attempts do not close the epoch (no closing id, no XSETID) | `delivery`, `reader` |
| only the ends of attempts do not | `delivery`, in the seeds whose `partition` finds an attempt in the middle of its output |
| the reaper forgets one run of each dead runner | `lost`, `leaked` (`held:`) |
| runs that are stopped do not give back their place at a limit | `lost`, `leaked` (`gate:`) |
"""
import argparse
import collections
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "e2e"), HERE]

from faultdriver import audit, checks, faults, limits, plan  # noqa: E402
from faultdriver.client import Client  # noqa: E402
from harness.nodes import TERMINAL, Stack, build_dir  # noqa: E402
from harness.redis_server import RedisServer  # noqa: E402
from harness.sse import Stream  # noqa: E402
from harness.wait import Timeout, wait_until  # noqa: E402

SETTLE_S = 90
DEFAULT = {"seeds": "1..20", "seconds": 90, "runs": 10000}
# Checks whose violations are told (as "known") and do not fail a seed, each with its reason. To be empty.
KNOWN = {
    "tail": "where Redis loses its last second, a reader may, rarely, miss the events of the attempt that follows what was lost until it reads anew",
}


class Seed:
    """One seed from its empty Redis to its verdict."""

    def __init__(self, number, seconds, runs, only=None):
        self.number, self.seconds, self.runs, self.only = number, seconds, runs, only
        self.folder = tempfile.mkdtemp(prefix=f"errand-chaos-{number}-", dir="/tmp")
        self.violations, self.took, self.figures = [], {}, {}

    def violate(self, check, text, run_id=None):
        self.violations.append({"check": check, "run": run_id, "text": text})

    def run(self):
        agent = os.path.join(self.folder, "agent")
        subprocess.run(["gcc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-static", "-o", agent, os.path.join(HERE, "agent.c")], check=True)
        os.mkdir(os.path.join(self.folder, "r"))
        # What Redis answered is in its file (`everysec` would hold writes back while an fsync is under way), and the file is never rewritten: it is cut at sizes that were taken.
        self.redis = RedisServer(os.path.join(self.folder, "r"), fsync="no", options={"auto-aof-rewrite-percentage": 0}).start()
        self.stack = Stack(self.folder, self.redis)
        self.cluster = faults.Cluster(self.stack, self.redis, self.number)
        try:
            self.cluster.start_all()
            self.plan = plan.Plan(self.number, self.runs, self._features(), self.folder, agent)
            self._load()
            self._check()
        finally:
            self.cluster.heal()
            for fault in self.stack.stop():
                self.violate("nodes", fault)
            self.cluster.close()
            self.redis.stop()
        return self._result()

    def _features(self):
        """Submission fields that this version knows, by asking with an agent that is not there."""
        known = set()
        for name, fields in plan.FEATURES.items():
            answer = self.stack.apis[0].post("/v1/runs", {"agent": "no-such-agent", **fields})
            assert answer.status in (400, 404), answer
            if answer.code == "agent_not_found":
                known.add(name)
            elif answer.code != "unknown_field":
                self.violate("features", f"{name}: {answer!r}")
        return known

    # ---- the load and its faults ----

    def _load(self):
        began = time.monotonic()
        self.client = Client(self.plan, self.cluster.ports, self.stack.key, self.number)
        self.faults = faults.Faults(self.cluster, self.client, self.number, self.only)
        self.client.start(self.seconds)
        self.faults.run_until(lambda: self.client.share_done() >= 1 or time.monotonic() > began + 2 * self.seconds + 60)
        self.cluster.heal()
        self._lap("load", began)
        began = time.monotonic()
        try:
            self.cluster.wait_ready()
            wait_until(self.client.settled, SETTLE_S, "everything is submitted and stopped")
        except Timeout as e:
            self.violate("client", str(e))
        self._wait_terminal(SETTLE_S)
        self._lap("settle", began)
        self.client.finish()
        self._wait_readers()
        self.violations += self.client.violations

    def _wait_terminal(self, seconds):
        """Until every accepted run has ended; those that do not are found by the check."""
        left = list(self.client.accepted())
        terminal = {s.encode() for s in TERMINAL}

        def ended():
            left[:] = [r for r in left if self.redis.command("HGET", f"{self.stack.shard()}run:{r}", "status") not in terminal]
            return not left
        try:
            wait_until(ended, seconds, "every run has ended")
        except Timeout:
            pass

    def _wait_readers(self):
        readers = [r for s in self.client.states.values() for r in s.readers]
        try:
            wait_until(lambda: all(r.ended is not None for r in readers), 30, "live readers have read to the end")
        except Timeout:
            self.violate("reader", f"{sum(r.ended is None for r in readers)} live readers do not end, the first of {next(r.run_id for r in readers if r.ended is None)}")
        for reader in readers:
            if reader.ended is not None and reader.error:
                self.violate("reader", reader.error, reader.run_id)
        self.figures["readers"] = len(readers)
        self.figures["connections"] = sum(r.record.connections for r in readers)

    def _how(self, reader):
        covering = [c for c in self.client.cuts if c.covers(reader.began, reader.ended)]
        return "exact" if not covering else "before" if any(c.back > reader.ended for c in covering) else "tainted"

    def _lap(self, name, began):
        self.took[name] = round(time.monotonic() - began, 1)
        print(f"seed {self.number}: {name} {self.took[name]} s", file=sys.stderr, flush=True)

    # ---- the check ----

    def _check(self):
        began = time.monotonic()
        self.specs = self.client.accepted()
        tasks = []
        for run_id, spec in self.specs.items():
            state = self.client.states[spec.index]
            live = [(r.record, self._how(r)) for r in state.readers if r.ended is not None and not r.error]
            tasks.append(checks.Task(run_id, spec, state.stop_status, state.stop_said, live))
        view = (self.cluster.ports(), self.stack.key, self.stack.prefix, self.redis.socket, self.redis.users.login("operator"))
        self.summaries, found = checks.check_all(tasks, view, self.number, max(2, os.cpu_count() or 2))
        self.violations += found
        self._check_trees()
        self._check_journal()
        self._check_processes()
        self.figures["foldersLeft"] = sum(name.startswith("errand-") and os.path.isdir(os.path.join(self.folder, name)) for name in os.listdir(self.folder))
        self._check_keys_again()
        self._check_stream_urls()
        self.violations += audit.after_the_load(self.stack, set(self.specs), self.client.lost_ids())
        self.figures["doctor"], found = audit.doctor(self.stack)
        self.violations += found
        self._lap("check", began)
        began = time.monotonic()
        self._delete_all()
        self._lap("delete", began)

    def _check_trees(self):
        """Below a stopped root everything is stopped that was there and had not ended when the stop was answered; and nothing is accepted below a stopped run."""
        for run_id, spec in self.specs.items():
            root = spec
            while root.parent is not None:
                root = root.parent
            asked, summary = self.client.states[root.index], self.summaries.get(run_id, {})
            if root is spec or summary.get("status") not in ("success", "error"):
                continue
            if asked.stop_status == 202 and summary["created"] < asked.stop_wall_ms <= summary["completed"] - 1 and summary["created"] < asked.stop_began_ms:
                self.violate("stop", f"its root was stopped at {asked.stop_wall_ms:.0f}, it ended as {summary['status']} at {summary['completed']}", run_id)
            above = self.summaries.get(summary["parent"], {})
            if above.get("status") == "stopped" and above["completed"] < summary["created"]:
                self.violate("stop", f"it was accepted at {summary['created']} below {summary['parent']}, which was stopped at {above['completed']}", run_id)

    def _check_journal(self):
        executions, crowded = limits.read_journal(os.path.join(self.folder, "journal"))
        accepted, found = limits.accept(executions, self.summaries)
        self.violations += found
        found, self.peaks = limits.check_witnesses(executions, crowded, accepted, self.summaries, self.specs)
        self.violations += found
        self.figures.update(executions=len(executions), acceptedExecutions=len(accepted), crowded=len(crowded))

    def _check_processes(self):
        """No process of any run, lost ones included, lives."""
        def living():
            found = []
            for pid in (p for p in os.listdir("/proc") if p.isdigit()):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as f:
                        if self.folder.encode() + b"/agent" in f.read():
                            found.append(int(pid))
                except OSError:
                    continue
            return found
        try:
            wait_until(lambda: not living(), 10, "no agent lives")
        except Timeout:
            self.violate("leaked", f"agents live on: {living()}")

    def _check_keys_again(self):
        """The same key and body still name the same run."""
        rng = self.plan.random
        for run_id, spec in rng.sample(sorted(self.specs.items()), min(200, len(self.specs))):
            port = rng.choice(self.cluster.ports())
            answer = self.client.request(port, "POST", "/v1/runs", self.client.body_of(spec), {"Idempotency-Key": spec.key})
            if answer.status != 202 or answer.json()["runId"] != run_id or answer.headers.get("idempotency-replayed") != "true":
                self.violate("double", f"{spec.key} now answers {answer!r}", run_id)

    def _check_stream_urls(self):
        """A streamUrl that one node gave opens at every other, whatever their clocks say."""
        run_id, spec = min(self.specs.items(), key=lambda item: item[1].index)
        for giver in self.cluster.ports():
            answer = self.client.request(giver, "POST", "/v1/runs", self.client.body_of(spec), {"Idempotency-Key": spec.key})
            for taker in self.cluster.ports():
                with Stream(taker, answer.json()["streamUrl"]) as stream:
                    if stream.status != 200:
                        self.violate("token", f"node {giver} gave a streamUrl that node {taker} answers with {stream.status}", run_id)

    def _delete_all(self):
        """Everything goes by DELETE; then no key may be left but the nodes' own."""
        ended = [r for r in self.specs if self.summaries.get(r, {}).get("status") in TERMINAL]

        def delete(part):
            for i, run_id in enumerate(part):
                answer = self.client.request(self.cluster.ports()[i % faults.APIS], "DELETE", f"/v1/runs/{run_id}")
                if answer.status != 204:
                    self.violate("delete", repr(answer), run_id)
        threads = [threading.Thread(target=delete, args=(ended[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(ended) == len(self.specs):
            self.violations += audit.after_deletion(self.stack, set(self.specs)) + audit.doctor(self.stack)[1]

    # ---- the verdict ----

    def _result(self):
        known_rows = [v for v in self.violations if v["check"] in KNOWN]
        known = collections.Counter(v["check"] for v in known_rows)
        self.violations = [v for v in self.violations if v["check"] not in KNOWN]
        by = collections.Counter(v["check"] for v in self.violations)
        statuses = collections.Counter(s["status"] for s in self.summaries.values())
        ends = collections.Counter(a["status"] for s in self.summaries.values() for a in s["attempts"])
        states = self.client.states.values()
        result = {
            "seed": self.number, "ok": not self.violations, "runs": len(self.plan.specs), "accepted": len(self.specs), "refused": sum(s.refused is not None for s in states),
            "byStatus": statuses, "attempts": ends, "events": sum(s["events"] for s in self.summaries.values()), "faults": self.faults.counts, "lost": by.pop("lost", 0),
            "double": by.pop("double", 0), "leaked": by.pop("leaked", 0), "violations": by, "known": known, "recoveryMaxMs": limits.recovery_ms(self.summaries, self.faults.kills), "peaks": self.peaks,
            "submits": sum(s.submits for s in states), "lostAnswers": sum(len(s.lost_ids) for s in states), "features": sorted(self.plan.features), "skew": self.cluster.skewed,
            "repliesLost": sum(p.lost for p in self.cluster.proxies), "byKind": collections.Counter(s.kind for s in self.plan.specs), **self.figures, "seconds": self.took}
        if known:
            result["knownFirst"] = known_rows[:3]
        if self.violations:
            result["folder"], result["first"] = self.folder, self.violations[:5]
            with open(os.path.join(self.folder, "result.json"), "w", encoding="utf-8") as f:
                json.dump({**result, "all": self.violations}, f, indent=1)
        return result


def one_seed(number, args):
    """Runs a seed in this process and prints its line. SIGTERM ends it in good order: nothing that it started is left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = Seed(number, args.seconds, args.runs, args.only.split(",") if args.only else None)
    result = seed.run()
    if result["ok"] and not args.keep:
        shutil.rmtree(seed.folder, ignore_errors=True)
    print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1


def many_seeds(numbers, args):
    """Each seed in a process of its own, so that one that breaks down takes no other with it."""
    children, ended = [], threading.Event()

    def end(*_):
        ended.set()
        for child in children:
            child.terminate()
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)

    def run(number):
        if ended.is_set():
            return 143
        command = [sys.executable, os.path.abspath(__file__), "--one", str(number), "--seconds", str(args.seconds), "--runs", str(args.runs)]
        command += ["--only", args.only] * bool(args.only) + ["--keep"] * args.keep
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        children.append(child)
        line = child.communicate()[0].strip().splitlines()[-1:] or [json.dumps({"seed": number, "ok": False, "error": f"the driver ended with {child.returncode}"})]
        print(line[0], flush=True)
        return child.returncode
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        return 1 if any(list(pool.map(run, numbers))) else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev chaos")
    parser.add_argument("--seeds", default=DEFAULT["seeds"], help="A..B, or one number")
    parser.add_argument("--seconds", type=float, default=DEFAULT["seconds"], help="how long a seed's runs are submitted")
    parser.add_argument("--runs", type=int, default=DEFAULT["runs"], help="runs of a seed")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--only", help="only these faults, by name")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a good seed, too")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not os.path.exists(os.path.join(build_dir(), "errand-api")):
        sys.exit(f"no errand-api in {build_dir()}: ./dev build, or name the build in ERRAND_BUILD")
    if args.one is not None:
        return one_seed(args.one, args)
    first, _, last = args.seeds.partition("..")
    return many_seeds(range(int(first), int(last or first) + 1), args)


if __name__ == "__main__":
    sys.exit(main())
