"""Figures of the Lua scripts by themselves, on a private redis-server: what a call costs inside Redis, what it costs where much waits, and (longest.py) how long the longest one is.

The arguments of a call are laid out from the script's header by lua/gen.py, so no index is written here. Costs are Redis' own (`INFO commandstats` between two points); beside each stands what bare commands cost in
the same minutes: a SET of 300 bytes, and a script of 8 plain commands (PLAIN). ERRAND_BENCH_SMALL=1 (or --small) makes all of it a tenth to a hundredth, to see that it works.
"""
import ctypes
import hashlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "lua"))
import gen  # noqa: E402

SMALL = os.environ.get("ERRAND_BENCH_SMALL", "") not in ("", "0") or "--small" in sys.argv
PREFIX = "errand:{0}:"
RID = "0123456789abcdef"
INPUT = '{"text":"' + "x" * 289 + '"}'  # 300 bytes
HOUR, WEEK = 3600000, 604800000
AT_ONCE = 256  # calls under way on the connection
PERSISTENCE = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "auto-aof-rewrite-percentage": "0"}
PLAIN_TEXT = "HSET of 10 fields, SET of 300 bytes, ZADD, ZADD, HINCRBY, XADD, HSET, LPUSH"
PLAIN = """
local p, id = KEYS[1], ARGV[1]
redis.call('HSET', p .. 'r:' .. id, 'a', '1', 'b', '2', 'c', '3', 'd', '4', 'e', '5', 'f', '6', 'g', '7', 'h', '8', 'i', '9', 'j', '10')
redis.call('SET', p .. 'i:' .. id, ARGV[2])
redis.call('ZADD', p .. 'z', ARGV[3], id)
redis.call('ZADD', p .. 'y', ARGV[3], id)
redis.call('HINCRBY', p .. 'h', 'n', 1)
redis.call('XADD', p .. 'x', '*', 'r', id)
redis.call('HSET', p .. 'r:' .. id, 'k', '11')
redis.call('LPUSH', p .. 'l', '1')
return {'ok', id}
"""


def limit(name):
    with open(os.path.join(ROOT, "common/limits.h"), encoding="utf-8") as f:
        for line in f:
            if f"X({name}," in line:
                return int(line.split(",")[1])
    raise SystemExit(f"bench: no {name} in common/limits.h")


STOP_TREE = limit("LIMIT_STOP_TREE")


def scaled(n):
    return max(100, n // 50) if SMALL else n


def new_id():
    return str(uuid.UUID(bytes=b"\0" + os.urandom(15)))


def ends_with_me():
    """For a child: SIGTERM comes when this program is gone, however it went."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


# ---- a client ----


class Refused(Exception):
    """An error reply, or a script's error code."""


def pack(*words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)


class Client:
    """One connection over the Unix socket; replies are bytes, ints, lists, None and (not raised) Refused."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb", 1 << 20)

    def close(self):
        self.file.close()
        self.socket.close()

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.file.read(size + 2)[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"-":
            return Refused(rest.decode())
        if kind == b"+":
            return rest
        raise SystemExit("bench: Redis closed the connection")

    def do(self, *words):
        self.socket.sendall(pack(*words))
        reply = self.read()
        if isinstance(reply, Refused):
            raise reply
        return reply

    def many(self, commands):
        """Packed commands, AT_ONCE of them under way; their replies in order."""
        replies, under_way = [], 0
        room = []
        for command in commands:
            room.append(command)
            if len(room) == AT_ONCE // 2:
                self.socket.sendall(b"".join(room))
                replies += [self.read() for _ in range(under_way)]
                under_way, room = len(room), []
        self.socket.sendall(b"".join(room))
        return replies + [self.read() for _ in range(under_way + len(room))]


# ---- a Redis with the scripts ----


def started_line(row):
    return f'{{"seq":{int(row["first_seq"])},"tMs":{int(row["last_t_ms"]) + 1},"kind":"runtime_started","data":{{"attempt":1,"executor":"process"}}}}'


class Server:
    """A private Redis with all scripts, and the calls of them. `wrap`: words before the program, where it runs under a tool."""

    def __init__(self, wrap=()):
        self.dir = tempfile.mkdtemp(prefix="errand-bench-")
        path = os.path.join(self.dir, "redis.sock")
        options = [word for name, value in PERSISTENCE.items() for word in ("--" + name, value)]
        self.process = subprocess.Popen([*wrap, "redis-server", "--port", "0", "--unixsocket", path, "--dir", self.dir, "--maxmemory-policy", "noeviction", "--loglevel", "warning", *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=ends_with_me)
        try:
            os.setpriority(os.PRIO_PROCESS, self.process.pid, -15)  # what else this machine does is no part of a figure; where it is not allowed, noCoreMs says so
        except PermissionError:
            pass
        end = time.monotonic() + 30
        while True:
            try:
                self.client = Client(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise SystemExit("bench: gave up waiting for Redis")
                time.sleep(0.005)
        self.do = self.client.do
        self.scripts, self.functions = {}, {}
        folder = os.path.join(ROOT, "lua")
        for name in sorted(os.listdir(folder)):
            if name.endswith(".lua"):
                script = gen.Script(os.path.join(folder, name))
                self.functions[script.name], _, library = script.library(gen.stripped(script.expand(os.path.join(folder, "include"))))
                self.do("FUNCTION", "LOAD", library)
                self.scripts[script.name] = script
        self.plain = self.do("SCRIPT", "LOAD", PLAIN)
        self.claims, self.asked = {}, {}

    def close(self):
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def call(self, name, /, **values):
        """A packed call; what is not named is '', 0 or empty."""
        script = self.scripts[name]
        words = ["FCALL_RO" if script.read_only else "FCALL", self.functions[name], 1, PREFIX]
        unknown = set(values) - {field.name for field in script.argv}
        if unknown:
            raise SystemExit(f"bench: {name} has no argument {', '.join(unknown)}")
        words += script.words(values)
        return pack(*words)

    def fields(self, name, reply):
        """A reply by the names of the header; raises for an error code."""
        if isinstance(reply, Refused) or reply[0] != b"ok":
            raise SystemExit(f"bench: {name} answered {reply}")
        out = {}
        for field, value in zip(self.scripts[name].reply, reply[1:]):
            if field.flat:
                value = [value[i:i + len(field.columns)] for i in range(0, len(value), len(field.columns))]
            out[field.name] = [dict(zip([c for c, _ in field.columns], row)) for row in value] if field.kind == "table" else value
        return out

    def ask(self, script, /, **values):
        """One call, waited for; its time on a core is kept for Longest."""
        command, before = self.call(script, **values), self.scheduled()[0]
        self.client.socket.sendall(command)
        reply = self.client.read()
        self.asked[script] = max(self.asked.get(script, 0), self.scheduled()[0] - before)
        return self.fields(script, reply)

    def all(self, name, calls):
        """Pipelined calls of one script, each of which must succeed."""
        replies = self.client.many(calls)
        for reply in replies:
            if isinstance(reply, Refused) or reply[0] != b"ok":
                raise SystemExit(f"bench: {name} answered {reply}")
        return replies

    # What the API and a runner send.

    def agent(self, name="noop", **fields):
        values = {"json": '{"name":"noop","command":["/bin/true"]}', "queue": "default", "timeoutMs": "3600000", "graceMs": "10000", "maxAttempts": "1", "atMostOnce": "0",
                  "backoffType": "exponential", "backoffBaseMs": "1000", "backoffCapMs": "300000", "source": "stdout", "executor": "process", "concurrency": "", "rate": "", **fields}
        flat = [word for pair in values.items() for word in pair]
        return self.ask("agent_put", ws=values.pop("ws", "default"), name=name, digest=hashlib.sha256(repr(flat).encode()).hexdigest(), def_fields=flat, max_agents=1000, max_versions=100)

    def submit(self, run=None, **values):
        given = {"run": run or new_id(), "ws": "default", "agent": "noop", "queue_max": 10000000, "rid": RID,
                 "fields": ["input", INPUT, "createdBy", "root"]}
        given.update(values)
        return self.call("submit", **given)

    def register(self, inc, **fields):
        flat = [word for pair in {"name": inc, "host": "h", "version": "1", "slots": "1000000", "queues": "default", "executors": "process", "tags": "", "capabilities": "[]", **fields}.items()
                for word in pair]
        return self.call("register", inc=inc, fields=flat, lease_ms=HOUR)

    def runner(self, inc, **fields):
        self.all("register", [self.register(inc, **fields)])
        return inc

    def claim(self, inc, most, queues=("default",)):
        self.claims[inc] = self.claims.get(inc, 0) + 1
        return self.call("claim", inc=inc, claim_no=self.claims[inc], max=most, rid=RID, queues=list(queues))

    def rows(self, replies):
        return [row for reply in replies for row in self.fields("claim", reply)["runs"]]

    def started(self, inc, row):
        seq, t, event = int(row["first_seq"]), int(row["last_t_ms"]) + 1, started_line(row)
        return self.call("started", inc=inc, run=row["run"], epoch=row["epoch"], attempt=row["attempt"], seq=seq, head=f"{seq},{seq},{t},1,1,{len(event)}", event=event, token_sha="0" * 64, handle='{"pid":"4711"}')

    def finish(self, inc, row, outcome="success"):
        return self.call("finish", inc=inc, run=row["run"], epoch=row["epoch"], attempt=row["attempt"], outcome=outcome, exit_code="0", rid=RID, retention_ms=WEEK, seq=int(row["first_seq"]) + 1,
                         t_ms=int(row["last_t_ms"]) + 1, count=1, bytes=len(started_line(row)))

    def stop(self, run, retention_ms=WEEK):
        return self.call("stop", ws="default", run=run, max=STOP_TREE, rid=RID, retention_ms=retention_ms)

    def fresh(self):
        self.do("FLUSHALL")
        self.claims.clear()
        self.agent()

    # What Redis says of itself.

    def stats(self, command):
        """Calls and µs inside Redis of a command since it began."""
        for line in self.do("INFO", "commandstats").decode().splitlines():
            if line.startswith(f"cmdstat_{command}:"):
                values = dict(part.split("=") for part in line.split(":", 1)[1].split(","))
                return int(values["calls"]), int(values["usec"])
        return 0, 0

    def scheduled(self):
        """Milliseconds for which Redis' thread ran, and for which it had something to do but no core."""
        try:
            with open(f"/proc/{self.process.pid}/schedstat") as f:
                return [int(ns) / 1e6 for ns in f.read().split()[:2]]
        except OSError:
            return [0.0, 0.0]

    def memory(self):
        """Bytes of the data: without what connections and the file's buffer hold."""
        self.do("PING")
        info = dict(line.split(":", 1) for line in self.do("INFO", "memory").decode().splitlines() if ":" in line)
        return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])

    def cost(self, calls, command="fcall"):
        """Pipelined packed calls, of one kind: µs a call inside Redis, µs a call by the clock, and the replies."""
        count, usec = self.stats(command)
        began = time.perf_counter()
        replies = self.client.many(calls)
        wall = time.perf_counter() - began
        count, usec = self.stats(command)[0] - count, self.stats(command)[1] - usec
        for reply in replies:
            if isinstance(reply, Refused) or (isinstance(reply, list) and reply[0] != b"ok"):
                raise SystemExit(f"bench: Redis answered {reply}")
        return usec / count, 1e6 * wall / count, replies

    def raw_costs(self, n):
        """µs of a SET and of the plain script inside Redis, now."""
        sets, _, _ = self.cost([pack("SET", f"raw:{i}", INPUT) for i in range(n)], "set")
        plain, _, _ = self.cost([pack("EVALSHA", self.plain, 1, "raw:{0}:", new_id(), INPUT, 1700000000000000 + i) for i in range(n)], "evalsha")
        self.client.many([pack("UNLINK", f"raw:{i}") for i in range(n)])
        return sets, plain


# ---- scripts: what a call costs ----


class Rounds:
    """Costs by name, of several rounds: the median, and the medians of what was measured beside it."""

    def __init__(self):
        self.inside, self.wall, self.sets, self.plain = {}, {}, [], []

    def raw(self, server, n):
        sets, plain = server.raw_costs(n)
        self.sets.append(sets)
        self.plain.append(plain)

    def add(self, name, server, calls, of=1):
        inside, wall, replies = server.cost(calls)
        self.inside.setdefault(name, []).append(inside / of)
        self.wall.setdefault(name, []).append(wall / of)
        return replies

    def median(self, name):
        return statistics.median(self.inside[name])

    def report(self, figure, group, name, **more):
        figure(f"{group}-{name}", self.median(name), "us inside Redis", statistics.median(self.plain), "us, a script of 8 plain commands", rawSetUs=round(statistics.median(self.sets), 2),
               lowest=round(min(self.inside[name]), 1), wallUs=round(statistics.median(self.wall[name]), 1), **more)


def bench_scripts(figure):
    """µs a call of what each run needs, in an empty system."""
    n, rounds = scaled(2000), Rounds()
    s = Server()
    try:
        for _ in range(3 if SMALL else 9):
            s.fresh()
            rounds.raw(s, n)
            s.runner("r1")
            s.runner("r2")
            rounds.add("submit", s, [s.submit() for _ in range(n)])
            rows = s.rows(rounds.add("claim-1", s, [s.claim("r1", 1) for _ in range(n)]))
            rounds.add("started", s, [s.started("r1", row) for row in rows])
            rounds.add("finish", s, [s.finish("r1", row) for row in rows])
            s.client.many([s.submit() for _ in range(64 * (n // 64))])
            rounds.add("claim-64", s, [s.claim("r2", 64) for _ in range(n // 64)], 64)
            rounds.add("submit-delayed", s, [s.submit(delay_ms=HOUR) for _ in range(n)])
    finally:
        s.close()
    for name in ("submit", "submit-delayed", "claim-1", "claim-64", "started", "finish"):
        rounds.report(figure, "scripts", name, **({"plain": PLAIN_TEXT} if name == "submit" else {}), **({"per": "run"} if name == "claim-64" else {}))


# ---- waiting: the same where much waits ----


def bench_waiting(figure):
    """submit and claim where a million runs wait for their time and a hundred thousand for a runner, beside an empty system in turn; and what a waiting run takes."""
    delayed, queued, n = scaled(1000000), scaled(100000), scaled(1000)
    empty, loaded = Server(), Server()
    try:
        loaded.fresh()
        sizes = {}
        for name, count, ahead in (("queued", queued, 0), ("delayed", delayed, HOUR)):
            before = loaded.memory()
            left = count
            while left > 0:
                part = min(left, 10000)
                loaded.all("submit", (loaded.submit(delay_ms=ahead and ahead + (left - i) * 7 % HOUR) for i in range(part)))
                left -= part
            sizes[name] = (loaded.memory() - before) / count
        of = {"empty": Rounds(), "loaded": Rounds()}
        for i in range(3 if SMALL else 11):
            empty.fresh()
            for name, s in (("empty", empty), ("loaded", loaded)):
                of[name].raw(s, n)
                s.runner(f"r{i}")
                of[name].add("submit", s, [s.submit() for _ in range(n)])
                of[name].add("submit-delayed", s, [s.submit(delay_ms=HOUR) for _ in range(n)])
                of[name].add("claim", s, [s.claim(f"r{i}", 1) for _ in range(n)])
        for name in ("submit", "submit-delayed", "claim"):
            ratio = of["loaded"].median(name) / of["empty"].median(name)
            of["loaded"].report(figure, "waiting", name, emptyUs=round(of["empty"].median(name), 1), loadedToEmpty=round(ratio, 3), most=2, ok=ratio <= 2, delayed=delayed, queued=queued)
        for name, size in sizes.items():
            figure(f"waiting-memory-{name}", size, "bytes a run", len(INPUT), "bytes of input", most=1500, ok=size < 1500, persistence=" ".join(f"{k} {v or chr(34) * 2}" for k, v in PERSISTENCE.items()))
    finally:
        empty.close()
        loaded.close()


FIGURES = {"scripts": bench_scripts, "waiting": bench_waiting}
