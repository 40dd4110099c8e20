"""How many instructions an operation takes, counted by callgrind, and the baseline that they are compared with (tests/bench/baseline.json).

A program runs under callgrind from its start; its counters are read (and so begin anew) before and behind n operations, so that neither its start nor what prepares them counts, and what an idle one does in that time is
taken off. Time, load, addresses and caches have no part in it: what differs between repetitions is where pieces of data were cut and which timers fell into them, and is printed as the spread.
A count belongs to a compiler, its flags and the libraries: with others it is not compared, and says so.
"""
import json
import os
import re
import statistics
import subprocess
import time

import scripts
from hot import OPERATIONS, ROOT, Skipped, System

BASELINE = os.path.join(ROOT, "tests", "bench", "baseline.json")
MOST = 1.10  # of the baseline
QUICK = ["submit", "batch", "noop", "ingress-256", "runner-events", "replay", "fanout"]
NAMES = [*(name for name, kind in OPERATIONS.items() if kind.where), "scripts"]
# By the second, and timers do not fall into each alike; or so few an operation that what the node does beside shows.
LOOSE = {"idle": 1.5, "replay": 1.2, "fanout": 1.15, "runner-events": 1.25}
CALLGRIND = ["valgrind", "--tool=callgrind", "--quiet", "--trace-children=no"]


class Counter:
    """One program under callgrind."""

    def __init__(self, folder, name):
        self.out = os.path.join(folder, f"callgrind.{name}")
        self.pipes = f"--vgdb-prefix={folder}/vgdb-{name}"
        self.wrap = [*CALLGRIND, self.pipes, f"--callgrind-out-file={self.out}"]
        self.pid, self.dumps = None, 0

    def read(self, keep=False):
        """Instructions since it was read before; with `keep`, also the path of the dump."""
        done = subprocess.run(["vgdb", self.pipes, f"--pid={self.pid}", "dump"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.dumps += 1
        path = f"{self.out}.{self.dumps}"
        if done.returncode != 0 or not os.path.exists(path):
            raise SystemExit(f"profile: callgrind can't be asked: {done.stdout.strip()}")
        with open(path, encoding="utf-8", errors="replace") as f:
            found = re.findall(r"^totals: (\d+)", f.read(), re.M)
        total = sum(map(int, found))
        if keep:
            return total, path
        os.unlink(path)
        return total


def versions():
    """What counts belong to."""
    def said(*command):
        try:
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.strip()
        except FileNotFoundError:
            return "none"

    def package(*names):
        return " ".join(v for v in (said("dpkg-query", "-W", "-f", "${Version}", name) for name in names) if v and "no packages" not in v)
    with open(os.path.join(ROOT, "build", "CMakeCache.txt"), encoding="utf-8") as f:
        cache = dict(line.split("=", 1) for line in f.read().splitlines() if "=" in line and not line.startswith(("#", "//")))
    compiler = cache.get("CMAKE_C_COMPILER:FILEPATH") or cache.get("CMAKE_C_COMPILER:STRING", "cc")
    with open(os.path.join(ROOT, "build", "compile_commands.json"), encoding="utf-8") as f:
        command = next(c["command"] for c in json.load(f) if c["file"].endswith("/api/main.c"))
    flags = " ".join(w for w in command.split() if w.startswith(("-O", "-g", "-f", "-m", "-std", "-D_F")))
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = re.search(r"^(?:flags|Features)\s*: (.*)$", f.read(), re.M)
    return {"machine": os.uname().machine, "cpu": " ".join(w for w in ("avx2", "bmi2", "pclmulqdq", "asimd") if cpu and w in cpu.group(1).split()),
            "compiler": said(compiler, "--version").splitlines()[0], "flags": flags, "valgrind": said("valgrind", "--version"),
            "libraries": ", ".join(f"{n} {package(n, n + 't64')}" for n in ("libc6", "libuv1", "libhiredis0.14", "libsimdjson14", "libsodium23", "libpcre2-8-0")),
            "redis": f"{package('redis-server')} lua {package('liblua5.1-0')} {package('libjemalloc2')}"}


def rates(counters, seconds):
    """Instructions a second of idle programs."""
    for c in counters.values():
        c.read()
    began = time.monotonic()
    time.sleep(seconds)
    return {name: c.read() / (time.monotonic() - began) for name, c in counters.items()}


def counted_once(operation, counters, n, idle):
    """Instructions of run(n) by program, without what each does anyway."""
    for c in counters.values():
        c.read()
    began = time.monotonic()
    operation.run(n)
    seconds = time.monotonic() - began
    return {name: c.read() - seconds * idle[name] for name, c in counters.items()}


def count_scripts(counter, say):
    """{"script-submit.redis": …}: the scripts by themselves, each call with what Redis does around it, from the first byte read to the last one written."""
    counts, n, of_one_claim = {}, 200, 64
    server = scripts.Server([*counter.wrap])
    try:
        counter.pid = server.process.pid

        def took(name, calls, runs):
            counter.read()
            replies = server.all(name.split("-")[0], calls)
            counts.setdefault(f"script-{name}.redis", ("run", []))[1].append(counter.read() / runs)
            return replies
        for _ in range(3):
            server.fresh()
            server.runner("r1")
            server.runner("r2")
            server.all("submit", [server.submit() for _ in range(20)])  # what the first ones of a queue make
            server.all("claim", [server.claim("r2", 20)])
            took("submit", [server.submit() for _ in range(n)], n)
            rows = server.rows(took("claim-1", [server.claim("r1", 1) for _ in range(n)], n))
            took("started", [server.started("r1", row) for row in rows], n)
            took("finish", [server.finish("r1", row) for row in rows], n)
            server.all("submit", [server.submit() for _ in range(4 * of_one_claim)])
            took("claim-64", [server.claim("r2", of_one_claim) for _ in range(4)], 4 * of_one_claim)
    finally:
        server.close()
    for key, (what, each) in counts.items():
        say(*key.rsplit(".", 1), what, each)
    return counts


def count(names, quick, folder, say):
    """{"submit.api": (what is counted, [counts of the repetitions]), …} of these operations, and why some are missing."""
    counts, skipped = {}, {}
    for program in ("api", "runner"):  # what Redis does beside, by its own clock, is too much there to be told apart: its scripts are counted by themselves
        chosen = [n for n in names if n in OPERATIONS and program in OPERATIONS[n].where and not (quick and n == "idle")]
        if not chosen:
            continue
        counter = Counter(folder, program)
        system = System({program: counter.wrap})
        try:
            counter.pid = system.pids[program]
            counters = {program: counter}
            idle = rates(counters, 2 if quick else 4)
            for name in chosen:
                kind = OPERATIONS[name]
                try:
                    operation = kind(system)
                except Skipped as e:
                    skipped[f"{name}.{program}"] = str(e)
                    continue
                n = kind.small if quick else kind.large
                operation.run(kind.warm)
                took = []
                for _ in range(1 if quick else 3):
                    without = {program: 0.0} if name == "idle" else idle
                    total = counted_once(operation, counters, n, without)[program]
                    if hasattr(operation, "base"):
                        total -= counted_once(operation, counters, operation.base, without)[program]
                    took.append(total / (n - getattr(operation, "base", 0)))
                counts[f"{name}.{program}"] = kind.what, took
                say(name, program, kind.what, took)
                operation.done()
        finally:
            system.close()
    if "scripts" in names and not quick:
        counts.update(count_scripts(Counter(folder, "scripts"), say))
    return counts, skipped


def load_baseline():
    with open(BASELINE, encoding="utf-8") as f:
        return json.load(f)


def comparable(baseline, now, program):
    """Why a program's counts can't be compared with the baseline's; None if they can."""
    kinds = ["machine", "cpu", "valgrind", *(["redis"] if program == "redis" else ["compiler", "flags", "libraries"])]
    for kind in kinds:
        if baseline["with"].get(kind) != now.get(kind):
            return f"the baseline is of another {kind}: {baseline['with'].get(kind)!r}, not {now.get(kind)!r}"
    return None


def judge(counts, baseline, now):
    """Sentences about what got dearer, and about what was not compared; how many were."""
    faults, notes, told, compared = [], [], set(), 0
    for key, (what, took) in counts.items():
        name, program = key.rsplit(".", 1)
        why = comparable(baseline, now, program)
        if why is not None:
            if why not in told:
                notes.append(why)
                told.add(why)
            continue
        compared += 1
        was, is_now = baseline["instructions"].get(key), statistics.median(took)
        if was is None:
            compared -= 1
            notes.append(f"{key} is not in the baseline: ./dev profile --update writes it")
        elif is_now > was["each"] * LOOSE.get(name, MOST):
            faults.append(f"{key} takes {is_now:,.0f} instructions a {what}, {100 * (is_now / was['each'] - 1):.1f} % more than the baseline's {was['each']:,.0f}"
                          f" (allowed: {100 * (LOOSE.get(name, MOST) - 1):.0f} %). Look with ./dev profile {name}; where the price is right, ./dev profile --update")
        elif is_now < was["each"] / MOST and name not in LOOSE:
            notes.append(f"{key} takes {100 * (1 - is_now / was['each']):.0f} % less than the baseline: ./dev profile --update keeps that")
    return faults, notes, compared


def update(counts, now):
    """Writes the baseline: these counts, and the former ones of operations that were not counted."""
    was = load_baseline()["instructions"] if os.path.exists(BASELINE) else {}
    for key, (what, took) in counts.items():
        was[key] = {"each": round(statistics.median(took)), "per": what, "spread": round((max(took) - min(took)) / statistics.median(took), 4)}
    with open(BASELINE, "w", encoding="utf-8") as f:
        json.dump({"with": now, "instructions": dict(sorted(was.items()))}, f, indent=1)
        f.write("\n")
