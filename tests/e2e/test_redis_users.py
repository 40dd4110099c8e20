"""Redis' users: what docker/users.acl refuses to whom, how docker/users.sh makes it, and that a whole deployment works under it. That it allows enough, all other tests show: they run under it."""
import glob
import hashlib
import os
import re
import subprocess

import pytest

from harness import agents
from harness.delivery import check_exact_delivery
from harness.http_client import request
from harness.nodes import ROOT
from harness.redis_server import RedisClient, RedisError
from harness.redis_users import USERS_SH
from harness.wait import holds_for, wait_until

USERS = ("api", "runner", "doctor", "replica")
# What nobody but the operator may: the server, other users, what reaches beyond the keys that it names, and what looks at everybody's.
FORBIDDEN = """FLUSHALL|FLUSHDB|CONFIG SET maxmemory 1|CONFIG GET *|CONFIG REWRITE|CONFIG RESETSTAT|KEYS *|DEBUG SLEEP 0|ACL LIST|ACL SETUSER x on|ACL DELUSER errand-api|ACL LOG|ACL LOAD|SHUTDOWN NOSAVE
    |REPLICAOF NO ONE|SLAVEOF NO ONE|FAILOVER|MODULE LIST|MODULE LOAD /x.so|SAVE|BGSAVE|BGREWRITEAOF|LASTSAVE|MONITOR|CLIENT LIST|CLIENT KILL TYPE normal|CLIENT PAUSE 1|CLIENT NO-EVICT on|SWAPDB 0 1|RANDOMKEY
    |MIGRATE h 1 k 0 1|RESTORE k 0 x|COPY k j|MOVE k 1|SORT k|SORT_RO k|OBJECT FREQ k|SLOWLOG GET|LATENCY RESET|SCRIPT FLUSH|SCRIPT KILL|EVAL x 0|FUNCTION FLUSH|FUNCTION DUMP|FUNCTION RESTORE x|FUNCTION KILL|FUNCTION STATS
    |FUNCTION LIST|FUNCTION LOAD x|FUNCTION DELETE x|FCALL f 0|PSUBSCRIBE *
    |PUBSUB CHANNELS|XREAD STREAMS k 0|BRPOP k 1|CLUSTER RESET|SPUBLISH c m|GEOADD k 1 1 x|PFADD k x|SETBIT k 1 1""".replace("\n", "")


# Who loads a function decides what others do with their rights when they call it: nobody but API nodes.
FUNCTIONS = {"api": ("FUNCTION LIST", "FUNCTION LOAD", "FUNCTION DELETE", "FCALL"), "runner": ("FUNCTION LIST", "FCALL")}


def refused(client, *words):
    """Whether Redis answers NOPERM; any other answer, a good one too, is returned."""
    try:
        return client.command(*words)
    except RedisError as e:
        return True if str(e).startswith("NOPERM") else str(e)


def refused_in_script(client, prefix, *words):
    """The same of a command that a script of the user calls."""
    call = ",".join(f"'{w}'" for w in words)
    sha = client.command("SCRIPT", "LOAD", f"return redis.call({call})")
    try:
        return client.command("EVALSHA", sha, 1, prefix)
    except RedisError as e:
        return True if "The user executing the script can't" in str(e) else str(e)


@pytest.mark.parametrize("user", USERS)
def test_what_nobody_may(redis_factory, user):
    redis = redis_factory(options={"enable-debug-command": "yes", "enable-module-command": "yes"})
    client = redis.client(user)
    for line in FORBIDDEN.split("|"):
        line = line.strip()
        words = [redis.users.prefix + "{0}:" + w if w in ("k", "j") else w for w in line.split()]
        if user == "doctor" and line.startswith("OBJECT"):
            continue  # it reads
        if line.startswith(FUNCTIONS.get(user, ("-",))):
            assert refused(client, *words) is not True, line
            continue
        assert refused(client, *words) is True, line
    assert redis.command("PING") == b"PONG"


def test_each_user_keeps_to_its_keys(redis):
    prefix = redis.users.prefix
    ours, everybodys, others = f"{prefix}{{0}}:k", f"{prefix}{{g}}:k", "other:{0}:k"
    for key in (ours, everybodys, others):
        redis.command("SET", key, "v")
    api, runner, doctor = redis.client("api"), redis.client("runner"), redis.client("doctor")
    for key in (ours, everybodys):
        assert api.command("GET", key) == b"v" and api.command("SET", key, "v") == b"OK"
    for key in (ours, f"{prefix}{{31}}:k"):
        assert runner.command("SET", key, "v") == b"OK" and runner.command("GET", key) == b"v"
    assert doctor.command("GET", ours) == b"v" and doctor.command("TYPE", ours) == b"string"
    # The runner has nothing of {g}: not by a name, not among others, not by a script, not under a name that looks alike.
    for words in (("GET", everybodys), ("SET", everybodys, "x"), ("EXISTS", ours, everybodys), ("DEL", everybodys), ("MGET", ours, everybodys), ("HGETALL", f"{prefix}{{g}}:key:x"), ("TYPE", everybodys),
                  ("SET", f"{prefix}k", "x"), ("SET", f"{prefix}{{}}:k", "x"), ("SET", f"{prefix}{{x0}}:k", "x"), ("SET", "k", "x"), ("GET", others), ("SET", others, "x")):
        assert refused(runner, *words) is True, words
    for key in (everybodys, others):
        assert refused_in_script(runner, f"{prefix}{{0}}:", "GET", key) is True
        assert refused_in_script(runner, f"{prefix}{{0}}:", "SET", key, "x") is True
    sha = runner.command("SCRIPT", "LOAD", "return 1")
    assert refused(runner, "EVALSHA", sha, 1, f"{prefix}{{g}}:") is True, "nor is it a script's key"
    for words in (("FLUSHALL",), ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("PUBLISH", "foreign", "x"), ("PUBLISH", f"{prefix}{{g}}:c", "x")):
        assert refused_in_script(runner, f"{prefix}{{0}}:", *words) is True, words
    # API nodes have everything of the deployment, and nothing beside it.
    for words in (("GET", others), ("SET", others, "x"), ("EXISTS", ours, others), ("SET", prefix[:-1], "x")):
        assert refused(api, *words) is True, words
    assert refused(runner, "SCAN", "0") is True and api.command("SCAN", "0") and doctor.command("SCAN", "0")
    assert refused_in_script(api, f"{prefix}{{0}}:", "GET", others) is True and refused_in_script(api, f"{prefix}{{0}}:", "FLUSHALL") is True
    # doctor reads the shards.
    for words in (("SET", ours, "x"), ("DEL", ours), ("GETDEL", ours), ("EXPIRE", ours, 1), ("HSET", ours, "a", "b"), ("GET", everybodys), ("GET", others), ("PUBLISH", f"{prefix}{{0}}:c", "x"), ("SCRIPT", "LOAD", "return 1"),
                  ("EVALSHA_RO", sha, 0), ("SUBSCRIBE", f"{prefix}{{0}}:c")):
        assert refused(doctor, *words) is True, words
    assert redis.command("MGET", ours, everybodys, others) == [b"v", b"v", b"v"]


def test_each_user_keeps_to_its_channels(redis):
    prefix = redis.users.prefix
    for user, mine in (("api", ("{0}:run:x:wake", "{g}:keys")), ("runner", ("{0}:ctl:x", "{12}:due"))):
        client = redis.client(user)
        for channel in mine:
            assert client.command("PUBLISH", prefix + channel, "") == 0
        foreign = ["__keyspace@0__:x", "other:{0}:due", prefix[:-1]] + [f"{prefix}{{g}}:keys"] * (user == "runner")
        for channel in foreign:
            assert refused(client, "SUBSCRIBE", channel) is True and refused(client, "PUBLISH", channel, "x") is True, channel
        assert refused(client, "SUBSCRIBE", prefix + mine[0], foreign[0]) is True, "not beside one of its own"
        for channel in mine:
            assert client.command("SUBSCRIBE", prefix + channel)[0] == b"subscribe"


def test_who_does_not_say_who_it_is(redis):
    stranger = RedisClient(redis.socket)
    for words in (("PING",), ("GET", "x"), ("INFO",), ("SET", redis.users.prefix + "{0}:x", "1"), ("SUBSCRIBE", "x")):
        with pytest.raises(RedisError, match="NOAUTH"):
            stranger.command(*words)
    password = redis.users.passwords["runner"]
    for login in ((password,), ("default", ""), ("default", password), ("errand-health", ""), ("errand-api", password), ("errand-runner", password + "x"), ("errand-runner", "")):
        with pytest.raises(RedisError, match="WRONGPASS"):
            stranger.command("AUTH", *login)
    with pytest.raises(RedisError, match="NOAUTH"):
        stranger.command("PING")
    client = redis.client("api")
    client.command("RESET")
    with pytest.raises(RedisError, match="NOAUTH"):
        client.command("PING")


def test_a_restart_keeps_what_scripts_wrote(redis_factory):
    """Redis 7.0 loads transactions of the append-only file with the rights of its default user."""
    redis = redis_factory(fsync="always")
    prefix = redis.users.prefix + "{0}:"
    for user in ("api", "runner"):
        client = redis.client(user)
        sha = client.command("SCRIPT", "LOAD", "redis.call('SET', KEYS[1] .. ARGV[1] .. '1', 'x') redis.call('SET', KEYS[1] .. ARGV[1] .. '2', 'x')")
        client.command("EVALSHA", sha, 1, prefix, user)
    redis.restart()
    assert redis.keys() == sorted((prefix + user + n).encode() for user in ("api", "runner") for n in "12")


def test_runners_call_what_api_nodes_load(stack, redis):
    """A runner may load no function: it calls scripts until an API node has come, and then, and after a restart of Redis, functions."""
    def calls(command):
        found = re.search(rf"cmdstat_{command}:calls=(\d+)", redis.command("INFO", "commandstats").decode())
        return int(found.group(1)) if found else 0

    def libraries():
        return len(redis.command("FUNCTION", "LIST", "LIBRARYNAME", "errand_*"))

    stack.runner()
    wait_until(lambda: calls("evalsha") > 2, 5)
    assert libraries() == 0
    api = stack.api()
    wait_until(lambda: libraries() > 100, 5)

    def functions_only():
        scripts, functions = calls("evalsha"), calls("fcall")
        wait_until(lambda: calls("fcall") > functions + 10, 10)
        return calls("evalsha") == scripts

    wait_until(functions_only, 20)
    scripts, functions = calls("evalsha"), calls("fcall")
    run_id = api.submit(agents.shell("echo hello", protocol="text", name="hello"))
    assert api.wait(run_id)["status"] == "success" and calls("fcall") > functions + 4 and calls("evalsha") == scripts
    redis.restart()
    wait_until(lambda: libraries() > 100, 5, "its file has them, or the API node loads them again")


def test_nodes_are_told_apart(stack, redis, runner, api):
    """Each connection is its program's user; with the other's password a node has nothing."""
    run_id = api.submit(agents.shell("echo hello", protocol="text", name="hello"))
    assert api.wait(run_id)["status"] == "success"
    users = {}
    for line in redis.command("CLIENT", "LIST").decode().splitlines():
        fields = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
        users.setdefault(fields["name"].split(":")[0], set()).add(fields["user"])
    assert users == {"errand-api": {"errand-api"}, "errand-runner": {"errand-runner"}, "": {"errand-operator"}}
    wrong = stack.api(env=redis.users.env("runner"), wait=False)  # can't make the secret that signs stream tokens
    nobody = stack.api(env={"ERRAND_REDIS_USER": "errand-api", "ERRAND_REDIS_PASSWORD": redis.users.passwords["runner"]}, wait=False)
    holds_for(lambda: not nobody.ready(), 0.5)
    assert request(nobody.port, "GET", "/v1/runs", headers={"Authorization": f"Bearer {stack.root_key}"}).status == 503
    wait_until(lambda: "errorstat_NOPERM" in redis.info("errorstats"), 10, "the runner's user is refused what only API nodes have")
    assert not wrong.ready()
    for process in (wrong.process, nobody.process, api.process, runner.process):
        assert not [p for p in redis.users.passwords.values() if p.encode() in process.output()]
    for node in (wrong, nobody):
        node.process.end()
    check_exact_delivery(stack, [run_id])


def test_every_command_of_the_scripts_is_allowed(redis):
    """Of each call in lua/, to both who call scripts: one that few tests reach is not found missing in production."""
    names = set()
    for path in glob.glob(os.path.join(ROOT, "lua", "**", "*.lua"), recursive=True):
        with open(path, encoding="utf-8") as f:
            names |= set(re.findall(r"redis\.p?call\(\s*'((?:(?:PUBSUB|XINFO|OBJECT)', ')?\w+)'", f.read()))
    assert len(names) > 30

    def dry_run(user, name):
        for count in range(8):  # as many arguments as it wants
            try:
                return redis.command("ACL", "DRYRUN", f"errand-{user}", *name.split("', '"), *[f"{redis.users.prefix}{{0}}:k"] * count)
            except RedisError as e:
                if "wrong number" not in str(e):
                    raise
        raise AssertionError(f"{name} can't be called")
    for user in ("api", "runner"):
        missing = {name for name in names if b"command" in dry_run(user, name)}
        assert not missing, f"docker/users.acl does not allow errand-{user}: {missing}"
    assert b"command" in dry_run("api", "FLUSHALL") and b"command" in dry_run("runner", "KEYS")


# ---- users.sh ----

def users_sh(*args, **env):
    return subprocess.run(["sh", USERS_SH, *args], env={"PATH": os.environ["PATH"], **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)


def test_what_users_sh_prints(folder):
    api, runner = "a/+=" * 12, "r" * 40
    path = os.path.join(folder, "password")
    with open(path, "w", encoding="ascii") as f:
        f.write(runner + "\n")
    done = users_sh(ERRAND_REDIS_API_PASSWORD=api, ERRAND_REDIS_RUNNER_PASSWORD_FILE=path)
    assert done.returncode == 0 and done.stderr == "" and api not in done.stdout and runner not in done.stdout
    users = {line.split()[1]: line.split()[2:] for line in done.stdout.splitlines()}
    assert set(users) == {"default", *(f"errand-{u}" for u in ("api", "runner", "storage", "doctor", "replica", "health", "operator"))}
    assert all(line.startswith("user ") and "#@" not in line for line in done.stdout.splitlines())
    assert users["errand-api"][:2] == ["on", "#" + hashlib.sha256(api.encode()).hexdigest()] and users["errand-runner"][1] == "#" + hashlib.sha256(runner.encode()).hexdigest()
    for user in ("doctor", "replica", "health", "operator"):
        assert users[f"errand-{user}"][:2] == ["on", "off"], "the last word counts: it is off"
    assert users["default"][0] == "off" and not [rule for rules in users.values() for rule in rules if rule == "nopass" or rule.startswith(">")]
    assert "~errand:{[0-9]*}:*" in users["errand-runner"] and "&errand:{[0-9]*}:*" in users["errand-runner"] and "%R~errand:{[0-9]*}:*" in users["errand-doctor"]
    other = users_sh(ERRAND_REDIS_API_PASSWORD=api, ERRAND_PREFIX="a*[b]?\\&:").stdout
    assert r" ~a\*\[b\]\?\\&:* &a\*\[b\]\?\\&:* " in other and r" ~a\*\[b\]\?\\&:{[0-9]*}:* " in other and "errand:" not in other


@pytest.mark.parametrize("env, says", [
    ({}, "no password is set"), ({"ERRAND_REDIS_API_PASSWORD": ""}, "no password is set"), ({"ERRAND_REDIS_API_PASSWORD": "x" * 31}, "32 characters"), ({"ERRAND_REDIS_API_PASSWORD": "x" * 31 + " y"}, "white space"),
    ({"ERRAND_REDIS_OPERATOR_PASSWORD": "${ERRAND_REDIS_OPERATOR_PASSWORD:-}"}, "was it not filled in"), ({"ERRAND_REDIS_RUNNER_PASSWORD_FILE": "/nonexistent"}, "ERRAND_REDIS_RUNNER_PASSWORD_FILE"), ({"ERRAND_REDIS_RUNNER_PASSWORD_FILE": "/dev/null"}, "empty"),
    ({"ERRAND_REDIS_API_PASSWORD": "x" * 32, "ERRAND_PREFIX": "a b"}, "ERRAND_PREFIX"), ({"ERRAND_REDIS_API_PASSWORD": "x" * 32, "ERRAND_REDIS_OPERATOR_PASSWORD": "short"}, "ERRAND_REDIS_OPERATOR_PASSWORD"),
])
def test_what_users_sh_refuses(env, says):
    done = users_sh(**env)
    assert done.returncode != 0 and done.stdout == "" and says in done.stderr, done


def test_the_template_lets_nobody_in_as_it_is(folder):
    """A mark that was not replaced is no password: Redis does not start."""
    template = os.path.join(ROOT, "docker", "users.acl")
    with open(template, encoding="utf-8") as f:
        text = f.read()
    assert re.findall(r"^user (\S+) on (\S+)$", text, re.M) == [(f"errand-{u}", f"#@{u.upper()}@") for u in ("api", "runner", "storage", "doctor", "replica", "health", "operator")]
    for name, content in (("whole", text), ("lines", "\n".join(f"user x{i} on {mark} ~* +@all" for i, mark in enumerate(re.findall("#@[A-Z]+@", text))) + "\n")):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(content)
        done = subprocess.run(["redis-server", "--port", "0", "--unixsocket", os.path.join(folder, "s"), "--dir", folder, "--aclfile", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        assert done.returncode != 0 and "ACL errors" in done.stdout, done.stdout[-500:]
