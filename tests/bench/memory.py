"""`idle`: what things take while nothing happens: a reader (10,000 of them over two API nodes), a waiting run in Redis, a run in flight, a node."""
import os
import resource
import socket
import time

import limits
import load
from report import figure
from scripts import SMALL, new_id, pack
from system import KEY, Failed, System, end, private_bytes, spawn, wait_for

READER_BYTES, QUEUED_BYTES, NODE_MB, FLIGHT_BYTES = 2048, 1229, 12, 65536
SLEEP = {"executor": "process", "command": ["/bin/sleep", "600"], "protocol": "text", "graceMs": 100}


def settled(pids, seconds=8):
    """Private bytes of processes, once what a burst needed went back to the system."""
    held = [None, sum(map(private_bytes, pids))]
    until = time.monotonic() + (0.2 if SMALL else seconds)
    while held[-1] != held[-2] and time.monotonic() < until:
        time.sleep(0.1 if SMALL else 1)
        held.append(sum(map(private_bytes, pids)))
    return held[-1]


def connect_readers(s, run, count):
    request = f"GET /v1/runs/{run}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    readers = []
    for i in range(count):
        c = socket.create_connection(("127.0.0.1", s.ports[i % len(s.ports)]), timeout=20)
        c.sendall(request)
        readers.append(c)
    for c in readers:
        got = b""
        while b"event: runtime_started" not in got:
            more = c.recv(65536)
            if not more:
                raise Failed("a reader's stream ended")
            got += more
    return readers


def bare_server(s, count):
    """Private bytes of a bare epoll program that nobody has connected to, and for each of so many connections."""
    port_file = os.path.join(s.dir, "bare")
    p = spawn([limits.LIMIT[0], "frames", port_file, str(count + 1), s.file(b""), "0"])
    try:
        port = int(wait_for(lambda: os.path.exists(port_file) and open(port_file).read(), "the bare program"))
        before = private_bytes(p.pid)
        connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
        until = time.monotonic() + 1
        while (held := private_bytes(p.pid)) < before + 16 * count and time.monotonic() < until:
            time.sleep(0.05)
        for c in connections:
            c.close()
        return before, (held - before) / count
    finally:
        end(p)


def bare_hash(s, size, n):
    """Redis' bytes for a hash that holds nothing but a run's input."""
    before = s.redis.used()
    s.redis.client.many([pack("HSET", "raw:" + new_id(), "input", "x" * size) for _ in range(n)])
    return (s.redis.used() - before) / n


def idle_readers(quick):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(60 if quick else 10000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with System(apis=2) as s:
        bare, bare_reader = bare_server(s, min(count, 5000))
        figure("idle-api-node", max(settled([p.pid]) for p in s.apis) / 1e6, "MB private", bare / 1e6, "MB, a bare program", must=f"<= {NODE_MB}", judge="value")
        figure("idle-runner-node", settled([s.runners[0].pid]) / 1e6, "MB private", bare / 1e6, "MB, a bare program", must=f"<= {NODE_MB}", judge="value")
        run = s.call("POST", "/v1/runs", {"agent": SLEEP})["runId"]
        wait_for(lambda: s.get(f"/v1/runs/{run}")["status"] == "running", "the idle run")
        for c in connect_readers(s, run, 2 * 20):  # what the first one needs is no reader's
            c.close()
        pids = [p.pid for p in s.apis]
        before = settled(pids)
        readers = connect_readers(s, run, count)
        held = settled(pids)
        figure("idle-reader", (held - before) / count, "bytes private of node a reader", bare_reader, "bytes, a bare program's", must=f"<= {READER_BYTES}", judge="value", readers=count, nodes=2, nodeMb=round(held / 2e6, 1))
        for c in readers:
            c.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def waiting(s):
    return sum(q["waiting"] for q in s.get("/v1/queues")["queues"])


def queued_runs(quick):
    """Redis' bytes a waiting run: with an input of 300 bytes, and without one."""
    n = 500 if quick else 20000
    with System(runners=0) as s:
        s.call("PUT", "/v1/agents/noop", {"executor": "noop"})
        for name, size in (("300-bytes", 300), ("no-input", 0)):
            load.bench(s, "submit", "--connections", 64, "--requests", 200, "--agent", "noop", "--queue", "parked", "--bytes", size)
            bare = bare_hash(s, size, n)
            before, waited = s.redis.used(), waiting(s)
            load.bench(s, "submit", "--connections", 64, "--requests", n, "--agent", "noop", "--queue", "parked", "--bytes", size)
            more = waiting(s) - waited  # with those that the client warms up with
            figure(f"idle-queued-run-{name}", (s.redis.used() - before) / more, "bytes of Redis a run", bare, "bytes, a hash with the input", must=f"<= {QUEUED_BYTES}", judge="value", runs=more)
        figure("idle-api-node-after-load", settled([s.apis[0].pid]) / 1e6, "MB private", must=f"<= {NODE_MB}", judge="value")


def runs_in_flight(quick):
    """The runner's bytes, and Redis', for each of many sleeping agents."""
    n = 20 if quick else 500
    with System(slots=n) as s:
        s.call("PUT", "/v1/agents/sleep", SLEEP)
        before, redis = private_bytes(s.runners[0].pid), s.redis.used()
        for at in range(0, n, 250):
            s.call("POST", "/v1/runs/batch", {"runs": [{"agent": "sleep"}] * min(250, n - at)})
        wait_for(lambda: sum(q["running"] for q in s.get("/v1/queues")["queues"]) == n, "all to run", 40, 0.1)
        wait_for(lambda: s.get("/v1/runs?status=provisioning&limit=1")["runs"] == [], "the last one to run", 40, 0.1)
        held = settled([s.runners[0].pid], 4)
        figure("idle-run-in-flight", (held - before) / n, "bytes private of the runner a run", must=f"<= {FLIGHT_BYTES}", judge="value", runs=n, redisBytes=round((s.redis.used() - redis) / n), runnerMb=round(held / 1e6, 1))


def bench_idle(quick):
    idle_readers(quick)
    queued_runs(quick)
    runs_in_flight(quick)


FIGURES = {"idle": bench_idle}
