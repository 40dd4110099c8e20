"""Bundles: the code of agents. Packed and pushed by the CLI, kept once a workspace in chunks, verified, counted by what uses them, gone when nothing does."""
import hashlib
import io
import json
import os
import random
import shutil
import socket
import subprocess
import tarfile
import threading

import pytest

from harness import agents
from harness.wait import wait_until
from test_cli import Cli
from test_keys import bearer, make

pytestmark = pytest.mark.root_key

CHUNK = 524288
OTHER = {"X-Errand-Workspace": "other"}


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def noise(n, seed=1):
    return random.Random(seed).randbytes(n)


def begin(api, data, headers=None, **fields):
    return api.request("POST", "/v1/bundles", {"digest": digest_of(data), "bytes": len(data), **fields}, headers)


def put_chunk(api, digest, n, data, headers=None):
    return api.request("PUT", f"/v1/bundles/{digest}/chunks/{n}", data, headers)


def complete(api, digest, headers=None):
    return api.request("POST", f"/v1/bundles/{digest}/complete", headers=headers)


def upload(api, data, headers=None):
    """The digest of a bundle that is complete now."""
    answer = begin(api, data, headers)
    assert answer.status == 200, answer
    for n in answer.json().get("missing", []):
        assert put_chunk(api, digest_of(data), n, data[n * CHUNK:(n + 1) * CHUNK], headers).status == 204
    assert complete(api, digest_of(data), headers).status == 200
    return digest_of(data)


def bundled(digest, **fields):
    return agents.shell("true", bundle=digest, protocol="text", **fields)


def put_agent(api, name, definition, headers=None):
    return api.request("PUT", f"/v1/agents/{name}", {**definition, "name": name}, headers)


def bundle_keys(stack, ws="default"):
    return sorted(k.decode()[len(stack.shard()):] for k in stack.redis.command("KEYS", f"{stack.shard()}bundle*") if f":{ws}" in k.decode() or k.decode().endswith("bundledue"))


def used_bytes(stack, ws="default"):
    return int(stack.redis.command("HGET", f"{stack.shard()}use:{ws}", "bytes") or 0)


# ---- the API ----

def test_an_upload_goes_on_where_it_was_and_is_verified(api, stack):
    data = noise(CHUNK * 2 + 77)
    digest = digest_of(data)
    first = begin(api, data, files=3, unpackedBytes=10).json()
    assert first == {"digest": digest, "complete": False, "chunkBytes": CHUNK, "chunks": 3, "missing": [0, 1, 2]}
    assert put_chunk(api, digest, 2, data[2 * CHUNK:]).status == 204 and put_chunk(api, digest, 0, data[:CHUNK]).status == 204
    assert complete(api, digest).code == "bundle_incomplete"
    assert begin(api, data).json()["missing"] == [1]
    assert api.get(f"/v1/bundles/{digest}/chunks/0").code == "bundle_not_found", "nothing of it can be had before it is complete"
    assert put_chunk(api, digest, 1, data[CHUNK:2 * CHUNK]).status == 204
    assert complete(api, digest).json() == {"digest": digest, "complete": True} == complete(api, digest).json() == begin(api, data).json()
    assert b"".join(api.get(f"/v1/bundles/{digest}/chunks/{n}").body for n in range(3)) == data
    about = api.get(f"/v1/bundles/{digest}").json()
    assert (about["bytes"], about["chunks"], about["files"], about["unpackedBytes"], about["inUse"], about["complete"]) == (len(data), 3, 3, 10, False, True)
    listed = api.get("/v1/bundles").json()
    assert [b["digest"] for b in listed["bundles"]] == [digest] and listed["cursor"] is None
    assert used_bytes(stack) == len(data)
    # What is complete does not change any more.
    assert put_chunk(api, digest, 1, noise(CHUNK, 9)).status == 204
    assert api.get(f"/v1/bundles/{digest}/chunks/1").body == data[CHUNK:2 * CHUNK]


def test_bytes_of_another_digest_are_thrown_away(api):
    data = noise(CHUNK + 5)
    digest = digest_of(data)
    begin(api, data)
    assert put_chunk(api, digest, 0, noise(CHUNK, 2)).status == 204 and put_chunk(api, digest, 1, data[CHUNK:]).status == 204
    refused = complete(api, digest)
    assert (refused.status, refused.code) == (422, "bundle_mismatch")
    assert begin(api, data).json()["missing"] == [0, 1]
    assert put_agent(api, "a", bundled(digest)).code == "bundle_not_found"
    assert upload(api, data) == digest


def test_what_is_no_chunk_is_refused(api):
    data = noise(CHUNK + 5)
    digest = digest_of(data)
    unknown = put_chunk(api, digest, 0, data[:CHUNK])
    assert (unknown.status, unknown.code) == (404, "bundle_not_found")
    begin(api, data)
    for n, body, status, code in ((2, b"x", 400, "invalid_parameter"), ("x", b"x", 400, "invalid_parameter"), ("01", b"x", 400, "invalid_parameter"), ("-1", b"x", 400, "invalid_parameter"),
                                  (1, b"x" * 6, 400, "invalid_field"), (1, b"x" * 4, 400, "invalid_field"), (0, b"x" * (CHUNK - 1), 400, "invalid_field"), (0, b"x" * (CHUNK + 1), 413, "body_too_large")):
        answer = put_chunk(api, digest, n, body)
        assert (answer.status, answer.code) == (status, code), (n, len(body), answer)
    assert "5 bytes" in put_chunk(api, digest, 1, b"x").json()["detail"] and "0 to 1" in put_chunk(api, digest, 7, b"x").json()["detail"]
    assert begin(api, data).json()["missing"] == [0, 1]
    for body, code in (({}, "missing_field"), ({"digest": digest}, "missing_field"), ({"digest": digest, "bytes": 0}, "invalid_field"), ({"digest": digest, "bytes": 67108865}, "invalid_field"),
                       ({"digest": digest[7:], "bytes": 1}, "invalid_field"), ({"digest": digest.upper(), "bytes": 1}, "invalid_field"), ({"digest": digest, "bytes": 1, "x": 1}, "unknown_field"), ([], "invalid_field")):
        answer = api.post("/v1/bundles", body)
        assert (answer.status, answer.code) == (400, code), (body, answer)
    for path in ("/v1/bundles/x", "/v1/bundles/sha256:abc", "/v1/bundles/" + digest[:-1] + "G"):
        assert api.get(path).code == "bundle_not_found"


def test_another_length_begins_anew(api, stack):
    data = noise(CHUNK + 5)
    digest = digest_of(data)
    assert api.post("/v1/bundles", {"digest": digest, "bytes": 10}).json()["chunks"] == 1
    assert put_chunk(api, digest, 0, b"0123456789").status == 204 and used_bytes(stack) == 10
    assert begin(api, data).json()["missing"] == [0, 1] and used_bytes(stack) == len(data)
    assert upload(api, data) == digest and used_bytes(stack) == len(data)


def test_a_definition_names_a_complete_bundle_of_its_own_workspace(api):
    data = noise(1000)
    digest = digest_of(data)
    begin(api, data)
    inline = bundled(digest, name="inline")

    def answers(headers=None):
        schedule = {"everyMs": 3600000, "run": {"agent": inline}}
        yield put_agent(api, "named", bundled(digest), headers)
        yield api.post("/v1/runs", {"agent": inline}, headers=headers)
        yield api.request("PUT", "/v1/schedules/s", schedule, headers)
    for answer in answers():
        assert (answer.status, answer.code) == (404, "bundle_not_found") and "errand agents push" in answer.json()["detail"], answer
    batch = api.post("/v1/runs/batch", {"runs": [{"agent": inline}, {"agent": agents.shell("true")}]}).json()
    assert batch["results"][0]["error"]["code"] == "bundle_not_found", batch
    assert api.get("/v1/agents").json()["agents"] == [] and api.get("/v1/schedules").json()["schedules"] == []
    upload(api, data)
    assert [a.status for a in answers()] == [201, 202, 201]
    # Elsewhere it is as if it were not there, also its parts and the fact that it is used.
    for answer in answers(OTHER):
        assert (answer.status, answer.code) == (404, "bundle_not_found")
    for method, path in (("GET", ""), ("GET", "/chunks/0"), ("DELETE", ""), ("POST", "/complete")):
        answer = api.request(method, f"/v1/bundles/{digest}{path}", headers=OTHER)
        assert (answer.status, answer.code) == (404, "bundle_not_found"), (method, path)
    assert api.get("/v1/bundles", headers=OTHER).json()["bundles"] == []
    # The same bundle and definition there are others.
    upload(api, data, OTHER)
    assert put_agent(api, "named", bundled(digest), OTHER).status == 201
    assert api.get("/v1/agents/named").json()["digest"] != api.get("/v1/agents/named", headers=OTHER).json()["digest"]


def test_a_bundle_stays_while_something_uses_it(api, stack):
    data, second = noise(CHUNK + 1), noise(10, 4)
    digest = upload(api, data)
    upload(api, second)
    due = f"{stack.shard()}bundledue"
    assert stack.redis.command("ZCARD", due) == 2
    put_agent(api, "a", bundled(digest))
    in_use = api.request("DELETE", f"/v1/bundles/{digest}")
    assert (in_use.status, in_use.code) == (409, "bundle_in_use") and api.get(f"/v1/bundles/{digest}").json()["inUse"]
    run = api.submit("a", queue="nobody")
    put_agent(api, "a", agents.shell("true"))
    assert api.request("DELETE", "/v1/agents/a").status == 204
    assert api.request("DELETE", f"/v1/bundles/{digest}").status == 409, "the run is pinned to it"
    schedule = {"everyMs": 3600000, "run": {"agent": bundled(digest, name="x")}}
    assert api.request("PUT", "/v1/schedules/s", schedule).status == 201
    api.post(f"/v1/runs/{run}/stop")
    assert api.request("DELETE", f"/v1/runs/{run}").status == 204
    assert api.request("DELETE", f"/v1/bundles/{digest}").status == 409
    assert api.request("DELETE", "/v1/schedules/s").status == 204
    assert not api.get(f"/v1/bundles/{digest}").json()["inUse"]
    # Nobody needs it: what its day's end does, done now.
    stack.redis.command("ZADD", due, 1, f"default:{digest[7:]}")
    wait_until(lambda: api.get(f"/v1/bundles/{digest}").status == 404, 10, "it is swept")
    assert bundle_keys(stack) == sorted(["bundledue", "bundles:default", f"bundle:default:{digest_of(second)[7:]}", f"bundle:default:{digest_of(second)[7:]}:0"])
    assert api.request("DELETE", f"/v1/bundles/{digest_of(second)}").status == 204
    assert bundle_keys(stack) == [] and used_bytes(stack) == 0


def test_bundles_count_as_storage(api):
    assert api.request("PUT", "/v1/workspaces/default", {"bytesMax": 5000}).status == 200
    upload(api, noise(4000))
    full = begin(api, noise(2000, 2))
    assert (full.status, full.code) == (507, "quota_exceeded")
    assert api.get("/v1/workspaces/default").json()["usage"]["bytes"] == 4000, api.get("/v1/workspaces/default").json()
    assert api.post("/v1/runs", {"agent": agents.shell("true"), "input": "x" * 2000}).code == "quota_exceeded"
    assert api.request("DELETE", f"/v1/bundles/{digest_of(noise(4000))}").status == 204
    assert begin(api, noise(2000, 2)).status == 200


def test_a_narrowed_key_lists_no_bundles(api):
    digest = upload(api, noise(10))
    headers = bearer(make(api, scopes=["agents:read"], agents=["mine"])["key"])
    assert api.get("/v1/bundles", headers=headers).status == 403
    assert api.get(f"/v1/bundles/{digest}", headers=headers).status == 200, "who knows a digest may name it"


# ---- versions ----

def test_versions_and_rollback(api):
    first, second = upload(api, noise(10, 1)), upload(api, noise(10, 2))
    for n, digest in enumerate((first, second), 1):
        assert put_agent(api, "a", bundled(digest, concurrency=n)).json()["version"] == n
    listed = api.get("/v1/agents/a/versions").json()["versions"]
    assert [(v["version"], v["bundle"], v["executor"]) for v in listed] == [(2, second, "process"), (1, first, "process")] and all(len(v["updatedAt"]) == 24 for v in listed)
    done = api.post("/v1/agents/a/rollback", {"version": 1})
    assert done.status == 200 and done.json() == {"name": "a", "version": 3, "digest": listed[1]["digest"]}
    newest = api.get("/v1/agents/a").json()
    assert newest["version"] == 3 and newest["definition"]["bundle"] == first and newest["definition"]["concurrency"] == 1
    assert api.post("/v1/agents/a/rollback", {"version": 1}).json()["version"] == 3, "it is the newest already"
    assert [v["version"] for v in api.get("/v1/agents/a/versions").json()["versions"]] == [3, 2, 1]
    for body, status, code in (({"version": 9}, 404, "agent_not_found"), ({}, 400, "missing_field"), ({"version": 0}, 400, "invalid_field"), ({"v": 1}, 400, "unknown_field")):
        answer = api.post("/v1/agents/a/rollback", body)
        assert (answer.status, answer.code) == (status, code), body
    assert api.get("/v1/agents/b/versions").code == "agent_not_found" == api.post("/v1/agents/b/rollback", {"version": 1}).code
    # A run keeps the version that it was submitted with.
    assert api.request("DELETE", f"/v1/bundles/{second}").status == 409


# ---- the CLI ----

@pytest.fixture
def cli(stack, api):
    return Cli(stack.folder, api.url, stack.key)


def write(folder, files):
    """{path: text or bytes; None: a folder; ("->", target): a link; ("x", text): executable}"""
    for path, content in files.items():
        at = os.path.join(folder, path)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        if content is None:
            os.makedirs(at, exist_ok=True)
        elif isinstance(content, tuple) and content[0] == "->":
            os.symlink(content[1], at)
        else:
            text = content[1] if isinstance(content, tuple) else content
            with open(at, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            os.chmod(at, 0o755 if isinstance(content, tuple) else 0o600)
    return folder


AGENT = json.dumps({"name": "pushed", "command": ["/bin/sh", "main.sh"], "workdir": ".", "protocol": "text"})


@pytest.fixture
def source(folder):
    return write(os.path.join(folder, "source"), {
        "agent.json": AGENT, "main.sh": ("x", "echo hello\n"), "lib/a.py": "a = 1\n", "lib/link.py": ("->", "a.py"), "empty": None, ".git/config": "x", "noise.bin": noise(CHUNK * 2, 5),
        "debug.log": "x", "build/out": "x", "keep.log": "x", ".errandignore": "# what is not code\n*.log\n!keep.log\nbuild/\n"})


def archive_of(api, digest, headers=None):
    about = api.get(f"/v1/bundles/{digest}", headers=headers).json()
    return b"".join(api.get(f"/v1/bundles/{digest}/chunks/{n}", headers=headers).body for n in range(about["chunks"]))


def entries_of(data):
    """The tar in the archive. The tool unpacks what the library packed."""
    plain = subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout if shutil.which("zstd") else \
        subprocess.run(["bsdtar", "-cf", "-", "--format=ustar", "@-"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return tarfile.open(fileobj=io.BytesIO(plain))


def test_push(cli, api, source):
    done = cli("agents", "push", source)
    assert done.returncode == 0, done.stderr
    agent = api.get("/v1/agents/pushed").json()
    digest = agent["definition"]["bundle"]
    data = archive_of(api, digest)
    assert "workdir" not in agent["definition"]
    assert digest == digest_of(data) and done.stdout == f"pushed version 1  {digest}  {len(data)} bytes\n"
    if shutil.which("zstd") or shutil.which("bsdtar"):
        with entries_of(data) as tar:
            members = {m.name: m for m in tar.getmembers()}
            assert list(members) == sorted(members) == ["agent.json", "empty", "keep.log", "lib", "lib/a.py", "lib/link.py", "main.sh", "noise.bin"]
            assert {m.mtime for m in members.values()} == {0} == {m.uid for m in members.values()} == {m.gid for m in members.values()}
            assert (members["main.sh"].mode, members["agent.json"].mode, members["lib"].mode, members["lib/link.py"].linkname) == (0o755, 0o644, 0o755, "a.py")
            assert tar.extractfile("lib/a.py").read() == b"a = 1\n"
    # The same again uploads nothing and makes no version; nor does a copy elsewhere with other times, which is byte for byte the same.
    said, = cli.json("agents", "push", source)
    assert said["version"] == 1 and said["sentChunks"] == 0 and said["bundle"] == digest and said["files"] == 8
    copy = source + "-copy"
    shutil.copytree(source, copy, symlinks=True)
    for root, _, files in os.walk(copy):
        for name in files:
            os.utime(os.path.join(root, name), (1, 1), follow_symlinks=False)
    os.chmod(os.path.join(copy, "agent.json"), 0o640)
    said, = cli.json("agents", "push", copy + "/", "--name", "other", env={"LC_ALL": "C", "TZ": "Pacific/Apia"})
    assert (said["name"], said["version"], said["sentChunks"], said["bundle"]) == ("other", 1, 0, digest)
    write(source, {"lib/a.py": "a = 2\n"})
    said, = cli.json("agents", "push", source)
    assert said["version"] == 2 and said["bundle"] != digest


def test_an_interrupted_push_goes_on(cli, api, stack, source):
    """The connection to the API breaks in the middle: what arrived is not sent again."""
    taken = []

    class Breaking(threading.Thread):
        def __init__(self):
            super().__init__(daemon=True)
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]
            self.start()

        def run(self):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", api.port))
                threading.Thread(target=self.back, args=(far, near), daemon=True).start()
                while data := near.recv(65536):
                    taken.append(data.count(b"PUT /v1/bundles"))
                    if sum(taken) == 3:
                        break
                    far.sendall(data)
                if sum(taken) == 3:
                    self.listener.close()
                    far.close()
                    near.close()
                    return

        @staticmethod
        def back(far, near):
            try:
                while data := far.recv(65536):
                    near.sendall(data)
            except OSError:
                pass
    proxy = Breaking()
    write(source, {"more.bin": noise(CHUNK * 2, 6)})
    broken = cli("agents", "push", source, env={"ERRAND_URL": f"http://127.0.0.1:{proxy.port}"})
    assert broken.returncode == 4 and api.get("/v1/agents/pushed").status == 404
    kept, = api.get("/v1/bundles").json()["bundles"]
    assert not kept["complete"]
    said, = cli.json("agents", "push", source)
    chunks = api.get(f"/v1/bundles/{kept['digest']}").json()["chunks"]
    assert said["bundle"] == kept["digest"] and said["sentChunks"] == chunks - 2 and said["version"] == 1, (said, chunks)


def test_what_can_not_be_packed_is_refused(cli, folder):
    def refused(files, *words, before=None):
        at = write(os.path.join(folder, f"bad{len(os.listdir(folder))}"), {"agent.json": AGENT, **files})
        if before:
            before(at)
        done = cli("agents", "push", at)
        assert done.returncode == 2 and all(word in done.stderr for word in words), done
    refused({"d/l": ("->", "../../x")}, "d/l", "lead out")
    refused({"l": ("->", "/etc/passwd")}, "relative")
    refused({"a/b/root": ("->", "../.."), "out": ("->", "a/b/root/../x")}, "out", "lead out")
    refused({}, "pipe", "no file, folder or link", before=lambda at: os.mkfifo(os.path.join(at, "pipe")))
    refused({".errandignore": "a\n[a-z]\n"}, "line 2", "set of characters")
    refused({".errandignore": "*\n"}, "nothing in it")
    refused({"bad\nname": "x"}, "control characters")
    refused({"d" * 200 + "/" + "/".join(["e" * 200] * 5): "x"}, "longer than 1,024")
    for definition, words in (("{", "not valid JSON"), ("[]", "JSON object"), ('{"command":["x"]}', '--name'), ('{"name":"x","command":["x"],"workdir":"../sub"}', "workdir"), ('{"name":"x","executor":"http","url":"http://x"}', "bundle does not go")):
        refused({"agent.json": definition}, words)
    assert "agent.json can't be read" in cli("agents", "push", os.path.join(folder, "nowhere")).stderr
    sparse = write(os.path.join(folder, "sparse"), {"agent.json": AGENT, "small": "x"})
    for name, size in (("large", 400 << 20), ("larger", 500 << 20)):
        with open(os.path.join(sparse, name), "wb") as f:
            f.truncate(size)
    done = cli("agents", "push", sparse)
    assert done.returncode == 2 and "536870912" in done.stderr and done.stderr.index("larger (524288000") < done.stderr.index("large (419430400"), done


def test_an_export_is_imported_elsewhere(cli, api, source, folder):
    pushed, = cli.json("agents", "push", source)
    write(source, {"lib/a.py": "a = 2\n"})
    cli.json("agents", "push", source)
    file = os.path.join(folder, "pushed.tar")
    said = cli("agents", "export", "pushed", file, "--version", "1")
    assert said.returncode == 0 and said.stdout.startswith("pushed version 1  "), said
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["agent.json", "bundle.tar.zst"]
        assert digest_of(tar.extractfile("bundle.tar.zst").read()) == pushed["bundle"] == json.load(tar.extractfile("agent.json"))["bundle"]
    key = api.post("/v1/keys", {"name": "k", "scopes": ["agents:read", "agents:write"]}, headers=OTHER)
    there = Cli(folder, api.url, key.json()["key"])
    imported, = there.json("agents", "import", file, "--name", "brought")
    assert (imported["name"], imported["version"], imported["bundle"]) == ("brought", 1, pushed["bundle"])
    assert api.get("/v1/agents/brought", headers=OTHER).json()["definition"]["bundle"] == pushed["bundle"]
    assert archive_of(api, pushed["bundle"], OTHER) == archive_of(api, pushed["bundle"])
    # One without code, too.
    assert api.request("PUT", "/v1/agents/plain", agents.shell("true", name="plain")).status == 201
    assert cli("agents", "export", "plain", file).returncode == 0
    assert there("agents", "import", file).stdout == "plain version 1\n"


def tar_of(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, *kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind[0] if kind else tarfile.REGTYPE
            info.linkname = "agent.json" if kind else ""
            info.size = 0 if kind else len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_hostile_export_files_are_refused(cli, api, folder):
    archive = noise(1000)
    definition = json.dumps({"name": "x", "command": ["x"], "bundle": digest_of(archive)}).encode()
    good = tar_of(("agent.json", definition), ("bundle.tar.zst", archive))
    plain = json.dumps({"name": "x", "command": ["x"]}).encode()
    link, hard, fifo = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE
    for name, data in {
            "empty": b"", "text": b"hello", "cut": good[:1600], "only the archive": tar_of(("bundle.tar.zst", archive)), "no archive": tar_of(("agent.json", definition)),
            "another archive": tar_of(("agent.json", definition), ("bundle.tar.zst", noise(1000, 2))), "not named": tar_of(("agent.json", plain), ("bundle.tar.zst", archive)),
            "twice": tar_of(("agent.json", plain), ("agent.json", plain)), "more": tar_of(("agent.json", plain), ("../x", b"x")), "under another name": tar_of(("agent.json", definition), ("x/bundle.tar.zst", archive)), "a path": tar_of(("./agent.json", plain)),
            "a link": tar_of(("agent.json", b"", link)), "a hard link": tar_of(("agent.json", plain), ("bundle.tar.zst", b"", hard)), "a pipe": tar_of(("agent.json", b"", fifo)),
            "no object": tar_of(("agent.json", b"[1]")), "large": tar_of(("agent.json", b" " * 70000)), "not text": tar_of(("agent.json", definition[:-1] + b"\xff}"), ("bundle.tar.zst", archive)),
            "zstd": subprocess.run(["gzip"], input=good, stdout=subprocess.PIPE, check=True).stdout}.items():
        path = os.path.join(folder, "hostile.tar")
        with open(path, "wb") as f:
            f.write(data)
        done = cli("agents", "import", path)
        assert done.returncode == 2 and "can't be imported" in done.stderr, (name, done)
    assert api.get("/v1/bundles").json()["bundles"] == [] and api.get("/v1/agents").json()["agents"] == []


def test_versions_and_rollback_by_the_cli(cli, api, source):
    first, = cli.json("agents", "push", source)
    write(source, {"lib/a.py": "a = 2\n"})
    cli.json("agents", "push", source)
    listed = cli("agents", "versions", "pushed").stdout.splitlines()
    assert listed[0].split() == ["VERSION", "EXECUTOR", "STORED", "BUNDLE"] and [line.split()[0] for line in listed[1:]] == ["2", "1"] and first["bundle"] in listed[2]
    assert cli("agents", "rollback", "pushed").stdout == "pushed version 3\n"
    assert api.get("/v1/agents/pushed").json()["definition"]["bundle"] == first["bundle"]
    assert cli("agents", "rollback", "pushed", "2").stdout == "pushed version 4\n"
    assert cli("agents", "rollback", "pushed", "99").returncode == 2 and "is no version" in cli("agents", "rollback", "pushed", "x").stderr
    assert cli("agents", "rollback", "nobody").returncode == 2
    assert "needs a NAME and a FILE" in cli("agents", "export", "pushed").stderr and "unexpected" in cli("agents", "show", "a", "b").stderr
