"""`./dev bench` itself: each of its names still works, a line has what a figure needs, what does not hold is said to, and nothing is left behind. Figures of a quick run say nothing, so none is looked at."""
import json
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from harness.nodes import ROOT, release_dir
from harness.wait import wait_until

BENCH = os.path.join(ROOT, "tests", "bench")
SHAPES = {  # name: figures that it gives
    "submit": {"submit-1", "submit-64", "submit-redis-cpu", "submit-batch-100"}, "noop": {"noop", "noop-redis-cpu"},
    "ingress": {"ingress-1", "ingress-16", "ingress-256"}, "runner-events": {"runner-events", "runner-events-a-second"}, "replay": {"replay-1000", "replay-1000-one", "replay-1000000"},
    "fanout": {"fanout-1000-cpu", "fanout-1", "fanout-100", "fanout-1000", "fanout-10000-2-nodes"}, "latency": {"latency-pool", "latency-pool-p99", "latency-process", "latency-pool-half-load", "latency-process-half-load"},
    "idle": {"idle-api-node", "idle-runner-node", "idle-reader", "idle-queued-run-300-bytes", "idle-queued-run-no-input", "idle-api-node-after-load", "idle-run-in-flight"},
    "recovery": {"recovery-redis", "recovery-api", "recovery-runner"},
    "scale": {*(f"scale-submit-{n}" for n in ("1-thread", "2-threads", "4-threads")), *(f"scale-{what}-{n}" for what in ("submit", "noop") for n in ("1-shard", "2-shards", "4-shards")),
              "scale-submit-cost-api", "scale-submit-cost-redis", "scale-noop-cost-api", "scale-noop-cost-runner", "scale-noop-cost-redis"}}
WITH_COST = {"submit-64", "noop", "ingress-256", "runner-events", "replay-1000", "fanout-1000-cpu"}


def environment(folder):
    return {**os.environ, "ERRAND_BUILD": release_dir(), "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"}


def bench(folder, *words, seconds=100):
    done = subprocess.run([sys.executable, os.path.join(BENCH, "bench.py"), *words], env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds)
    return done, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture
def folder():
    """A short path: Redis' socket is in it."""
    with tempfile.TemporaryDirectory(prefix="eb-", dir="/tmp") as path:
        yield path


def processes_of(folder):
    """Those that name the folder in their command line or environment, this one aside."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if folder.encode() in f.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_each_name_gives_its_figures_and_leaves_nothing(name, folder):
    done, lines = bench(folder, name, "--quick")
    assert done.returncode == 0, (done.stdout, done.stderr)
    machine, figures = lines[0], {line["name"]: line for line in lines[1:]}
    assert {"cores", "kernel", "redis", "persistence"} <= set(machine) and "appendonly" in machine["persistence"]
    assert set(figures) == SHAPES[name], done.stderr
    for line in figures.values():
        assert isinstance(line["value"], (int, float)) and line["unit"], line
        assert "limit" not in line or line["limit"] > 0 and line["limitUnit"], line
        assert "must" not in line or line["ok"] in (True, False, None), line
        if line["name"] in WITH_COST:
            assert set(line["cpuUs"]) >= {"api", "runner", "redis"} and line["redisCommands"] >= 0 and line["roundTrips"] >= 0, line
            assert line["limit"] > 0 and "must" in line, line
    table = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    assert all(any(row.startswith(figure + " ") for row in table) for figure in figures), done.stdout
    assert wait_until(lambda: not processes_of(folder), 10, "all processes to end") and os.listdir(folder) == []


def test_names_are_known(folder):
    done, _ = bench(folder, "--list")
    assert set(SHAPES) <= set(done.stdout.split()) and {"claim", "keys", "start", "longest", "redact", "scripts", "waiting"} <= set(done.stdout.split())
    done, lines = bench(folder, "submits")
    assert done.returncode == 2 and "submits" in done.stderr and lines == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_ends_all(folder, number):
    p = subprocess.Popen([sys.executable, os.path.join(BENCH, "bench.py"), "submit"], env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: len(processes_of(folder)) >= 3, 30, "the benchmark's Redis, node and load")
    p.send_signal(number)
    p.communicate(timeout=30)
    assert p.returncode == (-9 if number == signal.SIGKILL else 130)
    wait_until(lambda: not processes_of(folder), 10, "all processes to end")
    assert number == signal.SIGKILL or os.listdir(folder) == []


def test_a_bound_that_does_not_hold_is_said_to_and_an_error_is_no_figure(folder):
    program = """import sys
sys.path.insert(0, sys.argv[1])
import limits, report, scripts, system
assert report.figure("over", 1.0, "x", 2.0, "y", must=">= 0.80")["ok"] is False
assert report.figure("within", 1.7, "x", 2.0, "y", must=">= 0.80")["ok"] is True
assert report.figure("high", 31.0, "us", must="<= 30", judge="value")["ok"] is False
assert report.figure("elsewhere", 1.0, "x", 2.0, "y", must=">= 1.8", informative=True)["ok"] is None
report.failed("gone", "why")
limits.build(sys.argv[2])
with system.System(runners=0) as s:
    assert limits.calls(s, scripts.pack("PING") * 1000)["calls"] == 1000
    for wrong in (scripts.pack("PING") + scripts.pack("NOSUCHCOMMAND"), scripts.pack("EVAL", "return {'not_found'}", 0)):
        try:
            limits.calls(s, wrong)
        except system.Failed:
            continue
        raise SystemExit("an error was taken for an answer")
table = report.table(report.machine())
assert table is False
"""
    done = subprocess.run([sys.executable, "-c", program, BENCH, folder], env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "over" in done.stdout and "FAILED" in done.stdout
