"""The conformance suite: what the executors' contract asks of every one of them, run on each through its rig (harness/executors.py). A test is for the executors whose agents can do its deed (asks)."""
import json
import os
import secrets
import socket
import subprocess
import time

import pytest

from harness.delivery import check_exact_delivery
from harness.executors import CAPABILITIES, ESCAPES, RIGS
from harness.wait import holds_for, wait_until

ROOT_FILES = "/etc"  # a folder that no agent in a container of any kind may write


@pytest.fixture
def rig(request, stack):
    made = request.param(stack)
    why = made.skip()
    if why:
        pytest.skip(f"{made.name}: {why}")
    made.open()
    yield made
    made.close()


@pytest.fixture
def node(stack, api, rig):
    """A runner that may use the rig's executor."""
    return stack.runner(env={"ERRAND_STATS_MS": "300", **rig.environment()})


def asks(deed=None, **traits):
    """Of which executors a test speaks: those whose agents can do the deed and whose rigs have the traits."""
    def mark(test):
        test.asks = lambda rig: (deed is None or deed in rig.deeds) and all(getattr(rig, k) == v for k, v in traits.items())
        return test
    return mark


def pytest_generate_tests(metafunc):
    """What an executor can't do by nature is no test of it; only what this machine lacks is skipped."""
    fits = getattr(metafunc.function, "asks", lambda rig: True)
    rigs = [r for r in RIGS if fits(r)]
    if "escape" in metafunc.fixturenames:
        cases = [(r, c, e) for r in rigs for c, escapes in ESCAPES.items() for e in escapes if e in r.deeds]
        metafunc.parametrize("rig, capability, escape", cases, ids=[f"{r.name}-{c}-{e}" for r, c, e in cases], indirect=["rig"])
    elif "rig" in metafunc.fixturenames:
        metafunc.parametrize("rig", rigs, ids=[r.name + ("-" + r.base if hasattr(r, "base") else "") for r in rigs], indirect=True)


def need_capability(api, rig, capability):
    if capability not in declared(api, rig):
        pytest.skip(f"{rig.name}: {capability} is not declared here")


def declared(api, rig):
    """What the runner says that the executor enforces."""
    return api.get("/v1/runners").json()["runners"][0]["capabilities"].get(rig.name, [])


def events_of(api, run_id, kind=None):
    """What is there of its events by now."""
    found, after = [], 0
    while True:
        page = api.get(f"/v1/runs/{run_id}/events?after={after}&limit=1000").json()
        found += page["events"]
        if page["next"] is None or page["next"] == after:
            return [e for e in found if kind in (None, e["kind"])]
        after = page["next"]


def said(api, run_id, key):
    """The newest notification that has this key."""
    found = [e["data"] for e in events_of(api, run_id, "notification") if key in e["data"]]
    return found[-1] if found else None


def ready(api, rig, run_id):
    """Its agent has begun, and says so."""
    return wait_until(lambda: said(api, run_id, "ready"), 20 * rig.slow, "the agent says that it is ready")


def ends(api, rig, run_id, status, error_class=None):
    """Waits for that end; nothing of the run may be left, and its record must be exact."""
    record = api.wait(run_id, timeout=30 * rig.slow)
    assert record["status"] == status and (record.get("error") or {}).get("class") == error_class, record
    wait_until(lambda: not rig.left(run_id), 10, f"nothing of {run_id} is left")
    check_exact_delivery(rig.stack, [run_id])
    return record


def stored_handle(api, run_id):
    return wait_until(lambda: api.record(run_id)["attempts"][-1].get("handle"), 10, "the handle is stored")


def handle_tool(rig, verb, argument):
    """Runs an operation in a process of its own; its exit status, and what it says, line by line."""
    path, env = rig.handle_tool()
    if not os.path.exists(path):
        pytest.skip(f"{path} is not built")
    done = subprocess.run([path, rig.name, verb, *([argument] if argument is not None else [])], env={**rig.stack.environment(), **env, "ERRAND_NODE": "handle-" + secrets.token_hex(4)},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode in (0, 3), done
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


# ---- ends ----

@asks("succeed")
def test_success(api, rig, node):
    run_id = api.submit(rig.define("succeed"), input=rig.given({"n": 7}))
    record = ends(api, rig, run_id, "success")
    assert record["result"] == rig.result(7)
    assert [e["data"]["text"] for e in events_of(api, run_id, "assistant_text")] == ["hello"]


@asks("fail")
def test_failure(api, rig, node):
    record = ends(api, rig, api.submit(rig.define("fail", maxAttempts=1)), "error", "exit_nonzero")
    assert record["attempts"][-1]["exitCode"] == 3, record


@asks("crash")
def test_crash(api, rig, node):
    record = ends(api, rig, api.submit(rig.define("crash", maxAttempts=1)), "error", "signal")
    assert "11" in record["error"]["message"] or "SEGV" in record["error"]["message"].upper() or "Segmentation" in record["error"]["message"], record


@asks("tree")
def test_stop_is_complete_and_idempotent(api, rig, node):
    run_id = api.submit(rig.define("tree", graceMs=300))
    ready(api, rig, run_id)
    assert rig.left(run_id)
    for _ in range(3):
        assert api.post(f"/v1/runs/{run_id}/stop").status in (200, 202)
    ends(api, rig, run_id, "stopped")
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"


@asks("tree", dies_with_runner=True)
def test_a_tree_ends_with_its_agent(api, rig, node):
    """A killed runner leaves nothing: what it started dies with it, and another attempt takes over."""
    run_id = api.submit(rig.define("tree", graceMs=300))
    ready(api, rig, run_id)
    node.kill9()
    wait_until(lambda: not rig.left(run_id), 15, "nothing of it is left")


@asks("sleep")
def test_timeout(api, rig, node):
    assert "timeout" in declared(api, rig)
    ends(api, rig, api.submit(rig.define("sleep", timeoutMs=int(1000 * rig.slow), graceMs=200, maxAttempts=1), input=rig.given({})), "error", "timeout")


@asks("silent")
def test_silence(api, rig, node):
    record = ends(api, rig, api.submit(rig.define("silent", stallMs=500, graceMs=200, maxAttempts=1), input=rig.given({})), "error", "timeout")
    assert "no event" in record["error"]["message"]


# ---- output ----

@asks("log")
def test_log_tail(api, rig, node):
    run_id = api.submit(rig.define("log"), input={"n": 120})
    ends(api, rig, run_id, "success")
    text = api.get(f"/v1/runs/{run_id}/logs").body.decode()
    assert "line 119" in text and "line 118" in text


@pytest.mark.release
@asks("flood")
def test_flood(stack, api, rig):
    """More than the runner would ever hold: it reads on only as Redis takes it, loses nothing, and stays small."""
    stack.redis.command("CONFIG", "SET", "maxmemory", "0")
    runner = stack.runner(env=rig.environment())
    small = resident(runner.process.pid)
    n, size = 20000, 1500
    run_id = api.submit(rig.define("flood"), input={"n": n, "size": size})
    largest = 0
    while api.record(run_id)["status"] not in ("success", "error", "stopped"):
        largest = max(largest, resident(runner.process.pid))
        time.sleep(0.02)
    record = api.wait(run_id)
    assert record["status"] == "success" and record["result"] == {"n": n}, record
    texts = [e["data"] for e in events_of(api, run_id, "assistant_text")]
    assert [t["i"] for t in texts if "i" in t] == list(range(n))
    assert sum(len(t["text"]) for t in texts) == n * size  # what redaction held back of a text's end comes in one of its own
    assert largest - small < 16 << 20, f"{(largest - small) >> 10} KiB for {n * size >> 20} MiB of output"


def resident(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- statistics ----

@asks("work")
def test_statistics(api, rig, node):
    run_id = api.submit(rig.define("work", graceMs=200))
    ready(api, rig, run_id)
    stats = wait_until(lambda: (said(api, run_id, "cpuPercent") or {}) if (said(api, run_id, "cpuPercent") or {}).get("cpuPercent", 0) > 10 else None, 15, "statistics of a busy agent")
    assert stats["type"] == "resource_stats" and stats["cpuPercent"] < 150
    assert 60 < stats["memoryMb"] < 400, stats
    if rig.name in ("process", "pool"):
        assert "networkRxBytes" not in stats, "what is not known is absent"
    seen = wait_until(lambda: api.record(run_id)["attempts"][-1].get("resourceStats"), 5, "statistics in the record")
    assert seen["memoryMb"] > 60
    api.post(f"/v1/runs/{run_id}/stop")
    ends(api, rig, run_id, "stopped")


# ---- handles ----

@asks("sleep", status_elsewhere=True)
def test_status_from_a_stored_handle(api, rig, node):
    run_id = api.submit(rig.define("sleep", graceMs=200))
    ready(api, rig, run_id)
    handle = stored_handle(api, run_id)
    assert all(isinstance(v, str) for v in handle.values()), handle
    text = json.dumps(handle, separators=(",", ":"))
    assert handle_tool(rig, "status", text)[1][0]["status"] == "running"
    api.post(f"/v1/runs/{run_id}/stop")
    ends(api, rig, run_id, "stopped")
    assert handle_tool(rig, "status", text)[1][0]["status"] in ("terminated", "failed")


@asks("sleep", started_by_tool=True)
def test_start_is_idempotent(stack, rig):
    """Started twice for the same run and attempt: one job, one handle."""
    status, lines = handle_tool(rig, "start", json.dumps(rig.spec("sleep")))
    assert status == 0
    started, gone = [x["started"] for x in lines if "started" in x], [x for x in lines if "gone" in x]
    assert len(started) == 2 and started[0] == started[1] and gone, lines
    assert handle_tool(rig, "status", json.dumps(started[0], separators=(",", ":")))[1][0]["status"] in ("terminated", "failed")


# ---- capabilities ----

def test_what_is_declared_is_known(api, rig, node):
    assert set(declared(api, rig)) <= set(CAPABILITIES) and "timeout" in declared(api, rig)


@asks("succeed")
def test_what_is_not_declared_keeps_a_run_waiting(api, rig, node):
    """That it is told so after 10 s does not depend on the executor, and is looked at with one of them."""
    lacking = [c for c in CAPABILITIES if c not in declared(api, rig)]
    runs = {c: api.submit(rig.define("succeed", requiresCapabilities=[c]), input=rig.given({})) for c in lacking}
    served = api.submit(rig.define("succeed", requiresCapabilities=declared(api, rig)), input=rig.given({}))
    ends(api, rig, served, "success")
    for capability, run_id in runs.items():
        if rig.name == "process":
            waiting = wait_until(lambda: api.record(run_id).get("waitingFor"), 30, f"{run_id} says what it waits for")
            assert f"@needs={capability}" in waiting["runner"]["requires"], waiting
        else:
            waiting = api.stack.redis.command("HVALS", api.stack.shard() + "reqs")
            assert any(f"@needs={capability}".encode() in text for text in waiting), waiting
        assert api.record(run_id)["status"] == "queued"
        api.post(f"/v1/runs/{run_id}/stop")


@asks("oom")
def test_memory_limit(api, rig, node):
    need_capability(api, rig, "memory_limit")
    ends(api, rig, api.submit(rig.define("oom", resources={"memoryMb": 96}, maxAttempts=1)), "error", "oom_killed")


@asks("burn")
def test_cpu_limit(api, rig, node):
    need_capability(api, rig, "cpu_limit")
    record = ends(api, rig, api.submit(rig.define("burn", resources={"cpus": 0.1}), input={"seconds": 2}), "success")
    assert 0.01 < record["result"]["cpus"] < 0.2, "three processes burnt"


@asks("forks")
def test_pids_limit(api, rig, node):
    if not rig.limits_pids(declared(api, rig)):
        pytest.skip(f"{rig.name}: processes are not limited here")
    record = ends(api, rig, api.submit(rig.define("forks", resources={"pids": 20}, graceMs=200)), "success")
    assert 5 <= record["result"]["forked"] < 20


@asks("succeed", limits_can_go=True)
def test_a_limit_that_can_not_be_set_keeps_a_run_waiting(stack, api, rig):
    """Limits are never dropped in silence: where the machine can't set one, the run waits for a runner that can."""
    off = rig.without_limits()
    stack.runner(env={**rig.environment(), **off})
    assert "memory_limit" not in declared(api, rig) and "cpu_limit" not in declared(api, rig)
    runs = [api.submit(rig.define("succeed", resources=r)) for r in ({"memoryMb": 64}, {"cpus": 1})]
    ends(api, rig, api.submit(rig.define("succeed")), "success")
    holds_for(lambda: all(api.record(r)["status"] == "queued" for r in runs), 0.3)
    if rig.refuses_pids_without_groups:
        ends(api, rig, api.submit(rig.define("succeed", resources={"pids": 5}, maxAttempts=1)), "error", "start_failed")


@pytest.fixture
def outside(rig):
    """What escapes aim at: a process with a mark in its environment and its words, a file, a folder, a listener on loopback."""
    mark = "m" + secrets.token_hex(8)
    folder = os.path.join(rig.stack.folder, "outside")
    os.mkdir(folder)
    with open(os.path.join(folder, "secret"), "w") as f:
        f.write(mark)
    victim = subprocess.Popen(["/bin/sh", "-c", "sleep 1000", mark], env={"PATH": "/usr/bin:/bin", "MARK": mark}, start_new_session=True)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(0)
    yield {"mark": mark, "path": os.path.join(folder, "secret"), "folder": folder, "victim": victim, "listener": listener}
    listener.close()
    victim.kill()
    victim.wait()


@asks(isolates=True)
def test_escape(api, rig, node, outside, capability, escape):
    """What is declared is proven: an agent that tries to get out does not."""
    need_capability(api, rig, capability)
    given = {"mark": outside["mark"], "path": outside["path"], "paths": [outside["folder"], ROOT_FILES], "pids": [outside["victim"].pid], "port": outside["listener"].getsockname()[1]}
    fields = {"network": "none"} if capability == "network_isolation" else {}
    run_id = api.submit(rig.define(escape, maxAttempts=1, requiresCapabilities=[capability], **fields), input=given)
    record = api.wait(run_id, timeout=30 * rig.slow)
    word = said(api, run_id, "escaped")
    assert word is not None or record["status"] == "error", "it says nothing of its attempt, and yet ended well"
    assert word is None or word["escaped"] is False, word
    assert outside["victim"].poll() is None
    assert os.listdir(outside["folder"]) == ["secret"] and not os.path.exists(os.path.join(ROOT_FILES, "written-" + outside["mark"]))
    with pytest.raises(BlockingIOError):
        outside["listener"].accept()


@asks(name="process")
def test_the_escapes_work_where_nothing_isolates(stack, api, outside):
    """The attempts themselves are real: under `process`, which declares no isolation, those that need no privilege get out."""
    from harness.executors import ProcessRig
    rig = ProcessRig(stack)
    stack.runner(env=rig.environment())
    given = {"mark": outside["mark"], "path": outside["path"], "paths": [outside["folder"]], "pids": [outside["victim"].pid], "port": outside["listener"].getsockname()[1]}
    runs = {e: api.submit(rig.define(e, maxAttempts=1), input=given) for e in ("read_environment", "read_file", "write_outside", "signal_others", "see_processes", "loopback")}
    for escape, run_id in runs.items():
        api.wait(run_id)
        word = said(api, run_id, "escaped")
        assert word and (word["escaped"] or word.get("wrote")), (escape, word)
