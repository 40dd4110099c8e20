"""`errand bench` from outside: each measurement on real nodes with small numbers, what it leaves behind, and how it ends when a deployment does not answer as it should."""
import json
import os
import signal
import subprocess
import threading

import pytest

from harness.nodes import build_dir
from harness.stream_server import StreamServer
from harness.wait import wait_until

ERRAND = os.path.join(build_dir(), "errand")
ME = {"key": "k", "workspace": "default", "scopes": ["*"], "session": False}


class Bench:
    def __init__(self, folder, url, key="key"):
        self.folder = folder
        self.env = {k: os.environ[k] for k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if k in os.environ}
        self.env.update(HOME=folder, TMPDIR=folder, LC_ALL="C.UTF-8", ERRAND_URL=url, ERRAND_KEY=key)

    def start(self, *args):
        # Signals that the tests' own shell ignores would be ignored by it too.
        return subprocess.Popen([ERRAND, "bench", *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, cwd=self.folder,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def __call__(self, *args, status=0, timeout=60):
        """(standard output, standard error)"""
        process = self.start(*args)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        assert process.returncode == status, (process.returncode, out, err)
        assert "Sanitizer" not in err and "runtime error" not in err, err
        return out, err

    def one(self, *args, **kwargs):
        """The figure of a measurement that went well."""
        out, err = self(*args, "--json", **kwargs)
        figure, = map(json.loads, out.splitlines())
        assert err == "" and figure["failed"] == 0 and "firstFailure" not in figure, (figure, err)
        assert 0 < figure["lowest"] <= figure["value"] <= figure["highest"] and figure["seconds"] > 0 and figure["clientCpuUs"] > 0 and 0 < figure["clientShare"] < 1.5, figure
        return figure


@pytest.fixture
def bench(stack, api, runner):
    return Bench(stack.folder, api.url, stack.key)


def nothing_left(stack, api):
    """No run and no agent of its own is left, and no folder."""
    assert api.get("/v1/runs").json()["runs"] == []
    assert api.get("/v1/agents").json()["agents"] == []
    assert not [name for name in os.listdir(stack.folder) if name.startswith("errand-bench")]


def test_submits(stack, api, bench):
    """One, many in flight, and batches; a warm-up is not counted; everything is removed."""
    figure = bench.one("submit", "--connections", 4, "--requests", 50, "--repeat", 2, "--warmup", 7)
    assert (figure["name"], figure["unit"], figure["requests"], figure["operations"], figure["repetitions"]) == ("submit", "runs/s", 100, 100, 2)
    assert 0 < figure["p50Us"] <= figure["p99Us"] and figure["connections"] == 4
    assert api.metric("errand_runs_submitted_total") == 107
    figure = bench.one("submit", "--batch", 20, "--requests", 3, "--repeat", 1, "--warmup", 0)
    assert (figure["requests"], figure["operations"], figure["batch"]) == (3, 60, 20)
    figure = bench.one("submit", "--seconds", "100ms", "--repeat", 1)
    assert figure["operations"] > 10 and 0.1 <= figure["seconds"] < 5
    nothing_left(stack, api)


def test_runs_to_their_end(stack, api, bench):
    """Their rate is that of their records, all of which it has seen end well."""
    figure = bench.one("noop", "--requests", 30, "--batch", 10, "--repeat", 2)
    assert (figure["unit"], figure["operations"], figure["requests"]) == ("runs/s", 60, 6)
    assert figure["value"] == pytest.approx(30 / (figure["seconds"] / 2), rel=0.5)
    figure = bench.one("noop", "--requests", 20, "--repeat", 1, "--sample")
    assert figure["operations"] == 20
    nothing_left(stack, api)


@pytest.mark.root_key
def test_in_several_workspaces(stack, api, bench):
    """Connections take them in turns. With --keep the runs stay, without a label."""
    figure = bench.one("submit", "--workspace", "a,b", "--connections", 2, "--requests", 20, "--repeat", 1, "--warmup", 0, "--keep")
    assert figure["operations"] == 20
    found = [api.get("/v1/runs?limit=200", workspace=w).json()["runs"] for w in ("a", "b", "default")]
    assert len(found[0]) + len(found[1]) == 20 and found[0] and found[1] and not found[2]
    assert all(run["queue"] == "errand-bench" and not run.get("labels") for run in found[0] + found[1])
    figure = bench.one("noop", "--workspace", "c,d", "--connections", 2, "--requests", 20, "--batch", 5, "--repeat", 1)
    assert figure["operations"] == 20
    assert [api.get("/v1/runs", workspace=w).json()["runs"] for w in ("c", "d")] == [[], []]


def test_runs_that_end_badly_are_a_failure(stack, api, bench):
    api.request("PUT", "/v1/agents/sometimes", {"executor": "process", "command": ["/bin/sh", "-c", f"mkdir {stack.folder}/first 2>/dev/null"]})
    out, err = bench("noop", "--agent", "sometimes", "--requests", 10, "--repeat", 1, "--warmup", 0, "--json", status=1)
    assert json.loads(out)["failed"] == 10 and "ended as error (exit_nonzero)" in err
    assert api.get("/v1/agents").json()["agents"] != []


def test_readers(stack, apis):
    """Readers on two nodes get each event once, of an ended run and of a live one."""
    stack.runner()
    bench = Bench(stack.folder, ",".join(a.url for a in apis), stack.key)
    figure = bench.one("replay", "--readers", 6, "--events", 300, "--repeat", 2)
    assert (figure["unit"], figure["readers"], figure["events"], figure["operations"]) == ("events/s", 6, 302, 2 * 6 * 302)
    assert figure["bytesPerEvent"] > 100
    figure = bench.one("fanout", "--readers", 40, "--events", 300, "--repeat", 2)
    assert (figure["readers"], figure["events"], figure["operations"], figure["resumed"]) == (40, 302, 2 * 40 * 301, 0)
    figure = bench.one("fanout", "--readers", 4, "--events", 64, "--rate", 1000, "--repeat", 1)
    assert 0 <= figure["p50Us"] <= figure["p99Us"] < 60e6
    for a in apis:
        assert a.metric("errand_stream_frames_total") > 100, "both were read from"
    nothing_left(stack, apis[0])


def test_latency(stack, api, bench):
    figure = bench.one("latency", "--requests", 10, "--warmup", 2, "--repeat", 2)
    assert (figure["unit"], figure["operations"]) == ("ms", 20)
    assert figure["p50Us"] <= figure["agentP50Us"] and figure["value"] * 1000 <= figure["p99Us"] * 1.02
    figure = bench.one("latency", "--requests", 10, "--rate", 50, "--connections", 4, "--warmup", 0, "--repeat", 1)
    assert figure["operations"] == 10 and figure["seconds"] > 0.15
    nothing_left(stack, api)


def test_ingress(stack, api, bench):
    figure = bench.one("ingress", "--connections", 2, "--requests", 10, "--batch", 16, "--repeat", 2, "--warmup", 2)
    assert (figure["unit"], figure["requests"], figure["operations"]) == ("events/s", 20, 320)
    nothing_left(stack, api)


def test_without_a_name(stack, api, bench):
    """A table with something of each, said before that it puts a load on the deployment."""
    out, err = bench("--repeat", 1, "--warmup", 0, timeout=120)
    lines = out.splitlines()
    assert lines[0].split()[0] == "MEASURED" and len(lines) == 9 and lines[8].startswith("This client used at most "), out
    assert "FAILED" not in out and "removed" in err
    nothing_left(stack, api)


def test_what_it_refuses(stack, api):
    """Where nothing can be measured it says why before it begins."""
    assert "--yes" in Bench(stack.folder, "http://192.0.2.1:9")("submit", status=2)[1]
    assert "plain HTTP" in Bench(stack.folder, "https://127.0.0.1:9")("submit", status=2)[1]
    assert "without a path" in Bench(stack.folder, "http://127.0.0.1:9/errand")("submit", status=2)[1]
    assert "no node answers" in Bench(stack.folder, "http://127.0.0.1:1")("submit", status=4)[1]
    bench = Bench(stack.folder, api.url, stack.make_key(name="few", scopes=["runs:create", "runs:read"]))
    assert "runs:stop runs:delete agents:write" in bench("submit", status=4)[1]
    bench = Bench(stack.folder, api.url, stack.key)
    assert "did you mean submit" in bench("sumbit", status=2)[1]
    assert "no runner with the executor process serves the queue default" in bench("fanout", status=4)[1]
    assert "agent_not_found" in bench("submit", "--agent", "nobody", status=4)[1]
    nothing_left(stack, api)


@pytest.mark.parametrize("args", [("submit", "--connections", 8, "--seconds", "1m"), ("noop", "--requests", 5000), ("latency", "--requests", 100000), ("ingress", "--seconds", "1m"),
                                  ("fanout", "--events", 20000, "--rate", 100)])
def test_interrupted_it_cleans_up(stack, api, bench, args):
    process = bench.start(*args)
    wait_until(lambda: api.get("/v1/runs").json()["runs"], 20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, ""), (out, err)
    nothing_left(stack, api)


def test_what_is_under_way_is_waited_for(folder):
    """A submit that is answered after the Ctrl-C is there to be removed: nothing is removed before its answer."""
    order, came = [], threading.Event()

    class Slow(Pretender):
        def _answer(self, request, reply):
            if request.path == "/v1/runs/bulk":
                order.append("removed")
            super()._answer(request, reply)

    def answer(request, reply):
        came.set()
        left.wait(20)
        order.append("answered")
        reply.whole(202, "{}", Connection="close")

    left = threading.Event()
    with Slow(answer) as server:
        process = Bench(folder, server.url).start("submit", "--connections", 1, "--requests", 1)
        assert came.wait(20)
        process.send_signal(signal.SIGINT)
        # The signal is taken as soon as nothing is pending any more; a little later still nothing was removed.
        wait_until(lambda: not pending(process.pid), 20)
        assert order == []
        left.set()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and order[:2] == ["answered", "removed"], (out, err, order)


def pending(pid):
    """Whether a signal waits to be read."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return any(int(line.split()[1], 16) for line in f if line.startswith(("SigPnd:", "ShdPnd:")))


def test_a_node_that_dies_ends_it(stack, api, bench):
    """No hang, and what is left is said."""
    process = bench.start("submit", "--connections", 3, "--seconds", "1m", "--json")
    wait_until(lambda: (api.metric("errand_runs_submitted_total") or 0) > 50, 20)
    api.kill9()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 4, (out, err)
    assert "given up after" in err and "Connection refused" in err and "errand bulk delete --label errand-bench=" in err
    assert out == ""


class Pretender:
    """Answers what a bench prepares with, and for the rest what `answer(request, reply)` says."""

    def __init__(self, answer):
        self.answer = answer
        self.server = StreamServer(self._answer)

    def _answer(self, request, reply):
        if request.path == "/v1/whoami":
            reply.whole(200, json.dumps(ME), Connection="close")
        elif request.path.startswith("/v1/agents/") or request.path == "/v1/runs/bulk":
            reply.whole(200, json.dumps({"matched": 0, "cursor": None}), Connection="close")
        elif request.path == "/metrics":
            reply.whole(404, "{}", Connection="close")
        else:
            self.answer(request, reply)

    def __enter__(self):
        return self.server

    def __exit__(self, *_):
        self.server.close()
        assert not self.server.errors


@pytest.mark.parametrize("what, words", [
    (lambda request, reply: reply.whole(500, '{"code":"internal","detail":"a fault"}', Connection="close"), "500 internal: a fault"),
    (lambda request, reply: reply.raw(b"HTTP/1.1 202 OK\r\nContent-Length: 50\r\n\r\n{"), "a connection broke"),
    (lambda request, reply: reply.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "no Errand node"),
    (lambda request, reply: reply.raw(b"HTTP/1.1 202 OK\r\nContent-Length: 99999999999\r\n\r\n"), "no Errand node"),
    (lambda request, reply: reply.raw(b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), "without a length"),
])
def test_answers_that_are_none(folder, what, words):
    with Pretender(what) as server:
        out, err = Bench(folder, server.url)("submit", "--connections", 2, status=4)
    assert "given up after 200 failures" in err and words in err and out == ""


def frames(*seqs, done=True):
    text = "retry: 1000\n\nevent: run\ndata: {}\n\n" + "".join(f'id: {n}\nevent: assistant_text\ndata: {{"seq":{n}}}\n\n' for n in seqs)
    return text + ("event: done\ndata: {}\n\n" if done else "")


@pytest.mark.parametrize("seqs, words", [([1, 2, 4], "1 missing"), ([1, 2, 2, 3], "1 twice"), ([1, 3, 2], "1 twice")])
def test_a_reader_that_misses_something_is_a_failure(folder, seqs, words):
    def answer(request, reply):
        reply.head(200, "text/event-stream").send(frames(*seqs)).end()

    with Pretender(answer) as server:
        out, err = Bench(folder, server.url)("replay", "--run", "00000000-0000-4000-8000-000000000000", "--repeat", 1, "--json", status=1)
    assert words in err and json.loads(out)["failed"] == 1


def test_a_reader_goes_on_where_it_was_cut(folder):
    """Cut in the middle of an event, anywhere in the framing, it comes back behind the last whole one; that is no failure. A broken framing is one."""
    whole, lock, cuts = frames(*range(1, 9)), threading.Lock(), iter([None, 40, 60, 75, 100, 131, 150])  # the first replay is a warm-up

    def answer(request, reply):
        after = int(request.path.partition("?after=")[2] or 0)
        text = frames(*range(after + 1, 9))
        with lock:
            cut = next(cuts, None)
        reply.head(200, "text/event-stream")
        if cut is None:
            reply.send(text[:33]).send(text[33:]).end()
        else:
            reply.raw(b"%x\r\n%s" % (len(whole), text[:cut].encode()))

    with Pretender(answer) as server:
        figure = Bench(folder, server.url).one("replay", "--run", "00000000-0000-4000-8000-000000000000", "--repeat", 1)
    assert (figure["events"], figure["resumed"]) == (8, 6)

    def broken(request, reply):
        reply.head(200, "text/event-stream").raw(b"zz\r\n")

    with Pretender(broken) as server:
        assert "framing is broken" in Bench(folder, server.url)("replay", "--run", "00000000-0000-4000-8000-000000000000", "--json", status=1)[1]
