"""Bundles on a runner: fetched once, verified, unpacked safely, kept within a bound, and there for the program."""
import glob
import json
import os
import subprocess
import tarfile
import threading

import pytest

from harness import bundles
from harness.bundles import agent, cache_of, entries, incomplete, leftovers
from harness.processes import of_run
from harness.wait import wait_until

HERE = """
import json, os, sys
sys.stdin.readline()
shown = {n: os.environ.get(n) for n in ("ERRAND_CODE_DIR", "ERRAND_WORK_DIR", "PATH", "VIRTUAL_ENV", "NODE_PATH", "HOME")}
shown.update(cwd=os.getcwd(), files=sorted(os.listdir(os.environ["ERRAND_CODE_DIR"])))
try:
    open(os.path.join(os.environ["ERRAND_CODE_DIR"], "agent.py"), "a").close()
    shown["mode"] = "writable"
except OSError:
    shown["mode"] = "read-only"
shown["bits"] = [oct(os.stat(p).st_mode & 0o7777) for p in (os.environ["ERRAND_CODE_DIR"], os.path.join(os.environ["ERRAND_CODE_DIR"], "agent.py"))]
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": shown}}), flush=True)
"""


@pytest.fixture
def start(stack, api):
    yield from bundles.starting(stack, api)


def commands(stack, name):
    stats = stack.redis.info("commandstats").get(f"cmdstat_{name}", "calls=0")
    return int(stats.split("calls=")[1].split(",")[0])


def test_a_program_finds_its_bundle(stack, api, start):
    start()
    big = os.urandom(1200000)
    digest = bundles.store(stack, bundles.pack({"agent.py": HERE, "bin/tool": "#!/bin/sh\n", "big": big, "sub/x": "1"}))
    record = api.wait(api.submit(agent(digest)))
    assert record["status"] == "success", record
    seen = record["result"]
    assert seen["cwd"] == seen["ERRAND_CODE_DIR"] and seen["ERRAND_CODE_DIR"].startswith(cache_of(stack))
    assert seen["ERRAND_WORK_DIR"] == seen["HOME"] != seen["cwd"]
    assert seen["files"] == ["agent.py", "big", "bin", "sub"] and seen["bits"] == ["0o555", "0o444"]
    if os.geteuid() != 0:
        assert seen["mode"] == "read-only"
    with open(os.path.join(seen["cwd"], "big"), "rb") as f:
        assert f.read() == big
    assert seen["VIRTUAL_ENV"] is None and seen["NODE_PATH"] is None
    # A folder of its own: relative ones lie in the bundle.
    for workdir, expected in (("sub", seen["cwd"] + "/sub"), (stack.folder, stack.folder)):
        code = os.path.join(seen["cwd"], "agent.py")
        record = api.wait(api.submit(agent(digest, ["/usr/bin/python3", code], workdir=workdir)))
        assert record["result"]["cwd"] == expected
    record = api.wait(api.submit(agent(digest, workdir="sub/nowhere")))
    assert record["error"]["class"] == "start_failed" and 'no folder "sub/nowhere"' in record["error"]["message"]
    for workdir in ("../x", "sub/..", "a/../b", ".."):
        answer = api.post("/v1/runs", {"agent": agent(digest, workdir=workdir)})
        assert answer.status == 400 and "workdir" in answer.json()["detail"], answer
    assert len(entries(stack)) == 1
    wait_until(lambda: not leftovers(stack), 10, "nothing is left of the unpacking")


def test_concurrent_attempts_fetch_once(stack, api, start):
    start()
    archive = bundles.pack({"agent.py": HERE, "noise": os.urandom(3 * bundles.CHUNK)})
    digest = bundles.store(stack, archive)
    runs = [api.submit(agent(digest)) for _ in range(8)]
    assert {api.wait(r)["status"] for r in runs} == {"success"}
    assert commands(stack, "getrange") == -(-len(archive) // bundles.CHUNK)
    api.wait(api.submit(agent(digest)))
    assert commands(stack, "getrange") == -(-len(archive) // bundles.CHUNK)


def test_workspaces_share_nothing(stack, api, start):
    start()
    archive = bundles.pack({"agent.py": HERE})
    digest = bundles.store(stack, archive)
    bundles.store(stack, archive, workspace="other")
    mine = api.wait(api.submit(agent(digest)))["result"]["cwd"]
    answer = api.post("/v1/runs", {"agent": agent(digest)}, workspace="other")
    run_id = answer.json()["runId"]
    stack.run_ids.append(run_id)

    def ended():
        record = api.get(f"/v1/runs/{run_id}", workspace="other").json()
        return record if record["status"] == "success" else None
    theirs = wait_until(ended, 20, "the other workspace's run ends")["result"]["cwd"]
    assert mine != theirs and len(entries(stack)) == 2


def raw_tar(*members):
    return bundles.pack(members=members)


BOMB = 1 << 20


def zeros(n):
    """A tar whose one file is n MiB of zeros, compressed as it is made."""
    header = tarfile.TarInfo("zeros")
    header.size = n << 20
    with subprocess.Popen(["zstd", "-q", "-c", "-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        out = []
        reader = threading.Thread(target=lambda: out.append(p.stdout.read()))
        reader.start()
        p.stdin.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(n):
            p.stdin.write(bytes(BOMB))
        p.stdin.write(bytes(1024))
        p.stdin.close()
        reader.join()
    return out[0]


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
ATTACKS = {
    "up": (raw_tar(bundles.member("../../../../outside", b"x")), '".."'),
    "absolute": (raw_tar(bundles.member("/tmp/errand-outside", b"x")), "absolute"),
    "through a link": (raw_tar(bundles.member("door", kind=LINK, link="/tmp"), bundles.member("door/x", b"x")), "door"),
    "link chain": (raw_tar(bundles.member("d/up", kind=LINK, link=".."), bundles.member("out", kind=LINK, link="d/up/..")), "through other links"),
    "hard link": (raw_tar(bundles.member("h", kind=HARD, link="/etc/passwd")), "absolute"),
    "device": (raw_tar(bundles.member("null", kind=tarfile.CHRTYPE)), "device"),
    "fifo": (raw_tar(bundles.member("pipe", kind=tarfile.FIFOTYPE)), "fifo"),
    "setuid": (raw_tar(bundles.member("su", b"x", mode=0o4755)), "setuid"),
    "escape codes": (raw_tar(bundles.member("a\x1b[31m/../x", b"x")), "control"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "no tar archive compressed with zstd"),
    "zip": (b"PK\x03\x04" + bytes(100), "no tar archive compressed with zstd"),
    "truncated": (bundles.pack({"noise": os.urandom(100000)})[:-1000], "refused"),
    "garbage behind": (bundles.pack({"a": "b"}) + b"garbage", "refused"),
}


def test_attacks_are_refused(stack, api, start):
    outside = os.path.join(stack.folder, "outside")
    before = set(os.listdir(stack.folder))
    runs = {}
    for name, (archive, reason) in ATTACKS.items():
        runs[name] = (api.submit(agent(bundles.store(stack, archive), maxAttempts=1)), reason)
    runs["bomb"] = (api.submit(agent(bundles.store(stack, zeros(600)), maxAttempts=1)), "more than 536870912 bytes")
    good = bundles.pack({"agent.py": HERE})

    def pretend(name, digit, reason):
        """A run of a good archive under a digest that it does not have; its key."""
        digest = bundles.store(stack, good, named="sha256:" + digit * 64)
        runs[name] = (api.submit(agent(digest)), reason)
        return f"{stack.shard()}bundle:default:{digest[7:]}"
    pretend("wrong digest", "0", "what is stored has the digest")
    # What went, or was changed, after the run was taken.
    stack.redis.command("DEL", pretend("not there", "1", "is not there"))
    stack.redis.command("HSET", pretend("unfinished", "2", "is not there"), "done", 0)
    stack.redis.command("HSET", pretend("odd sizes", "3", "makes no sense"), "chunks", 7)
    stack.redis.command("HSET", pretend("too large", "4", "makes no sense"), "bytes", 1 << 40, "chunks", 1 << 21)
    stack.redis.command("APPEND", pretend("longer chunk", "5", "another length") + ":0", "x")
    digest = bundles.store(stack, bundles.pack({"x": os.urandom(700000)}))
    runs["missing chunk"] = (api.submit(agent(digest)), "a chunk of it is missing")
    stack.redis.command("DEL", f"{stack.shard()}bundle:default:{digest[7:]}:1")
    start()
    for name, (run_id, reason) in runs.items():
        error = api.wait(run_id)["error"]
        assert error["class"] == "start_failed" and reason in error["message"], (name, error)
        assert len(error["message"]) < 400 and error["message"].isprintable(), (name, error)
    assert entries(stack) == [] and incomplete(stack) == []
    wait_until(lambda: not leftovers(stack), 10, "nothing half-unpacked stays")
    assert not os.path.exists(outside) and not os.path.exists("/tmp/errand-outside") and not os.path.exists("/tmp/x")
    assert {n for n in os.listdir(stack.folder) if not n.endswith(".log")} <= before | {"cache"} | {n for n in os.listdir(stack.folder) if n.startswith("errand-node-")}


def sized(name, mebibytes):
    return bundles.pack({"agent.py": HERE, name: os.urandom(mebibytes << 20)})


def test_what_is_long_unused_goes(stack, api, start):
    start(bundle_cache_bytes=8 << 20)
    digests = [bundles.store(stack, sized(f"noise{i}", 3)) for i in range(3)]

    def there(digest):
        return any(digest[7:] in e for e in entries(stack))
    for digest in digests[:2]:
        assert api.wait(api.submit(agent(digest)))["status"] == "success"
    assert there(digests[0]) and there(digests[1])
    api.wait(api.submit(agent(digests[0])))  # now the second is the one unused for longest
    api.wait(api.submit(agent(digests[2])))
    wait_until(lambda: not there(digests[1]), 10, "the longest unused is gone")
    assert there(digests[0]) and there(digests[2])
    wait_until(lambda: not leftovers(stack), 10, "it is removed from the disk")


def waiting(stack, digest):
    """An agent that ends, with its bundle looked at, when the file `go` is in the test's folder."""
    return agent(digest, ["/bin/sh", "-c", "read l; while [ ! -e \"$0/go\" ]; do sleep 0.05; done; exec /usr/bin/python3 agent.py </dev/null", stack.folder])


@pytest.mark.parametrize("end", ["killed", "restarted"])
def test_an_adopted_run_keeps_its_bundle(stack, end):
    times = {"ERRAND_LEASE_MS": "4000"}
    api = stack.api(env=times)

    def start():
        return stack.runner(api=api, env={"ERRAND_ADOPT": "true", "ERRAND_NODE": "steady", "ERRAND_HEARTBEAT_MS": "500", "ERRAND_BUNDLE_CACHE_DIR": cache_of(stack),
                                          "ERRAND_BUNDLE_CACHE_BYTES": 4 << 20, **times})
    runner = start()
    first, second = [bundles.store(stack, sized(f"noise{i}", 3)) for i in range(2)]
    run_id = api.submit(waiting(stack, first))
    api.wait(run_id, "running")
    if end == "killed":
        runner.kill9()
    else:
        assert runner.process.end() == 0
    successor = start()
    wait_until(lambda: b"attempt adopted" in successor.process.output(), 20, "the run is adopted")
    assert api.wait(api.submit(agent(second)))["status"] == "success"
    assert any(first[7:] in e for e in entries(stack)), "the bundle of an adopted run was removed"
    with open(os.path.join(stack.folder, "go"), "w", encoding="ascii"):
        pass
    record = api.wait(run_id)
    assert record["status"] == "success" and record["attempt"] == 1, record
    wait_until(lambda: len(entries(stack)) == 1, 10, "the bound holds again")


def test_what_is_in_use_stays(stack, api, start):
    start(bundle_cache_bytes=4 << 20)
    first, second = [bundles.store(stack, sized(f"noise{i}", 3)) for i in range(2)]
    run_id = api.submit(waiting(stack, first))
    api.wait(run_id, "running")
    assert api.wait(api.submit(agent(second)))["status"] == "success"
    assert any(first[7:] in e for e in entries(stack)), "a bundle in use was removed"
    with open(os.path.join(stack.folder, "go"), "w", encoding="ascii"):
        pass
    assert api.wait(run_id)["status"] == "success"
    wait_until(lambda: len(entries(stack)) == 1, 10, "the bound holds again")


def test_a_restart_finds_what_is_complete_and_removes_the_rest(stack, api, start):
    runner = start()
    whole = bundles.store(stack, bundles.pack({"agent.py": HERE}))
    assert api.wait(api.submit(agent(whole)))["status"] == "success"
    fetched = commands(stack, "getrange")
    # Killed while it unpacks a large one: many small files take a while.
    large = bundles.store(stack, bundles.pack({f"d{i % 50}/f{i}": "x" for i in range(15000)}))
    run_id = api.submit(agent(large, ["/bin/true"]))
    wait_until(lambda: glob.glob(os.path.join(cache_of(stack), "*", "work-*", "code", "d*")), 20, "it unpacks")
    runner.kill9()
    assert leftovers(stack)
    made = entries(stack)
    start()
    assert api.wait(run_id, timeout=60)["status"] == "success"
    assert api.wait(api.submit(agent(whole)))["status"] == "success"
    assert set(made) <= set(entries(stack)) and incomplete(stack) == []
    assert commands(stack, "getrange") - fetched <= 2, "what was complete was fetched again"
    wait_until(lambda: not leftovers(stack), 20, "what was interrupted is removed")


def test_a_clean_restart_fetches_nothing_again(stack, api, start):
    runner = start()
    digest = bundles.store(stack, bundles.pack({"agent.py": HERE}))
    assert api.wait(api.submit(agent(digest)))["status"] == "success"
    wait_until(lambda: not leftovers(stack), 10, "nothing is left of the unpacking")
    assert runner.process.end() == 0
    fetched = commands(stack, "getrange")
    start()
    assert api.wait(api.submit(agent(digest)))["status"] == "success"
    assert commands(stack, "getrange") == fetched


def test_two_runners_of_one_name_have_caches_of_their_own(stack, api, start):
    start(), start()
    digest = bundles.store(stack, bundles.pack({"agent.py": HERE}))
    runs = [api.submit(agent(digest, ["/bin/sh", "-c", "sleep 0.3"])) for _ in range(16)]
    assert {api.wait(r)["status"] for r in runs} == {"success"}
    assert len(glob.glob(os.path.join(cache_of(stack), "*", "lock"))) == 2


def test_a_stop_while_it_is_fetched(stack, api, start):
    start()
    digest = bundles.store(stack, bundles.pack({f"f{i}": "x" for i in range(15000)}))
    run_id = api.submit(agent(digest, ["/bin/true"]))
    wait_until(lambda: glob.glob(os.path.join(cache_of(stack), "*", "work-*")), 20, "it is fetched")
    assert api.post(f"/v1/runs/{run_id}/stop").status in (200, 202)
    assert api.wait(run_id)["status"] == "stopped"
    assert not of_run(run_id)
    wait_until(lambda: len(entries(stack)) == 1, 20, "it is there for the next one")


def test_from_a_folder_to_a_run(stack, api, start):
    """`errand agents push`, then a run of what was pushed, with a folder of the bundle as its own."""
    start()
    source = os.path.join(stack.folder, "source")
    os.makedirs(os.path.join(source, "src"))
    for name, text in (("agent.json", json.dumps({"name": "pushed", "command": ["python3", "agent.py"], "workdir": "src"})), ("src/agent.py", HERE), ("agent.py", "")):
        with open(os.path.join(source, name), "w", encoding="utf-8") as f:
            f.write(text)
    done = stack.cli("agents", "push", source)
    assert done.popen.wait(30) == 0, done.output()
    record = api.wait(api.submit("pushed"))
    assert record["status"] == "success" and record["result"]["cwd"] == record["result"]["ERRAND_CODE_DIR"] + "/src", record
