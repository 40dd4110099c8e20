"""The executor anthropic: against a server that is as strict as the published Messages API, and fails as it fails."""
import json
import os
import threading

import pytest

from harness.anthropic_server import AnthropicServer
from harness.hooks import MASTER_KEY

USAGE = {"input_tokens": 25, "output_tokens": 15, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3}


@pytest.fixture
def server():
    made = AnthropicServer()
    yield made
    made.close()
    assert not made.errors, made.errors


@pytest.fixture
def started(stack, server):
    """Starts a node and a runner that find the model there; the key is a secret of the workspace. Afterwards it is nowhere."""
    api = stack.api(env={"ERRAND_MASTER_KEY": MASTER_KEY})
    assert api.request("PUT", "/v1/secrets/ANTHROPIC", {"value": server.key}).status in (200, 201)

    def start(**env):
        stack.runner(api=api, env={"ERRAND_EXECUTORS": "anthropic", "ERRAND_ALLOW_PRIVATE_ADDRESSES": "true", "ERRAND_ANTHROPIC_URL": server.url, "ERRAND_MASTER_KEY": MASTER_KEY, **env})
        return api
    yield start
    for folder, _, files in os.walk(stack.folder):
        for name in filter(lambda n: os.path.isfile(os.path.join(folder, n)), files):
            with open(os.path.join(folder, name), "rb") as f:
                assert server.key.encode() not in f.read(), name


def shown(node, run_id, *kinds):
    events = [json.loads(line) for line in node.replay(run_id).lines()]
    return [(e["kind"], e["data"]) for e in events[1:-1] if not kinds or e["kind"] in kinds]


def ran(node, definition, input="Say hello.", status="success", **fields):
    run = node.submit(definition, input, **fields)
    record = node.wait(run)
    assert record["status"] == status, record
    return run, record


def failed(record, error_class, *words):
    assert record["error"]["class"] == error_class, record["error"]
    for word in words:
        assert word in record["error"]["message"], record["error"]


# ---- answers ----

def test_text_becomes_events_and_the_result(server, started):
    node = started()
    run_id, record = ran(node, server.definition(system="Be brief."))
    assert record["result"] == {"text": "Hello world.", "stopReason": "end_turn", "usage": USAGE, "toolUses": []}
    events = shown(node, run_id)
    assert "".join(d["text"] for k, d in events if k == "assistant_text") == "Hello world."
    notes = [d for k, d in events if k == "notification"]
    assert notes[0]["type"] == "message_start" and notes[0]["model"] == "claude-test-1"
    assert notes[1:] == [{"type": "usage", **USAGE}]
    assert server.bodies == [{"model": "claude-test-1", "stream": True, "max_tokens": 4096, "messages": [{"role": "user", "content": "Say hello."}], "system": "Be brief."}]
    assert record["attempts"][0]["handle"] == {"runId": run_id, "attempt": "1", "model": "claude-test-1"}


def test_thinking_and_tools(server, started):
    node = started()
    server.scripts = [lambda answer, _: answer.start().thinking("Let me", " see.").text("I look.").tool("toolu_1", "get_weather", '{"city": "Pa', 'ris",\n "n": [1.50]}').tool("toolu_2", "now")
                      .block({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}, {"type": "input_json_delta", "partial_json": '{"query":"x"}'})
                      .block({"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result", "title": "T"}]})
                      .block({"type": "redacted_thinking", "data": "abc"}).event("new_event", x=1).stop("tool_use")]
    run_id, record = ran(node, server.definition())
    calls = [{"id": "toolu_1", "name": "get_weather", "input": {"city": "Paris", "n": [1.5]}}, {"id": "toolu_2", "name": "now", "input": {}}]
    assert record["result"] == {"text": "I look.", "stopReason": "tool_use", "usage": USAGE, "toolUses": calls}
    events = shown(node, run_id)
    assert [d for k, d in events if k == "tool_request"] == calls + [{"id": "srv_1", "name": "web_search", "input": {"query": "x"}, "server": True}]
    assert [d for k, d in events if k == "tool_response"] == [{"id": "srv_1", "content": [{"type": "web_search_result", "title": "T"}]}]
    notes = [d for k, d in events if k == "notification"][1:]
    assert notes[:3] == [{"type": "thinking", "text": "Let me"}, {"type": "thinking", "text": " see."}, {"type": "thinking_signature", "signature": "sig"}]
    assert {"type": "redacted_thinking", "block": {"type": "redacted_thinking", "data": "abc"}} in notes
    assert {"type": "new_event", "event": {"type": "new_event", "x": 1}} in notes


def test_a_conversation_and_settings_are_passed_on(server, started):
    node = started()
    settings = {"max_tokens": 3000, "temperature": 0.5, "top_p": 1, "top_k": 7, "stop_sequences": ["END"], "thinking": {"type": "enabled", "budget_tokens": 2000},
                "tools": [{"name": "now", "description": "the time", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"}, "metadata": {"user_id": "u1"}, "service_tier": "auto"}
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "now", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "noon"}]}]
    definition = server.definition(model="anthropic/claude-test-1", llmSettings={"perModel": {"anthropic/claude-test-1": settings, "anthropic/other": {"max_tokens": 1}}})
    ran(node, definition, {"messages": messages})
    ran(node, definition, {"prompt": "Hi"})
    assert server.bodies[0] == {"model": "claude-test-1", "stream": True, **settings, "messages": messages}
    assert server.bodies[1]["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_cut_tool_call_is_shown_as_it_is(server, started):
    node = started()
    server.scripts = [lambda answer, _: answer.start().tool("toolu_1", "write", '{"text": "so far').stop("max_tokens")]
    assert ran(node, server.definition())[1]["result"]["toolUses"] == [{"id": "toolu_1", "name": "write", "partialInput": '{"text": "so far'}]


def test_a_long_answer_is_in_the_events(server, started):
    node = started()
    piece = "0123456789abcde\n" * 4096
    server.scripts = [lambda answer, _: answer.start().text(*[piece] * 20).stop()]
    run_id, record = ran(node, server.definition())
    assert record["result"] == {"textTruncated": True, "stopReason": "end_turn", "usage": USAGE, "toolUses": []}
    assert "".join(d["text"] for _, d in shown(node, run_id, "assistant_text")) == piece * 20


def test_a_tool_call_over_every_bound_is_an_error(server, started):
    node = started()
    server.scripts = [lambda answer, _: answer.start().tool("toolu_1", "write", '{"text": "', *["x" * 65536] * 6, '"}').stop()]
    failed(ran(node, server.definition(), status="error")[1], "agent_error", "longer than an event")


# ---- what can't be asked ----

@pytest.mark.parametrize("definition,input,words", [
    ({"env": []}, "x", ["ANTHROPIC_API_KEY"]),
    ({"env": [{"key": "ANTHROPIC_API_KEY", "value": "a b"}]}, "x", ["ANTHROPIC_API_KEY"]),
    ({"llmSettings": {"perModel": {"anthropic/claude-test-1": {"max_token": 7}}}}, "x", ["max_token", "max_tokens"]),
    ({"llmSettings": {"perModel": {"anthropic/claude-test-1": {"temperature": 2}}}}, "x", ["temperature", "from 0 to 1"]),
    ({"llmSettings": {"perModel": {"anthropic/claude-test-1": {"tools": {}}}}}, "x", ["tools", "an array"]),
    ({}, None, ["input"]), ({}, "", ["input"]), ({}, {"prompt": "x", "messages": []}, ["input"]), ({}, {"question": "x"}, ["input"]),
    ({}, {"messages": [{"role": "assistant", "content": "x"}]}, ["input.messages"]), ({}, {"messages": [{"role": "user", "content": "x", "name": "y"}]}, ["input.messages"])])
def test_what_can_t_be_asked_is_said(server, started, definition, input, words):
    node = started()
    record = ran(node, server.definition(**definition, maxAttempts=3), input, "error")[1]
    failed(record, "start_failed", *words)
    assert len(record["attempts"]) == 1 and server.got == []


@pytest.mark.parametrize("fields", [{"protocol": "text"}, {"eventSource": "remote"}])
def test_a_definition_that_can_t_be_is_refused(server, started, fields):
    answer = started().post("/v1/runs", {"agent": server.definition(**fields)})
    assert answer.status == 400 and "anthropic goes with" in answer.body.decode(), answer


def test_a_key_goes_nowhere_without_tls(server, started):
    node = started(ERRAND_ALLOW_PRIVATE_ADDRESSES="false", ERRAND_ANTHROPIC_URL="https://api.example.com")
    failed(ran(node, server.definition(url=server.url), status="error")[1], "start_failed", "https")
    failed(ran(node, server.definition(url=server.url.replace("http", "https")), status="error")[1], "start_failed", "private address")
    assert server.got == []


@pytest.mark.parametrize("fields,status,words", [
    ({"model": "claude-nowhere"}, 404, ["404 not_found_error: model: claude-nowhere", "(request req_01"]),
    ({"env": [{"key": "ANTHROPIC_API_KEY", "value": "wrong"}]}, 401, ["401 authentication_error: invalid x-api-key"]),
    ({"llmSettings": {"perModel": {"anthropic/claude-test-1": {"metadata": {"x": 1}}}}}, 400, ["400 invalid_request_error: metadata"])])
def test_a_refusal_is_not_tried_again(server, started, fields, status, words):
    node = started()
    record = ran(node, server.definition(maxAttempts=3, **fields), status="error")[1]
    failed(record, "start_failed", *words)
    assert len(record["attempts"]) == 1 and len(server.got) == 1


# ---- what passes ----

def refusing(status, type, **headers):
    return lambda answer, _: AnthropicServer.refuse(answer.reply, status, type, "Busy", **headers)


def good(answer, _):
    answer.start().text("Hello.").stop()


@pytest.mark.parametrize("first", [refusing(529, "overloaded_error"), refusing(500, "api_error"), refusing(429, "rate_limit_error", Retry_After="1"),
                                   lambda answer, _: answer.start().ping().error("overloaded_error", "Overloaded"), lambda answer, _: answer.start().reply.cut(),
                                   lambda answer, _: answer.reply.cut()],
                         ids=["529", "500", "429", "in the stream", "cut in the stream", "cut"])
def test_an_overload_is_tried_again_within_the_attempt(server, started, first):
    node = started()
    server.scripts = [first, good]
    run_id, record = ran(node, server.definition())
    assert record["result"]["text"] == "Hello." and len(record["attempts"]) == 1
    notes = [d for _, d in shown(node, run_id, "notification") if d["type"] == "retry"]
    assert len(notes) == 1 and notes[0]["tries"] == 1 and notes[0]["afterMs"] >= (1000 if "429" in notes[0]["reason"] else 250)
    assert [d["text"] for _, d in shown(node, run_id, "assistant_text")] == ["Hello."]


def test_a_long_wait_is_another_attempts(server, started):
    node = started()
    server.scripts = [refusing(429, "rate_limit_error", Retry_After="3600")]
    record = ran(node, server.definition(), status="error")[1]
    failed(record, "agent_error", "429 rate_limit_error: Busy")
    assert len(server.got) == 1


@pytest.mark.parametrize("how", ["error", "cut"])
def test_after_output_began_it_is_an_attempts_error(server, started, how):
    node = started()

    def breaks(answer, _):
        answer.start().event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        answer.event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Half."})
        if how == "cut":
            answer.reply.cut()
        else:
            answer.error("overloaded_error", "Overloaded")
    server.scripts = [breaks, good]
    run_id, record = ran(node, server.definition(maxAttempts=2, backoff={"type": "fixed", "baseMs": 1, "capMs": 1}))
    assert len(record["attempts"]) == 2 and len(server.got) == 2
    assert record["attempts"][0]["error"]["class"] == "agent_error"
    assert [d["text"] for _, d in shown(node, run_id, "assistant_text")] == ["Half.", "Hello."]
    assert "broke off" in str(shown(node, run_id, "stream_error")) or "overloaded_error" in str(shown(node, run_id, "stream_error"))


def test_other_streams_are_none(server, started):
    node = started()
    server.scripts = [lambda answer, _: answer.reply.head(type="text/event-stream").send("data: no json\n\n")]
    failed(ran(node, server.definition(), status="error")[1], "agent_error", "no JSON")
    server.scripts = [lambda answer, _: answer.reply.whole(200, "<html>", "text/html")]
    failed(ran(node, server.definition(), status="error")[1], "start_failed", "text/event-stream")


@pytest.mark.parametrize("how", ["stop", "timeout", "silent"])
def test_a_stream_that_never_ends_is_left(server, started, how):
    node = started(**({"ERRAND_REMOTE_IDLE_MS": "300"} if how == "silent" else {}))
    left, begun = threading.Event(), threading.Event()

    def slow(answer, _):
        answer.start().event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        answer.event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Half."})
        begun.set()
        if answer.reply.client_left():
            left.set()
    server.scripts = [slow]
    run_id = node.submit(server.definition(**({"timeoutMs": 600} if how == "timeout" else {})), "x")
    assert begun.wait(10)
    if how == "stop":
        node.wait(run_id, "running")
        assert node.post(f"/v1/runs/{run_id}/stop").status in (200, 202)
    record = node.wait(run_id)
    assert left.wait(10), "the connection is still open"
    if how == "stop":
        assert record["status"] == "stopped"
    else:
        failed(record, "timeout" if how == "timeout" else "agent_error")
