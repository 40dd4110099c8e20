"""`errand dev`: everything on one machine with one command, and nothing of it left behind."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import uuid

import pytest

from harness import http_client
from harness.nodes import ROOT, build_dir
from harness.processes import process_state, with_environment
from harness.wait import wait_until

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored is inherited; so the tests may run in the background of a shell
ERRAND = os.path.join(build_dir(), "errand")


class Dev:
    """One `errand dev` in a folder of its own. Everything it starts carries a mark in its environment."""

    def __init__(self, folder, *args, env=None, under=()):
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.env = {k: os.environ[k] for k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if k in os.environ}
        self.env.update(HOME=folder, LC_ALL="C.UTF-8", ERRAND_TEST_MARK=self.mark, **{"ERRAND_EXAMPLES": os.path.join(ROOT, "examples"), **(env or {})})
        self.out, self.err = os.path.join(folder, "out"), os.path.join(folder, "err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen([*under, ERRAND, "dev", "--port", "0", *args], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.env, cwd=folder, start_new_session=True)

    def examples(self):
        """How many runs it showed."""
        return 4 if "look-around: in a sandbox" in self.text(self.out) else 3

    def text(self, path):
        with open(path, encoding="utf-8") as f:
            return f.read()

    def errand(self, *args, cwd=None):
        """The client in this folder, without a variable."""
        env = {k: v for k, v in self.env.items() if not k.startswith("ERRAND_")}
        return subprocess.run([ERRAND, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd or self.folder, timeout=60)

    def wait_up(self):
        def up():
            assert self.process.poll() is None, self.text(self.err)
            return "Ctrl-C ends all" in self.text(self.out)
        wait_until(up, 120, "errand dev is up and its example has run")
        return self

    def ports(self):
        return sorted({int(p) for p in re.findall(r"http://127\.0\.0\.1:(\d+)$", self.text(self.out), re.M)})

    def left(self):
        """All of its processes: by the mark, and, since Redis writes over its own environment, by the folder they work in."""
        found = set(with_environment("ERRAND_TEST_MARK", self.mark))
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd").startswith(self.folder):
                    found.add(int(entry))
            except OSError:
                pass
        return sorted(found)

    def pids(self, name):
        """Its children of that program."""
        found = []
        for pid in self.left():
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                    if f.read().strip() == name:
                        found.append(pid)
            except OSError:
                pass
        return found

    def end(self, sig=signal.SIGINT, timeout=60):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        self.process.wait(timeout)
        assert self.left() == []
        return self.process.returncode


@pytest.fixture
def dev(folder):
    made = []

    def make(*args, **kwargs):
        path = os.path.join(folder, f"d{len(made)}")
        os.makedirs(path, exist_ok=True)
        made.append(Dev(kwargs.pop("path", path), *args, **kwargs))
        return made[-1]
    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            try:
                one.process.wait(60)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


def test_once(dev):
    """The first five minutes: one command shows runs with their events and results, and ends with the worst status."""
    d = dev("--once")
    assert d.process.wait(180) == 0, d.text(d.err)
    out, err = d.text(d.out), d.text(d.err)
    assert len(d.ports()) == 2
    for part in ("attempt 1 started", "→ count_languages", "← count_languages", "Languages", '"languages": ['):
        assert part in out, part
    assert err.count("✔ success") == d.examples() and "✘" not in err
    # A worker that stays: the second run is served by the first one's process.
    assert re.findall(r"\(worker (\d+), its run 1\)", out) == re.findall(r"\(worker (\d+), its run 2\)", out) != []
    assert d.left() == []
    home = os.path.join(d.folder, ".errand")
    assert stat.S_IMODE(os.stat(home).st_mode) == 0o700
    key = os.path.join(home, "key")
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600 and re.fullmatch(r"errand_root_[\w-]{43}\n", d.text(key))
    assert not os.path.exists(os.path.join(home, "url")), "nothing serves there any more"
    for folder, below, files in os.walk(home):
        # Code that agents came with is as their sandbox may read it, in a folder that nobody else enters.
        for cache in [b for b in below if b.startswith(".errand-bundles-")]:
            assert stat.S_IMODE(os.stat(os.path.join(folder, cache)).st_mode) == 0o700
            below.remove(cache)
        assert all(stat.S_IMODE(os.lstat(os.path.join(folder, f)).st_mode) & 0o077 == 0 for f in files), folder


def test_the_sandbox_is_shown(dev, can_sandbox):
    """From within: no network but its own loopback, no process of the machine, nothing to write to but its own folder."""
    d = dev("--once")
    assert d.process.wait(180) == 0, d.text(d.err)
    out = d.text(d.out)
    for part in ("started, executor sandbox", "user:       agent,", "network:    lo \n", "writing to /usr: refused", "writing to its code: refused", "writing to /: refused", "writing to its private folder: possible"):
        assert part in out, part
    assert "can't have a sandbox" not in d.text(d.err) and "possible!" not in out


def test_the_worst_status_is_the_end(dev, folder):
    """An example that fails is seen by who asked, though a later one succeeds; all of them are shown."""
    examples = os.path.join(folder, "examples")
    shutil.copytree(os.path.join(ROOT, "examples"), examples)
    with open(os.path.join(examples, "repo-report", "agent.py"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\nexit 3\n")
    d = dev("--once", env={"ERRAND_EXAMPLES": examples})
    assert d.process.wait(180) == 1, d.text(d.err)
    assert "exit_nonzero" in d.text(d.err) and "its run 2)" in d.text(d.out)


def test_without_a_sandbox(dev):
    """Where none can be made it says why in one line, and everything else works."""
    hidden = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /usr/bin/bwrap && exec "$@"', "sh"]
    if not os.path.exists("/usr/bin/bwrap"):
        hidden = []
    elif subprocess.run([*hidden, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("bubblewrap can't be hidden from a process here (unshare -m, mount)")
    d = dev("--once", under=hidden)
    assert d.process.wait(180) == 0, d.text(d.err)
    [line] = [line for line in d.text(d.err).splitlines() if "sandbox" in line]
    assert line == "errand: agents can't have a sandbox on this machine: sandbox needs bubblewrap (bwrap); install the package bubblewrap"
    assert d.examples() == 3 and "its run 2)" in d.text(d.out) and "look-around" not in d.text(d.out)


def test_a_runner_tries_its_executors(folder, can_sandbox):
    """Without a Redis, and without leaving anything."""
    def check(executors, **more):
        env = {k: os.environ[k] for k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if k in os.environ}
        env.update(ERRAND_WORK_DIR=folder, ERRAND_NODE=f"check-{os.path.basename(folder)}", ERRAND_REDIS_URL="unix:///nonexistent", ERRAND_EXECUTORS=executors, **more)
        done = subprocess.run([os.path.join(build_dir(), "errand-runner"), "--check-executors", "true"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=60, check=False)
        assert os.listdir(folder) == []
        return done.returncode, done.stdout
    assert check("process,sandbox,pool,http,anthropic") == (0, "")
    status, said = check("process,nonsense")
    assert status == 2 and 'executors: "nonsense" is not one of this version' in said
    status, said = check("process,container", ERRAND_DOCKER_SOCKET="/nonexistent")
    assert status == 2 and "/nonexistent" in said


def test_executors_as_the_person_says(dev):
    d = dev(env={"ERRAND_EXECUTORS": "process"}).wait_up()
    runners = json.loads(d.errand("runners", "--json").stdout.splitlines()[0])
    assert "pool-worker" not in d.text(d.out) and "repo-report" in d.text(d.out), runners
    assert "sandbox" not in json.dumps(runners) and "pool" not in json.dumps(runners)
    assert d.end() == 0


def test_stays_up_serves_heals_and_ends(dev):
    d = dev().wait_up()
    out = d.text(d.out)
    assert out.rindex(f"  API    http://127.0.0.1:{d.ports()[0]}\n") > out.rindex("its run 2)"), "where it serves stands below the example"
    assert "export" not in out
    key = d.text(os.path.join(d.folder, ".errand/key")).strip()
    # The client finds it without any variable, also from a folder below.
    below = os.path.join(d.folder, "a/b")
    os.makedirs(below)
    done = d.errand("run", "hello", "--input", '{"name": "Ada"}', "--follow", cwd=below)
    assert done.returncode == 0 and "Hello, Ada!" in done.stdout, done
    assert d.errand("run", "log-triage", "--wait").returncode == 0
    assert d.errand("doctor").returncode == 0
    assert d.errand("doctor", "--audit").stdout == f"audit: {d.examples() + 2} runs, 0 findings\n"
    assert d.errand("list", "--url", f"http://localhost:{d.ports()[0]}").returncode == 0
    assert d.errand("list").stdout.count("success") == d.examples() + 2
    # No secret stands on a command line.
    for pid in d.left():
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            assert key.encode() not in f.read()
    # The runners know no key.
    for pid in d.pids("errand-runner"):
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert key.encode() not in f.read()
    # What dies is started again: a runner, a node, Redis.
    for name in ("errand-runner", "errand-api", "redis-server"):
        before = d.pids(name)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda name=name, before=before: len(d.pids(name)) == len(before) and before[0] not in d.pids(name), 30, f"another {name}")
    wait_until(lambda: all(_ready(port) for port in d.ports()), 30, "both nodes are ready again")
    done = d.errand("run", "hello", "--follow")
    assert done.returncode == 0, done
    assert "starting it again" in d.text(d.err)
    # A second one in the same folder is refused, and does not disturb the first.
    second = subprocess.run([ERRAND, "dev", "--port", "0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=d.env, cwd=d.folder, timeout=30)
    assert second.returncode == 2 and str(d.process.pid) in second.stderr
    assert d.errand("list").returncode == 0
    # A run that goes on when Ctrl-C comes is ended with the rest.
    agent = os.path.join(d.folder, "agent.json")
    with open(agent, "w", encoding="utf-8") as f:
        f.write('{"name":"long","executor":"process","command":["sh","-c","trap \\"\\" TERM; setsid sleep 1000 & sleep 1000"],"protocol":"text","graceMs":500}')
    run_id = d.errand("run", "--file", agent).stdout.strip()
    wait_until(lambda: with_environment("ERRAND_RUN_ID", run_id), 20, "the long run executes")
    assert d.end() == 0
    assert with_environment("ERRAND_RUN_ID", run_id) == []
    # Data and key stay.
    again = dev(path=d.folder).wait_up()
    assert again.text(os.path.join(d.folder, ".errand/key")).strip() == key
    assert again.errand("list").stdout.count("success") == 2 * d.examples() + 3
    assert again.end() == 0


def _ready(port):
    try:
        return http_client.request(port, "GET", "/readyz", timeout=5).status == 200
    except OSError:
        return False


def test_hints_of_another_folder_work(dev):
    d = dev("--no-example", "--dir", "its own").wait_up()
    [export] = re.findall(r"^  (export .*)$", d.text(d.out), re.M)
    env = {k: v for k, v in d.env.items() if not k.startswith("ERRAND_")}
    done = subprocess.run(["/bin/sh", "-c", f'{export}; exec "$0" list', ERRAND], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=d.folder, timeout=60)
    assert done.returncode == 0, done
    assert d.end() == 0


def test_a_folder_that_is_there_already(dev, folder):
    """One that others may read is not taken, and keeps its permissions; a private one is taken."""
    path = os.path.join(folder, "there")
    os.mkdir(path)
    os.chmod(path, 0o755)
    d = dev("--no-example", "--once", "--dir", path)
    assert d.process.wait(60) == 2
    assert f"{path} exists and is not private; choose a new one, or chmod 700 it" in d.text(d.err)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o755 and os.listdir(path) == []
    os.chmod(path, 0o700)
    d = dev("--no-example", "--once", "--dir", path)
    assert d.process.wait(60) == 0, d.text(d.err)


def test_its_own_death_leaves_nothing(dev):
    d = dev("--no-example").wait_up()
    d.process.kill()
    d.process.wait()
    wait_until(lambda: d.left() == [], 30, "all children are gone")
    again = dev("--no-example", path=d.folder).wait_up()
    assert again.end() == 0


def test_ctrl_c_while_it_starts(dev):
    for stage in ("redis-server", "errand-api", "errand-runner"):
        d = dev()
        wait_until(lambda d=d, stage=stage: d.pids(stage), 60, stage)
        assert d.end() == 0, d.text(d.err)


def test_a_busy_port_is_named(dev, folder):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        d = dev("--once", "--port", str(port))
        assert d.process.wait(60) == 2
    text = d.text(d.err)
    assert str(port) in text and f"process {os.getpid()}" in text and "--port" in text


def test_missing_redis_is_said(dev, folder):
    tools = os.path.join(folder, "bin")
    os.mkdir(tools)
    for name in ("sh", "git"):
        os.symlink(shutil.which(name), os.path.join(tools, name))
    d = dev("--once", env={"PATH": tools})
    assert d.process.wait(60) == 2
    assert "apt-get install redis-server" in d.text(d.err)


def test_a_folder_with_a_long_path(dev, folder):
    """Longer than a Unix socket's address may be."""
    deep = os.path.join(folder, "x" * 60, "y" * 60)
    os.makedirs(deep)
    d = dev("--once", path=deep)
    assert d.process.wait(180) == 0, d.text(d.err)
    assert d.left() == []
    assert process_state(d.process.pid) is None
