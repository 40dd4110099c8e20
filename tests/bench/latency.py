"""`latency`: from submit to what a reader first sees of the run, with the executors pool and process; idle, and beside no-op runs at half of the rate that was measured just before."""
import http.client
import json
import os
import statistics
import threading
import time

import load
from alone import Alone
from report import figure
from system import KEY, System, wait_for

BOUNDS = {"pool": (3.0, 10.0), "process": (8.0, None)}  # milliseconds: median, 99th percentile; idle


class Background(threading.Thread):
    """No-op runs at a steady rate, in batches every 20 ms."""

    def __init__(self, s, rate):
        super().__init__(daemon=True)
        self.system, self.size, self.over, self.sent = s, max(1, round(rate / 50)), threading.Event(), 0

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.system.port, timeout=20)
        body = json.dumps({"runs": [{"agent": "background"}] * self.size})
        at = self.began = time.monotonic()
        while not self.over.is_set():
            c.request("POST", "/v1/runs/batch", body, {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"})
            c.getresponse().read()
            self.sent += self.size
            at += 0.02
            time.sleep(max(0, at - time.monotonic()))
        self.rate = self.sent / (time.monotonic() - self.began)
        c.close()

    def stop(self):
        self.over.set()
        self.join(10)
        return self.rate


def spawned_ms(n):
    """Milliseconds that a process takes which does nothing, from its start to its end."""
    began = time.monotonic()
    for _ in range(n):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return 1000 * (time.monotonic() - began) / n


def tell(name, results, limit, limit_unit, bounds, **more):
    """Median and 99th percentile of submit to first event, and of submit to the agent's own first one."""
    middle = sorted(results, key=lambda r: r["p50Us"])[(len(results) - 1) // 2]
    median, high = bounds
    ms = [r["p50Us"] / 1000 for r in results]
    fields = {name: round(middle[key] / 1000, 3) for name, key in (("agentP50Ms", "agentP50Us"), ("agentP99Ms", "agentP99Us")) if key in middle}
    figure(name, statistics.median(ms), "ms, submit to first event (median)", limit, limit_unit, values=ms, **({"must": f"<= {median}", "judge": "value"} if median else {}), p99Ms=middle["p99Us"] / 1000, samples=middle["requests"], **fields,
           **load.client_of(middle), **more)
    if high:
        values = [r["p99Us"] / 1000 for r in results]
        figure(name + "-p99", statistics.median(values), "ms, submit to first event (99 of 100)", limit, limit_unit, must=f"<= {high}", judge="value", values=values, samples=middle["requests"])


def bench_latency(quick):
    n, rounds = (5, 1) if quick else (300, 3)
    with System(runners=0) as s:
        alone = Alone(s, lambda: s.add_runner(64, "noop,process,pool"))
        s.call("PUT", "/v1/agents/background", {"executor": "noop"})
        steps = alone.lives(32 if quick else 256, 1, 1)
        scripts_ms = sum(steps[name]["wallUs"] for name in ("submit", "claim", "started") if name in steps) / 1000
        beside = {"pool": (scripts_ms, "ms, submit, claim and started alone"), "process": (scripts_ms + spawned_ms(20 if quick else 100), "ms, these, and /bin/true")}
        alone.close()
        options = ["--connections", 1, "--requests", n]
        for executor, bounds in BOUNDS.items():
            load.bench(s, "latency", "--executor", executor, "--connections", 1, "--requests", 2 if quick else 10)
            tell(f"latency-{executor}", [load.bench(s, "latency", "--executor", executor, *options) for _ in range(rounds)], *beside[executor], bounds)
        peak = load.bench(s, "noop", "--executor", "noop", "--requests", 200 if quick else 6000, "--sample")["value"]
        for executor in BOUNDS:
            background = Background(s, peak / 2)
            background.start()
            time.sleep(0.3)
            results = [load.bench(s, "latency", "--executor", executor, *options) for _ in range(rounds)]
            rate = background.stop()
            tell(f"latency-{executor}-half-load", results, *beside[executor], (None, None), noopRunsPerSecond=round(rate), peak=round(peak))
            wait_for(lambda: all(q["waiting"] + q["running"] == 0 for q in s.get("/v1/queues")["queues"] if q["name"] == "default"), "the background's end", 20, 0.02)


FIGURES = {"latency": bench_latency}
