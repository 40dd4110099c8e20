"""Storage of agents: each attempt's own Redis user, and the same data over HTTP."""

import hashlib
import json
import os
import socket

import pytest

from harness import agents
from harness.wait import wait_until

KINDS = ("workflows", "artifacts", "vectors")
# Speaks Redis' protocol by itself, as the user that it was given. Each of input.commands is executed; the result has each one's answer, an error as "-ERR …".
CLIENT = """\
    import re, socket, urllib.parse
    url = urllib.parse.urlsplit(os.environ["ERRAND_STORAGE_REDIS_URL"])
    def connect():
        if url.scheme == "unix":
            s = socket.socket(socket.AF_UNIX); s.connect(url.path)
        else:
            s = socket.create_connection((url.hostname, url.port))
        s.settimeout(20)
        return s.makefile("rwb", buffering=0)
    def send(f, words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        f.write(b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(w), w) for w in words))
    def read(f):
        line = f.readline()
        if not line:
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:":
            return (line[:-2] if kind == b"-" else rest).decode("latin-1")
        n = int(rest)
        if n < 0:
            return None
        if kind == b"$":
            data = b""
            while len(data) < n + 2:
                data += f.read(n + 2 - len(data))
            return data[:-2].decode("latin-1")
        return [read(f) for _ in range(n)]
    f = connect()
    def ask(*words):
        global f
        try:
            send(f, words)
            return read(f)
        except OSError:
            for _ in range(1000):
                try:
                    f = connect()
                    break
                except OSError:
                    time.sleep(0.01)
            return "-closed"
    def login():
        return ask("AUTH", urllib.parse.unquote(url.username), url.password)
    def fill(words):
        return [re.sub(r"\\$([A-Z]+_PREFIX)", lambda m: os.environ["ERRAND_STORAGE_" + m.group(1)], w) for w in words]
    """


def client(folder, text="", **fields):
    body = "\n".join(line[4:] if line.startswith("    ") else line for line in CLIENT.splitlines()) + "\n" + (text or """
login()
end("success", result=[ask(*fill(words)) for words in job["input"]["commands"]])
""")
    return agents.python(folder, body, "client", **fields)


def with_storage(stack, url=None, **env):
    name, password = stack.redis.users.login("storage")
    return stack.runner(env={"ERRAND_STORAGE_REDIS_URL": url or f"unix://{stack.redis.socket}", "ERRAND_STORAGE_ADMIN_USER": name, "ERRAND_STORAGE_ADMIN_PASSWORD": password, **env})


def users(redis):
    return [u for u in redis.command("ACL", "USERS") if b"attempt:" in u]


def ask(stack, api, *commands):
    run_id = api.submit(client(stack.folder), input={"commands": [list(c) for c in commands]})
    record = api.wait(run_id)
    assert record["status"] == "success", (record["error"], api.get(f"/v1/runs/{run_id}/logs").json())
    return record["result"]


def test_an_attempt_reads_and_writes_its_own_prefixes(stack, api):
    with_storage(stack)
    commands = [("SET", f"${kind.upper()}_PREFIX" + "a", kind) for kind in KINDS] + [("GET", f"${kind.upper()}_PREFIX" + "a") for kind in KINDS]
    assert ask(stack, api, *commands) == ["OK"] * 3 + list(KINDS)
    assert stack.redis.command("GET", f"{stack.shard()}data:default:vectors:a") == b"vectors"
    wait_until(lambda: not users(stack.redis), 15, "the user is gone")
    assert stack.redis.command("EXISTS", f"{stack.shard()}storageusers") == 0


# A plausible call of commands whose keys do not stand first; of all others it is NAME KEY 1 1.
CALLS = {"sintercard": ["1"], "bitop": ["and"], "object": ["encoding"], "xread": ["streams"], "eval": ["return 1", "1"], "memory": ["usage"], "debug": ["object"]}
DENIED = ("-NOPERM", "-ERR unknown subcommand", "-ERR DEBUG command not allowed", "-ERR MODULE command not allowed")
ALLOWED_WITHOUT_KEYS = {"ping", "echo", "auth", "hello", "quit", "reset", "multi", "exec", "discard", "unwatch", "client"}


def takes_keys(row):
    return row[3] != 0 or b"movablekeys" in row[2]


def test_it_is_denied_everything_else(stack, api):
    with_storage(stack)
    for key in ("run:x", "data:other:artifacts:a", "data:default:secrets:a", "data:default2:artifacts:a", "secret:default:A"):
        stack.redis.command("SET", stack.shard() + key, "hidden")
    names = [n.decode() for n in stack.redis.command("COMMAND", "LIST")]
    info = {row[0].decode(): row for row in stack.redis.command("COMMAND", "INFO", *[n for n in names if "|" not in n])}
    mine, theirs = "$ARTIFACTS_PREFIX" + "k", stack.shard() + "data:other:artifacts:a"
    # 1. Each command that there is, on a key of its own: either one of the list, or denied. 2. Those of the list that take keys, on others' keys: denied.
    own, foreign = [], []
    for name, row in sorted(info.items()):
        if name in ("quit", "reset", "auth", "hello", "multi", "exec", "discard", "shutdown"):
            continue  # of the connection itself; shutdown comes last
        words = CALLS.get(name, [])
        count = row[1] if row[1] > 0 else max(-row[1], 2 + len(words))  # a wrong number would be refused before anybody looks who asks
        own.append([name, *words, mine, *["1"] * 10][:count])
        if takes_keys(row):
            foreign.append([name, *words, theirs, *["1"] * 10][:count])
    assert len(own) > 180 and len(foreign) > 100
    answers = ask(stack, api, *own, *foreign, ["SHUTDOWN", "NOSAVE"], ["CONFIG", "GET", "*"], ["ACL", "LIST"], ["ACL", "WHOAMI"], ["CLIENT", "LIST"], ["CLIENT", "KILL", "ID", "1"],
                  ["KEYS", "*"], ["SCAN", "0"], ["EVAL", "return 1", "0"], ["PUBLISH", "x", "y"], ["SUBSCRIBE", "x"], ["SELECT", "1"], ["SORT", mine, "BY", "nosort", "GET", theirs],
                  ["COPY", mine, mine + "2", "DB", "1"], ["MOVE", mine, "1"], ["RENAME", mine, theirs], ["SMOVE", mine, theirs, "1"], ["LMOVE", mine, theirs, "LEFT", "LEFT"],
                  ["SUNIONSTORE", theirs, mine], ["ZRANGESTORE", theirs, mine, "0", "1"], ["MSET", mine, "1", theirs, "1"], ["DEL", mine, theirs])
    refused = [a for a in answers if isinstance(a, str) and a.startswith("-NOPERM")]
    # What has subcommands names its key instead: Redis knows no such one, and that was all.
    allowed = {call[0] for call, a in zip(own, answers) if not (isinstance(a, str) and a.startswith(DENIED))}
    for name in sorted(allowed):
        assert name in ALLOWED_WITHOUT_KEYS or takes_keys(info[name]), f"{name} has no keys, and was allowed"
    assert not allowed & {"keys", "scan", "eval", "evalsha", "fcall", "publish", "subscribe", "psubscribe", "sort", "copy", "move", "select", "dump", "restore", "randomkey", "dbsize", "info", "config", "acl", "debug",
                          "monitor", "flushall", "flushdb", "swapdb", "wait", "blpop", "xread", "object", "memory", "migrate", "role", "time", "command", "latency", "slowlog", "module", "cluster", "replicaof"}
    assert len(answers) == len(own) + len(foreign) + 22
    for call, answer in list(zip(foreign, answers[len(own):])) + list(zip(["others"] * 22, answers[len(own) + len(foreign):])):
        assert isinstance(answer, str) and answer.startswith(DENIED), (call, answer)
    assert len(refused) > 200
    for key in ("run:x", "data:other:artifacts:a", "data:default:secrets:a", "data:default2:artifacts:a", "secret:default:A"):
        assert stack.redis.command("GET", stack.shard() + key) == b"hidden"


def test_a_name_that_is_a_pattern_opens_nothing(stack, api):
    with_storage(stack)
    stack.redis.command("SET", f"{stack.shard()}data:defaultX:artifacts:a", "hidden")
    assert all(a.startswith("-NOPERM") for a in ask(stack, api, ("GET", f"{stack.shard()}data:defaultX:artifacts:a"), ("GET", f"{stack.shard()}data:d*:artifacts:a"), ("GET", "a")))


def sleeping(stack, **fields):
    return client(stack.folder, """
login()
ask("SET", *fill(["$ARTIFACTS_PREFIX" + "x", "1"]))
say("notification", {"url": os.environ["ERRAND_STORAGE_REDIS_URL"].replace(url.password, "".join(reversed(url.password))), "user": urllib.parse.unquote(url.username)})
while True:
    answer = ask(*fill(["INCR", "$ARTIFACTS_PREFIX" + "n"]))
    if str(answer).startswith("-"):
        login()
    time.sleep(0.01)
""", **fields)


def begun(stack, api, agent):
    run_id = api.submit(agent)
    wait_until(lambda: stack.redis.command("GET", f"{stack.shard()}data:default:artifacts:n"), 10, "it writes")
    return run_id


def test_the_user_is_gone_after_kill_9_of_its_runner(stack, api):
    runner = with_storage(stack)
    begun(stack, api, sleeping(stack, atMostOnce=True))
    assert len(users(stack.redis)) == 1
    runner.kill9()
    other = with_storage(stack)
    assert other
    wait_until(lambda: not users(stack.redis), 25, "another runner removed it")
    assert stack.redis.command("EXISTS", f"{stack.shard()}storageusers") == 0


def test_a_stop_and_a_failed_start_leave_none(stack, api):
    with_storage(stack)
    run_id = begun(stack, api, sleeping(stack))
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    bad = api.submit(agents.process(["/nowhere/at/all"], name="bad"))
    assert api.wait(bad)["error"]["class"] == "start_failed"
    wait_until(lambda: not users(stack.redis), 15, "no user is left")


def test_a_redis_that_restarts_gets_the_users_again(stack, api):
    with_storage(stack)
    run_id = begun(stack, api, sleeping(stack))
    before = users(stack.redis)
    stack.restart_redis()
    wait_until(lambda: users(stack.redis) == before, 15, "the user is there again")
    written = int(stack.redis.command("GET", f"{stack.shard()}data:default:artifacts:n"))
    wait_until(lambda: int(stack.redis.command("GET", f"{stack.shard()}data:default:artifacts:n")) > written, 15, "the agent goes on")
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    wait_until(lambda: not users(stack.redis), 15, "the user is gone")


def test_the_password_is_redacted(stack, api):
    with_storage(stack)
    run_id = api.submit(client(stack.folder, """
login()
say("notification", {"all": dict(os.environ)})
print(url.password, flush=True)
end("success", result=os.environ["ERRAND_STORAGE_PASSWORD"])
"""))
    record = api.wait(run_id)
    assert record["result"] == "[SECRET:ERRAND_STORAGE_PASSWORD]"
    text = api.get(f"/v1/runs/{run_id}/events").body.decode()
    assert "[SECRET:ERRAND_STORAGE_PASSWORD]" in text and "attempt:" in text


def test_replicas_have_the_users_too(stack, api, redis_factory):
    replica = redis_factory()
    name, password = stack.redis.users.login("replica")
    stack.redis.command("CONFIG", "SET", "port", "0")
    port = free_port()
    stack.redis.command("CONFIG", "SET", "port", str(port))
    replica_port = free_port()
    for words in (("port", str(replica_port)), ("masteruser", name), ("masterauth", password), ("replica-announce-ip", "127.0.0.1"), ("replica-announce-port", str(replica_port))):
        replica.command("CONFIG", "SET", *words)
    replica.command("REPLICAOF", "127.0.0.1", str(port))
    wait_until(lambda: replica.command("ROLE")[3] == b"connected", 20, "the replica follows")
    with_storage(stack)
    run_id = begun(stack, api, sleeping(stack))
    wait_until(lambda: users(replica) == users(stack.redis) and len(users(replica)) == 1, 10, "the replica knows the user")
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    wait_until(lambda: not users(replica) and not users(stack.redis), 10, "it is gone from both")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("url, said", [("redis://user:x@127.0.0.1:1", "no credentials"), ("http://x", "storage-redis-url")])
def test_what_is_no_url_is_refused_at_the_start(stack, api, url, said):
    process = stack.start("errand-runner", env={"ERRAND_EXECUTORS": "process", "ERRAND_STORAGE_REDIS_URL": url})
    assert process.popen.wait(20) == 2 and said in process.output().decode()


def test_a_redis_user_that_may_not_make_users(stack, api):
    stack.runner(env={"ERRAND_STORAGE_REDIS_URL": f"unix://{stack.redis.socket}"})
    record = api.wait(api.submit(client(stack.folder)))
    assert record["error"]["class"] == "start_failed" and "storage-redis-url" in record["error"]["message"]


# ---- the same over HTTP ----

HTTP = """\
import urllib.error, urllib.request
def call(method, path, body=None, **headers):
    request = urllib.request.Request(os.environ["ERRAND_STORAGE_URL"] + path, body, {"Authorization": "Bearer " + os.environ["ERRAND_RUNNER_TOKEN"], "X-Errand-Run-Id": os.environ["ERRAND_RUN_ID"], **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return [answer.status, dict((k.lower(), v) for k, v in answer.headers.items()), answer.read()]
    except urllib.error.HTTPError as e:
        return [e.code, {}, e.read()]
def text(answer):
    return [answer[0], answer[1], answer[2].decode("latin-1")]
"""


def with_token(folder, body, **fields):
    return agents.python(folder, HTTP + body, "webclient", **fields)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_an_agent_stores_over_http_and_a_key_downloads(stack, api):
    stack.runner()
    run_id = api.submit(with_token(stack.folder, """
put = call("PUT", "/artifacts/report.txt", "grüße".encode(), **{"Content-Type": "text/plain; charset=utf-8"})
again = call("PUT", "/artifacts/report.txt", b"x", **{"Content-Type": "text/plain"})
got = call("GET", "/artifacts/report.txt")
other = call("PUT", "/workflows/w%20%3A1", b"{}", **{"Content-Type": "application/json"})
listed = call("GET", "/artifacts")
gone = [call("PUT", "/vectors/v", b"1")[0], call("DELETE", "/vectors/v")[0], call("DELETE", "/vectors/v")[0], call("GET", "/vectors/v")[0]]
end("success", result=[text(a) for a in (put, again, got, other, listed)] + [gone])
"""))
    record = api.wait(run_id)
    assert record["status"] == "success", api.get(f"/v1/runs/{run_id}/logs").json()
    put, again, got, other, listed, gone = record["result"]
    assert put[0] == 201 and again[0] == 200 and other[0] == 201 and gone == [201, 204, 404, 404]
    assert json.loads(put[2]) == {"kind": "artifacts", "name": "report.txt", "bytes": len("grüße".encode()), "digest": digest("grüße".encode()), "contentType": "text/plain; charset=utf-8"}
    assert got[2] == "x" and got[1]["content-type"] == "text/plain" and got[1]["etag"] == f'"{digest(b"x")}"' and got[1]["x-content-type-options"] == "nosniff"
    page = api.get("/v1/artifacts").json()
    assert page == json.loads(listed[2]) and page["cursor"] is None
    assert [(i["name"], i["bytes"], i["contentType"], i["digest"]) for i in page["items"]] == [("report.txt", 1, "text/plain", digest(b"x"))]
    assert [i["name"] for i in api.get("/v1/artifacts?kind=workflows").json()["items"]] == ["w :1"]
    answer = api.get("/v1/artifacts/w%20%3A1?kind=workflows")
    assert answer.status == 200 and answer.body == b"{}" and answer.headers["content-type"] == "application/json"
    assert api.request("DELETE", "/v1/artifacts/report.txt").status == 204 and api.get("/v1/artifacts/report.txt").code == "storage_not_found"
    assert api.get("/v1/artifacts").json()["items"] == []


def upload(api, name, parts, content="application/zip", upload="u1", query=""):
    for n, part in enumerate(parts):
        answer = api.request("PUT", f"/v1/artifacts/{name}?upload={upload}&part={n}{query}", part)
        assert answer.status == 202 and answer.json() == {"parts": n + 1}, answer
    return api.request("PUT", f"/v1/artifacts/{name}?upload={upload}&parts={len(parts)}{query}", headers={"Content-Type": content})


def test_a_large_one_in_parts(stack, api):
    parts = [os.urandom(1048576) for _ in range(9)] + [b"the rest"]
    whole = b"".join(parts)
    answer = upload(api, "large", parts)
    assert answer.status == 201 and answer.json()["digest"] == digest(whole) and answer.json()["bytes"] == len(whole)
    got = api.get("/v1/artifacts/large")
    assert got.status == 200 and got.body == whole and got.headers["content-type"] == "application/zip" and got.headers["etag"] == f'"{digest(whole)}"'
    [item] = api.get("/v1/artifacts").json()["items"]
    assert item["bytes"] == len(whole) and item["digest"] == digest(whole) and item["contentType"] == "application/zip"
    # It is replaced as a whole: until the last part is there the old one is.
    again = parts[:2]
    for n, part in enumerate(again):
        assert api.request("PUT", f"/v1/artifacts/large?upload=u2&part={n}", part).status == 202
        assert api.request("PUT", f"/v1/artifacts/large?upload=u2&part={n}", part).json() == {"parts": n + 1}, "a part that is sent again is passed over"
    assert api.get("/v1/artifacts/large").body == whole
    assert api.request("PUT", "/v1/artifacts/large?upload=u2&part=3", b"x").code == "storage_part"
    assert api.request("PUT", "/v1/artifacts/large?upload=u2&parts=3").code == "storage_part"
    assert api.request("PUT", "/v1/artifacts/large?upload=u2&parts=2").status == 200
    assert api.get("/v1/artifacts/large").body == b"".join(again)
    assert stack.redis.command("HGET", f"{stack.shard()}use:default", "stored") == str(2 * 1048576).encode()
    assert api.request("DELETE", "/v1/artifacts/large").status == 204
    assert stack.redis.command("HGET", f"{stack.shard()}use:default", "stored") is None
    assert [k for k in stack.redis.command("KEYS", f"{stack.shard()}*") if b":data:" in k or b":upload" in k or b":stored:" in k] == []


def test_uploads_under_way_are_bounded(stack, api):
    for i in range(16):
        assert api.request("PUT", f"/v1/artifacts/a{i}?upload=u&part=0", b"x").status == 202
    assert api.request("PUT", "/v1/artifacts/more?upload=u&part=0", b"x").code == "limit_exceeded"
    assert api.request("PUT", "/v1/artifacts/a0?upload=u&part=1", b"x").status == 202, "those that are there go on"
    assert api.request("PUT", "/v1/artifacts/a0?upload=u&parts=2").status == 201
    assert api.request("PUT", "/v1/artifacts/more?upload=u&part=0", b"x").status == 202
    put = api.request("PUT", "/v1/workspaces/default", {"bytesMax": 100}, headers={"Authorization": f"Bearer {stack.root_key}"})
    assert put.status in (200, 201), put
    assert api.request("PUT", "/v1/artifacts/more?upload=u&part=1", b"x" * 99).code == "quota_exceeded"


def test_what_agents_write_with_their_redis_users_is_there_too(stack, api):
    base = f"{stack.shard()}data:default:artifacts:"
    stack.redis.command("SET", base + "plain", "text")
    stack.redis.command("HSET", base + "hash", "a", "1")
    stack.redis.command("RPUSH", base + "list", "a")
    stack.redis.command("SET", base + "huge", "x" * (4194304 + 1))
    stack.redis.command("SET", f"{stack.shard()}data:other:artifacts:plain", "hidden")
    items = {i["name"]: i for i in api.get("/v1/artifacts").json()["items"]}
    assert items == {"plain": {"name": "plain", "type": "file", "bytes": 4, "contentType": "application/octet-stream"}, "hash": {"name": "hash", "type": "data"}, "list": {"name": "list", "type": "data"},
                     "huge": {"name": "huge", "type": "file", "bytes": 4194305, "contentType": "application/octet-stream"}}
    assert api.get("/v1/artifacts/plain").body == b"text" and api.get("/v1/artifacts/plain").headers["etag"] == f'"{digest(b"text")}"'
    for name in ("hash", "list", "huge"):
        assert api.get(f"/v1/artifacts/{name}").code == "storage_type"
    # Written over: what was said of it does not speak of it any more.
    assert api.request("PUT", "/v1/artifacts/mine", b"1234", headers={"Content-Type": "image/png"}).status == 201
    stack.redis.command("SET", base + "mine", "12345")
    item = next(i for i in api.get("/v1/artifacts").json()["items"] if i["name"] == "mine")
    assert item == {"name": "mine", "type": "file", "bytes": 5, "contentType": "application/octet-stream"}
    assert api.get("/v1/artifacts/mine").headers["content-type"] == "application/octet-stream"


def test_a_list_has_pages(stack, api):
    for i in range(450):
        stack.redis.command("SET", f"{stack.shard()}data:default:artifacts:a{i}", "x")
    for i in range(3000):
        stack.redis.command("SET", f"{stack.shard()}data:other:artifacts:a{i}", "x")
    found, after, pages = [], None, 0
    while pages == 0 or after:
        page = api.get("/v1/artifacts?limit=100" + (f"&after={after}" if after else "")).json()
        found += [i["name"] for i in page["items"]]
        after, pages = page["cursor"], pages + 1
    assert set(found) == {f"a{i}" for i in range(450)} and pages > 1
    assert api.get("/v1/artifacts?after=x").code == "invalid_parameter"


def test_a_token_is_good_for_its_own_attempt_only(stack, api):
    stack.runner()
    stack.redis.command("SET", f"{stack.shard()}data:other:artifacts:x", "hidden")
    other = api.submit(agents.sleeper())
    run_id = api.submit(with_token(stack.folder, f"""
call("PUT", "/artifacts/ours", b"1")
other = json.loads(call("GET", "/artifacts/ours", **{{"X-Errand-Run-Id": {other!r}}})[2])["code"]
none = call("GET", "/artifacts/x", **{{"X-Errand-Run-Id": ""}})[0]
nowhere = call("GET", "/secrets/x")[0]
end("success", result=[call("GET", "/artifacts/x")[0], other, none, nowhere, os.environ["ERRAND_RUNNER_TOKEN"][:4]])
"""))
    assert api.wait(run_id)["result"] == [404, "run_not_found", 400, 400, "ert_"]
    assert api.request("GET", "/v1/storage/artifacts/x", headers={"X-Errand-Run-Id": run_id}).status == 401
    api.post(f"/v1/runs/{other}/stop?wait=10")


def test_bounds_and_refusals(stack, api):
    assert api.request("PUT", "/v1/artifacts/big", b"x" * 1048577).code == "body_too_large"
    for path, body in (("a?kind=secrets", b"x"), ("a?part=1", b"x"), ("a?upload=u", b"x"), ("a?upload=u&part=1&parts=2", b"x"), ("a?upload=u%2F&part=0", b"x"), ("a?upload=u&parts=1", b"x"), ("a?upload=u&part=0", b""),
                       ("a?upload=u&part=256", b"x"), ("a" * 129, b"x")):
        assert api.request("PUT", f"/v1/artifacts/{path}", body).code == "invalid_parameter", path
    assert api.request("PUT", "/v1/artifacts/empty", b"").status == 201 and api.get("/v1/artifacts/empty").body == b""
    put = stack.apis[0].request("PUT", "/v1/workspaces/default", {"bytesMax": 3000}, headers={"Authorization": f"Bearer {stack.root_key}"})
    assert put.status in (200, 201), put
    assert api.request("PUT", "/v1/artifacts/a", b"x" * 2000).status == 201
    assert api.request("PUT", "/v1/artifacts/b", b"x" * 2000).code == "quota_exceeded"
    assert api.post("/v1/runs", {"agent": agents.shell("true"), "input": "x" * 2500}).code == "quota_exceeded", "runs and bundles share it"
    assert api.post("/v1/bundles", {"digest": "sha256:" + "0" * 64, "bytes": 2500}).code == "quota_exceeded"
    assert api.request("PUT", "/v1/artifacts/a", b"x" * 2500).status == 200, "it takes its own place"
    narrow = stack.make_key(name="narrow", scopes=["runs:read"], agents=["a"])
    assert api.get("/v1/artifacts", headers={"Authorization": f"Bearer {narrow}"}).status == 403


@pytest.mark.parametrize("how", ["shorter", "as long", "by its agent"])
def test_a_download_of_what_is_replaced_meanwhile_is_never_taken_for_whole(stack, api, how):
    parts = [bytes([65 + i]) * 1048576 for i in range(20)]
    assert upload(api, "moving", parts).status == 201
    with socket.create_connection(("127.0.0.1", api.port)) as s:
        s.sendall(f"GET /v1/artifacts/moving HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode())
        got = s.recv(65536)
        if how == "by its agent":  # a part longer than any that came over HTTP: no node takes it in
            stack.redis.command("LSET", f"{stack.shard()}data:default:artifacts:moving", "-1", "x" * (1 << 21))
        else:
            other = [b"new"] if how == "shorter" else [b"new" * 1000] * 20
            assert upload(api, "moving", other, upload="u9").status == 200
        try:
            while data := s.recv(1 << 20):
                got += data
        except ConnectionResetError:
            pass
    assert b"0\r\n\r\n" not in got[-16:], "the chunked body has no end"
    assert b"new" not in got


def test_an_adopted_attempt_has_its_user_also_when_redis_was_restarted_meanwhile(stack, api):
    go = os.path.join(stack.folder, "go")
    steady = {"ERRAND_ADOPT": "true", "ERRAND_NODE": "steady-" + os.path.basename(stack.folder)}
    first = with_storage(stack, **steady)
    run_id = api.submit(client(stack.folder, f"""
login()
say("notification", {{"ready": True}})
while not os.path.exists({go!r}):
    time.sleep(0.005)
end("success", result=[ask("PING"), login(), ask("SET", os.environ["ERRAND_STORAGE_ARTIFACTS_PREFIX"] + "x", "1")])
"""))
    wait_until(lambda: any("ready" in e["data"] for e in api.get(f"/v1/runs/{run_id}/events").json()["events"]), 10, "it runs")
    first.process.kill9()
    stack.restart_redis()
    second = with_storage(stack, **steady)
    wait_until(lambda: "attempt adopted" in open(second.process.log, encoding="utf-8").read(), 10, "it is adopted")
    with open(go, "w", encoding="ascii"):
        pass
    record = api.wait(run_id)
    assert record["attempt"] == 1 and record["result"][1:] == ["OK", "OK"], record


def test_users_that_were_left_are_found_behind_many_that_are_in_use(stack, api):
    with_storage(stack)
    old = api.submit(agents.shell("true"))
    assert api.wait(old)["status"] == "success"
    for i in range(600):
        run = f"00{i:06x}-0000-4000-8000-000000000000"
        stack.redis.command("HSET", f"{stack.shard()}run:{run}", "status", "running", "attempt", "1")
        stack.redis.command("ZADD", f"{stack.shard()}storageusers", str(i + 1), f"{run} 1")
    name = f"{stack.shard()}attempt:{old}:1".encode()
    stack.redis.command("ACL", "SETUSER", name, "on")
    stack.redis.command("ZADD", f"{stack.shard()}storageusers", str(10**13), f"{old} 1")
    wait_until(lambda: name not in stack.redis.command("ACL", "USERS"), 10, "it is removed")
