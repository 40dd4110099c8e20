"""Storage of agents: each attempt's own Redis user, and the same data over HTTP."""

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
    wait_until(lambda: not users(stack.redis), 5, "the user is gone")
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
    wait_until(lambda: not users(stack.redis), 5, "no user is left")


def test_a_redis_that_restarts_gets_the_users_again(stack, api):
    with_storage(stack)
    run_id = begun(stack, api, sleeping(stack))
    before = users(stack.redis)
    stack.redis.restart()
    wait_until(lambda: users(stack.redis) == before, 15, "the user is there again")
    written = int(stack.redis.command("GET", f"{stack.shard()}data:default:artifacts:n"))
    wait_until(lambda: int(stack.redis.command("GET", f"{stack.shard()}data:default:artifacts:n")) > written, 15, "the agent goes on")
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    wait_until(lambda: not users(stack.redis), 5, "the user is gone")


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
    import socket
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
