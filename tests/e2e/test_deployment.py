"""Deployments that differ from the plain one: threads, shards, replicas, passwords, files, and a Redis that nodes must refuse."""
import os
import signal
import socket
import subprocess

import pytest

from harness import agents
from harness.delivery import check_events
from harness.http_client import request
from harness.nodes import build_dir
from harness.sse import replay
from harness.wait import holds_for, wait_until

HELLO = agents.shell("echo hello", name="hello", protocol="text")


def test_several_threads_serve_as_one(stack):
    """Each connection may land on another thread: what one accepted the others show, and readers of all of them get everything."""
    api = stack.api(env={"ERRAND_THREADS": 3})
    stack.runner(api=api)
    runs = [api.submit(agents.counter(stack.folder), {"n": 200, "group": 10, "pauseMs": 20}) for _ in range(3)]
    readers = [stack.reader(run_id, seed=i, cut_between=(2000, 20000)) for run_id in runs for i in range(8)]
    assert len(api.get("/v1/runs").json()["runs"]) == 3
    for run_id in runs:
        assert api.wait(run_id)["status"] == "success"
    for i, reader in enumerate(readers):
        assert reader.result().bytes() == api.replay(runs[i // 8]).bytes()
    held = api.stream(api.submit(agents.sleeper()))
    held.until("notification")
    api.process.signal(signal.SIGTERM)
    assert api.process.wait(10) == 0
    held.close()


def test_shards_on_several_redis_servers(stack, redis, redis_factory):
    """Four shards on two servers: workspaces spread, each wholly in one; nothing of one shard is on the other server."""
    other = redis_factory()
    env = {"ERRAND_SHARDS": 4, "ERRAND_REDIS_URL": f"{redis.url},{other.url}"}
    apis = [stack.api(env=env), stack.api(env=env)]
    stack.runner(env=env, api=apis[0])
    shards = set()
    for i in range(16):
        workspace = f"w{i}"
        answer = apis[i % 2].post("/v1/runs", {"agent": HELLO}, workspace=workspace)
        assert answer.status == 202, answer
        run_id = answer.json()["runId"]
        shard = int(run_id[:2], 16)
        shards.add(shard)
        record = apis[1 - i % 2].get(f"/v1/runs/{run_id}?wait=20", workspace=workspace).json()
        assert record["status"] == "success" and record["workspaceId"] == f"w{i}"
        assert [r["runId"] for r in apis[0].get("/v1/runs", workspace=workspace).json()["runs"]] == [run_id]
        assert apis[0].get(f"/v1/runs/{run_id}").status == 404, "another workspace's run"
        home, elsewhere = (redis, other) if shard % 2 == 0 else (other, redis)
        key = f"{stack.shard(shard)}run:{run_id}"
        assert home.command("EXISTS", key) == 1 and elsewhere.command("EXISTS", key) == 0
        with apis[1].stream(run_id, workspace=workspace) as stream:
            assert stream.frames()[-1].event == "done"
    assert shards == {0, 1, 2, 3}
    assert apis[0].get("/v1/runs/07000000-0000-4000-8000-000000000000").code == "run_not_found", "a shard that is not there"


def test_one_of_two_redis_servers_away(stack, redis, redis_factory):
    """Its shards are unavailable; the others go on."""
    other = redis_factory()
    env = {"ERRAND_SHARDS": 2, "ERRAND_REDIS_URL": f"{redis.url},{other.url}"}
    api = stack.api(env=env)
    stack.runner(env=env, api=api)

    def submit(workspace):
        return api.post("/v1/runs", {"agent": HELLO}, workspace=workspace)
    names = {}
    for i in range(20):
        run_id = submit(f"w{i}").json()["runId"]
        names.setdefault(int(run_id[:2], 16), f"w{i}")
    other.kill9()
    wait_until(lambda: submit(names[1]).status == 503, 10)
    run_id = submit(names[0]).json()["runId"]
    assert api.get(f"/v1/runs/{run_id}?wait=20", workspace=names[0]).json()["status"] == "success"
    other.start()
    wait_until(lambda: submit(names[1]).status == 202, 10)


def test_runs_that_wait_for_their_redis_hold_no_slot(stack, redis, redis_factory):
    """All of a runner's runs end while their Redis is away: those of the other one are executed meanwhile, and the ends are told later."""
    other = redis_factory()
    env = {"ERRAND_SHARDS": 2, "ERRAND_REDIS_URL": f"{redis.url},{other.url}"}
    api = stack.api(env=env)
    stack.runner(env=env, api=api, slots=2)
    go = os.path.join(stack.folder, "go")
    waits = agents.shell(f"while [ ! -e {go} ]; do sleep 0.05; done; echo done", name="waits", protocol="text")

    def workspace_of(shard):
        for i in range(64):
            if int(api.post("/v1/runs", {"agent": HELLO}, workspace=f"w{i}").json()["runId"][:2], 16) == shard:
                return f"w{i}"
        raise AssertionError("no workspace of that shard")
    here, there = workspace_of(0), workspace_of(1)
    runs = [api.post("/v1/runs", {"agent": waits}, workspace=there).json()["runId"] for _ in range(2)]
    for run_id in runs:
        wait_until(lambda r=run_id: api.get(f"/v1/runs/{r}", workspace=there).json()["status"] == "running", 20)
    other.kill9()
    with open(go, "w", encoding="ascii"):
        pass
    run_id = api.post("/v1/runs", {"agent": HELLO}, workspace=here).json()["runId"]
    assert api.get(f"/v1/runs/{run_id}?wait=20", workspace=here).json()["status"] == "success"
    other.start()
    for run_id in runs:
        record = wait_until(lambda r=run_id: (a := api.get(f"/v1/runs/{r}?wait=5", workspace=there)).status == 200 and a.json(), 20)
        assert record["status"] == "success" and record["attempt"] == 1


def test_replicas_must_confirm_where_that_is_asked(stack, redis_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    primary = redis_factory(options={"port": str(port), "bind": "127.0.0.1"})
    stack.redis = primary
    env = {"ERRAND_MIN_REPLICAS": 1, "ERRAND_REDIS_URL": primary.url}
    api = stack.api(env=env)
    stack.runner(env=env, api=api)
    alone = api.post("/v1/runs", {"agent": HELLO})
    assert alone.status == 202 and alone.json()["durable"] is False
    assert api.wait(alone.json()["runId"])["status"] == "success", "it is kept and goes on all the same"
    name, password = primary.users.login("replica")
    replica = redis_factory(options={"masteruser": name, "masterauth": password})
    replica.command("REPLICAOF", "127.0.0.1", port)
    wait_until(lambda: replica.info("replication")["master_link_status"] == "up", 20)
    confirmed = wait_until(lambda: (a := api.post("/v1/runs", {"agent": HELLO})).json().get("durable") is not False and a, 10)
    assert confirmed.status == 202
    assert replica.command("EXISTS", f"{stack.shard()}run:{confirmed.json()['runId']}") == 1


def test_a_password_from_a_file(stack, redis_factory, folder):
    password = "p" + os.urandom(12).hex()
    guarded = redis_factory(users=None)  # a Redis that has one password and no users
    guarded.command("CONFIG", "SET", "requirepass", password)
    path = os.path.join(folder, "password")
    with open(path, "w", encoding="ascii") as f:
        f.write(password + "\n")
    stack.redis = guarded
    guarded._drop()
    env = {"ERRAND_REDIS_URL": guarded.url, "ERRAND_REDIS_PASSWORD_FILE": path}
    api = stack.api(env=env)
    stack.start("errand-runner", env={**env, "ERRAND_EXECUTORS": "process", "ERRAND_API_BASE": api.url})
    wait_until(lambda: api.get("/v1/runners").json()["runners"], 10)
    run_id = api.post("/v1/runs", {"agent": HELLO}).json()["runId"]
    assert api.get(f"/v1/runs/{run_id}?wait=20").json()["status"] == "success"
    wrong = stack.api(env={"ERRAND_REDIS_URL": guarded.url, "ERRAND_REDIS_PASSWORD": "wrong"}, wait=False)
    holds_for(lambda: not wrong.ready(), 0.5)
    assert password.encode() not in api.process.output() + wrong.process.output()


def test_a_config_file_an_environment_and_a_flag(stack, folder):
    path = os.path.join(folder, "errand.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write("# a comment\nlog-format = logfmt\ncors-origins = https://file.example.com\nnode = from-file\n")
    api = stack.api(args=["--config", path, "--node=from-flag"], env={"ERRAND_CORS_ORIGINS": "https://env.example.com"})
    line = api.process.output().decode().splitlines()[0]
    assert line.startswith("time=") and "node=from-flag" in line
    answer = api.get("/v1/runs", headers={"Origin": "https://env.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://env.example.com"


@pytest.mark.parametrize("program, args, env, says", [
    ("errand-api", [], {}, "ERRAND_ROOT_KEY"), ("errand-api", [], {"ERRAND_ROOT_KEY": "short"}, "32 characters"), ("errand-api", ["--lisen", "x"], {"ERRAND_ROOT_KEY": "x" * 32}, "--listen"),
    ("errand-api", ["--root-key", "x"], {}, ""), ("errand-api", ["--threads", "zero"], {"ERRAND_ROOT_KEY": "x" * 32}, "threads"), ("errand-api", ["--threads", "100000"], {"ERRAND_ROOT_KEY": "x" * 32}, "threads"),
    ("errand-api", ["--redis-url", "http://x"], {"ERRAND_ROOT_KEY": "x" * 32}, "redis-url"), ("errand-api", ["--listen", "nonsense"], {"ERRAND_ROOT_KEY": "x" * 32}, ""), ("errand-api", ["--log-level", "loud"], {"ERRAND_ROOT_KEY": "x" * 32}, "log-level"),
    ("errand-runner", ["--executors", "magic"], {}, "magic"), ("errand-runner", ["--slots", "0"], {}, "slots"), ("errand-runner", ["--queues", ","], {}, "queues"), ("errand-runner", ["--heartbeat-ms", "9000"], {}, "lease-ms"),
    ("errand-runner", ["--exec-path", "/nonexistent"], {}, "exec"), ("errand-runner", ["--config", "/nonexistent"], {}, "/nonexistent"),
    ("errand-runner", ["--executors", "process", "--work-dir", "/nonexistent"], {}, "work-dir"), ("errand-runner", ["--queues", "default gpu"], {}, "default gpu"), ("errand-runner", ["--metrics-listen", "127.0.0.1:70000"], {}, ""),
    ("errand-api", ["--listen", "127.0.0.1:99999"], {"ERRAND_ROOT_KEY": "x" * 32}, "99999"),
    ("errand-api", ["--redis-user", "errand-api"], {"ERRAND_ROOT_KEY": "x" * 32}, "ERRAND_REDIS_PASSWORD"), ("errand-runner", [], {"ERRAND_REDIS_USER": "errand-runner", "ERRAND_REDIS_PASSWORD": ""}, "redis-user"),
])
def test_what_is_wrong_is_said_and_the_status_is_2(folder, program, args, env, says):
    done = subprocess.run([os.path.join(build_dir(), program), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20, cwd=folder,
                          env={"PATH": os.environ["PATH"], "HOME": folder, **env})
    assert done.returncode == 2 and says in done.stderr and done.stderr.startswith(program + ": ") and "Sanitizer" not in done.stderr, done


def test_standard_descriptors_that_are_closed(stack, api, folder):
    """Nothing else takes their numbers, so that logs go nowhere, and not into a socket or a pipe of ours."""
    env = {"ERRAND_EXECUTORS": "process", "ERRAND_API_BASE": api.url, "ERRAND_ROOT_KEY": stack.root_key}
    nodes = [subprocess.Popen(["sh", "-c", f"exec {os.path.join(build_dir(), program)} {args} <&- >&- 2>&-"], env=stack.environment(env, program), cwd=folder)
             for program, args in (("errand-runner", "--slots 4"), ("errand-api", "--listen 127.0.0.1:0 --port-file port"))]
    try:
        wait_until(lambda: api.get("/v1/runners").json()["runners"], 10)
        runs = [api.submit(HELLO) for _ in range(60)]
        for run_id in runs:
            assert api.wait(run_id)["status"] == "success"
        for node in nodes:
            fds = [os.readlink(f"/proc/{node.pid}/fd/{fd}") for fd in (0, 1, 2)]
            assert fds == ["/dev/null"] * 3, fds
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
    assert [node.wait(10) for node in nodes] == [0, 0]


def test_a_redis_that_evicts_is_refused(stack, redis):
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    api = stack.api(wait=False)
    wait_until(lambda: b"evict" in api.process.output(), 10, "it says why")
    answer = request(api.port, "GET", "/readyz")
    assert answer.status == 503
    assert api.post("/v1/runs", {"agent": HELLO}).status == 503
    told = stack.api(env={"ERRAND_ALLOW_EVICTION": "true"})
    assert told.post("/v1/runs", {"agent": HELLO, "delayMs": 100000}).status == 202
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    wait_until(api.ready, 10, "it serves once that is mended")


def test_a_busy_port_is_named(stack, api):
    done = subprocess.run([os.path.join(build_dir(), "errand-api"), "--listen", f"127.0.0.1:{api.port}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20,
                          env=stack.environment({"ERRAND_ROOT_KEY": stack.root_key}, "errand-api"))
    assert done.returncode == 1 and str(api.port) in done.stderr, done


@pytest.mark.root_key  # no other key can be looked up
def test_without_redis_at_the_start(stack, redis):
    """A node that finds no Redis waits for it, says so, and serves as soon as it is there."""
    redis.kill9()
    api = stack.api(wait=False)
    runner = stack.start("errand-runner", env={"ERRAND_EXECUTORS": "process", "ERRAND_API_BASE": api.url})
    answer = request(api.port, "GET", "/readyz")
    assert answer.status == 503 and answer.code == "redis_unavailable" and "retry-after" in answer.headers
    assert api.post("/v1/runs", {"agent": HELLO}).code == "redis_unavailable"
    redis.start()
    wait_until(api.ready, 5, "it is ready soon after")
    run_id = api.submit(HELLO)
    assert api.wait(run_id, timeout=10)["status"] == "success"
    check_events(run_id, replay(api.port, run_id, stack.key), api.record(run_id))
    assert runner.end() == 0
