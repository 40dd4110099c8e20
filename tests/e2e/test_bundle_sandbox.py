"""Bundles in sandboxes: what the runner unpacked for itself alone is read by an agent that is somebody else, as root and not as root, and in a pool's warm worker."""
import os

import pytest

from harness import bundles, sandboxed
from harness.nodes import build_dir

WORK = """\
import importlib, json, os, subprocess, sys
def seen(job, env):
    code = env["ERRAND_CODE_DIR"]
    sys.path.insert(0, os.path.join(code, "lib"))
    def denied(fn, *args):
        try:
            fn(*args)
        except OSError as e:
            return type(e).__name__ + " " + str(e.errno)
    return {"code": code, "module": importlib.import_module("part").NAME, "tool": subprocess.check_output([code + "/bin/tool"], text=True), "link": open(code + "/link").read(),
            "uid": os.getuid(), "write": denied(open, code + "/new", "w"), "change": denied(open, code + "/agent.py", "a"), "chmod": denied(os.chmod, code, 0o777),
            "remove": denied(os.unlink, code + "/link"), "above": sorted(os.listdir(os.path.dirname(code))), "workspaces": sorted(os.listdir(os.path.dirname(os.path.dirname(os.path.dirname(code)))))}
def end(result):
    sys.stdout.write(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": result}}) + "\\n")
    sys.stdout.flush()
"""
ONCE = WORK + """
end(seen(json.loads(sys.stdin.readline()), os.environ))
"""
WARM = WORK + """
while True:
    sys.stdout.write('{"kind":"notification","data":{"type":"worker_ready"}}\\n')
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        break
    job = json.loads(line)
    os.makedirs(job["workDir"], exist_ok=True)
    end(dict(seen(job, job["env"]), pid=os.getpid()))
"""


def bundle(stack, text):
    """With modes that are its owner's alone."""
    members = [bundles.member(name, data.encode(), mode) for name, data, mode in
               (("agent.py", text, 0o600), ("lib/part.py", "NAME = 'part'\n", 0o400), ("bin/tool", "#!/bin/sh\necho tool\n", 0o700), ("data", "data", 0o600))]
    members.append(bundles.member("link", kind=b"2", link="data"))
    return bundles.store(stack, bundles.pack(members=members))


@pytest.fixture(params=["as root", "not as root"])
def start(request, stack, api, can_sandbox):
    """Starts a runner for sandboxes and pools over them; returns the folder that its cache is in."""
    if os.geteuid() != 0 and request.param == "as root":
        pytest.skip("the tests do not run as root")
    env = {"ERRAND_EXECUTORS": "sandbox,pool", "ERRAND_BUNDLE_CACHE_DIR": bundles.cache_of(stack)}
    build = None
    if os.geteuid() == 0 and request.param == "not as root":
        build, work = sandboxed.as_nobody(stack)
        env.update(ERRAND_WORK_DIR=work, TMPDIR=work, ERRAND_BUNDLE_CACHE_DIR=work + "/cache", ERRAND_EXEC_PATH=build_dir() + "/errand-exec")

    def runner(**options):
        stack.runner(api=api, build=build, env={**env, **{"ERRAND_" + k.upper(): v for k, v in options.items()}})
        return env["ERRAND_BUNDLE_CACHE_DIR"]
    return runner


def check(found, cache):
    assert found["module"] == "part" and found["tool"] == "tool\n" and found["link"] == "data" and found["uid"] == 64111
    assert found["code"].startswith(cache) and found["above"] == ["code"] and len(found["workspaces"]) == 1, "of the cache it sees its own code alone"
    assert all(found[deed].split()[1] in ("30", "13", "1") for deed in ("write", "change", "chmod", "remove")), found  # EROFS, EACCES, EPERM


def test_a_sandboxed_agent_uses_its_bundle(stack, api, start):
    cache = start()
    agent = {"name": "boxed", "executor": "sandbox", "command": ["/usr/bin/python3", "agent.py"], "bundle": bundle(stack, ONCE)}
    for _ in range(2):
        record = api.wait(api.submit(agent))
        assert record["status"] == "success", record
        check(record["result"], cache)


@pytest.mark.parametrize("disk_mb", [0, 16], ids=["its folder", "with a quota"])
def test_a_warm_worker_in_a_sandbox_uses_its_bundle(stack, api, start, disk_mb):
    cache = start(sandbox_disk_mb=disk_mb)
    agent = {"name": "warm", "executor": "pool", "command": ["/usr/bin/python3", "agent.py"], "bundle": bundle(stack, WARM),
             "pool": {"base": "sandbox", "min": 0, "max": 1, "idleMs": 60000, "maxRuns": 100}}
    found = []
    for _ in range(3):
        record = api.wait(api.submit(agent))
        assert record["status"] == "success", record
        found.append(record["result"])
        check(found[-1], cache)
    assert len({f["pid"] for f in found}) == 1
