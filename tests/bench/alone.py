"""A run's whole life by its scripts alone: what a real no-op run sends is looked at once, and copied for runs of their own under a runner that is none, each script pipelined by itself."""
import os
import uuid

import limits
from scripts import Client, pack
from system import USERS, Failed

QUEUE = "alone"
CLAIM = 64  # runs of a claim, at most: a claim's cost is shared by so many
HOUR = 3600000


class Alone:
    """`lives(n)` takes n runs through submit, claim, and what else a no-op run sends. Made beside a System with one runner that serves `default` and executes `noop`."""

    def __init__(self, system, add_runner):
        self.system, self.scripts = system, limits.Scripts()
        with limits.Watch(system.redis) as w:
            add_runner()
        registered = w.calls(self.scripts, "register")[0]
        system.call("PUT", "/v1/agents/noop", {"executor": "noop"})
        system.get(f"/v1/runs/{system.call('POST', '/v1/runs', {'agent': 'noop'})['runId']}?wait=10")
        with limits.Watch(system.redis) as w:
            run = system.call("POST", "/v1/runs", {"agent": "noop", "input": {"n": 1}})["runId"]
            system.get(f"/v1/runs/{run}?wait=10")
        self.submit = w.calls(self.scripts, "submit")[0]
        self.claim = w.calls(self.scripts, "claim")[0]
        self.inc = registered.values["inc"]
        seen = [words for words in w.commands if any(run.encode() in word for word in words) and words[0].decode().upper() not in ("HGETALL", "HMGET", "SUBSCRIBE", "UNSUBSCRIBE", "XRANGE")]
        self.later = [words for words in seen if self.name(words) not in ("submit", "claim", "show")]
        self.run = run.encode()
        self.epoch = system.redis.do("XRANGE", f"{limits.PREFIX}run:{run}:events", "-", "+", "COUNT", 1)[0][0].split(b"-")[0]  # of its first entry
        self.own = str(uuid.uuid4()).encode()
        self.claims = 0
        self.register(registered)

    def name(self, words):
        """Of a command: its script, or the command."""
        command = words[0].decode()
        return self.scripts.name_of(words[1].decode()) if command.upper() in limits.SCRIPT_COMMANDS else command.lower()

    def register(self, registered):
        """The runner that is none: alive for an hour, with somebody at its control channel."""
        fields = list(registered.values["fields"])
        for i in range(0, len(fields), 2):
            if fields[i] == b"queues":
                fields[i + 1] = QUEUE.encode()
            elif fields[i] in (b"name", b"node"):
                fields[i + 1] = b"alone"
        self.channel = Client(self.system.redis.path)
        if USERS:
            self.channel.do("AUTH", *USERS.login("operator"))
        self.channel.do("SUBSCRIBE", f"{limits.PREFIX}ctl:{self.own.decode()}")
        self.all([registered.words(inc=self.own, fields=fields, lease_ms=HOUR)])

    def all(self, commands):
        for reply in self.system.redis.client.many([pack(*words) for words in commands]):
            if isinstance(reply, Exception) or reply[0] != b"ok":
                raise Failed(f"Redis answered {reply}")

    def close(self):
        self.channel.close()

    def submits(self, n):
        return self.submit.copies(n, queue=QUEUE)

    def claim_words(self, most):
        self.claims += 1
        return self.claim.words(inc=self.own, claim_no=self.claims, max=most, queues=[QUEUE])

    def claimed(self, n, most=CLAIM, depth=0):
        """Claims n runs, `most` a call: cost a run, and [(run, epoch)]."""
        answers = os.path.join(self.system.dir, "answers")
        cost = limits.calls(self.system, b"".join(pack(*self.claim_words(most)) for _ in range((n + most - 1) // most)), answers=answers, depth=depth)
        with open(answers, "rb") as f:
            read = Client.read
            reader = type("Answers", (), {"file": f, "read": lambda self: read(self)})()
            rows = [(row["run"], row["epoch"]) for _ in range(cost["calls"]) for row in self.claim.rows(reader.read())]
        os.unlink(answers)
        if len(rows) != n:
            raise Failed(f"{len(rows)} of {n} runs were claimed")
        share = cost["calls"] / n
        return {**cost, "perSecond": cost["perSecond"] / share, **{name: cost[name] * share for name in ("wallUs", "redisUs", "scriptUs")}}, rows

    def copies(self, words, rows):
        """A command of the run that was looked at, once for each of others."""
        runs, epochs, own = b"\0run\0", b"\0epoch\0", b"\0inc\0"
        text = [word.replace(self.run, runs).replace(self.epoch, epochs).replace(self.inc, own) for word in words]
        return b"".join(pack(*(word.replace(runs, run).replace(epochs, epoch if isinstance(epoch, bytes) else str(epoch).encode()).replace(own, self.own) for word in text)) for run, epoch in rows)

    def lives(self, n, most=CLAIM, depth=0):
        """{step: cost of a run}, of n runs from submit to their end. depth 1: one call after the other."""
        n -= n % most
        out = {"submit": limits.calls(self.system, self.submits(n), depth=depth)}
        out["claim"], rows = self.claimed(n, most, depth)
        for words in self.later:
            name = self.name(words)
            if name in out:
                name += f"-{len(out)}"
            out[name] = limits.calls(self.system, self.copies(words, rows), depth=depth)
        return out


