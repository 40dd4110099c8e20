"""The executor http: a strict remote agent on this machine, whose answers come in every form, break off, lie and never end."""
import gzip
import json
import secrets
import threading
import time
import urllib.request

import pytest

from harness.hooks import MASTER_KEY
from harness.remote_agent import RemoteAgent
from harness.wait import wait_until

ENV = {"ERRAND_EXECUTORS": "http", "ERRAND_ALLOW_PRIVATE_ADDRESSES": "true", "ERRAND_MASTER_KEY": MASTER_KEY}
OK = {"kind": "runtime_terminal", "data": {"status": "success", "result": {"n": 1}}}


def text(t):
    """The full stop: letters at the end may begin a secret, and would wait for what follows."""
    return {"kind": "assistant_text", "data": {"text": t + "."}}


@pytest.fixture
def node(stack):
    return stack.api(env={"ERRAND_MASTER_KEY": MASTER_KEY})


@pytest.fixture
def started(stack, node):
    """Starts the runner, with more of an environment."""
    def start(**env):
        return stack.runner(env={**ENV, **env}, api=node)
    return start


@pytest.fixture
def remote():
    made = RemoteAgent()
    yield made
    made.close()
    assert not made.faults and not made.errors, (made.faults, made.errors)


def events(node, run_id):
    return [json.loads(line) for line in node.replay(run_id).lines()]


def shown(node, run_id, *kinds):
    """(kind, data) of the events between the first and the last one."""
    return [(e["kind"], e["data"]) for e in events(node, run_id)[1:-1] if not kinds or e["kind"] in kinds]


def ran(node, remote, status="success", **fields):
    run = node.submit(remote.definition(**fields), {"q": 1})
    record = node.wait(run)
    assert record["status"] == status, record
    return run, record


def failed(record, error_class, *words):
    assert record["error"]["class"] == error_class, record["error"]
    for word in words:
        assert word in record["error"]["message"], record["error"]


# ---- what is sent, and what becomes of the answer ----

def test_lines_become_events(node, started, remote):
    started()
    seen = []

    @remote.on("/run")
    def run(request, reply):
        seen.append(request.json())
        reply.head().lines(text("a"), {"kind": "tool_request", "data": {"id": "1"}})
        reply.send('{"kind":"assistant_text","da').send('ta":{"text":"ü."}}\nno event\r\n{"kind":7}\n')
        reply.lines(OK, text("too late")).end()
    run_id, record = ran(node, remote, env=[{"key": "DEPTH", "value": "3"}])
    assert shown(node, run_id) == [("assistant_text", {"text": "a."}), ("tool_request", {"id": "1"}), ("assistant_text", {"text": "ü."}),
                                   ("notification", {"stream": "stdout", "text": "no event"}), ("notification", {"stream": "stdout", "text": '{"kind":7}'})]
    assert record["result"] == {"n": 1}
    assert seen == [{"runId": run_id, "attempt": 1, "agent": "remote-agent", "input": {"q": 1}, "lastSeq": 0, "env": {"DEPTH": "3"}}]
    assert record["attempts"][0]["handle"] == {"runId": run_id, "attempt": "1", "url": remote.url + "/run"}


def test_frames_become_events(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head(type="text/event-stream; charset=utf-8").send(": hello\n\n")
        reply.frame(text("a")).frame({"text": "b."}, event="assistant_text")
        reply.send('event: tool_request\r\ndata: {\r\ndata:  "id": "1"}\r\n\r\n')
        reply.frame({"x": 1}).frame("two\nlines").frame("words", event="note").frame({"status": "success", "result": 5}, event="runtime_terminal").frame(text("late")).end()
    run_id, record = ran(node, remote)
    assert shown(node, run_id) == [("assistant_text", {"text": "a."}), ("assistant_text", {"text": "b."}), ("tool_request", {"id": "1"}),
                                   ("notification", {"stream": "stdout", "text": '{"x":1}'}), ("notification", {"stream": "stdout", "text": "two"}),
                                   ("notification", {"stream": "stdout", "text": "lines"}), ("notification", {"event": "note", "text": "words"})]
    assert record["result"] == 5


def test_a_whole_answer_without_a_claim_is_success(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head().lines(text("a")).end()
    assert "result" not in ran(node, remote)[1]

    @remote.on("/length")
    def length(_, reply):
        reply.whole(200, json.dumps(text("a")), "application/x-ndjson")
    assert shown(node, ran(node, remote, path="/length")[0]) == [("assistant_text", {"text": "a."})]

    @remote.on("/open")
    def open_end(_, reply):  # closing the connection is its only end: who knows whether that was meant
        reply.head(chunked=False).lines(text("a"))
    failed(ran(node, remote, "error", path="/open")[1], "agent_error", "broke off", "without saying its length")

    @remote.on("/claimed")
    def claimed(_, reply):
        reply.head(chunked=False).lines(text("a"), OK)
    assert ran(node, remote, path="/claimed")[1]["result"] == {"n": 1}


def test_text_is_the_answer(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head(type="text/plain").send("grü").send(b"\xc3").send(b"\x9fe\n").end()
    assert ran(node, remote, protocol="text")[1]["result"] == "grüße\n"

    @remote.on("/frames")
    def frames(_, reply):
        reply.head(type="text/event-stream").frame("one ").frame("two\nthree").end()
    assert ran(node, remote, protocol="text", path="/frames")[1]["result"] == "one two\nthree"


def test_an_agents_own_error_counts(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head().lines({"kind": "runtime_terminal", "data": {"status": "error", "error": {"message": "no such repository"}, "noRetry": True}}).end()
    record = ran(node, remote, "error", maxAttempts=3)[1]
    failed(record, "agent_error", "no such repository")
    assert len(record["attempts"]) == 1 and len(remote.got) == 1


def test_a_secret_goes_in_one_place_only(node, started, remote):
    started()
    remote.token = secrets.token_urlsafe(24)
    other = secrets.token_urlsafe(24)
    for name, value in (("REMOTE", remote.token), ("OTHER", other)):
        assert node.request("PUT", f"/v1/secrets/{name}", {"value": value}).status in (200, 201)

    @remote.on("/run")
    def run(request, reply):
        assert other.encode() not in request.raw and remote.token.encode() not in request.raw
        assert request.json()["env"] == {"DEPTH": "9"}
        reply.head().lines(text("your token is " + remote.token), OK).end()
    env = [{"key": "HTTP_TOKEN", "secret": "REMOTE"}, {"key": "OTHER_TOKEN", "secret": "OTHER"}, {"key": "DEPTH", "value": "3"}]
    sources = [{"engine": "postgres", "name": "db", "fields": {"password": {"secret": "OTHER"}}}]
    run_id = node.submit(remote.definition(env=env, dataSources=sources), env={"DEPTH": "9"})
    assert node.wait(run_id)["status"] == "success"
    assert shown(node, run_id) == [("assistant_text", {"text": "your token is [SECRET:REMOTE]."})]


def test_a_token_that_no_header_can_have_is_refused(node, started, remote):
    started()
    record = ran(node, remote, "error", env=[{"key": "HTTP_TOKEN", "value": "a\r\nX-Evil: 1"}])[1]
    failed(record, "start_failed", "HTTP_TOKEN")
    assert remote.got == []


# ---- a remote that posts its events itself ----

def test_a_remote_may_post_its_events_itself(node, started, remote):
    started()

    @remote.on("/run")
    def run(request, reply):
        env, job = request.json()["env"], request.json()
        assert set(env) == {"ERRAND_API_BASE", "ERRAND_RUNNER_TOKEN"}

        def ask(path, body=None):
            data = None if body is None else json.dumps(body).encode()
            asked = urllib.request.Request(f"{env['ERRAND_API_BASE']}/v1/runs/{job['runId']}/runner/{path}", data, {"Authorization": "Bearer " + env["ERRAND_RUNNER_TOKEN"]})
            with urllib.request.urlopen(asked) as answer:
                return json.load(answer)
        reply.head(type="text/plain").send("a log line\n")
        seq = ask("manifest")["nextSeq"]
        for i, event in enumerate((text("posted"), OK)):
            ask("events", {"v": 1, "runId": job["runId"], "events": [{"seq": seq + i, "tMs": int(time.time() * 1000), **event}]})
        reply.end()
    run_id, record = ran(node, remote, eventSource="remote")
    assert shown(node, run_id) == [("assistant_text", {"text": "posted."})]
    assert record["result"] == {"n": 1}
    assert "a log line" in node.get(f"/v1/runs/{run_id}/logs").body.decode()


# ---- streams that break off ----

def cutting(remote, cuts, replay_from=None, ids=True):
    """Eight events, with ids from 1; cuts: behind which of them the connections break, one after the other, perhaps within the next event. A resumed one begins behind Last-Event-ID, or always at replay_from."""
    cuts = list(cuts)
    asked = []

    @remote.on("/run")
    def run(request, reply):
        last = request.headers.get("last-event-id")
        asked.append(last)
        first = int(last) + 1 if last else 1
        if last and replay_from is not None:
            first = replay_from
        stop = cuts.pop(0) if cuts else None
        reply.head(type="text/event-stream")
        for i in range(first, 9):
            reply.frame(text(str(i)) if i < 8 else OK, id=i if ids else None)
            if i == stop:
                reply.send("id: 99\ndata: {\"kind\":\"assi")
                reply.cut()
                return
        reply.end()
    return asked


@pytest.mark.parametrize("replay_from", [None, 1, 2])
def test_a_broken_stream_is_resumed_without_loss_or_doubles(node, started, remote, replay_from):
    started()
    asked = cutting(remote, [2, 2 if replay_from else 3, 5], replay_from)
    run_id, record = ran(node, remote)
    assert [d["text"] for _, d in shown(node, run_id, "assistant_text")] == [f"{i}." for i in range(1, 8)]
    assert record["result"] == {"n": 1} and len(record["attempts"]) == 1
    assert asked == [None, "2", "2" if replay_from else "3", "5"]
    assert [d["lastEventId"] for _, d in shown(node, run_id, "notification")] == asked[1:]


def test_a_stream_without_ids_is_not_resumed(node, started, remote):
    started()
    cutting(remote, [2], ids=False)
    failed(ran(node, remote, "error")[1], "agent_error", "broke off")
    assert len(remote.got) == 1


def test_an_end_within_an_event_is_none(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head(type="text/event-stream").frame(text("a")).send("data: " + json.dumps(OK) + "\n").end()
    failed(ran(node, remote, "error")[1], "agent_error", "within an event")


def test_broken_lines_are_not_resumed(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head().lines(text("a")).send('{"kind":"assistant_text"')
        reply.cut()
    run_id, record = ran(node, remote, "error")
    failed(record, "agent_error", "broke off")
    assert [d["text"] for _, d in shown(node, run_id, "assistant_text")] == ["a."]


def test_resuming_is_given_up(node, started, remote):
    started()
    cutting(remote, [2, 2, 2, 2, 2, 2, 2, 2, 2], replay_from=1)
    failed(ran(node, remote, "error")[1], "agent_error", "could not be resumed")
    assert len(remote.got) == 6


def test_nothing_more_is_an_end_too(node, started, remote):
    started()

    @remote.on("/run")
    def run(request, reply):
        if "last-event-id" in request.headers:
            reply.whole(204, type=None)
        else:
            reply.head(type="text/event-stream", chunked=False).frame(text("a"), id="x")
    run_id, record = ran(node, remote)
    assert [d["text"] for _, d in shown(node, run_id, "assistant_text")] == ["a."]


# ---- refusals ----

@pytest.mark.parametrize("status,headers,words", [
    (302, {"Location": "/other"}, ["302", "redirects"]), (401, {}, ["401", "who are you"]), (404, {}, ["404"]), (204, {}, ["204"])])
def test_a_refusal_is_not_tried_again(node, started, remote, status, headers, words):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.whole(status, b"" if status == 204 else b"who are\r\nyou? token=" + b"s3cr3t-value" * 3, "text/plain", **headers)
    record = ran(node, remote, "error", maxAttempts=3, backoff={"type": "fixed", "baseMs": 1, "capMs": 1})[1]
    failed(record, "start_failed", words[0])
    assert "s3cr3t" not in record["error"]["message"]
    assert len(remote.got) == 1


def test_a_busy_remote_says_when(node, started, remote):
    started()

    @remote.on("/run")
    def run(request, reply):
        if request.json()["attempt"] == 1:
            reply.whole(503, b"busy", Retry_After="1")
        else:
            reply.head().lines(OK).end()
    record = ran(node, remote, maxAttempts=2, backoff={"type": "fixed", "baseMs": 300000, "capMs": 300000})[1]
    assert [a["error"]["class"] for a in record["attempts"] if "error" in a] == ["start_failed"]
    assert len(record["attempts"]) == 2


def test_other_answers_are_none(node, started, remote):
    started()

    @remote.on("/html")
    def html(_, reply):
        reply.whole(200, "<html>sign in</html>", "text/html")
    failed(ran(node, remote, "error", path="/html")[1], "start_failed", "text/html", "application/x-ndjson")

    @remote.on("/gzip")
    def bomb(_, reply):
        reply.whole(200, gzip.compress(b"x" * (64 << 20)), "application/x-ndjson", Content_Encoding="gzip")
    failed(ran(node, remote, "error", path="/gzip")[1], "start_failed", "compressed")

    @remote.on("/head")
    def head(_, reply):
        reply.head(X_Long="y" * 60000)
    failed(ran(node, remote, "error", path="/head")[1], "start_failed", "too long")


def test_private_addresses_are_refused(node, started, remote):
    started(ERRAND_ALLOW_PRIVATE_ADDRESSES="false")
    record = ran(node, remote, "error", maxAttempts=2)[1]
    failed(record, "start_failed", "private address")
    assert len(record["attempts"]) == 1
    failed(ran(node, remote, "error", env=[{"key": "HTTP_TOKEN", "value": "t"}])[1], "start_failed", "https")
    assert remote.got == []


def test_nobody_there(node, started, remote):
    started()
    run_id = node.submit({"name": "x", "executor": "http", "url": "http://127.0.0.1:1/run?token=secret"})
    record = node.wait(run_id)
    failed(record, "start_failed", "could not be called")
    assert "secret" not in json.dumps(record["attempts"])


# ---- too much, too long, for ever ----

def test_a_flood_ends_with_the_limit(node, started, remote):
    started(ERRAND_RUN_EVENTS_MAX="500")
    left = []

    @remote.on("/run")
    def run(_, reply):
        reply.head()
        line = json.dumps(text("x" * 1000)) + "\n"
        try:
            while True:
                reply.send(line * 50)
        except OSError:
            left.append(True)
            raise ConnectionError
    failed(ran(node, remote, "error")[1], "event_limit")
    wait_until(lambda: left, 10, "the connection is closed")


def test_an_endless_frame_is_refused(node, started, remote):
    started()

    @remote.on("/run")
    def run(_, reply):
        reply.head(type="text/event-stream").send("data: ")
        for _ in range(64):
            reply.send(b"x" * 65536)
        reply.client_left()
    failed(ran(node, remote, "error")[1], "agent_error", "longer than any")


@pytest.mark.parametrize("how", ["stop", "timeout", "silent"])
def test_what_never_ends_is_left(node, started, remote, how):
    started(**({"ERRAND_REMOTE_IDLE_MS": "400"} if how == "silent" else {}))
    left, begun = threading.Event(), threading.Event()

    @remote.on("/run")
    def run(_, reply):
        reply.head().lines(text("a"))
        begun.set()
        if reply.client_left():
            left.set()
    run_id = node.submit(remote.definition(**({"timeoutMs": 600} if how == "timeout" else {})))
    assert begun.wait(10)
    if how == "stop":
        node.wait(run_id, "running")
        assert node.post(f"/v1/runs/{run_id}/stop").status in (200, 202)
    record = node.wait(run_id)
    assert left.wait(10), "the connection is still open"
    if how == "stop":
        assert record["status"] == "stopped"
    else:
        failed(record, "timeout", "Nothing came" if how == "silent" else "600 ms")


def test_a_remote_that_never_answers_is_left(node, started, remote):
    started(ERRAND_REMOTE_IDLE_MS="300")

    @remote.on("/run")
    def run(_, reply):
        reply.client_left()
    failed(ran(node, remote, "error")[1], "timeout", "could not be called")
