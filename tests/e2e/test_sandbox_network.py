"""Network "filtered": the only way out of such a sandbox is the runner's proxy, and that lets through what the definition lists."""
import http.server
import json
import socket
import textwrap
import threading

import pytest

from harness import sandboxed
from harness.sandboxed import look
from harness.wait import wait_until

# What the agents here have beside the prelude: a request through the proxy, said byte by byte, and all that is answered.
RAW = """\
def raw(text, *more, half=False):
    s = socket.create_connection(("127.0.0.1", 3128), timeout=10)
    s.sendall(text.encode() if isinstance(text, str) else text)
    for part in more:
        s.sendall(part if isinstance(part, bytes) else part.encode())
    if half:
        s.shutdown(socket.SHUT_WR)
    got = b""
    try:
        while True:
            part = s.recv(65536)
            if not part:
                break
            got += part
    except ConnectionResetError:
        got += b"(reset)"
    return got.decode("latin-1")
def status(*args, **kwargs):
    return raw(*args, **kwargs).split("\\r\\n")[0]
def body(answer):
    return answer.partition("\\r\\n\\r\\n")[2]
def tunnel(port, host="localhost"):
    s = socket.create_connection(("127.0.0.1", 3128), timeout=20)
    s.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n".encode())
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        part = s.recv(1)
        if not part:
            break
        head += part
    return s, head.decode()
port = (job["input"] or {}).get("port")
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, as it came."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, sorted((k.lower(), v) for k, v in self.headers.items()), self.rfile.read(length).decode("latin-1")))
        text = b"hello from the allowed host\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def host():
    """An HTTP server on loopback; `asked` is what came."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.asked, server.port = [], server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def runner(stack, api, can_sandbox):
    return sandboxed.runner(stack, api, sandbox_allow_private="true")


def agent(text, **fields):
    return sandboxed.python(RAW + textwrap.dedent(text), **fields)


def filtered(api, text, port, hosts, **fields):
    return look(api, RAW + textwrap.dedent(text), {"port": port}, network="filtered", allowHosts=hosts, **fields)


def test_an_allowed_host_is_reached_by_ordinary_clients(api, runner, host):
    """The variables that clients know lead to the proxy; the name is resolved by the runner, for the sandbox has no resolver."""
    got = filtered(api, """\
        import urllib.request
        end({"body": urllib.request.urlopen(f"http://localhost:{port}/a?b=1", timeout=20).read().decode(), "tunnel": tunnel(port)[1].split("\\r\\n")[0],
             "proxy": sorted(k for k, v in os.environ.items() if v == "http://127.0.0.1:3128")})
        """, host.port, [f"localhost:{host.port}"], env=[{"key": "HTTP_PROXY", "value": "http://192.0.2.1:1"}])
    assert got == {"body": "hello from the allowed host\n", "tunnel": "HTTP/1.1 200 Connection established", "proxy": ["HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy"]}
    assert host.asked[0][:2] == ("GET", "/a?b=1") and ("host", f"localhost:{host.port}") in host.asked[0][2] and ("connection", "close") in host.asked[0][2]


def test_there_is_no_way_around_the_proxy(api, runner, host):
    got = filtered(api, """\
        def connect(family, at):
            s = socket.socket(family)
            s.settimeout(3)
            return tried(s.connect, at)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end({"direct": connect(socket.AF_INET, ("127.0.0.1", port)), "out": connect(socket.AF_INET, ("192.0.2.1", 443)), "udp": tried(udp.sendto, b"x", ("192.0.2.1", 53)),
             "names": [n for _, n in socket.if_nameindex()], "raw": tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)})
        """, host.port, [f"localhost:{host.port}"])
    assert got == {"direct": "ECONNREFUSED", "out": "ENETUNREACH", "udp": "ENETUNREACH", "names": ["lo"], "raw": "EPERM"} and host.asked == []


def test_what_is_not_listed_is_refused_with_a_reason_that_the_agent_and_its_author_see(api, runner, host):
    run_id = api.submit(agent("""\
        ask = lambda to: raw(f"CONNECT {to} HTTP/1.1\\r\\n\\r\\n")
        end({to: [ask(to).split("\\r\\n")[0], body(ask(to))] for to in (f"127.0.0.1:{port}", "example.com:443", f"localhost:{port + 1}", "localhost:443", f"localhost.example.com:{port}", f"[::1]:{port}", f"2130706433:{port}")})
        """, network="filtered", allowHosts=[f"localhost:{host.port}", "*.example.com:8443"]), input={"port": host.port})
    record = api.wait(run_id)
    assert record["status"] == "success", record
    assert len(record["result"]) == 7
    for to, (line, text) in record["result"].items():
        assert line == "HTTP/1.1 403 Forbidden" and text == "errand: the host is not on the agent's allowlist\n", to
    said = b"".join(api.replay(run_id).lines()).decode()
    assert "errand: network: refused example.com:443: the host is not on the agent's allowlist" in said
    assert host.asked == []


def test_a_listed_name_at_a_private_address_leads_nowhere(stack, api, can_sandbox, host):
    """Whatever the list says: the address that would be connected to decides, unless the runner's option lets it."""
    sandboxed.runner(stack, api)
    got = filtered(api, """\
        end([raw(f"CONNECT {to}:{port} HTTP/1.1\\r\\n\\r\\n") for to in ("localhost", "127.0.0.1", "169.254.169.254", "10.0.0.1", "0x7f000001", "localhost.")])
        """, host.port, [f"{n}:{host.port}" for n in ("localhost", "127.0.0.1", "169.254.169.254", "10.0.0.1", "0x7f000001")])
    for answer in got:
        assert answer.startswith("HTTP/1.1 403 ") and answer.endswith("errand: the host is at a private address\n"), answer
    assert host.asked == []


def test_nothing_is_smuggled_behind_or_within_a_request(api, runner, host):
    """What a server sees is one request, to the host that was allowed, of the length that was said."""
    got = filtered(api, """\
        to = f"http://localhost:{port}"
        evil = "GET http://evil.example.com/ HTTP/1.1\\r\\nHost: evil.example.com\\r\\n\\r\\n"
        end({
            "other host": status(f"GET {to}/1 HTTP/1.1\\r\\nHost: evil.example.com\\r\\nProxy-Authorization: x\\r\\nConnection: keep-alive\\r\\nKeep-Alive: 5\\r\\n\\r\\n"),
            "pipelined": status(f"GET {to}/2 HTTP/1.1\\r\\n\\r\\n" + evil),
            "later": status(f"GET {to}/3 HTTP/1.1\\r\\n\\r\\n", evil),
            "behind a body": status(f"POST {to}/4 HTTP/1.1\\r\\nContent-Length: 4\\r\\n\\r\\n", "body", evil),
            "within a body": status(f"POST {to}/5 HTTP/1.1\\r\\nContent-Length: {len(evil)}\\r\\n\\r\\n" + evil),
            "chunked": status(f"POST {to}/6 HTTP/1.1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n" + evil),
            "both": status(f"POST {to}/7 HTTP/1.1\\r\\nContent-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n"),
            "two lengths": status(f"POST {to}/8 HTTP/1.1\\r\\nContent-Length: 4\\r\\nContent-Length: 5\\r\\n\\r\\nbody"),
            "signed length": status(f"POST {to}/9 HTTP/1.1\\r\\nContent-Length: +4\\r\\n\\r\\nbody"),
            "bare lf": status(f"GET {to}/10 HTTP/1.1\\nHost: x\\n\\n\\r\\n\\r\\n"),
            "lf in a header": status(f"GET {to}/11 HTTP/1.1\\r\\nA: b\\nGET /x HTTP/1.1\\r\\n\\r\\n"),
            "folded": status(f"GET {to}/12 HTTP/1.1\\r\\nA: b\\r\\n c\\r\\n\\r\\n"),
            "space before colon": status(f"GET {to}/13 HTTP/1.1\\r\\nContent-Length : 4\\r\\n\\r\\n"),
            "user info": status(f"GET http://localhost:{port}@evil.example.com/14 HTTP/1.1\\r\\n\\r\\n"),
            "no host": status("GET /15 HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"),
            "https": status("GET https://localhost/16 HTTP/1.1\\r\\n\\r\\n"),
            "garbage": status(b"\\x16\\x03\\x01\\x02\\x00" + b"\\r\\n\\r\\n"),
            "too large": status("GET http://localhost/ HTTP/1.1\\r\\nA: " + "a" * 20000 + "\\r\\n\\r\\n"),
        })
        """, host.port, [f"localhost:{host.port}"])
    good = ("other host", "pipelined", "later", "behind a body", "within a body")
    assert {k: v for k, v in got.items() if k in good} == {k: "HTTP/1.1 200 OK" for k in good}
    bad = {k: v.split(" ")[1] if v.startswith("HTTP/1.1 ") else v for k, v in got.items() if k not in good}
    assert all(v.startswith("4") for v in bad.values()) and bad["chunked"] == bad["both"] == "411", bad
    assert [(m, p) for m, p, _, _ in host.asked] == [("GET", "/1"), ("GET", "/2"), ("GET", "/3"), ("POST", "/4"), ("POST", "/5")]
    assert host.asked[3][3] == "body" and host.asked[4][3].startswith("GET http://evil")
    for _, _, headers, _ in host.asked:
        names = [k for k, _ in headers]
        assert ("host", f"localhost:{host.port}") in headers and names.count("host") == 1 and not {"proxy-authorization", "keep-alive"} & set(names)


def test_a_server_gets_the_bytes_of_one_request_and_no_more(api, runner):
    server, came = socket.create_server(("127.0.0.1", 0)), []

    def serve():
        while True:
            try:
                s, _ = server.accept()
            except OSError:
                return
            s.settimeout(0.5)
            got = b""
            try:
                while part := s.recv(65536):
                    got += part
            except TimeoutError:
                pass
            came.append(got)
            s.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            s.close()
    threading.Thread(target=serve, daemon=True).start()
    port = server.getsockname()[1]
    filtered(api, """\
        to = f"http://localhost:{port}"
        evil = "GET /evil HTTP/1.1\\r\\nHost: evil.example.com\\r\\n\\r\\n"
        end([status(f"POST {to}/a HTTP/1.1\\r\\nContent-Length: 4\\r\\n\\r\\nbody" + evil),
             status(f"POST {to}/b HTTP/1.1\\r\\nContent-Length: 4\\r\\n\\r\\n", "bo", "dy" + evil, evil), status(f"GET {to}/c HTTP/1.1\\r\\n\\r\\n", evil)])
        """, port, [f"localhost:{port}"])
    server.close()
    head = f"HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
    assert came == [f"POST /a {head}Content-Length: 4\r\n\r\nbody".encode(), f"POST /b {head}Content-Length: 4\r\n\r\nbody".encode(), f"GET /c {head}\r\n".encode()]


def test_a_tunnel_carries_both_ways_and_holds_back_what_is_not_taken(stack, api, runner):
    """20 MiB there and back through a server that reads slowly at first: whole, and the runner holds a few buffers of it, not all."""
    server = socket.create_server(("127.0.0.1", 0))
    go = threading.Event()

    def serve():
        s, _ = server.accept()
        go.wait(20)
        total = 0
        while total < 20 << 20:
            part = s.recv(1 << 16)
            total += len(part)
            s.sendall(part)
        s.shutdown(socket.SHUT_WR)
        s.close()
    threading.Thread(target=serve, daemon=True).start()
    network = {"network": "filtered", "allowHosts": [f"localhost:{server.getsockname()[1]}"]}
    first = api.submit(agent('say("notification", {})\nend({})', **network), input={"port": server.getsockname()[1]})
    assert api.wait(first, timeout=60)["status"] == "success"
    before = runner.process.private_kib()  # with all that a runner's first run makes
    run_id = api.submit(agent("""\
        import hashlib, threading
        s, head = tunnel(port)
        sent = hashlib.sha256()
        def write():
            for i in range(320):
                part = bytes([i % 251]) * 65536
                sent.update(part)
                s.sendall(part)
        t = threading.Thread(target=write)
        t.start()
        s.settimeout(1)
        say("notification", {"blocked": tried(s.recv, 1) == "timed out", "alive": t.is_alive()})
        s.settimeout(60)
        got = hashlib.sha256()
        while True:
            part = s.recv(65536)
            if not part:
                break
            got.update(part)
        t.join()
        end({"same": sent.hexdigest() == got.hexdigest()})
        """, **network), input={"port": server.getsockname()[1]})
    with api.stream(run_id) as stream:
        said = json.loads(stream.until("notification")[-1].data)["data"]
    assert said == {"blocked": True, "alive": True}
    assert runner.process.private_kib() - before < 8 << 10
    go.set()
    assert api.wait(run_id, timeout=60)["result"] == {"same": True}
    server.close()


def test_more_connections_than_the_bound_wait_their_turn(api, runner, host):
    got = filtered(api, """\
        held = [socket.create_connection(("127.0.0.1", 3128), timeout=20) for _ in range(64)]
        time.sleep(0.2)
        late = socket.create_connection(("127.0.0.1", 3128), timeout=20)
        late.sendall(f"GET http://localhost:{port}/late HTTP/1.1\\r\\n\\r\\n".encode())
        late.settimeout(0.5)
        waits = tried(late.recv, 1)
        for s in held[:10]:
            s.close()
        late.settimeout(20)
        end({"waits": waits, "then": late.recv(15).decode()})
        """, host.port, [f"localhost:{host.port}"])
    assert got == {"waits": "timed out", "then": "HTTP/1.1 200 OK"}


def test_a_run_that_ends_takes_its_connections_along(api, runner):
    server = socket.create_server(("127.0.0.1", 0))
    run_id = api.submit(agent("s, head = tunnel(port); say('notification', {'head': head}); time.sleep(1000)",
                                         network="filtered", allowHosts=[f"localhost:{server.getsockname()[1]}"], graceMs=100), input={"port": server.getsockname()[1]})
    ours, _ = server.accept()
    files = runner.process.open_files()
    with api.stream(run_id) as stream:
        stream.until("notification")
    api.post(f"/v1/runs/{run_id}/stop?wait=20")
    ours.settimeout(10)
    assert ours.recv(1) == b"", "cut"
    wait_until(lambda: runner.process.open_files() <= files - 5, what="its descriptors are closed")
    server.close()


def test_hosts_that_fail_are_told_from_hosts_that_are_refused(api, runner):
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    got = filtered(api, """\
        end([status(f"CONNECT {to} HTTP/1.1\\r\\n\\r\\n") for to in (f"localhost:{port}", "no-such-host.invalid:443")])
        """, port, [f"localhost:{port}", "no-such-host.invalid"])
    assert got == ["HTTP/1.1 502 Bad Gateway"] * 2
