"""Rigs: how the conformance suite (test_executors.py) uses one executor. A rig says how an agent of its executor is defined that does a certain deed, and how to see from outside whether anything of a run is left.

An executor's owner adds a class with a row in RIGS; where its agents are commands, CommandRig does nearly all of it. What an executor can't have by nature (a remote one is not to be OOM-killed here) it leaves out of `deeds`,
and the tests of that deed skip with that reason."""
import os
import secrets
import shutil
import subprocess
import textwrap

from .nodes import build_dir
from .processes import of_run

CAPABILITIES = ("timeout", "process_isolation", "network_isolation", "network_filtering", "filesystem_isolation", "memory_limit", "cpu_limit", "reset", "deps_install", "deps_uninstall")

# What each deed's agent does, in Python: `job` is its input line, `given` the run's input (an object), `say(kind, data)` an event, `end(status, **fields)` its claimed end.
PRELUDE = """
import ctypes, json, os, signal, socket, struct, subprocess, sys, time
job = json.loads(sys.stdin.readline())
given = job.get("input") or {}
def say(kind, data):
    sys.stdout.write(json.dumps({"kind": kind, "data": data}) + "\\n")
    sys.stdout.flush()
def end(status, **fields):
    say("runtime_terminal", {"status": status, **fields})
def escaped(how, worked, **more):
    say("notification", {"attempt": how, "escaped": bool(worked), **more})
"""
DEEDS = {
    "succeed": """
        say("assistant_text", {"text": "hello"})
        end("success", result={"n": given.get("n", 1)})
        """,
    "fail": """
        sys.stderr.write("it failed on purpose\\n")
        sys.exit(3)
        """,
    # Ends by a signal, at a fault of its own.
    "crash": """
        ctypes.string_at(0)
        """,
    "sleep": """
        say("notification", {"ready": True})
        time.sleep(100000)
        """,
    # Ignores SIGTERM, and has a child and a grandchild in sessions of their own that do, too.
    "tree": """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for generation in range(2):
            if os.fork() == 0:
                os.setsid()
            else:
                break
        if generation == 0:
            time.sleep(0.2)
            say("notification", {"ready": True})
        while True:
            time.sleep(1000)
        """,
    # Takes memory until it is stopped; given.mb bounds it (it then says that it was let).
    "oom": """
        kept = []
        for _ in range(given.get("mb", 4096)):
            kept.append(bytearray(b"x") * (1 << 20))
        escaped("memory", True)
        """,
    # given.n texts of given.size bytes, as fast as it can.
    "flood": """
        pad = ("some words " * (given["size"] // 11 + 1))[:given["size"]]
        for i in range(given["n"]):
            sys.stdout.write('{"kind":"assistant_text","data":{"i":%d,"text":"%s"}}\\n' % (i, pad))
        sys.stdout.flush()
        end("success", result={"n": given["n"]})
        """,
    "silent": """
        time.sleep(100000)
        """,
    # given.n lines on standard error.
    "log": """
        for i in range(given["n"]):
            sys.stderr.write("line %d\\n" % i)
        sys.stderr.flush()
        end("success")
        """,
    # Holds 64 MiB and keeps a processor busy.
    "work": """
        kept = bytearray(b"x") * (64 << 20)
        say("notification", {"ready": True})
        while True:
            pass
        """,
    # Three processes that burn for given.seconds; says how much processor time they got for each second.
    "burn": """
        until, children = time.monotonic() + given["seconds"], []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                while time.monotonic() < until:
                    pass
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        t = os.times()
        end("success", result={"cpus": (t.children_user + t.children_system) / given["seconds"]})
        """,
    # Forks until it may not; says how many it got.
    "forks": """
        got = 0
        try:
            while got < given.get("most", 4000):
                if os.fork() == 0:
                    while True:
                        time.sleep(1000)
                got += 1
        except OSError:
            pass
        say("notification", {"forked": got})
        end("success", result={"forked": got})
        """,
    # ---- attempts to escape: given has what the test laid out ----
    "read_environment": """
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if given["mark"].encode() in f.read():
                        found.append(pid)
            except OSError:
                pass
        escaped("read_environment", found)
        """,
    "read_file": """
        try:
            with open(given["path"]) as f:
                escaped("read_file", given["mark"] in f.read())
        except OSError as e:
            escaped("read_file", False, error=str(e))
        """,
    "write_outside": """
        worked = []
        for path in given["paths"]:
            try:
                with open(os.path.join(path, "written-" + given["mark"]), "w") as f:
                    f.write("x")
                worked.append(path)
            except OSError:
                pass
        escaped("write_outside", False, wrote=worked)  # the test looks from outside: what it wrote may be its own copy
        """,
    "signal_others": """
        worked = []
        for pid in given["pids"]:
            try:
                os.kill(pid, 0)
                worked.append(pid)
            except OSError:
                pass
        escaped("signal_others", [p for p in worked if p == given["pids"][0] and p not in (os.getpid(), os.getppid()) and p > 64])
        """,
    "ptrace": """
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        escaped("ptrace", libc.ptrace(16, given["pids"][0], None, None) == 0)
        """,
    "see_processes": """
        seen = [p for p in os.listdir("/proc") if p.isdigit()]
        found = []
        for p in seen:
            try:
                with open(f"/proc/{p}/cmdline", "rb") as f:
                    if given["mark"].encode() in f.read():
                        found.append(p)
            except OSError:
                pass
        escaped("see_processes", found, seen=len(seen))
        """,
    "loopback": """
        try:
            s = socket.create_connection(("127.0.0.1", given["port"]), timeout=3)
            s.sendall(given["mark"].encode())
            escaped("loopback", True)
        except OSError as e:
            escaped("loopback", False, error=str(e))
        """,
    "raw_socket": """
        worked = []
        for family, kind, protocol in ((socket.AF_INET, socket.SOCK_RAW, 1), (17, socket.SOCK_RAW, 0x0300)):
            try:
                socket.socket(family, kind, protocol)
                worked.append(family)
            except OSError:
                pass
        escaped("raw_socket", worked)
        """,
    "mount": """
        libc = ctypes.CDLL(None, use_errno=True)
        os.makedirs("m", exist_ok=True)
        escaped("mount", libc.mount(b"none", b"m", b"tmpfs", 0, None) == 0)
        """,
}
# What proves a capability: deeds whose agents try to break it. memory_limit, cpu_limit and timeout have tests of their own.
ESCAPES = {
    "process_isolation": ("read_environment", "signal_others", "ptrace", "see_processes"),
    "filesystem_isolation": ("read_file", "write_outside", "mount"),
    "network_isolation": ("loopback", "raw_socket"),
}


class Rig:
    """What the suite wants to know of an executor."""
    name = None
    deeds = frozenset()  # what its agents can do
    slow = 1.0  # its starts take that much longer than a process
    dies_with_runner = True  # nothing that it starts outlives a killed runner
    status_elsewhere = True  # a stored handle says in any process whether it runs
    isolates = False  # it declares isolation, which its agents try to break
    limits_can_go = False  # options can take its limits away (without_limits)
    started_by_tool = True  # spec() is what the handle tool starts
    refuses_pids_without_groups = False  # it starts nothing with resources.pids where it can't limit that

    def __init__(self, stack):
        self.stack = stack

    def skip(self):
        """Why this machine can't have it; None where it can."""
        return None

    def open(self):
        """Starts what it needs beside Redis and the nodes (an engine, a fake)."""

    def close(self):
        pass

    def environment(self):
        """Options of its runner."""
        return {"ERRAND_EXECUTORS": self.name}

    def define(self, deed, **fields):
        """An agent that does a deed; fields go into its definition as they are."""
        raise NotImplementedError

    def given(self, fields):
        """A run's input, as its agents take it."""
        return fields

    def result(self, n):
        """The result of `succeed` with that n."""
        return {"n": n}

    def left(self, run_id):
        """What of a run is still there, as seen from outside; empty when nothing is."""
        raise NotImplementedError

    def limits_pids(self, capabilities):
        """Whether resources.pids is enforced here, to judge by what it declares."""
        return "memory_limit" in capabilities

    def without_limits(self):
        """Options with which a runner of this machine can't limit memory and processors any more."""
        raise NotImplementedError

    def spec(self, deed):
        """The same agent as a specification for the handle tool (tests/tools/handle.c); None where it can't be started so."""
        return None

    def handle_tool(self):
        """The program that takes executor operations from a stored handle in a fresh process (tests/tools/handle.c), with its options."""
        return os.path.join(build_dir(), "tests", "handle"), self.environment()


class CommandRig(Rig):
    """Of an executor whose agents are commands on this machine."""
    deeds = frozenset(DEEDS)
    limits_can_go = True
    python = "/usr/bin/python3"

    def define(self, deed, **fields):
        text = PRELUDE + textwrap.dedent(DEEDS[deed])
        return {"name": "conform-" + deed.replace("_", "-"), "executor": self.name, "command": [self.python, "-c", text], **fields}

    def left(self, run_id):
        return of_run(run_id)

    def without_limits(self):
        return {"ERRAND_CGROUP_ROOT": "none"}

    def spec(self, deed):
        private = os.path.join(self.stack.folder, "private")
        os.makedirs(private, mode=0o700, exist_ok=True)
        return {"runId": "0" * 8 + "-conform", "attempt": 1, "command": self.define(deed)["command"], "env": ["PATH=/usr/bin:/bin", f"HOME={private}"], "private": private, "workdir": private,
                "input": {"input": {}}, "definition": {}}


class ProcessRig(CommandRig):
    name = "process"
    refuses_pids_without_groups = True


class SandboxRig(CommandRig):
    name = "sandbox"
    isolates = True

    def skip(self):
        done = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "/bin/true"], capture_output=True, text=True, check=False) if shutil.which("bwrap") else None
        return "bubblewrap is not installed" if done is None else done.stderr.strip() or None


class PoolRig(CommandRig):
    """Its agents are workers that do the deed for each run. What is left of a run is found by a mark in the words of the definition's programs; a worker that ended its run well may stay, alone."""
    name = "pool"
    base = "process"
    refuses_pids_without_groups = True

    def environment(self):
        return {"ERRAND_EXECUTORS": f"pool,{self.base}"}

    def define(self, deed, **fields):
        mark = "conform-" + secrets.token_hex(6)
        contained = {*ESCAPES, "network_filtering"} & set(fields.get("requiresCapabilities", ()))  # nobody may ask that of a pool over process
        ends = any(deed in escapes for escapes in ESCAPES.values())
        text = PRELUDE.split("job = ")[0] + "\n".join(PRELUDE.split("\n")[4:]) + f"""
ready = '{{"kind":"notification","data":{{"type":"worker_ready"}}}}'  # {mark}
print(ready, flush=True)
for line in sys.stdin:
    job = json.loads(line)
    given = job.get("input") or {{}}
    os.makedirs(job["workDir"], exist_ok=True)
    os.chdir(job["workDir"])
{textwrap.indent(textwrap.dedent(DEEDS[deed]), "    ")}
    {'end("success")' if ends else "pass"}
    print(ready, flush=True)
"""
        return {"name": mark, "executor": "pool", "pool": {"base": "sandbox" if contained else self.base}, "command": [self.python, "-c", text], **fields}

    def left(self, run_id):
        node = next(a for a in self.stack.apis if a.process.alive())
        record, found = node.record(run_id), []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if words[0] == self.python.encode() and any(record["agent"].encode() in w for w in words):
                found.append(int(entry))
        return found[1:] if record["status"] == "success" else found

    def spec(self, deed):
        return {**super().spec(deed), "definition": {"pool": {"base": self.base, "min": 0, "max": 1, "idleMs": 1000, "maxRuns": 10}}}


class PoolSandboxRig(PoolRig):
    """The same, contained."""
    base = "sandbox"
    isolates = True
    refuses_pids_without_groups = False
    skip = SandboxRig.skip


class NoopRig(Rig):
    """It does nothing, so there is no deed of its: what the suite asks of every executor remains."""
    name = "noop"
    started_by_tool = False

    def left(self, run_id):
        return of_run(run_id)


RIGS = [ProcessRig, SandboxRig, PoolRig, PoolSandboxRig, NoopRig]

from .remote_rigs import AnthropicRig, HttpRig  # noqa: E402  it needs Rig
from .rigs_elsewhere import ContainerRig, FlyRig  # noqa: E402
RIGS += [HttpRig, AnthropicRig, ContainerRig, FlyRig]
