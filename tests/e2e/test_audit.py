"""`errand doctor --audit` from outside: clean where all is well, also under load; what is wrong is named; and how it ends."""
import json
import os
import re
import subprocess
import threading

import pytest

from harness import agents
from harness.nodes import build_dir
from harness.wait import wait_until

ERRAND = os.path.join(build_dir(), "errand")
GOOD = agents.shell("echo '{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\",\"result\":1}}'", name="good")
BAD = agents.shell("exit 7", name="bad")


@pytest.fixture
def audit(stack):
    def run(*args, env=None):
        done = subprocess.run([ERRAND, "doctor", "--audit", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, cwd=stack.folder, stdin=subprocess.DEVNULL,
                              env=stack.environment({"HOME": stack.folder, **(env or {})}))
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done
    return run


def test_clean_and_broken(stack, api, runner, redis, audit):
    runs = [api.submit(GOOD), api.submit(BAD)]
    for run in runs:
        api.wait(run)
    running = api.submit(agents.sleeper())
    later = api.submit(GOOD, delayMs=100000)
    wait_until(lambda: api.record(running)["status"] == "running", what="it runs")
    done = audit("--events")
    assert (done.returncode, done.stdout, done.stderr) == (0, "audit: 4 runs, 0 findings\n", "")
    shard = stack.shard()
    redis.command("ZREM", f"{shard}idx:default", runs[0])
    redis.command("ZREM", f"{shard}delayed", later)
    redis.command("HINCRBY", f"{shard}active", "default", "1")
    redis.command("SET", f"{shard}colour", "red")
    done = audit()
    assert done.returncode == 1 and done.stderr == ""
    assert sorted(done.stdout.splitlines()) == sorted([
        f"✘ shard 0: run:{runs[0]}: is not in its workspace's index", f"✘ shard 0: run:{later}: is not in delayed with its due time",
        "✘ shard 0: active: counts 1 runs too many of default", "✘ shard 0: colour: is a key of no kind", "audit: 4 runs, 4 findings"])
    *rows, total = [json.loads(line) for line in audit("--json").stdout.splitlines()]
    assert {"shard": 0, "key": "colour", "what": "is a key of no kind"} in rows and len(rows) == 4
    assert total["runs"] == 4 and total["findings"] == 4 and total["countersJudged"] is True
    for i in range(150):
        redis.command("SET", f"{shard}colour:{i}", "red")
    lines = audit().stdout.splitlines()
    assert len(lines) == 102 and lines[100:] == ["… and 54 more", "audit: 4 runs, 154 findings"]


def test_every_shard(stack, redis, redis_factory, audit):
    other = redis_factory()
    env = {"ERRAND_SHARDS": 2, "ERRAND_REDIS_URL": f"{redis.url},{other.url}"}
    stack.api(env=env)
    other.command("SET", f"{stack.shard(1)}colour", "red")
    done = audit("--shards", "2", "--redis-url", f"{redis.url},{other.url}", "--prefix", stack.prefix, env={"ERRAND_REDIS_URL": "", "ERRAND_PREFIX": ""})
    assert done.returncode == 1 and "shard 1: colour: is a key of no kind" in done.stdout
    assert audit(env=env).stdout == done.stdout
    other.command("DEL", f"{stack.shard(1)}colour")
    assert audit(env=env).stdout == "audit: 0 runs, 0 findings\n"


def test_a_live_system_is_not_taken_for_a_broken_one(stack, api, audit):
    """Runs come, go, are stopped and removed while it reads."""
    for _ in range(2):
        stack.runner(api=api)
    stop = threading.Event()

    def load(n):
        try:
            while not stop.is_set():
                body = {"runs": [{"agent": GOOD if i % 3 else BAD, "delayMs": 50 * (i % 2), "priority": ("high", "low")[i % 2]} for i in range(10)]}
                ids = [row["runId"] for row in api.post("/v1/runs/batch", body).json()["results"]]
                for run in ids[n::3]:
                    api.post(f"/v1/runs/{run}/stop")
                for run in ids[:5]:
                    api.wait(run)
                    assert api.request("DELETE", f"/v1/runs/{run}").status == 204
                rounds.append(n)
        except BaseException as e:  # in a thread it would go unnoticed
            faults.append(e)
    rounds, faults = [], []
    threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(100):
            if n >= 3 and len(rounds) > 3:
                break
            done = audit()
            assert done.returncode == 0 and re.match(r"audit: \d+ runs, 0 findings\n", done.stdout), done.stdout
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults and len(rounds) > 3, faults
    wait_until(lambda: not stack.redis.command("EXISTS", f"{stack.shard()}queued", f"{stack.shard()}active", f"{stack.shard()}scheduled"), 60, "everything has ended")
    done = audit("--events", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["countersJudged"] is True, done.stdout


def test_how_it_ends(stack, redis, audit):
    done = audit(env={"ERRAND_REDIS_URL": "unix:///nonexistent/redis.sock"})
    assert done.returncode == 4 and "shard 0 can't be read" in done.stderr and done.stdout == ""
    assert audit(env={"ERRAND_REDIS_PASSWORD": "wrong"}).returncode == 4
    done = audit(env=redis.users.env("runner"))  # it may write what the audit reads, but not look around
    assert done.returncode == 4 and "docker/users.acl" in done.stderr
    assert audit(env=redis.users.env("doctor")).stdout == "audit: 0 runs, 0 findings\n"
    assert audit("--shards", "0").returncode == 2 and audit("--prefix", "x" * 65).returncode == 2
    done = subprocess.run([ERRAND, "doctor", "--shards", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=stack.environment(), cwd=stack.folder)
    assert done.returncode == 2 and "--audit" in done.stderr
