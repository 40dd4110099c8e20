"""The example agents, as programs: a job line in, events out; bad input is answered with a clear error, never with a crash."""
import json
import os
import shutil
import subprocess

import pytest

from harness import sandboxed
from harness.nodes import ROOT

EXAMPLES = os.path.join(ROOT, "examples")
KINDS = {"assistant_text", "tool_request", "tool_response", "notification", "stream_error", "runtime_terminal"}


def run(name, line, cwd=None):
    """The events of one run of an example; its definition says how it is started."""
    folder = os.path.join(EXAMPLES, name)
    with open(os.path.join(folder, "agent.json"), encoding="utf-8") as f:
        definition = json.load(f)
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(definition["command"], input=line if isinstance(line, bytes) else (json.dumps(line) + "\n").encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd or folder, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    if definition["protocol"] == "text":
        return done.stdout.decode()
    events = [json.loads(text) for text in done.stdout.splitlines()]
    for event in events:
        assert set(event) == {"kind", "data"} and event["kind"] in KINDS and isinstance(event["data"], dict), event
    assert [e["kind"] for e in events].count("runtime_terminal") == 1 and events[-1]["kind"] == "runtime_terminal"
    return events


def job(value=None):
    return {"runId": "r", "attempt": 1, "agent": "a", "input": value, "lastSeq": 0}


@pytest.fixture
def repository(tmp_path):
    """A repository with two authors, three commits, a binary file, an odd name and a link."""
    def git(*args, author="Ada"):
        subprocess.run(["git", "-c", f"user.name={author}", "-c", "user.email=a@example.com", "-C", str(tmp_path), *args], check=True, stdout=subprocess.DEVNULL)

    git("init", "-q")
    (tmp_path / "main.py").write_text("a = 1\nb = 2\n")
    (tmp_path / "tool").write_text("#!/bin/sh\nexit 0\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    (tmp_path / "main.py").write_text("a = 1\nb = 3\nc = 4\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.c").write_text("int main(void)\n{\n    return 0;\n}")
    git("add", ".")
    git("commit", "-q", "-m", "two", author="Béla")
    (tmp_path / "blob.c").write_bytes(b"\0" * 5000)
    with open(os.fsencode(tmp_path) + b"/odd \xff\tname\n.py", "wb") as f:
        f.write(b"x = 1\n")
    os.symlink("/etc/passwd", tmp_path / "link.py")
    git("add", ".")
    git("commit", "-q", "-m", "three")
    return tmp_path


def test_repo_report(repository):
    events = run("repo-report", job({"path": str(repository), "top": 5}))
    end = events[-1]["data"]
    assert end["status"] == "success"
    result = end["result"]
    assert result["repository"] == str(repository) and result["files"] == 5
    assert {e["language"]: (e["files"], e["lines"]) for e in result["languages"]} == {"C": (1, 4), "Python": (2, 4), "Shell": (1, 2)}
    assert result["churn"]["commits"] == 3
    assert result["churn"]["authors"] == [{"name": "Ada", "commits": 2}, {"name": "Béla", "commits": 1}]
    assert result["churn"]["files"][0] == {"path": "main.py", "commits": 2, "added": 4, "removed": 1}
    assert result["largeFiles"][0] == {"path": "blob.c", "bytes": 5000}
    assert result["head"]["subject"] == "three"
    requests = [e["data"] for e in events if e["kind"] == "tool_request"]
    responses = [e["data"] for e in events if e["kind"] == "tool_response"]
    assert [r["id"] for r in requests] == [r["id"] for r in responses] and len(requests) == 6


def test_repo_report_from_below_the_root(repository):
    assert run("repo-report", job({"path": str(repository / "sub")}))[-1]["data"]["result"]["files"] == 5


def test_repo_report_of_a_repository_without_a_commit(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    result = run("repo-report", job({"path": str(tmp_path)}))[-1]["data"]["result"]
    assert result["head"] is None and result["churn"] is None and result["files"] == 0


def test_repo_report_runs_no_program_of_the_repository(repository):
    subprocess.run(["git", "-C", str(repository), "config", "core.fsmonitor", f"touch {repository}/ran; false"], check=True)
    assert run("repo-report", job({"path": str(repository)}))[-1]["data"]["status"] == "success"
    assert not (repository / "ran").exists()


@pytest.mark.parametrize("line, part", [
    (b"not json\n", "one line of JSON"), (b"", "one line of JSON"), (b"[]\n", "not a git repository"), (job([]), "has to be an object"), (job({"paht": "."}), "paht"),
    (job({"path": 5}), "path has to be"), (job({"path": ""}), "path has to be"), (job({"path": "/nonexistent"}), "there is no folder"), (job({"path": "a\0b"}), "path has to be"),
    (job({"path": ".", "days": 0}), "days has to be"), (job({"path": ".", "top": 101}), "top has to be"), (job({"path": ".", "top": True}), "top has to be"),
    (job({"path": ".", "days": "7"}), "days has to be"), (job({"path": "/"}), "not a git repository"),
])
def test_repo_report_refuses(line, part, tmp_path):
    end = run_elsewhere("repo-report", line, tmp_path)[-1]["data"]
    assert end["status"] == "error" and part in end["error"]["message"], end


def run_elsewhere(name, line, folder):
    """With a folder that is no repository as the working one."""
    program = os.path.join(EXAMPLES, name, "agent.py")
    done = subprocess.run([program], input=line if isinstance(line, bytes) else (json.dumps(line) + "\n").encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          cwd=folder, env={"PATH": "/usr/bin:/bin"}, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_log_triage_sample():
    events = run("log-triage", job())
    result = events[-1]["data"]["result"]
    assert result["lines"] == 25 and result["levels"] == {"fatal": 1, "error": 10, "warning": 4, "info": 10}
    assert result["clusters"][0]["level"] == "fatal" and result["clusters"][1]["count"] == 6
    assert [e["data"]["finding"] for e in events if e["kind"] == "notification"] == ["new_error", "new_error", "new_error", "burst", "new_error"]


def test_log_triage_file_and_text_agree(tmp_path):
    text = "".join(f"12:00:{i % 60:02d} worker {i} failed: code {i * 7} at /var/x/{i}\n" for i in range(300)) + "ok é\n"
    log = tmp_path / "x.log"
    log.write_text(text)
    by_path = run("log-triage", job({"path": str(log)}))[-1]["data"]["result"]
    by_text = run("log-triage", job({"text": text}))[-1]["data"]["result"]
    assert by_path == by_text and by_path["lines"] == 301 and by_path["patterns"] == 2


def test_log_triage_bounds(tmp_path):
    """Lines without end, bytes that are no text, and more patterns than are kept."""
    log = tmp_path / "x.log"
    words = ["".join(chr(97 + (i // 26 ** k) % 26) for k in range(4)) for i in range(6000)]
    log.write_bytes(b"\xff\xfe\x00error\n" + b"y" * 3_000_000 + b"\n" + "\n".join(f"kind {w} of line" for w in words).encode())
    result = run("log-triage", job({"path": str(log), "top": 1000}))[-1]["data"]["result"]
    assert result["lines"] == 6002 and result["patterns"] == 5000 and result["linesOfOtherPatterns"] == 1002
    assert all(len(c["example"]) <= 4096 for c in result["clusters"])


@pytest.mark.parametrize("line, part", [
    (b"{\n", "one line of JSON"), (job("x"), "has to be an object"), (job({"path": "/nonexistent"}), "can't be read"), (job({"path": "/"}), "can't be read"), (job({"path": 1}), "path has to be"),
    (job({"text": [], }), "text has to be"), (job({"path": "x", "text": "y"}), "not both"), (job({"top": 0}), "top has to be"), (job({"tpo": 1}), "tpo"), (job({"path": "a\0b"}), "can't be read"),
])
def test_log_triage_refuses(line, part):
    end = run("log-triage", line)[-1]["data"]
    assert end["status"] == "error" and part in end["error"]["message"], end


@pytest.mark.parametrize("line, name", [(job({"name": "Ada"}), "Ada"), (job(), "world"), (job({"name": ["x"]}), "world"), (b"", "world"), (b'{"input":{"name":"Bo"}}', "Bo")])
def test_hello(line, name):
    text = run("hello", line)
    assert text.startswith(f"Hello, {name}!\n") and text.endswith("Done.\n")


def test_pool_worker():
    """Ready before each job; each job's end before the next."""
    lines = [job({"letters": "listen"}), job({"letters": "zzz"}), job({"letters": 1}), job()]
    folder = os.path.join(EXAMPLES, "pool-worker")
    done = subprocess.run([os.path.join(folder, "worker.py")], input="".join(json.dumps(line) + "\n" for line in lines).encode(), stdout=subprocess.PIPE, timeout=60, check=True)
    events = [json.loads(text) for text in done.stdout.splitlines()]
    ready = {"kind": "notification", "data": {"type": "worker_ready"}}
    assert events[0] == events[-1] == ready and events.count(ready) == 5
    ends = [e["data"] for e in events if e["kind"] == "runtime_terminal"]
    assert [e["status"] for e in ends] == ["success", "success", "error", "error"]
    assert ends[0]["result"]["anagrams"] == ["enlist", "inlets", "silent", "tinsel"] and ends[1]["result"] == {"letters": "zzz", "anagrams": [], "servedByThisWorker": 2, "pid": ends[0]["result"]["pid"]}
    assert all("letters" in e["error"]["message"] for e in ends[2:])


# ---- those that ship with their code: pushed, contained, checked ----

# Language → the file, what makes its result good, and what makes it bad.
SHIPPED = {
    "python": ("agent.py", '"greeting": greeting,', '"greeting": [greeting],'),
    "node": ("agent.mjs", "result: { greeting, times }", "result: { greeting: [greeting], times }"),
    "shell": ("agent.sh", '\\"greeting\\":\\"Hello, $name!\\"', '\\"greeting\\":[\\"Hello, $name!\\"]'),
}


@pytest.fixture
def shipped(stack, api, can_sandbox):
    """errand agents push; where there is a runner for sandboxes."""
    sandboxed.runner(stack, api)

    def push(folder):
        done = stack.cli("agents", "push", folder)
        assert done.popen.wait(60) == 0, done.output()
        return done.output().decode()
    return push


@pytest.mark.parametrize("language", SHIPPED)
def test_shipped(language, api, shipped, tmp_path):
    if language == "node" and not (shutil.which("node", path="/usr/local/bin:/usr/bin") and os.path.realpath(shutil.which("node", path="/usr/local/bin:/usr/bin")).startswith("/usr/")):
        pytest.skip("no node under /usr, where a sandbox could see it")
    name = f"hello-{language}"
    assert f"{name} version 1  sha256:" in shipped(os.path.join(EXAMPLES, name))
    # Good input.
    run_id = api.submit(name, input={"name": "Ada", "times": 2})
    record = api.wait(run_id)
    assert record["status"] == "success", record
    assert record["result"] == {"greeting": "Hello, Ada!", "times": 2}
    events = [json.loads(line) for line in api.replay(run_id).lines()]
    assert [e["data"]["text"] for e in events if e["kind"] == "assistant_text"] == ["Hello, Ada!\n"] * 2
    assert events[0]["data"]["executor"] == "sandbox"
    assert api.wait(api.submit(name, input={"name": "Bo"}))["result"]["times"] == 1
    # Bad input: no run, and a pointer to each fault.
    for bad, faults in (({"name": "", "times": 11}, [("/name", "pattern"), ("/times", "maximum")]), ({"times": 1}, [("", "required")]), ({"name": "A", "x": 1}, [("/x", "additionalProperties")]),
                        ({"name": 'A"},{"x'}, [("/name", "pattern")]), ("Ada", [("", "type")])):
        answer = api.post("/v1/runs", {"agent": name, "input": bad})
        assert (answer.status, answer.code) == (400, "input_invalid"), answer
        assert [(f["pointer"], f["keyword"]) for f in answer.json()["faults"]] == faults
    # Bad output: an error, whatever the agent says of its end.
    file, good, wrong = SHIPPED[language]
    broken = tmp_path / name
    shutil.copytree(os.path.join(EXAMPLES, name), broken)
    code = (broken / file).read_text()
    assert code.count(good) == 1
    (broken / file).write_text(code.replace(good, wrong))
    assert f"{name} version 2  sha256:" in shipped(str(broken))
    record = api.wait(api.submit(name, input={"name": "Ada"}))
    assert (record["status"], record["error"]["class"]) == ("error", "output_invalid"), record
    assert "result" not in record and "/greeting" in json.dumps(record)


def test_look_around(api, shipped):
    shipped(os.path.join(EXAMPLES, "look-around"))
    record = api.wait(api.submit("look-around"))
    assert record["status"] == "success", record
    for part in ("user:       agent,", "network:    lo \n", "writing to /usr: refused", "writing to its code: refused", "writing to /: refused", "folder: possible"):
        assert part in record["result"], record["result"]
