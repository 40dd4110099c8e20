"""What is asked once more, in a batch, or wrongly: nothing half-done stays, and every answer is whole."""
from harness import agents

HELLO = agents.shell("echo hello", name="hello", protocol="text")


def count(api):
    return len(api.get("/v1/runs?limit=200").json()["runs"])


def test_a_key_covers_its_whole_batch(api):
    """Another body under it is refused before anything of it is submitted; neither a batch nor a single run takes the other's key."""
    key = {"Idempotency-Key": "once"}
    two = {"runs": [{"agent": HELLO}, {"agent": HELLO, "input": 2}]}
    first = api.post("/v1/runs/batch", two, headers=key)
    assert first.status == 200 and count(api) == 2
    for body in ({"runs": [{"agent": HELLO}] * 3}, {"runs": [{"agent": "X" * 500}]}, {"runs": [{"agent": HELLO}]}):
        answer = api.post("/v1/runs/batch", body, headers=key)
        assert (answer.status, answer.code) == (422, "idempotency_mismatch"), answer
    assert api.post("/v1/runs", {"agent": HELLO}, headers=key).code == "idempotency_mismatch"
    again = api.post("/v1/runs/batch", two, headers=key)
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    assert count(api) == 2
    assert api.post("/v1/runs", {"agent": HELLO}, headers={"Idempotency-Key": "once#0"}).status == 202, "a client's own key"
    assert api.post("/v1/runs", {"agent": HELLO}, headers={"Idempotency-Key": "single"}).status == 202
    assert api.post("/v1/runs/batch", two, headers={"Idempotency-Key": "single"}).code == "idempotency_mismatch"
    assert count(api) == 4


def test_a_bad_item_may_be_mended_under_a_new_key_only(api):
    body = {"runs": [{"agent": HELLO}, {"agent": 7}]}
    first = api.post("/v1/runs/batch", body, headers={"Idempotency-Key": "k"}).json()["results"]
    assert "runId" in first[0] and first[1]["error"]["code"] == "invalid_field"
    body["runs"][1] = {"agent": HELLO}
    assert api.post("/v1/runs/batch", body, headers={"Idempotency-Key": "k"}).status == 422
    assert count(api) == 1


def test_a_batch_while_redis_is_away(api, redis):
    redis.kill9()
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = api.post("/v1/runs/batch", {"runs": [{"agent": HELLO}]}, headers=headers)
        assert answer.headers["retry-after"] == "1" and b"redis_unavailable" in answer.body, answer
    redis.start()


def test_stop_and_rerun_take_no_body(api):
    run_id = api.submit(HELLO, delayMs=60000)
    for path in (f"/v1/runs/{run_id}/stop", f"/v1/runs/{run_id}/rerun"):
        for body, code in (({"foo": 1}, "unknown_field"), (b"garbage", "invalid_json"), ([], "invalid_field")):
            answer = api.post(path, body)
            assert (answer.status, answer.code) == (400, code), answer
    assert api.record(run_id)["status"] == "scheduled" and count(api) == 1
    assert api.post(f"/v1/runs/{run_id}/rerun", {}).status == 202
    assert api.post(f"/v1/runs/{run_id}/stop").status == 202


def test_a_rerun_says_which_version_of_the_agent_it_is(api):
    for text in ("echo 1", "echo 2"):
        api.request("PUT", "/v1/agents/versioned", agents.shell(text, name="versioned"))
    run_id = api.submit("versioned", delayMs=60000)
    api.request("PUT", "/v1/agents/versioned", agents.shell("echo 3", name="versioned"))
    again = api.post(f"/v1/runs/{run_id}/rerun").json()["runId"]
    assert [api.record(r)["agentVersion"] for r in (run_id, again)] == [2, 2]
    inline = api.post(f"/v1/runs/{api.submit(HELLO)}/rerun").json()["runId"]
    assert api.record(inline)["agentVersion"] == 0


def test_a_page_of_large_summaries_is_short_and_goes_on(api):
    labels = {f"{i:02}" + '"' * 254: '"' * 256 for i in range(64)}
    runs = [api.submit(HELLO, labels=labels) for _ in range(130)]
    seen, cursor, pages = [], None, 0
    while cursor is not None or pages == 0:
        answer = api.get("/v1/runs?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status == 200, answer
        seen += [r["runId"] for r in answer.json()["runs"]]
        cursor, pages = answer.json()["cursor"], pages + 1
    assert seen == runs[::-1] and pages > 1
