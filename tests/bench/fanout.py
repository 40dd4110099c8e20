"""`fanout`: one run's events to many readers, live. Frames a second, as fast as it goes; and at a pace at which each event is a write of its own, processor time a frame beside that of a bare epoll program that
writes the same bytes in the same pieces to the same number of sockets (limit.c), read by the same client."""
import json
import os
import socket
import statistics
import struct
import subprocess
import time

import limits
import load
from report import figure
from system import Failed, System, Usage, end, private_bytes, spawn, wait_for

PACE_MS = 20
AGENT = """import os, sys, time
while not os.path.exists(os.environ['GO']): time.sleep(0.005)
at = time.monotonic()
for i in range(int(os.environ['EVENTS'])):
    sys.stdout.write('{"kind":"assistant_text","data":{"text":"%0100d"}}\\n' % i)
    sys.stdout.flush()
    at += PACE_MS / 1000
    time.sleep(max(0, at - time.monotonic()))
""".replace("PACE_MS", str(PACE_MS))


class Paced:
    """A run that waits for go(), and then prints so many events, one each PACE_MS."""

    def __init__(self, s, events):
        self.system, self.go_file = s, os.path.join(s.dir, f"go{s.serial}")
        s.serial += 1
        s.call("PUT", "/v1/agents/paced", {"executor": "process", "protocol": "events", "command": ["/usr/bin/python3", "-S", "-c", AGENT]})
        self.run = s.call("POST", "/v1/runs", {"agent": "paced", "env": {"GO": self.go_file, "EVENTS": str(events)}})["runId"]
        wait_for(lambda: s.get(f"/v1/runs/{self.run}")["status"] == "running", "the run", pause=0.01)
        self.request = load.request(s, "GET", f"/v1/runs/{self.run}/stream")

    def go(self):
        open(self.go_file, "w").close()


def recorded(s, events):
    """What one reader gets of such a run, as it comes: [what stood before the events, piece…]."""
    paced = Paced(s, events)
    c = socket.create_connection(("127.0.0.1", s.port))
    c.settimeout(20)
    with open(paced.request, "rb") as f:
        c.sendall(f.read())
    head = b""
    while b"event: runtime_started" not in head:
        head += c.recv(1 << 20)
    c.settimeout(0.3)
    try:
        head += c.recv(1 << 20)
    except TimeoutError:
        c.settimeout(20)
    paced.go()
    pieces = [head]
    while more := c.recv(1 << 20):
        pieces.append(more)
    c.close()
    return pieces


def reading(s, ports, readers, request):
    return spawn([limits.LIMIT[0], "read", ",".join(map(str, ports)), str(readers), request], stdout=subprocess.PIPE, text=True)


def read_result(p, seconds=60):
    try:
        out = p.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        raise Failed("the readers came to no end")
    finally:
        end(p)
    if p.returncode != 0:
        raise Failed("the readers failed")
    return json.loads(out)


def bare(s, pieces, readers, pace_us):
    """The bare program's {"frames" (writes), "seconds", "cpuUs"}."""
    path = s.file(b"".join(struct.pack("<I", len(piece)) + piece for piece in pieces), "pieces")
    port_file = os.path.join(s.dir, f"bare{s.serial}")
    p = spawn([limits.LIMIT[0], "frames", port_file, str(readers), path, str(pace_us)], stdout=subprocess.PIPE, text=True)
    try:
        port = int(wait_for(lambda: os.path.exists(port_file) and open(port_file).read(), "the bare program"))
        r = read_result(reading(s, [port], readers, load.request(s, "GET", "/")))
        out = json.loads(p.communicate(timeout=20)[0])
    finally:
        end(p)
    if r["least"] != r["most"]:
        raise Failed(f"the bare program's readers got {r['least']} to {r['most']} bytes")
    return out


def paced_cost(s, events, readers):
    """Processor µs of the API node for a frame, whether each reader got the same, and what else it took."""
    paced = Paced(s, events)
    p = reading(s, s.ports, readers, paced.request)
    wait_for(lambda: sum(s.metric("errand_stream_readers", port) for port in s.ports) >= readers, "the readers", pause=0.05)
    time.sleep(0.2)
    with Usage(s) as u:
        paced.go()
        r = read_result(p)
    if r["least"] != r["most"]:
        raise Failed(f"readers got {r['least']} to {r['most']} bytes")
    return u.per(events * readers)


def bench_paced(quick):
    events, rounds = (20, 1) if quick else (100, 3)
    readers = 20 if quick else 1000
    with System() as s:
        pieces = recorded(s, events)
        costs, raws, uses = [], [], []
        for _ in range(rounds):
            uses.append(paced_cost(s, events, readers))
            costs.append(uses[-1]["cpuUs"]["api"])
            raw = bare(s, pieces, readers, 1000 * PACE_MS)
            raws.append(raw["cpuUs"] / (events * readers))
        middle = costs.index(statistics.median_low(costs))
        figure("fanout-1000-cpu", statistics.median(costs), "us of an API node a frame", statistics.median(raws), "us, a bare program's write", must="<= 1.3", values=costs, readers=readers, pieces=len(pieces) - 1,
               paceMs=PACE_MS, **uses[middle])


def bench_fanout(quick):
    bench_paced(quick)
    for size, events, nodes in ((1, 50000, 1), (100, 5000, 1), (1000, 500, 1), (10000, 50, 2)):
        readers = size
        if quick:
            readers, events = max(1, size // 100), max(20, events // 100)
        with System(apis=nodes) as s:
            rates, results, uses = [], [], []
            for _ in range(1 if quick else 2 if size == 10000 else 3):
                with Usage(s) as u:
                    results.append(load.bench(s, "fanout", "--readers", readers, "--events", events, "--bytes", 100))
                rates.append(results[-1]["value"])
                uses.append(u.per(results[-1]["operations"]))
            middle = rates.index(statistics.median_low(rates))
            raw = bare_rate(s, events, readers)
            memory = max(private_bytes(p.pid) for p in s.apis)
            gaps = sum(r.get("failed", 0) for r in results)
            more = {"must": "<= 0", "judge": "lost"} if nodes > 1 else {}
            figure(f"fanout-{size}" + (f"-{nodes}-nodes" if nodes > 1 else ""), statistics.median(rates), "frames/s", raw, "frames/s, a bare program", values=rates, readers=readers, events=events, lost=gaps, **more,
                   **{k: results[middle][k] for k in ("p50Us", "p99Us") if k in results[middle]}, **uses[middle], **load.client_of(results[middle]), nodeMb=round(memory / 1e6, 1))


def bare_rate(s, events, readers):
    """Frames a second of the bare program where it writes a batch of 256 events at a time, as a node does that is in a hurry."""
    frame = b'id: 1234567\nevent: assistant_text\ndata: {"seq":1234567,"tMs":1795294000868,"kind":"assistant_text","data":{"text":"' + b"x" * 100 + b'"}}\n\n'
    pieces = [b"HTTP/1.1 200 OK\r\n\r\n"] + [frame * min(256, events - i) for i in range(0, events, 256)]
    r = bare(s, pieces, readers, 0)
    return events * readers / r["seconds"]


FIGURES = {"fanout": bench_fanout}
