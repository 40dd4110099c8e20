"""The hot operations of Errand, each as something that can be done n times, and a small private system to do them in: a redis-server, two API nodes and a runner of the Release build.

What is watched may run under a tool (`wrap`); the second API node is there for what is only preparation. tests/bench/profiled.py looks at where time goes, tests/bench/counted.py counts instructions.
"""
import json
import os
import shutil
import socket
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness.http_client import Connection, encode  # noqa: E402
from harness.nodes import Stack  # noqa: E402
from harness.processes import Process  # noqa: E402
from harness.redis_server import RedisServer  # noqa: E402
from harness.wait import wait_until  # noqa: E402

INPUT = {"text": "x" * 289}  # 300 bytes
TEXT = "x" * 120
BATCH, READERS, STORED = 100, 50, 1024


class Skipped(Exception):
    """What can't be done with this build or on this machine."""


class WatchedRedis(RedisServer):
    """A redis-server that may run under a tool."""

    def __init__(self, folder, wrap):
        super().__init__(folder, fsync="no")  # how often a disk is asked is no matter of instructions
        self.wrap = wrap

    def start(self):
        command = [*self.wrap, "redis-server"]
        for name, value in self.options.items():
            command += [f"--{name}", str(value)]
        self.process = Process("redis", command, os.path.join(self.folder, "redis.log"), {"PATH": os.environ["PATH"], "LC_ALL": "C"})
        wait_until(self._ready, 60, "redis-server answers PING")
        return self


class WatchedStack(Stack):
    """A stack whose programs may run under a tool: `wrap_next` is for the next one that starts."""

    wrap_next = ()

    def start(self, program, args=(), env=None, build=None):
        wrap, self.wrap_next = self.wrap_next, ()
        if not wrap:
            return super().start(program, args, env, build)
        self._serial += 1
        name = f"{program}-{self._serial}"
        command = [*wrap, os.path.join(build or os.path.join(ROOT, "build"), program), *args]
        self.processes.append(Process(name, command, os.path.join(self.folder, f"{name}.log"), self.environment(env, program), self.folder))
        return self.processes[-1]


class System:
    """`wrap`: {"api" | "runner" | "redis": words before the program}. `api` is the node that is looked at, `other` the one that prepares; `pids` are those of what is looked at."""

    def __init__(self, wrap=None):
        wrap = wrap or {}
        self.folder = tempfile.mkdtemp(prefix="errand-hot-", dir="/tmp")
        self.stack = None
        os.environ["ERRAND_BUILD"] = os.path.join(ROOT, "build")
        try:
            self.redis = WatchedRedis(self.folder, wrap.get("redis", ()))
            self.redis.start()
            self.stack = WatchedStack(self.folder, self.redis, "root")
            quiet = {"ERRAND_LOG_LEVEL": "warn"}
            self.other = self.stack.api(env=quiet)
            self.stack.wrap_next = wrap.get("api", ())
            self.api = self.stack.api(env=quiet)
            self.noop = True
            try:
                self.stack.wrap_next = wrap.get("runner", ())
                self.runner = self.stack.runner(api=self.other, slots=64, env={**quiet, "ERRAND_EXECUTORS": "process,noop"})
            except AssertionError:
                self.noop = False
                self.stack.wrap_next = wrap.get("runner", ())
                self.runner = self.stack.runner(api=self.other, slots=64, env=quiet)
        except BaseException:
            self.close()
            raise
        self.pids = {"api": self.api.process.pid, "runner": self.runner.process.pid, "redis": self.redis.process.pid}

    def close(self):
        try:
            if self.stack is not None:
                self.stack.stop()
        finally:
            if self.redis.process is not None:
                self.redis.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, name, **definition):
        answer = self.other.request("PUT", f"/v1/agents/{name}", definition)
        assert answer.status in (200, 201), answer

    def ended(self, run):
        """Waits for a run's end, at the node that only prepares."""
        while True:
            record = self.other.request("GET", f"/v1/runs/{run}?wait=60").json()
            if record["status"] in ("success", "error", "stopped"):
                assert record["status"] == "success", record
                return

    def request(self, method, path, body=None, key=None):
        return encode(method, path, body, {"Authorization": f"Bearer {key or self.stack.root_key}"})


class Operation:
    """`what` is counted once for each of run(n). `where`: the processes whose instructions say something. `small` and `large`: how many are done to count, quickly and thoroughly."""

    what, where, small, large, warm, at_once = "operation", ("api",), 100, 400, 10, 1

    def __init__(self, system):
        self.s = system
        self.prepare()

    def prepare(self):
        pass

    def done(self):
        pass

    def lines(self, n):
        """n keep-alive connections to the node that is looked at."""
        return [Connection(self.s.api.port, 120) for _ in range(n)]

    def send(self, connections, request, n, status=202):
        """n times the same request, one under way on each connection."""
        left = n
        while left > 0:
            used = connections[:left]
            for c in used:
                c.send(request)
            for c in used:
                answer = c.read_response()
                assert answer.status == status, answer
            left -= len(used)


class Submit(Operation):
    """Runs, one a request, for a queue nobody serves."""

    what, where = "run", ("api", "redis")

    def prepare(self):
        self.s.put("parked", executor="process", command=["/bin/true"], protocol="text")
        self.request = self.s.request("POST", "/v1/runs", {"agent": "parked", "queue": "parked", "input": INPUT})
        self.connections = self.lines(self.at_once)

    def run(self, n):
        self.send(self.connections, self.request, n)


class Submit64(Submit):
    """The same with 64 requests in flight."""

    at_once, where = 64, ()


class Batch(Operation):
    """The same in batches of 100."""

    what, where, small, large, warm = "run", ("api", "redis"), 200, 800, 100

    def prepare(self):
        self.s.put("parked", executor="process", command=["/bin/true"], protocol="text")
        self.request = self.s.request("POST", "/v1/runs/batch", {"runs": [{"agent": "parked", "queue": "parked", "input": INPUT}] * BATCH})
        self.connections = self.lines(1)

    def run(self, n):
        assert n % BATCH == 0
        self.send(self.connections, self.request, n // BATCH, 200)


class Noop(Operation):
    """Runs from their submit to their end in the runner, without a process; one after the other."""

    what, where, small, large = "run", ("runner", "redis"), 60, 200
    agent = {"executor": "noop"}

    def prepare(self):
        if not self.s.noop:
            raise Skipped("this build's runner has no executor noop")
        self.s.put("noop", **self.agent)

    def run(self, n):
        for _ in range(n):
            answer = self.s.other.request("POST", "/v1/runs", {"agent": "noop", "input": INPUT})
            assert answer.status == 202, answer
            self.s.ended(answer.json()["runId"])


class Claim(Noop):
    """Runs that wait in a queue, claimed 64 at a time."""

    where, small, large, warm = (), 512, 2048, 64

    def run(self, n):
        ids = []
        for first in range(0, n, 512):
            answer = self.s.other.request("POST", "/v1/runs/batch", {"runs": [{"agent": "noop", "input": INPUT}] * min(512, n - first)})
            ids += [r["runId"] for r in answer.json()["results"]]
        for run in ids:
            self.s.ended(run)


class Process1(Noop):
    """Runs of /bin/true, one after the other."""

    where, small, large, warm = ("runner",), 20, 60, 3
    agent = {"executor": "process", "command": ["/bin/true"], "protocol": "text"}

    def prepare(self):
        self.s.put("noop", **self.agent)


class Ingress(Operation):
    """Events that a remote agent posts, so many a request."""

    what, where, each = "event", ("api", "redis"), 1

    def prepare(self):
        self.node = self.s.api
        self.run_id, self.token, self.seq = self.remote()
        self.connection = Connection(self.node.port, 120)

    def remote(self):
        """A running remote run, its token and its next seq."""
        out = os.path.join(self.s.folder, f"token{time.monotonic_ns()}")
        self.s.put("remote", executor="process", protocol="text", eventSource="remote", graceMs=100,
                   command=["/bin/sh", "-c", 'echo "$ERRAND_RUNNER_TOKEN" > "$OUT.tmp"; mv "$OUT.tmp" "$OUT"; exec sleep 600'])
        run = self.s.other.request("POST", "/v1/runs", {"agent": "remote", "env": {"OUT": out}}).json()["runId"]
        wait_until(lambda: os.path.exists(out), 60, "the remote agent runs")
        with open(out, encoding="ascii") as f:
            token = f.read().strip()
        answer = self.s.other.request("GET", f"/v1/runs/{run}/runner/manifest", headers={"Authorization": "Bearer " + token})
        return run, token, answer.json()["nextSeq"]

    def post(self, count):
        """One request with so many events."""
        now = int(time.time() * 1000)
        events = [{"seq": self.seq + i, "tMs": now, "kind": "assistant_text", "data": {"text": TEXT}} for i in range(count)]
        self.seq += count
        self.connection.send(self.s.request("POST", f"/v1/runs/{self.run_id}/runner/events", {"v": 1, "runId": self.run_id, "events": events}, self.token))
        answer = self.connection.read_response()
        assert answer.status == 202, answer

    def run(self, n):
        assert n % self.each == 0
        for _ in range(n // self.each):
            self.post(self.each)

    def done(self):
        self.s.other.request("POST", f"/v1/runs/{self.run_id}/stop")


class Ingress256(Ingress):
    """The same, 256 events a request."""

    each, small, large, warm = 256, 1024, 12288, 256


class RunnerEvents(Operation):
    """Events that an agent prints, from its pipe to Redis; a run that prints one event is taken off."""

    what, where, small, large, warm = "event", ("runner",), 2048, 8192, 64
    base = 1

    def prepare(self):
        self.s.put("prints", executor="process", protocol="events", command=["/bin/sh", "-c", 'exec cat "$FILE"'])

    def run(self, n):
        path = os.path.join(self.s.folder, f"events-{n}")
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii") as f:
                f.write((json.dumps({"kind": "assistant_text", "data": {"text": TEXT}}) + "\n") * n)
        answer = self.s.other.request("POST", "/v1/runs", {"agent": "prints", "env": {"FILE": path}})
        self.s.ended(answer.json()["runId"])


class Replay(Ingress):
    """Events of an ended run that a reader gets, 1,024 a stream."""

    where, small, large, warm = ("api",), 4 * STORED, 16 * STORED, STORED

    def prepare(self):
        super().prepare()
        self.connection = Connection(self.s.other.port, 120)
        for _ in range(STORED // 256):
            self.post(256)
        super().done()
        wait_until(lambda: self.s.other.record(self.run_id)["status"] == "stopped", 60, "the run has ended")

    def run(self, n):
        for _ in range(n // STORED):
            got = 0
            with socket.create_connection(("127.0.0.1", self.s.api.port), 120) as c:
                c.sendall(self.s.request("GET", f"/v1/runs/{self.run_id}/stream"))
                tail = b""
                while b"event: done" not in tail:
                    data = c.recv(1 << 20)
                    assert data, tail
                    got += data.count(b"assistant_text\n") + (tail[-14:] + data[:14]).count(b"assistant_text\n")
                    tail = tail[-14:] + data
            assert got >= STORED, got

    def done(self):
        pass


class Fanout(Ingress):
    """Events posted one at a time while 50 readers listen; each must have one before the next is posted. Counted by frame."""

    what, where, small, large, warm = "frame", ("api",), 20 * READERS, 80 * READERS, 2 * READERS

    def prepare(self):
        super().prepare()
        self.connection = Connection(self.s.other.port, 120)
        self.readers = []
        for _ in range(READERS):
            c = socket.create_connection(("127.0.0.1", self.s.api.port), 120)
            self.readers.append(c)
            c.sendall(self.s.request("GET", f"/v1/runs/{self.run_id}/stream"))
        self.until(b"runtime_started")

    def until(self, mark):
        for c in self.readers:
            got = b""
            while mark not in got:
                data = c.recv(1 << 16)
                assert data, got
                got += data

    def run(self, n):
        for _ in range(n // READERS):
            mark = f'"seq":{self.seq},'.encode()
            self.post(1)
            self.until(mark)

    def done(self):
        for c in self.readers:
            c.close()
        super().done()


class Idle(Operation):
    """What a node does when nothing is to be done: by the second."""

    what, where, small, large, warm = "second", ("api", "runner", "redis"), 4, 10, 1

    def run(self, n):
        time.sleep(n)


OPERATIONS = {"idle": Idle, "submit": Submit, "submit-64": Submit64, "batch": Batch, "noop": Noop, "claim": Claim, "process": Process1, "ingress-1": Ingress, "ingress-256": Ingress256,
              "runner-events": RunnerEvents, "replay": Replay, "fanout": Fanout}
