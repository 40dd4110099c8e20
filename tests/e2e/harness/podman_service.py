"""The Docker Engine API as Podman serves it, and one small image with Python and a shell, made from this machine's own. Where it can't be had the fixture skips and says why."""
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from .wait import wait_until

LEFT_OUT = ("__pycache__", "test", "idlelib", "tkinter", "lib2to3", "ensurepip", "pydoc_data", "distutils", "config-3*")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("engine", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def run(*command, env=None, timeout=60, stdin=None):
    return subprocess.run(command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, timeout=timeout, check=False)


class Engine:
    """`podman system service` on a socket of its own."""

    def __init__(self, folder, image):
        self.folder, self.image = folder, image
        self.socket, self.log = os.path.join(folder, "engine.sock"), os.path.join(folder, "engine.log")
        conf = os.path.join(folder, "containers.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=20000:20000","nproc=32768:32768"]\n')
        self.env = {**os.environ, "CONTAINERS_CONF": conf}
        self.process = None
        self.start()

    def start(self):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{self.socket}"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env=self.env, cwd=self.folder, start_new_session=True)  # conmon leaves a file where it stands
        wait_until(self.answers, 20, "Podman's service answers")

    def answers(self):
        try:
            return self.ask("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None):
        c = UnixConnection(self.socket)
        c.request(method, "/v1.41" + path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = c.getresponse()
        data = answer.read()
        c.close()
        return answer.status, json.loads(data) if data[:1] in (b"{", b"[") else data

    def containers(self, **labels):
        """The ids of containers with these labels (errand.KEY)."""
        filters = json.dumps({"label": [f"errand.{k}={v}" for k, v in labels.items()]}).replace('"', "%22").replace("{", "%7B").replace("}", "%7D").replace("[", "%5B").replace("]", "%5D").replace(" ", "")
        status, rows = self.ask("GET", f"/containers/json?all=true&filters={filters}")
        assert status == 200, rows
        return [row["Id"] for row in rows]

    def inspect(self, name):
        status, body = self.ask("GET", f"/containers/{name}/json")
        return body if status == 200 else None

    def remove(self, name):
        self.ask("DELETE", f"/containers/{name}?force=true&v=true")

    def kill9(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill9()


def free_cgroup_v2():
    """crun refuses a v2 hierarchy that has controllers beside a v1 one: the one that is left is mounted as v1."""
    try:
        with open("/sys/fs/cgroup/unified/cgroup.controllers", encoding="ascii") as f:
            left = f.read().split()
    except OSError:
        return
    for controller in left:
        path = f"/sys/fs/cgroup/{controller}"
        os.makedirs(path, exist_ok=True)
        run("mount", "-t", "cgroup", "-o", controller, "none", path)


def image_files():
    """Python, its library, a shell and some tools of this machine, with the libraries that they load."""
    python = os.path.realpath("/usr/bin/python3")
    library = "/usr/lib/python" + re.search(r"3\.[0-9]+", python).group()
    programs = [python, "/usr/bin/python3", os.path.realpath("/bin/sh"), "/bin/sh", "/bin/cat", "/bin/sleep", "/bin/mount", "/bin/ls"]
    programs += [p for p in ("/usr/bin/setsid",) if os.path.exists(p)]
    modules = [os.path.join(library, "lib-dynload", f) for f in os.listdir(os.path.join(library, "lib-dynload"))]
    found = set(programs)
    for line in run("ldd", *programs, *modules).stdout.decode().splitlines():
        match = re.search(r"(/[^ ]+) \(0x", line)
        if match:
            found.add(match.group(1))
    return sorted(found), library


def make_image():
    """The image's name; made once a machine, under a name that says what is in it."""
    files, library = image_files()
    name = "localhost/errand-test-agents:" + hashlib.sha256("\n".join([*files, library]).encode()).hexdigest()[:16]
    if run("podman", "image", "exists", name).returncode == 0:
        return name
    with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
        words = ["tar", "-C", "/", "-c", "-h", "-f", tar.name, *(f"--exclude={x}" for x in LEFT_OUT), *(f[1:] for f in files), library[1:]]
        done = run(*words)
        if done.returncode == 0:
            done = run("podman", "import", tar.name, name, timeout=120)
    if done.returncode != 0:
        pytest.skip("no image can be made: " + done.stdout.decode("utf-8", "replace")[-300:])
    return name


def ready_image():
    """The image's name, when containers of it can be run here; skips otherwise."""
    if not shutil.which("podman") or os.geteuid() != 0:
        pytest.skip("podman is not installed, or this is not root")
    with open(os.path.join(tempfile.gettempdir(), "errand-test-podman.lock"), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        free_cgroup_v2()
        name = make_image()
        probe = run("podman", "run", "--rm", "--pull", "never", "--network", "none", "--memory", "64m", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768", name, "python3", "-c", "pass")
        if probe.returncode != 0:
            pytest.skip("containers can't be run here: " + probe.stdout.decode("utf-8", "replace")[-300:])
    return name


@pytest.fixture(scope="session")
def container_image():
    return ready_image()


@pytest.fixture
def engine(container_image, stack):
    """What a failed test left of its runs is removed."""
    made = Engine(stack.folder, container_image)
    yield made
    for run_id in stack.run_ids:
        for found in made.containers(run=run_id):
            made.remove(found)
    made.stop()
