"""Input while a run is executed: lines to its standard input, in order, once each, whatever happens in between."""
import os
import threading

import pytest

from harness import agents
from harness.redis_proxy import RedisProxy
from harness.wait import wait_until

MAX_LINES, MAX_LINE, MAX_BYTES = 10000, 262144, 4194304


def echo(folder, **fields):
    """Says each line that it reads, and its number; ends with all of them when its input ends, or after `input.n` lines."""
    return agents.python(folder, """\
        lines, most = [], (job["input"] or {}).get("n", -1)
        say("notification", {"type": "input_request", "question": "?"})
        while len(lines) != most:
            line = sys.stdin.readline()
            if not line:
                break
            lines.append(json.loads(line))
            say("notification", {"line": lines[-1], "attempt": int(os.environ["ERRAND_ATTEMPT"])})
            if lines[-1] == "crash" and os.environ["ERRAND_ATTEMPT"] == "1":
                os._exit(3)
        end("success", result=lines)
        """, "echo", stdin="open", **fields)


def send(api, run_id, data, key=None, **fields):
    return api.post(f"/v1/runs/{run_id}/input", {"data": data, **fields}, headers={"Idempotency-Key": key} if key else None)


def close(api, run_id):
    answer = api.post(f"/v1/runs/{run_id}/input", {"close": True})
    assert answer.status == 202, answer


def waiting(api, run_id):
    return api.record(run_id).get("waitingForInput", False)


def test_lines_arrive_in_order_and_the_run_says_when_it_waits(stack, apis, runner):
    run_id = apis[0].submit(echo(stack.folder))
    wait_until(lambda: waiting(apis[1], run_id), 10, "the run waits for input")
    assert [r.get("waitingForInput") for r in apis[0].get("/v1/runs").json()["runs"]] == [True]
    values = [{"a": [1, "ü\n", None]}, "text", 0, 1.50, True, None, [], " "] + list(range(50))
    numbers = []
    for i, value in enumerate(values):
        answer = send(apis[i % 2], run_id, value)
        assert answer.status == 202 and answer.json()["status"] == "running" and answer.json()["runId"] == run_id
        numbers.append(answer.json()["n"])
    assert numbers == sorted(set(numbers))
    assert not waiting(apis[0], run_id)
    close(apis[0], run_id)
    record = apis[0].wait(run_id)
    assert record["status"] == "success" and record["result"] == values and "waitingForInput" not in record
    assert stack.redis.command("EXISTS", f"{stack.shard()}run:{run_id}:stdin") == 0


def test_what_comes_before_the_start_waits_with_the_run(stack, api):
    run_id = api.submit(echo(stack.folder))
    for i in range(40):
        assert send(api, run_id, i).json()["status"] == "queued"
    close(api, run_id)
    assert send(api, run_id, 1).code == "input_closed"
    stack.runner()
    assert api.wait(run_id)["result"] == list(range(40))
    assert send(api, run_id, 1).code == "run_terminal"


def test_another_attempt_gets_all_lines_again(stack, api, runner):
    run_id = api.submit(echo(stack.folder, maxAttempts=2, backoff={"type": "fixed", "baseMs": 1, "capMs": 1}), input={"n": 4})
    for line in ("a", "b", "crash", "c"):
        assert send(api, run_id, line).status == 202
    record = api.wait(run_id)
    assert record["result"] == ["a", "b", "crash", "c"] and record["attempt"] == 2


def test_a_lost_runner_loses_no_line(stack, api, runner):
    run_id = api.submit(echo(stack.folder), input={"n": 3})
    assert send(api, run_id, 1).status == 202
    wait_until(lambda: any("line" in e["data"] for e in api.get(f"/v1/runs/{run_id}/events").json()["events"]), 10, "it read the line")
    runner.kill9()
    assert send(api, run_id, 2).status == 202
    stack.runner()
    assert send(api, run_id, 3).status == 202
    assert api.wait(run_id, timeout=40)["result"] == [1, 2, 3]


def test_each_line_once_though_the_runner_is_cut_off_again_and_again(stack, api):
    proxy = RedisProxy(stack.folder, stack.redis.socket)
    stack.runner(env={"ERRAND_REDIS_URL": proxy.url})
    run_id = api.submit(echo(stack.folder), input={"n": 300})

    def cut():
        while not done.is_set():
            proxy.cut()
            done.wait(0.2)
    done = threading.Event()
    thread = threading.Thread(target=cut)
    thread.start()
    for i in range(300):
        assert send(api, run_id, i, key=f"k{i}").status == 202
    done.set()
    thread.join()
    assert api.wait(run_id, timeout=60)["result"] == list(range(300))


def test_a_repeated_request_is_taken_once(stack, api, runner):
    run_id = api.submit(echo(stack.folder), input={"n": 2})
    first, again = send(api, run_id, "x", key="one"), send(api, run_id, "x", key="one")
    assert first.json()["n"] == again.json()["n"] and again.headers["idempotency-replayed"] == "true"
    assert send(api, run_id, "y", key="one").code == "idempotency_mismatch"
    assert send(api, run_id, "x", key="two").status == 202
    assert api.wait(run_id)["result"] == ["x", "x"]


def test_many_writers_at_once(stack, apis, runner):
    run_id = apis[0].submit(echo(stack.folder), input={"n": 200})

    def write(who):
        for i in range(50):
            assert send(apis[who % 2], run_id, [who, i]).status == 202
    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    result = apis[0].wait(run_id)["result"]
    assert sorted(result) == [[w, i] for w in range(4) for i in range(50)]
    for who in range(4):
        assert [i for w, i in result if w == who] == list(range(50))


def test_large_lines_to_an_agent_that_reads_slowly(stack, api, runner):
    agent = agents.python(stack.folder, f"""\
        go = {os.path.join(stack.folder, "go")!r}
        while not os.path.exists(go):
            time.sleep(0.01)
        end("success", result=[len(json.loads(line)) for line in sys.stdin])
        """, "slow", stdin="open")
    run_id = api.submit(agent)
    sizes = [MAX_LINE - 2] * 15
    for size in sizes:
        assert send(api, run_id, "x" * size).status == 202
    close(api, run_id)
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    assert api.wait(run_id)["result"] == sizes


def test_bounds(stack, api):
    run_id = api.submit(echo(stack.folder))
    assert send(api, run_id, "x" * MAX_LINE).code == "invalid_field"
    for _ in range(MAX_BYTES // MAX_LINE):
        assert send(api, run_id, "x" * (MAX_LINE - 2)).status == 202
    assert send(api, run_id, "x").code == "limit_exceeded"
    other = api.submit(echo(stack.folder))
    stack.redis.command("HSET", f"{stack.shard()}run:{other}", "inputs", MAX_LINES)
    assert send(api, other, 1).code == "limit_exceeded"
    for answer, code in ((api.post(f"/v1/runs/{other}/input", {}), "missing_field"), (api.post(f"/v1/runs/{other}/input", {"line": 1}), "unknown_field"),
                         (api.post(f"/v1/runs/{other}/input", {"data": 1, "close": 2}), "invalid_field"), (api.post(f"/v1/runs/{other}/input", b"[1]"), "invalid_field"),
                         (api.post(f"/v1/runs/{other}/input", b"{"), "invalid_json")):
        assert answer.status == 400 and answer.code == code, answer


def test_a_run_that_takes_none(api, runner):
    run_id = api.submit(agents.sleeper())
    assert send(api, run_id, 1).code == "input_closed"
    assert api.post(f"/v1/runs/{run_id}/stop").status == 202


def test_a_stop_ends_an_agent_that_waits(stack, api, runner):
    run_id = api.submit(echo(stack.folder, graceMs=500))
    wait_until(lambda: waiting(api, run_id), 10, "it waits")
    assert api.post(f"/v1/runs/{run_id}/stop?wait=10").json()["status"] == "stopped"
    assert not waiting(api, run_id)


def test_a_remote_runtime_asks_too(stack, api, runner):
    agent = agents.python(stack.folder, """\
        import urllib.request
        def post(path, body=None):
            request = urllib.request.Request(f"{os.environ['ERRAND_API_BASE']}/v1/runs/{os.environ['ERRAND_RUN_ID']}/runner/{path}", body and json.dumps(body).encode(),
                                             {"Authorization": "Bearer " + os.environ["ERRAND_RUNNER_TOKEN"], "Content-Type": "application/json"})
            return json.load(urllib.request.urlopen(request))
        seq = post("manifest")["nextSeq"]
        def event(kind, data):
            global seq
            post("events", {"v": 1, "runId": os.environ["ERRAND_RUN_ID"], "events": [{"seq": seq, "tMs": int(time.time() * 1000), "kind": kind, "data": data}]})
            seq += 1
        event("notification", {"type": "input_request"})
        line = json.loads(sys.stdin.readline())
        event("runtime_terminal", {"status": "success", "result": line})
        """, "remote", stdin="open", eventSource="remote")
    run_id = api.submit(agent)
    wait_until(lambda: waiting(api, run_id), 10, "it waits")
    assert send(api, run_id, {"yes": 1}).status == 202
    assert api.wait(run_id)["result"] == {"yes": 1}


@pytest.mark.parametrize("lines, arguments, wanted", [
    (None, ['{"a":1}', "--close"], [{"a": 1}]),
    (None, ["go on", "--text", "--close"], ["go on"]),
    (b'1\n\n"two"\n', ["--close", "-"], [1, "two"]),
])
def test_the_command(stack, api, runner, lines, arguments, wanted):
    import subprocess
    from harness.nodes import build_dir
    run_id = api.submit(echo(stack.folder))
    env = {**stack.environment(), "ERRAND_URL": api.url, "ERRAND_KEY": api.key}
    done = subprocess.run([os.path.join(build_dir(), "errand"), "input", run_id, *arguments], input=lines, capture_output=True, env=env, timeout=30)
    assert done.returncode == 0, done
    assert api.wait(run_id)["result"] == wanted


def test_the_command_refuses_what_is_no_json(stack, api, runner):
    run_id = api.submit(echo(stack.folder))
    process = stack.cli("input", run_id, "go on")
    assert process.popen.wait(20) == 2 and b"--text" in process.output()
    close(api, run_id)
    api.wait(run_id)
