"""The Messages API as it is published, for the executor `anthropic`: strict about requests (unknown fields, types, roles, limits are refused as it refuses them), exact in its streams."""
import json
import secrets

from .stream_server import StreamServer

NUMBER = (int, float)
# field: (types, required, check)
FIELDS = {
    "model": (str, True, lambda v: 0 < len(v) <= 256),
    "messages": (list, True, lambda v: 0 < len(v) <= 100000),
    "max_tokens": (int, True, lambda v: v >= 1),
    "metadata": (dict, False, lambda v: set(v) <= {"user_id"}),
    "service_tier": (str, False, lambda v: v in ("auto", "standard_only")),
    "stop_sequences": (list, False, lambda v: all(isinstance(s, str) and s.strip() for s in v)),
    "stream": (bool, False, lambda v: True),
    "system": ((str, list), False, lambda v: True),
    "temperature": (NUMBER, False, lambda v: 0 <= v <= 1),
    "thinking": (dict, False, lambda v: v.get("type") in ("enabled", "disabled") and (v["type"] == "disabled" or v.get("budget_tokens", 0) >= 1024)),
    "tool_choice": (dict, False, lambda v: v.get("type") in ("auto", "any", "tool", "none") and (v["type"] != "tool" or isinstance(v.get("name"), str))),
    "tools": (list, False, lambda v: all(isinstance(t, dict) and isinstance(t.get("name"), str) and 0 < len(t["name"]) <= 128 and isinstance(t.get("input_schema"), dict) for t in v)),
    "top_k": (int, False, lambda v: v >= 0),
    "top_p": (NUMBER, False, lambda v: 0 <= v <= 1),
}
BLOCKS = {"text": {"text"}, "image": {"source"}, "document": {"source"}, "tool_use": {"id", "name", "input"}, "tool_result": {"tool_use_id"}, "thinking": {"thinking", "signature"},
          "redacted_thinking": {"data"}}


def fault_of(body):
    """What is wrong with a request's body, in the words of the API; None for nothing."""
    if not isinstance(body, dict):
        return "Input should be a valid dictionary"
    for name, (types, required, check) in FIELDS.items():
        if name not in body:
            if required:
                return f"{name}: Field required"
            continue
        value = body[name]
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            return f"{name}: Input should be a valid {types}"
        if not check(value):
            return f"{name}: Input is out of range"
    for name in body:
        if name not in FIELDS:
            return f"{name}: Extra inputs are not permitted"
    if body.get("thinking", {}).get("type") == "enabled" and body["thinking"]["budget_tokens"] >= body["max_tokens"]:
        return "`max_tokens` must be greater than `thinking.budget_tokens`"
    for i, message in enumerate(body["messages"]):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return f"messages.{i}: Extra inputs are not permitted, or fields are missing"
        if message["role"] != ("user", "assistant")[i % 2]:
            return "messages: roles must alternate between \"user\" and \"assistant\""
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, list) or not content:
            return f"messages.{i}.content: Input should be a valid list"
        for block in content:
            if not isinstance(block, dict) or block.get("type") not in BLOCKS or not BLOCKS[block["type"]] <= set(block):
                return f"messages.{i}.content: Input tag is none of the expected tags"
            if block["type"] == "text" and not block["text"]:
                return "messages: text content blocks must be non-empty"
    return None


class Answer:
    """A stream in the published form."""

    def __init__(self, reply, body, usage):
        self.reply, self.body, self.usage, self.index = reply, body, usage, -1

    def event(self, type, **fields):
        self.reply.send(f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n")
        return self

    def start(self):
        self.reply.head(type="text/event-stream; charset=utf-8", Cache_Control="no-cache", request_id=self.usage["request"])
        return self.event("message_start", message={"id": "msg_01" + secrets.token_hex(10), "type": "message", "role": "assistant", "model": self.body["model"], "content": [],
                                                    "stop_reason": None, "stop_sequence": None,
                                                    "usage": {"input_tokens": 25, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3, "output_tokens": 1}})

    def ping(self):
        return self.event("ping")

    def block(self, start, *deltas):
        self.index += 1
        self.event("content_block_start", index=self.index, content_block=start)
        for delta in deltas:
            self.event("content_block_delta", index=self.index, delta=delta)
        return self.event("content_block_stop", index=self.index)

    def text(self, *pieces):
        return self.block({"type": "text", "text": ""}, *({"type": "text_delta", "text": p} for p in pieces))

    def thinking(self, *pieces, signature="sig"):
        return self.block({"type": "thinking", "thinking": "", "signature": ""}, *({"type": "thinking_delta", "thinking": p} for p in pieces), {"type": "signature_delta", "signature": signature})

    def tool(self, id, name, *pieces):
        return self.block({"type": "tool_use", "id": id, "name": name, "input": {}}, {"type": "input_json_delta", "partial_json": ""},
                          *({"type": "input_json_delta", "partial_json": p} for p in pieces))

    def stop(self, reason="end_turn", output=15):
        self.event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": output})
        self.event("message_stop")
        self.reply.end()

    def error(self, type, message):
        self.event("error", error={"type": type, "message": message})


class AnthropicServer(StreamServer):
    """`scripts`: for each request that is well-formed the next function of (Answer, request); the last one stays. `bodies`: what was asked."""

    def __init__(self):
        self.key, self.bodies = "sk-ant-api03-" + secrets.token_urlsafe(40), []
        self.scripts = [lambda answer, request: answer.start().ping().text("Hello", " world.").stop()]
        super().__init__()

    def definition(self, **fields):
        return {"name": fields.pop("name", "model"), "executor": "anthropic", "model": "claude-test-1", "env": [{"key": "ANTHROPIC_API_KEY", "secret": "ANTHROPIC"}], **fields}

    @staticmethod
    def refuse(reply, status, type, message, **headers):
        id = "req_01" + secrets.token_hex(8)
        reply.whole(status, json.dumps({"type": "error", "error": {"type": type, "message": message}, "request_id": id}), request_id=id, **headers)

    def answer(self, request, reply):
        h = request.headers
        if request.method != "POST" or request.path != "/v1/messages":
            return self.refuse(reply, 404, "not_found_error", "Not found")
        if h.get("x-api-key") != self.key or "authorization" in h:
            return self.refuse(reply, 401, "authentication_error", "invalid x-api-key")
        if h.get("anthropic-version") != "2023-06-01":
            return self.refuse(reply, 400, "invalid_request_error", "anthropic-version: header is required")
        if h.get("content-type") != "application/json":
            return self.refuse(reply, 400, "invalid_request_error", "content-type must be application/json")
        try:
            body = json.loads(request.raw)
        except ValueError:
            return self.refuse(reply, 400, "invalid_request_error", "The request body is not valid JSON")
        fault = fault_of(body)
        if fault is None and body["model"] == "claude-nowhere":
            return self.refuse(reply, 404, "not_found_error", "model: claude-nowhere")
        if fault is None and (body.get("stream") is not True or h.get("accept-encoding") != "identity"):
            fault = "this server streams only, and compresses nothing"
        if fault is not None:
            return self.refuse(reply, 400, "invalid_request_error", fault)
        self.bodies.append(body)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return script(Answer(reply, body, {"request": "req_01" + secrets.token_hex(8)}), request)
