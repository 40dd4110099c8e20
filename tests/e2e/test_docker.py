"""The images, built and run for real with Podman: nginx, Redis, two API nodes and two runners, once as compose.yml has them, and once on loopback addresses where no bridge is needed.
Where the images can't be had within about three minutes the tests skip and say why; with ERRAND_TEST_DOCKER=1 they wait for them longer."""
import fcntl
import http.server
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from harness import agents
from harness.http_client import request
from harness.nodes import ROOT
from harness.sse import Reader, Stream, stream_path
from harness.wait import wait_until

BASE = "docker.io/library/debian:bookworm-slim"
SERVICES = ("redis", "api1", "api2", "runner1", "runner2", "lb")
IMAGE_OF = {"redis": "redis", "api1": "runtime", "api2": "runtime", "runner1": "runtime", "runner2": "runtime", "lb": "nginx"}
BUILD = ["--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never", "-f", "docker/Dockerfile"]
PATIENT = os.environ.get("ERRAND_TEST_DOCKER") == "1"
IMAGES_S = 1500 if PATIENT else 180  # for the base image and the builds together
LIMIT_S = 1800 if PATIENT else 290


def sh(*command, timeout=60.0, env=None):
    """Runs a command to its end, its children with it when it takes longer: then the status is 124."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env, start_new_session=True)
    try:
        output, _ = child.communicate(timeout=max(0.1, timeout))
        return subprocess.CompletedProcess(command, child.returncode, output)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(command, 124, child.communicate()[0])


def free_port():
    """A port of this machine that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Podman:
    """Podman with what a machine without systemd and with a mixed cgroup hierarchy needs."""

    def __init__(self, folder):
        conf = os.path.join(folder, "containers.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=20000:20000","nproc=32768:32768"]\n')
        self.folder, self.env, self.images = folder, {**os.environ, "CONTAINERS_CONF": conf}, {}

    def __call__(self, *args, timeout=60.0):
        return sh("podman", *args, timeout=timeout, env=self.env)

    def must(self, *args, timeout=60.0):
        done = self(*args, timeout=timeout)
        assert done.returncode == 0, f"podman {' '.join(args)}:\n{done.stdout[-3000:]}"
        return done.stdout

    def build(self, deadline):
        """The images by stage, in `images`. The image that a tag had before is dropped, so that builds don't pile up."""
        for stage in ("build", "runtime", "redis", "nginx"):
            tag = f"localhost/errand-test-{stage}:latest"
            before = self("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()
            done = self("build", *BUILD, "--target", stage, "-t", tag, ".", timeout=deadline - time.monotonic())
            if done.returncode == 124:
                pytest.skip(f"the image {stage} was not built within {IMAGES_S} s; ERRAND_TEST_DOCKER=1 waits for it")
            if done.returncode != 0 and re.search(r"Temporary failure resolving|Failed to fetch|Could not connect", done.stdout):
                pytest.skip("the images' Debian packages can't be had: " + " ".join(done.stdout.split())[-300:])
            assert done.returncode == 0, done.stdout[-4000:]
            self.images[stage] = self.must("image", "inspect", "--format", "{{.Id}}", tag).strip()
            if before and before != self.images[stage]:
                self("rmi", before)


def make_secrets(folder):
    """What docker/secrets.sh makes, by name; asked again it keeps what is there."""
    path = os.path.join(folder, "secrets-" + secrets.token_hex(4))
    for _ in range(2):
        done = sh("sh", "docker/secrets.sh", path)
        assert done.returncode == 0 and done.stdout == "", done.stdout
        assert os.stat(path).st_mode & 0o777 == 0o600
        with open(path, encoding="ascii") as f:
            lines = f.read().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines) == len(set(found.values())) and all(len(value) >= 32 for value in found.values())
    return found


class Deployment:
    """Containers under the names of compose.yml, and the port of the load balancer on this machine."""

    def __init__(self, podman):
        self.podman, self.tag = podman, "errand-test-" + secrets.token_hex(4)
        self.port, self.secrets = free_port(), make_secrets(podman.folder)
        self.key = self.secrets["ERRAND_ROOT_KEY"]
        self.auth = {"Authorization": f"Bearer {self.key}"}

    def name(self, service):
        return f"{self.tag}_{service}_1"

    def exec(self, service, *command):
        return self.podman("exec", self.name(service), *command)

    def kill(self, service):
        self.podman.must("kill", "-s", "KILL", self.name(service))

    def stop(self, service):
        self.podman.must("stop", "-t", "20", self.name(service))

    def start(self, service):
        self.podman.must("start", self.name(service))

    def logs(self, service):
        return self.podman("logs", self.name(service)).stdout

    def get(self, path):
        """An answer, or None while nothing listens."""
        try:
            return request(self.port, "GET", path, headers=self.auth, timeout=10)
        except OSError:
            return None

    def submit(self, agent):
        answer = request(self.port, "POST", "/v1/runs", {"agent": agent}, self.auth)
        assert answer.status == 202, answer
        return answer.json()["runId"]

    def run_of(self, run_id):
        return self.get(f"/v1/runs/{run_id}").json()

    def close(self):
        for service in reversed(SERVICES):
            self.podman("rm", "-f", "-v", "-t", "0", self.name(service))


class Composed(Deployment):
    """compose.yml as it is; only the images are those of this test."""

    def __init__(self, podman):
        super().__init__(podman)
        if not shutil.which("podman-compose"):
            pytest.skip("podman-compose is not installed")
        self._need_names()
        override = os.path.join(podman.folder, f"{self.tag}.yml")
        with open(override, "w", encoding="ascii") as f:
            f.write("services:\n" + "".join(f"  {s}:\n    image: {podman.images[IMAGE_OF[s]]}\n" for s in SERVICES))
        env = {**podman.env, **self.secrets, "ERRAND_PORT": str(self.port)}
        done = sh("podman-compose", "-p", self.tag, "-f", "docker/compose.yml", "-f", override, "up", "-d", timeout=120, env=env)
        assert done.returncode == 0, done.stdout[-3000:]

    def _need_names(self):
        """Skips where containers can't be bridged, or don't find each other by name."""
        net, other = f"{self.tag}_probe", f"{self.tag}-other"
        try:
            done = self.podman("network", "create", net)
            if done.returncode == 0:
                done = self.podman("run", "-d", "--pull", "never", "--name", other, "--network", net, BASE, "sleep", "60")
            if done.returncode == 0:
                done = self.podman("run", "--rm", "--pull", "never", "--network", net, BASE, "getent", "hosts", other)
            if done.returncode != 0:
                pytest.skip("no bridge with names here (golang-github-containernetworking-plugin-dnsname or aardvark-dns is needed): " + " ".join(done.stdout.split())[-200:])
        finally:
            self.podman("rm", "-f", "-t", "0", other)
            self.podman("network", "rm", net)

    def check_health(self):
        for service in SERVICES:  # Podman asks by itself only under systemd
            wait_until(lambda s=service: self.podman("healthcheck", "run", self.name(s)).returncode == 0, 30, f"{service} is healthy")

    def address(self, service):
        return "127.0.0.1:7070"  # what the image listens on, seen from inside

    def redis_host(self):
        return "127.0.0.1"

    def close(self):
        super().close()
        self.podman("network", "rm", f"{self.tag}_default")
        self.podman("volume", "rm", f"{self.tag}_redis-data")


def loopback_hosts():
    """A loopback address for each service, in a network of its own."""
    net = f"127.77.{secrets.randbelow(254) + 1}"
    return {service: f"{net}.{i + 1}" for i, service in enumerate(SERVICES)}


def run_nginx(podman, name, port, hosts):
    """The load balancer on the host's network: its configuration with another port."""
    with open(os.path.join(ROOT, "docker", "nginx.conf"), encoding="utf-8") as f:
        conf, count = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", f.read())
    assert count == 1
    path = os.path.join(podman.folder, f"{name}.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(conf)
    adds = [word for host in ("api1", "api2") for word in ("--add-host", f"{host}:{hosts[host]}")]
    podman.must("run", "-d", "--name", name, "--pull", "never", "--no-healthcheck", "--network", "host", *adds, "-v", f"{path}:/etc/nginx/nginx.conf:ro", podman.images["nginx"])


class OnLoopback(Deployment):
    """The host's network, for machines that can't bridge."""

    def __init__(self, podman):
        super().__init__(podman)
        self.hosts = loopback_hosts()
        passwords = {name: value for name, value in self.secrets.items() if name.startswith("ERRAND_REDIS_")}
        self._run("redis", "redis.sh", "--bind", self.hosts["redis"], env=passwords)

        def redis(user):
            return {"ERRAND_REDIS_URL": f"redis://{self.hosts['redis']}:6379/0", "ERRAND_REDIS_USER": f"errand-{user}", "ERRAND_REDIS_PASSWORD": passwords[f"ERRAND_REDIS_{user.upper()}_PASSWORD"]}
        for name in ("api1", "api2"):
            self._run(name, "errand-api", env={**redis("api"), "ERRAND_LISTEN": self.address(name), "ERRAND_ROOT_KEY": self.key, "ERRAND_KEY": self.key, "ERRAND_URL": f"http://{self.address(name)}"})
        for name in ("runner1", "runner2"):
            self._run(name, "errand-runner", env={**redis("runner"), "ERRAND_NODE": name, "ERRAND_METRICS_LISTEN": self.address(name), "ERRAND_EXECUTORS": "process", "ERRAND_API_BASE": f"http://127.0.0.1:{self.port}"})
        run_nginx(podman, self.name("lb"), self.port, self.hosts)

    def _run(self, service, *command, env=None):
        values = [word for key, value in (env or {}).items() for word in ("-e", f"{key}={value}")]
        self.podman.must("run", "-d", "--name", self.name(service), "--pull", "never", "--no-healthcheck", "--network", "host", *values, self.podman.images[IMAGE_OF[service]], *command)

    def address(self, service):
        return f"{self.hosts[service]}:7070"

    def redis_host(self):
        return self.hosts["redis"]

    def check_health(self):
        for service in ("api1", "api2", "runner1", "runner2"):  # what the images' check asks; its address is another one here
            wait_until(lambda s=service: self.exec(s, "curl", "-fsS", f"http://{self.address(s)}/readyz").returncode == 0, 30, f"{service} is ready")


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


def make_base(podman, deadline):
    """The base image as Debian's own tools make it; skips where they can't."""
    if not shutil.which("debootstrap"):
        pytest.skip(f"no image {BASE}, and no debootstrap to make it")
    root = os.path.join(podman.folder, "base")
    done = sh("debootstrap", "--variant=minbase", "bookworm", root, timeout=min(deadline - time.monotonic(), 1200 if PATIENT else 120))
    if done.returncode == 0:
        done = sh("sh", "-c", f"tar -C {root} -c . | podman import - {BASE}", timeout=deadline - time.monotonic(), env=podman.env)
    shutil.rmtree(root, ignore_errors=True)
    if done.returncode != 0:
        pytest.skip(f"no image {BASE}, and debootstrap did not make it in time (ERRAND_TEST_DOCKER=1 waits longer): " + " ".join(done.stdout.split())[-300:])


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Podman with the images; skips, and says why, where they can't be had. One process at a time builds, the others then find the layers."""
    if not shutil.which("podman") or os.geteuid() != 0:
        pytest.skip("podman is not installed, or this is not root")
    made = Podman(str(tmp_path_factory.mktemp("podman")))
    deadline = time.monotonic() + IMAGES_S
    with open(os.path.join(tempfile.gettempdir(), "errand-test-docker.lock"), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made("image", "exists", BASE).returncode != 0:
            make_base(made, deadline)
        free_cgroup_v2()
        probe = made("run", "--rm", "--pull", "never", "--network", "host", BASE, "true")
        if probe.returncode != 0:
            pytest.skip("containers can't be run here: " + " ".join(probe.stdout.split())[-300:])
        made.build(max(deadline, time.monotonic() + 60))  # one that waited for the lock finds all layers
    return made


def is_sound(d):
    """Nobody is root, tini is the first process, every program finds its libraries, health checks and doctor are content, the examples run."""
    assert d.exec("api1", "id", "-u").stdout.strip() == "10001"
    for service in ("redis", "lb"):
        assert d.exec(service, "id", "-u").stdout.strip().isdigit() and d.exec(service, "id", "-u").stdout.strip() != "0"
    for service in SERVICES:
        assert d.exec(service, "cat", "/proc/1/cmdline").stdout.startswith("/usr/bin/tini"), service
    d.check_health()
    doctor = wait_until(lambda: (r := d.exec("api1", "errand", "doctor")) and "runners            2" in r.stdout and r, 20, "doctor sees two runners")
    odd = [line for line in doctor.stdout.splitlines() if line.startswith(("!", "✘"))]  # control groups are not delegated into these containers, and it says so
    assert doctor.returncode == 0 and all(line.startswith("! executor process ") for line in odd), doctor.stdout
    refuses_strangers(d)
    for example in ("hello", "log-triage"):  # a shell script and a Python one
        ran = d.exec("api1", "errand", "run", "--file", f"/usr/share/errand/examples/{example}/agent.json", "--follow")
        assert ran.returncode == 0, ran.stdout


def refuses_strangers(d):
    """Redis asks everybody who they are, and keeps hashes alone; doctor and people have users of their own."""
    cli = f"redis-cli -h {d.redis_host()} "
    assert "NOAUTH" in d.exec("redis", "sh", "-c", cli + "ping").stdout
    whoami = d.exec("redis", "sh", "-c", f"REDISCLI_AUTH=$ERRAND_REDIS_OPERATOR_PASSWORD {cli} --user errand-operator acl whoami")
    assert whoami.stdout.strip() == "errand-operator", whoami.stdout
    seen = d.exec("redis", "sh", "-c", "cat /run/errand/users.acl; cat /proc/[0-9]*/cmdline").stdout
    assert "user errand-api on #" in seen and not [name for name, value in d.secrets.items() if value in seen], seen
    audit = d.podman("exec", "-e", "ERRAND_REDIS_USER=errand-doctor", "-e", "ERRAND_REDIS_PASSWORD=" + d.secrets["ERRAND_REDIS_DOCTOR_PASSWORD"], d.name("api1"), "errand", "doctor", "--audit")
    assert audit.returncode == 0 and "0 findings" in audit.stdout, audit.stdout


def streams_at_once(d):
    """Events come through nginx one by one, not in a heap at the end."""
    run_id = d.submit(agents.shell('for i in 1 2 3 4 5; do echo "{\\"kind\\":\\"assistant_text\\",\\"data\\":{\\"i\\":$i}}"; sleep 0.5; done', name="slow"))
    with Stream(d.port, stream_path(run_id), d.key) as stream:
        times = [time.monotonic() for frame in iter(stream.next, None) if frame.event == "assistant_text"]
    assert len(times) == 5 and times[-1] - times[0] > 1.5, "nginx held the events back"


def stops_the_whole_tree(d):
    """A user that is not root ends processes in sessions of their own that ignore SIGTERM."""
    mark = f"sleep 7{secrets.randbelow(10**6):06}"
    run_id = d.submit(agents.shell(f"trap '' TERM; setsid sh -c '{mark}; :' & (setsid sh -c '{mark}; :' &) ; echo started; while :; do {mark}; done", name="tree", graceMs=500))

    def alive():
        return sum(line.strip() == mark for s in ("runner1", "runner2") for line in d.podman.must("top", d.name(s), "args").splitlines())
    wait_until(lambda: alive() == 3, 20, "the agent and its daemons run")
    request(d.port, "POST", f"/v1/runs/{run_id}/stop", {}, d.auth)
    wait_until(lambda: d.run_of(run_id)["status"] == "stopped", 20)
    assert alive() == 0, "processes of a stopped run are alive"


def hands_the_nodes_answers_on(d):
    """While Redis is away clients get the API's own 503, not nginx' 502; when it is back they are served at once."""
    d.stop("redis")
    wait_until(lambda: d.get("/v1/runners").status == 503, 20, "the nodes notice")
    for _ in range(6):
        for path in ("/v1/runners", stream_path("005ef0f3-1878-47ca-a54c-dfe21811cf36")):
            answer = d.get(path)
            assert (answer.status, answer.code) == (503, "redis_unavailable"), (path, answer)
    d.start("redis")
    statuses = []
    wait_until(lambda: statuses.append(d.get("/v1/runners").status) or statuses[-8:] == [200] * 8, 30, "both nodes come back")
    assert set(statuses) <= {200, 503}, statuses


def survives_dead_nodes(d):
    """An API node and a runner die; the run and its reader go on through nginx. The node comes back, perhaps under another address, and serves again."""
    run_id = d.submit(agents.shell('i=0; while [ $i -lt 100 ]; do echo "{\\"kind\\":\\"assistant_text\\",\\"data\\":{\\"attempt\\":$ERRAND_ATTEMPT}}"; i=$((i+1)); sleep 0.1; done', name="long"))
    reader = Reader([d.port], run_id, d.key, deadline=120)
    wait_until(lambda: len(reader.record.events) > 10, 30)
    d.kill("api1")
    wait_until(lambda: (r := d.get(f"/v1/runs/{run_id}")) and r.status == 200 and r.json()["status"] == "running", 20)
    runner = d.run_of(run_id)["attempts"][-1]["runner"]
    d.kill(runner)
    events = reader.result().events
    assert [f.seq for f in events] == sorted({f.seq for f in events}) and events[-1].event == "runtime_terminal"
    record = d.run_of(run_id)
    assert record["status"] == "success" and record["attempt"] == 2, record

    d.start("api1")
    d.stop("api2")  # all that follows is api1's
    wait_until(lambda: (r := d.get("/v1/runs")) and r.status == 200, 30, "nginx finds the node that came back")


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("kind", [Composed, OnLoopback])
def test_a_deployment_of_containers(podman, kind):
    d = kind.__new__(kind)
    try:
        kind.__init__(d, podman)
        wait_until(lambda: (r := d.get("/readyz")) and r.status == 200, 60, "nginx answers for a ready node")
        is_sound(d)
        streams_at_once(d)
        stops_the_whole_tree(d)
        hands_the_nodes_answers_on(d)
        survives_dead_nodes(d)
    finally:
        d.close()


class Answers(http.server.BaseHTTPRequestHandler):
    """An upstream that answers every request with its server's status."""

    def do_GET(self):
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.timeout(LIMIT_S)
def test_a_stream_that_one_node_refuses_is_asked_of_the_other(podman):
    hosts, port, name = loopback_hosts(), free_port(), "errand-test-" + secrets.token_hex(4)
    servers = []
    try:
        for host, status in (("api1", 503), ("api2", 200)):
            server = http.server.ThreadingHTTPServer((hosts[host], 7070), Answers)
            server.status, server.daemon_threads = status, True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        run_nginx(podman, name, port, hosts)

        def status(path):
            try:
                return request(port, "GET", path, timeout=5).status
            except OSError:
                return None
        wait_until(lambda: status("/") is not None, 20, "nginx listens")
        assert {status("/v1/runs/x/stream") for _ in range(8)} == {200}
        assert {status("/v1/runs") for _ in range(8)} == {200, 503}, "a 503 is an answer, and takes no node out"
    finally:
        podman("rm", "-f", "-t", "0", name)
        for server in servers:
            server.shutdown()
            server.server_close()


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as f:
        return f.read()


def test_compose_and_the_images_name_the_same_things():
    """What can be read without running anything: services, targets, hosts of the load balancer, where packages come from."""
    compose, dockerfile, nginx = read("docker", "compose.yml"), read("docker", "Dockerfile"), read("docker", "nginx.conf")
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.M))
    assert set(re.findall(r"target: (\w+)", compose)) <= stages and {"build", "test", "runtime", "redis", "nginx"} <= stages
    assert dockerfile.rstrip().rsplit("\nFROM ", 1)[1].startswith("${BASE} AS runtime"), "a build without a target ends with runtime"
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.M)) <= {"${BASE}", "packages", "build"}
    services = set(re.findall(r"^  (\w+):$", compose.split("services:", 1)[1].split("\nvolumes:", 1)[0], re.M))
    assert services == set(SERVICES)
    assert set(re.findall(r"server (\w+):7070", nginx)) == {"api1", "api2"}
    assert "proxy_buffering off;" in nginx and "proxy_read_timeout 1h;" in nginx
    redis = read("docker", "redis.conf")
    assert re.search(r"^aclfile /run/errand/users.acl$", redis, re.M), "without its users it does not start"
    # Each service is given the password of its own user, and only Redis has all.
    for service, user in (("api", "API"), ("runner", "RUNNER")):
        part = compose.split(f"x-{service}: &{service}", 1)[1].split("\n\n", 1)[0]
        assert re.findall(r"ERRAND_REDIS_\w+PASSWORD", part) == [f"ERRAND_REDIS_{user}_PASSWORD"] and f"ERRAND_REDIS_USER: errand-{user.lower()}" in part
    values = re.findall(r"^ *(?:- )?\w*(?:PASSWORD|KEY)\w*[:=] *(.*)$", compose, re.M)
    assert len(values) >= 8 and all(re.fullmatch(r"\$\{\w+(:\?[^}]+)?\}", value) for value in values), values  # no secret has a default
    for ignored in (".gitignore", ".dockerignore"):
        assert "docker/.env" in read(ignored).split()
    assert re.search(r"^appendonly yes$", redis, re.M) and re.search(r"^maxmemory-policy noeviction$", redis, re.M)
    # The build's packages are those of ./dev, by asking it; nothing comes from elsewhere.
    assert "./dev packages build" in dockerfile and "./dev packages test" in dockerfile and not re.search(r"wget|pip3? |npm |git clone|ADD ", dockerfile)


def test_the_runtime_image_has_the_libraries_that_the_programs_need():
    """Those that the loader is asked for directly, by the Debian package that holds them, against the list in the Dockerfile: none missing, none too many."""
    listed = set(re.search(r"AS runtime\n.*?--no-install-recommends \\\n\s+(.*?) \\\n", read("docker", "Dockerfile"), re.S).group(1).split())
    everywhere = {"libc6", "libgcc-s1", "libstdc++6"}
    needed = set()
    for program in ("errand", "errand-api", "errand-runner"):
        path = os.path.join(os.environ.get("ERRAND_BUILD_RELEASE", os.path.join(ROOT, "build")), program)
        if not os.path.exists(path):
            pytest.skip(f"there is no release build: {path}")
        direct = set(re.findall(r"NEEDED.*\[(\S+)\]", sh("readelf", "-d", path).stdout))
        assert direct
        for name, file in re.findall(r"(\S+) => (\S+)", sh("ldd", path).stdout):
            if name in direct:
                folder, real = os.path.basename(os.path.dirname(file)), os.path.basename(os.path.realpath(file))  # /lib may be /usr/lib
                needed.add(re.match(r"[^:,]+", sh("dpkg", "-S", f"*/{folder}/{real}").stdout).group())
    assert {p for p in listed if p.startswith("lib")} == needed - everywhere
    assert {"tini", "curl", "ca-certificates", "python3", "git"} <= listed


def test_compose_yml_is_read_by_podman_compose(tmp_path):
    if not shutil.which("podman-compose"):
        pytest.skip("podman-compose is not installed")
    done = sh("podman-compose", "--dry-run", "-f", "docker/compose.yml", "build", env={**os.environ, **make_secrets(str(tmp_path))})
    assert done.returncode == 0 and all(f"--target {t}" in done.stdout for t in ("runtime", "redis", "nginx")), done.stdout[-2000:]
