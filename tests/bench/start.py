"""`./dev bench start`: what a start costs with each executor that runs commands here, and what runs in flight cost their runner. On an idle machine: the figures of a busy one say nothing.

- start-EXECUTOR: microseconds from a claim to runtime_started, one run after the other, as the runner itself took them (its debug log); beside it the same with limits (control groups of version 1 cost a grace period of the kernel's).
- noop-EXECUTOR: no-op runs a second of one runner, from the first submit to the last end.
- in-flight-memory: private bytes of the runner for each of 1,000 sleeping agents.
"""
import json
import os
import re
import statistics
import time

SAMPLES, RUNS, IN_FLIGHT = 200, 1000, 1000
WORKER = """while echo '{"kind":"notification","data":{"type":"worker_ready"}}'; read -r job; do echo '{"kind":"runtime_terminal","data":{"status":"success"}}'; done"""
AGENTS = {
    "process": {"executor": "process", "command": ["/bin/true"], "protocol": "text"},
    "sandbox": {"executor": "sandbox", "command": ["/bin/true"], "protocol": "text"},
    "pool": {"executor": "pool", "command": ["/bin/sh", "-c", WORKER], "protocol": "events", "pool": {"max": 64, "maxRuns": 1000000}},
    "pool-sandbox": {"executor": "pool", "command": ["/bin/sh", "-c", WORKER], "protocol": "events", "pool": {"base": "sandbox", "max": 64, "maxRuns": 1000000}},
}
EXECUTORS = {"process": "process", "sandbox": "sandbox", "pool": "pool,process", "pool-sandbox": "pool,sandbox"}
TARGET_US = {"process": 3000, "sandbox": 20000, "pool": 1000, "pool-sandbox": 1000}
TARGET_BYTES = 65536


def start_times(s, agent, samples, warm=5):
    """Microseconds of each of so many starts, one after the other."""
    seen = {}
    path = os.path.join(s.dir.name, f"log{s.processes.index(s.runner)}")
    s.call("PUT", "/v1/agents/start", agent)
    for i in range(samples + warm):
        run = s.call("POST", "/v1/runs", {"agent": "start"})["runId"]
        record = s.get(f"/v1/runs/{run}?wait=30")
        if record["status"] != "success":
            raise SystemExit(f"bench: a no-op run ended as {record['status']}: {record.get('error')}")
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
    for _ in range(count // 500):
        ids += [r["runId"] for r in s.call("POST", "/v1/runs/batch", {"runs": [{"agent": "start"}] * 500})["results"]]
    for run in ids:
        record = s.get(f"/v1/runs/{run}?wait=60")
        if record["status"] != "success":
            raise SystemExit(f"bench: a no-op run ended as {record['status']}: {record.get('error')}")
    return count / (time.monotonic() - began)


def bench_start(system, figure):
    """system(executors, slots): a running System, or why there is none."""
    for name, agent in AGENTS.items():
        s = system(EXECUTORS[name], 16)
        if isinstance(s, str):
            print(json.dumps({"name": f"start-{name}", "skipped": s}), flush=True)
            continue
        try:
            raw_us = 1e6 / max(1.0, s.raw_figure(["SET", "key:__rand_int__", "x"], 20000, 1, 1))
            plain = start_times(s, agent, SAMPLES)
            more = {}
            if "memory_limit" in s.get("/v1/runners")["runners"][0]["capabilities"].get(agent["executor"], []):
                limited = start_times(s, {**agent, "resources": {"memoryMb": 256, "cpus": 1, "pids": 64}}, SAMPLES // 4)
                more = {"medianLimitedUs": statistics.median(limited)}
            figure(f"start-{name}", statistics.median(plain), "us (median)", raw_us, "us, one SET", p99Us=plain[int(len(plain) * 0.99)], samples=len(plain), targetUs=TARGET_US[name], **more)
            raw = s.raw_figure(["SET", "key:__rand_int__", "x"], 200000, 64, 1)
            figure(f"noop-{name}", noop_rate(s, agent, RUNS), "runs/s", raw, "SET/s, 64 clients", runs=RUNS)
        finally:
            s.close()


def bench_in_flight(system, figure, private_bytes, wait_for):
    """Agents that sleep; the runner's memory before them and with them."""
    s = system("process", 1024)
    try:
        before = private_bytes(s.runner.pid)
        s.call("PUT", "/v1/agents/sleep", {"executor": "process", "command": ["/bin/sleep", "600"], "protocol": "events", "graceMs": 100})
        ids = []
        for _ in range(IN_FLIGHT // 500):
            ids += [r["runId"] for r in s.call("POST", "/v1/runs/batch", {"runs": [{"agent": "sleep"}] * 500})["results"]]
        wait_for(lambda: s.get("/v1/runners")["runners"][0]["busy"] == IN_FLIGHT, "all to be claimed", 60)
        wait_for(lambda: s.get(f"/v1/runs/{ids[-1]}")["status"] == "running", "the last to run", 120)
        for run in ids:
            wait_for(lambda: s.get(f"/v1/runs/{run}")["status"] == "running", "each to run", 60)
        time.sleep(2)  # what their starts needed goes back to the system
        each = (private_bytes(s.runner.pid) - before) / IN_FLIGHT
        figure("in-flight-memory", each, "bytes private a run", 0, "", runs=IN_FLIGHT, targetBytes=TARGET_BYTES)
        for run in ids:
            s.call("POST", f"/v1/runs/{run}/stop")
        wait_for(lambda: s.get("/v1/runners")["runners"][0]["busy"] == 0, "their end", 120)
    finally:
        s.close()
