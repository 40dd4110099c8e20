"""A private system for a figure: Redis processes, API nodes and runners, what they used of processor and memory, and their end (by pid, also where the figure failed or Ctrl-C came)."""
import atexit
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from scripts import PERSISTENCE, Client, ends_with_me

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness.redis_users import RedisUsers  # noqa: E402

USERS = RedisUsers("errand:") if "--users" in sys.argv else None
BUILD = os.environ.get("ERRAND_BUILD", os.path.join(ROOT, "build"))
KEY = "errand_root_" + secrets.token_urlsafe(32)
LIVE = set()  # processes that are to end with this program


class Failed(Exception):
    """A figure that could not be taken: why."""


def wait_for(condition, what, seconds=30, pause=0.002):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise Failed(f"gave up waiting for {what}")


def spawn(command, env=None, log=None, **more):
    p = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, preexec_fn=ends_with_me, **{"stdout": subprocess.DEVNULL, "stderr": open(log, "ab") if log else subprocess.DEVNULL, **more})
    LIVE.add(p)
    return p


def end(p, seconds=10):
    """SIGTERM, and SIGKILL where that was not enough; takes what has ended."""
    if p.poll() is None:
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
    LIVE.discard(p)


@atexit.register
def end_all():
    for p in list(LIVE):
        end(p, 3)


def thread_us(pid):
    """Microseconds that each thread of a process ran: {tid: us}."""
    out = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                out[int(tid)] = int(f.read().split()[0]) / 1000
        except OSError:
            continue
    return out


def private_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return 1024 * sum(int(line.split()[1]) for line in f if line.startswith(("Private_Clean:", "Private_Dirty:")))


class Redis:
    """A private redis-server on a Unix socket."""

    def __init__(self, folder, name):
        self.path = os.path.join(folder, f"{name}.sock")
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        options = [word for key, value in PERSISTENCE.items() for word in ("--" + key, value)]
        if USERS:
            USERS.write(os.path.join(self.folder, "users.acl"))
            options += ["--aclfile", os.path.join(self.folder, "users.acl")]
        self.command = ["redis-server", "--port", "0", "--unixsocket", self.path, "--dir", self.folder, "--maxmemory-policy", "noeviction", "--loglevel", "warning", *options]
        self.start()

    def start(self):
        self.process = spawn(self.command, log=os.path.join(self.folder, "log"))
        wait_for(self.answers, "Redis", pause=0.01)

    def answers(self):
        try:
            self.client = Client(self.path)
            if USERS:
                self.client.do("AUTH", *USERS.login("operator"))
            return self.client.do("PING") == b"PONG"
        except Exception:  # it loads its file
            return False

    def do(self, *words):
        return self.client.do(*words)

    def info(self, section):
        return dict(line.split(":", 1) for line in self.do("INFO", section).decode().splitlines() if ":" in line)

    def commands(self):
        """{command: (calls, us inside)} since it began."""
        out = {}
        for name, text in self.info("commandstats").items():
            values = dict(part.split("=") for part in text.split(","))
            out[name.removeprefix("cmdstat_")] = (int(values["calls"]), int(values["usec"]))
        return out

    def used(self):
        """Bytes of the data: without what connections and the file's buffer hold."""
        memory = self.info("memory")
        return int(memory["used_memory"]) - int(memory["mem_clients_normal"]) - int(memory["mem_aof_buffer"])


class System:
    """Redis processes, API nodes and runners. `runners` of 0: none is started."""

    def __init__(self, shards=1, redises=1, apis=1, threads=1, runners=1, slots=64, executors="process", log_level="warn", env=None):
        self.dir = tempfile.mkdtemp(prefix="errand-bench-")
        self.redises, self.apis, self.runners, self.ports = [], [], [], []
        self.shards, self.threads, self.serial = shards, threads, 0
        try:
            self.redises = [Redis(self.dir, f"redis{i}") for i in range(redises)]
            self.env = {"PATH": os.environ["PATH"], "ERRAND_REDIS_URL": ",".join(f"unix://{r.path}" for r in self.redises), "ERRAND_SHARDS": str(shards), "ERRAND_ROOT_KEY": KEY,
                        "ERRAND_LOG_LEVEL": log_level, "ERRAND_READER_BUFFER": str(64 << 20), **(env or {})}  # readers share cores with everything else: the figure is what all get, not who is cut
            for _ in range(apis):
                self.add_api()
            for _ in range(runners):
                self.add_runner(slots, executors)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def close(self):
        nodes = [p for p in [*self.runners, *self.apis] if p.poll() is None]
        for p in nodes:
            p.send_signal(signal.SIGTERM)
        for p in nodes:
            end(p, 3)
        for r in self.redises:
            end(r.process, 3)
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- nodes ----

    def log_of(self, p):
        return os.path.join(self.dir, f"log{p}")

    def env_of(self, user):
        return {**self.env, **(USERS.env(user) if USERS else {})}

    def add_api(self):
        self.serial += 1
        port_file = os.path.join(self.dir, f"port{self.serial}")
        p = spawn([os.path.join(BUILD, "errand-api"), "--listen", "127.0.0.1:0", "--threads", str(self.threads), "--port-file", port_file], self.env_of("api"), self.log_of(self.serial))
        self.apis.append(p)
        port = int(wait_for(lambda: os.path.exists(port_file) and open(port_file).read().strip(), "an API node"))
        self.ports.append(port)
        wait_for(lambda: self.call("GET", "/readyz", raw=True, port=port) == 200, "readiness")
        return p

    def add_runner(self, slots=64, executors="process", *options):
        self.serial += 1
        before = len(self.get("/v1/runners")["runners"])
        log = self.log_of(self.serial)
        p = spawn([os.path.join(BUILD, "errand-runner"), "--slots", str(slots), "--executors", executors, "--node", f"bench{self.serial}", "--api-base", f"http://127.0.0.1:{self.ports[0]}", *options],
                  self.env_of("runner"), log)
        p.log = log
        self.runners.append(p)
        wait_for(lambda: p.poll() is not None or len(self.get("/v1/runners")["runners"]) > before, "the runner")
        if p.poll() is not None:
            with open(log, encoding="utf-8") as f:
                raise Failed("the runner ended: " + f.read().strip()[-300:])
        return p

    # ---- calls ----

    @property
    def port(self):
        return self.ports[0]

    @property
    def redis(self):
        return self.redises[0]

    def call(self, method, path, body=None, headers=None, raw=False, port=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", method=method, data=None if body is None else json.dumps(body).encode())
        for name, value in {"Authorization": "Bearer " + KEY, **(headers or {})}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                data = answer.read()
                return answer.status if raw else json.loads(data or b"null")
        except urllib.error.HTTPError as error:
            if raw:
                return error.code
            raise Failed(f"{method} {path} answered {error.code}: {error.read()[:300]!r}")
        except (urllib.error.URLError, ConnectionError):
            if raw:
                return None
            raise

    def get(self, path, raw=False):
        return self.call("GET", path, raw=raw)

    def metric(self, name, port=None):
        with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}/metrics", timeout=10) as answer:
            found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", answer.read().decode(), re.M)
        return sum(map(float, found))

    def file(self, data, name="file"):
        self.serial += 1
        path = os.path.join(self.dir, f"{name}{self.serial}")
        with open(path, "wb") as f:
            f.write(data)
        return path


class Usage:
    """What a piece of work took: processor time of API nodes, runners and Redis, Redis' commands. Used as `with Usage(system) as u: …`, then `u.per(operations)`."""

    def __init__(self, system):
        self.system = system

    def now(self):
        s = self.system
        redis_main = sum(thread_us(r.process.pid).get(r.process.pid, 0) for r in s.redises)
        redis_all = sum(sum(thread_us(r.process.pid).values()) for r in s.redises)
        commands, reads = {}, 0
        for r in s.redises:
            for name, (calls, us) in r.commands().items():
                known = commands.get(name, (0, 0))
                commands[name] = (known[0] + calls, known[1] + us)
            reads += int(r.info("stats")["total_reads_processed"])
        return {"api": sum(sum(thread_us(p.pid).values()) for p in s.apis if p.poll() is None), "runner": sum(sum(thread_us(p.pid).values()) for p in s.runners if p.poll() is None),
                "redis": redis_main, "redisOther": redis_all - redis_main, "reads": reads, "commands": commands}

    def __enter__(self):
        self.before = self.now()
        return self

    def __exit__(self, *what):
        after = self.now()
        self.us = {name: after[name] - self.before[name] for name in ("api", "runner", "redis", "redisOther")}
        self.reads = after["reads"] - self.before["reads"]
        self.commands = {name: (calls - self.before["commands"].get(name, (0, 0))[0], us - self.before["commands"].get(name, (0, 0))[1]) for name, (calls, us) in after["commands"].items()}

    def per(self, n):
        """Fields of a figure, per operation. roundTrips: reads that Redis made (one may bring many commands); calls: of scripts; scriptUs: inside them, by Redis' own clock."""
        scripts = [self.commands.get(name, (0, 0)) for name in ("evalsha", "eval", "fcall", "fcall_ro", "evalsha_ro")]
        calls, inside = (sum(part) for part in zip(*scripts))
        inner = sum(calls_of for name, (calls_of, _) in self.commands.items() if name.split("|")[0] not in ("evalsha", "eval", "fcall", "fcall_ro", "evalsha_ro", "info"))
        return {"cpuUs": {name: round(us / n, 2) for name, us in self.us.items()}, "scriptUs": round(inside / n, 2), "scriptCalls": round(calls / n, 3), "redisCommands": round(inner / n, 2),
                "roundTrips": round(self.reads / n, 3)}
