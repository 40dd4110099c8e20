"""Hostile bytes against a real node: each gets its problem+json, or a closed connection, and nobody else notices."""
import json
import socket
import time

import pytest

from harness import agents
from harness.http_client import Connection, connect, encode, exchange, request, statuses
from harness.wait import wait_until

HELLO = agents.shell("echo hello", name="hello", protocol="text")
MIB = 1 << 20


def head(stack, extra="", method="POST", path="/v1/runs"):
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n{extra}\r\n".encode()


def problem(data):
    """The problem of the last answer in raw bytes."""
    assert data.startswith(b"HTTP/1.1 ")
    start = max(data.rfind(b"\r\n\r\nHTTP/1.1 ") + 4, 0) if b"\r\n\r\nHTTP/1.1 " in data else 0
    fields, _, body = data[start:].partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in fields.lower(), fields
    found = json.loads(body)
    assert set(found) >= {"type", "title", "status", "detail", "code", "instance"}
    assert found["status"] == int(fields[9:12]) and found["type"] == "https://errand.example/problems/" + found["code"]
    return found


def body_of(**fields):
    return {"agent": HELLO, **fields}


# ---- bytes that are no HTTP ----

RAW = [
    ("no HTTP at all", b"hello\r\n\r\n", 400, "bad_request"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
    ("bare LF", b"GET /healthz HTTP/1.1\nHost: x\n\n", 400, "bad_request"),
    ("no Host", b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad_request"),
    ("empty Host", b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_request"),
    ("two Hosts", b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_request"),
    ("folded line", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400, "bad_request"),
    ("space before a colon", b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_request"),
    ("NUL", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", 400, "bad_request"),
    ("HTTP/2.0", b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505, "http_version_not_supported"),
    ("differing lengths", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400, "bad_request"),
    ("equal lengths", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, "bad_request"),
    ("length with chunked", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
    ("a length of words", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n", 400, "bad_request"),
    ("a length beyond all", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, "body_too_large"),
    ("gzip", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_supported"),
    ("a long target", b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
    ("1 MiB of headers", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MIB + b"\r\n\r\n", 431, "headers_too_large"),
    ("1,000 headers", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 1000 + b"\r\n", 431, "headers_too_large"),
    ("a path above the root", b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
    ("another expectation", b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n{}", 417, "expectation_failed"),
]


@pytest.mark.parametrize("data, status, code", [r[1:] for r in RAW], ids=[r[0] for r in RAW])
def test_raw_bytes(api, data, status, code):
    answer = exchange(api.port, data)
    found = problem(answer)
    assert (found["status"], found["code"]) == (status, code)
    assert b"connection: close" in answer.lower()
    assert api.get("/v1/runs").status == 200


CHUNKS = [
    ("no size", b"\r\n", "bad_request"), ("no number", b"xyz\r\nhello\r\n0\r\n\r\n", "bad_request"), ("0x", b"0x5\r\nhello\r\n0\r\n\r\n", "bad_request"),
    ("bare LF", b"5\nhello\n0\n\n", "bad_request"), ("longer than it says", b"4\r\nhello\r\n0\r\n\r\n", "bad_request"), ("negative", b"-1\r\n", "bad_request"),
    ("huge", b"ffffffff\r\n", "body_too_large"), ("wraps", b"ffffffffffffffff1\r\n", "body_too_large"), ("a flood of extensions", b"5;" + b"a" * 100000, "bad_request"),
    ("a flood of trailers", b"0\r\n" + b"X: y\r\n" * 5000, "bad_request"),
]


@pytest.mark.parametrize("data, code", [c[1:] for c in CHUNKS], ids=[c[0] for c in CHUNKS])
def test_broken_chunks(stack, api, data, code):
    assert problem(exchange(api.port, head(stack, "Transfer-Encoding: chunked\r\n") + data))["code"] == code


def test_a_good_chunked_body(stack, api):
    text = json.dumps({"agent": HELLO, "delayMs": 100000}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(text[i:i + 7]), text[i:i + 7]) for i in range(0, len(text), 7)) + b"0\r\n\r\n"
    assert statuses(exchange(api.port, head(stack, "Transfer-Encoding: chunked\r\nConnection: close\r\n") + chunks)) == [202]


def test_a_body_that_is_cut_short_leaves_nothing_behind(stack, api):
    for half_close in (True, False):
        with Connection(api.port) as c:
            c.send(head(stack, "Content-Length: 5000\r\n") + b'{"agent":')
            if half_close:
                c.sock.shutdown(socket.SHUT_WR)
                c.read_to_end()
    assert api.get("/v1/runs").json()["runs"] == []


# ---- bodies ----

def test_bodies_over_the_bound(stack, api):
    big = exchange(api.port, head(stack, f"Content-Length: {2 * MIB}\r\n") + b"x" * (2 * MIB))
    assert problem(big)["code"] == "body_too_large"
    answer = api.post("/v1/runs", body_of(input="x" * (MIB + 1)))
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert api.post("/v1/runs", body_of(input="x" * (MIB - 2), delayMs=100000)).status == 202, "just the bound"


JSON = [
    ("empty", b"", "invalid_json"), ("cut short", b'{"agent":', "invalid_json"), ("no object", b"[]", "invalid_field"), ("a word", b"true", "invalid_field"), ("100,000 levels", b'{"agent":"a","input":' + b"[" * 100000 + b"]" * 100000 + b"}", "invalid_json"),
    ("100,000 objects", b'{"a":' * 100000, "invalid_json"), ("invalid UTF-8", b'{"agent":"\xff"}', "invalid_json"), ("a byte order mark", b"\xef\xbb\xbf{}", "invalid_json"),
    ("a lone surrogate", b'{"agent":"\\ud800"}', "invalid_json"), ("a number too large", b'{"agent":"a","input":1e999}', "invalid_json"), ("single quotes", b"{'agent':'a'}", "invalid_json"),
    ("trailing garbage", b'{"agent":"a"} x', "invalid_json"), ("a comma too many", b'{"agent":"a",}', "invalid_json"), ("NUL", b'{"agent":"a\0"}', "invalid_json"), ("129 levels", b'{"agent":"a","input":' + b"[" * 128 + b"]" * 128 + b"}", "invalid_json"),
]


@pytest.mark.parametrize("data, code", [j[1:] for j in JSON], ids=[j[0] for j in JSON])
def test_bodies_that_are_no_json(api, data, code):
    answer = api.post("/v1/runs", data)
    assert answer.status == 400 and answer.headers["content-type"] == "application/problem+json"
    assert answer.code == code
    assert api.get("/v1/runs").json()["runs"] == []


FIELDS = [
    ({}, "missing_field", "agent"), ({"agent": 7}, "invalid_field", "agent"), ({"agent": ""}, "invalid_field", "agent"), ({"agent": "a b"}, "invalid_field", "agent"), ({"agent": "../x"}, "invalid_field", "agent"),
    ({"agent": "x" * 200}, "invalid_field", "agent"), (body_of(colour="red"), "unknown_field", "colour"), (body_of(priority="urgent"), "invalid_field", "priority"), (body_of(priority=1), "invalid_field", "priority"),
    (body_of(delayMs=-1), "invalid_field", "delayMs"), (body_of(delayMs="5"), "invalid_field", "delayMs"), (body_of(delayMs=1.5), "invalid_field", "delayMs"), (body_of(delayMs=10**18), "invalid_field", "delayMs"),
    (body_of(scheduledAt="noon"), "invalid_field", "scheduledAt"), (body_of(scheduledAt="2026-13-01T00:00:00Z"), "invalid_field", "scheduledAt"), (body_of(delayMs=1, scheduledAt="2030-01-01T00:00:00Z"), "invalid_field", ""),
    (body_of(timeoutMs=0), "invalid_field", "timeoutMs"), (body_of(timeoutMs=None), "invalid_field", "timeoutMs"), (body_of(maxAttempts=0), "invalid_field", "maxAttempts"), (body_of(maxAttempts=101), "invalid_field", "maxAttempts"),
    (body_of(env={"A B": "x"}), "invalid_field", "env"), (body_of(env={"1A": "x"}), "invalid_field", "env"), (body_of(env={"A": 1}), "invalid_field", "env"), (body_of(env=[]), "invalid_field", "env"),
    (body_of(env={f"V{i}": "x" for i in range(65)}), "invalid_field", "env"), (body_of(env={"A": "x" * 40000}), "invalid_field", "env"), (body_of(env={"A": "x\0y"}), "invalid_field", "env"), (body_of(env={"ERRAND_RUN_ID": "x"}), "invalid_field", "env"),
    (body_of(labels={"a": 1}), "invalid_field", "labels"), (body_of(labels={f"l{i}": "x" for i in range(65)}), "invalid_field", "labels"), (body_of(labels={"a": "x" * 300}), "invalid_field", "labels"),
    (body_of(queue="a/b"), "invalid_field", "queue"), (body_of(parentRunId="x"), "invalid_field", "parentRunId"), (body_of(parentRunId="00000000-0000-4000-8000-000000000000"), "run_not_found", ""),
    ({"agent": {"name": "a"}}, "missing_field", ""), ({"agent": {**HELLO, "command": []}}, "invalid_field", "command"), ({"agent": {**HELLO, "command": "ls"}}, "invalid_field", "command"),
    ({"agent": {**HELLO, "command": ["a", 1]}}, "invalid_field", "command"), ({"agent": {**HELLO, "command": ["a\0b"]}}, "invalid_field", "command"), ({"agent": {**HELLO, "executor": "magic"}}, "invalid_field", "executor"),
    ({"agent": {**HELLO, "protocol": "xml"}}, "invalid_field", "protocol"), ({"agent": {**HELLO, "eventSource": "tape"}}, "invalid_field", "eventSource"), ({"agent": {**HELLO, "colour": 1}}, "unknown_field", "colour"),
    ({"agent": {**HELLO, "backoff": {"type": "linear"}}}, "invalid_field", "backoff"), ({"agent": {**HELLO, "backoff": {"x": 1}}}, "unknown_field", "x"), ({"agent": {**HELLO, "env": [{"key": "A"}]}}, "invalid_field", "value"),
    ({"agent": {**HELLO, "env": [{"key": "A", "value": "x", "hidden": "y"}]}}, "unknown_field", "hidden"), ({"agent": {**HELLO, "graceMs": -1}}, "invalid_field", "graceMs"), ({"agent": {**HELLO, "atMostOnce": "yes"}}, "invalid_field", "atMostOnce"),
    ({"agent": {**HELLO, "name": "x y"}}, "invalid_field", "name"), ({"agent": {**HELLO, "stdin": "sometimes"}}, "invalid_field", "stdin"), ({"agent": {**HELLO, "workdir": 7}}, "invalid_field", "workdir"),
]


@pytest.mark.parametrize("body, code, names", FIELDS, ids=[f"{i}-{f[2] or f[1]}" for i, f in enumerate(FIELDS)])
def test_fields(api, body, code, names):
    answer = api.post("/v1/runs", body)
    assert 400 <= answer.status < 500 and answer.headers["content-type"] == "application/problem+json", answer
    assert answer.code == code and names in answer.json()["detail"], answer
    assert api.get("/v1/runs").json()["runs"] == []


def test_a_repeated_field(api):
    answer = api.post("/v1/runs", b'{"agent":"a","agent":"b"}')
    assert (answer.status, answer.code) == (400, "invalid_field") and "twice" in answer.json()["detail"]


# ---- methods and paths ----

@pytest.mark.parametrize("method, path, status, code", [
    ("GET", "/nothing", 404, "not_found"), ("GET", "/v1", 404, "not_found"), ("GET", "/v1/runs/", 404, "not_found"), ("GET", "/v1/runs/x", 404, "run_not_found"), ("GET", "/v1/runs/%2e%2e", 400, "bad_request"),
    ("BREW", "/v1/runs", 405, "method_not_allowed"), ("PATCH", "/v1/runs", 405, "method_not_allowed"), ("DELETE", "/v1/runs", 405, "method_not_allowed"), ("TRACE", "/v1/runs", 405, "method_not_allowed"),
    ("POST", "/healthz", 405, "method_not_allowed"), ("GET", "/v1/runs/" + "a" * 5000, 404, "run_not_found"), ("GET", "/v1/runs/ffffffff-ffff-4fff-8fff-ffffffffffff", 404, "run_not_found"), ("GET", "/V1/RUNS", 404, "not_found"),
    ("GET", "//v1/runs", 404, "not_found"), ("GET", "/v1/runs?limit=%00", 400, "invalid_parameter"), ("GET", "/v1/runs?limit=%zz", 400, "invalid_parameter"), ("GET", "/v1/runs?limit=x", 400, "invalid_parameter"),
    ("GET", "/v1/runs?colour=1", 400, "invalid_parameter"), ("GET", "/v1/runs?limit%20cursor=1", 400, "invalid_parameter"), ("GET", "/v1/runs?=1", 400, "invalid_parameter"), ("GET", "/v1/runs?" + "limit=5&" * 900 + "colour", 400, "invalid_parameter"), ("get", "/v1/runs", 405, "method_not_allowed"), ("GET", "example.com:80", 400, "bad_request"), ("GET", "http://x/v1/nothing", 404, "not_found"),
])
def test_methods_and_paths(api, method, path, status, code):
    answer = api.request(method, path)
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["content-type"] == "application/problem+json"


def test_it_answers_before_it_asks_for_credentials_only_what_anyone_may_know(api):
    """Without a key: health, the description; everything else is a 401, whether it is there or not."""
    for path in ("/v1/runs", "/v1/runs/00000000-0000-4000-8000-000000000000", "/v1/agents", "/v1/runners", "/v1/queues"):
        assert request(api.port, "GET", path).status == 401, path
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert request(api.port, "GET", path).status == 200, path


# ---- many ----

def test_half_open_requests_disturb_nobody(stack, api):
    """200 connections stop in the middle of a head or a body, at different bytes; others are answered as ever."""
    data = head(stack, "Content-Length: 400\r\n") + b'{"agent": "x", '
    held = []
    for i in range(200):
        sock = connect(api.port)
        sock.sendall(data[:1 + i * (len(data) - 1) // 200])
        held.append(sock)
    wait_until(lambda: api.metric("errand_http_connections") >= 200, 10)
    began = time.monotonic()
    for _ in range(50):
        assert api.get("/v1/runs").status == 200
    assert time.monotonic() - began < 5
    run_id = api.submit(HELLO, delayMs=100000)
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"
    for sock in held:
        sock.close()
    wait_until(lambda: api.metric("errand_http_connections") < 10, 10)


def test_a_head_that_never_ends_gets_408(stack, api):
    """The head's time is bounded as a whole, however it trickles."""
    with Connection(api.port, timeout=20) as c:
        c.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        answer = c.read_response()
    assert answer.status == 408 and answer.code == "request_timeout"


def test_byte_by_byte(stack, api):
    data = encode("GET", "/v1/runs", headers={"Authorization": f"Bearer {stack.key}"})
    with Connection(api.port) as c:
        for i in range(len(data)):
            c.send(data[i:i + 1])
        assert c.read_response().status == 200


def test_a_client_that_ends_its_side_gets_its_whole_answer(api):
    """However large: the description is larger than what one turn of a small window takes."""
    whole = request(api.port, "GET", "/openapi.json").body
    answer = exchange(api.port, encode("GET", "/openapi.json"), half_close=True)
    assert statuses(answer) == [200] and answer.endswith(whole)


@pytest.mark.parametrize("connection", ["", "Connection: close\r\n", "Connection: keep-alive\r\n"], ids=["nothing", "close", "keep-alive"])
def test_a_stream_for_http_1_0_is_not_chunked(stack, api, connection):
    """As proxies ask for it: chunks are not known there, the end of the connection is the end."""
    run_id = api.submit(HELLO, delayMs=100000)
    assert api.post(f"/v1/runs/{run_id}/stop").json()["status"] == "stopped"
    data = head(stack, connection, "GET", f"/v1/runs/{run_id}/stream").replace(b"HTTP/1.1", b"HTTP/1.0")
    fields, _, body = exchange(api.port, data).partition(b"\r\n\r\n")
    assert fields.startswith(b"HTTP/1.1 200 ") and b"transfer-encoding" not in fields.lower()
    assert b"\r\n" not in body and b"event: runtime_terminal\n" in body and body.endswith(b"\n\n")


def test_expect_100(stack, api):
    body = json.dumps({"agent": HELLO, "delayMs": 100000}).encode()
    with Connection(api.port) as c:
        c.send(head(stack, f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n"))
        assert c.read_head()[0] == 100
        c.send(body)
        assert c.read_response().status == 202
    with Connection(api.port) as c:
        c.send(b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        assert c.read_head()[0] == 401, "refused before the body was asked for"
