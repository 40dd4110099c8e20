#!/usr/bin/python3
"""Runs Errand's tests, all of them or a part, and ends with one line: `N passed, N failed, N skipped`.

Parts: unit, lua (cmocka, under ASan and UBSan), fuzz (the corpora and every found crash, replayed), count (instructions of hot operations, beside the baseline), lint (the gates), e2e and chaos (pytest on the binaries).
When all of it runs, count and lint go on behind the others: those mostly wait, lint takes only what they leave (nice), and its analyzer goes less deep than in `./dev lint` (tests/lint/gate_clang.py).
"""
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SAN = os.path.join(ROOT, "build-san")
RELEASE = os.path.join(ROOT, "build")
PARTS = ["unit", "lua", "fuzz", "count", "lint", "e2e", "chaos"]
BEHIND = ["count", "lint"]
JOBS = max(2, len(os.sched_getaffinity(0)))
WAITING = 2  # workers more than cores for tests that wait more than they work
NOT_COMPARED = 3  # of tests/bench/profiled.py


class Totals:
    """What was counted so far."""

    def __init__(self):
        self.passed = self.failed = 0
        self.skipped = []
        self.failures = []

    def fail(self, name):
        self.failed += 1
        self.failures.append(name)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures


def say(text):
    print(f"==> {text}", flush=True)


def say_line(text):
    print(text, flush=True)


def build(directory, targets, *options):
    """Configures and builds one tree; its output is shown only when it fails."""
    say(f"building {os.path.relpath(directory, ROOT)}")
    for command in (["cmake", "-S", ROOT, "-B", directory, "-G", "Ninja", *options], ["ninja", "-C", directory, *targets]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(done.stdout[-20000:])
            return False
    return True


def sanitizer_env():
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=1:halt_on_error=1"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
    return env


def run_binary(path, args=()):
    """One cmocka (or replay) binary: (name, passed, failed names, skipped names, output)."""
    name = os.path.basename(path)
    try:
        done = subprocess.run([path, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, env=sanitizer_env(), cwd=ROOT)
        output, status = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as e:
        output, status = (e.stdout or b"").decode("utf-8", "replace") + "\ntimed out", 1
    passed = len(re.findall(r"^\[       OK \] ", output, re.M))
    failed = sorted(set(re.findall(r"^\[  FAILED  \] (?!\d+ test)(?:[\w ]+: )?(\w+)", output, re.M)))
    # What a test prints before skip() is its reason.
    skipped = [f"{s}: {' '.join(reason.split()) or 'no reason given'}"
               for s, reason in re.findall(r"^\[ RUN      \] (\w+)\n((?:(?!\[ ).*\n)*)\[  SKIPPED \] \1$", output, re.M)]
    if name.startswith("replay-") and status == 0:
        passed = 1
    if status != 0 and not failed:
        failed = ["(the program itself)"]
    if passed == 0 and not failed and not skipped:
        failed = ["(it ran no test)"]
    return name, passed, failed, skipped, output


def run_binaries(totals, pattern, options, jobs):
    """All cmocka programs of a part, or with -k those whose name has one of its words."""
    words = [w for w in " ".join(options[options.index("-k") + 1:]).split() if w != "or"] if "-k" in options else []
    paths = [p for p in sorted(glob.glob(os.path.join(SAN, "tests", pattern))) if not words or any(w in os.path.basename(p) for w in words)]
    if not paths:
        if not words:
            totals.fail(f"no test matches {pattern}")
        return
    args = {p: ([os.path.join(ROOT, "tests/fuzz/corpus", os.path.basename(p)[7:])] if "replay-" in p else []) for p in paths}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, passed, failed, skipped, output in pool.map(lambda p: run_binary(p, args[p]), paths):
            totals.passed += passed
            totals.skipped += [f"{name}: {s}" for s in skipped]
            print(f"    {name}: {passed} passed" + (f", {len(failed)} FAILED" if failed else ""), flush=True)
            if failed:
                print(output[-8000:])
                for f in failed:
                    totals.fail(f"{name}: {f}")


def run_pytest(totals, folder, options, jobs):
    report = os.path.join(SAN, f"{folder}.xml")
    command = ["/usr/bin/python3", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--timeout=240", f"--junitxml={report}", os.path.join(ROOT, "tests", folder)]
    if jobs > 1:
        command += ["-n", str(jobs)]
    env = sanitizer_env()
    env.update(ERRAND_BUILD=SAN, ERRAND_BUILD_RELEASE=RELEASE, PYTHONDONTWRITEBYTECODE="1")
    if os.path.exists(report):
        os.unlink(report)
    status = subprocess.run(command + options, env=env, cwd=ROOT).returncode
    if not os.path.exists(report):
        totals.fail(f"{folder}: pytest left no report (status {status})")
        return
    count = 0
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        count += 1
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            totals.fail(name)
        elif skipped is not None:
            totals.skipped.append(f"{name}: {skipped.get('message')}")
        else:
            totals.passed += 1
    if count == 0 and "-k" not in options:
        totals.fail(f"{folder}: no test ran")


def run_lint(totals, tell=say_line, behind=False):
    gates = sorted(glob.glob(os.path.join(ROOT, "tests/lint/gate_*.py")))
    if not gates:
        totals.fail("no lint gate")
    command, env = ["/usr/bin/python3"], dict(os.environ)
    if behind:
        command = ["nice", "-n", "19", *command]
        env.setdefault("ERRAND_LINT_NODES", "75000")
    for gate in gates:
        done = subprocess.run([*command, gate], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env)
        last = done.stdout.strip().splitlines()[-1:] or ["(nothing)"]
        tell(f"    {os.path.basename(gate)}: {last[0]}")
        if done.returncode == 0 and re.search(r"\b[1-9]\d* files\b", last[0]):
            totals.passed += 1
        else:
            tell(done.stdout[-6000:])
            totals.fail(os.path.basename(gate))


def run_count(totals, tell=say_line):
    done = subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tests/bench/profiled.py"), "--check", "--quick"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    last = done.stdout.strip().splitlines()[-1:] or ["(nothing)"]
    tell(f"    {last[0]}")
    if done.returncode == 0:
        totals.passed += 1
    elif done.returncode == NOT_COMPARED:
        why = [line for line in done.stdout.splitlines() if "not compared: " in line]
        totals.skipped.append(f"count: {why[0].split('not compared: ', 1)[1] if why else last[0]}")
    else:
        tell(done.stdout[-6000:])
        totals.fail("count")


class Behind(threading.Thread):
    """Parts that run while others do; what they say is shown at their end."""

    def __init__(self, parts):
        super().__init__()
        self.parts, self.totals, self.lines = parts, Totals(), []

    def run(self):
        try:
            for part in self.parts:
                self.lines.append(f"==> {part}")
                if part == "lint":
                    run_lint(self.totals, self.lines.append, behind=True)
                else:
                    run_count(self.totals, self.lines.append)
        except Exception as e:  # it must not pass because it broke
            self.totals.fail(f"{' and '.join(self.parts)}: {e!r}")

    def finish(self, totals):
        self.join()
        print("\n".join(self.lines), flush=True)
        totals.add(self.totals)


def main():
    args = sys.argv[1:]
    parts = [args.pop(0)] if args and args[0] in PARTS else PARTS
    if args and not args[0].startswith("-"):
        print(f"no such part: {args[0]} (there are: {', '.join(PARTS)})", file=sys.stderr)
        return 2
    began = time.monotonic()
    totals = Totals()
    if parts != ["count"] and not build(SAN, [], "-DCMAKE_BUILD_TYPE=Debug", "-DSAN=address,undefined"):
        totals.fail("the sanitizer build")
    if {"e2e", "chaos", "count"} & set(parts) and not build(RELEASE, ["errand", "errand-api", "errand-runner", "errand-exec"], "-DCMAKE_BUILD_TYPE=Release"):
        totals.fail("the release build")
    if totals.failed == 0:
        steps = {
            "unit": lambda: run_binaries(totals, "unit-*", args, JOBS),
            "lua": lambda: run_binaries(totals, "lua-*", args, JOBS),
            "fuzz": lambda: run_binaries(totals, "replay-*", args, JOBS),
            "count": lambda: run_count(totals),
            "lint": lambda: run_lint(totals),
            "e2e": lambda: run_pytest(totals, "e2e", args, JOBS + WAITING),
            "chaos": lambda: run_pytest(totals, "chaos", args, 3),
        }
        behind = Behind([p for p in parts if p in BEHIND and len(parts) > 1])
        behind.start()
        for part in parts:
            if part not in behind.parts:
                say(part)
                part_began = time.monotonic()
                steps[part]()
                say_line(f"    {part}: {time.monotonic() - part_began:.0f} s")
        if behind.parts:
            behind.finish(totals)
    for name in totals.skipped:
        print(f"skipped: {name}")
    for name in totals.failures:
        print(f"FAILED: {name}")
    spent = os.times()
    print(f"took {time.monotonic() - began:.0f} s, {spent.children_user + spent.children_system:.0f} s of CPU")
    if totals.passed == 0 and totals.failed == 0:
        totals.fail("nothing ran")
    print(f"{totals.passed} passed, {totals.failed} failed, {len(totals.skipped)} skipped", flush=True)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
