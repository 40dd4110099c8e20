"""What a bundle requires: installed once where both sides allow it, shown in log and events, and nowhere else."""
import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import zipfile

import pytest

from harness import bundles
from harness.bundles import agent, cache_of, entries, incomplete, leftovers
from harness.wait import wait_until

BOTH = """
import json, os, subprocess, sys
sys.stdin.readline()
shown = {n: os.environ.get(n) for n in ("PATH", "VIRTUAL_ENV", "NODE_PATH")}
try:
    import greet
    shown["python"] = greet.hello()
except ImportError as e:
    shown["python"] = str(e)
shown["exe"] = sys.executable
if os.path.exists("agent.mjs"):
    done = subprocess.run(["node", "agent.mjs"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown["node"] = done.stdout.strip()
print(json.dumps({"kind": "runtime_terminal", "data": {"status": "success", "result": shown}}), flush=True)
"""


@pytest.fixture
def start(stack, api):
    yield from bundles.starting(stack, api)


@pytest.fixture(scope="module", autouse=True)
def tools():
    for command in (["python3", "-c", "import ensurepip, venv"], ["npm", "--version"]):
        try:
            done = subprocess.run(command, env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not there")
        if done.returncode != 0:
            pytest.skip(f"{' '.join(command)} does not work here")


def wheel(name="greet", version="1.0", text="def hello():\n    return 'from a wheel'\n"):
    """A wheel of one module, as its file's name and bytes."""
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": text, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = [f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b'=').decode()},{len(t)}" for n, t in files.items()]
    files[f"{info}/RECORD"] = "\n".join(record + [f"{info}/RECORD,,"]) + "\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for n, t in files.items():
            z.writestr(n, t)
    return f"{name}-{version}-py3-none-any.whl", out.getvalue()


def python_files(requirements="greet==1.0\n"):
    name, data = wheel()
    return {"agent.py": BOTH, "requirements.txt": requirements, f"wheels/{name}": data}


def node_files(folder, package="vendor/greet"):
    """An agent that imports a `file:` package, with the lock file that npm makes for it."""
    path = os.path.join(folder, "npm", "bundle")
    files = {"agent.mjs": "import greet from 'greet'; console.log(greet());\n",
             "package.json": json.dumps({"name": "agent", "version": "1.0.0", "dependencies": {"greet": f"file:./{package}"}}),
             f"{package}/package.json": json.dumps({"name": "greet", "version": "1.0.0", "type": "module", "main": "index.js",
                                                      "scripts": {"install": f"touch {folder}/npm-script; touch ran", "preinstall": "touch ran"}}),
             f"{package}/index.js": "export default () => 'from a package';\n"}
    for name, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(path, name)), exist_ok=True)
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            f.write(text)
    subprocess.run(["npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=path, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder})
    with open(os.path.join(path, "package-lock.json"), encoding="utf-8") as f:
        files["package-lock.json"] = f.read()
    shutil.rmtree(os.path.dirname(path))
    return files


def deps_agent(digest, **fields):
    return agent(digest, fields.pop("command", ["python3", "agent.py"]), allowRuntimeDeps=True, **fields)


def logs(api, run_id):
    return [(line["stream"], line["text"]) for line in api.get(f"/v1/runs/{run_id}/logs").json()["lines"]]


def test_both_kinds_are_installed_once(stack, api, start, folder):
    start(runtime_deps="true", pip_index_url="none")
    runners = api.get("/v1/runners").json()["runners"]
    assert set(runners[0]["capabilities"]["process"]) >= {"deps_install", "deps_uninstall"}
    digest = bundles.store(stack, bundles.pack({**python_files(), **node_files(folder)}))
    runs = [api.submit(deps_agent(digest)) for _ in range(3)]
    records = [api.wait(r, timeout=90) for r in runs]
    assert [r["status"] for r in records] == ["success"] * 3, records
    seen = records[0]["result"]
    (entry,) = entries(stack)
    code = entry + "/code"
    assert entry.endswith("+deps") and seen["python"] == "from a wheel" and seen["node"] == "from a package"
    assert seen["VIRTUAL_ENV"] == code + "/.errand-venv" and seen["NODE_PATH"] == code + "/node_modules"
    assert seen["exe"].startswith(seen["VIRTUAL_ENV"]) and seen["PATH"].startswith(seen["VIRTUAL_ENV"] + "/bin:" + code + "/node_modules/.bin:")
    assert oct(os.stat(code + "/.errand-venv").st_mode)[-3:] == "555"
    assert not os.path.exists(os.path.join(folder, "npm-script")) and not os.path.exists(code + "/vendor/greet/ran")
    # Its output: in the log tail and events of one of them, the run that caused it, and of no other.
    told = [r for r in runs if any(s == "deps" and "greet" in t for s, t in logs(api, r))]
    assert len(told) == 1
    for run_id in runs:
        events = [json.loads(e.data) for e in api.replay(run_id).events]
        said = [e["data"]["text"] for e in events if e["kind"] == "notification" and e["data"].get("stream") == "deps"]
        assert bool(said) == (run_id == told[0])
        assert events[0]["kind"] == "runtime_started"
    # Without allowRuntimeDeps nothing is installed: that is another entry.
    record = api.wait(api.submit(agent(digest, ["/usr/bin/python3", "agent.py"])))
    assert "greet" in record["result"]["python"] and record["result"]["VIRTUAL_ENV"] is None
    assert len(entries(stack)) == 2
    wait_until(lambda: not leftovers(stack), 10, "the tools' homes are removed")


REFUSED = {
    "an option": ("--index-url https://example.com/\ngreet\n", "line 1: options are not taken"),
    "its own code": ("greet\n-e ./vendor\n", "line 2: options are not taken"),
    "no wheels": ("greet==1.0 --no-binary :all:\n", "--hash="),
    "a path": ("./vendor\n", "does not begin with a package's name"),
    "a URL": ("greet @ file:///etc/passwd\n", "no URLs"),
    "git": ("git+https://example.com/x\n", "no URLs"),
    "a file": ("greet.tar.gz\n", "files are not taken"),
    "a variable": ("${HOME}\n", "does not begin"),
}


def test_what_can_not_be_installed(stack, api, start, folder):
    start(runtime_deps="true", pip_index_url="none")
    runs = {}
    for name, (requirements, reason) in REFUSED.items():
        digest = bundles.store(stack, bundles.pack(python_files(requirements)))
        runs[name] = (api.submit(deps_agent(digest)), "requirements.txt is refused", reason)
    missing = bundles.store(stack, bundles.pack(python_files("greet\nno-such-package-here==3\n")))
    runs["missing"] = (api.submit(deps_agent(missing)), "pip ended with status 1", "no-such-package-here")
    both = [api.submit(deps_agent(missing)) for _ in range(2)]
    node = node_files(folder)
    lockless = {k: v for k, v in node.items() if k != "package-lock.json"}
    runs["no lock"] = (api.submit(deps_agent(bundles.store(stack, bundles.pack(lockless)), command=["true"])), "package.json", "no package-lock.json")
    npmrc = bundles.store(stack, bundles.pack({**node, ".npmrc": "git=./evil\n"}))
    runs["npmrc"] = (api.submit(deps_agent(npmrc, command=["true"])), ".npmrc", "programs")
    outward = {k: v for k, v in node_files(folder, "../outside").items() if not k.startswith("..")}
    runs["outward"] = (api.submit(deps_agent(bundles.store(stack, bundles.pack(outward)), command=["true"])), "a link", "outside")
    for name, (run_id, what, reason) in runs.items():
        error = api.wait(run_id, timeout=60)["error"]
        assert error["class"] == "start_failed" and what in error["message"] and reason in error["message"], (name, error)
    for run_id in both:
        assert api.wait(run_id, timeout=60)["error"]["class"] == "start_failed"
    assert entries(stack) == [] and incomplete(stack) == []
    assert any("no-such-package-here" in t for s, t in logs(api, runs["missing"][0]) if s == "deps")
    # One without dependencies at all is fine.
    plain = bundles.store(stack, bundles.pack({"package.json": '{"type":"module"}'}))
    assert api.wait(api.submit(deps_agent(plain, command=["true"])))["status"] == "success"
    wait_until(lambda: not leftovers(stack), 10, "nothing half-installed stays")


def test_a_runner_that_does_not_install_is_not_asked(stack, api, start):
    start()
    assert "deps_install" not in api.get("/v1/runners").json()["runners"][0]["capabilities"]["process"]
    digest = bundles.store(stack, bundles.pack(python_files()))
    waiting = api.submit(deps_agent(digest))
    assert api.wait(api.submit(agent(digest, ["/bin/true"])))["status"] == "success"
    assert api.record(waiting)["status"] == "queued"
    start(runtime_deps="true", pip_index_url="none")
    assert api.wait(waiting, timeout=60)["status"] == "success"


def test_nothing_of_the_runner_and_no_secret_is_shown(stack, api, start):
    """What installing prints is redacted as all output, and the index's password is in no argument."""
    token = "gh" + "p_" + "A1b2" * 9
    start(runtime_deps="true", pip_index_url=f"http://user:{token}@127.0.0.1:9/simple")
    digest = bundles.store(stack, bundles.pack({"agent.py": BOTH, "requirements.txt": "greet==1.0\n"}))
    run_id = api.submit(deps_agent(digest))
    seen = set()

    def pip_runs():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read()
                if cache_of(stack).encode() not in words:
                    continue
                with open(f"/proc/{pid}/environ", "rb") as f:
                    seen.update(line.split(b"=")[0] for line in f.read().split(b"\0") if b"=" in line)
                assert token.encode() not in words
                if b"pip" in words:
                    return True
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return False
    wait_until(pip_runs, 60, "pip runs")
    assert b"PIP_INDEX_URL" in seen and not {n for n in seen if n.startswith((b"ERRAND_", b"ASAN_", b"UBSAN_"))}, seen
    api.post(f"/v1/runs/{run_id}/stop")
    assert api.wait(run_id)["status"] == "stopped"
    assert token not in api.get(f"/v1/runs/{run_id}/logs").body.decode()
