"""A remote agent for the executor `http`, strict about what it is sent: what is not as the docs have it is a fault, and answered with 400."""
import re

from .stream_server import StreamServer

FIELDS = {"runId": str, "attempt": int, "agent": str, "lastSeq": int, "env": dict}
MORE = {"input", "dependencies", "llmSettings"}


class RemoteAgent(StreamServer):
    """`on(path)(fn)`: fn(request, reply) answers what is posted there. `token`: the bearer that it wants, or None for none at all."""

    def __init__(self, token=None):
        self.scripts, self.faults, self.token = {}, [], token
        super().__init__()

    def on(self, path):
        def keep(fn):
            self.scripts[path] = fn
            return fn
        return keep

    def definition(self, path="/run", **fields):
        return {"name": fields.pop("name", "remote-agent"), "executor": "http", "url": self.url + path, **fields}

    def answer(self, request, reply):
        before = len(self.faults)
        self.check(request)
        if len(self.faults) > before:
            reply.whole(400, "; ".join(self.faults[before:]), "text/plain")
        else:
            self.scripts[request.path](request, reply)

    def check(self, request):
        def want(what, holds):
            if not holds:
                self.faults.append(what)
        h = request.headers
        want("the method is POST", request.method == "POST")
        want("the path is known", request.path in self.scripts)
        want("the content is JSON", h.get("content-type") == "application/json")
        want("nothing is to be compressed", h.get("accept-encoding") == "identity")
        want("streams are accepted", "text/event-stream" in h.get("accept", ""))
        want("the token is right", h.get("authorization") == (f"Bearer {self.token}" if self.token else None))
        want("no cookies", "cookie" not in h)
        try:
            job = request.json()
        except ValueError:
            self.faults.append("the body is JSON")
            return
        for name, kind in FIELDS.items():
            want(f"{name} is a {kind.__name__}", type(job.get(name)) is kind)
        want("there are no other fields", set(job) - set(FIELDS) <= MORE and "input" in job)
        want("the run's id is one", re.fullmatch(r"[0-9a-f-]{36}|[0-9a-zA-Z_-]{16,64}", str(job.get("runId"))))
        want("Idempotency-Key is run and attempt", h.get("idempotency-key") == f"{job.get('runId')}:{job.get('attempt')}")
        want("X-Errand-Run-Id is the run", h.get("x-errand-run-id") == job.get("runId"))
        want("X-Errand-Attempt is the attempt", h.get("x-errand-attempt") == str(job.get("attempt")))
        want("env has texts only", all(isinstance(v, str) for v in job.get("env", {}).values()))
        want("nothing of the runner is in env", not {"PATH", "HOME", "TMPDIR", "HTTP_TOKEN"} & set(job.get("env", {})))
