"""The edges of adoption: output that no mark can stand behind, runners that can't leave at once, whoever else speaks where a successor is waited for."""
import json
import os
import signal
import socket

import pytest

from harness import agents
from harness.processes import of_run
from harness.wait import holds_for, wait_until
from test_adopt import LEASE, MASTER_KEY, all_events, end, go, numbers, runner, steps

@pytest.fixture
def api(stack):
    return stack.api(env={"ERRAND_LEASE_MS": LEASE, "ERRAND_MASTER_KEY": MASTER_KEY})


SECRET = "hidden-" + "5" * 20


def waiting(folder, before, after="", **fields):
    """Does `before`, waits for the file `go`, does `after`, and ends."""
    return agents.python(folder, f"{before}\nwhile not os.path.exists({os.path.join(folder, 'go')!r}):\n    time.sleep(0.002)\n{after}\nend('success', result='done')\n", "edge", **fields)


def flood(before):
    return before + """
for i in range(3000):
    say("notification", {"i": i, "pad": "x" * 1000})
"""


def test_output_goes_on_where_no_mark_can_be(stack, api):
    """A line of standard error without an end, the agent's early word of its end, and an overlong line: nothing of what follows is acknowledged, and yet it has to flow."""
    runner(stack)
    for text in ("sys.stderr.write('50%'); sys.stderr.flush()", "end('success', result=1)", "print('x' * 600000, flush=True)"):
        run_id = api.submit(agents.python(stack.folder, flood(text) + "end('success', result=2)\n", f"flood{len(text)}"), timeoutMs=15000)
        assert api.wait(run_id)["status"] == "success", text
        assert [d["i"] for d in numbers(api, run_id)] == list(range(3000))


def test_what_is_held_back_is_not_lost(stack, api):
    assert api.request("PUT", "/v1/secrets/PIN", {"value": SECRET}).status == 201
    first = runner(stack)
    before = 'sys.stderr.write("first\\nhid"); sys.stderr.flush(); print("y" * 300000, flush=True); say("notification", {"ready": True})'
    run_id = api.submit(waiting(stack.folder, before, 'print("ing place", file=sys.stderr); print("last")', env=[{"key": "PIN", "secret": "PIN"}]))
    wait_until(lambda: any("ready" in e["data"] for e in all_events(api, run_id)), 10, "it has said all that it says first")
    end(first.process, signal.SIGKILL)
    runner(stack)
    go(stack.folder)
    record = api.wait(run_id)
    assert record["status"] == "success"
    attempt = [e["seq"] for e in all_events(api, run_id) if e["kind"] == "runtime_started"][-1]
    last = [e["data"] for e in all_events(api, run_id) if e["seq"] > attempt]
    shown = {s: "".join(d["text"] for d in last if d.get("stream") == s) for s in ("stdout", "stderr")}
    assert shown["stderr"] == "firsthiding place" and shown["stdout"] == "y" * 300000 + "last", {k: (len(v), v[:40], v[-40:]) for k, v in shown.items()}


def test_a_quiet_run_with_statistics_is_adopted(stack, api):
    first = runner(stack, ERRAND_STATS_MS="100")
    run_id = api.submit(waiting(stack.folder, 'say("notification", {"ready": True})'))
    wait_until(lambda: sum(e["data"].get("type") == "resource_stats" for e in all_events(api, run_id)) >= 2, 10, "statistics were told")
    end(first.process, signal.SIGKILL)
    runner(stack)
    go(stack.folder)
    record = api.wait(run_id)
    assert record["status"] == "success" and record["attempt"] == 1


def test_a_runner_without_redis_ends(stack, api):
    first = runner(stack, ERRAND_DRAIN_MS="100")
    run_id = api.submit(steps(stack.folder))
    wait_until(lambda: len(numbers(api, run_id)) > 5, 10, "it says something")
    stack.redis.freeze()
    try:
        end(first.process, signal.SIGTERM)
    finally:
        stack.redis.thaw()
    runner(stack)
    go(stack.folder)
    record = api.wait(run_id)
    last = [d["i"] for d in numbers(api, run_id) if d["attempt"] == record["attempt"]]
    assert record["status"] == "success" and last == list(range(record["result"]))


def test_what_can_be_adopted_goes_on_while_others_drain(stack, api):
    first = runner(stack, ERRAND_LEASE_MS="1000", ERRAND_HEARTBEAT_MS="200", ERRAND_DRAIN_MS="20000")
    steady = api.submit(steps(stack.folder))
    other = api.submit(agents.python(stack.folder, f"""
while not os.path.exists({os.path.join(stack.folder, 'enough')!r}):
    time.sleep(0.01)
end("success", result=1)
""", "other", stdin="open"))
    wait_until(lambda: len(numbers(api, steady)) > 5 and of_run(other), 10, "both run")
    pids = of_run(steady)
    first.process.popen.send_signal(signal.SIGTERM)
    holds_for(lambda: set(of_run(steady)) == set(pids), 2.5, "it lives while its runner does")
    with open(os.path.join(stack.folder, "enough"), "w", encoding="ascii"):
        pass
    wait_until(lambda: first.process.popen.poll() is not None, 10, "the runner is gone")
    first.process.killed = True
    assert api.record(other)["status"] == "success"
    runner(stack)
    go(stack.folder)
    record = api.wait(steady)
    assert record["status"] == "success" and record["attempt"] == 1
    assert [d["i"] for d in numbers(api, steady)] == list(range(record["result"]))


def test_a_late_word_of_the_dead_runner_is_refused(stack, api):
    """It died between sending a batch and Redis executing it: the successor is there first."""
    first = runner(stack)
    run_id = api.submit(waiting(stack.folder, 'say("notification", {"ready": True})', 'say("notification", {"i": 0})'))
    wait_until(lambda: any("ready" in e["data"] for e in all_events(api, run_id)), 10, "it runs")
    end(first.process, signal.SIGKILL)
    key = next(k for k in stack.redis.keys("*:events") if run_id.encode() in k)
    newest = stack.redis.command("XREVRANGE", key, "+", "-", "COUNT", "1")[0][0].decode()
    second = runner(stack)
    wait_until(lambda: "attempt adopted" in open(second.process.log, encoding="utf-8").read(), 10, "it is adopted")
    epoch, seq = newest.split("-")
    for ahead in (1, 256):
        answer = None
        try:
            answer = stack.redis.command("XADD", key, "NOMKSTREAM", f"{epoch}-{int(seq) + ahead}", "h", f"{int(seq) + 1},{int(seq) + 1},0,1,0,0", "b", "late")
        except Exception as e:  # pylint: disable=broad-except
            assert "equal or smaller" in str(e), e
        assert answer is None, "an entry of the dead process was taken"
    go(stack.folder)
    record = api.wait(run_id)
    assert record["status"] == "success" and record["attempt"] == 1 and [d["i"] for d in numbers(api, run_id)] == [0]


def test_nothing_is_shown_before_it_is_known_what_is_secret(stack, api):
    """Whoever answers where a successor asks dies before it has told the whole environment: what was in the pipes stays there."""
    assert api.request("PUT", "/v1/secrets/PIN", {"value": SECRET}).status == 201
    first = runner(stack)
    run_id = api.submit(waiting(stack.folder, 'say("notification", {"ready": True})', env=[{"key": "PIN", "secret": "PIN"}]))
    wait_until(lambda: any("ready" in e["data"] for e in all_events(api, run_id)), 10, "it runs")
    tree = of_run(run_id)
    end(first.process, signal.SIGKILL)
    key = next(k for k in stack.redis.keys("*:run:" + run_id))
    path = json.loads(stack.redis.command("HGET", key, "a1:handle"))["adopt"]
    wait_until(lambda: os.path.exists(path), 5, "it waits for a successor")
    for pid in tree:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_until(lambda: not of_run(run_id), 5, "the tree is gone")
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(path)
        fake.listen(3)
        fake.settimeout(10)
        second = runner(stack)
        guests = [fake.accept()[0] for _ in range(3)]
        for g in guests:
            word = g.recv(64)
            if word == b"control\n":
                spoken = g
                g.sendall(b"env 1000\nPATH=/bin\0")
            elif word.startswith(b"out"):
                g.sendall(json.dumps({"kind": "notification", "data": {"all": SECRET}}).encode() + b"\n")
        spoken.close()  # the others stay open: what is in them could be read
        wait_until(lambda: api.record(run_id)["attempt"] != 1 or api.record(run_id)["status"] != "running", 15, "the attempt was given up")
        for g in guests:
            g.close()
    go(stack.folder)
    record = api.wait(run_id)
    assert second and record["status"] == "success"
    assert SECRET not in json.dumps(all_events(api, run_id))
