"""Raw limits beside figures: the very calls that a node makes, sent to the same Redis by a program that does nothing else (limit.c).

What a node sends is looked at once (MONITOR), so a call has its true bytes whatever the scripts' arguments are; lua/gen.py tells which argument is which, so that a copy can be told apart from its original (a run's
id, an epoch, a seq).
"""
import hashlib
import json
import os
import re
import subprocess
import time
import uuid

from scripts import PLAIN, PREFIX, Client, Refused, gen, new_id, pack
from system import ROOT, USERS, Failed, Usage, end, spawn

ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
SCRIPT_COMMANDS = ("EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO")
LIMIT = []  # the program, once it is built


def build(folder):
    path = os.path.join(folder, "limit")
    subprocess.run(["gcc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-o", path, os.path.join(ROOT, "tests/bench/limit.c")], check=True)
    LIMIT.append(path)


def login():
    return {"PATH": os.environ["PATH"], **({"REDISCLI_AUTH": " ".join(USERS.login("operator"))} if USERS else {})}


def run(*words, seconds=60):
    p = spawn([LIMIT[0], *map(str, words)], login(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, why = p.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"limit {words[0]} took longer than {seconds} s")
    finally:
        end(p)
    if p.returncode != 0 or not out.strip():
        raise Failed(f"limit {' '.join(map(str, words))} ended with {p.returncode}: {why.strip()} {out.strip()}")
    return json.loads(out)


# ---- what nodes send ----


class Scripts:
    """The scripts' headers, by name, and the names that Redis knows them by."""

    def __init__(self):
        folder = os.path.join(ROOT, "lua")
        self.by_name, self.by_sha = {}, {}
        for file in sorted(os.listdir(folder)):
            if file.endswith(".lua"):
                script = gen.Script(os.path.join(folder, file))
                self.by_name[script.name] = script
                self.by_sha[hashlib.sha1(script.expand(os.path.join(folder, "include")).encode()).hexdigest()] = script.name

    def name_of(self, word):
        """Of a SHA-1, or of a function that is called errand_NAME_HEX."""
        function = re.fullmatch(r"errand_(\w+)_[0-9a-f]{16}", word)
        return function.group(1) if function else self.by_sha.get(word)


class Call:
    """A call of a script as a node made it, by the names of its arguments."""

    def __init__(self, scripts, words):
        self.script = scripts.by_name[scripts.name_of(words[1].decode())]
        keys = int(words[2])
        self.head, rest = words[:3 + keys], list(words[3 + keys:])
        self.values, self.tail = self.script.values(rest)  # the tail: a guard's arguments

    def words(self, **changes):
        return [*self.head, *self.script.words({**self.values, **changes}), *self.tail]

    def pack(self, **changes):
        return pack(*self.words(**changes))

    def copies(self, n, **changes):
        """So many with run ids of their own, packed."""
        mark = uuid.UUID(int=0x123456789abcdef).__str__()
        parts = self.pack(run=mark, **changes).split(mark.encode())
        return b"".join(new_id().encode().join(parts) for _ in range(n))

    def groups(self, n, size):
        """The same in groups: several calls as one command (lua/gen.py)."""
        mark = uuid.UUID(int=0x123456789abcdef).__str__()
        words = self.words(run=mark)
        head, rest = words[:len(self.head)], words[len(self.head):len(words) - len(self.tail)]
        parts = pack(head[0], head[1] + b"_n", 1, head[3], *([len(rest), *rest] * size)).split(mark.encode())
        return b"".join(b"".join(part + (new_id().encode() if i < len(parts) - 1 else b"") for i, part in enumerate(parts)) for _ in range(n // size))

    def rows(self, reply):
        """A table reply's rows by the names of the header; the first field of the reply."""
        if isinstance(reply, Refused) or reply[0] != b"ok":
            raise Failed(f"{self.script.name} answered {reply}")
        names = [name for name, _ in self.script.reply[0].columns]
        rows = [reply[1][i:i + len(names)] for i in range(0, len(reply[1]), len(names))] if self.script.reply[0].flat else reply[1]
        return [dict(zip(names, row)) for row in rows]


def words_of(line):
    """The words of a line of MONITOR, and whether a script sent it; None where it is no command."""
    found = re.match(rb"\+?\d+\.\d+ \[\d+ ([^\]]*)\] (.*)", line, re.S)
    if not found:
        return None, False
    words = [re.sub(rb"\\(x[0-9a-f]{2}|.)", lambda m: bytes([int(m.group(1)[1:], 16)]) if len(m.group(1)) == 3 else ESCAPES.get(m.group(1), m.group(1)), word, flags=re.S)
             for word in re.findall(rb'"((?:[^"\\]|\\.)*)"', found.group(2), re.S)]
    return words, found.group(1) == b"lua"


class Watch:
    """Commands that Redis gets while this is open: `with Watch(redis) as w: …`, then w.commands (word lists, without those from within scripts)."""

    def __init__(self, redis):
        self.redis, self.commands = redis, []

    def __enter__(self):

        self.client = Client(self.redis.path)
        if USERS:
            self.client.do("AUTH", *USERS.login("operator"))
        self.client.do("MONITOR")
        return self

    def __exit__(self, *what):
        mark = f"end-{time.monotonic_ns()}".encode()
        self.redis.do("ECHO", mark)
        while True:
            words, inside = words_of(self.client.file.readline())
            if words and words[-1] == mark:
                break
            if words and not inside:
                self.commands.append(words)
        self.client.close()

    def calls(self, scripts, name):
        """Those of one script."""
        return [Call(scripts, words) for words in self.commands if words[0].decode().upper() in SCRIPT_COMMANDS and scripts.name_of(words[1].decode()) == name]


# ---- limits ----


def calls(system, data, seconds=60, depth=0, answers=None):
    """Sends packed commands as fast as Redis takes them: {"perSecond", "wallUs", "redisUs" (of its thread), "scriptUs" (inside)} a call."""
    path = system.file(data, "calls")
    with Usage(system) as u:
        r = run("calls", system.redis.path, path, depth, *([answers] if answers else []), seconds=seconds)
    os.unlink(path)
    used = u.per(r["calls"])
    return {"perSecond": r["calls"] / r["seconds"], "wallUs": 1e6 * r["seconds"] / r["calls"], "redisUs": used["cpuUs"]["redis"], "scriptUs": used["scriptUs"], "calls": r["calls"]}


def redis_share(raws, use, n=1):
    """Processor time of Redis where scripts are called alone, and its part of what Redis took for the same through nodes: a ratio that a busy machine hardly changes. n: operations of a raw call."""
    alone = sorted(r["redisUs"] for r in raws)[len(raws) // 2] / n
    return {"rawRedisUs": round(alone, 2), "ofRedisCpu": round(alone / use["cpuUs"]["redis"], 3) if use["cpuUs"]["redis"] else None}


def plain_costs(system, n=3000):
    """What this machine's Redis takes, by its thread's processor time, for a script of 8 plain commands and for a SET of 300 bytes; and the script by Redis' own clock."""
    sha = system.redis.do("SCRIPT", "LOAD", PLAIN).decode()
    value = "x" * 300
    script = calls(system, b"".join(pack("EVALSHA", sha, 1, "raw:{0}:", new_id(), value, 1700000000000000 + i) for i in range(n)))
    sets = calls(system, b"".join(pack("SET", f"raw:{i}", value) for i in range(n)))
    system.redis.do("EVAL", "for _, k in ipairs(redis.call('KEYS', 'raw:*')) do redis.call('UNLINK', k) end", 0)
    return {"evalsha8Us": script["redisUs"], "evalsha8InsideUs": script["scriptUs"], "setUs": sets["redisUs"]}


__all__ = ["PREFIX", "Call", "Scripts", "Watch", "build", "calls", "plain_costs", "run"]
