"""The images, built and run for real with Podman; nginx, Redis, two API nodes and two runners talk over loopback addresses of their own under the names that compose gives them."""
import os
import re
import secrets
import shutil
import subprocess
import time

import pytest

from harness import agents
from harness.http_client import request
from harness.nodes import ROOT
from harness.sse import Reader, Stream, stream_path
from harness.wait import wait_until

BASE = "docker.io/library/debian:bookworm-slim"
# Under one loopback network: no bridge is needed, and the names are those of compose.yml.
HOSTS = {"redis": "127.77.0.1", "api1": "127.77.0.2", "api2": "127.77.0.3", "lb": "127.77.0.4", "runner1": "127.77.0.5", "runner2": "127.77.0.6"}
BUILD = ["--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never", "-f", "docker/Dockerfile"]


def sh(*command, timeout=600, env=None):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, cwd=ROOT, env=env)


class Podman:
    """Podman with what a machine without systemd and with a mixed cgroup hierarchy needs."""

    def __init__(self, folder):
        conf = os.path.join(folder, "containers.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=20000:20000","nproc=32768:32768"]\n')
        self.env = {**os.environ, "CONTAINERS_CONF": conf}
        self.tag = "errand-test-" + secrets.token_hex(4)
        self.started = []

    def __call__(self, *args, timeout=600):
        return sh("podman", *args, timeout=timeout, env=self.env)

    def must(self, *args, timeout=600):
        done = self(*args, timeout=timeout)
        assert done.returncode == 0, f"podman {' '.join(args)}:\n{done.stdout[-3000:]}"
        return done.stdout

    def run(self, name, image, *command, env=None):
        """A container in the background, under the name that others know it by."""
        args = ["run", "-d", "--name", f"{self.tag}-{name}", "--pull", "never", "--no-healthcheck", "--network", "host"]
        for host, address in HOSTS.items():
            args += ["--add-host", f"{host}:{address}"]
        for key, value in (env or {}).items():
            args += ["-e", f"{key}={value}"]
        self.started.append(f"{self.tag}-{name}")
        self.must(*args, image, *command)

    def exec(self, name, *command):
        return self("exec", f"{self.tag}-{name}", *command)

    def kill(self, name):
        self.must("kill", "-s", "KILL", f"{self.tag}-{name}")

    def logs(self, name):
        return self("logs", f"{self.tag}-{name}").stdout

    def close(self):
        for name in self.started:
            self("rm", "-f", "-t", "0", name)


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
        sh("mount", "-t", "cgroup", "-o", controller, "none", path)


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Podman with the three images; skips, and says why, where they can't be had."""
    if not shutil.which("podman") or os.geteuid() != 0:
        pytest.skip("podman is not installed, or this is not root")
    folder = str(tmp_path_factory.mktemp("podman"))
    made = Podman(folder)
    if made("image", "exists", BASE).returncode != 0:
        if not shutil.which("debootstrap"):
            pytest.skip(f"no image {BASE}, and no debootstrap to make it")
        root = os.path.join(folder, "base")
        done = sh("debootstrap", "--variant=minbase", "bookworm", root, timeout=400)
        if done.returncode != 0:
            pytest.skip("debootstrap failed: " + " ".join(done.stdout.split())[-300:])
        done = sh("sh", "-c", f"tar -C {root} -c . | podman import - {BASE}", timeout=300)
        shutil.rmtree(root, ignore_errors=True)
        if done.returncode != 0:
            pytest.skip("podman import failed: " + done.stdout[-300:])
    free_cgroup_v2()
    probe = made("run", "--rm", "--pull", "never", "--network", "host", BASE, "true")
    if probe.returncode != 0:
        pytest.skip("containers can't be run here: " + " ".join(probe.stdout.split())[-300:])
    for target, image in (("runtime", "errand"), ("redis", "errand-redis"), ("nginx", "errand-nginx")):
        made.must("build", *BUILD, "--target", target, "-t", f"localhost/{image}:latest", ".", timeout=900)
    yield made
    made.close()


@pytest.mark.timeout(1500)
def test_a_deployment_of_containers(podman):
    key = secrets.token_urlsafe(32)
    redis = {"ERRAND_REDIS_URL": f"redis://{HOSTS['redis']}:6379/0"}
    podman.run("redis", "localhost/errand-redis", "redis-server", "/etc/redis/errand.conf", "--bind", HOSTS["redis"])
    for name in ("api1", "api2"):
        podman.run(name, "localhost/errand", "errand-api", env={**redis, "ERRAND_LISTEN": f"{HOSTS[name]}:7070", "ERRAND_ROOT_KEY": key})
    for name in ("runner1", "runner2"):
        podman.run(name, "localhost/errand", "errand-runner", env={**redis, "ERRAND_METRICS_LISTEN": f"{HOSTS[name]}:7070", "ERRAND_EXECUTORS": "process", "ERRAND_API_BASE": f"http://{HOSTS['lb']}:8080"})
    podman.run("lb", "localhost/errand-nginx")
    port = 8080
    auth = {"Authorization": f"Bearer {key}"}

    def ready():
        try:
            return request(port, "GET", "/readyz", timeout=5).status == 200
        except OSError:
            return False
    wait_until(ready, 60, "nginx answers for a ready node")
    for name in ("runner1", "runner2"):  # what the image's health check asks
        wait_until(lambda: podman.exec(name, "curl", "-fsS", f"http://{HOSTS[name]}:7070/readyz").returncode == 0, 20, f"{name} is ready")

    # nobody is root, tini is the first process, the deployment is sound
    assert podman.exec("api1", "id", "-u").stdout.strip() == "10001"
    assert "tini" in podman.exec("runner1", "cat", "/proc/1/cmdline").stdout
    assert podman.exec("redis", "id", "-u").stdout.strip() != "0" and podman.exec("lb", "id", "-u").stdout.strip() != "0"
    doctor = podman("exec", "-e", f"ERRAND_KEY={key}", "-e", f"ERRAND_URL=http://{HOSTS['lb']}:{port}", f"{podman.tag}-api1", "errand", "doctor")
    assert doctor.returncode == 0 and "✘" not in doctor.stdout, doctor.stdout

    # events come through nginx one by one, not in a heap at the end
    agent = agents.shell('for i in 1 2 3 4 5; do echo "{\\"kind\\":\\"assistant_text\\",\\"data\\":{\\"i\\":$i}}"; sleep 0.5; done', name="slow")
    run = request(port, "POST", "/v1/runs", {"agent": agent}, auth).json()
    with Stream(port, stream_path(run["runId"]), key) as stream:
        times = []
        for frame in iter(stream.next, None):
            if frame.event == "assistant_text":
                times.append(time.monotonic())
    assert len(times) == 5 and times[-1] - times[0] > 1.5, "nginx held the events back"

    # an API node and a runner die; the run and its reader go on through nginx
    agent = agents.shell('i=0; while [ $i -lt 100 ]; do echo "{\\"kind\\":\\"assistant_text\\",\\"data\\":{\\"attempt\\":$ERRAND_ATTEMPT}}"; i=$((i+1)); sleep 0.1; done', name="long")
    run_id = request(port, "POST", "/v1/runs", {"agent": agent}, auth).json()["runId"]
    reader = Reader([port], run_id, key, deadline=120)
    wait_until(lambda: len(reader.record.events) > 10, 30)
    podman.kill("api1")
    record = wait_until(lambda: (r := request(port, "GET", f"/v1/runs/{run_id}", headers=auth).json()).get("status") == "running" and r, 20)
    for name in ("runner1", "runner2"):
        if run_id in podman.logs(name):
            podman.kill(name)
    held = reader.result().events
    assert [f.seq for f in held] == sorted({f.seq for f in held}) and held[-1].event == "runtime_terminal"
    record = request(port, "GET", f"/v1/runs/{run_id}", headers=auth).json()
    assert record["status"] == "success" and record["attempt"] == 2, record

    for name in podman.started:
        podman("stop", "-t", "30", name)


def test_compose_and_the_images_name_the_same_things():
    """What can be read without running anything: services, targets, hosts of the load balancer, packages."""
    with open(os.path.join(ROOT, "docker", "compose.yml"), encoding="utf-8") as f:
        compose = f.read()
    with open(os.path.join(ROOT, "docker", "Dockerfile"), encoding="utf-8") as f:
        dockerfile = f.read()
    with open(os.path.join(ROOT, "docker", "nginx.conf"), encoding="utf-8") as f:
        nginx = f.read()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.M))
    assert set(re.findall(r"target: (\w+)", compose)) <= stages and {"build", "test", "runtime", "redis", "nginx"} <= stages
    services = set(re.findall(r"^  (\w+):$", compose.split("services:", 1)[1].split("\nvolumes:", 1)[0], re.M))
    assert services == {"redis", "api1", "api2", "runner1", "runner2", "lb"}
    assert set(re.findall(r"server (\w+):7070", nginx)) == {"api1", "api2"} <= services
    assert "proxy_buffering off" in nginx and "noeviction" in open(os.path.join(ROOT, "docker", "redis.conf"), encoding="utf-8").read()
    if shutil.which("podman-compose"):
        done = sh("podman-compose", "--dry-run", "-f", "docker/compose.yml", "build", env={**os.environ, "ERRAND_ROOT_KEY": "x" * 32})
        assert done.returncode == 0 and all(f"--target {t}" in done.stdout for t in ("runtime", "redis", "nginx")), done.stdout[-2000:]
