"""Secrets: stored sealed, given to agents, shown to nobody; rotation of the master key; data sources."""
import base64
import hashlib
import json
import os
import secrets as randomness
import pty
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import agents
from harness.build import script_mark
from harness.nodes import build_dir
from harness.http_client import connect
from harness.wait import wait_until


def new_key():
    return randomness.token_hex(32)


def new_value(name="v"):
    """A value that stands nowhere else, and in no file of the tests."""
    return f"{name}-" + randomness.token_urlsafe(24)


SHOW = """
import hashlib, json, os, sys
sys.stdin.read()
names = json.loads(os.environ["NAMES"])
found = {n: hashlib.sha256(os.environ[n].encode()).hexdigest() if n in os.environ else None for n in names}
found["cmdline"] = open("/proc/self/cmdline").read() + open(f"/proc/{os.getppid()}/cmdline").read()
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": found}}), flush=True)
"""


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def showing(names, env=(), name="shows", **fields):
    """An agent whose result has the SHA-256 of some of its variables."""
    return {"name": name, "executor": "process", "command": ["/usr/bin/python3", "-c", SHOW],
            "env": [{"key": "NAMES", "value": json.dumps(list(names))}, *env], **fields}


@pytest.fixture
def master():
    return new_key()


@pytest.fixture
def nodes(stack, master):
    """An API node and a runner that have the master key."""
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    stack.runner(env={"ERRAND_MASTER_KEY": master})
    return api


def put(api, name, value, **kwargs):
    answer = api.request("PUT", f"/v1/secrets/{name}", {"value": value}, **kwargs)
    assert answer.status in (200, 201), answer
    return answer.json()


def rekey_all(api):
    sums, cursor, pages = {"examined": 0, "resealed": 0, "failed": 0, "failures": []}, None, 0
    while cursor is not None or pages == 0:
        answer = api.post("/v1/secrets/rekey", {"cursor": cursor})
        assert answer.status == 200, answer
        page = answer.json()
        for field in sums:
            sums[field] += page[field]
        cursor, pages = page["cursor"], pages + 1
    return sums


def stored_files(stack):
    """Everything that Redis wrote down, after a SAVE."""
    stack.redis.command("SAVE")
    folder = stack.redis.command("CONFIG", "GET", "dir")[1].decode()
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".rdb", ".aof")):  # of an AOF both parts
                with open(os.path.join(root, name), "rb") as f:
                    found[name] = f.read()
    assert any(n == "dump.rdb" for n in found) and any(n.endswith(".incr.aof") for n in found), sorted(found)
    return found


def assert_nowhere(value, texts):
    raw = value.encode()
    needles = [raw, raw.hex().encode()]
    for shift in range(3):  # base64 of a text that it stands in, at each of the three alignments, without the characters that its neighbours have a say in
        body = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0:-4]
        needles += [body, body.replace(b"+", b"-").replace(b"/", b"_")]
    for name, text in texts.items():
        for needle in needles:
            assert needle not in text, f"{name} has the value as {needle!r}"


# ---- the routes ----

def test_a_secret_is_written_and_never_read(nodes):
    value = new_value()
    first = nodes.request("PUT", "/v1/secrets/MODEL_KEY", {"value": value})
    assert first.status == 201 and first.headers["location"] == "/v1/secrets/MODEL_KEY"
    assert first.json()["name"] == "MODEL_KEY" and first.json()["version"] == 1
    second = nodes.request("PUT", "/v1/secrets/MODEL_KEY", {"value": value})
    assert second.status == 200 and second.json()["version"] == 2 and second.json()["createdAt"] == first.json()["createdAt"]
    shown = nodes.get("/v1/secrets/MODEL_KEY")
    assert [v["version"] for v in shown.json()["versions"]] == [2, 1]
    assert set(shown.json()) == {"name", "version", "createdAt", "updatedAt", "versions"} and set(shown.json()["versions"][0]) == {"version", "createdAt"}
    listed = nodes.get("/v1/secrets")
    assert [(s["name"], s["version"]) for s in listed.json()["secrets"]] == [("MODEL_KEY", 2)] and listed.json()["cursor"] is None
    for answer in (first, second, shown, listed):
        assert value not in answer.body.decode()
    assert nodes.request("DELETE", "/v1/secrets/MODEL_KEY").status == 204
    for method in ("GET", "DELETE"):
        answer = nodes.request(method, "/v1/secrets/MODEL_KEY")
        assert (answer.status, answer.json()["code"]) == (404, "secret_not_found")
    assert nodes.get("/v1/secrets").json()["secrets"] == []
    assert put(nodes, "MODEL_KEY", value)["version"] == 3, "a version says one value, for good"


def test_versions_and_pages_are_bounded(nodes):
    for i in range(13):
        assert put(nodes, "OFTEN", f"value {i}")["version"] == i + 1
    assert [v["version"] for v in nodes.get("/v1/secrets/OFTEN").json()["versions"]] == list(range(13, 3, -1))
    for name in ("B", "A", "_C"):
        put(nodes, name, "x")
    found, after = [], ""
    while after is not None:
        page = nodes.get(f"/v1/secrets?limit=1{'&after=' + after if after else ''}").json()
        found += [s["name"] for s in page["secrets"]]
        after = page["cursor"]
    assert found == ["A", "B", "OFTEN", "_C"]


@pytest.mark.parametrize("name, body, code", [
    ("1A", {"value": "x"}, "invalid_field"), ("A-B", {"value": "x"}, "invalid_field"), ("A" * 129, {"value": "x"}, "invalid_field"), ("%41%20", {"value": "x"}, "invalid_field"),
    ("A", {}, "missing_field"), ("A", {"value": ""}, "invalid_field"), ("A", {"value": 1}, "invalid_field"), ("A", {"value": None}, "invalid_field"), ("A", {"value": "a\0b"}, "invalid_field"),
    ("A", {"value": "x" * 16385}, "invalid_field"), ("A", {"value": "x", "name": "A"}, "unknown_field"), ("A", [], "invalid_field"), ("A", '"x"', "invalid_field"),
])
def test_what_is_no_secret_is_refused(nodes, name, body, code):
    answer = nodes.request("PUT", f"/v1/secrets/{name}", body)
    assert (answer.status, answer.json()["code"]) == (400, code), answer
    assert nodes.get("/v1/secrets").json()["secrets"] == []


def test_the_largest_value_and_every_character_arrive(nodes):
    values = {"LARGE": "ü\u2028\n\t\"\\ '$`=" + "x" * (16384 - 16), "LINES": "-- a\r\nb\n", "BLANK": " "}
    for name, value in values.items():
        assert len(value.encode()) <= 16384
        put(nodes, name, value)
    run_id = nodes.submit(showing(values, [{"key": n, "secret": n} for n in values]))
    assert {n: h for n, h in nodes.wait(run_id)["result"].items() if n in values} == {n: sha(v) for n, v in values.items()}


def test_writers_at_the_same_time_get_a_version_each(nodes):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: nodes.request("PUT", "/v1/secrets/SHARED", {"value": f"value {i}"}), range(24)))
    done = [a.json()["version"] for a in answers if a.status in (200, 201)]
    assert {a.json()["code"] for a in answers if a.status >= 300} <= {"secret_changed"}
    assert sorted(done) == list(range(1, len(done) + 1)) and len(done) >= 12


def test_without_a_master_key_nothing_is_stored(stack):
    api = stack.api()
    for answer in (api.request("PUT", "/v1/secrets/A", {"value": "x"}), api.post("/v1/secrets/rekey", {})):
        assert (answer.status, answer.json()["code"]) == (501, "no_master_key")
    assert api.get("/v1/secrets").json()["secrets"] == []


@pytest.mark.parametrize("program", ["errand-api", "errand-runner"])
@pytest.mark.parametrize("fields, word", [({"ERRAND_MASTER_KEY": "short"}, "master-key"), ({"ERRAND_MASTER_KEY": "00" * 32}, "master-key"), ({"ERRAND_MASTER_KEY_OLD": "ab" * 32}, "master-key-old")])
def test_a_bad_master_key_is_refused_at_the_start(stack, program, fields, word):
    process = stack.start(program, env={"ERRAND_ROOT_KEY": stack.root_key, "ERRAND_EXECUTORS": "process", "ERRAND_LISTEN": "127.0.0.1:0", **fields})
    assert process.wait(20) == 2
    text = process.output().decode()
    assert word in text and "ab" * 32 not in text


# ---- what an agent gets ----

def test_a_secret_reaches_its_agent_and_nothing_else(stack, nodes):
    value, plain = new_value(), new_value("plain")
    put(nodes, "MODEL_KEY", value)
    definition = showing(["KEY", "PLAIN"], [{"key": "KEY", "secret": "MODEL_KEY", "description": "of the model"}, {"key": "PLAIN", "value": plain}])
    assert nodes.request("PUT", "/v1/agents/shows", definition).status == 201
    run_id = nodes.submit("shows")
    record = nodes.wait(run_id)
    assert record["status"] == "success", record
    assert record["result"]["KEY"] == sha(value) and record["result"]["PLAIN"] == sha(plain)
    assert value not in record["result"]["cmdline"]
    assert record["attempts"][0]["secrets"] == {"MODEL_KEY": 1}
    shown = nodes.get("/v1/agents/shows")
    assert {"key": "KEY", "secret": "MODEL_KEY", "description": "of the model"} in shown.json()["definition"]["env"]
    texts = {path: nodes.get(path).body for path in ("/v1/agents/shows", "/v1/agents", "/v1/secrets", "/v1/secrets/MODEL_KEY", f"/v1/runs/{run_id}", "/v1/runs", f"/v1/runs/{run_id}/events",
                                                     f"/v1/runs/{run_id}/logs", f"/v1/runs/{run_id}/tree", "/v1/runners", "/metrics")}
    assert plain.encode() in texts["/v1/agents/shows"], "plain values are visible"
    for name in os.listdir(stack.folder):
        if name.endswith(".log"):
            with open(os.path.join(stack.folder, name), "rb") as f:
                texts[name] = f.read()
    assert_nowhere(value, texts)


def test_nothing_that_redis_keeps_has_a_value(stack, nodes):
    values = {f"S{i}": new_value(f"s{i}") for i in range(6)}
    for name, value in values.items():
        put(nodes, name, value)
        put(nodes, name, value)
    runs = [nodes.submit(showing(values, [{"key": n, "secret": n} for n in values], maxAttempts=2)) for _ in range(5)]
    for run_id in runs:
        assert nodes.wait(run_id)["result"]["S5"] == sha(values["S5"])
    files = stored_files(stack)
    for value in values.values():
        assert_nowhere(value, files)
    assert any(b"secret:default:S5" in text for text in files.values()), "the scan would find what is there"


def test_a_new_version_is_for_the_next_attempt(nodes, stack):
    first, second = new_value("one"), new_value("two")
    put(nodes, "K", first)
    gate = os.path.join(stack.folder, "go")
    program = SHOW.replace("sys.stdin.read()", f"""
sys.stdin.read()
import time
if os.environ["ERRAND_ATTEMPT"] == "1":
    while not os.path.exists({gate!r}):
        time.sleep(0.02)
    sys.exit(3)
""")
    definition = {**showing(["NEWEST", "PINNED"], [{"key": "NEWEST", "secret": "K"}, {"key": "PINNED", "secret": "K@1"}], maxAttempts=2, backoff={"type": "fixed", "baseMs": 10}),
                  "command": ["/usr/bin/python3", "-c", program]}
    run_id = nodes.submit(definition)
    nodes.wait(run_id, "running")
    put(nodes, "K", second)
    open(gate, "w").close()
    record = nodes.wait(run_id)
    assert (record["result"]["NEWEST"], record["result"]["PINNED"]) == (sha(second), sha(first))
    assert record["attempts"][0]["secrets"] == {"K": 1} and record["attempts"][1]["secrets"] == {"K": 2, "K@1": 1}


def test_data_sources_become_variables(nodes):
    password = new_value("pw")
    put(nodes, "PG_PASSWORD", password)
    sources = [{"engine": "postgres", "name": "main-db", "fields": {"host": {"value": "db.example.com"}, "pass word": {"secret": "PG_PASSWORD", "description": "of the reader"}}}]
    names = ["DS_POSTGRES_MAIN_DB__HOST", "DS_POSTGRES_MAIN_DB__PASS_WORD"]
    definition = showing(names, dataSources=sources)
    assert nodes.request("PUT", "/v1/agents/shows", definition).status == 201
    assert nodes.get("/v1/agents/shows").json()["definition"]["dataSources"] == sources
    result = nodes.wait(nodes.submit("shows"))["result"]
    assert [result[n] for n in names] == [sha("db.example.com"), sha(password)]


def test_a_run_says_more_than_its_agent_but_names_no_secret(nodes):
    put(nodes, "K", new_value())
    definition = showing(["A"], [{"key": "A", "secret": "NOT_THERE"}])
    record = nodes.wait(nodes.submit(definition, env={"A": "mine"}))
    assert record["status"] == "success" and record["result"]["A"] == sha("mine"), "what the run takes the place of is not needed"
    assert "secrets" not in record["attempts"][0]
    answer = nodes.post("/v1/runs", {"agent": definition, "env": {"A": {"secret": "K"}}})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_field")


@pytest.mark.parametrize("name", ["LD_PRELOAD", "BASH_ENV", "PATH", "OPENAI_BASE_URL", "DS_PG_A__HOST"])
def test_a_run_does_not_decide_what_becomes_of_a_secret(nodes, name):
    """Who may only submit runs sets nothing that the agent does not declare, where the agent has secrets."""
    put(nodes, "K", new_value())
    sources = [{"engine": "pg", "name": "a", "fields": {"host": {"value": "db.example.com"}}}]
    with_secret = showing(["A"], [{"key": "A", "secret": "K"}, {"key": "DEPTH", "value": "3"}], dataSources=sources)
    failed(nodes.wait(nodes.submit(with_secret, env={name: "/tmp/mine"})), name, "does not declare")
    assert nodes.wait(nodes.submit(with_secret, env={"DEPTH": "9"}))["status"] == "success"
    assert nodes.wait(nodes.submit(showing(["DEPTH"], [{"key": "DEPTH", "value": "3"}], dataSources=sources), env={name: os.environ["PATH"] if name == "PATH" else ""}))["status"] == "success"


# ---- what is not there ----

def failed(record, *words):
    assert record["status"] == "error" and record["error"]["class"] == "start_failed", record
    for word in words:
        assert word in record["error"]["message"], record["error"]


@pytest.mark.parametrize("remote", [False, True])
def test_a_missing_secret_is_named(nodes, remote):
    put(nodes, "HERE", "x")
    fields = {"eventSource": "remote"} if remote else {}
    failed(nodes.wait(nodes.submit(showing([], [{"key": "A", "secret": "HERE"}, {"key": "B", "secret": "MISSING_ONE"}], **fields))), "MISSING_ONE", "not there")
    failed(nodes.wait(nodes.submit(showing([], [{"key": "A", "secret": "HERE@7"}], **fields))), "HERE", "version 7")
    record = nodes.wait(nodes.submit(showing([], [{"key": "B", "secret": "MISSING_ONE"}], maxAttempts=3, backoff={"type": "fixed", "baseMs": 10}, **fields)))
    failed(record, "MISSING_ONE")
    assert record["attempt"] == 3 and record["attempts"][2]["error"]["class"] == "start_failed"


@pytest.mark.root_key
def test_another_workspace_has_no_part_in_it(nodes):
    put(nodes, "MINE", new_value())
    for method, body in (("GET", None), ("DELETE", None)):
        answer = nodes.request(method, "/v1/secrets/MINE", body, workspace="other")
        unknown = nodes.request(method, "/v1/secrets/NOBODYS", body, workspace="other")
        assert answer.status == 404 and {**answer.json(), "instance": ""} == {**unknown.json(), "instance": ""}
    assert nodes.get("/v1/secrets", workspace="other").json()["secrets"] == []
    answer = nodes.post("/v1/runs", {"agent": showing([], [{"key": "A", "secret": "MINE"}])}, workspace="other")
    assert answer.status == 202
    run_id = answer.json()["runId"]
    record = wait_until(lambda: (r := nodes.get(f"/v1/runs/{run_id}", workspace="other").json())["status"] in ("error", "success") and r, 30, "it ends")
    failed(record, "MINE", "not there")
    put(nodes, "MINE", "theirs", workspace="other")
    assert nodes.get("/v1/secrets/MINE").json()["version"] == 1


def test_a_runner_with_another_master_key_or_none_says_so(stack, master):
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    put(api, "K", new_value())
    definition = showing([], [{"key": "A", "secret": "K"}])
    for env, words in (({"ERRAND_MASTER_KEY": new_key()}, ["K", "another master key", "does not have"]), ({}, ["K", "no master key"])):
        runner = stack.runner(env=env)
        record = api.wait(api.submit(definition))
        failed(record, words[0])
        assert any(w in record["error"]["message"] for w in words[1:]) or "does not have" in record["error"]["message"]
        assert runner.process.alive()
        assert api.wait(api.submit(agents.shell("exit 0", name="plain")))["status"] == "success"
        runner.kill9()
        wait_until(lambda: not runner.process.alive(), 10, "it is gone")
        stack.redis.command("DEL", stack.shard() + "leases")


@pytest.mark.parametrize("how", ["versions", "names", "bytes"])
def test_a_value_put_in_anothers_place_is_seen(stack, nodes, how):
    put(nodes, "A", "one")
    put(nodes, "A", "two")
    put(nodes, "B", "three")
    a, b = stack.shard() + "secret:default:A", stack.shard() + "secret:default:B"
    if how == "versions":
        stack.redis.command("HSET", a, "v2", stack.redis.command("HGET", a, "v1"))
    elif how == "names":
        stack.redis.command("HSET", a, "v2", stack.redis.command("HGET", b, "v1"))
    else:
        sealed = bytearray(stack.redis.command("HGET", a, "v2"))
        sealed[-5] = ord("A") if sealed[-5] != ord("A") else ord("B")
        stack.redis.command("HSET", a, "v2", bytes(sealed))
    failed(nodes.wait(nodes.submit(showing([], [{"key": "A", "secret": "A"}]))), "the secret A", "changed")


# ---- while they are asked for ----

@pytest.fixture
def behind(stack, proxy, master):
    """A node that reaches Redis, how a runner behind a proxy is started, and that proxy."""
    api = stack.api(env={"ERRAND_MASTER_KEY": master})

    def start(**env):
        return stack.runner(env={"ERRAND_MASTER_KEY": master, "ERRAND_REDIS_URL": proxy.url, **env})
    put(api, "K", "the value")
    return api, start, proxy


WANTS = [{"key": "A", "secret": "K"}]


@pytest.mark.parametrize("source", ["stdout", "remote"])
def test_a_stop_while_they_are_asked_for(behind, source):
    """The question waits before Redis: a stop that comes now ends the run, and the answer that comes later finds nobody."""
    api, start, proxy = behind
    runner = start()
    held = proxy.before(script_mark("secret_get"), lambda: proxy.hold(replies=False))
    run_id = api.submit(showing(["A"], WANTS, eventSource=source))
    assert held.wait(10)
    assert api.post(f"/v1/runs/{run_id}/stop", {}).status in (200, 202)
    wait_until(lambda: b"attempt is to stop" in runner.process.output(), 10, "the runner knows of the stop")
    proxy.release()
    record = api.wait(run_id)
    assert record["status"] == "stopped"
    assert [e["kind"] for e in api.get(f"/v1/runs/{run_id}/events").json()["events"]] == ["runtime_terminal"], "it never began"
    assert runner.process.alive()
    assert api.wait(api.submit(agents.shell("exit 0", name="next")))["status"] == "success", "its slot is free"


@pytest.mark.parametrize("source", ["stdout", "remote"])
def test_a_drain_while_they_are_asked_for(stack, behind, source, master):
    api, start, proxy = behind
    runner = start(ERRAND_DRAIN_MS="0")
    held = proxy.before(script_mark("secret_get"), lambda: proxy.hold(replies=False))
    program = "import os; print(os.environ['A'])"
    run_id = api.submit({"name": "x", "executor": "process", "command": ["/usr/bin/python3", "-c", program], "env": WANTS, "protocol": "text", "eventSource": source})
    assert held.wait(10)
    runner.process.popen.send_signal(signal.SIGTERM)
    asked = proxy.before(script_mark("hand_back"))
    proxy.release()
    assert asked.wait(10), "it is handed back"
    assert runner.process.wait(20) == 0
    stack.runner(env={"ERRAND_MASTER_KEY": master})
    record = api.wait(run_id)
    assert record["status"] == "success" and record["failures"] == 0 and [a["status"] for a in record["attempts"]] == ["handed_back", "success"], record


def test_an_answer_that_is_lost_is_asked_for_again(behind):
    api, start, proxy = behind
    runner = start()
    proxy.lose_reply_to(script_mark("secret_get"), times=3)
    record = api.wait(api.submit(showing(["A"], WANTS)), timeout=60)
    assert record["status"] == "success" and record["result"]["A"] == sha("the value") and record["attempt"] == 1 and proxy.lost == 3
    assert runner.process.alive()


@pytest.mark.parametrize("source", ["stdout", "remote"])
def test_an_attempt_that_is_taken_away_while_they_are_asked_for(stack, behind, source, master):
    """Its runner is cut off with the question, and another one executes the run: the first never starts it."""
    api, start, proxy = behind
    runner = start(ERRAND_LEASE_MS="1000", ERRAND_HEARTBEAT_MS="300")
    held = proxy.before(script_mark("secret_get"), proxy.hold)
    mark = os.path.join(stack.folder, "started")
    program = f"import os; open({mark!r}, 'a').write(os.environ['ERRAND_ATTEMPT'] + os.environ['A'] + ';')"
    run_id = api.submit({"name": "x", "executor": "process", "command": ["/usr/bin/python3", "-c", program], "env": WANTS, "protocol": "text", "eventSource": source})
    assert held.wait(10)
    stack.runner(env={"ERRAND_MASTER_KEY": master})
    assert api.wait(run_id, timeout=60)["status"] == "success"
    proxy.release()
    runs = api.submit(agents.shell("exit 0", name="next"))
    assert api.wait(runs)["status"] == "success"
    wait_until(lambda: len(stack.incarnations()) >= 2, 20, "the first runner is back, under another name")
    with open(mark, encoding="ascii") as f:
        assert f.read() == "2the value;"
    assert runner.process.alive()


def test_a_runner_that_is_cut_off_gives_up_what_waits(behind):
    """Its attempt is over before the answer comes, which then finds it waiting for nothing else."""
    api, start, proxy = behind
    runner = start(ERRAND_ORPHAN_MS="1000", ERRAND_LEASE_MS="1000", ERRAND_HEARTBEAT_MS="300")
    held = proxy.before(script_mark("secret_get"), proxy.hold)
    run_id = api.submit(showing(["A"], WANTS))
    assert held.wait(10)
    wait_until(lambda: b"attempt lost" in runner.process.output(), 20, "it gives the attempt up")
    proxy.release()
    record = api.wait(run_id, timeout=60)
    assert record["status"] == "success" and record["result"]["A"] == sha("the value") and record["attempt"] == 2, record
    assert runner.process.alive()


def test_redis_away_while_they_are_wanted(stack, master):
    stack.redis.command("CONFIG", "SET", "appendfsync", "always")  # under everysec it may hold writes back while the disk is busy
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    runner = stack.runner(env={"ERRAND_MASTER_KEY": master})
    value = new_value()
    put(api, "K", value)
    runs = []
    for _ in range(5):
        runs += [api.submit(showing(["A"], [{"key": "A", "secret": "K"}])) for _ in range(4)]
        stack.redis.kill9()
        stack.redis.start()
        wait_until(api.ready, 30, "the node is ready")
    for run_id in runs:
        record = api.wait(run_id, timeout=60)
        assert record["status"] == "success" and record["result"]["A"] == sha(value), record
    assert runner.process.alive()


def test_a_drain_hands_back_what_waits_for_them(stack, master):
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    first = stack.runner(env={"ERRAND_MASTER_KEY": master, "ERRAND_DRAIN_MS": "0"})
    put(api, "K", "x")
    runs = [api.submit(showing(["A"], [{"key": "A", "secret": "K"}])) for _ in range(20)]
    first.process.popen.send_signal(signal.SIGTERM)
    stack.runner(env={"ERRAND_MASTER_KEY": master})
    for run_id in runs:
        assert api.wait(run_id, timeout=60)["status"] == "success"


# ---- rotation ----

def test_a_rotation_step_by_step(stack, master):
    new = new_key()
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    values = {f"S{i}": new_value() for i in range(8)}
    for name, value in values.items():
        put(api, name, value)
        put(api, name, value)
    both = stack.api(env={"ERRAND_MASTER_KEY": new, "ERRAND_MASTER_KEY_OLD": master})
    only_new = stack.runner(env={"ERRAND_MASTER_KEY": new})
    definition = showing(values, [{"key": n, "secret": n} for n in values])
    failed(both.wait(both.submit(definition)), "master key")
    assert rekey_all(api) == {"examined": 16, "resealed": 0, "failed": 0, "failures": []}
    assert rekey_all(both) == {"examined": 16, "resealed": 16, "failed": 0, "failures": []}
    assert rekey_all(both)["resealed"] == 0
    result = both.wait(both.submit(definition))["result"]
    assert {n: result[n] for n in values} == {n: sha(v) for n, v in values.items()}
    assert only_new.process.alive()
    sums = rekey_all(api)  # with the old key alone nothing can be opened: it says so, and harms nothing
    assert sums["failed"] == 16 and sums["resealed"] == 0 and sums["failures"][0]["code"] == "no_master_key"
    assert both.wait(both.submit(definition))["status"] == "success"


def test_a_rotation_has_the_secrets_of_webhooks_too(stack, master):
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    made = api.post("/v1/webhooks", {"url": "https://example.com/hook", "events": ["run.error"]})
    assert made.status == 201 and api.post(f"/v1/webhooks/{made.json()['id']}/rotate").status == 200
    both = stack.api(env={"ERRAND_MASTER_KEY": new_key(), "ERRAND_MASTER_KEY_OLD": master})
    assert rekey_all(both) == {"examined": 2, "resealed": 2, "failed": 0, "failures": []}, "its secret and the one before"
    assert rekey_all(both)["resealed"] == 0


def test_a_rotation_that_is_killed_goes_on(stack, master):
    """The node dies in the middle, again and again; somebody writes meanwhile; in the end all is under the new key and every value is the right one."""
    new = new_key()
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    values = {f"S{i:03}": f"value {i} " + "x" * 500 for i in range(150)}
    for name, value in values.items():
        put(api, name, value)
    env = {"ERRAND_MASTER_KEY": new, "ERRAND_MASTER_KEY_OLD": master}
    for attempt in range(4):
        node = stack.api(env=env)
        connection = connect(node.port)
        body = b"{}"
        connection.sendall((f"POST /v1/secrets/rekey HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
        before = under_key(stack, new)
        wait_until(lambda: under_key(stack, new) > before or under_key(stack, new) == len(values), 10, "it is under way")
        node.kill9()
        connection.close()
        name = f"S{attempt:03}"
        values[name] = f"changed {attempt}"
        put(api, name, values[name])
    last = stack.api(env=env)
    rekey_all(last)
    assert rekey_all(last)["resealed"] == 0
    stack.runner(env={"ERRAND_MASTER_KEY": new})
    names = sorted(values)
    for part in (names[:60], names[60:120], names[120:]):
        result = last.wait(last.submit(showing(part, [{"key": n, "secret": n} for n in part])))["result"]
        assert {n: result[n] for n in part} == {n: sha(values[n]) for n in part}


def under_key(stack, key):
    """How many secrets have a newest version that is sealed with that key."""
    parts = (b"errand master key id 1", bytes.fromhex(key))
    key_id = hashlib.sha256(b"".join(len(p).to_bytes(8, "little") + p for p in parts)).hexdigest()[:8].encode()
    count = 0
    for name in stack.redis.command("ZRANGE", stack.shard() + "secrets:default", 0, -1):
        key_name = stack.shard() + "secret:default:" + name.decode()
        sealed = stack.redis.command("HGET", key_name, b"v" + stack.redis.command("HGET", key_name, "latest"))
        count += sealed.startswith(b"v1." + key_id)
    return count


@pytest.mark.parametrize("cursor", ["", "x", "0", "0.0", "0.0.", "9.0.0", "0.9.0", "0.0.x", "0..0", "-1.0.0", "0.0.0.0", 1, "0.0." + "1" * 30, "0.0.-1"])
def test_a_cursor_that_is_none_is_refused(nodes, cursor):
    answer = nodes.post("/v1/secrets/rekey", {"cursor": cursor})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_field")


# ---- a node's own keys ----

def test_no_process_shows_its_keys(stack, master):
    api = stack.api(env={"ERRAND_MASTER_KEY": master})
    runner = stack.runner(env={"ERRAND_MASTER_KEY": master})
    for process in (api.process, runner.process):
        for name in ("environ", "cmdline"):
            with open(f"/proc/{process.pid}/{name}", "rb") as f:
                text = f.read()
            assert not [word for word in (master, stack.key, stack.root_key) if word.encode() in text]
    run_id = api.submit(agents.shell("env; exit 0", name="env", protocol="text"))
    assert master not in api.wait(run_id)["result"] and "MASTER" not in api.record(run_id)["result"]


# ---- the CLI ----

def cli(stack, *args, stdin=None, status=0):
    env = stack.environment({"ERRAND_URL": stack.apis[0].url, "ERRAND_KEY": stack.key})
    done = subprocess.run([os.path.join(build_dir(), "errand"), *args], env=env, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode(), done.stderr.decode()


def test_the_command(stack, nodes):
    value, path = new_value(), os.path.join(stack.folder, "value")
    with open(path, "w", encoding="ascii") as f:
        f.write(value + "\n")
    assert cli(stack, "secrets", "set", "FROM_FILE", "--value-file", path)[0] == "FROM_FILE version 1\n"
    assert cli(stack, "secrets", "set", "FROM_STDIN", stdin=value.encode())[0] == "FROM_STDIN version 1\n"
    assert cli(stack, "secrets", "set", "FROM_STDIN", "--value-file", "-", stdin=b"two\nlines\n\n")[0] == "FROM_STDIN version 2\n"
    result = nodes.wait(nodes.submit(showing(["A", "B"], [{"key": "A", "secret": "FROM_FILE"}, {"key": "B", "secret": "FROM_STDIN"}])))["result"]
    assert (result["A"], result["B"]) == (sha(value), sha("two\nlines\n"))
    out, _ = cli(stack, "secrets")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["FROM_FILE", "1"], ["FROM_STDIN", "2"]] and value not in out
    assert json.loads(cli(stack, "secrets", "show", "FROM_FILE", "--json")[0])["version"] == 1
    assert cli(stack, "secrets", "rekey")[0] == "3 values examined, 0 sealed anew, 0 failed\n"
    assert cli(stack, "secrets", "delete", "FROM_FILE")[0] == "FROM_FILE deleted\n"
    for args, stdin in ((["set"], None), (["set", "A", "value"], b""), (["set", "A"], b""), (["set", "A"], b"\n"), (["set", "A"], b"a\0b"), (["set", "A"], b"\xff"), (["set", "A"], b"x" * 16385),
                        (["set", "1A"], b"x"), (["list", "A"], None), (["rekey", "A"], None), (["show"], None), (["sow"], None), (["show", "NOT_THERE"], None), (["list", "--value-file", "x"], None)):
        cli(stack, "secrets", *args, stdin=stdin, status=2)


def test_a_value_is_asked_for_without_echo(stack, nodes):
    value = new_value()
    env = stack.environment({"ERRAND_URL": nodes.url, "ERRAND_KEY": stack.key})
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(os.path.join(build_dir(), "errand"), ["errand", "secrets", "set", "TYPED"], env)
    seen = b""

    def prompted():
        nonlocal seen
        seen += os.read(fd, 1024)
        return b"not shown" in seen
    wait_until(prompted, 20, "it asks")
    os.write(fd, value.encode() + b"\n")
    while True:
        try:
            more = os.read(fd, 1024)
        except OSError:
            break
        if not more:
            break
        seen += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
    os.close(fd)
    assert value.encode() not in seen and b"TYPED version 1" in seen
    assert nodes.wait(nodes.submit(showing(["A"], [{"key": "A", "secret": "TYPED"}])))["result"]["A"] == sha(value)
