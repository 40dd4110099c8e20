"""`recovery`: how long until all goes on after a kill -9: of a runner with runs, of Redis, of an API node with readers."""
import re
import selectors
import socket
import time

import load
from fanout import PACE_MS, Paced
from report import figure
from system import KEY, Failed, System, wait_for

LEASE_S = 10
HELD = 16


def kill(p):
    p.kill()
    p.wait()


def runner_dies(quick):
    """Until runs of a runner that was killed are executed by another one."""
    with System(slots=HELD) as s:
        s.call("PUT", "/v1/agents/sleep", {"executor": "process", "command": ["/bin/sleep", "600"], "protocol": "text", "graceMs": 100})
        runs = [s.call("POST", "/v1/runs", {"agent": "sleep"})["runId"] for _ in range(HELD)]
        key = "errand:{0}:run:"
        wait_for(lambda: all(s.redis.do("HGET", key + run, "status") == b"running" for run in runs), "the runs", pause=0.05)
        s.add_runner(HELD)
        s.redis.do("HSET", "errand:{0}:reap", "until", 0)  # as if the nodes had looked for longer than a lease: before that nobody is taken for dead
        kill(s.runners.pop(0))
        began = time.monotonic()
        times = []
        for run in runs:
            wait_for(lambda: s.redis.do("HMGET", key + run, "status", "attempt") == [b"running", b"2"], "the runs to be executed again", 40, 0.01)
            times.append(time.monotonic() - began)
        figure("recovery-runner", times[-1], "s until all its runs are executed again", LEASE_S, "s, a lease", runs=HELD, first=round(times[0], 3))


def redis_dies(quick):
    """Until a submit is accepted after a restart; beside the time that Redis takes to load its file."""
    with System(runners=0) as s:
        s.call("PUT", "/v1/agents/noop", {"executor": "noop"})
        load.bench(s, "submit", "--connections", 64, "--requests", 500 if quick else 20000, "--agent", "noop", "--queue", "parked")
        kill(s.redis.process)
        began = time.monotonic()
        s.redis.start()
        loaded = time.monotonic() - began
        submit = {"agent": "noop", "queue": "parked"}
        wait_for(lambda: s.call("POST", "/v1/runs", submit, raw=True) == 202, "an accepted submit", 40, 0.005)
        figure("recovery-redis", time.monotonic() - began, "s from Redis' start to a submit", loaded, "s, Redis loads its file", behindLoadMs=round(1000 * (time.monotonic() - began - loaded)))


class Following:
    """A reader that goes on at another node where its own one is gone."""

    def __init__(self, ports, run):
        self.ports, self.run, self.last, self.seen, self.tail = list(ports), run, "", 0, b""
        self.gaps = 0
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.ports[0]), timeout=20)
        last = f"Last-Event-ID: {self.last}\r\n" if self.last else ""
        self.socket.sendall(f"GET /v1/runs/{self.run}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{last}\r\n".encode())
        self.socket.setblocking(False)
        self.tail = b""

    def read(self):
        """Takes what came; False where the connection is over."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        text = self.tail + data
        at = text.rfind(b"\n") + 1
        self.tail = text[at:]
        for found in re.finditer(rb"^id: (\d+)\r?$", text[:at], re.M):
            if self.last and int(found.group(1)) != int(self.last) + 1:
                self.gaps += 1
            self.last = found.group(1).decode()
            self.seen += 1
        return True


def turn(watch, of, moved):
    for key, _ in watch.select(0.05):
        reader = key.data
        if not reader.read():
            watch.unregister(reader.socket)
            reader.socket.close()
            reader.ports.append(reader.ports.pop(0))
            reader.connect()
            watch.register(reader.socket, selectors.EVENT_READ, reader)
            moved[reader] = reader.seen


def api_dies(quick):
    """Until each of 100 readers of a node that was killed has its next event from another one."""
    readers = 10 if quick else 100
    with System(apis=2) as s:
        paced = Paced(s, 1500)
        watch, moved = selectors.DefaultSelector(), {}
        all_readers = [Following(s.ports, paced.run) for _ in range(readers)]
        for reader in all_readers:
            watch.register(reader.socket, selectors.EVENT_READ, reader)
        paced.go()
        end = time.monotonic() + 20
        while min(r.seen for r in all_readers) < 20 and time.monotonic() < end:
            turn(watch, all_readers, moved)
        kill(s.apis.pop(0))
        s.ports.pop(0)
        began = time.monotonic()
        while not (len(moved) == readers and all(r.seen > moved[r] for r in all_readers)):
            if time.monotonic() > began + 20:
                raise Failed("readers do not go on")
            turn(watch, all_readers, moved)
        took = time.monotonic() - began
        figure("recovery-api", took, "s until all readers read on", PACE_MS / 1000, "s, the pace of the events", must="<= 0", judge="gaps", gaps=sum(r.gaps for r in all_readers), readers=readers)
        for reader in all_readers:
            reader.socket.close()


def bench_recovery(quick):
    redis_dies(quick)
    api_dies(quick)
    runner_dies(quick)


FIGURES = {"recovery": bench_recovery}
