"""Rigs of the executors whose agents are not processes of the runner: containers (of Podman's service) and machines (of the stand-in for the Machines API)."""
import textwrap

import pytest

from . import podman_service
from .executors import DEEDS, CommandRig, Rig
from .fly_server import Fly
from .processes import of_run


class ContainerRig(CommandRig):
    name = "container"
    python = "python3"
    slow = 2.0
    dies_with_runner = False
    isolates, limits_can_go = True, False

    def skip(self):
        try:
            self.image = podman_service.ready_image()
        except pytest.skip.Exception as e:
            return str(e)
        return None

    def open(self):
        self.engine = podman_service.Engine(self.stack.folder, self.image)

    def close(self):
        for run_id in self.stack.run_ids:
            for found in self.engine.containers(run=run_id):
                self.engine.remove(found)
        self.engine.stop()

    def environment(self):
        return {"ERRAND_EXECUTORS": "container", "ERRAND_DOCKER_SOCKET": self.engine.socket, "ERRAND_IMAGES": self.image}

    def define(self, deed, **fields):
        return super().define(deed, **{"image": self.image, "eventSource": "stdout", "workdir": "/work", **fields})

    def left(self, run_id):
        return self.engine.containers(run=run_id) + of_run(run_id)

    def spec(self, deed):
        return {"runId": "0" * 8 + "-conform", "attempt": 1, "image": self.image, "command": self.define(deed)["command"], "env": [], "input": {"input": {}}, "definition": {}}


# As PRELUDE, for a runtime that posts its events: the job is its manifest.
REMOTE_PRELUDE = """
import ctypes, json, os, signal, sys, time, urllib.request
def ask(what, body=None):
    r = urllib.request.Request(f"{os.environ['ERRAND_API_BASE']}/v1/runs/{os.environ['ERRAND_RUN_ID']}/runner/{what}", json.dumps(body).encode() if body else None, {"Authorization": "Bearer " + os.environ["ERRAND_RUNNER_TOKEN"], "Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(r, timeout=10))
job = ask("manifest")
given, at = job.get("input") or {}, {"seq": job["nextSeq"], "tMs": job["lastTMs"]}
def say(kind, data):
    at["tMs"] = max(at["tMs"], int(time.time() * 1000))
    answer = ask("events", {"v": 1, "runId": os.environ["ERRAND_RUN_ID"], "events": [{**at, "kind": kind, "data": data}]})
    at.update(seq=answer["nextSeq"], tMs=answer["lastTMs"])
def end(status, **fields):
    say("runtime_terminal", {"status": status, **fields})
"""


class FlyRig(Rig):
    name = "fly"
    deeds = frozenset(("succeed", "fail", "crash", "sleep", "tree", "silent"))  # its memory, processors and walls are Fly's: the stand-in has none
    slow = 2.0
    dies_with_runner = False

    def open(self):
        self.fly = Fly()

    def close(self):
        self.fly.stop()
        assert not self.fly.faults, self.fly.faults

    def environment(self):
        return {"ERRAND_EXECUTORS": "fly", "ERRAND_IMAGES": "registry.example.com/*", "ERRAND_FLY_API_URL": self.fly.url, "ERRAND_FLY_APP": self.fly.app, "ERRAND_FLY_TOKEN": self.fly.token}

    def define(self, deed, **fields):
        text = REMOTE_PRELUDE + textwrap.dedent(DEEDS[deed])
        return {"name": "conform-" + deed, "executor": "fly", "image": "registry.example.com/agent:1", "command": ["/usr/bin/python3", "-c", text], **fields}

    def left(self, run_id):
        return [m.id for m in self.fly.of_run(run_id) if m.state != "destroyed"] + of_run(run_id)

    def spec(self, deed):
        return {"runId": "0" * 8 + "-conform", "attempt": 1, "remote": 1, "image": "registry.example.com/agent:1", "command": ["/bin/sleep", "1000"], "env": [], "input": {"input": {}}, "definition": {}}
