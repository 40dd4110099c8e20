"""Rigs of the executors whose agents are not on this machine: a strict remote agent, and a strict model. Nothing of theirs can be contained here, so their deeds are those of a stream; what is left of a run is its connection."""
import threading

from .anthropic_server import AnthropicServer
from .executors import Rig
from .remote_agent import RemoteAgent


class RemoteRig(Rig):
    status_elsewhere = False  # a call is known in its runner's process only

    def __init__(self, stack):
        super().__init__(stack)
        self.server, self.lock, self.connected = None, threading.Lock(), []

    def close(self):
        self.server.close()
        assert not self.server.errors, self.server.errors

    def environment(self):
        return {"ERRAND_EXECUTORS": self.name, "ERRAND_ALLOW_PRIVATE_ADDRESSES": "true"}

    def left(self, run_id):
        with self.lock:
            return [r for r in self.connected if r in (run_id, None)]

    def holding(self, run_id, script, *args):
        """Runs a script; while it does, the run has a connection."""
        with self.lock:
            self.connected.append(run_id)
        try:
            script(*args)
        finally:
            with self.lock:
                self.connected.remove(run_id)


class HttpRig(RemoteRig):
    name = "http"
    deeds = frozenset({"succeed", "tree", "sleep", "silent", "flood", "log"})

    def open(self):
        self.server = RemoteAgent()
        for deed in self.deeds:
            script = getattr(self, "do_" + deed)
            self.server.on("/" + deed)(lambda request, reply, script=script: self.holding(request.headers["x-errand-run-id"], script, request.json()["input"] or {}, reply))

    def close(self):
        super().close()
        assert not self.server.faults, self.server.faults

    def define(self, deed, **fields):
        if deed == "log":
            fields["eventSource"] = "remote"
        return self.server.definition("/" + deed, name="conform-" + deed, **fields)

    def spec(self, deed):
        return {"runId": "0" * 8 + "-conform", "attempt": 1, "url": self.server.url + "/" + deed, "input": {"input": {}}, "definition": {}}

    @staticmethod
    def do_succeed(given, reply):
        reply.head(type="text/event-stream").frame({"text": "hello"}, "assistant_text", 1)
        reply.frame({"status": "success", "result": {"n": given.get("n", 1)}}, "runtime_terminal", 2).end()

    @staticmethod
    def do_sleep(_, reply):
        reply.head().lines({"kind": "notification", "data": {"ready": True}})
        reply.client_left(100000)

    do_tree = do_sleep

    @staticmethod
    def do_silent(_, reply):
        reply.head()
        reply.client_left(100000)

    @staticmethod
    def do_flood(given, reply):
        reply.head()
        pad = "x" * given["size"]
        for i in range(given["n"]):
            reply.send('{"kind":"assistant_text","data":{"i":%d,"text":"%s"}}\n' % (i, pad))
        reply.lines({"kind": "runtime_terminal", "data": {"status": "success", "result": {"n": given["n"]}}}).end()

    @staticmethod
    def do_log(given, reply):
        reply.head(type="text/plain").send("".join(f"line {i}\n" for i in range(given["n"]))).end()


class AnthropicRig(RemoteRig):
    """A deed is a model's name; the model says no run's id, so a connection may be anybody's."""
    name = "anthropic"
    deeds = frozenset({"succeed", "sleep", "silent"})

    def open(self):
        self.server = AnthropicServer()
        self.server.scripts = [lambda answer, _: self.holding(None, getattr(self, "do_" + answer.body["model"]), answer)]

    def environment(self):
        return {**super().environment(), "ERRAND_ANTHROPIC_URL": self.server.url}

    def define(self, deed, **fields):
        return self.server.definition(name="conform-" + deed, model=deed, env=[{"key": "ANTHROPIC_API_KEY", "value": self.server.key}], **fields)

    def spec(self, deed):
        return {"runId": "0" * 8 + "-conform", "attempt": 1, "model": deed, "env": ["ANTHROPIC_API_KEY=" + self.server.key], "input": "Do it.", "definition": {}}

    def given(self, fields):
        return "Do it."

    def result(self, n):
        return {"text": "hello", "stopReason": "end_turn", "toolUses": [],
                "usage": {"input_tokens": 25, "output_tokens": 15, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3}}

    @staticmethod
    def do_succeed(answer):
        answer.start().text("hello").stop()

    @staticmethod
    def do_sleep(answer):
        answer.start().reply.client_left(100000)

    do_silent = do_sleep
