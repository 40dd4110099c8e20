"""The executor `container` against an engine: Podman's service, for real."""
import json
import os
import signal
import subprocess
import threading

import pytest

from harness.delivery import check_exact_delivery
from harness.nodes import ROOT, build_dir
from harness.wait import wait_until

REMOTE = os.path.join(ROOT, "tests", "e2e", "harness", "runtime_agent.py")


READY = "import json, sys, time\nprint(json.dumps({'kind': 'notification', 'data': {'ready': True}}), flush=True)\n"


def container(image, text, **fields):
    """A Python program in a container, whose output is its events."""
    fields = {"eventSource": "stdout", "graceMs": 500, **fields}
    return {"name": "boxed", "executor": "container", "image": image, "command": ["python3", "-c", text], **fields}


def runtime_agent(image, **fields):
    with open(REMOTE, encoding="utf-8") as f:
        return container(image, f.read(), **{"eventSource": "remote", "network": "host", **fields})


def options(engine, **more):
    return {"ERRAND_EXECUTORS": "container", "ERRAND_DOCKER_SOCKET": engine.socket, "ERRAND_IMAGES": engine.image, **more}


@pytest.fixture
def box(stack, api, engine):
    """An engine, an API node and a runner that may execute its image."""
    stack.engine = engine
    stack.boxes = stack.runner(env=options(engine))
    return api


def nothing_left(engine, run_id):
    return engine.containers(run=run_id) == []


def is_ready(api, run_id):
    """It said so itself."""
    return any(e["data"].get("ready") for e in api.get(f"/v1/runs/{run_id}/events").json()["events"])


def test_a_job_in_by_stdin_and_events_out_by_stdout(stack, box, engine):
    run_id = box.submit(container(engine.image, """
import json, os, sys
job = json.loads(sys.stdin.readline())
assert sys.stdin.read() == "", "then end of file"
print("plain", file=sys.stderr, flush=True)
print(json.dumps({"kind": "assistant_text", "data": {"text": "hello"}}), flush=True)
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": {"input": job["input"], "attempt": os.environ["ERRAND_ATTEMPT"], "mine": os.environ["MINE"], "home": os.environ.get("ERRAND_REDIS_URL")}}}))
""", env=[{"key": "MINE", "value": "a b"}]), input={"x": [1, 2]})
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success", record
    assert record["result"] == {"input": {"x": [1, 2]}, "attempt": "1", "mine": "a b", "home": None}
    handle = record["attempts"][0]["handle"]
    assert len(handle["containerId"]) == 64 and handle["name"] == f"errand-{run_id}-1" and handle["image"] == engine.image and handle["imageId"].startswith("sha256:")
    logs = box.get(f"/v1/runs/{run_id}/logs").json()["lines"]
    assert ("stderr", "plain") in [(line["stream"], line["text"]) for line in logs]
    assert nothing_left(engine, run_id)


def test_a_remote_runtime_posts_its_own_events(stack, box, engine):
    run_id = box.submit(runtime_agent(engine.image, env=[{"key": "GREETING", "value": "hi"}]), input={"say": ["a", "b"], "stdin": True})
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["result"] == {"n": 2, "attempt": 1, "env": "hi", "stdin": run_id}, record
    failed = box.submit(runtime_agent(engine.image), input={"fail": "no luck"})
    record = check_exact_delivery(stack, [failed])[failed]
    assert record["status"] == "error" and record["error"] == {"class": "agent_error", "message": "no luck"}
    assert [line["text"] for line in box.get(f"/v1/runs/{failed}/logs").json()["lines"]] == ["this is only log"]
    assert nothing_left(engine, run_id) and nothing_left(engine, failed)


@pytest.mark.parametrize("text,fields,wanted", [
    ("raise SystemExit(7)", {}, "exit_nonzero"),
    ("import ctypes, os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.execvp('sh', ['sh', '-c', 'kill -SEGV $$; (trap - SEGV; kill -SEGV 0); exit 139'])", {}, "signal"),
    ("x = []\nwhile True: x.append(bytearray(1 << 20))", {"resources": {"memoryMb": 64}}, "oom_killed"),
    ("import time; time.sleep(1000)", {"timeoutMs": 700}, "timeout"),
])
def test_how_it_ends(stack, box, engine, text, fields, wanted):
    run_id = box.submit(container(engine.image, text, **fields))
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "error" and record["error"]["class"] == wanted, record["error"]
    assert nothing_left(engine, run_id)


def test_a_stop_ends_all_of_it_and_removes_it(stack, box, engine):
    """Also one that ignores SIGTERM, with children in sessions of their own."""
    run_id = box.submit(container(engine.image, """
import json, os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"], start_new_session=True)
print(json.dumps({"kind": "notification", "data": {"ready": True}}), flush=True)
while True: time.sleep(1000)
"""))
    wait_until(lambda: is_ready(box, run_id), 15, "it runs")
    (found,) = engine.containers(run=run_id)
    assert engine.inspect(found)["State"]["Running"]
    box.post(f"/v1/runs/{run_id}/stop")
    record = box.wait(run_id)
    assert record["status"] == "stopped" and nothing_left(engine, run_id)


def test_it_is_contained(stack, box, engine):
    run_id = box.submit(container(engine.image, """
import json, os, socket
os.chdir("/work")
def can(what):
    try:
        what()
        return True
    except OSError:
        return False
def write(path):
    with open(path, "w") as f: f.write("x" * 4096)
def status(key): return [l.split(":")[1].strip() for l in open("/proc/self/status") if l.startswith(key)][0]
def fill():
    with open("big", "w") as f:
        while True: f.write("x" * 65536); f.flush()
forks = 0
def fork():
    global forks
    import time
    while True:
        if os.fork() == 0: time.sleep(100); os._exit(0)
        forks += 1
out = {"root": can(lambda: write("/x")), "etc": can(lambda: write("/usr/x")), "work": can(lambda: write("x")), "tmp": can(lambda: write("/tmp/x")),
       "net": can(lambda: socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), 2)), "raw": can(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
       "mount": os.system("mount -t tmpfs none /tmp 2>/dev/null") == 0, "caps": status("CapEff"), "bound": status("CapBnd"), "nnp": status("NoNewPrivs"),
       "pids": len([p for p in os.listdir("/proc") if p.isdigit()]) < 5, "fill": can(fill)}
out["size"] = os.path.getsize("big")
out["fork"], out["forks"] = can(fork), forks
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": out}}), flush=True)
""", resources={"pids": 20, "memoryMb": 128, "cpus": 0.5, "diskMb": 4}, env=[{"key": "PORT", "value": str(box.port)}]))
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success", record
    out = record["result"]
    assert {k: out[k] for k in ("root", "etc", "net", "raw", "mount", "fill", "fork")} == dict.fromkeys(("root", "etc", "net", "raw", "mount", "fill", "fork"), False), out
    assert out["work"] and out["tmp"] and out["pids"] and out["nnp"] == "1" and int(out["caps"], 16) == 0 == int(out["bound"], 16), out
    assert out["forks"] < 20 and out["size"] <= 3 << 20, out


def test_images_that_are_not_allowed_and_images_that_are_not_here(stack, api, engine):
    stack.runner(env=options(engine, ERRAND_IMAGES=f"{engine.image},example.com/agents/*,localhost/errand-none:1"))
    for image, words in ((engine.image + "x", "may use"), ("docker.io/library/debian", "may use"), ("example.com/agentsx/a", "may use"), ("example.com/agents/../../x", "may use"),
                         ("localhost/errand-none:1", "not on this machine"), ("example.com/agents/a:1", "not on this machine")):
        record = api.wait(api.submit(container(image, "")))
        assert record["status"] == "error" and record["error"]["class"] == "start_failed" and words in record["error"]["message"], (image, record["error"])
    bad = api.wait(api.submit({**container(engine.image, ""), "command": ["/no/such/program"]}))
    assert bad["error"]["class"] == "start_failed" and nothing_left(engine, bad["runId"]), bad["error"]


def test_none_is_allowed_unless_the_runner_says_so(stack, api, engine):
    stack.runner(env=options(engine, ERRAND_IMAGES=""))
    record = api.wait(api.submit(container(engine.image, "")))
    assert record["error"]["class"] == "start_failed" and "images" in record["error"]["message"]


def test_the_tag_moves_but_what_was_resolved_runs(stack, box, engine):
    """The handle has the image's id, and it is that of the tag."""
    record = box.wait(box.submit(container(engine.image, "")))
    status, image = engine.ask("GET", f"/images/{engine.image}/json")
    assert status == 200 and record["attempts"][0]["handle"]["imageId"] == image["Id"]


def test_the_same_attempt_is_never_two_containers(stack, box, engine):
    """A container of that name is there already, with this attempt's labels: it is taken. With others': it is left alone."""
    other = box.submit(container(engine.image, ""), delayMs=1500)
    status, made = engine.ask("POST", f"/containers/create?name=errand-{other}-1", {"Image": engine.image, "Cmd": ["sleep", "1"], "Labels": {"errand.run": "somebody"}})
    assert status == 201
    record = box.wait(other)
    assert record["error"]["class"] == "start_failed" and "not this attempt's" in record["error"]["message"], record["error"]
    assert engine.inspect(made["Id"]), "it is somebody else's"
    engine.remove(made["Id"])


def test_capabilities_are_what_the_engine_really_does(stack, box):
    (runner,) = box.get("/v1/runners").json()["runners"]
    assert sorted(runner["capabilities"]["container"]) == ["cpu_limit", "filesystem_isolation", "memory_limit", "network_isolation", "process_isolation", "timeout"]


def test_no_engine_no_runner(stack, api, folder):
    process = stack.start("errand-runner", [], {"ERRAND_EXECUTORS": "container", "ERRAND_DOCKER_SOCKET": f"unix://{folder}/none.sock"})
    assert process.wait(20) == 2 and b"docker-socket: no engine" in process.output()


def test_a_flood_is_read_only_as_fast_as_redis_takes_it(stack, box, engine):
    run_id = box.submit(container(engine.image, "import sys\nfor i in range(8000): print('{\"kind\":\"assistant_text\",\"data\":{\"i\":%d,\"text\":\"%s\"}}' % (i, 'x' * 200))"))
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["eventCount"] == 8002, record["eventCount"]


def test_lines_for_one_that_listens_on(stack, box, engine):
    """stdin: open. What a person sends arrives as lines, in order; closing is end of file."""
    run_id = box.submit(container(engine.image, READY + """
sys.stdin.readline()
lines = [json.loads(line) for line in sys.stdin]
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": lines}}), flush=True)
""", stdin="open"))
    wait_until(lambda: is_ready(box, run_id), 15)
    for body in ({"data": {"n": 1}}, {"data": "two"}, {"close": True}):
        assert box.post(f"/v1/runs/{run_id}/input", body).status == 202
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["result"] == [{"n": 1}, "two"] and nothing_left(engine, run_id), record


def test_what_a_killed_runner_left_is_swept_and_what_a_living_one_has_is_not(stack, api, engine):
    """By label: of two runners of one node, one is killed. The next one removes its container, and leaves the other's alone."""
    one, two = (stack.runner(env=options(engine, ERRAND_TAGS=tag)) for tag in ("a", "b"))
    runs = {tag: api.submit(container(engine.image, READY + "time.sleep(1000)", requires=[tag], atMostOnce=True)) for tag in ("a", "b")}
    for run_id in runs.values():
        wait_until(lambda run_id=run_id: is_ready(api, run_id), 15)
    one.kill9()
    (left,) = engine.containers(run=runs["a"])
    stack.runner(env=options(engine))
    wait_until(lambda: engine.inspect(left) is None, 15, "the container of the dead runner is removed")
    assert len(engine.containers(run=runs["b"])) == 1
    api.post(f"/v1/runs/{runs['b']}/stop")
    assert api.wait(runs["b"])["status"] == "stopped" and api.wait(runs["a"])["status"] == "error"


def handle_tool(stack, engine, verb, handle):
    path = os.path.join(build_dir(), "tests", "handle")
    if not os.path.exists(path):
        pytest.skip(f"{path} is not built")
    done = subprocess.run([path, "container", verb, json.dumps(handle)], env={**stack.environment(), **options(engine), "ERRAND_NODE": "tool"}, stdout=subprocess.PIPE, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_taken_over_by_its_handle(stack, box, engine):
    """A runner is killed; another process sees its container by the handle alone, waits for its end, and has it removed."""
    run_id = box.submit(container(engine.image, "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n" + READY + "time.sleep(1000)", atMostOnce=True))
    wait_until(lambda: is_ready(box, run_id), 15)
    handle = wait_until(lambda: box.record(run_id)["attempts"][0].get("handle"), 5)
    stack.boxes.kill9()
    assert handle_tool(stack, engine, "status", handle) == [{"status": "running", "errorClass": ""}]
    taken = threading.Thread(target=lambda: engine.ask("POST", f"/containers/{handle['containerId']}/kill?signal=SIGTERM"))
    taken.start()  # it ends while it is taken over, or just before
    (end,) = handle_tool(stack, engine, "adopt", handle)
    taken.join()
    assert end["gone"]["started"] and end["gone"]["code"] == 5 and nothing_left(engine, run_id)
    assert handle_tool(stack, engine, "status", handle)[0]["status"] == "terminated"
    gone = handle_tool(stack, engine, "stop", handle)[0]["gone"]
    assert not gone["started"] and gone["class"] == "", "nothing is there to be taken over, and that is no error of the attempt"
    box.wait(run_id)


def test_the_engine_goes_away_and_comes_back(stack, box, engine):
    """Podman's service is killed and started again; the container runs on, its end is seen, its output is not lost and not doubled."""
    run_id = box.submit(container(engine.image, """
import json, os, sys, time
for i in range(60):
    print(json.dumps({"kind": "assistant_text", "data": {"i": i}}), flush=True)
    time.sleep(0.1)
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": "whole"}}), flush=True)
"""))
    wait_until(lambda: box.record(run_id)["status"] == "running", 15)
    engine.kill9()
    engine.start()
    record = check_exact_delivery(stack, [run_id])[run_id]
    assert record["status"] == "success" and record["result"] == "whole", record
    texts = [e["data"]["i"] for e in map(json.loads, box.replay(run_id).lines()) if e["kind"] == "assistant_text"]
    assert texts == sorted(set(texts)), "nothing twice"
    assert nothing_left(engine, run_id)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_container_goes_on_under_the_next_runner(stack, engine, how):
    """Restart with --adopt: the same container, every text once and in order, secrets still redacted, nothing left."""
    lease = {"ERRAND_LEASE_MS": "10000"}
    api = stack.api(env=lease)
    steady = {**lease, "ERRAND_ADOPT": "true", "ERRAND_NODE": "steady", "ERRAND_HEARTBEAT_MS": "500"}
    first = stack.runner(env=options(engine, **steady))
    run_id = api.submit(container(engine.image, READY + """
import os
for i in range(120):
    print(json.dumps({"kind": "tool_request", "data": {"i": i, "text": os.environ["ERRAND_RUNNER_TOKEN"]}}), flush=True)
    time.sleep(0.05)
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": "whole"}}), flush=True)
"""))
    wait_until(lambda: is_ready(api, run_id), 15)
    (before,) = engine.containers(run=run_id)
    first.process.signal(how)
    first.process.popen.wait(20)
    first.process.killed = True
    assert engine.inspect(before)["State"]["Running"], "nothing of it died"
    stack.runner(env=options(engine, **steady))
    record = api.wait(run_id, timeout=60)
    assert record["status"] == "success" and record["result"] == "whole" and record["attempt"] == 1, record
    texts = [e["data"] for e in map(json.loads, api.replay(run_id).lines()) if e["kind"] == "tool_request"]
    assert [t["i"] for t in texts] == list(range(120)) and {t["text"] for t in texts} == {"[SECRET:ERRAND_RUNNER_TOKEN]"}
    assert nothing_left(engine, run_id)
