"""`errand artifacts` and `errand bundles` from outside: what is stored, fetched whole or not at all, and through answers that are lost."""
import hashlib
import http.server
import json
import os
import random
import signal
import stat
import threading
import urllib.error
import urllib.request

import pytest

from harness.wait import wait_until
from test_cli import Cli, NOBODY

PART = 1 << 20
UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture
def alone(folder):
    return Cli(folder, NOBODY)


@pytest.fixture
def cli(stack, api, folder):
    return Cli(stack.folder, api.url, stack.key)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def noise(length, seed=7):
    return random.Random(seed).randbytes(length)


def bytes_file(cli, name, data):
    path = os.path.join(cli.folder, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def content(path):
    with open(path, "rb") as f:
        return f.read()


class Between:
    """A server between the CLI and a node, with a say in each answer: on(method, path, count) gives None (as it is), "lost" (the node got the request, the CLI no answer), "cut" (half of the body), or "other" (one byte of it changed)."""

    def __init__(self, url, on):
        counts, seen = {}, []
        self.seen = seen

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                key = (self.command, self.path)
                counts[key] = counts.get(key, 0) + 1
                seen.append(key)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {k: v for k, v in self.headers.items() if k.lower() in ("authorization", "content-type")}
                try:
                    reply = urllib.request.urlopen(urllib.request.Request(url + self.path, body if self.command != "GET" else None, headers, method=self.command), timeout=30)
                except urllib.error.HTTPError as error:
                    reply = error
                data, what = reply.read(), on(self.command, self.path, counts[key])
                self.close_connection = what is not None
                if what == "lost":
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    if name.lower() in ("content-type", "etag"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:len(data) // 2] if what == "cut" else data[:-1] + bytes([data[-1] ^ 1]) if what == "other" else data)

            do_GET = do_PUT = do_DELETE = do_POST = answer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# ---- without a node ----

@pytest.mark.parametrize("args, part", [
    (["artifacts", "gt", "x"], "did you mean get"), (["artifacts", "get"], "get needs a NAME"), (["artifacts", "put"], "put needs a FILE"), (["artifacts", "get", "a", "b", "c"], "unexpected 'c'"),
    (["artifacts", "list", "x"], "unexpected 'x'"), (["artifacts", "put", "-"], "give one with --name"), (["artifacts", "get", "x", "-", "--json"], "can't both stand"),
    (["artifacts", "get", "../x"], "is no file's name"), (["artifacts", "put", "/nonexistent"], "can't be read"), (["artifacts", "get", "x", "--name", "y"], "--name is for put"),
    (["artifacts", "put", "x", "--type", "a/b\r\nX-Evil: 1"], "--type takes a media type"), (["artifacts", "get", "x", "/dev/null"], "is no file"), (["artifacts", "get", "x", "/nonexistent/x"], "can't be written"),
    (["bundles", "show"], "show needs a DIGEST"), (["bundles", "delete", "sha256:xyz"], "is no digest of a bundle"), (["bundles", "lst"], "did you mean list"), (["bundles", "list", "x"], "unexpected 'x'"),
])
def test_usage_is_2_and_says_what(alone, args, part):
    done = alone(*args)
    assert done.returncode == 2 and part in done.stderr and done.stdout == "", done
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("args", [["artifacts"], ["artifacts", "get", "x"], ["artifacts", "delete", "x"], ["bundles"], ["bundles", "show", UNKNOWN]])
def test_unreachable_is_4(alone, args):
    before = os.listdir(alone.folder)
    done = alone(*args)
    assert done.returncode == 4 and NOBODY in done.stderr and "ERRAND_URL" in done.stderr and done.stdout == ""
    assert os.listdir(alone.folder) == before


def test_help(alone):
    for name in ("artifacts", "bundles"):
        own = alone(name, "--help")
        assert own.returncode == 0 and own.stdout.startswith(f"usage: errand {name} ") and f"errand {name}" in own.stdout.split("Example", 1)[1]


# ---- against one ----

@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART + 17])
def test_what_is_put_is_got(cli, api, size):
    data = noise(size)
    path = bytes_file(cli, "data.bin", data)
    stored, = cli.json("artifacts", "put", path, "--type", "text/x-noise")
    assert {k: stored[k] for k in ("kind", "name", "bytes", "digest", "contentType")} == {
        "kind": "artifacts", "name": "data.bin", "bytes": size, "digest": digest_of(data), "contentType": "text/x-noise"}
    os.umask(mask := os.umask(0))
    got, = cli.json("artifacts", "get", "data.bin", "copy.bin")
    assert got == {"name": "data.bin", "file": "copy.bin", "bytes": size, "digest": digest_of(data)}
    copy = os.path.join(cli.folder, "copy.bin")
    assert content(copy) == data and stat.S_IMODE(os.stat(copy).st_mode) == 0o666 & ~mask
    assert [n for n in os.listdir(cli.folder) if n.startswith("copy.bin")] == ["copy.bin"]


def test_the_commands_for_people(cli, api):
    text = "a: 1\n"
    done = cli("artifacts", "put", "-", "--name", "plan ä.yaml", "--kind", "workflows", input=text)
    assert done.returncode == 0 and done.stdout == f"plan ä.yaml  5 bytes  {digest_of(text.encode())}\n", done
    assert cli("artifacts", "get", "plan ä.yaml", "-", "--kind", "workflows").stdout == text
    assert cli("artifacts", "get", "plan ä.yaml", "--kind", "workflows").returncode == 0, "into a file of that name"
    assert content(os.path.join(cli.folder, "plan ä.yaml")) == text.encode()
    listed = cli("artifacts", "list", "--kind", "workflows")
    assert "plan ä.yaml" in listed.stdout and "NAME" in listed.stdout and cli("artifacts").stdout.split() == ["NAME", "BYTES", "TYPE", "STORED"]
    refused = cli("artifacts", "get", "plan ä.yaml", "other")
    assert refused.returncode == 2 and "storage_not_found" in refused.stderr and not os.path.exists(os.path.join(cli.folder, "other"))
    assert cli("artifacts", "list", "--kind", "things").returncode == 2
    assert cli("artifacts", "delete", "plan ä.yaml", "--kind", "workflows").stdout == "plan ä.yaml deleted\n"
    again = cli("artifacts", "delete", "plan ä.yaml", "--kind", "workflows", "--json")
    assert again.returncode == 2 and "storage_not_found" in again.stderr and again.stdout == ""


def test_a_list_goes_over_its_pages(cli, api):
    names = {f"n{i:03}" for i in range(230)}
    for name in names:
        assert api.request("PUT", f"/v1/artifacts/{name}?kind=vectors", b"x").status == 201
    listed = cli.json("artifacts", "list", "--kind", "vectors")
    assert {e["name"] for e in listed} == names and all(e["bytes"] == 1 for e in listed)


def test_a_narrowed_or_poor_key_is_refused(cli, stack, api):
    assert cli("artifacts", "put", bytes_file(cli, "x", b"1")).returncode == 0
    key = api.post("/v1/keys", {"name": "reader", "scopes": ["storage:read"]}).json()["key"]
    env = {"ERRAND_KEY": key}
    assert cli("artifacts", "get", "x", "-", env=env).stdout == "1"
    for args in (["artifacts", "put", os.path.join(cli.folder, "x")], ["artifacts", "delete", "x"], ["bundles"]):
        done = cli(*args, env=env)
        assert done.returncode == 4 and "forbidden" in done.stderr, done


# ---- through answers that are lost ----

def test_an_upload_goes_on_where_answers_are_lost(cli, api):
    """The first answer to each request never comes: parts that were sent twice count once, and the end, sent twice, is no failure."""
    data = noise(3 * PART + 5)
    path = bytes_file(cli, "big", data)
    with Between(api.url, lambda method, _, count: "lost" if method == "PUT" and count == 1 else None) as between:
        done = cli("artifacts", "put", path, env={"ERRAND_URL": between.url})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"big  {len(data)} bytes  {digest_of(data)}\n"
    puts = [p for m, p in between.seen if m == "PUT"]
    assert len(puts) == 10 and len(set(puts)) == 5, "4 parts and the end, each twice"
    assert api.get("/v1/artifacts/big").body == data


def test_a_download_that_is_cut_begins_again(cli, api):
    data = noise(2 * PART)
    assert cli("artifacts", "put", bytes_file(cli, "big", data)).returncode == 0
    with Between(api.url, lambda method, _, count: "cut" if count < 3 else None) as between:
        done = cli("artifacts", "get", "big", "copy", env={"ERRAND_URL": between.url})
    assert done.returncode == 0 and len(between.seen) == 3 and content(os.path.join(cli.folder, "copy")) == data, done


@pytest.mark.parametrize("what, part", [("cut", "the download was cut"), ("other", "another digest"), ("lost", "no node answers")])
def test_never_half_a_file_nor_another_one(cli, api, what, part):
    data = noise(PART + 9)
    assert cli("artifacts", "put", bytes_file(cli, "big", data)).returncode == 0
    bytes_file(cli, "copy", b"what was there")
    with Between(api.url, lambda *_: what) as between:
        done = cli("artifacts", "get", "big", "copy", env={"ERRAND_URL": between.url})
    assert done.returncode == 4 and part in done.stderr and done.stdout == "", done
    assert content(os.path.join(cli.folder, "copy")) == b"what was there"
    assert [n for n in os.listdir(cli.folder) if n.startswith("copy")] == ["copy"]


def test_ctrl_c_leaves_nothing(cli, api):
    assert cli("artifacts", "put", bytes_file(cli, "big", noise(PART))).returncode == 0
    asked, go_on = threading.Event(), threading.Event()

    def hold(*_):
        asked.set()
        go_on.wait(30)

    with Between(api.url, hold) as between:
        process = cli.start("artifacts", "get", "big", "copy", env={"ERRAND_URL": between.url})
        assert asked.wait(30)
        wait_until(lambda: any(n.startswith("copy.") for n in os.listdir(cli.folder)), what="a temporary file")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130, process.stderr.read()
        go_on.set()
    assert not [n for n in os.listdir(cli.folder) if n.startswith("copy")]


# ---- bundles ----

def test_bundles(cli, api):
    folder = os.path.join(cli.folder, "source")
    os.mkdir(folder)
    for name, text in (("agent.json", json.dumps({"name": "pushed", "command": ["/bin/sh", "main.sh"]})), ("main.sh", "echo hello\n")):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    pushed, = cli.json("agents", "push", folder)
    digest = pushed["bundle"]
    listed, = cli.json("bundles")
    assert listed["digest"] == digest and listed["complete"] and listed["inUse"]
    assert digest in (table := cli("bundles", "list").stdout) and "in use" in table
    for word in (digest, digest[7:]):
        shown, = cli.json("bundles", "show", word)
        assert shown["digest"] == digest and shown["bytes"] == pushed["bytes"]
    refused = cli("bundles", "delete", digest)
    assert refused.returncode == 2 and "bundle_in_use" in refused.stderr
    assert cli("agents", "delete", "pushed").returncode == 0
    assert cli("bundles", "delete", digest).stdout == f"{digest} deleted\n" and cli.json("bundles") == []
    assert cli("bundles", "show", digest).returncode == 2
