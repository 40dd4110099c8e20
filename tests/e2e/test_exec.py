"""errand-exec from outside: what it says on its control socket, and that nothing of an agent's process tree survives."""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ERRAND_BUILD", os.path.join(ROOT, "build"))
EXEC = os.path.join(BUILD, "errand-exec")


def wait_for(condition, seconds=10.0, what="the condition"):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.005)


def marked(mark):
    """The pids of living processes whose environment holds the mark (zombies have none)."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as f:
                environ = f.read()
            if f"ERRAND_TEST_MARK={mark}".encode() not in environ:
                continue
            with open(f"/proc/{name}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] not in "ZX":
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return found


class Job:
    """One errand-exec with its pipes and its control socket."""

    def __init__(self, command, options=(), env=None, wrapper=(), binary=EXEC, preexec=None):
        self.mark = uuid.uuid4().hex
        self.control, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        environ = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "ERRAND_TEST_MARK": self.mark, **(env or {})}

        def place_control():
            os.dup2(theirs.fileno(), 3)
            if preexec:
                preexec()

        self.process = subprocess.Popen(
            [*wrapper, binary, *options, "--", *command], stdin=subprocess.DEVNULL, stdout=out_write, stderr=subprocess.STDOUT,
            env=environ, preexec_fn=place_control, close_fds=True, pass_fds=(3,) if theirs.fileno() == 3 else (3, theirs.fileno()))
        theirs.close()
        os.close(out_write)
        self.out_fd = out_read
        self.buffer = b""

    def line(self, seconds=10.0):
        """The next line of the control socket; None at its end."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.control], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no line within {seconds} s"
            data = self.control.recv(4096)
            if not data:
                assert not self.buffer, "the socket ended within a line"
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def started(self):
        line = self.line()
        assert line.startswith("started "), line
        return int(line.split()[1])

    def rest(self):
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
        return lines

    def output(self, seconds=10.0):
        """Everything the agent printed, up to the end of its pipe."""
        data, deadline = b"", time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self.out_fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the agent's pipe did not end"
            chunk = os.read(self.out_fd, 65536)
            if not chunk:
                return data.decode("utf-8", "replace")
            data += chunk

    def order(self, text):
        self.control.sendall(text.encode() + b"\n")

    def wait_gone(self, seconds=10.0):
        assert self.process.wait(seconds) == 0
        assert marked(self.mark) == []

    def close(self):
        self.control.close()
        try:
            self.process.wait(10)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for pid in marked(self.mark):
                os.kill(pid, signal.SIGKILL)
            os.close(self.out_fd)


@pytest.fixture
def job():
    jobs = []

    def make(*args, **kwargs):
        jobs.append(Job(*args, **kwargs))
        return jobs[-1]

    yield make
    for j in jobs:
        j.close()


PYTHON = sys.executable
# Says its pid once it ignores SIGTERM, then sleeps for as long as it is let.
STUBBORN = "import signal,time,sys\nfor s in (15,2,1): signal.signal(s, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
# A child in a session of its own, and a daemon that double-forked; both ignore SIGTERM. With DEAF the leader does too; with LEAVE it goes.
FAMILY = """
import os, signal, time
def deaf():
    for s in (15, 2, 1): signal.signal(s, signal.SIG_IGN)
r, w = os.pipe()
if os.fork() == 0:
    os.setsid(); deaf(); os.write(w, b'x'); time.sleep(600); os._exit(0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid(); deaf(); os.write(w, b'x'); time.sleep(600)
    os._exit(0)
os.wait()
if os.environ.get('DEAF'): deaf()
seen = 0
while seen < 2: seen += len(os.read(r, 1))
print('up', flush=True)
if os.environ.get('LEAVE'): os._exit(7)
time.sleep(600)
"""

def test_normal_exit(job):
    j = job(["sh", "-c", "echo hello; exit 3"])
    line = j.line()
    word, pid, start, boot = line.split()
    assert word == "started" and int(pid) > 1 and int(start) > 0
    with open("/proc/sys/kernel/random/boot_id") as f:
        assert boot == f.read().strip()
    assert j.output() == "hello\n"
    assert j.rest() == ["exited 3", "gone"]
    j.wait_gone()


def test_start_time_is_that_of_the_command(job):
    j = job(["sleep", "600"])
    _, pid, start, _ = j.line().split()
    with open(f"/proc/{pid}/stat") as f:
        assert f.read().rsplit(")", 1)[1].split()[19] == start
    j.order("kill")
    assert j.rest() == ["signaled 9", "gone"]


def test_death_by_signal(job):
    j = job(["sh", "-c", "kill -SEGV $$"])
    j.started()
    assert j.rest() == ["signaled 11", "gone"]
    j.wait_gone()


@pytest.mark.parametrize("command, options, errno, word", [
    (["errand-test-no-such-command"], [], 2, "exec"),
    (["/"], [], 13, "exec"),
    (["true"], ["--workdir", "/nonexistent/folder"], 2, "workdir"),
])
def test_failure_to_start(job, command, options, errno, word):
    j = job(command, options)
    lines = j.rest()
    assert len(lines) == 1 and lines[0].startswith(f"failed {errno} {word} "), lines
    assert j.output() == ""
    j.wait_gone()


def test_failure_text_is_one_line(job):
    j = job(["no\nsuch\x01command"])
    lines = j.rest()
    assert len(lines) == 1 and "no?such?command" in lines[0]


@pytest.mark.parametrize("arguments", [[], ["--"], ["true"], ["--grace-ms", "x", "--", "true"], ["--grace-ms", "-1", "--", "true"], ["--bogus", "1", "--", "true"], ["--workdir", "--"]])
def test_usage(arguments):
    ours, theirs = socket.socketpair()
    done = subprocess.run([EXEC, *arguments], stderr=subprocess.PIPE, preexec_fn=lambda: os.dup2(theirs.fileno(), 3), pass_fds=(3, theirs.fileno()), timeout=10)
    ours.close()
    theirs.close()
    assert done.returncode == 2 and b"usage:" in done.stderr


def test_path_of_the_given_environment(job, tmp_path):
    tool = tmp_path / "only-here"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    j = job(["only-here"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    j.started()
    assert j.output() == "found\n"


def test_workdir_umask_session_limits(job, tmp_path):
    j = job(["sh", "-c", "pwd; umask; ulimit -n; ulimit -c; : >made; ps -o sid= -p $$ | tr -d ' '; echo $$"],
            ["--workdir", str(tmp_path), "--rlimit-nofile", "77", "--rlimit-core", "0"])
    pid = j.started()
    assert j.output().split() == [str(tmp_path), "0077", "77", "0", str(pid), str(pid)]
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_no_descriptor_leaks_into_the_agent(job):
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    high = os.dup2(extra, 200)
    try:
        # The listing program's own descriptor on the folder is the fourth.
        j = job([PYTHON, "-c", "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))"], preexec=lambda: os.dup2(extra, 201))
        j.started()
        assert j.output() == "[0, 1, 2, 3]\n"
    finally:
        os.close(extra)
        os.close(high)


def test_signals_of_the_agent_are_default_and_unblocked(job):
    def spoil():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})

    j = job(["grep", "-E", "^Sig(Blk|Ign|Pnd)", "/proc/self/status"], preexec=spoil)
    j.started()
    assert {line.split()[1] for line in j.output().splitlines()} == {"0" * 16}
    assert j.rest() == ["exited 0", "gone"]


def test_stop_is_polite_first(job):
    j = job(["sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"])
    j.started()
    assert os.read(j.out_fd, 100) == b"up\n"
    j.order("stop 10000")
    assert "bye" in j.output()
    assert j.rest() == ["exited 5", "gone"]
    j.wait_gone()


def test_stop_wakes_a_stopped_process(job):
    j = job(["sh", "-c", "trap 'exit 5' TERM; echo up; kill -STOP $$; echo on"])
    pid = j.started()

    def stopped():
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "T"

    wait_for(stopped)
    j.order("stop 10000")
    assert j.rest() == ["exited 5", "gone"]


def test_whole_deaf_tree_after_the_grace(job):
    j = job([PYTHON, "-c", FAMILY], env={"DEAF": "1"})
    j.started()
    assert os.read(j.out_fd, 100) == b"up\n"
    assert len(set(marked(j.mark)) - {j.process.pid}) == 3, "the leader, one in a session of its own, a daemon"
    began = time.monotonic()
    j.order("stop 300")
    assert j.rest() == ["signaled 9", "gone"]
    assert 0.3 <= time.monotonic() - began < 1.3
    assert j.output() == ""
    j.wait_gone()


def test_what_the_command_leaves_behind(job):
    j = job([PYTHON, "-c", FAMILY], ["--grace-ms", "200"], env={"LEAVE": "1"})
    j.started()
    assert j.line() == "exited 7"
    assert j.rest() == ["gone"]
    assert j.output() == "up\n"
    j.wait_gone()


def test_kill_order(job):
    j = job([PYTHON, "-c", FAMILY], env={"DEAF": "1"})
    j.started()
    os.read(j.out_fd, 100)
    j.order("kill")
    assert j.rest() == ["signaled 9", "gone"]
    j.wait_gone()


def test_kill_shortens_a_grace_and_a_later_stop_never_lengthens_it(job):
    j = job([PYTHON, "-c", STUBBORN])
    j.started()
    os.read(j.out_fd, 100)
    j.order("stop 400")
    j.order("stop 600000")
    assert j.rest() == ["signaled 9", "gone"]
    k = job([PYTHON, "-c", STUBBORN])
    k.started()
    os.read(k.out_fd, 100)
    k.order("stop 600000")
    k.order("kill")
    assert k.rest() == ["signaled 9", "gone"]


def test_orders_that_are_none_are_ignored(job):
    j = job(["cat", "/dev/zero"])
    j.started()
    for text in ("", "stop", "stop x", "stop -1", "STOP 0", "kill now", "x" * 5000, "stop 99999999999999999999"):
        j.order(text)
    j.order("kill")
    lines = j.rest()
    assert lines == ["signaled 9", "gone"]


def test_an_order_in_pieces(job):
    j = job(["sleep", "600"])
    j.started()
    for piece in ("st", "op 10", "000", "\n"):
        j.control.sendall(piece.encode())
    assert j.rest() == ["signaled 15", "gone"]


def test_the_runner_is_gone(job):
    j = job([PYTHON, "-c", FAMILY], env={"DEAF": "1"})
    j.started()
    os.read(j.out_fd, 100)
    assert len(set(marked(j.mark)) - {j.process.pid}) == 3
    began = time.monotonic()
    j.control.close()
    assert j.process.wait(5) == 0
    assert time.monotonic() - began < 2
    assert marked(j.mark) == []


def test_the_runner_is_gone_during_the_grace(job):
    j = job([PYTHON, "-c", STUBBORN])
    j.started()
    os.read(j.out_fd, 100)
    j.order("stop 600000")
    j.control.close()
    assert j.process.wait(5) == 0
    assert marked(j.mark) == []


def test_the_runner_was_gone_from_the_start(job):
    j = job(["sleep", "600"])
    j.control.close()
    assert j.process.wait(5) == 0
    assert marked(j.mark) == []


def test_it_survives_signals_itself(job):
    j = job(["sleep", "600"])
    j.started()
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGALRM, signal.SIGTSTP):
        os.kill(j.process.pid, sig)
    j.order("stop 5000")
    assert j.rest() == ["signaled 15", "gone"]
    j.wait_gone()


def test_its_own_death_takes_the_command_along(job):
    j = job(["sleep", "600"])
    j.started()
    j.process.kill()
    j.process.wait()
    wait_for(lambda: marked(j.mark) == [], what="the command's death")


def test_no_zombies(job):
    j = job([PYTHON, "-c", """
import os, sys, time
for _ in range(200):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
print('up', flush=True)
time.sleep(600)
"""])
    j.started()
    assert os.read(j.out_fd, 100) == b"up\n"

    def children():
        with open(f"/proc/{j.process.pid}/task/{j.process.pid}/children") as f:
            return f.read().split()

    wait_for(lambda: len(children()) == 1, what="200 orphans being reaped")
    j.order("kill")
    assert j.rest() == ["signaled 9", "gone"]


def test_pipe_ends_with_the_tree_while_errand_exec_lives(job):
    """A closed stdout is seen at once: errand-exec keeps no end of it."""
    j = job(["sh", "-c", "echo x; exec >/dev/null 2>&1; sleep 600"])
    j.started()
    assert j.output() == "x\n"
    assert j.process.poll() is None
    j.order("kill")
    assert j.rest() == ["signaled 9", "gone"]


def test_threads_have_children_too(job):
    """SIGTERM reaches what a thread other than the first one started, while its process lives on."""
    j = job([PYTHON, "-c", """
import signal, subprocess, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def run():
    p = subprocess.Popen(['sh', '-c', 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done'], restore_signals=True,
                         preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    p.wait()
threads = [threading.Thread(target=run) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"""])
    j.started()
    seen = b""
    while seen.count(b"up\n") < 4:
        seen += os.read(j.out_fd, 100)
    j.order("stop 60000")
    assert j.output().count("bye") == 4
    assert j.rest() == ["exited 0", "gone"]
    j.wait_gone()


def as_a_user_of_its_own(tmp_path, *programs):
    """RLIMIT_NPROC counts a user's processes, and root is above it: what comes before errand-exec on the command line, and a copy of it that this user can reach."""
    if os.getuid() != 0:
        return [], EXEC
    uid, binary = str(3_000_000 + os.getpid()), str(tmp_path / "errand-exec")
    shutil.copy(EXEC, binary)
    for path in (binary, *programs):
        os.chmod(path, 0o755)
    folder = tmp_path
    while str(folder) != "/tmp" and folder != folder.parent:
        folder.chmod(0o755)
        folder = folder.parent
    return ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"], binary


def test_chains_that_never_hold_still(job, tmp_path):
    """Each process forks and is gone at once: its successor is found only by freezing what is seen before looking further."""
    source, program = tmp_path / "hop.c", tmp_path / "hop"
    source.write_text("""
#include <signal.h>
#include <unistd.h>
int main(void)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 20; i++) {
        if (fork() == 0) {
            setsid();
            for (;;) {
                if (fork() > 0)
                    _exit(0);
            }
        }
    }
    (void)!write(1, "up", 2);
    for (;;)
        pause();
}
""")
    subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    wrapper, binary = as_a_user_of_its_own(tmp_path, program)
    j = job([str(program)], ["--rlimit-nproc", "200"], wrapper=wrapper, binary=binary)
    j.started()
    os.read(j.out_fd, 2)
    began = time.monotonic()
    j.order("kill")
    assert j.rest() == ["signaled 9", "gone"]
    j.wait_gone()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("end", ["kill", "close"])
def test_fork_bomb(job, tmp_path, end):
    """Each process forks as fast as it can, for ever, ignores SIGTERM, and leaves its session; only the number of processes of its user is limited."""
    bomb = tmp_path / "bomb.py"
    bomb.write_text("""
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b'x')
while True:
    try:
        if os.fork() == 0:
            os.setsid()
            os.write(1, b'x')
    except OSError:
        pass
""")
    wrapper, binary = as_a_user_of_its_own(tmp_path, bomb)
    j = job([PYTHON, str(bomb)], ["--rlimit-nproc", "150"], wrapper=wrapper, binary=binary)
    j.started()
    seen = 0
    while seen < 100:
        seen += len(os.read(j.out_fd, 4096))
    began = time.monotonic()
    if end == "kill":
        j.order("kill")
        assert j.rest() == ["signaled 9", "gone"]
    else:
        j.control.close()
    assert j.process.wait(20) == 0
    assert marked(j.mark) == []
    assert time.monotonic() - began < 10
