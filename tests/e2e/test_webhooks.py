"""Webhooks from outside: what receivers see, what becomes of those that fail, and that nothing is lost."""
import json
import subprocess
import threading

import pytest

from harness import agents
from harness.hooks import ENV, Receiver
from harness.wait import holds_for, wait_until

HELLO = agents.shell("echo hello", name="hello", protocol="text")
FAIL = agents.shell("exit 3", name="bad", protocol="text")
ENDS = ["run.success", "run.error", "run.stopped"]


@pytest.fixture
def node(stack):
    return stack.api(env=ENV)


@pytest.fixture
def receive():
    """Makes receivers that are closed in the end."""
    made = []

    def make(*answers):
        made.append(Receiver(answers or ((204, {}),)))
        return made[-1]
    yield make
    for receiver in made:
        receiver.close()


def add(node, url, events=None, **fields):
    answer = node.post("/v1/webhooks", {"url": url, "events": events or ENDS, **fields})
    assert answer.status == 201, answer
    assert answer.headers["location"] == "/v1/webhooks/" + answer.json()["id"]
    return answer.json()


def hook(node, made):
    answer = node.get("/v1/webhooks/" + made["id"])
    assert answer.status == 200, answer
    return answer.json()


def deliveries(node, made):
    answer = node.get(f"/v1/webhooks/{made['id']}/deliveries")
    assert answer.status == 200, answer
    return answer.json()["deliveries"]


def settled(node, made, status, n=1, timeout=20):
    """The webhook's deliveries, once n of them have that status."""
    wait_until(lambda: sum(d["status"] == status for d in deliveries(node, made)) >= n, timeout, f"{n} deliveries are {status}")
    return deliveries(node, made)


# ---- what a receiver sees ----

def test_ends_of_runs_are_told_and_signed(stack, node, receive):
    stack.runner(api=node)
    receiver = receive()
    made = add(node, receiver.url, description="all ends")
    assert made["secret"].startswith("whsec_")
    good, bad = node.submit(HELLO, labels={"team": "x"}), node.submit(FAIL)
    sent = {s.json()["data"]["runId"]: s for s in receiver.wait(2)}
    for run_id, kind in ((good, "run.success"), (bad, "run.error")):
        one, record = sent[run_id], node.wait(run_id)
        body = one.json()
        assert body["type"] == kind and body["timestamp"].endswith("Z")
        assert body["data"]["status"] == kind[4:] and body["data"]["workspaceId"] == "default"
        assert "input" not in body["data"] and "attempts" not in body["data"]
        assert one.id == f"{run_id}-{record['lastSeq']}"
        assert one.headers["content-type"] == "application/json" and one.headers["user-agent"].startswith("errand/")
        assert one.verifies(made["secret"])
    assert sent[good].json()["data"]["result"] == "hello\n" and sent[good].json()["data"]["labels"] == {"team": "x"}
    assert sent[bad].json()["data"]["error"]["class"] == "exit_nonzero"
    for one in settled(node, made, "delivered", 2):
        assert one["attempts"] == 1 and one["lastStatus"] == 204 and "nextAttemptAt" not in one and "lastError" not in one
    assert "lastDeliveredAt" in hook(node, made) and hook(node, made)["failures"] == 0
    assert "secret" not in hook(node, made)


def test_a_queued_run_that_is_stopped_and_agents_that_are_not_named(stack, node, receive):
    receiver, other = receive(), receive()
    add(node, receiver.url, ["run.stopped"], agents=["hello"])
    add(node, other.url, ["run.stopped"], agents=["somebody"])
    run_id = node.submit(HELLO)
    node.post(f"/v1/runs/{run_id}/stop")
    assert receiver.wait(1)[0].json()["data"]["runId"] == run_id
    holds_for(lambda: not other.got, 0.5)


def test_a_library_verifies_also_while_the_secret_changes(stack, node, npm_modules, receive):
    made = add(node, "http://127.0.0.1:1/")

    def receiver(secret):
        process = subprocess.Popen(["node", "webhook_receiver.mjs", secret], cwd=npm_modules, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        port = int(process.stdout.readline())
        threading.Thread(target=lambda: lines.extend(map(json.loads, process.stdout)), daemon=True).start()
        return process, port, lines

    def told(secret):
        """What a receiver with that secret says to a ping."""
        process, port, lines = receiver(secret)
        try:
            answer = node.request("PUT", f"/v1/webhooks/{made['id']}", {"url": f"http://127.0.0.1:{port}/", "events": ENDS})
            assert answer.status == 200, answer
            ping = node.post(f"/v1/webhooks/{made['id']}/test").json()["deliveryId"]
            return wait_until(lambda: [line for line in lines if line["id"] == ping], 20, "it was told")[0]
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
    first = told(made["secret"])
    assert first["verified"] and first["body"]["type"] == "ping" and first["body"]["data"] == {"webhookId": made["id"]}
    rotated = node.post(f"/v1/webhooks/{made['id']}/rotate").json()
    assert rotated["secret"] != made["secret"] and "oldSecretUntil" in rotated
    assert told(made["secret"])["verified"] and told(rotated["secret"])["verified"]
    last = node.post(f"/v1/webhooks/{made['id']}/rotate", {"overlapMs": 0}).json()
    assert told(last["secret"])["verified"]
    assert not told(made["secret"])["verified"] and not told(rotated["secret"])["verified"]


def test_events_of_chosen_kinds_are_told_once_by_any_number_of_nodes(stack, node, receive):
    nodes = [node, stack.api(env=ENV)]
    stack.runner(api=node)
    receiver = receive()
    made = add(node, receiver.url, ["event.notification", "run.success"])
    agent = agents.python(stack.folder, """\
        for i in range(40):
            say("notification", {"i": i})
            say("assistant_text", {"text": "no"})
        end("success")
        """)
    run_id = nodes[1].submit(agent)
    sent = receiver.wait(41)
    events = [s.json() for s in sent if s.json()["type"] == "event.notification"]
    assert sorted(e["data"]["event"]["data"]["i"] for e in events) == list(range(40))
    assert {e["data"]["runId"] for e in events} == {run_id}
    for s in sent:
        if s.json()["type"] == "event.notification":
            assert s.id == f"{run_id}-{s.json()['data']['event']['seq']}" and s.json()["data"]["event"]["kind"] == "notification"
    settled(node, made, "delivered", 41)
    assert len(receiver.got) == 41 and len({s.id for s in receiver.got}) == 41
    wait_until(lambda: stack.redis.command("EXISTS", stack.shard() + "follow") == 0, 10, "the run was looked through")


def test_two_nodes_tell_each_end_once(stack, node, receive):
    nodes = [node, stack.api(env=ENV)]
    stack.runner(api=node)
    receiver = receive()
    made = add(node, receiver.url)
    run_ids = [nodes[i % 2].submit(HELLO) for i in range(30)]
    receiver.wait(30, 60)
    settled(node, made, "delivered", 30)
    assert sorted(s.json()["data"]["runId"] for s in receiver.got) == sorted(run_ids)


# ---- a run's own webhook ----

def test_a_run_brings_its_own_webhook(stack, node, receive):
    stack.runner(api=node)
    receiver, stored = receive(), receive()
    made = add(node, stored.url, ["run.error"], agents=["nobody"])
    secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    run_id = node.submit(HELLO, webhook={"url": receiver.url, "secret": secret})
    sent = receiver.wait(1)[0]
    assert sent.json()["data"]["runId"] == run_id and sent.verifies(secret)
    assert node.record(run_id)["webhook"] == "runs"
    listed = node.get("/v1/webhooks/runs/deliveries").json()["deliveries"]
    assert [d["runId"] for d in listed] == [run_id]
    again = node.post(f"/v1/webhooks/runs/deliveries/{listed[0]['id']}/resend")
    assert again.status == 202
    assert receiver.wait(2)[1].id == sent.id
    other = node.submit(HELLO, webhook=made["id"])
    assert stored.wait(1)[0].json()["data"]["runId"] == other
    assert node.record(other)["webhook"] == made["id"]
    rerun = node.post(f"/v1/runs/{run_id}/rerun").json()["runId"]
    stack.run_ids.append(rerun)
    assert receiver.wait(3)[2].json()["data"]["runId"] == rerun
    assert node.post("/v1/runs", {"agent": HELLO, "webhook": "wh_none"}).code == "webhook_not_found"
    assert node.post("/v1/runs", {"agent": HELLO, "webhook": "runs"}).code == "webhook_not_found"
    text = json.dumps([node.record(run_id), listed]) + str(stack.redis.command("HGETALL", stack.shard() + "run:" + run_id))
    assert secret not in text and secret[6:] not in text


def test_what_keys_may_not_do_with_webhooks(stack, node, receive):
    def key(**fields):
        answer = node.post("/v1/keys", {"name": "x", **fields})
        assert answer.status == 201, answer
        return {"Authorization": "Bearer " + answer.json()["key"]}
    receiver = receive()
    made = add(node, receiver.url)
    own = {"url": receiver.url, "secret": "whsec_" + "A" * 32}
    agent = {"agent": HELLO}
    submits = key(scopes=["runs:create", "agents:write"])
    answer = node.post("/v1/runs", {**agent, "webhook": own}, headers=submits)
    assert answer.status == 403 and "webhooks:write" in answer.json()["detail"], "it could have sent what it may not read"
    assert node.post("/v1/runs", {**agent, "webhook": made["id"]}, headers=submits).status == 202
    assert node.post("/v1/runs", {**agent, "webhook": own}, headers=key(scopes=["runs:create", "agents:write", "webhooks:write"])).status == 202
    narrowed = node.post("/v1/keys", {"name": "x", "scopes": ["webhooks:read"], "agents": ["hello"]})
    assert narrowed.status == 400, "webhooks tell of all agents"


# ---- receivers that fail ----

def test_a_receiver_that_fails_twice_gets_the_third(stack, node, receive):
    receiver = receive((500, {}), (503, {"Retry-After": "0"}), (200, {}))
    made = add(node, receiver.url)
    ping = node.post(f"/v1/webhooks/{made['id']}/test")
    assert ping.status == 202
    sent = receiver.wait(3)
    assert {s.id for s in sent} == {ping.json()["deliveryId"]} and all(s.verifies(made["secret"]) for s in sent)
    one = settled(node, made, "delivered")[0]
    assert one["attempts"] == 3 and one["lastStatus"] == 200
    assert "failingSince" not in hook(node, made)


def test_retry_after_is_honoured(stack, node, receive):
    receiver = receive((429, {"Retry-After": "600"}))
    made = add(node, receiver.url)
    node.post(f"/v1/webhooks/{made['id']}/test")
    receiver.wait(1)
    wait_until(lambda: deliveries(node, made)[0]["attempts"] == 1, 10, "it was tried")
    one = deliveries(node, made)[0]
    assert one["status"] == "pending" and one["nextAttemptAt"] > one["lastAttemptAt"]
    holds_for(lambda: len(receiver.got) == 1, 0.5)


def test_gone_disables(stack, node, receive):
    receiver = receive((410, {}), (204, {}))
    made = add(node, receiver.url)
    node.post(f"/v1/webhooks/{made['id']}/test")
    one = settled(node, made, "failed")[0]
    assert one["lastStatus"] == 410
    assert hook(node, made)["enabled"] is False and hook(node, made)["disabledReason"] == "gone"
    assert node.post(f"/v1/webhooks/{made['id']}/test").code == "webhook_disabled"
    assert node.post(f"/v1/webhooks/{made['id']}/deliveries/{one['id']}/resend").code == "webhook_disabled"
    run_id = node.submit(HELLO)
    node.post(f"/v1/runs/{run_id}/stop")
    holds_for(lambda: len(receiver.got) == 1, 0.5)
    enabled = node.request("PUT", f"/v1/webhooks/{made['id']}", {"url": receiver.url, "events": ENDS}).json()
    assert enabled["enabled"] and "disabledReason" not in enabled
    assert node.post(f"/v1/webhooks/{made['id']}/deliveries/{one['id']}/resend").status == 202
    assert receiver.wait(2)[1].id == one["id"]


def test_redirects_are_failures_and_not_followed(stack, node, receive):
    there = receive()
    receiver = receive((307, {"Location": there.url}))
    made = add(node, receiver.url)
    node.post(f"/v1/webhooks/{made['id']}/test")
    wait_until(lambda: deliveries(node, made)[0]["attempts"] >= 1, 10, "it was tried")
    one = deliveries(node, made)[0]
    assert one["lastStatus"] == 307 and one["lastError"] == "The receiver answered 307" and hook(node, made)["failures"] >= 1
    assert not there.got


def test_silence_is_a_failure_and_keeps_nobody_waiting(stack, node, receive):
    silent, quick = receive(None), receive()
    slow, fast = add(node, silent.url), add(node, quick.url)
    for _ in range(12):
        node.post(f"/v1/webhooks/{slow['id']}/test")
    node.post(f"/v1/webhooks/{fast['id']}/test")
    quick.wait(1, 5)
    wait_until(lambda: any(d["attempts"] for d in deliveries(node, slow)), 10, "it was given up once")
    assert {d.get("lastError") for d in deliveries(node, slow) if d["attempts"]} == {"There was no whole answer in time"}


def test_what_fails_for_good_is_given_up_and_can_be_sent_again(stack, receive):
    node = stack.api(env={**ENV, "ERRAND_WEBHOOK_RETRY_BASE_MS": "1"})
    receiver = receive((500, {}))
    made = add(node, receiver.url)
    node.post(f"/v1/webhooks/{made['id']}/test")
    # 8 attempts; or fewer, where the window (24 h, here 17 s) is over.
    one = settled(node, made, "gaveup", timeout=40)[0]
    assert 2 <= one["attempts"] <= 8 and one["lastStatus"] == 500
    assert hook(node, made)["enabled"], "failures disable nothing"
    receiver.answers = [(200, {})]
    count = len(receiver.got)
    assert node.post(f"/v1/webhooks/{made['id']}/deliveries/{one['id']}/resend").status == 202
    assert receiver.wait(count + 1)[-1].id == one["id"]
    assert settled(node, made, "delivered")[0]["attempts"] == one["attempts"] + 1


# ---- addresses ----

def test_private_addresses_are_refused(stack, receive):
    env = {k: v for k, v in ENV.items() if "PRIVATE" not in k}
    open_node, node = stack.api(env=ENV), None
    receiver = receive()
    # Made where it is allowed; the node that tells it does not allow it.
    made = [add(open_node, f"{scheme}://{host}:{receiver.port}/") for scheme, host in (("http", "127.0.0.1"), ("https", "localhost"), ("https", "127.0.0.1"))]
    open_node.process.end()
    node = stack.api(env=env)
    for one in made:
        node.post(f"/v1/webhooks/{one['id']}/test")
        failed = settled(node, one, "failed")[0]
        assert failed["lastError"] in ("The host has a private address, which is not called", "The URL is none that may be called"), failed
    assert settled(node, made[1], "failed")[0]["lastError"].startswith("The host has a private address")
    for url in ("http://example.com/", "https://127.0.0.1/", "https://10.1.2.3/", "https://169.254.169.254/latest/meta-data/", "https://[::1]/", "https://[fd00:ec2::254]/", "https://0x7f.1/",
                "https://2130706433/", "https://[::ffff:10.0.0.1]/", "https://user:pw@example.com/", "https://example.com/#x", "example.com", "ftp://example.com/", "https://", "", "https://a b/"):
        answer = node.post("/v1/webhooks", {"url": url, "events": ENDS})
        assert answer.status == 400 and answer.code == "invalid_field" and answer.json()["detail"].startswith("url "), (url, answer)
        answer = node.post("/v1/runs", {"agent": HELLO, "webhook": {"url": url or "x", "secret": "whsec_" + "A" * 32}})
        assert answer.status == 400 and answer.code == "invalid_field" and "webhook.url " in answer.json()["detail"], (url, answer)
    assert node.post("/v1/webhooks", {"url": "https://8.8.8.8/", "events": ENDS}).status == 201
    assert not receiver.got


# ---- nothing is lost ----

def test_a_node_that_is_killed_while_it_tells_loses_nothing(stack, node, receive):
    stack.runner(api=node)
    receiver = receive(None)
    made = add(node, receiver.url)
    run_ids = [node.submit(HELLO) for _ in range(10)]
    receiver.wait(1)
    for run_id in run_ids:
        node.wait(run_id)
    node.kill9()
    receiver.answers = [(204, {})]
    receiver.hold.set()
    other = stack.api(env=ENV)
    done = settled(other, made, "delivered", 10, 60)
    assert {d["runId"] for d in done} == set(run_ids)
    assert {s.json()["data"]["runId"] for s in receiver.got} == set(run_ids)


def test_a_run_that_is_gone_is_told_all_the_same(stack, receive):
    node = stack.api(env={**ENV, "ERRAND_RETENTION_MS": "0"})
    receiver = receive((500, {}), (500, {}), (500, {}), (204, {}))
    made = add(node, receiver.url)
    run_id = node.submit(HELLO)
    node.post(f"/v1/runs/{run_id}/stop")
    wait_until(lambda: node.get(f"/v1/runs/{run_id}").status == 404, 10, "it was removed")
    settled(node, made, "delivered")
    last = receiver.got[-1].json()
    assert last["type"] == "run.stopped" and last["data"]["runId"] == run_id
    assert last["data"] == {"runId": run_id, "workspaceId": "default", "agent": "hello", "status": "stopped", "removed": True}


# ---- the routes ----

def test_create_change_list_delete(stack, node, receive):
    receiver = receive()
    made = add(node, receiver.url, ["run.error", "event.tool_request"], agents=["a", "b"], description="x")
    assert {k: made[k] for k in ("url", "events", "agents", "enabled", "description")} == {
        "url": receiver.url, "events": ["run.error", "event.tool_request"], "agents": ["a", "b"], "enabled": True, "description": "x"}
    assert [w["id"] for w in node.get("/v1/webhooks").json()["webhooks"]] == [made["id"]]
    changed = node.request("PUT", f"/v1/webhooks/{made['id']}", {"url": receiver.url, "events": ["run.success"], "enabled": False})
    assert changed.status == 200 and changed.json()["agents"] == [] and changed.json()["enabled"] is False and "description" not in changed.json()
    own = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    assert add(node, receiver.url, secret=own)["secret"] == own
    for path in (f"/v1/webhooks/{made['id']}", "/v1/webhooks/wh_none"):
        expected = 204 if path.endswith(made["id"]) else 404
        answer = node.request("DELETE", path)
        assert answer.status == expected and (expected == 204 or answer.code == "webhook_not_found")
    assert node.get(f"/v1/webhooks/{made['id']}").code == "webhook_not_found"
    assert node.request("PUT", f"/v1/webhooks/{made['id']}", {"url": receiver.url, "events": ENDS}).code == "webhook_not_found"
    assert node.get(f"/v1/webhooks/{made['id']}/deliveries").code == "webhook_not_found"
    for at, action in (("rotate", None), ("test", None), ("deliveries/x/resend", None)):
        assert node.post(f"/v1/webhooks/{made['id']}/{at}", action).code == "webhook_not_found"
    for _ in range(19):
        add(node, receiver.url)
    assert node.post("/v1/webhooks", {"url": receiver.url, "events": ENDS}).code == "limit_exceeded"


@pytest.mark.parametrize("body, code, names", [
    ({"events": ENDS}, "missing_field", "url"),
    ({"url": "https://example.com/"}, "missing_field", "events"),
    ({"url": "https://example.com/", "events": []}, "missing_field", "events"),
    ({"url": "https://example.com/", "events": ["run.ended"]}, "invalid_field", "events"),
    ({"url": "https://example.com/", "events": ["event.runtime_terminal"]}, "invalid_field", "events"),
    ({"url": "https://example.com/", "events": ["run.error", "run.error"]}, "invalid_field", "events"),
    ({"url": "https://example.com/", "events": "run.error"}, "invalid_field", "events"),
    ({"url": "https://example.com/", "events": ENDS, "agents": ["a b"]}, "invalid_field", "agents"),
    ({"url": "https://example.com/", "events": ENDS, "secret": "whsec_short"}, "invalid_field", "secret"),
    ({"url": "https://example.com/", "events": ENDS, "enabled": 1}, "invalid_field", "enabled"),
    ({"url": "https://example.com/", "events": ENDS, "colour": 1}, "unknown_field", "colour"),
    ({"url": 1, "events": ENDS}, "invalid_field", "url"),
    ([], "invalid_field", "a webhook must be an object"),
])
def test_bad_bodies_are_refused_by_name(stack, node, body, code, names):
    answer = node.post("/v1/webhooks", body)
    assert answer.status == 400 and answer.code == code and names in answer.json()["detail"], answer


def test_without_a_master_key_there_are_no_webhooks(stack, api):
    for path, body in (("/v1/webhooks", {"url": "https://example.com/", "events": ENDS}),
                       ("/v1/runs", {"agent": HELLO, "webhook": {"url": "https://example.com/", "secret": "whsec_" + "A" * 32}})):
        answer = api.post(path, body)
        assert answer.status == 501 and answer.code == "no_master_key", answer


def test_secrets_are_not_in_redis_nor_in_logs(stack, node, receive):
    receiver = receive((500, {}), (204, {}))
    made = add(node, receiver.url + "?token=hidden-in-the-query")
    rotated = node.post(f"/v1/webhooks/{made['id']}/rotate").json()
    node.post(f"/v1/webhooks/{made['id']}/test")
    settled(node, made, "delivered")
    stored = b""
    for key in stack.redis.command("KEYS", "*hook*"):
        if stack.redis.command("TYPE", key) in (b"hash", "hash"):
            stored += b" ".join(stack.redis.command("HGETALL", key))
    assert b"v1." in stored
    log = node.process.output()
    for secret in (made["secret"], rotated["secret"]):
        assert secret.encode() not in stored and secret[6:].encode() not in stored and secret[6:].encode() not in log
    assert b"hidden-in-the-query" not in log


def test_schedules_and_batches_have_webhooks(stack, node, receive):
    receiver = receive()
    made = add(node, receiver.url, ["run.error"], agents=["nobody"])
    stack.runner(api=node)
    done = node.post("/v1/runs/batch", {"runs": [{"agent": HELLO, "webhook": made["id"]}, {"agent": HELLO, "webhook": "wh_none"}, {"agent": HELLO, "webhook": {"url": receiver.url, "secret": "x"}}]}).json()
    assert done["results"][1]["error"]["code"] == "webhook_not_found" and done["results"][2]["error"]["code"] == "invalid_field"
    stack.run_ids.append(done["results"][0]["runId"])
    assert receiver.wait(1)[0].json()["data"]["runId"] == done["results"][0]["runId"]
    schedule = {"name": "s", "everyMs": 31536000000, "run": {"agent": HELLO, "webhook": made["id"]}}
    assert node.post("/v1/schedules", schedule).status == 201
    triggered = node.post("/v1/schedules/s/trigger").json()["runId"]
    stack.run_ids.append(triggered)
    assert receiver.wait(2)[1].json()["data"]["runId"] == triggered
    schedule["run"]["webhook"] = {"url": receiver.url, "secret": "whsec_" + "A" * 32}
    assert node.request("PUT", "/v1/schedules/s", schedule).code == "invalid_field"


# ---- the command ----

def cli(stack, *args, status=0):
    process = stack.cli("webhooks", *args)
    assert process.popen.wait(30) == status, process.output()
    return process.output().decode()


def test_the_command(stack, node, receive):
    receiver = receive((500, {}), (204, {}))
    made, secret = cli(stack, "add", "--url", receiver.url, "--events", "run.error,run.stopped", "--agents", "hello").split()
    assert made.startswith("wh_") and secret.startswith("whsec_")
    assert made in cli(stack) and "run.error,run.stopped" in cli(stack, "list").replace(", ", ",")
    changed = json.loads(cli(stack, "update", made, "--events", "run.stopped", "--agents", "", "--json"))
    assert changed["events"] == ["run.stopped"] and changed["agents"] == [] and changed["url"] == receiver.url
    assert json.loads(cli(stack, "update", made, "--disable", "--json"))["enabled"] is False
    assert "disabled" in cli(stack, "test", made, status=2)
    assert json.loads(cli(stack, "update", made, "--enable", "--json"))["enabled"] is True
    rotated = json.loads(cli(stack, "rotate", made, "--overlap", "1h", "--json"))
    assert rotated["secret"] != secret and rotated["id"] == made
    ping = cli(stack, "test", made).strip()
    assert {s.id for s in receiver.wait(2)} == {ping} and all(s.verifies(secret) and s.verifies(rotated["secret"]) for s in receiver.got)
    wait_until(lambda: "delivered" in cli(stack, "deliveries", made), 20, "it was delivered")
    assert cli(stack, "resend", made, ping).strip() == ping
    receiver.wait(3)
    assert "secret" not in json.loads(cli(stack, "show", made, "--json"))
    assert "deleted" in cli(stack, "delete", made)
    cli(stack, "show", made, status=2)
    for wrong in (["add"], ["add", "--url", "x"], ["update", made], ["show"], ["resend", made], ["list", "--url", "x"], ["rotate", made, "--enable"], ["test", made, "--overlap", "1h"], ["nonsense"]):
        cli(stack, *wrong, status=2)
