"""What a node says of itself: counters that count exactly what was done, and log lines that lead from a request to its run."""
import json
import os
import re

import pytest

from harness import agents
from harness.http_client import request
from harness.wait import wait_until

QUICK = agents.shell("echo hello", name="quick", protocol="text")
BAD = agents.shell("exit 1", name="bad")
OUTCOMES = ("success", "error", "stopped", "fenced", "handed_back")


def waiter(folder):
    """An agent that says `ready` and goes on once the file `go` is in the test's folder."""
    return agents.shell(f"""echo '{{"kind":"notification","data":{{"ready":true}}}}'; while [ ! -e {folder}/go ]; do sleep 0.05; done""", name="waiter")


def samples(port):
    """{name with labels: value}"""
    text = request(port, "GET", "/metrics").body.decode()
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M)}


class Measured:
    """A node whose counters are compared with what they were."""

    def __init__(self, port):
        self.port, self.before = port, samples(port)

    def rise(self, name):
        return samples(self.port)[name] - self.before[name]

    def outcomes(self):
        """Attempts that ended, by outcome; those that there were."""
        found = {o: self.rise(f'errand_runner_attempts_total{{outcome="{o}"}}') for o in OUTCOMES}
        return {o: n for o, n in found.items() if n}


@pytest.fixture
def measured_runner(stack, api):
    """Starts a runner that serves its metrics; returns it and its Measured."""
    def make(**kwargs):
        port_file = os.path.join(stack.folder, f"metrics-{len(stack.runners)}")
        runner = stack.runner(args=["--metrics-listen", "127.0.0.1:0", "--port-file", port_file], api=api, **kwargs)
        wait_until(lambda: os.path.exists(port_file) and os.path.getsize(port_file), 10, "the runner writes its port")
        with open(port_file, encoding="ascii") as f:
            return runner, Measured(int(f.read()))
    return make


def test_counters_rise_by_exactly_the_runs_done(api, measured_runner):
    node, (_, runner) = Measured(api.port), measured_runner(slots=5)
    runs = [api.submit(QUICK) for _ in range(7)] + [api.submit(BAD, maxAttempts=1) for _ in range(3)]
    records = [api.wait(r) for r in runs]
    wait_until(lambda: sum(runner.outcomes().values()) == 10, what="all attempts are counted")
    assert node.rise("errand_runs_submitted_total") == 10 and node.rise("errand_runs_refused_total") == 0
    assert runner.outcomes() == {"success": 7, "error": 3}
    assert runner.rise("errand_runner_claims_total") == 10
    assert runner.rise("errand_runner_start_duration_seconds_count") == 10
    # The first and the last event of a run are written by scripts, the others are appended.
    assert runner.rise("errand_runner_events_total") == sum(r["eventCount"] - 2 for r in records) == 7
    now = samples(runner.port)
    assert now["errand_runner_slots"] == 5 and now["errand_runner_slots_busy"] == 0


def test_every_attempt_is_counted_once_under_its_own_outcome(stack, api, measured_runner):
    _, measured = measured_runner()
    sleeping = api.submit(agents.sleeper())
    api.wait(sleeping, "running")
    assert samples(measured.port)["errand_runner_slots_busy"] == 1
    assert api.post(f"/v1/runs/{sleeping}/stop?wait=20").status in (200, 202)
    wait_until(lambda: measured.outcomes() == {"stopped": 1}, what="the stopped attempt is counted")
    retried = api.submit(dict(BAD, backoff={"type": "fixed", "baseMs": 1}), maxAttempts=3)
    assert api.wait(retried)["attempt"] == 3
    wait_until(lambda: measured.outcomes() == {"stopped": 1, "error": 3}, what="each attempt of a retried run is counted")
    assert measured.rise("errand_runner_claims_total") == 4


def test_an_attempt_that_lost_its_claim_counts_as_fenced_and_as_nothing_else(stack, api, measured_runner):
    _, runner = measured_runner()
    run_id = api.submit(waiter(stack.folder), maxAttempts=1)
    wait_until(lambda: api.record(run_id)["eventCount"] == 2, what="the agent is ready")
    # As if another attempt had been made behind its back: its end is then refused.
    stack.redis.command("HSET", f"{stack.shard()}run:{run_id}", "epoch", "99")
    with open(os.path.join(stack.folder, "go"), "w", encoding="ascii"):
        pass
    wait_until(lambda: runner.outcomes(), 20, "the attempt is counted")
    assert runner.outcomes() == {"fenced": 1}


def test_what_was_refused_or_sent_again_is_no_new_run(stack, api):
    node = Measured(api.port)
    first = api.post("/v1/runs", {"agent": QUICK}, headers={"Idempotency-Key": "k"})
    again = api.post("/v1/runs", {"agent": QUICK}, headers={"Idempotency-Key": "k"})
    assert again.json()["runId"] == first.json()["runId"] and again.headers["idempotency-replayed"] == "true"
    assert (node.rise("errand_runs_submitted_total"), node.rise("errand_runs_refused_total")) == (1, 0)
    assert api.post("/v1/runs", {"agent": "nobody"}).code == "agent_not_found"
    assert (node.rise("errand_runs_submitted_total"), node.rise("errand_runs_refused_total")) == (1, 1)


def test_answers_are_counted_by_their_class(api):
    node = Measured(api.port)
    for _ in range(3):
        assert api.get("/v1/runs").status == 200
    for path in ("/v1/nothing", "/v1/runs/x", "/v1/runs?limit=x"):
        assert 400 <= api.get(path).status < 500
    now = samples(api.port)  # an answer is counted when it is given, so a look at /metrics counts from the next look on
    rise = {code: now[name] - node.before[name] for code in ("2xx", "4xx", "5xx") for name in [f'errand_http_requests_total{{code="{code}"}}']}
    assert rise == {"2xx": 4, "4xx": 3, "5xx": 0}
    assert now["errand_http_request_duration_seconds_count"] - node.before["errand_http_request_duration_seconds_count"] == 7


def test_readers_are_counted_while_they_read(stack, api, runner):
    run_id = api.submit(waiter(stack.folder))
    streams = [api.stream(run_id) for _ in range(3)]
    wait_until(lambda: api.metric("errand_stream_readers") == 3, what="three read")
    streams.pop().close()
    wait_until(lambda: api.metric("errand_stream_readers") == 2, what="one has left")
    with open(os.path.join(stack.folder, "go"), "w", encoding="ascii"):
        pass
    api.wait(run_id)
    for stream in streams:
        stream.close()
    wait_until(lambda: api.metric("errand_stream_readers") == 0, what="all have left")
    assert api.metric("errand_stream_readers_cut_total") == 0


@pytest.mark.parametrize("log_format", ["json", "logfmt"])
def test_a_log_leads_from_a_request_to_its_run(stack, log_format):
    env = {"ERRAND_LOG_FORMAT": log_format, "ERRAND_NODE": "machine 1"}
    api, runner = stack.api(env=env), stack.runner(env=env)
    answer = api.post("/v1/runs", {"agent": BAD, "maxAttempts": 1})
    run_id = answer.json()["runId"]
    stack.run_ids.append(run_id)
    api.wait(run_id)
    wait_until(lambda: "attempt ended" in runner.process.output().decode(), what="the end is logged")

    def lines(process):
        for line in process.output().decode().splitlines():
            yield json.loads(line) if log_format == "json" else parse_logfmt(line)
    for process, component in ((api.process, "api"), (runner.process, "runner")):
        for line in lines(process):
            assert line["component"] == component and line["node"] == "machine 1" and line["level"] in ("debug", "info", "warn", "error")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) and line["msg"]
    # The id in the answer's header is the one in the log, as it stands.
    [found] = [line for line in lines(api.process) if line.get("requestId") == answer.headers["x-request-id"]]
    assert found["path"] == "/v1/runs" and str(found["status"]) == "202"
    of_run = [line for line in lines(runner.process) if line.get("runId") == run_id]
    assert [line["msg"] for line in of_run if line["msg"].startswith("attempt ")] == ["attempt claimed", "attempt started", "attempt ended"]
    assert {str(line["attempt"]) for line in of_run} == {"1"}
    assert not [key for key in (stack.key, stack.root_key) if key in api.process.output().decode()]


def parse_logfmt(line):
    pairs = re.findall(r'([A-Za-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]+)(?: |$)', line)
    assert " ".join(f"{k}={v}" for k, v in pairs) == line, line
    return {k: json.loads(v) if v.startswith('"') else v for k, v in pairs}
