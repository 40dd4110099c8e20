"""`./dev bench start`: what a start costs with each executor that runs commands here, and what runs in flight cost their runner. On an idle machine: the figures of a busy one say nothing.

- start-EXECUTOR: microseconds from a claim to runtime_started, one run after the other, as the runner itself took them (its debug log); beside it the same with limits (more control groups to enter).
- start-rate-EXECUTOR: no-op runs a second of one runner, from the first submit to the last end.
"""
import json
import re
import statistics
import time

import limits
from report import figure, skipped
from scripts import pack
from system import Failed, System

SAMPLES, RUNS = 200, 1000
WORKER = """while echo '{"kind":"notification","data":{"type":"worker_ready"}}'; read -r job; do echo '{"kind":"runtime_terminal","data":{"status":"success"}}'; done"""
AGENTS = {
    "process": {"executor": "process", "command": ["/bin/true"], "protocol": "text"},
    "sandbox": {"executor": "sandbox", "command": ["/bin/true"], "protocol": "text"},
    "pool": {"executor": "pool", "command": ["/bin/sh", "-c", WORKER], "protocol": "events", "pool": {"max": 64, "maxRuns": 1000000}},
    "pool-sandbox": {"executor": "pool", "command": ["/bin/sh", "-c", WORKER], "protocol": "events", "pool": {"base": "sandbox", "max": 64, "maxRuns": 1000000}},
}
EXECUTORS = {"process": "process", "sandbox": "sandbox", "pool": "pool,process", "pool-sandbox": "pool,sandbox"}
TARGET_US = {"process": 3000, "sandbox": 20000, "pool": 1000, "pool-sandbox": 1000}


def start_times(s, agent, samples, warm=5):
    """Microseconds of each of so many starts, one after the other."""
    seen = {}
    path = s.runners[0].log
    s.call("PUT", "/v1/agents/start", agent)
    for i in range(samples + warm):
        run = s.call("POST", "/v1/runs", {"agent": "start"})["runId"]
        record = s.get(f"/v1/runs/{run}?wait=30")
        if record["status"] != "success":
            raise Failed(f"a no-op run ended as {record['status']}: {record.get('error')}")
        if i >= warm:
            seen[run] = None
        time.sleep(0.005)
    with open(path, encoding="utf-8") as f:
        for line in f:
            if '"attempt started"' in line and (found := re.search(r"\{.*\}", line)):
                entry = json.loads(found.group(0))
                if entry["runId"] in seen:
                    seen[entry["runId"]] = entry["us"]
    return sorted(v for v in seen.values() if v is not None)


def noop_rate(s, agent, count):
    s.call("PUT", "/v1/agents/start", agent)
    began, ids = time.monotonic(), []
    for at in range(0, count, 500):
        ids += [r["runId"] for r in s.call("POST", "/v1/runs/batch", {"runs": [{"agent": "start"}] * min(500, count - at)})["results"]]
    for run in ids:
        record = s.get(f"/v1/runs/{run}?wait=60")
        if record["status"] != "success":
            raise Failed(f"a no-op run ended as {record['status']}: {record.get('error')}")
    return count / (time.monotonic() - began)


def bench_start(quick):
    """Each executor that this machine has."""
    samples, runs = (10, 20) if quick else (SAMPLES, RUNS)
    for name, agent in AGENTS.items():
        try:
            s = System(slots=16, executors=EXECUTORS[name], log_level="debug")
        except Failed as why:
            skipped(f"start-{name}", str(why))
            continue
        with s:
            alone = limits.calls(s, b"".join(pack("SET", f"key:{i}", "x") for i in range(samples * 50)), depth=1)
            plain = start_times(s, agent, samples)
            more = {}
            if "memory_limit" in s.get("/v1/runners")["runners"][0]["capabilities"].get(agent["executor"], []):
                limited = start_times(s, {**agent, "resources": {"memoryMb": 256, "cpus": 1, "pids": 64}}, samples // 4)
                more = {"medianLimitedUs": statistics.median(limited)}
            figure(f"start-{name}", statistics.median(plain), "us (median)", alone["wallUs"], "us, one SET", must=f"<= {TARGET_US[name]}", judge="value", p99Us=plain[int(len(plain) * 0.99)], samples=len(plain), **more)
            figure(f"start-rate-{name}", noop_rate(s, agent, runs), "runs/s", runs=runs)


FIGURES = {"start": bench_start}
