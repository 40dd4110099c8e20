"""`errand` from outside, against real nodes: what it prints, how it ends, and that it comes back by itself."""
import json
import os
import pty
import random
import re
import signal
import socket
import subprocess
import threading

import pytest

from harness import agents
from harness.nodes import ROOT, build_dir
from harness.processes import process_state
from harness.wait import wait_until

ERRAND = os.path.join(build_dir(), "errand")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored is inherited; so the tests may run in the background of a shell
COMMANDS = ["run", "follow", "show", "list", "tree", "stop", "rerun", "redrive", "delete", "bulk", "logs", "agents", "bundles", "artifacts", "schedules", "runners", "queues", "workspaces", "limits", "doctor", "keygen", "dev"]
NOBODY = "http://127.0.0.1:1"
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
# Quick ends, one for each outcome.
GOOD = agents.shell('echo \'{"kind":"assistant_text","data":{"text":"hi\\n"}}\'; echo \'{"kind":"runtime_terminal","data":{"status":"success","result":{"answer":42}}}\'', name="good")
BAD = agents.shell("echo oops >&2; exit 7", name="bad")


class Cli:
    """Runs `errand` with an environment of its own; keeps standard output and standard error apart."""

    def __init__(self, folder, url=None, key=None):
        self.folder = folder
        self.env = {k: os.environ[k] for k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if k in os.environ}
        self.env.update(HOME=folder, LC_ALL="C.UTF-8")
        if url:
            self.env["ERRAND_URL"] = url
        if key:
            self.env["ERRAND_KEY"] = key

    def start(self, *args, env=None, **kwargs):
        return subprocess.Popen([ERRAND, *args], stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=kwargs.pop("stdout", subprocess.PIPE),
                                stderr=subprocess.STDOUT if kwargs.pop("together", False) else subprocess.PIPE, text=True, env={**self.env, **(env or {})}, cwd=self.folder, **kwargs)

    def __call__(self, *args, env=None, input=None, timeout=60):
        done = subprocess.run([ERRAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**self.env, **(env or {})}, cwd=self.folder,
                              timeout=timeout, **({"input": input} if input is not None else {"stdin": subprocess.DEVNULL}))
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done

    def json(self, *args, status=0, **kwargs):
        """The JSON values it prints, one a line."""
        done = self(*args, "--json", **kwargs)
        assert done.returncode == status, (done.returncode, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def file(self, name, value):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(value if isinstance(value, str) else json.dumps(value))
        return path


@pytest.fixture
def alone(folder):
    """Without any node."""
    return Cli(folder, NOBODY)


@pytest.fixture
def cli(stack, api, runner):
    """With a node and a runner; GOOD and BAD are registered."""
    made = Cli(stack.folder, api.url, stack.key)
    for definition in (GOOD, BAD):
        assert api.request("PUT", f"/v1/agents/{definition['name']}", definition).status in (200, 201)
    return made


def submit(cli, *args, **kwargs):
    done = cli("run", *args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- without a node ----

def test_help_everywhere(alone):
    done = alone("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.stdout, re.M), name
        for words in ((name, "--help"), (name, "-h"), ("help", name)):
            own = alone(*words)
            assert own.returncode == 0 and own.stderr == "", own
            assert own.stdout.startswith(f"usage: errand {name}") and "Example" in own.stdout and f"errand {name}" in own.stdout.split("Example", 1)[1]
            assert ("--json" in own.stdout) == ("--url" in own.stdout) == (name != "dev"), name
    assert alone().returncode == 2
    assert re.fullmatch(r"errand \d+\.\d+\.\d+\n", alone("--version").stdout)


@pytest.mark.parametrize("args, part", [
    (["rnu"], "did you mean 'run'?"), (["flolow"], "did you mean 'follow'?"), (["zzz"], "unknown command 'zzz'"), (["--jsn"], "unknown option '--jsn'"), (["help", "rnu"], "did you mean 'run'?"),
    (["run", "a", "--folow"], "did you mean --follow?"), (["list", "--statsu", "x"], "did you mean --status?"), (["show"], "is missing"), (["show", "x"], "no run's id"),
    (["show", UNKNOWN_ID, "more"], "unexpected 'more'"), (["run"], "which agent?"), (["run", "a", "--input"], "needs a value"), (["run", "a", "--input", "{"], "not valid JSON"),
    (["run", "a", "--input", "@/nonexistent"], "can't be read"), (["run", "a", "--env", "X"], "NAME=VALUE"), (["run", "a", "--label", "=x"], "NAME=VALUE"), (["run", "a", "--delay", "soon"], "a time like"),
    (["run", "a", "--max-attempts", "0"], "between 1 and"), (["run", "--file", "/nonexistent"], "can't be read"), (["follow", UNKNOWN_ID, "--after", "x"], "whole number"), (["agents", "pu"], "did you mean put"),
    (["agents", "show"], "needs a NAME"), (["list", "--since", "yesterday"], "--since takes a time"), (["list", "--label", "x"], "NAME=VALUE"), (["list", "--limit", "0"], "between 1 and"),
    (["logs", UNKNOWN_ID, "--lines", "99999"], "between 1 and"), (["list", "--url", "ftp://x"], "has to be http://"), (["stop"], "is missing"), (["dev", "--nodes", "0"], "between 1 and"),
    (["dev", "--json"], "unknown option '--json'"), (["--json", "list"], "options come after the command"), (["--url", NOBODY, "list"], "options come after the command"),
    ([f"--url={NOBODY}", "list"], "options come after the command"), (["run", "a", "--idempotency-key", ""], "--idempotency-key is empty"),
])
def test_usage_is_2_and_says_what(alone, args, part):
    done = alone(*args)
    assert done.returncode == 2 and part in done.stderr and done.stdout == "", done


def test_values_that_are_not_utf8_are_refused_by_name(alone):
    for option in ("--env", "--label"):
        done = alone("run", "a", option, "GOOD=x", option, "NAME=\udcff")
        assert done.returncode == 2 and f"{option} NAME is not UTF-8" in done.stderr, done


@pytest.mark.parametrize("args", [["list"], ["run", "a"], ["show", UNKNOWN_ID], ["follow", UNKNOWN_ID], ["stop", UNKNOWN_ID], ["agents", "list"], ["run", "a", "--follow"]])
def test_unreachable_is_4(alone, args):
    done = alone(*args)
    assert done.returncode == 4 and NOBODY in done.stderr and "ERRAND_URL" in done.stderr and done.stdout == ""


def test_keygen(alone):
    keys = [alone("keygen").stdout for _ in range(3)] + [alone.json("keygen")[0]["key"] + "\n"]
    assert len(set(keys)) == 4 and all(re.fullmatch(r"errand_root_[A-Za-z0-9_-]{43}\n", k) for k in keys)


def test_limits_are_those_of_the_table(alone):
    with open(os.path.join(ROOT, "common/limits.h"), encoding="utf-8") as f:
        table = dict(re.findall(r"X\((LIMIT_\w+), (\d+),", f.read()))
    found = {row["name"]: str(row["value"]) for row in alone.json("limits")}
    assert found == table and len(table) > 30
    assert len(alone("limits").stdout.splitlines()) == len(table) + 1


def test_doctor_without_anything(alone):
    done = alone("doctor", env={"ERRAND_REDIS_URL": "unix:///nonexistent/redis.sock"})
    assert done.returncode == 1 and "ERRAND_REDIS_URL" in done.stdout and "errand-exec" in done.stdout


# ---- with nodes ----

@pytest.mark.parametrize("mode", ["--follow", "--wait"])
def test_exit_status_tells_the_outcome(cli, mode):
    good, bad = cli("run", "good", mode), cli("run", "bad", mode)
    assert good.returncode == 0 and '"answer": 42' in good.stdout and "success" in good.stderr
    assert bad.returncode == 1 and "exit_nonzero" in bad.stderr
    assert ("hi" in good.stdout) == (mode == "--follow")
    if mode == "--wait":
        assert json.loads(good.stdout) == {"answer": 42} and bad.stdout == ""


@pytest.mark.parametrize("mode", ["--follow", "--wait"])
def test_stopped_is_3(cli, api, mode):
    process = cli.start("run", "--file", cli.file("agent.json", agents.sleeper()), mode)
    run_id = wait_until(lambda: [r["runId"] for r in cli.json("list", "--status", "running")], what="the run is running")[0]
    assert cli("stop", run_id, "--wait").stdout == f"{run_id} stopped\n"
    out, err = process.communicate(timeout=20)
    assert process.returncode == 3 and "stopped" in err
    assert cli("follow", run_id).returncode == 3


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["--follow", "--wait"])
def test_ctrl_c_detaches(cli, api, mode, sig):
    process = cli.start("run", "--file", cli.file("agent.json", agents.sleeper()), mode)
    run_id = wait_until(lambda: [r["runId"] for r in cli.json("list", "--status", "running")], what="the run is running")[0]
    if mode == "--follow":
        wait_until(lambda: "ready" in process.stdout.readline(), what="the agent's event is shown")
    process.send_signal(sig)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and f"errand stop {run_id}" in err
    assert api.record(run_id)["status"] == "running"
    assert cli("stop", run_id, "--wait").returncode == 0
    assert api.record(run_id)["status"] == "stopped"


def test_refusals(cli, api):
    for args, part in ((["run", "no-such-agent"], "agent_not_found"), (["show", UNKNOWN_ID], "run_not_found"), (["follow", UNKNOWN_ID], "run_not_found"), (["stop", UNKNOWN_ID], "run_not_found"),
                       (["agents", "show", "nope"], "agent_not_found"), (["run", "good", "--priority", "urgent"], "priority")):
        done = cli(*args)
        assert done.returncode == 2 and part in done.stderr, done
        assert ("errand agents put FILE" in done.stderr) == (part == "agent_not_found"), done
    for env, part in (({"ERRAND_KEY": "wrong"}, "ERRAND_KEY"), ({"ERRAND_KEY": ""}, "no key was sent")):
        for args in (["list"], ["run", "good", "--follow"], ["follow", UNKNOWN_ID]):
            done = cli(*args, env=env)
            assert done.returncode == 4 and part in done.stderr, done


def test_json_lines_are_the_events_and_the_record(cli, api):
    run_id = submit(cli, "good")
    api.wait(run_id)
    done = cli("follow", run_id, "--json")
    assert done.returncode == 0 and done.stderr == ""
    *events, record = done.stdout.splitlines()
    assert [e.encode() for e in events] == api.replay(run_id).lines()
    assert json.loads(record)["runId"] == run_id and json.loads(record)["status"] == "success"
    after = cli.json("follow", run_id, "--after", "1")
    assert [e["seq"] for e in after[:-1]] == [json.loads(e)["seq"] for e in events if json.loads(e)["seq"] > 1]
    last = json.loads(events[-1])["seq"]
    assert cli.json("follow", run_id, "--after", str(last)) [0]["status"] == "success"
    assert cli.json("run", "good")[0].keys() >= {"runId", "status", "streamUrl"}


def test_follow_goes_on_when_its_node_is_killed(stack, apis, folder):
    stack.runner()
    cli = Cli(folder, ",".join(a.url for a in apis), stack.key)
    run_id = apis[1].submit(agents.counter(folder), {"n": 3000, "group": 30, "pauseMs": 20})
    process = cli.start("follow", run_id, "--json")
    lines = [process.stdout.readline() for _ in range(500)]
    apis[0].kill9()
    lines += process.stdout.read().splitlines(keepends=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert apis[0].url in err and apis[1].url in err
    *events, record = [line.rstrip("\n") for line in lines]
    assert [e.encode() for e in events] == apis[1].replay(run_id).lines() and len(events) == 3002
    assert json.loads(record)["status"] == "success"


class CuttingProxy:
    """A TCP proxy that cuts each connection after a random number of the answer's bytes."""

    def __init__(self, port, low, high, seed):
        self.upstream, self.random, self.range, self.cuts = port, random.Random(seed), (low, high), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
            threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, self.random.randint(*self.range)), daemon=True).start()

    def _pump(self, source, target, bound):
        try:
            while bound is None or bound > 0:
                data = source.recv(65536 if bound is None else min(65536, bound))
                if not data:
                    break
                target.sendall(data)
                if bound is not None:
                    bound -= len(data)
            self.cuts += bound == 0
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def test_follow_through_cut_connections(cli, api, folder):
    """Cut in the middle of heads, chunks and frames: in the end each event was printed once, in order."""
    run_id = api.submit(agents.counter(folder), {"n": 400, "size": 200, "group": 400})
    api.wait(run_id)
    proxy = CuttingProxy(api.port, 100, 30000, 7)
    try:
        done = cli("follow", run_id, "--json", env={"ERRAND_URL": proxy.url})
    finally:
        proxy.stop()
    assert done.returncode == 0, done.stderr
    *events, record = done.stdout.splitlines()
    assert [e.encode() for e in events] == api.replay(run_id).lines()
    assert json.loads(record)["status"] == "success" and proxy.cuts >= 5


def test_a_submission_is_made_once_however_often_its_answer_is_lost(cli, api):
    """The first answers are cut before their end; the submission is sent again under the same key."""
    before = len(cli.json("list", "--limit", "200"))
    proxy = CuttingProxy(api.port, 1, 40, 3)
    try:
        run_id = submit(cli, "good", env={"ERRAND_URL": f"{proxy.url},{api.url}"})
    finally:
        proxy.stop()
    assert proxy.cuts >= 1
    found = cli.json("list", "--limit", "200")
    assert len(found) == before + 1 and found[0]["runId"] == run_id


def test_second_url_is_taken_when_the_first_is_down(cli, api):
    done = cli("run", "good", "--follow", env={"ERRAND_URL": f"{NOBODY},{api.url}"})
    assert done.returncode == 0, done.stderr


def test_show_list_logs_rerun_delete(cli, api):
    run_id = submit(cli, "bad", "--label", "team=core", "--label", "x=a b&c", "--priority", "high")
    api.wait(run_id)
    [record] = cli.json("show", run_id)
    assert record == api.record(run_id) and record["labels"] == {"team": "core", "x": "a b&c"} and record["priority"] == "high"
    shown = cli("show", run_id).stdout
    assert run_id in shown and "exit_nonzero" in shown and "team" in shown
    lines = cli.json("logs", run_id)
    assert [line["text"] for line in lines] == ["oops"] and lines[0]["stream"] == "stderr"
    assert cli("logs", run_id, "--lines", "1").stdout.rstrip().endswith("oops")
    for args, there in ((["--status", "error"], True), (["--status", "success"], False), (["--label", "x=a b&c"], True), (["--label", "x=y"], False), (["--agent", "bad"], True),
                        (["--agent", "good"], False), (["--mine"], True), (["--since", "1h"], True), (["--until", "1h"], False), (["--status", "success", "--status", "error"], True)):
        assert ([r["runId"] for r in cli.json("list", *args)] == [run_id]) == there, args
    table = cli("list").stdout.splitlines()
    assert table[0].split()[:3] == ["RUN", "AGENT", "STATUS"] and table[1].split()[:3] == [run_id, "bad", "error"]
    again = cli("rerun", run_id, "--wait")
    assert again.returncode == 1
    assert len(cli.json("list", "--agent", "bad")) == 2
    assert cli("delete", run_id).stdout == f"{run_id} deleted\n"
    assert cli("show", run_id).returncode == 2


def test_logs_of_a_run_that_was_quiet(cli, api):
    run_id = submit(cli, "good")
    api.wait(run_id)
    done = cli("logs", run_id)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == f"errand: nothing on standard error; 'errand follow {run_id}' shows its events\n"
    assert cli("logs", run_id, "--json").stderr == ""
    assert "standard error (100 lines; --lines up to 1000)" in cli("logs", "--help").stdout


def test_refusals_name_the_run(cli, api):
    ids = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]
    for command in ("stop", "delete"):
        done = cli(command, *ids)
        assert done.returncode == 2 and [line.split(": ")[1] for line in done.stderr.splitlines()] == ids, done


def test_a_result_that_was_too_long_is_said_to_be(cli, api):
    long = agents.shell("head -c 1200000 /dev/zero | tr '\\0' x", name="long", protocol="text")
    done = cli("run", "--file", cli.file("agent.json", long), "--wait")
    [run] = cli.json("list")
    hint = f"the result was over 1 MiB and was not kept; 'errand follow {run['runId']}' shows the output"
    assert run["resultTruncated"] and done.returncode == 0 and done.stdout == "" and hint in done.stderr, done.stderr
    done = cli("follow", run["runId"])
    assert done.stdout.count("x") >= 1200000 and hint in done.stderr
    assert hint in cli("show", run["runId"]).stdout


def test_delete_of_a_running_one_is_refused(cli, api):
    run_id = submit(cli, "--file", cli.file("agent.json", agents.sleeper()))
    api.wait(run_id, "running")
    done = cli("delete", run_id)
    assert done.returncode == 2 and "run_active" in done.stderr
    assert cli.json("stop", run_id, "--wait")[0]["status"] == "stopped"


def test_list_pages(cli, api):
    assert api.post("/v1/runs/batch", {"runs": [{"agent": "good", "delayMs": 3600000} for _ in range(230)]}).status == 200
    assert len({r["runId"] for r in cli.json("list", "--limit", "225")}) == 225
    assert len(cli.json("list", "--limit", "1000")) == 230
    done = cli("list")
    assert len(done.stdout.splitlines()) == 21 and "--limit" in done.stderr
    process = cli.start("list", together=True)
    assert "--limit N" in process.communicate(timeout=20)[0].splitlines()[-1], "the hint stands below the table"


def test_agents(cli):
    os.mkdir(os.path.join(cli.folder, "work"))
    cli.file("work/hello.sh", "echo here: $(pwd)\n")
    path = cli.file("work/agent.json", {"name": "here", "executor": "process", "command": ["sh", "hello.sh"], "workdir": ".", "protocol": "text"})
    assert cli("agents", "put", path).stdout == "here version 1\n"
    assert cli.json("agents", "put", path)[0] == {"name": "here", "version": 1}, "the same definition is no new version"
    cli.file("work/agent.json", {"name": "here", "executor": "process", "command": ["sh", "hello.sh"], "workdir": ".", "protocol": "text", "timeoutMs": 9000})
    assert cli.json("agents", "put", path)[0] == {"name": "here", "version": 2}
    [shown] = cli.json("agents", "show", "here")
    assert os.path.join(cli.folder, "work") in json.dumps(shown)
    assert {a["name"] for a in cli.json("agents", "list")} == {"good", "bad", "here"}
    assert "here" in cli("agents").stdout
    done = cli("run", "here", "--wait")
    assert done.returncode == 0 and done.stdout == f"here: {cli.folder}/work\n"
    assert cli("agents", "put", path, "--name", "there").stdout == "there version 1\n"
    assert cli("agents", "delete", "here").returncode == 0
    assert cli("agents", "show", "here").returncode == 2


def test_runners_and_queues(cli, api):
    [row] = cli.json("runners")
    assert row["slots"] == 8 and row["busy"] == 0
    assert row["id"] in cli("runners").stdout and row["executors"] == ["process"]
    assert re.search(r" EXECUTORS .*\n.* process ", cli("runners").stdout)
    assert "timeout" in row["capabilities"]["process"]
    assert re.search(r" ENFORCES\n.*  process \(" + ", ".join(row["capabilities"]["process"]) + r"\)\n", cli("runners").stdout)
    run_id = submit(cli, "good", "--queue", "elsewhere")
    assert {q["name"]: q["waiting"] for q in cli.json("queues")}["elsewhere"] == 1
    assert re.search(r"^elsewhere +1 ", cli("queues").stdout, re.M)
    assert cli("stop", run_id).stdout == f"{run_id} stopped\n"


def test_inputs_and_env(cli):
    echo = agents.shell('read -r job; printf "%s" "$job" | sed -n \'s/.*"input":\\([^}]*}\\).*/\\1/p\'; printf "%s" "$A"', name="echo", protocol="text")
    path = cli.file("agent.json", echo)
    value = '{"x":[1,2.50,"é"]}'
    for args, given in ((["--input", value], None), (["--input", "@" + cli.file("in.json", value)], None), (["-i", "-"], value)):
        done = cli("run", "--file", path, "--wait", "-e", "A=one two", *args, input=given)
        assert done.returncode == 0 and done.stdout == value + "one two\n", done


def test_idempotency_key(cli):
    first = submit(cli, "good", "--idempotency-key", "k1")
    assert submit(cli, "good", "--idempotency-key", "k1") == first
    done = cli("run", "bad", "--idempotency-key", "k1")
    assert done.returncode == 2 and "idempotency_mismatch" in done.stderr
    assert submit(cli, "good") != submit(cli, "good")


def on_terminal(cli, *args, env=None, steps=()):
    """Runs it on a pseudo-terminal: (exit status, what the terminal got). steps: each (until, then); once the bytes `until` were shown, `then` is typed, or called."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        os.execve(ERRAND, [ERRAND, *args], {**cli.env, "TERM": "xterm", **(env or {})})
    data, seen, steps = b"", 0, list(steps)
    while True:
        while steps and data.find(steps[0][0], seen) >= 0:
            until, then = steps.pop(0)
            seen = data.find(until, seen) + len(until)
            then() if callable(then) else os.write(fd, then)
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            break
        if not chunk:
            break
        data += chunk
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return os.waitstatus_to_exitcode(status), data.decode("utf-8", "replace")


def test_terminal(cli):
    evil = agents.shell(r"""printf '%s\n' '{"kind":"assistant_text","data":{"text":"a\u001b]0;owned\u0007b\u001b[2Jc\n"}}'""", name="evil")
    path = cli.file("agent.json", evil)
    status, text = on_terminal(cli, "run", "--file", path, "--follow")
    assert status == 0 and "\033[32m✔ success" in text and "a]0;ownedb[2Jc" in text
    assert "\033]0" not in text and "\033[2J" not in text and "\007" not in text
    status, text = on_terminal(cli, "run", "good", "--follow", env={"NO_COLOR": "1"})
    assert status == 0 and "✔ success" in text and not re.search("\033\\[[0-9;]*m", text)
    plain = cli("run", "--file", path, "--follow")
    assert "\033[3" not in plain.stdout + plain.stderr and "\033[K" not in plain.stderr


def test_ctrl_c_typed_on_a_terminal(cli, api):
    status, text = on_terminal(cli, "run", "--file", cli.file("agent.json", agents.sleeper()), "--follow", steps=[(b"ready", b"\x03")])
    assert status == 130 and "errand stop" in text
    [run] = cli.json("list", "--status", "running")
    assert cli("stop", run["runId"], "--wait").returncode == 0


def test_terminal_shows_the_status_of_what_is_waited_for(cli):
    path = cli.file("agent.json", agents.sleeper())
    status, text = on_terminal(cli, "run", "--file", path, "--wait", steps=[("running ·".encode(), b"\x03")])
    assert status == 130 and not re.search(r"connecting · (\d\d|\d m)", text), "it is not shown only when a long poll is over"
    run_id = re.search(r"errand stop (\S+)", text)[1]
    assert cli("stop", run_id, "--wait").returncode == 0


def test_terminal_shows_that_a_retry_is_waited_for(cli):
    failing = agents.shell("exit 1", name="failing", maxAttempts=2, backoff={"type": "fixed", "baseMs": 60000, "capMs": 60000})
    status, text = on_terminal(cli, "run", "--file", cli.file("agent.json", failing), "--follow", steps=[(b"waiting to retry", b"\x03")])
    assert status == 130
    assert cli("stop", re.search(r"errand stop (\S+)", text)[1], "--wait").returncode == 0


def test_terminal_shows_a_lost_connection_in_the_middle_of_a_line(cli, api):
    half = agents.shell('echo \'{"kind":"assistant_text","data":{"text":"half a line"}}\'; exec sleep 100000', name="half")
    status, text = on_terminal(cli, "run", "--file", cli.file("agent.json", half), "--follow", steps=[(b"half a line", api.kill9), (b"connection lost", b"\x03")])
    assert status == 130 and re.search(r"half a line\r\n[^\n]*connection lost", text), text


def test_input_typed_on_a_terminal_ends_with_one_ctrl_d(cli):
    cat = cli.file("agent.json", agents.shell("cat", name="cat", protocol="text"))
    status, text = on_terminal(cli, "run", "--file", cat, "--input", "-", "--wait", steps=[(b"", b'{"x":12345}\n\x04')])
    assert status == 0 and '"input":{"x":12345}' in text


def test_runners_that_may_execute_nothing(stack, api, redis, folder):
    stack.runner(api=api, env={"ERRAND_EXECUTORS": ""})
    cli = Cli(folder, api.url, stack.key)
    status, text = on_terminal(cli, "runners")
    assert status == 0 and "EXECUTORS" in text and "\033[33mnone\033[0m" in text
    checks = {row["check"]: row for row in cli.json("doctor", env={"ERRAND_REDIS_URL": redis.url, **redis.users.env("doctor")})}
    assert checks["executors"]["status"] == "warning" and checks["executors"]["found"] == "no runner may execute anything" and "ERRAND_EXECUTORS" in checks["executors"]["todo"]
    stack.runner(api=api)
    checks = {row["check"]: row for row in cli.json("doctor", env={"ERRAND_REDIS_URL": redis.url, **redis.users.env("doctor")})}
    assert checks["executors"]["status"] == "ok"


def test_doctor_and_the_password_of_redis(alone, redis_factory):
    redis = redis_factory(users=None)
    redis.command("CONFIG", "SET", "requirepass", "s3cret")

    def found(**env):
        rows = {row["check"]: row for row in alone.json("doctor", status=1, env={"ERRAND_REDIS_URL": redis.url, **env})}
        return rows.get("Redis password") or rows["Redis"]
    for env in ({}, {"ERRAND_REDIS_PASSWORD": "wrong"}):
        assert found(**env)["status"] == "failed" and found(**env)["todo"].startswith("set ERRAND_REDIS_PASSWORD or ERRAND_REDIS_PASSWORD_FILE,")
    assert found(ERRAND_REDIS_PASSWORD="s3cret")["status"] == "ok"
    assert found(ERRAND_REDIS_PASSWORD_FILE=alone.file("password", "s3cret\n"))["status"] == "ok"
    assert found(ERRAND_REDIS_PASSWORD_FILE=alone.file("password", "wrong\n"))["status"] == "failed"
    missing = found(ERRAND_REDIS_PASSWORD_FILE="/nonexistent/password")
    assert missing["status"] == "failed" and "/nonexistent/password" in missing["found"]


def test_doctor_and_the_users_of_redis(alone, redis):
    def found(check="Redis", **env):
        return {row["check"]: row for row in alone.json("doctor", status=1, env={"ERRAND_REDIS_URL": redis.url, **env})}.get(check)
    for user in ("api", "runner", "doctor", "operator"):
        login = redis.users.env(user)
        assert found(**login)["status"] == "ok" and found("clock", **login)["status"] == "ok" and found("connections", **login)["found"].startswith("maxclients ")
        assert ("not shown" in found("persistence", **login)["found"]) == (user != "operator")
        name, password = redis.users.login(user)
        assert found(ERRAND_REDIS_URL=f"unix://{redis.socket}", ERRAND_REDIS_PASSWORD=password)["status"] == "failed", "it is nobody's without its user"
        assert found(ERRAND_REDIS_USER=name, ERRAND_REDIS_PASSWORD=password + "x")["status"] == "failed"
    assert found()["status"] == "failed" and "ERRAND_REDIS_USER" in found()["todo"]


def test_doctor(cli, stack, redis):
    env = {"ERRAND_REDIS_URL": redis.url, **redis.users.env("doctor")}
    done = cli("doctor", env=env)
    assert done.returncode == 0 and "✘" not in done.stdout, done.stdout
    checks = {row["check"]: row for row in cli.json("doctor", env=env)}
    assert {"Redis", "Redis version", "persistence", "eviction", "memory", "clock", "file limit", "API node", "key", "runners", "errand-exec"} <= set(checks)
    assert checks["Redis version"]["status"] == "ok" and checks["runners"]["found"] == "1"
    assert checks["executor process"]["found"].startswith("enforces timeout")
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    redis.command("CONFIG", "SET", "appendonly", "no")
    checks = {row["check"]: row for row in cli.json("doctor", status=1, env=env)}
    assert checks["eviction"]["status"] == "failed" and "noeviction" in checks["eviction"]["todo"]
    assert checks["persistence"]["status"] == "failed" and "appendonly yes" in checks["persistence"]["todo"]
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    checks = {row["check"]: row for row in cli.json("doctor", status=1, env={**env, "ERRAND_KEY": "wrong"})}
    assert checks["key"]["status"] == "failed"


def test_the_key_stands_on_no_command_line(cli, stack):
    process = cli.start("run", "--file", cli.file("agent.json", agents.sleeper()), "--follow")
    wait_until(lambda: "ready" in process.stdout.readline(), what="the agent's event is shown")
    seen = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and process_state(int(name)) is not None:
            try:
                with open(f"/proc/{name}/cmdline", "rb") as f:
                    seen += stack.key.encode() in f.read()
            except OSError:
                pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert seen == 0
    assert cli("stop", re.search(r"errand stop (\S+)", err)[1], "--wait").returncode == 0


def test_output_that_nobody_reads(cli):
    """A pipe whose reader has gone ends it quietly; a full disk does not go unnoticed."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([ERRAND, "limits"], stdout=write, stderr=subprocess.PIPE, env=cli.env, timeout=20)
    os.close(write)
    assert done.returncode == 0 and done.stderr == b""
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([ERRAND, "limits"], stdout=full, stderr=subprocess.PIPE, env=cli.env, timeout=20)
    assert done.returncode == 1 and b"can't be written" in done.stderr


@pytest.mark.parametrize("mode", ["--follow", "--wait"])
def test_a_result_that_cannot_be_written(cli, mode):
    with open("/dev/full", "w", encoding="ascii") as full:
        for agent in ("good", "bad"):
            process = cli.start("run", agent, mode, stdout=full)
            _, err = process.communicate(timeout=30)
            assert process.returncode == 1, err
            assert ("can't be written: No space left" in err) == (agent == "good" or mode == "--follow"), err
    read, write = os.pipe()
    os.close(read)
    process = cli.start("run", "good", "--wait", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "written" not in err


@pytest.mark.parametrize("pause_ms", [None, 20])
def test_follow_ends_when_its_reader_has_gone(cli, api, folder, pause_ms):
    """As in `errand run … --follow | head -1`: whether the run goes on printing, or says nothing more."""
    agent = agents.sleeper() if pause_ms is None else agents.counter(folder)
    process = cli.start("run", "--file", cli.file("agent.json", agent), "--follow", "--json", "--input", json.dumps({"n": 1000000, "group": 1, "pauseMs": pause_ms or 0}))
    process.stdout.readline()
    process.stdout.close()
    run_id = wait_until(lambda: [r["runId"] for r in cli.json("list", "--status", "running")], what="the run is running")[0]
    assert process.wait(20) == 130 and process.stderr.read() == ""
    process.stderr.close()
    assert api.record(run_id)["status"] == "running"
    assert cli("stop", run_id, "--wait").returncode == 0


def test_follow_ends_when_its_output_cannot_be_written(cli, api):
    with open("/dev/full", "w", encoding="ascii") as full:
        process = cli.start("run", "--file", cli.file("agent.json", agents.sleeper()), "--follow", stdout=full)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and err == "errand: standard output can't be written: No space left on device\n"
    assert all(cli("stop", run["runId"], "--wait").returncode == 0 for run in cli.json("list", "--status", "running", "--status", "queued"))


def test_started_with_closed_descriptors(cli):
    def run(redirections):
        return subprocess.run(["/bin/sh", "-c", f'exec "$0" run good --wait {redirections}', ERRAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cli.env, cwd=cli.folder, timeout=60)
    done = run("<&- 2>&-")
    assert done.returncode == 0 and json.loads(done.stdout) == {"answer": 42}, done
    done = run(">&-")
    assert done.returncode == 1 and "✔ success" in done.stderr and "standard output can't be written" in done.stderr, done
    assert run("<&- >&- 2>&-").returncode == 1


def test_nohup_has_its_effect(cli, api):
    process = cli.start("run", "--file", cli.file("agent.json", agents.sleeper()), "--follow", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until(lambda: "ready" in process.stdout.readline(), what="the agent's event is shown")
    process.send_signal(signal.SIGHUP)
    [run] = cli.json("list", "--status", "running")
    assert cli("stop", run["runId"], "--wait").returncode == 0
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3, err
