"""Agents for tests: real programs with their own pids. Each function gives an inline definition."""
import os
import stat
import textwrap


def process(command, **fields):
    """A definition of the executor `process`."""
    return {"name": fields.pop("name", "test-agent"), "executor": "process", "command": command, **fields}


def shell(text, **fields):
    """A POSIX shell agent."""
    return process(["/bin/sh", "-c", text], **fields)


def python(folder, text, file="agent", **fields):
    """A Python agent, written into the test's folder. `job` is its stdin line, `say(kind, data)` prints an event, `end(status, **fields)` claims its end."""
    path = os.path.join(folder, f"{file}.py")
    prelude = """\
        import json, os, signal, subprocess, sys, time
        job = json.loads(sys.stdin.readline())
        def say(kind, data):
            sys.stdout.write(json.dumps({"kind": kind, "data": data}) + "\\n")
            sys.stdout.flush()
        def end(status, **fields):
            say("runtime_terminal", {"status": status, **fields})
        """
    with open(path, "w", encoding="utf-8") as f:
        f.write(textwrap.dedent(prelude) + textwrap.dedent(text))
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return process(["/usr/bin/python3", path], name=fields.pop("name", file), **fields)


def worker(folder, text, file="worker", base="process", prepare="", **fields):
    """A warm worker of the executor `pool`, in Python: `text` is what it does for each `job` (the line it was given); `env` is the job's environment. `prepare`: before it is ready.
    Fields of `pool` (min, max, idleMs, maxRuns) are taken from `pool`."""
    path = os.path.join(folder, f"{file}.py")
    prelude = """\
        import json, os, signal, subprocess, sys, threading, time
        def say(kind, data):
            sys.stdout.write(json.dumps({"kind": kind, "data": data}) + "\\n")
            sys.stdout.flush()
        def end(status="success", **fields):
            say("runtime_terminal", {"status": status, **fields})
        def work(job, env, input):
        """
    body = textwrap.indent(textwrap.dedent(text), "    ")
    tail = """\
        while True:
            say("notification", {"type": "worker_ready"})
            line = sys.stdin.readline()
            if not line:
                break
            job = json.loads(line)
            os.makedirs(job["workDir"], exist_ok=True)
            work(job, job["env"], job["input"])
        """
    with open(path, "w", encoding="utf-8") as f:
        f.write(textwrap.dedent(prelude) + body + "\n" + textwrap.dedent(prepare) + "\n" + textwrap.dedent(tail))
    os.chmod(path, 0o755)
    definition = process(["/usr/bin/python3", path], name=fields.pop("name", file), **fields)
    definition["executor"] = "pool"
    definition["pool"] = {"base": base, **fields.get("pool", {})}
    return definition


def counter(folder, **fields):
    """Emits input.n numbered texts of about input.size bytes, pausing input.pauseMs between groups of input.group; claims success with their number.
    Each text carries its attempt, so that two attempts' events can be told apart."""
    return python(folder, """\
        job = job["input"] or {}
        attempt, pad = int(os.environ["ERRAND_ATTEMPT"]), "x" * job.get("size", 0)
        for i in range(job["n"]):
            sys.stdout.write('{"kind":"assistant_text","data":{"i":%d,"attempt":%d,"text":"%s"}}\\n' % (i, attempt, pad))
            if (i + 1) % job.get("group", 100) == 0:
                sys.stdout.flush()
                time.sleep(job.get("pauseMs", 0) / 1000)
        end("success", result={"n": job["n"]})
        """, "counter", **fields)


def tree(folder, **fields):
    """Ignores SIGTERM, starts a child and a grandchild in sessions of their own that ignore it too, says their pids in one notification, and waits for ever."""
    return python(folder, """\
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait = "trap '' TERM; echo $$; while :; do sleep 1000; done"
        r, w = os.pipe()
        subprocess.Popen(["setsid", "sh", "-c", 'setsid sh -c "$0" & eval "$0"', wait], stdin=subprocess.DEVNULL, stdout=w)
        pids = b""
        while pids.count(b"\\n") < 2:
            pids += os.read(r, 100)
        say("notification", {"pids": [os.getpid()] + [int(p) for p in pids.split()]})
        while True:
            time.sleep(1000)
        """, "tree", **fields)


def sleeper(**fields):
    """Says that it started, then waits for ever; ends on SIGTERM."""
    return shell('echo \'{"kind":"notification","data":{"ready":true}}\'; exec sleep 100000', name="sleeper", **fields)


def fails_until(folder, attempt, **fields):
    """Exits with 1 before the given attempt, with success from it on."""
    return shell(f'[ "$ERRAND_ATTEMPT" -ge {attempt} ] || exit 1; '
                 'echo \'{"kind":"runtime_terminal","data":{"status":"success","result":{"attempt":\'"$ERRAND_ATTEMPT"\'}}}\'',
                 name="fails-until", maxAttempts=attempt, backoff={"type": "fixed", "baseMs": 10, "capMs": 10}, **fields)
