"""Agents of the executor `sandbox`, and what they find when they look around."""
import json
import os
import pwd
import subprocess
import textwrap

import pytest

from .nodes import build_dir

PRELUDE = """\
import ctypes, errno, json, os, signal, socket, struct, subprocess, sys, time
job = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)
def say(kind, data):
    sys.stdout.write(json.dumps({"kind": kind, "data": data}) + "\\n")
    sys.stdout.flush()
def end(result):
    say("runtime_terminal", {"status": "success", "result": result})
def call(number, *args):
    "A system call by its number: the name of its error, or what it returned."
    ctypes.set_errno(0)
    n = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return errno.errorcode[ctypes.get_errno()] if n < 0 else n
def tried(fn, *args, **kwargs):
    "The name of the error that it raised, or what it returned."
    try:
        return fn(*args, **kwargs)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
"""


def shell(text, **fields):
    return {"name": "sandboxed", "executor": "sandbox", "command": ["/bin/sh", "-c", text], **fields}


def python(text, **fields):
    """Its code is its argument: there is no file of the test's that it could see. `end(result)` gives what `look` returns."""
    return {"name": "sandboxed", "executor": "sandbox", "command": ["/usr/bin/python3", "-c", PRELUDE + textwrap.dedent(text)], **fields}


def runner(stack, api=None, **options):
    """A runner for sandboxes; options by their names in the environment, in small letters."""
    return stack.runner(api=api, env={"ERRAND_EXECUTORS": "process,sandbox", **{"ERRAND_" + k.upper(): v for k, v in options.items()}})


def as_nobody(stack):
    """For a runner that is not root, started by root: (a build folder with such an errand-runner, a folder that is its own, for ERRAND_WORK_DIR and TMPDIR). Skips where that can't be had."""
    user = pwd.getpwnam("nobody")
    folder, work = os.path.join(stack.folder, "as-nobody"), os.path.join(stack.folder, "work")
    os.mkdir(folder)
    with open(folder + "/errand-runner", "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\nexec setpriv --reuid {user.pw_uid} --regid {user.pw_gid} --clear-groups --bounding-set=-all {build_dir()}/errand-runner "$@"\n')
    os.chmod(folder + "/errand-runner", 0o755)
    os.mkdir(work)
    os.chown(work, user.pw_uid, user.pw_gid)
    for path in (stack.folder, os.path.dirname(stack.redis.socket)):
        os.chmod(path, 0o755)
    os.chmod(stack.redis.socket, 0o777)
    if not os.access(build_dir(), os.X_OK) or subprocess.run(["setpriv", "--reuid", str(user.pw_uid), "--clear-groups", "test", "-x", build_dir() + "/errand-exec"], check=False).returncode != 0:
        pytest.skip("nobody may not reach the build's folder")
    return folder, work


def look(api, text, input=None, **fields):
    """Runs a python agent in a sandbox; its result."""
    run_id = api.submit(python(text, **fields), input=input)
    record = api.wait(run_id)
    assert record["status"] == "success", (record.get("error"), output(api, run_id, "stderr"))
    return record["result"]


def output(api, run_id, stream):
    """What the run wrote to stdout or stderr, as its notifications say."""
    events = [json.loads(line) for line in api.replay(run_id).lines()]
    return "\n".join(e["data"].get("text", "") for e in events if e["kind"] == "notification" and e["data"].get("stream") == stream)
