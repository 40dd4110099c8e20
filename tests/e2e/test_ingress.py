"""Runtimes without Redis: batches over HTTP with a runner token. The agent only lives; the test speaks in its name, so that every byte and every code can be shown."""
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import agents, http_client
from harness.delivery import check_exact_delivery
from harness.processes import of_run
from harness.wait import wait_until


class Remote:
    """A running remote attempt, and its voice."""

    def __init__(self, stack, api, before="", **fields):
        self.stack, self.api = stack, api
        folder = stack.folder
        fields.setdefault("graceMs", 500)
        text = before + f'printf "%s" "$ERRAND_RUNNER_TOKEN" > {folder}/token.$ERRAND_RUN_ID.$ERRAND_ATTEMPT.tmp; mv {folder}/token.$ERRAND_RUN_ID.$ERRAND_ATTEMPT.tmp {folder}/token.$ERRAND_RUN_ID.$ERRAND_ATTEMPT; ' \
               f'echo this is only log; while [ ! -e {folder}/exit.$ERRAND_RUN_ID.$ERRAND_ATTEMPT ]; do sleep 0.02; done; exit $(cat {folder}/exit.$ERRAND_RUN_ID.$ERRAND_ATTEMPT)'
        self.run_id = api.submit(agents.shell(text, name="remote", eventSource="remote", **fields))
        self.attempt, self.token = 1, self.token_of(1)

    def token_of(self, attempt):
        path = f"{self.stack.folder}/token.{self.run_id}.{attempt}"
        wait_until(lambda: os.path.exists(path), 15, "the runtime has its token")
        with open(path, encoding="ascii") as f:
            return f.read()

    def post(self, body, token=None, api=None, content_type="application/json", run_id=None):
        return http_client.request((api or self.api).port, "POST", f"/v1/runs/{run_id or self.run_id}/runner/events", body,
                                   {"Authorization": f"Bearer {token or self.token}", "Content-Type": content_type})

    def batch(self, *events, **kwargs):
        return self.post({"v": 1, "runId": self.run_id, "events": list(events)}, **kwargs)

    def manifest(self, token=None):
        return http_client.request(self.api.port, "GET", f"/v1/runs/{self.run_id}/runner/manifest", headers={"Authorization": f"Bearer {token or self.token}"})

    def exit(self, code=0, attempt=None):
        path = f"{self.stack.folder}/exit.{self.run_id}.{attempt or self.attempt}"
        with open(path + ".tmp", "w", encoding="ascii") as f:
            f.write(str(code))
        os.rename(path + ".tmp", path)

    def now(self):
        return self.manifest().json()["lastTMs"]


def event(seq, t, kind="notification", **data):
    return {"seq": seq, "tMs": t, "kind": kind, "data": data}


def terminal(seq, t, status="success", **data):
    return event(seq, t, "runtime_terminal", status=status, **data)


@pytest.fixture
def remote(stack, apis):
    stack.runner(api=apis[0])
    return Remote(stack, apis[0])


def test_the_whole_way(stack, apis, remote):
    manifest = remote.manifest()
    assert manifest.status == 200
    shown = manifest.json()
    assert shown["runId"] == remote.run_id and shown["attempt"] == 1 and shown["nextSeq"] == 2 and shown["stop"] is False and shown["limits"]["batchEvents"] == 256
    t = shown["lastTMs"]
    reader = stack.reader(remote.run_id)
    first = remote.batch(event(2, t, "assistant_text", text="a"), event(5, t + 1, "tool_request", name="x"))
    assert first.status == 202 and first.json() == {"runId": remote.run_id, "accepted": 2, "nextSeq": 6, "lastTMs": t + 1, "stop": False}
    lines = remote.post("\n".join(json.dumps(event(i, t + i)) for i in range(6, 10)), content_type="application/x-ndjson", api=apis[1])
    assert lines.status == 202 and lines.json()["accepted"] == 4 and lines.json()["nextSeq"] == 10
    claim = remote.batch(event(10, t + 20), terminal(11, t + 20, result={"a": 1}))
    assert claim.status == 202 and claim.json()["nextSeq"] == 12
    remote.exit()
    record = check_exact_delivery(stack, [remote.run_id], {remote.run_id: [reader]})[remote.run_id]
    assert record["status"] == "success" and record["result"] == {"a": 1}
    events = [json.loads(line) for line in apis[1].replay(remote.run_id).lines()]
    assert [e["seq"] for e in events] == [1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert events[-1]["kind"] == "runtime_terminal" and events[-1]["data"] == {"status": "success", "result": {"a": 1}, "attempt": 1}
    logs = apis[0].get(f"/v1/runs/{remote.run_id}/logs").json()["lines"]
    assert [(line["stream"], line["text"]) for line in logs] == [("stdout", "this is only log")]


def test_a_retried_batch_is_a_duplicate(stack, apis, remote):
    t = remote.now()
    one, two = [event(2, t, a=1), event(3, t, a=2)], [event(4, t + 1), terminal(5, t + 1)]
    assert remote.batch(*one).status == 202
    for again in (one, one[:1], one[1:]):
        answer = remote.batch(*again, api=apis[1])
        assert answer.status == 200 and answer.json()["duplicate"] is True and answer.json()["accepted"] == 0 and answer.json()["nextSeq"] == 4
    assert remote.batch(*two).status == 202
    assert remote.batch(*two).json()["duplicate"] is True
    assert remote.batch(*one).json()["duplicate"] is True, "also behind the claim"
    remote.exit()
    apis[0].wait(remote.run_id)
    assert remote.batch(*two).json()["duplicate"] is True and remote.batch(*one).status == 200, "also after the end"
    check_exact_delivery(stack, [remote.run_id])


def test_conflicts(stack, apis, remote):
    """The 409 codes, in their order; each answer says where the stream stands."""
    t = remote.now()
    assert remote.batch(event(2, t), event(3, t + 5)).status == 202
    standing = {"runId": remote.run_id, "accepted": 0, "nextSeq": 4, "lastTMs": t + 5, "stop": False}

    def refused(answer, code):
        assert answer.status == 409 and answer.code == code, answer
        assert standing.items() <= answer.json().items(), answer
    refused(remote.batch(event(3, t + 5, other=1)), "seq_conflict")
    refused(remote.batch(event(2, t), event(3, t + 5), event(4, t + 6)), "seq_conflict")
    refused(remote.batch(event(1, t + 9)), "seq_conflict")
    refused(remote.batch(event(4 + 2**32 + 10, t + 9)), "seq_conflict")
    refused(remote.batch(event(4, t + 4)), "t_ms_not_monotonic")
    refused(remote.batch(event(4, t + 90_000_000)), "t_ms_not_monotonic")
    refused(remote.batch(event(3, t)), "seq_conflict")
    assert remote.batch(event(4, t + 6), terminal(5, t + 6)).status == 202
    standing.update(nextSeq=6, lastTMs=t + 6)
    refused(remote.batch(event(6, t + 7)), "run_terminal")
    refused(remote.batch(terminal(5, t + 6, result=1)), "run_terminal")
    refused(remote.batch(event(1, t)), "run_terminal")
    remote.exit()
    apis[0].wait(remote.run_id)
    assert remote.batch(event(9, t + 9)).code == "run_terminal"
    check_exact_delivery(stack, [remote.run_id])


def test_wrong_source(stack, api, runner):
    """An agent whose output the runner reads can't post as well."""
    folder = stack.folder
    run_id = api.submit(agents.shell(f'printf "%s" "$ERRAND_RUNNER_TOKEN" > {folder}/t.tmp; mv {folder}/t.tmp {folder}/t; while [ ! -e {folder}/go ]; do sleep 0.02; done', name="own"))
    wait_until(lambda: os.path.exists(f"{folder}/t"), 10)
    wait_until(lambda: api.get(f"/v1/runs/{run_id}").json()["status"] == "running", 10)  # its token is known with its start
    with open(f"{folder}/t", encoding="ascii") as f:
        token = f.read()
    answer = http_client.request(api.port, "POST", f"/v1/runs/{run_id}/runner/events", {"v": 1, "runId": run_id, "events": [event(9, 1)]}, {"Authorization": f"Bearer {token}"})
    assert answer.status == 409 and answer.code == "wrong_source" and answer.json()["nextSeq"] >= 2, answer
    with open(f"{folder}/go", "w", encoding="ascii"):
        pass
    assert api.wait(run_id)["status"] == "success"
    assert 9 not in [json.loads(line)["seq"] for line in api.replay(run_id).lines()]


def test_credentials_of_a_runtime(stack, apis, remote):
    other = Remote(stack, apis[0])
    t = remote.now()
    body = {"v": 1, "runId": remote.run_id, "events": [event(2, t)]}
    not_yours = [other.token, "ert_1_" + "A" * 43]  # looks like a run that is not there
    for token in ["x", stack.root_key, remote.token + "x", remote.token[:-1], *not_yours]:
        answer = remote.post(body, token=token)
        wanted = (403, "forbidden") if token == stack.root_key else (404, "run_not_found") if token in not_yours else (401, "unauthorized")
        assert (answer.status, answer.code) == wanted, token
        assert remote.manifest(token=token).status == answer.status
    nobody = "00ffffff-ffff-4fff-8fff-ffffffffffff"
    answer = remote.post({**body, "runId": nobody}, run_id=nobody)
    assert (answer.status, answer.code) == (404, "run_not_found"), answer
    assert http_client.request(apis[0].port, "GET", f"/v1/runs/{remote.run_id}", headers={"Authorization": f"Bearer {remote.token}"}).status == 403, "it is no API key"
    for one in (remote, other):
        one.exit()
        apis[0].wait(one.run_id)
    for process in [a.process for a in apis] + [r.process for r in stack.runners]:
        assert remote.token.encode() not in process.output(), "a token stands in a log"
    assert not [k for k in stack.redis.keys("*") if remote.token.encode() in (stack.redis.command("DUMP", k) or b"")], "a token is stored"


def test_an_attempt_that_was_taken_away_is_fenced(stack, apis):
    quick = {"ERRAND_LEASE_MS": 2000, "ERRAND_HEARTBEAT_MS": 300}
    first = stack.runner(env=quick, api=apis[0])
    remote = Remote(stack, apis[0])
    t = remote.now()
    assert remote.batch(event(2, t)).status == 202
    first.kill9()
    stack.runner(env=quick, api=apis[0])
    token = remote.token_of(2)
    late = remote.batch(event(3, t + 1))
    assert late.status == 409 and late.code == "fenced" and "nextSeq" in late.json()
    shown = remote.manifest(token=token).json()
    assert shown["attempt"] == 2 and shown["nextSeq"] > 3
    assert remote.batch(event(shown["nextSeq"], shown["lastTMs"]), token=token).status == 202
    remote.exit(attempt=2)
    record = check_exact_delivery(stack, [remote.run_id])[remote.run_id]
    assert record["status"] == "success" and record["attempt"] == 2 and record["failures"] == 0


def test_a_claimed_error_with_attempts_left_is_tried_again(stack, apis):
    stack.runner(api=apis[0])
    remote = Remote(stack, apis[0], maxAttempts=2, backoff={"type": "fixed", "baseMs": 10, "capMs": 10})
    t = remote.now()
    assert remote.batch(terminal(2, t, "error", error={"message": "no luck"})).status == 202
    remote.exit()
    token = remote.token_of(2)
    stored = apis[0].get(f"/v1/runs/{remote.run_id}/events").json()["events"]
    error = next(e for e in stored if e["kind"] == "stream_error")
    assert error["data"] == {"willRetry": True, "attempt": 1, "error": {"class": "agent_error", "message": "no luck"}} and error["seq"] == 2
    shown = remote.manifest(token=token).json()
    assert remote.batch(terminal(shown["nextSeq"], shown["lastTMs"], result=2), token=token).status == 202
    remote.exit(attempt=2)
    record = check_exact_delivery(stack, [remote.run_id])[remote.run_id]
    assert record["status"] == "success" and record["result"] == 2 and record["failures"] == 1


def test_a_runtime_that_stays_after_its_claim_is_ended(stack, apis, remote):
    assert remote.batch(terminal(2, remote.now(), result=1)).status == 202
    record = apis[0].wait(remote.run_id, timeout=10)
    assert record["status"] == "success" and not of_run(remote.run_id)


def test_a_runtime_that_ends_without_a_claim(stack, apis, remote):
    remote.exit(3)
    record = check_exact_delivery(stack, [remote.run_id])[remote.run_id]
    assert record["status"] == "error" and record["error"]["class"] == "exit_nonzero"


def test_a_stop_is_told_to_the_sender(stack, apis):
    """The agent does not hear SIGTERM, so that it still runs when it posts; its grace ends when it exits by itself."""
    stack.runner(api=apis[0])
    remote = Remote(stack, apis[0], before="trap '' TERM; ", graceMs=60000)
    t = remote.now()
    assert apis[1].post(f"/v1/runs/{remote.run_id}/stop").status == 202
    answer = remote.batch(event(2, t))
    assert answer.status == 202 and answer.json()["stop"] is True and remote.manifest().json()["stop"] is True
    assert remote.batch(event(2, t)).json() == {**answer.json(), "accepted": 0, "duplicate": True}
    refused = remote.batch(event(1, t))
    assert refused.status == 409 and refused.code == "seq_conflict" and refused.json()["stop"] is True
    assert remote.batch(terminal(3, t, result=1)).status == 202
    remote.exit()
    record = check_exact_delivery(stack, [remote.run_id])[remote.run_id]
    assert record["status"] == "stopped", "a stop overrides a claimed success"


def test_a_batch_refused_by_itself_tells_where_the_stream_stands(stack, apis, remote):
    t = remote.now()
    assert remote.batch(event(2, t), event(3, t)).status == 202
    stands = {"runId": remote.run_id, "accepted": 0, "nextSeq": 4, "lastTMs": t, "stop": False}
    for body, code in (({"v": 1, "runId": remote.run_id, "events": []}, "empty_batch"), (b"{", "invalid_envelope"),
                       ({"v": 1, "runId": remote.run_id, "events": [event(9, t, text="x" * 270000)]}, "event_too_large")):
        answer = remote.post(body)
        assert answer.code == code and {k: answer.json().get(k) for k in stands} == stands, answer
    apis[0].post(f"/v1/runs/{remote.run_id}/stop")
    assert remote.batch().json()["stop"] is True
    stranger = remote.post(b"{", token="ert_1_" + "A" * 43)
    assert stranger.code == "invalid_envelope" and "nextSeq" not in stranger.json()
    remote.exit()


def test_a_long_error_message_is_cut(stack, apis, remote):
    """Between characters, so that what holds it stays valid and small."""
    t = remote.now()
    assert remote.batch(terminal(2, t, "error", error={"class": "x", "message": "x" + "ä" * 40000})).status == 202
    remote.exit()
    record = apis[0].wait(remote.run_id)
    assert record["error"] == {"class": "agent_error", "message": "x" + "ä" * 499}
    assert json.loads(apis[0].replay(remote.run_id).done.data)["error"] == record["error"]


def test_of_two_at_once_one_is_stored(stack, apis, remote):
    """Both nodes get the same batch at the same time, again and again; then two that differ."""
    t, seq = remote.now(), 2
    with ThreadPoolExecutor(2) as pool:
        for i in range(20):
            batch = [event(seq, t, i=i), event(seq + 1, t, i=i)]
            answers = list(pool.map(lambda api, batch=batch: remote.batch(*batch, api=api), apis[:2]))
            assert sorted(a.status for a in answers) == [200, 202], answers
            seq += 2
        for i in range(20):
            answers = list(pool.map(lambda api, seq=seq: remote.batch(event(seq, t, node=api.port), api=api), apis[:2]))
            assert sorted(a.status for a in answers) == [202, 409], answers
            assert next(a for a in answers if a.status == 409).code == "seq_conflict"
            seq += 1
    remote.exit()
    record = check_exact_delivery(stack, [remote.run_id])[remote.run_id]
    assert record["eventCount"] == 62, "60, its begin and its end"


def test_codes_over_http(stack, apis, remote):
    """The table itself is a unit test; here that each arrives as its problem."""
    for body, status, code in (
            (b"{", 400, "invalid_envelope"), ({"v": 2}, 400, "version_mismatch"), ({"v": 1, "runId": "x", "events": []}, 400, "missing_run_id"), ({"v": 1, "runId": remote.run_id, "events": []}, 400, "empty_batch"),
            ({"v": 1, "runId": remote.run_id, "events": [event(i, 1) for i in range(257)]}, 400, "batch_too_large"), ({"v": 1, "runId": remote.run_id, "events": [7]}, 400, "invalid_event"),
            ({"v": 1, "runId": remote.run_id, "events": [event(2, 1, text="x" * 262144)]}, 413, "event_too_large"), ({"v": 1, "runId": remote.run_id, "events": [event(2, 1), event(2, 1)]}, 400, "seq_not_monotonic"),
            ({"v": 1, "runId": remote.run_id, "events": [event(2, 2), event(3, 1)]}, 400, "t_ms_not_monotonic"), (b" " * (4194304 + 1), 413, "body_too_large")):
        answer = remote.post(body)
        assert answer.status == status and answer.code == code, answer
    good = json.dumps(event(2, 1))
    for body, code, detail in (("\n \r\n", "empty_batch", "no event"), (f"{good}\nnot JSON", "invalid_event", "events[1]"), ("\n".join([good] * 257), "batch_too_large", "256"),
                               (f"{good}\n{good}", "seq_not_monotonic", "events[1].seq"), ('{"seq":-1}', "invalid_event", "events[0].seq must be a non-negative integer")):
        for content_type in ("application/x-ndjson", "Application/X-NDJSON; charset=utf-8"):
            answer = remote.post(body, content_type=content_type)
            assert answer.status == 400 and answer.code == code and detail in answer.json()["detail"], answer
    assert remote.manifest().json()["nextSeq"] == 2
    remote.exit()
    record = check_exact_delivery(stack, [remote.run_id])[remote.run_id]
    assert record["eventCount"] == 2, "nothing of a refused batch is stored"


def test_large_batches(stack, apis, remote):
    """256 events of 10 KB: cut into entries, read back as they were."""
    t = remote.now()
    sent = [event(2 + i, t, text="x" * 10000, i=i) for i in range(256)]
    assert remote.batch(*sent).status == 202
    assert remote.batch(*sent).json()["duplicate"] is True
    remote.exit()
    check_exact_delivery(stack, [remote.run_id], cut_between=(80000, 300000))
    stored = [json.loads(line) for line in apis[1].replay(remote.run_id).lines()]
    assert stored[1:-1] == sent
