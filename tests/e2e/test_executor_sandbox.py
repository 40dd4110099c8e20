"""The executor `sandbox`: what a program in it tries in order to get out, see, exhaust, or reach more than it was given."""
import json
import os
import platform
import re
import signal
import socket
import subprocess
import threading

import pytest

from harness import sandboxed
from harness.nodes import build_dir
from harness.processes import of_run
from harness.sandboxed import look
from harness.wait import wait_until

X86 = platform.machine() == "x86_64"


@pytest.fixture
def runner(stack, api, can_sandbox):
    return sandboxed.runner(stack, api, test_mark="the-runners-own-environment")


@pytest.fixture
def listener():
    """A listener on the host's loopback, as (port, connections that came)."""
    came, server = [], socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: _accept(server, came), daemon=True)
    thread.start()
    yield server.getsockname()[1], came
    server.close()


def _accept(server, came):
    while True:
        try:
            came.append(server.accept()[0])
        except OSError:
            return


# ---- system calls ----

# Number on x86_64, arguments, what is answered.
CALLS = {
    "mount": (165, [0, 0, 0, 0, 0], "EPERM"), "umount2": (166, [0, 0], "EPERM"), "pivot_root": (155, [0, 0], "EPERM"), "chroot": (161, [0], "EPERM"),
    "open_tree": (428, [0, 0, 0], "EPERM"), "move_mount": (429, [0, 0, 0, 0, 0], "EPERM"), "fsopen": (430, [0, 0], "EPERM"), "mount_setattr": (442, [0, 0, 0, 0, 0], "EPERM"),
    "ptrace": (101, [16, 1, 0, 0], "EPERM"), "process_vm_readv": (310, [1, 0, 0, 0, 0, 0], "EPERM"), "process_vm_writev": (311, [1, 0, 0, 0, 0, 0], "EPERM"),
    "kcmp": (312, [1, 1, 0, 0, 0], "EPERM"), "pidfd_getfd": (438, [0, 0, 0], "EPERM"),
    "unshare(user)": (272, [0x10000000], "EPERM"), "unshare(mount)": (272, [0x20000], "EPERM"), "setns": (308, [0, 0], "EPERM"),
    "clone(user)": (56, [0x10000000 | 17, 0, 0, 0, 0], "EPERM"), "clone(net)": (56, [0x40000000 | 17, 0, 0, 0, 0], "EPERM"), "clone3": (435, [0, 0], "ENOSYS"),
    "bpf": (321, [0, 0, 0], "EPERM"), "perf_event_open": (298, [0, 0, 0, 0, 0], "EPERM"), "userfaultfd": (323, [0], "EPERM"),
    "io_uring_setup": (425, [8, 0], "EPERM"), "fanotify_init": (300, [0, 0], "EPERM"),
    "keyctl": (250, [0, 0, 0, 0, 0], "EPERM"), "add_key": (248, [0, 0, 0, 0, 0], "EPERM"), "request_key": (249, [0, 0, 0, 0], "EPERM"),
    "kexec_load": (246, [0, 0, 0, 0], "EPERM"), "init_module": (175, [0, 0, 0], "EPERM"), "finit_module": (313, [0, 0, 0], "EPERM"), "reboot": (169, [0, 0, 0, 0], "EPERM"),
    "open_by_handle_at": (304, [0, 0, 0], "EPERM"), "name_to_handle_at": (303, [0, 0, 0, 0, 0], "EPERM"), "swapon": (167, [0, 0], "EPERM"), "syslog": (103, [3, 0, 0], "EPERM"),
    "personality(read implies exec)": (135, [0x0400000], "EPERM"), "personality(no randomization)": (135, [0x0040000], "EPERM"), "personality(ask)": (135, [0xffffffff], 0),
    "newer than the review": (451, [0, 0, 0, 0], "ENOSYS"), "far newer": (1000, [0], "ENOSYS"),
    "ioctl(TIOCSTI)": (16, [0, 0x5412, 0], "EPERM"), "ioctl(TIOCSTI, a higher bit)": (16, [0, 0x100005412, 0], "EPERM"), "ioctl(TIOCLINUX)": (16, [0, 0x541c, 0], "EPERM"),
    "socket(packet)": (41, [17, 3, 0], "EAFNOSUPPORT"), "socket(packet, a higher bit)": (41, [0x100000011, 3, 0], "EAFNOSUPPORT"), "socket(vsock)": (41, [40, 1, 0], "EAFNOSUPPORT"),
    "socket(alg)": (41, [38, 5, 0], "EAFNOSUPPORT"), "socket(raw)": (41, [2, 3, 1], "EPERM"), "socket(raw, v6)": (41, [10, 3, 58], "EPERM"),
    "socket(raw, cloexec)": (41, [2, 3 | 0o2000000, 255], "EPERM"), "socket(netfilter)": (41, [16, 3, 12], "EPERM"), "socket(uevent)": (41, [16, 3, 15], "EPERM"),
}


@pytest.mark.skipif(not X86, reason="the numbers are x86_64's")
def test_system_calls_that_lead_out_are_refused(api, runner):
    got = look(api, """\
        end({name: call(n, *args) for name, (n, args) in job["input"].items()})
        """, {name: [n, args] for name, (n, args, _) in CALLS.items()})
    assert got == {name: answer for name, (_, _, answer) in CALLS.items()}


@pytest.mark.skipif(not X86, reason="x32 and i386 are x86_64's")
def test_other_architectures_numbers_kill(api, runner):
    """getpid of x32, and a mount of i386 by `int 0x80`, each in a child of its own."""
    got = look(api, """\
        import mmap
        def child(deed):
            pid = os.fork()
            if pid == 0:
                deed()
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            return "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit %d" % os.WEXITSTATUS(status)
        def i386():
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(b"\\xb8\\x15\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 21; int 0x80; ret
            ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        end({"x32": child(lambda: call(0x40000000 | 39)), "i386": child(i386), "none": child(lambda: None)})
        """)
    assert got == {"x32": f"signal {int(signal.SIGSYS)}", "i386": f"signal {int(signal.SIGSYS)}", "none": "exit 0"}


def test_what_programs_need_works(api, runner):
    """Threads, processes, pipes, sockets of its own, a terminal, lists of interfaces, and the interpreters' own start."""
    assert look(api, """\
        import pty, threading
        t = threading.Thread(target=lambda: None); t.start(); t.join()
        a, b = socket.socketpair()
        server = socket.create_server(("127.0.0.1", 0))
        with socket.create_connection(server.getsockname()):
            pass
        end({"sh": subprocess.check_output(["sh", "-c", "echo $((6*7))"], text=True).strip(), "names": [n for _, n in socket.if_nameindex()],
             "pty": len(pty.openpty()), "home": os.path.expanduser("~") == os.environ["HOME"], "tz": os.path.exists("/etc/localtime")})
        """) == {"sh": "42", "names": ["lo"], "pty": 2, "home": True, "tz": True}


def test_a_crash_is_nobody_elses(api, runner):
    """The limit of cores that keeps the machine's crash handler out stays, whatever the agent does; asking for none is not answered with an error."""
    assert look(api, """\
        import resource
        before = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        end([before, resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE)])
        """) == [[1, 1], [1, 1], [64, 64]]


# ---- what it is, and sees ----

def test_it_is_nobody_and_can_become_nobody_else(api, runner):
    got = look(api, """\
        status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines() if ":" in l)
        end({"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "user": __import__("pwd").getpwuid(os.getuid()).pw_name,
             "caps": [status[c].strip() for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")], "nnp": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
             "setuid": tried(os.setuid, 0), "map": open("/proc/self/uid_map").read().split(), "su": subprocess.run(["su", "-c", "id -u"], capture_output=True, stdin=subprocess.DEVNULL).returncode,
             "core": tried(open, "/proc/sys/kernel/core_pattern", "w"), "nice": tried(os.nice, -5), "host": socket.gethostname(), "rename": tried(socket.sethostname, "x")})
        """)
    assert got["uid"] == got["gid"] == 64111 and got["user"] == "agent" and got["groups"] == [64111][:len(got["groups"])]
    assert got["caps"] == ["0000000000000000"] * 5 and got["nnp"] == "1" and got["seccomp"] == "2"
    assert got["setuid"] in ("EPERM", "EINVAL") and got["map"][2] == "1" and got["su"] != 0
    assert got["core"] in ("EACCES", "EROFS", "EPERM") and got["nice"] == "EPERM" and got["host"] == "sandbox" and got["rename"] == "EPERM"


@pytest.mark.skipif(os.geteuid() != 0, reason="only where the runner is root is there another user to be")
def test_under_a_root_runner_it_is_another_user_outside_too(api, runner):
    run_id = api.submit(sandboxed.shell("exec sleep 100000"))
    api.wait(run_id, "running")
    pid = wait_until(lambda: of_run(run_id), what="its process")[0]
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        status = f.read()
    assert re.search(r"^Uid:\t64111\t64111\t64111\t64111$", status, re.M) and re.search(r"^Groups:\s*$", status, re.M)
    names = ("user", "pid", "mnt", "ipc", "uts", "cgroup", "net")
    same = [n for n in names if os.readlink(f"/proc/{pid}/ns/{n}") == os.readlink(f"/proc/self/ns/{n}")]
    assert same == [], "namespaces of its own"
    api.post(f"/v1/runs/{run_id}/stop?wait=20")


def test_nothing_of_the_runner_or_of_others_is_seen(stack, api, runner):
    other = api.submit(sandboxed.python('open(os.path.join(os.environ["HOME"], "mine"), "w").write("x"); say("notification", {"home": os.environ["HOME"]}); time.sleep(1000)'))
    with api.stream(other) as stream:
        home = json.loads(stream.until("notification")[-1].data)["data"]["home"]
    marker = os.path.join(stack.folder, "marker")
    with open(marker, "w", encoding="ascii") as f:
        f.write("seen")
    paths = [marker, home + "/mine", stack.redis.socket, "/root", "/home", "/var/run", "/var/lib", "/run/user", "/etc/shadow", "/etc/ssl/private", "/boot", "/sys/kernel", build_dir()]
    got = look(api, """\
        def environments():
            text = b""
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    text += open(f"/proc/{pid}/environ", "rb").read()
                except OSError:
                    pass
            return text
        found = environments()
        end({"seen": [p for p in job["input"]["paths"] if os.path.exists(p)], "mark": b"the-runners-own-environment" in found, "other": job["input"]["other"].encode() in found,
             "processes": len([p for p in os.listdir("/proc") if p.isdigit()]), "own": sorted(os.environ), "helper": tried(open, "/proc/1/environ"), "fds": sorted(os.listdir("/proc/self/fd")),
             "passwd": open("/etc/passwd").read().count("\\n"), "shm": os.listdir("/dev/shm"), "tmp": [n for n in os.listdir("/tmp") if not os.environ["HOME"].startswith("/tmp/" + n)]})
        """, {"paths": paths, "other": other})
    assert got["seen"] == [] and not got["mark"] and not got["other"]
    assert got["processes"] == 2, "the helper and itself"
    assert {n for n in got["own"] if not n.startswith("ERRAND_STORAGE_")} <= {"ERRAND_API_BASE", "ERRAND_ATTEMPT", "ERRAND_RUNNER_TOKEN", "ERRAND_RUN_ID", "HOME", "LC_CTYPE", "PATH", "TMPDIR"} and got["helper"] == "EACCES"
    assert got["fds"] == ["0", "1", "2", "3"] and got["passwd"] == 2 and got["shm"] == [] and got["tmp"] == []
    api.post(f"/v1/runs/{other}/stop?wait=20")


def test_what_stands_outside_is_started_without_its_environment(api, runner):
    """bubblewrap runs with the runner's rights: an LD_PRELOAD of the agent's must not reach it, nor is its secret shown in a command line."""
    run_id = api.submit(sandboxed.shell("exec sleep 100000", env=[{"key": "LD_PRELOAD", "value": "/tmp/evil.so"}, {"key": "WORD", "value": "a-word-of-its-own"}]))
    api.wait(run_id, "running")
    pid = wait_until(lambda: of_run(run_id), what="its process")[0]
    seen = []
    while pid != runner.process.pid:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            pid = int(re.search(r"^PPid:\t(\d+)$", f.read(), re.M).group(1))
        with open(f"/proc/{pid}/environ", "rb") as f, open(f"/proc/{pid}/cmdline", "rb") as g:
            environment, words = f.read(), g.read()
        seen.append(os.path.basename(words.split(b"\0")[0].decode()))
        assert b"a-word-of-its-own" not in words
        if pid != runner.process.pid:
            assert {w.split(b"=")[0] for w in environment.split(b"\0") if w} <= {b"PATH", b"PWD"}, (words, environment)
    assert "bwrap" in seen and "errand-exec" in seen
    api.post(f"/v1/runs/{run_id}/stop?wait=20")


def test_only_its_own_folders_can_be_written(api, runner):
    got = look(api, """\
        places = ["/", "/usr", "/etc", "/etc/ssl", "/dev", "/proc", "/usr/local", "/run", os.path.dirname(os.environ["HOME"]) + "/beside"]
        end({"no": [p for p in places if tried(lambda: open(p + "/x", "w").close()) in ("EROFS", "EACCES", "EPERM", "ENOENT")],
             "yes": [p for p in (os.environ["HOME"], os.environ["TMPDIR"], "/tmp", "/dev/shm", os.getcwd()) if tried(lambda: open(p + "/x", "w").close()) is None],
             "users": tried(open, "/etc/passwd", "a"), "chmod": tried(os.chmod, "/etc/passwd", 0o777)})
        """)
    assert len(got["no"]) == 9 and len(got["yes"]) == 5, got
    assert got["users"] in ("EROFS", "EACCES") and got["chmod"] in ("EROFS", "EPERM")


def test_sandbox_paths_are_shown_and_nothing_beside_them(stack, api, can_sandbox):
    os.mkdir(stack.folder + "/shown")
    for name in ("shown/a", "hidden"):
        with open(f"{stack.folder}/{name}", "w", encoding="ascii") as f:
            f.write("text")
    os.chmod(stack.folder + "/shown/a", 0o644)
    os.chmod(stack.folder + "/shown", 0o755)
    sandboxed.runner(stack, api, sandbox_paths=stack.folder + "/shown, /nowhere", sandbox_uid=4321, sandbox_disk_mb=0)
    got = look(api, """\
        at = job["input"]
        open("kept", "w").write("x" * 100)
        end({"a": open(at + "/shown/a").read(), "write": tried(open, at + "/shown/a", "a"), "list": os.listdir(at), "uid": os.getuid(), "home": os.listdir(".")})
        """, stack.folder)
    mine = [n for n in got.pop("list") if n.startswith("errand-")]
    assert got == {"a": "text", "write": "EROFS", "uid": 4321, "home": ["kept"]} or got["write"] == "EACCES"
    assert len(mine) == 1
    wait_until(lambda: os.listdir(os.path.join(stack.folder, mine[0])) == [], what="its folder on disk is removed")


CLEANS_UP = """\
        def leave(*_):
            time.sleep(0.3)  # were the sandbox itself ended, there would be no time for this
            os.write(1, b'{"kind":"notification","data":{"cleaned":true}}\\n')  # sys.stdout may be in use where the signal came
            os._exit(0)
        signal.signal(signal.SIGTERM, leave)
        say("notification", {"ready": True})
        time.sleep(1000)
        """


# ---- other processes ----

def test_processes_outside_are_out_of_reach(stack, api, runner):
    other = subprocess.Popen(["sleep", "1000"])
    try:
        got = look(api, """\
            pids = job["input"]
            end({str(p): tried(os.kill, p, signal.SIGKILL) for p in pids})
            """, [other.pid, runner.process.pid, 1])
        assert got["1"] is None, "the helper is the kernel's to protect: it lives on and tells the end"
        assert got[str(other.pid)] == "ESRCH" and got[str(runner.process.pid)] == "ESRCH"
        assert other.poll() is None and runner.process.alive()
    finally:
        other.kill()
        other.wait()


def test_a_signal_is_told_from_an_exit_status(api, runner):
    """What the helper says is read before bubblewrap's own status, however quickly the agent ended: each several times."""
    for text, want in 5 * (("kill -SEGV $$", "signal"), ("exit 139", "exit_nonzero"), ("exit 3", "exit_nonzero")):
        record = api.wait(api.submit(sandboxed.shell(text)))
        assert (record["status"], record.get("error", {}).get("class")) == ("error", want), (text, record)
    assert record["error"]["message"].startswith("exit status 3")


def test_a_command_that_is_not_there_says_so(api, runner):
    record = api.wait(api.submit({"name": "none", "executor": "sandbox", "command": ["/nowhere/to/be/found"]}))
    assert record["error"]["class"] == "start_failed" and "/nowhere/to/be/found: No such file" in record["error"]["message"]
    record = api.wait(api.submit(sandboxed.shell("true", workdir="/home/nobody")))
    assert record["error"]["class"] == "start_failed" and "workdir /home/nobody" in record["error"]["message"]


def test_stop_is_a_sigterm_that_the_agent_hears(api, runner):
    run_id = api.submit(sandboxed.python(CLEANS_UP, graceMs=60000))
    with api.stream(run_id) as stream:
        stream.until("notification")
    assert api.post(f"/v1/runs/{run_id}/stop?wait=20").json()["status"] == "stopped"
    assert b"cleaned" in b"".join(api.replay(run_id).lines()), "it had time to"


def test_stop_ends_a_tree_that_ignores_sigterm(api, runner):
    run_id = api.submit(sandboxed.python("""\
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for i in range(3):
            if os.fork() == 0:
                os.setsid()
        say("notification", {"ready": True})
        time.sleep(1000)
        """, graceMs=300))
    with api.stream(run_id) as stream:
        stream.until("notification")
    wait_until(lambda: len(of_run(run_id)) == 8, what="eight processes")
    assert api.post(f"/v1/runs/{run_id}/stop?wait=20").json()["status"] == "stopped"
    wait_until(lambda: not of_run(run_id), 1, "nothing is left")


def test_a_killed_runner_leaves_no_sandbox(api, runner):
    run_id = api.submit(sandboxed.shell("setsid sleep 100000 & exec sleep 100000"))
    wait_until(lambda: len(of_run(run_id)) == 2, what="its processes")
    runner.kill9()
    wait_until(lambda: not of_run(run_id), 5, "nothing is left")


def test_a_killed_errand_exec_leaves_no_sandbox(api, runner):
    """Nobody is left then who could end the tree from outside: it ends itself."""
    run_id = api.submit(sandboxed.shell("setsid sleep 100000 & exec sleep 100000"))
    pid = wait_until(lambda: len(of_run(run_id)) == 2 and of_run(run_id)[0], what="its processes")
    while True:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            above = int(re.search(r"^PPid:\t(\d+)$", f.read(), re.M).group(1))
        if above == runner.process.pid:
            break
        pid = above
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not of_run(run_id), 5, "nothing is left")
    assert api.wait(run_id)["error"]["class"] == "signal"


# ---- limits ----

def test_bytes_on_disk_and_in_tmp_have_a_bound(api, runner):
    got = look(api, """\
        def fill(folder, mib):
            n = 0
            try:
                with open(folder + "/fill", "wb", buffering=0) as f:
                    while n < mib and f.write(bytes(1 << 20)) == 1 << 20:
                        n += 1
            except OSError as e:
                return [n, errno.errorcode[e.errno]]
            return [n, "as much as it wanted"]
        end({"home": fill(os.environ["HOME"], 20), "tmp": fill("/tmp", 80), "shm": fill("/dev/shm", 80)})
        """, resources={"diskMb": 8})
    assert got["home"][0] <= 8 and got["tmp"][0] <= 64 and got["shm"][0] <= 64, got
    assert api.record  # the machine's own disk saw nothing of it


def _limited(api, runner, capability):
    """Skips where this machine can't limit it."""
    text = json.dumps(api.get("/v1/runners").json())
    if capability not in text:
        pytest.skip(f"no {capability} here: control groups can't be used")


def test_a_memory_bomb_is_oom_killed(api, runner):
    _limited(api, runner, "memory_limit")
    run_id = api.submit(sandboxed.python("kept = [bytearray(b'x') * (1 << 20) for _ in range(4096)]", resources={"memoryMb": 64}))
    record = api.wait(run_id)
    assert record["error"]["class"] == "oom_killed", record
    # what is written into a tmpfs is memory, too
    run_id = api.submit(sandboxed.shell("exec head -c 200M /dev/zero > big", resources={"memoryMb": 48, "diskMb": 500}))
    assert api.wait(run_id)["error"]["class"] in ("oom_killed", "exit_nonzero")


def test_a_fork_bomb_runs_into_its_limit(api, runner):
    _limited(api, runner, "memory_limit")
    got = look(api, """\
        n = 0
        try:
            while n < 1000:
                if os.fork() == 0:
                    time.sleep(1000)
                n += 1
        except OSError as e:
            end({"forked": n, "error": errno.errorcode[e.errno]})
        """, resources={"pids": 24}, graceMs=100)
    assert got["error"] == "EAGAIN" and got["forked"] < 24
    wait_until(lambda: not of_run(api.stack.run_ids[-1]), what="nothing is left")


def test_a_cpu_burn_gets_its_share(api, runner):
    _limited(api, runner, "cpu_limit")
    got = look(api, """\
        until = time.monotonic() + 1.5
        for _ in range(2):
            os.fork()
        while time.monotonic() < until:
            pass
        used = time.process_time()
        if os.getpid() == int(os.environ.get("ME", os.getpid())):
            pass
        with open("t%d" % os.getpid(), "w") as f:
            f.write(str(used))
        while len([n for n in os.listdir(".") if n.startswith("t")]) < 4:
            time.sleep(0.05)
        if os.getppid() == 1:
            time.sleep(0.3)
            end(sum(float(open(n).read() or 0) for n in os.listdir(".") if n.startswith("t")))
        """, resources={"cpus": 0.25})
    assert got < 1.5 * 0.25 * 2, "four processes together, with room for the period that had begun"


# ---- network ----

def test_without_network_there_is_none(api, runner, listener):
    port, came = listener
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0errand-test-{port}")
    abstract.listen()
    got = look(api, """\
        def connect(family, at):
            s = socket.socket(family)
            s.settimeout(3)
            return tried(s.connect, at)
        port = job["input"]
        end({"loopback": connect(socket.AF_INET, ("127.0.0.1", port)), "v6": connect(socket.AF_INET6, ("::1", port)), "outside": connect(socket.AF_INET, ("192.0.2.1", 80)),
             "abstract": connect(socket.AF_UNIX, "\\0errand-test-%d" % port)})
        """, port)
    assert got == {"loopback": "ECONNREFUSED", "v6": "ECONNREFUSED", "outside": "ENETUNREACH", "abstract": "ECONNREFUSED"}
    assert came == []
    abstract.close()


def test_network_host_is_the_hosts(api, runner, listener):
    port, came = listener
    assert look(api, 'end(tried(socket.create_connection(("127.0.0.1", job["input"])).close))', port, network="host") is None
    wait_until(lambda: len(came) == 1, what="it came")


# ---- users and machines ----

@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to start a runner as somebody else")
def test_a_runner_that_is_not_root_contains_as_well(stack, api, can_sandbox):
    folder, work = sandboxed.as_nobody(stack)
    stack.runner(api=api, build=folder, env={"ERRAND_EXECUTORS": "sandbox", "ERRAND_WORK_DIR": work, "ERRAND_EXEC_PATH": build_dir() + "/errand-exec", "TMPDIR": work})
    got = look(api, """\
        status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines() if ":" in l)
        open("kept", "w").write("x")
        end({"uid": os.getuid(), "caps": status["CapEff"].strip(), "bound": status["CapBnd"].strip(), "nnp": status["NoNewPrivs"].strip(), "shadow": os.path.exists("/etc/shadow"),
             "processes": len([p for p in os.listdir("/proc") if p.isdigit()]), "usr": tried(open, "/usr/x", "w"), "root": tried(open, "/x", "w"), "dev": tried(open, "/dev/x", "w"), "unshare": tried(libc.unshare, 0x10000000), "net": len(socket.if_nameindex())})
        """)
    assert got["uid"] == 64111 and got["caps"] == got["bound"] == "0" * 16 and got["nnp"] == "1" and not got["shadow"]
    assert got["processes"] == 2 and got["usr"] == got["root"] == got["dev"] == "EROFS" and got["unshare"] == -1 and got["net"] == 1
    run_id = api.submit(sandboxed.python(CLEANS_UP, graceMs=60000))
    with api.stream(run_id) as stream:
        stream.until("notification")
    assert api.post(f"/v1/runs/{run_id}/stop?wait=20").json()["status"] == "stopped"
    assert b"cleaned" in b"".join(api.replay(run_id).lines()), "the agent hears SIGTERM, and bubblewrap around it does not"
    wait_until(lambda: not any(os.listdir(os.path.join(work, n)) for n in os.listdir(work) if n.startswith("errand-")), what="its folder is removed")


def test_without_bubblewrap_the_runner_says_so(stack, api, can_sandbox, monkeypatch):
    """The program is looked for in fixed places; in a mount namespace they are empty."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to hide a program")
    script = os.path.join(stack.folder, "hidden")
    os.mkdir(script)
    with open(script + "/errand-runner", "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\nexec unshare -m sh -c \'mount -t tmpfs none /usr/local/bin; : > /tmp/none-$$; mount --bind /tmp/none-$$ /usr/bin/bwrap; rm -f /tmp/none-$$; exec "$0" "$@"\' {build_dir()}/errand-runner "$@"\n')
    os.chmod(script + "/errand-runner", 0o755)
    process = stack.start("errand-runner", [], {"ERRAND_EXECUTORS": "sandbox"}, script)
    assert process.wait(20) == 2
    assert b"sandbox needs bubblewrap (bwrap); install the package bubblewrap" in process.output()


def test_capabilities_are_what_was_tried(api, runner):
    nodes = api.get("/v1/runners").json()
    text = json.dumps(nodes)
    for capability in ("process_isolation", "network_isolation", "network_filtering", "filesystem_isolation", "timeout"):
        assert capability in text, text


def test_storage_is_reached_by_its_socket_and_no_other_way(stack, api, can_sandbox):
    """Where Redis has a Unix socket and the runner's options give storage, a sandbox without network has that one way, and there only its own user."""
    name, password = stack.redis.users.login("storage")
    os.chmod(stack.redis.socket, 0o777)  # Redis' unixsocketperm: whoever may connect still has to be somebody
    sandboxed.runner(stack, api, storage_redis_url=f"unix://{stack.redis.socket}", storage_admin_user=name, storage_admin_password=password)
    got = look(api, """\
        import urllib.parse
        url = urllib.parse.urlsplit(os.environ["ERRAND_STORAGE_REDIS_URL"])
        s = socket.socket(socket.AF_UNIX)
        s.connect(url.path)
        f = s.makefile("rwb", buffering=0)
        def ask(*words):
            f.write(b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(w.encode()), w.encode()) for w in words))
            return f.readline().decode().strip()
        end([ask("AUTH", urllib.parse.unquote(url.username), url.password), ask("SET", os.environ["ERRAND_STORAGE_ARTIFACTS_PREFIX"] + "x", "1"), ask("KEYS", "*").split()[0], os.listdir(os.path.dirname(url.path))])
        """)
    assert got == ["+OK", "+OK", "-NOPERM", [os.path.basename(stack.redis.socket)]]
