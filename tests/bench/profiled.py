#!/usr/bin/python3
"""`./dev profile NAME…`: where the time of a hot operation goes, for the API node, the runner and Redis apart.

Each gets a file of folded stacks in build/profile/ (one line a stack, `a;b;c count`: what flamegraph.pl, speedscope and inferno read) and a table of its dearest functions. perf samples the programs as they work, kernel
included; where there is no perf, or with --tool callgrind, instructions are counted instead, the kernel's not (callgrind knows callers, not stacks: a function's cost is shared among its callers as their calls cost).

`./dev profile --check [NAME…]` counts the instructions of operations and compares them with tests/bench/baseline.json; `--quick` takes a fifth of the time and leaves Redis out; `--update` writes the baseline.
"""
import argparse
import collections
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import counted
from hot import OPERATIONS, ROOT, Skipped, System

OUT = os.path.join(ROOT, "build", "profile")
NOT_COMPARED = 3
PROGRAMS = ("api", "runner", "redis")
ALIASES = {"redis-check-rdb": "redis-server", "redis-check-aof": "redis-server", "redis-sentinel": "redis-server"}  # the same file
TICKS = os.sysconf("SC_CLK_TCK")


def has_perf():
    """Whether perf may sample here."""
    if shutil.which("perf") is None:
        return False
    done = subprocess.run(["perf", "record", "-q", "-o", "/dev/null", "-e", "cpu-clock", "--", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# ---- folded stacks from perf ----


def folded_by_pid(data):
    """{pid: Counter of stacks} of what perf recorded."""
    script = subprocess.Popen(["perf", "script", "-i", data, "--no-inline", "-F", "pid,ip,sym,dso"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
    found, pid, stack = collections.defaultdict(collections.Counter), None, []
    for line in script.stdout:
        words = line.split()
        if not words:
            if pid is not None and stack:
                found[pid][";".join(reversed(stack))] += 1
            pid, stack = None, []
        elif not line.startswith(("\t", " " * 8)):
            pid = int(words[0])
        else:
            name, where = " ".join(words[1:-1]), os.path.basename(words[-1].strip("()[]"))
            if name in ("", "[unknown]"):
                name = f"[{ALIASES.get(where, where)}]"  # a stripped program: what it exports has names, the rest has not
            stack.append(name.replace(";", ":"))
    script.wait()
    return found


def sample(name, seconds, keep):
    """Runs the operation for so long while perf looks on."""
    system = System()
    data = os.path.join(keep, "perf.data")
    try:
        operation = OPERATIONS[name](system)
        operation.run(operation.warm)
        pids = ",".join(str(p) for p in system.pids.values())
        perf = subprocess.Popen(["perf", "record", "-q", "-o", data, "-e", "cpu-clock", "-F", "1499", "--call-graph", "dwarf,8192", "-p", pids], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began, before, done = time.monotonic(), {p: cpu_seconds(system.pids[p]) for p in PROGRAMS}, 0
        while time.monotonic() - began < seconds:
            operation.run(operation.small)
            done += operation.small
        used = {p: cpu_seconds(system.pids[p]) - before[p] for p in PROGRAMS}
        perf.send_signal(2)
        perf.wait(60)
        operation.done()
        stacks = folded_by_pid(data)
        return {p: stacks.get(system.pids[p], collections.Counter()) for p in PROGRAMS}, {p: f"{1e6 * used[p] / done:.1f} µs CPU a {operation.what}" for p in PROGRAMS}
    finally:
        system.close()


# ---- folded stacks from callgrind ----


class CallGraph:
    """What a dump of callgrind says: the cost of each function itself, and of its calls by callee. A function is known by callgrind's number: names may be shared."""

    def __init__(self, path):
        self.own, self.calls, self.names = collections.Counter(), collections.defaultdict(collections.Counter), {}
        files, here, there, caller, callee, called = {}, "", "", None, None, False
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                word = re.match(r"(c?)(ob|fn)=\((\d+)\)(?: (.*))?$", line)
                if word and word.group(2) == "ob":
                    if word.group(4):
                        where = os.path.basename(word.group(4))
                        files[word.group(3)] = ALIASES.get(where, where)
                    there = files[word.group(3)]
                    here = here if word.group(1) else there
                elif word:
                    number, name = word.group(3), word.group(4)
                    if name:
                        self.names[number] = f"[{there if word.group(1) else here}]" if name.startswith("0x") else re.sub(r"'\d+$", "", name).replace(";", ":")
                    if word.group(1):
                        callee, there = number, here
                    else:
                        caller = number
                elif line.startswith("calls="):
                    called = True
                elif re.match(r"[-+*\d]", line):
                    words = line.split()
                    cost = int(words[1]) if len(words) > 1 else 0
                    if called:
                        self.calls[caller][callee] += cost
                    else:
                        self.own[caller] += cost
                    called = False

    def folded(self, least=0.0005):
        """Stacks, each function's cost shared among its callers; what is less than `least` of the whole is left with its caller."""
        into, total, stacks = collections.Counter(), sum(self.own.values()) or 1, collections.Counter()
        for f, callees in self.calls.items():
            into.update({g: c for g, c in callees.items() if g != f})
        whole = {f: self.own[f] + sum(c for g, c in self.calls[f].items() if g != f) for f in {*self.own, *self.calls, *into}}

        def walk(path, weight):
            here, kept = path[-1], weight
            for callee, cost in self.calls[here].items():
                part = weight * cost / whole[here] if whole[here] else 0
                if callee not in path and part >= least * total and len(path) < 60:
                    walk([*path, callee], part)
                    kept -= part
            if kept >= 1:
                stacks[";".join(self.names[f] for f in path)] += round(kept)
        for f in sorted(whole):
            entered = whole[f] - into[f]
            if entered > least * total:
                walk([f], entered)
        return stacks


def count_calls(name, keep):
    """Runs the operation under callgrind, one program after the other."""
    stacks, each = {}, {}
    for program in PROGRAMS:
        counter = counted.Counter(keep, program)
        system = System({program: counter.wrap})
        try:
            counter.pid = system.pids[program]
            operation = OPERATIONS[name](system)
            operation.run(operation.warm)
            counter.read()
            operation.run(operation.small)
            total, path = counter.read(keep=True)
            operation.done()
            each[program] = f"{total / operation.small:,.0f} instructions a {operation.what}"
            stacks[program] = CallGraph(path).folded()
        finally:
            system.close()
    return stacks, each


# ---- what is shown ----


def table(stacks, most):
    """The dearest functions: share of the time in the function itself, and with what it calls."""
    total, own, whole = sum(stacks.values()), collections.Counter(), collections.Counter()
    for stack, n in stacks.items():
        frames = stack.split(";")
        own[frames[-1]] += n
        for f in set(frames):
            whole[f] += n
    return [(f, 100 * n / total, 100 * whole[f] / total) for f, n in own.most_common(most)], [(f, 100 * own[f] / total, 100 * n / total) for f, n in whole.most_common(60)]


def show(name, stacks, each, tool, most):
    os.makedirs(OUT, exist_ok=True)
    everything = sum(sum(found.values()) for found in stacks.values())
    for program in PROGRAMS:
        found = stacks[program]
        if sum(found.values()) < 0.005 * everything or not found:
            continue  # it had no part in this
        path = os.path.join(OUT, f"{name}-{program}.folded")
        with open(path, "w", encoding="utf-8") as f:
            for stack, n in sorted(found.items()):
                f.write(f"{stack} {n}\n")
        print(f"\n{name}, {program}: {each[program]}, by {tool}: {sum(found.values()):,} {'samples' if tool == 'perf' else 'instructions'}, {os.path.relpath(path, ROOT)}")
        dearest, widest = table(found, most)
        print("   itself  with calls  function")
        for f, own, whole in dearest:
            print(f"  {own:6.1f} %  {whole:7.1f} %  {f}")
        ours = [(f, own, whole) for f, own, whole in widest if 2 < whole < 90 and (f, own, whole) not in dearest]
        for f, own, whole in ours[:most]:
            print(f"  {own:6.1f} %  {whole:7.1f} %  {f}  (with what it calls)")


def profile(names, tool, seconds, most):
    for name in names:
        with tempfile.TemporaryDirectory(prefix="errand-profile-") as keep:
            try:
                stacks, each = sample(name, seconds, keep) if tool == "perf" else count_calls(name, keep)
            except Skipped as e:
                print(f"{name}: skipped: {e}")
                continue
        show(name, stacks, each, tool, most)
    return 0


def check(names, quick, update, as_json):
    """Counts, compares, and says so; 1 where something got dearer, NOT_COMPARED where nothing could be."""
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        print("profile: not compared: valgrind is not installed")
        return NOT_COMPARED
    now = counted.versions()

    def say(name, program, what, took):
        middle = statistics.median(took)
        if as_json:
            print(json.dumps({"name": f"{name}.{program}", "value": round(middle), "unit": f"instructions a {what}", "lowest": round(min(took)), "highest": round(max(took)), "repetitions": len(took)}), flush=True)
        else:
            print(f"  {name + '.' + program:24} {middle:12,.0f} instructions a {what:8} (spread {100 * (max(took) - min(took)) / middle:.1f} % of {len(took)})", flush=True)
    with tempfile.TemporaryDirectory(prefix="errand-count-") as folder:
        counts, skipped = counted.count(names, quick, folder, say)
    for key, why in skipped.items():
        print(f"  {key}: skipped: {why}")
    if update:
        counted.update(counts, now)
        print(f"profile: {os.path.relpath(counted.BASELINE, ROOT)} has {len(counts)} new counts")
        return 0
    faults, notes, compared = counted.judge(counts, counted.load_baseline(), now)
    for note in notes:
        print(f"profile: {note}" if " less than " in note else f"profile: not compared: {note}")
    for fault in faults:
        print(f"profile: {fault}")
    print(f"profile: {len(counts)} counts, {compared} compared, {len(faults)} dearer than the baseline allows")
    return 1 if faults else 0 if compared else NOT_COMPARED


def main():
    parser = argparse.ArgumentParser(prog="./dev profile", description=f"Operations: {', '.join(OPERATIONS)}")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--tool", choices=("perf", "callgrind"), help="perf where it may sample, else callgrind")
    parser.add_argument("--seconds", type=float, default=5, help="how long perf looks on")
    parser.add_argument("--top", type=int, default=20, help="functions in each table")
    parser.add_argument("--check", action="store_true", help="count instructions and compare them with the baseline")
    parser.add_argument("--quick", action="store_true", help="with --check: fewer operations, once, without Redis")
    parser.add_argument("--update", action="store_true", help="count instructions and write them as the baseline")
    parser.add_argument("--json", action="store_true", help="with --check: a JSON line a count")
    args = parser.parse_args()
    unknown = [n for n in args.names if n not in (counted.NAMES if args.check or args.update else OPERATIONS)]
    if unknown or not (args.names or args.check or args.update):
        parser.error(f"no such operation: {', '.join(unknown)}" if unknown else "name an operation, or --check, or --update")
    if args.check or args.update:
        return check(args.names or (counted.QUICK if args.quick else counted.NAMES), args.quick, args.update, args.json)
    return profile(args.names, args.tool or ("perf" if has_perf() else "callgrind"), args.seconds, args.top)


if __name__ == "__main__":
    sys.exit(main())
