"""Processes that a test started, and those that a run left behind. Only own pids are ever signalled."""
import os
import signal
import subprocess

from .wait import wait_until

SANITIZER_MARKS = (b"ERROR: AddressSanitizer", b"ERROR: LeakSanitizer", b"runtime error:", b"UndefinedBehaviorSanitizer", b"AddressSanitizer:DEADLYSIGNAL")


class Process:
    """One started program; its output goes to a log file."""

    def __init__(self, name, command, log, env, cwd=None):
        self.name, self.log, self.killed = name, log, False
        self.command, self.env, self.cwd = command, env, cwd
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd, start_new_session=True)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def kill9(self):
        """SIGKILL, and waits for its end."""
        self.killed = True
        self.signal(signal.SIGKILL)
        self.popen.wait(10)

    def freeze(self):
        """SIGSTOP, and waits until it has stopped."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: process_state(self.pid) in ("T", None), what=f"{self.name} is stopped")

    def thaw(self):
        self.signal(signal.SIGCONT)

    def end(self, timeout=30.0):
        """SIGTERM, and its exit status; SIGKILL and an assertion when it does not end."""
        if self.alive():
            self.thaw()
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise AssertionError(f"{self.name} did not end within {timeout} s after SIGTERM") from None
        return self.popen.returncode

    def wait(self, timeout=10.0):
        return self.popen.wait(timeout)

    def output(self):
        with open(self.log, "rb") as f:
            return f.read()

    def complaints(self):
        """What a sanitizer said in its log."""
        return [line.decode("utf-8", "replace") for line in self.output().splitlines() if any(mark in line for mark in SANITIZER_MARKS)]

    def private_kib(self):
        """Memory of its own: private pages, clean and dirty."""
        total = 0
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    total += int(line.split()[1])
        return total

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def process_state(pid):
    """The state letter of /proc/PID/stat; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


def with_environments(name, values):
    """{value: pids} of the living processes that have NAME=value in their environment, in one look at all of them. Zombies have none, and are not counted."""
    begin, wanted, found = f"{name}=".encode(), {v.encode(): v for v in values}, {}
    for entry in os.listdir("/proc") if wanted else []:
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as f:
                text = f.read()
        except OSError:
            continue
        if begin not in text:
            continue
        for word in text.split(b"\0"):
            if word.startswith(begin) and word[len(begin):] in wanted:
                found.setdefault(wanted[word[len(begin):]], []).append(int(entry))
                break
    return found


def with_environment(name, value):
    """Pids of the living processes that have NAME=VALUE in their environment."""
    return with_environments(name, [value]).get(value, [])


def of_run(run_id):
    """Pids of a run's processes, in whatever session they are."""
    return with_environment("ERRAND_RUN_ID", run_id)
