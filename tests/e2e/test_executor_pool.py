"""The executor `pool`: warm workers that take one run after another; what they share, and what they never do."""
import json
import os
import signal
import subprocess

import pytest

from harness import agents
from harness.delivery import check_exact_delivery
from harness.nodes import build_dir
from harness.processes import process_state
from harness.wait import holds_for, wait_until

WHO = "end(result={'pid': os.getpid(), 'runId': job['runId'], 'workDir': job['workDir']})"


@pytest.fixture
def runner(stack, api):
    """A runner with pools over `process`."""
    return pool_runner(stack)


def pool_runner(stack, bases="process", **kwargs):
    return stack.runner(env={"ERRAND_EXECUTORS": f"pool,{bases}", **kwargs.pop("env", {})}, **kwargs)


def run(api, agent, input=None, **fields):
    """Executes a run; returns its record."""
    return api.wait(api.submit(agent, input, **fields))


def result(api, agent, input=None, **fields):
    record = run(api, agent, input, **fields)
    assert record["status"] == "success", record
    return record["result"]


def workers(folder):
    """Pids of the living workers: what has a worker's file of this test in its command line."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if len(words) > 1 and words[0] == b"/usr/bin/python3" and words[1].startswith(folder.encode() + b"/"):
            found.append(int(entry))
    return sorted(found)


def test_one_worker_serves_many_runs(stack, api, runner):
    """The same process, a private folder of its own for each run, which is gone afterwards."""
    agent = agents.worker(stack.folder, "assert os.listdir(job['workDir']) == []\nopen(job['workDir'] + '/kept', 'w').close()\n" + WHO)
    found = [result(api, agent) for _ in range(5)]
    assert len({f["pid"] for f in found}) == 1 and len({f["workDir"] for f in found}) == 5
    wait_until(lambda: not any(os.path.exists(f["workDir"]) for f in found), 5)
    check_exact_delivery(stack, [f["runId"] for f in found])


def test_what_a_worker_gets(stack, api, runner):
    """Its own environment has nothing of any run, at no time; the run's comes with the job and is gone with it."""
    agent = agents.worker(stack.folder, """\
        with open("/proc/self/environ", "rb") as f:
            own = f.read().decode()
        end(result={"own": own, "environ": dict(os.environ), "env": env, "job": {k: v for k, v in job.items() if k != "env"}, "cwd": os.getcwd()})
        """, env=[{"key": "AGENTS", "value": "agent's"}])
    first = result(api, agent, {"n": 1}, env={"MINE": "first's"})
    second = result(api, agent, {"n": 2})
    for found in (first, second):
        assert set(found["environ"]) - {"LC_CTYPE"} == {"PATH", "HOME", "TMPDIR", "LANG"}
        assert "ERRAND" not in found["own"] and "first's" not in found["own"] and "agent's" not in found["own"]
        assert found["env"]["AGENTS"] == "agent's" and found["env"]["ERRAND_RUN_ID"] == found["job"]["runId"]
        assert found["env"]["HOME"] == found["env"]["TMPDIR"] == found["job"]["workDir"] != found["environ"]["HOME"]
        assert found["cwd"] == found["environ"]["HOME"]
    assert first["env"]["MINE"] == "first's" and "MINE" not in second["env"]
    assert [f["job"]["input"]["n"] for f in (first, second)] == [1, 2]
    assert first["env"]["ERRAND_RUNNER_TOKEN"] != second["env"]["ERRAND_RUNNER_TOKEN"] or "SECRET" in first["env"]["ERRAND_RUNNER_TOKEN"]


@pytest.mark.root_key
def test_two_workspaces_never_share_a_worker(stack, api, runner):
    agent = agents.worker(stack.folder, WHO)

    def pid_in(workspace):
        answer = api.post("/v1/runs", {"agent": agent}, workspace=workspace)
        assert answer.status == 202, answer
        run_id = answer.json()["runId"]
        return wait_until(lambda: api.get(f"/v1/runs/{run_id}", workspace=workspace).json().get("result"), 20)["pid"]
    pids = {ws: [pid_in(ws) for _ in range(2)] for ws in ("one", "two")}
    assert len(set(pids["one"])) == len(set(pids["two"])) == 1 and set(pids["one"]).isdisjoint(pids["two"])


def test_two_definitions_never_share_a_worker(stack, api, runner):
    agent = agents.worker(stack.folder, WHO)
    other = {**agent, "env": [{"key": "A", "value": "b"}]}
    assert result(api, agent)["pid"] != result(api, other)["pid"]


def test_a_worker_is_replaced_after_its_runs(stack, api, runner):
    agent = agents.worker(stack.folder, WHO, pool={"maxRuns": 2})
    pids = [result(api, agent)["pid"] for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    wait_until(lambda: workers(stack.folder) == [pids[4]], 5)


@pytest.mark.parametrize("does,status,error", [
    ("os.kill(os.getpid(), 9)", "error", "signal"),
    ("os._exit(3)", "error", "exit_nonzero"),
    ("os._exit(0)", "error", "agent_error"),
    ("end('error', error={'message': 'no'})", "error", "agent_error"),
    ("time.sleep(1000)", "error", "timeout"),
    ("sys.stdout.write('{\"kind\":\"runtime_terminal\",\"data\":{}}\\nmore\\n'); sys.stdout.flush()", "success", None),
    ("sys.stdout.write('x' * 1400000 + '\\n'); end()", "success", None),
    ("sys.stdout.write('{\"kind\":\"runtime_terminal\",\"data\":{\"result\":\"' + 'x' * 1400000 + '\"}}\\n'); sys.stdout.flush()", "error", "output_invalid"),
    ("subprocess.Popen(['sleep', '1000'], start_new_session=True); end()", "success", None),
], ids=["killed", "exits", "exits with 0", "fails", "late", "writes on at once", "a long line", "a long end", "leaves a child"])
def test_a_worker_that_is_not_as_it_was_is_replaced(stack, api, runner, does, status, error):
    """And what it wrote behind its run is nobody's; what it left is gone when the run is over."""
    agent = agents.worker(stack.folder, f"if input == 'bad':\n    say('notification', {{'pid': os.getpid()}})\n    {does}\nelse:\n    {WHO}", timeoutMs=1500, graceMs=300)
    before = result(api, agent)["pid"]
    run_id = api.submit(agent, "bad")
    record = api.wait(run_id)
    assert (record["status"], record.get("error", {}).get("class")) == (status, error), record
    after = run(api, agent)
    assert after["status"] == "success" and after["result"]["pid"] != before
    assert [json.loads(line)["kind"] for line in api.replay(after["runId"]).lines()] == ["runtime_started", "runtime_terminal"]
    wait_until(lambda: process_state(before) in (None, "Z"), 5)
    bad = [json.loads(line)["data"] for line in api.replay(run_id).lines()]
    assert {"pid": before} in bad, "it was the warm worker"
    check_exact_delivery(stack, [run_id, after["runId"]], cut_between=(100000, 2000000) if "1400000" in does else (200, 20000))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_written_while_no_run_is_on_is_nobodys(stack, api, runner, stream):
    late = os.path.join(stack.folder, "late")
    agent = agents.worker(stack.folder, WHO + f"""
if input == 'bad':
    while not os.path.exists({late!r}):
        time.sleep(0.005)
    print('more', file=sys.{stream}, flush=True)
""")
    before = result(api, agent, "bad")
    open(late, "w", encoding="ascii").close()
    wait_until(lambda: process_state(before["pid"]) in (None, "Z"), 5)
    after = result(api, agent)
    assert after["pid"] != before["pid"]
    for found in (before, after):
        assert [json.loads(line)["kind"] for line in api.replay(found["runId"]).lines()] == ["runtime_started", "runtime_terminal"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_a_waiting_worker_writes_is_nobodys(stack, api, runner, stream):
    """A thread of it that writes when the worker was ready long ago."""
    late = os.path.join(stack.folder, "late")
    agent = agents.worker(stack.folder, WHO, prepare=f"""
def wait():
    while not os.path.exists({late!r}):
        time.sleep(0.005)
    os.unlink({late!r})
    print('more', file=sys.{stream}, flush=True)
threading.Thread(target=wait, daemon=True).start()
""")
    before = result(api, agent)
    open(late, "w", encoding="ascii").close()
    wait_until(lambda: process_state(before["pid"]) in (None, "Z"), 5)
    after = result(api, agent)
    assert after["pid"] != before["pid"]
    for found in (before, after):
        assert [json.loads(line)["kind"] for line in api.replay(found["runId"]).lines()] == ["runtime_started", "runtime_terminal"]


def test_a_handle_is_of_one_run(stack, api, runner):
    """Not of the worker, which goes on."""
    agent = agents.worker(stack.folder, WHO)
    found = result(api, agent)
    handle = wait_until(lambda: api.record(found["runId"])["attempts"][-1].get("handle"), 10)
    assert handle["pid"] == str(found["pid"]) and handle["runs"] == "1" and handle["workDir"] == found["workDir"]
    wait_until(lambda: not os.path.exists(found["workDir"]), 5)
    done = subprocess.run([os.path.join(build_dir(), "tests", "handle"), "pool", "status", json.dumps(handle)], stdout=subprocess.PIPE, text=True, timeout=60, check=True,
                          env={**stack.environment(), "ERRAND_EXECUTORS": "pool,process", "ERRAND_NODE": "handle"})
    assert json.loads(done.stdout)["status"] == "terminated" and process_state(found["pid"]) == "S"


def test_what_is_written_behind_a_run_is_never_the_next_ones(stack, api, runner):
    """However quickly the next one comes."""
    agent = agents.worker(stack.folder, WHO + "\nprint('of', job['runId'], flush=True)\n", pool={"max": 1})
    answer = api.post("/v1/runs/batch", {"runs": [{"agent": agent}] * 30})
    ids = [r["runId"] for r in answer.json()["results"]]
    for run_id, record in check_exact_delivery(stack, ids).items():
        assert record["status"] == "success" and record["attempt"] == 1
        others = [line for line in api.replay(run_id).lines() if b'"of ' in line and run_id.encode() not in line]
        assert not others


def test_a_child_from_before_the_first_run_may_stay(stack, api, runner):
    agent = agents.worker(stack.folder, "subprocess.run(['true'])\n" + WHO, prepare="child = subprocess.Popen(['sleep', '1000'])")
    assert result(api, agent)["pid"] == result(api, agent)["pid"]


def test_stderr_is_the_runs(stack, api, runner):
    """What was written before the end belongs to the run, whatever pipe is read first."""
    agent = agents.worker(stack.folder, "for i in range(200):\n    os.write(2, (f'{input} {i}\\n').encode())\n" + WHO)
    pids = set()
    for name in ("a", "b", "c"):
        record = run(api, agent, name)
        pids.add(record["result"]["pid"])
        events = [json.loads(line)["data"] for line in api.replay(record["runId"]).lines()]
        assert [e["text"] for e in events if e.get("stream") == "stderr"] == [f"{name} {i}" for i in range(200)]
    assert len(pids) == 1


def test_stop(stack, api, runner):
    """The worker of the run ends, with its whole tree; a second stop is the same."""
    agent = agents.worker(stack.folder, """\
        child = subprocess.Popen(["setsid", "sleep", "1000"])
        say("notification", {"pids": [os.getpid(), child.pid]})
        time.sleep(1000)
        """, graceMs=2000)
    run_id = api.submit(agent)
    with api.stream(run_id) as stream:
        pids = json.loads(stream.until("notification")[-1].data)["data"]["pids"]
    assert api.post(f"/v1/runs/{run_id}/stop?wait=20").json()["status"] == "stopped"
    assert all(process_state(pid) in (None, "Z") for pid in pids)
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"
    check_exact_delivery(stack, [run_id])


def test_no_more_than_max_and_a_stop_while_it_waits(stack, api, runner):
    go = os.path.join(stack.folder, "go")
    agent = agents.worker(stack.folder, f"while input and not os.path.exists({go!r}):\n    time.sleep(0.01)\n" + WHO, pool={"max": 2})
    on = [api.submit(agent, True) for _ in range(2)]
    for run_id in on:
        api.wait(run_id, "running")
    waiting, stopped = api.submit(agent), api.submit(agent)
    api.wait(stopped, "provisioning")
    assert api.post(f"/v1/runs/{stopped}/stop?wait=10").json()["status"] == "stopped"
    holds_for(lambda: len(workers(stack.folder)) == 2 and api.record(waiting)["status"] == "provisioning", 0.3)
    open(go, "w", encoding="ascii").close()
    records = [api.wait(run_id) for run_id in on + [waiting]]
    assert {r["status"] for r in records} == {"success"} and len({r["result"]["pid"] for r in records}) == 2
    check_exact_delivery(stack, on + [waiting, stopped])


def test_idle_workers_go_and_min_of_them_stay_until_the_pool_goes(stack, api, runner):
    go = os.path.join(stack.folder, "go")
    agent = agents.worker(stack.folder, f"while not os.path.exists({go!r}):\n    time.sleep(0.01)\n" + WHO, pool={"min": 2, "max": 4, "idleMs": 300})
    on = [api.submit(agent) for _ in range(4)]
    for run_id in on:
        api.wait(run_id, "running")
    open(go, "w", encoding="ascii").close()
    assert len({api.wait(run_id)["result"]["pid"] for run_id in on}) == 4
    wait_until(lambda: len(workers(stack.folder)) == 2, 5, "two are kept warm")
    holds_for(lambda: len(workers(stack.folder)) == 2, 0.5)
    wait_until(lambda: workers(stack.folder) == [], 8, "the pool went")


def test_min_is_kept_warm_from_the_first_run_on(stack, api, runner):
    agent = agents.worker(stack.folder, "if input: os._exit(1)\n" + WHO, pool={"min": 3})
    first = result(api, agent)["pid"]
    wait_until(lambda: len(workers(stack.folder)) == 3, 5)
    assert run(api, agent, True)["status"] == "error"
    wait_until(lambda: len(workers(stack.folder)) == 3, 5, "the one that failed was replaced")
    assert first in workers(stack.folder) or result(api, agent)["pid"] != first


def test_the_sum_of_workers_is_bounded(stack, api):
    """A pool that needs a place takes it from one that only keeps workers warm; where all work, it waits."""
    pool_runner(stack, env={"ERRAND_POOL_WORKERS": 2})
    go = os.path.join(stack.folder, "go")
    one = agents.worker(stack.folder, WHO, file="one", pool={"min": 2})
    two = agents.worker(stack.folder, f"while not os.path.exists({go!r}):\n    time.sleep(0.01)\n" + WHO, file="two")
    result(api, one)
    wait_until(lambda: len(workers(stack.folder)) == 2, 5)
    on = [api.submit(two) for _ in range(2)]
    for run_id in on:
        api.wait(run_id, "running")
    assert len(workers(stack.folder)) == 2
    waiting = api.submit(one)
    api.wait(waiting, "provisioning")
    holds_for(lambda: len(workers(stack.folder)) == 2 and api.record(waiting)["status"] == "provisioning", 0.3)
    open(go, "w", encoding="ascii").close()
    for run_id in on + [waiting]:
        assert api.wait(run_id)["status"] == "success"


def test_a_runner_that_drains_ends_idle_workers_at_once(stack, api):
    leaving = pool_runner(stack, env={"ERRAND_DRAIN_MS": 20000})
    go = os.path.join(stack.folder, "go")
    idle = agents.worker(stack.folder, WHO, file="idle", pool={"min": 2})
    busy = agents.worker(stack.folder, f"while not os.path.exists({go!r}):\n    time.sleep(0.01)\n" + WHO, file="busy")
    result(api, idle)
    run_id = api.submit(busy)
    api.wait(run_id, "running")
    wait_until(lambda: len(workers(stack.folder)) == 3, 5)
    leaving.process.signal(signal.SIGTERM)
    wait_until(lambda: len(workers(stack.folder)) == 1, 5, "only the one that works is left")
    open(go, "w", encoding="ascii").close()
    assert leaving.process.wait(10) == 0
    assert api.record(run_id)["status"] == "success" and workers(stack.folder) == []


def test_a_runner_that_is_killed_leaves_no_worker(stack):
    """Nor their folders; the run is executed again by another."""
    lease = {"ERRAND_LEASE_MS": 1500, "ERRAND_HEARTBEAT_MS": 300}
    api, runner = stack.api(env={"ERRAND_LEASE_MS": 1500}), pool_runner(stack, env=lease)
    agent = agents.worker(stack.folder, "if job['attempt'] == 1: time.sleep(1000)\n" + WHO, pool={"min": 2})
    run_id = api.submit(agent)
    api.wait(run_id, "running")
    wait_until(lambda: len(workers(stack.folder)) == 2, 5)
    runner.kill9()
    wait_until(lambda: workers(stack.folder) == [], 5)
    pool_runner(stack, env=lease)
    record = api.wait(run_id, timeout=30)
    assert record["status"] == "success" and record["attempt"] == 2
    check_exact_delivery(stack, [run_id])


def test_a_run_whose_worker_died_is_tried_again(stack, api, runner):
    agent = agents.worker(stack.folder, "if job['attempt'] < 3: os.kill(os.getpid(), 9)\n" + WHO, maxAttempts=3, backoff={"type": "fixed", "baseMs": 10, "capMs": 10})
    record = run(api, agent)
    assert record["status"] == "success" and [a.get("error", {}).get("class") for a in record["attempts"]] == ["signal", "signal", None]
    check_exact_delivery(stack, [record["runId"]])


@pytest.mark.parametrize("prepare,said", [("raise SystemExit('no such model')", "no such model"), ("print('x' * 100000)", "too much"), ("time.sleep(1000)", "not ready in time")],
                         ids=["ends", "floods", "sleeps"])
def test_a_worker_that_does_not_become_ready(stack, api, runner, prepare, said):
    agent = agents.worker(stack.folder, WHO, prepare=prepare, timeoutMs=700, pool={"min": 2})
    for _ in range(2):
        record = run(api, agent)
        assert record["status"] == "error" and record["error"]["class"] == "start_failed" and said in record["error"]["message"], record
    wait_until(lambda: workers(stack.folder) == [], 5)


def test_what_is_printed_before_it_is_ready_is_nobodys(stack, api, runner):
    agent = agents.worker(stack.folder, WHO, prepare="print('hello')\nprint('{}')\nprint('warning', file=sys.stderr)")
    record = run(api, agent)
    assert record["status"] == "success"
    assert [json.loads(line)["kind"] for line in api.replay(record["runId"]).lines()] == ["runtime_started", "runtime_terminal"]


def test_a_command_that_is_not_there(stack, api, runner):
    agent = {**agents.worker(stack.folder, WHO), "command": ["/nowhere/worker"]}
    record = run(api, agent)
    assert record["error"]["class"] == "start_failed" and "/nowhere/worker" in record["error"]["message"]


def test_redaction_is_each_runs_own(stack, api, runner):
    """A run's token is hidden in its own output, whatever else the worker has seen."""
    agent = agents.worker(stack.folder, "say('assistant_text', {'text': 'token ' + env['ERRAND_RUNNER_TOKEN'] + ' end'})\n" + WHO)
    for _ in range(2):
        record = run(api, agent)
        text = "".join(json.loads(line)["data"].get("text", "") for line in api.replay(record["runId"]).lines())
        assert text == "token [SECRET:ERRAND_RUNNER_TOKEN] end"


def test_two_hundred_runs_in_a_row(stack, api, runner):
    agent = agents.worker(stack.folder, "say('assistant_text', {'text': str(input)})\n" + WHO, pool={"max": 3, "maxRuns": 25})
    answer = api.post("/v1/runs/batch", {"runs": [{"agent": agent, "input": i} for i in range(200)]})
    ids = [r["runId"] for r in answer.json()["results"]]
    records = check_exact_delivery(stack, ids)
    assert all(r["status"] == "success" and r["attempt"] == 1 and r["result"]["runId"] == i for i, r in records.items())
    pids = [r["result"]["pid"] for r in records.values()]
    assert 8 <= len(set(pids)) <= 40 and max(pids.count(p) for p in set(pids)) <= 25


def test_pools_need_a_base(stack, api):
    process = stack.start("errand-runner", [], {"ERRAND_EXECUTORS": "pool"})
    assert process.wait(10) == 2 and b"pool needs process or sandbox" in process.output()


def test_a_base_that_the_runner_may_not_use(stack, api, runner):
    """A submission can't turn on what the operator did not."""
    agent = agents.worker(stack.folder, WHO, base="sandbox", network="host")
    run_id = api.submit(agent)
    holds_for(lambda: api.record(run_id)["status"] == "queued", 0.3)


def test_a_worker_runs_from_its_bundle(stack, api):
    """Which stays where it is for as long as the pool does, though the cache may keep nothing."""
    pool_runner(stack, env={"ERRAND_BUNDLE_CACHE_BYTES": 0})
    folder = os.path.join(stack.folder, "bundled")
    os.mkdir(folder)
    agent = agents.worker(folder, "end(result={'pid': os.getpid(), 'cwd': os.getcwd(), 'code': os.environ['ERRAND_CODE_DIR']})", name="bundled")
    agent["command"] = ["/usr/bin/python3", "worker.py"]
    with open(os.path.join(folder, "agent.json"), "w", encoding="utf-8") as f:
        json.dump(agent, f)
    assert stack.cli("agents", "push", folder).wait(20) == 0
    first = result(api, "bundled")
    assert first["cwd"] == first["code"] and os.listdir(first["code"])
    assert result(api, "bundled") == first and os.listdir(first["code"])


# ---- over `sandbox` ----

@pytest.fixture
def boxed(stack, api):
    """A runner with pools over `sandbox`; skips where this machine can't have it."""
    return pool_runner(stack, bases="sandbox")


@pytest.mark.parametrize("limits", [{}, {"resources": {"diskMb": 16}}], ids=["its folder", "with a quota"])
def test_a_sandboxed_worker_serves_many_runs(stack, api, boxed, limits):
    agent = agents.worker(stack.folder, "assert os.listdir(job['workDir']) == []\nopen(job['workDir'] + '/kept', 'w').close()\n"
                          "end(result={'pid': os.getpid(), 'start': open('/proc/self/stat').read().rsplit(')', 1)[1].split()[19], 'seen': len([p for p in os.listdir('/proc') if p.isdigit()]),"
                          "'home': env['HOME'], 'workDir': job['workDir'], 'environ': sorted(os.environ)})", base="sandbox", **limits)
    inline(agent)
    found = [result(api, agent) for _ in range(3)]
    assert len({f["start"] for f in found}) == 1 and len({f["workDir"] for f in found}) == 3
    for f in found:
        assert f["home"] == f["workDir"] and f["seen"] < 6 and not [k for k in f["environ"] if k.startswith("ERRAND")]


def inline(agent):
    """The worker's program as an argument: a sandbox does not see the test's folder."""
    with open(agent["command"][1], encoding="utf-8") as f:
        agent["command"] = ["/usr/bin/python3", "-c", f.read()]


def test_a_sandboxed_worker_that_leaves_a_child_is_replaced(stack, api, boxed):
    agent = agents.worker(stack.folder, "if input: subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
                          "end(result=open('/proc/self/stat').read().rsplit(')', 1)[1].split()[19])", base="sandbox")
    inline(agent)
    first = result(api, agent)
    assert result(api, agent, True) == first
    assert result(api, agent) != first
