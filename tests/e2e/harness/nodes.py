"""API and runner nodes of a test, and the stack they form with its Redis."""
import glob
import os
import re
import secrets

from . import http_client
from .processes import Process, with_environments
from .redis_users import USER_OF, RedisUsers
from .sse import Reader, Stream, replay, stream_path
from .wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TERMINAL = ("success", "error", "stopped")
# What tests ask as, unless they need the root key by nature: "root", or "scoped" (a key of the workspace `default` with every scope).
TEST_KEY = os.environ.get("ERRAND_TEST_KEY", "scoped")


def build_dir():
    """Where the programs under test are (with sanitizers, when `./dev test` runs this)."""
    return os.path.abspath(os.environ.get("ERRAND_BUILD") or os.path.join(ROOT, "build"))


def release_dir():
    """The Release build: what memory and latency are measured on."""
    return os.path.abspath(os.environ.get("ERRAND_BUILD_RELEASE") or os.path.join(ROOT, "build"))


class Api:
    """An API node. `port` is the one it chose, from its --port-file."""

    def __init__(self, stack, process, port):
        self.stack, self.process, self.port = stack, process, port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def key(self):
        """What requests are made with by default."""
        return self.stack.key

    @property
    def created_by(self):
        """The id of that key, as records name it."""
        return "root" if self.key == self.stack.root_key else self.key.split("_")[1]

    def request(self, method, path, body=None, headers=None, timeout=60.0, workspace=None):
        """With the default key, unless `headers` says otherwise (a value of None leaves a header out). `workspace`: in that one, which takes the root key."""
        fields = {"Authorization": f"Bearer {self.key if workspace is None else self.stack.root_key}"}
        if workspace is not None:
            fields["X-Errand-Workspace"] = workspace
        fields.update(headers or {})
        return http_client.request(self.port, method, path, body, fields, timeout)

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self.request("POST", path, body, **kwargs)

    def submit(self, agent, input=None, **fields):
        """Submits a run, expects 202 and returns its id."""
        body = {"agent": agent, **fields}
        if input is not None:
            body["input"] = input
        answer = self.post("/v1/runs", body)
        assert answer.status == 202, answer
        run_id = answer.json()["runId"]
        self.stack.run_ids.append(run_id)
        return run_id

    def record(self, run_id):
        answer = self.get(f"/v1/runs/{run_id}")
        assert answer.status == 200, answer
        return answer.json()

    def wait(self, run_id, statuses=TERMINAL, timeout=30.0):
        """Waits until the run has one of these statuses; returns the record."""
        wanted = (statuses,) if isinstance(statuses, str) else statuses

        def reached():
            self_record = self.record(run_id)
            return self_record if self_record["status"] in wanted else None
        return wait_until(reached, timeout, f"run {run_id} is {' or '.join(wanted)}")

    def stream(self, run_id, workspace=None, **kwargs):
        if workspace is not None:
            return Stream(self.port, stream_path(run_id), self.stack.root_key, headers={"X-Errand-Workspace": workspace}, **kwargs)
        return Stream(self.port, stream_path(run_id), self.key, **kwargs)

    def replay(self, run_id, **kwargs):
        return replay(self.port, run_id, self.key, **kwargs)

    def reader(self, run_id, **kwargs):
        return Reader([self.port], run_id, self.key, **kwargs)

    def ready(self):
        try:
            return http_client.request(self.port, "GET", "/readyz", timeout=5).status == 200
        except OSError:
            return False

    def metric(self, name, default=None):
        """The sum of a metric's samples at /metrics."""
        text = http_client.request(self.port, "GET", "/metrics").body.decode()
        found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? ([-+0-9.eE]+)$", text, re.M)
        return sum(float(v) for v in found) if found else default

    def kill9(self):
        self.process.kill9()


class Runner:
    """A runner node; `inc` is the id of this start of it, as Redis knows it."""

    def __init__(self, stack, process, inc):
        self.stack, self.process, self.inc = stack, process, inc

    def kill9(self):
        self.process.kill9()

    def freeze(self):
        self.process.freeze()

    def thaw(self):
        self.process.thaw()


class Stack:
    """One test's whole: its folder, Redis, keys, prefix, and the nodes it started. `key` is what tests ask with; `root_key` only what a key of one workspace can't do."""

    def __init__(self, folder, redis, test_key=TEST_KEY):
        self.folder, self.redis, self.test_key = folder, redis, test_key
        self.root_key, self._key = secrets.token_urlsafe(32), None
        self.prefix = (redis.users or RedisUsers()).prefix
        self.apis, self.runners, self.run_ids = [], [], []
        self.processes = []  # all that were started
        self._serial = 0

    @property
    def key(self):
        """The default key. A scoped one is made by the first node that is ready, or else when it is asked for."""
        if self.test_key == "root":
            return self.root_key
        if self._key is None:
            from .build import scopes  # it needs this module
            self._key = self.make_key(name="tests", scopes=scopes())
        return self._key

    def make_key(self, **fields):
        """Has a key made with the root key; returns its text."""
        node = next(a for a in self.apis if a.process.alive())
        answer = http_client.request(node.port, "POST", "/v1/keys", fields, {"Authorization": f"Bearer {self.root_key}"})
        assert answer.status == 201, answer
        return answer.json()["key"]

    def shard(self, n=0):
        """What the keys of a shard begin with."""
        return f"{self.prefix}{{{n}}}:"

    def environment(self, extra=None, program="errand"):
        """A program's whole environment: nothing of the tests' own but the path and the sanitizers' options. Each has the Redis user of its kind."""
        env = {k: os.environ[k] for k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if k in os.environ}
        env.update(HOME=self.folder, LC_ALL="C.UTF-8", TMPDIR=self.folder, ERRAND_REDIS_URL=self.redis.url, ERRAND_PREFIX=self.prefix,
                   ERRAND_DRAIN_MS="2000", ERRAND_LOG_LEVEL="debug")
        if self.redis.users is not None:
            env.update(self.redis.users.env(USER_OF.get(program, "doctor")))
        env.update({k: str(v) for k, v in (extra or {}).items()})
        return env

    def start(self, program, args=(), env=None, build=None):
        """Starts one of our programs and returns its Process, without waiting for anything."""
        self._serial += 1
        name = f"{program}-{self._serial}"
        path = os.path.join(build or build_dir(), program)
        self.processes.append(Process(name, [path, *args], os.path.join(self.folder, f"{name}.log"), self.environment(env, program), self.folder))
        return self.processes[-1]

    def api(self, args=(), env=None, build=None, wait=True, port=0):
        """An API node on a port of its own choice (or `port`); with `wait`, ready."""
        port_file = os.path.join(self.folder, f"port-{self._serial + 1}")
        process = self.start("errand-api", ["--listen", f"127.0.0.1:{port}", "--port-file", port_file, *args], {"ERRAND_ROOT_KEY": self.root_key, **(env or {})}, build)

        def chosen():
            assert process.alive(), f"{process.name} ended with {process.popen.returncode}: {process.output().decode('utf-8', 'replace')[-3000:]}"
            try:
                with open(port_file, encoding="ascii") as f:
                    return int(f.read() or 0)
            except FileNotFoundError:
                return 0
        node = Api(self, process, wait_until(chosen, 30, f"{process.name} writes its port"))
        self.apis.append(node)
        if wait:
            wait_until(node.ready, 30, f"{process.name} is ready")
            assert self.key
        return node

    def runner(self, args=(), env=None, build=None, slots=8, api=None):
        """A runner node for `process`, registered. `api`: what its agents are told as ERRAND_API_BASE (default: the first API node)."""
        base = api or (self.apis[0] if self.apis else None)
        # A node of this test's own: what runners of one node leave when they are killed, the next one of that node ends.
        fields = {"ERRAND_EXECUTORS": "process", "ERRAND_SLOTS": slots, "ERRAND_NODE": f"node-{os.path.basename(self.folder)}"}
        if base is not None:
            fields["ERRAND_API_BASE"] = base.url
        before = set(self.incarnations())
        process = self.start("errand-runner", args, {**fields, **(env or {})}, build)

        def registered():
            assert process.alive(), f"{process.name} ended with {process.popen.returncode}: {process.output().decode('utf-8', 'replace')[-3000:]}"
            return [i for i in self.incarnations() if i not in before]
        node = Runner(self, process, wait_until(registered, 30, f"{process.name} registers")[0])
        self.runners.append(node)
        return node

    def incarnations(self):
        """Runner incarnations that hold a lease."""
        return [i.decode() for i in self.redis.command("ZRANGE", self.shard() + "leases", 0, -1)]

    def ports(self):
        """Ports of the API nodes that live."""
        return [a.port for a in self.apis if a.process.alive()]

    def reader(self, run_id, **kwargs):
        """A background reader that takes any living node at each connection."""
        return Reader(self.ports, run_id, self.key, **kwargs)

    def cli(self, *args, env=None):
        """Starts `errand` against the first API node; returns its Process."""
        fields = {"ERRAND_URL": self.apis[0].url, "ERRAND_KEY": self.key} if self.apis else {}
        return self.start("errand", args, {**fields, **(env or {})})

    def leftovers(self):
        """Processes of this stack's runs that still live: {run id: pids}."""
        return with_environments("ERRAND_RUN_ID", self.run_ids)

    def logs(self, lines=40):
        """The ends of all logs, for a failed test's report."""
        out = []
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".log"):
                with open(os.path.join(self.folder, name), "rb") as f:
                    kept = [line[:400] for line in f.read().splitlines() if b'"level":"debug"' not in line]
                out.append(f"--- {name}\n" + b"\n".join(kept[-lines:]).decode("utf-8", "replace"))
        return "\n".join(out)

    def restart_redis(self):
        """Redis ends and starts again; back when the API nodes that live can serve."""
        self.redis.restart()
        wait_until(lambda: all(a.ready() for a in self.apis if a.process.alive()), 20, "the API nodes reach Redis again")

    def remove_cgroups(self):
        """What runners that were killed left of control groups: the next one of their node would remove it, but there is none."""
        for parent in glob.glob(f"/sys/fs/cgroup/**/errand-*{os.path.basename(self.folder)}*/", recursive=True):
            for folder, _, _ in os.walk(parent, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:  # it has processes, or another did this
                    pass

    def stop(self):
        """Ends all that was started, API nodes last, and says what was wrong with that: a node's bad status, a sanitizer's complaint, processes left behind."""
        faults = []
        nodes, last = [n.process for n in self.runners + self.apis], [n.process for n in self.apis]
        for process in sorted(self.processes, key=lambda p: p in last):
            checked = process in nodes or process.alive()
            try:
                status = process.end()
            except AssertionError as e:
                faults.append(str(e))
                status = 0
            if checked and status != 0 and not process.killed:
                faults.append(f"{process.name} ended with status {status}")
            faults += [f"{process.name}: {line}" for line in process.complaints()]
        try:
            wait_until(lambda: not self.leftovers(), 5)
        except AssertionError:
            faults.append(f"processes left behind: {self.leftovers()}")
        self.remove_cgroups()
        return faults
