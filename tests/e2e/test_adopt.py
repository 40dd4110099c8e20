"""Restart of a runner with --adopt: what it executed goes on under its successor; what can't be taken over is killed and executed again; nothing runs unowned."""
import os
import signal
import subprocess
import sys

import pytest

from harness import agents, hooks
from harness.processes import of_run
from harness.wait import holds_for, wait_until

LEASE = 4000


def runner(stack, **env):
    return stack.runner(env={"ERRAND_ADOPT": "true", "ERRAND_NODE": "steady-" + os.path.basename(stack.folder), "ERRAND_LEASE_MS": LEASE, "ERRAND_HEARTBEAT_MS": "500", "ERRAND_MASTER_KEY": MASTER_KEY, **env})


@pytest.fixture
def api(stack):
    return stack.api(env={"ERRAND_LEASE_MS": LEASE, "ERRAND_MASTER_KEY": MASTER_KEY})


MASTER_KEY = hooks.MASTER_KEY


def steps(folder, text="", pause=0.002, **fields):
    """Says numbered texts until the file `go` is in the folder, then ends; with its pid."""
    return agents.python(folder, f"""\
        go = {os.path.join(folder, "go")!r}
        i = 0
        while not os.path.exists(go):
            say("notification", {{"i": i, "pid": os.getpid(), "attempt": int(os.environ["ERRAND_ATTEMPT"])}})
            i += 1
            time.sleep({pause})
        {text}
        end("success", result=i)
        """, "steps", **fields)


def go(folder):
    with open(os.path.join(folder, "go"), "w", encoding="ascii"):
        pass



def all_events(api, run_id):
    found, after = [], -1
    while True:
        page = api.get(f"/v1/runs/{run_id}/events?limit=1000&after={after}").json()
        found += page["events"]
        if page["next"] is None or not page["events"]:
            return found
        after = page["next"] if page["next"] != after else found[-1]["seq"]


def numbers(api, run_id):
    return [e["data"] for e in all_events(api, run_id) if e["kind"] == "notification" and "i" in e["data"]]


def end(process, how):
    os.kill(process.popen.pid, how)
    wait_until(lambda: process.popen.poll() is not None, 20, "the runner is gone")
    process.killed = True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_goes_on_under_the_next_runner(stack, api, how):
    first = runner(stack)
    run_id = api.submit(steps(stack.folder))
    wait_until(lambda: len(numbers(api, run_id)) > 20, 10, "it says something")
    pids = of_run(run_id)
    for _ in range(3):
        end(first.process, how)
        assert set(of_run(run_id)) == set(pids), "nothing of it died"
        before = len(numbers(api, run_id))
        first = runner(stack)
        wait_until(lambda: len(numbers(api, run_id)) > before + 20, 10, "it goes on")
    go(stack.folder)
    record = api.wait(run_id)
    said = numbers(api, run_id)
    assert record["status"] == "success" and record["attempt"] == 1 and len(record["attempts"]) == 1, record
    assert [d["i"] for d in said] == list(range(record["result"])) and len({d["pid"] for d in said}) == 1
    wait_until(lambda: not of_run(run_id), 5, "nothing is left")
    assert not [name for name in os.listdir(stack.folder) if name.endswith(".sock") and run_id in name]


def test_without_a_successor_it_is_killed_and_executed_again(stack, api):
    first = runner(stack)
    run_id = api.submit(steps(stack.folder))
    wait_until(lambda: len(numbers(api, run_id)) > 5, 10, "it says something")
    pids = of_run(run_id)
    end(first.process, signal.SIGKILL)
    other = stack.runner(env={"ERRAND_NODE": "another"})
    assert other
    wait_until(lambda: not set(pids) & set(of_run(run_id)), 15, "the old tree is gone")
    wait_until(lambda: api.record(run_id)["attempt"] == 2, 15, "it is executed again")
    go(stack.folder)
    assert api.wait(run_id)["status"] == "success"


IMPOSTOR = """
import socket, sys, threading
def serve(c):
    said = c.recv(100)
    if said.startswith(b"control"):
        c.sendall(b"env 4\\nA=b\\0")
    elif said.startswith(b"out"):
        c.sendall(b'{"kind":"notification","data":{"i":-1}}\\n')
    c.recv(100)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(8)
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be somebody else")
def test_nobody_else_waits_to_be_adopted(stack, api):
    """The place where it is looked for is in a temporary folder: whoever sits there after its end is another user, and is not listened to."""
    first = runner(stack)
    run_id = api.submit(steps(stack.folder))
    wait_until(lambda: len(numbers(api, run_id)) > 5, 10, "it says something")
    pids = of_run(run_id)
    os.kill(first.process.pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    end(first.process, signal.SIGKILL)
    wait_until(lambda: not of_run(run_id), 10, "nothing is left")
    path = api.record(run_id)["attempts"][0]["handle"]["adopt"]
    if os.path.exists(path):
        os.unlink(path)
    os.chmod(stack.folder, 0o1777)
    with subprocess.Popen([sys.executable, "-c", IMPOSTOR, path], user="nobody", stdout=subprocess.PIPE) as impostor:
        try:
            assert impostor.stdout.readline() == b"up\n"
            os.chmod(path, 0o777)
            runner(stack)
            wait_until(lambda: api.record(run_id)["attempt"] == 2, 20, "it is executed again")
        finally:
            impostor.kill()
    go(stack.folder)
    assert api.wait(run_id)["status"] == "success"
    assert -1 not in [d["i"] for d in numbers(api, run_id)]


def test_a_runner_that_lives_is_robbed_of_nothing(stack, api):
    runner(stack)
    run_id = api.submit(steps(stack.folder))
    wait_until(lambda: len(numbers(api, run_id)) > 5, 10, "it says something")
    runner(stack)
    holds_for(lambda: api.record(run_id)["attempt"] == 1 and api.record(run_id)["status"] == "running", 1)
    go(stack.folder)
    record = api.wait(run_id)
    assert record["status"] == "success" and [d["i"] for d in numbers(api, run_id)] == list(range(record["result"]))


def test_what_ends_meanwhile_ends_as_it_did(stack, api):
    first = runner(stack)
    run_id = api.submit(agents.python(stack.folder, f"""\
        say("notification", {{"ready": True}})
        while not os.path.exists({os.path.join(stack.folder, "go")!r}):
            time.sleep(0.002)
        for i in range(500):
            say("notification", {{"i": i, "pad": "x" * 1000}})
        print("last words", file=sys.stderr)
        end("success", result="done")
        os._exit(7)
        """, "quick"))
    wait_until(lambda: any("ready" in e["data"] for e in all_events(api, run_id)), 10, "it runs")
    end(first.process, signal.SIGTERM)
    go(stack.folder)
    runner(stack)
    record = api.wait(run_id)
    assert record["attempt"] == 1 and record["error"]["class"] == "exit_nonzero" and record["attempts"][0]["exitCode"] == 7
    assert [d["i"] for d in numbers(api, run_id)] == list(range(500))
    assert any(line["text"] == "last words" for line in api.get(f"/v1/runs/{run_id}/logs").json()["lines"])


def test_text_is_whole(stack, api):
    first = runner(stack)
    path = os.path.join(stack.folder, "go")
    run_id = api.submit(agents.shell(f'printf "before ü "; while [ ! -e {path} ]; do sleep 0.01; done; printf "after"', name="text", protocol="text"))
    wait_until(lambda: any(e["kind"] == "assistant_text" for e in all_events(api, run_id)), 10, "it said something")
    end(first.process, signal.SIGTERM)
    runner(stack)
    go(stack.folder)
    record = api.wait(run_id)
    assert record["result"] == "before ü after" and record["attempt"] == 1


def test_a_stop_reaches_it(stack, api):
    first = runner(stack)
    run_id = api.submit(agents.tree(stack.folder, graceMs=300))
    wait_until(lambda: len(of_run(run_id)) >= 3 and any("pids" in e["data"] for e in all_events(api, run_id)), 10, "the tree is there")
    end(first.process, signal.SIGKILL)
    assert api.post(f"/v1/runs/{run_id}/stop").status == 202
    runner(stack)
    record = api.wait(run_id)
    assert record["status"] == "stopped" and not of_run(run_id)


def test_what_is_secret_stays_so(stack, api):
    value = "hidden-" + "4" * 20
    assert api.request("PUT", "/v1/secrets/PIN", {"value": value}).status == 201
    first = runner(stack)
    run_id = api.submit(steps(stack.folder, text='say("notification", {"all": os.environ["PIN"] + " " + os.environ["ERRAND_RUNNER_TOKEN"]})', env=[{"key": "PIN", "secret": "PIN"}]))
    wait_until(lambda: len(numbers(api, run_id)) > 5, 10, "it says something")
    end(first.process, signal.SIGKILL)
    runner(stack)
    go(stack.folder)
    record = api.wait(run_id)
    said = [e["data"]["all"] for e in all_events(api, run_id) if "all" in e["data"]]
    assert record["attempt"] == 1 and said == ["[SECRET:PIN] [SECRET:ERRAND_RUNNER_TOKEN]"]


def test_many_at_once(stack, api):
    first = runner(stack, ERRAND_SLOTS="16")
    agent = steps(stack.folder, pause=0.05)  # written once: a program that is being rewritten may be found empty, and ends well
    ids = [api.submit(agent) for _ in range(12)]
    wait_until(lambda: all(len(numbers(api, i)) > 5 for i in ids), 20, "all say something")
    end(first.process, signal.SIGKILL)
    runner(stack, ERRAND_SLOTS="16")
    wait_until(lambda: all(api.record(i)["status"] == "running" for i in ids), 15, "all run")
    go(stack.folder)
    again = 0
    for run_id in ids:
        record = api.wait(run_id)
        assert record["status"] == "success"
        last = [d for d in numbers(api, run_id) if d["attempt"] == record["attempt"]]
        assert [d["i"] for d in last] == list(range(record["result"]))
        again += record["attempt"] > 1
    assert again <= 6, "most of them were adopted"
