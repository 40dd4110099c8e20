"""Nothing of a secret is in what a run shows: stream, events, logs, record, Redis' file. Credentials are put together at run time, so that no scanner of sources finds one here."""
import base64
import json
import os
import string
import urllib.parse

import pytest

from harness import agents, http_client
from harness.wait import wait_until

LETTERS = string.ascii_letters + string.digits


def random_text(n):
    return "".join(LETTERS[b % len(LETTERS)] for b in os.urandom(n))


class Key:
    """A private key block that is none, and its lines."""

    def __init__(self):
        self.lines = ["MII" + random_text(61) for _ in range(6)]
        kind = "PRIV" + "ATE KEY"
        self.text = f"-----BEGIN RSA {kind}-----\n" + "\n".join(self.lines) + f"\n-----END RSA {kind}-----\n"


def shown(stack, api, run_id):
    """Everything that can be read of a run, and everything that Redis keeps."""
    record = api.get(f"/v1/runs/{run_id}").body
    events = api.get(f"/v1/runs/{run_id}/events?limit=200").body
    logs = api.get(f"/v1/runs/{run_id}/logs?lines=1000").body
    replayed = api.replay(run_id)
    stream = replayed.bytes() + replayed.done.raw
    redis = stack.redis
    redis.command("SAVE")
    folder = redis.command("CONFIG", "GET", "dir")[1]
    name = redis.command("CONFIG", "GET", "dbfilename")[1]
    path = os.path.join(folder if isinstance(folder, str) else folder.decode(), name if isinstance(name, str) else name.decode())
    with open(path, "rb") as f:
        dump = f.read()
    texts = {"record": record, "events": events, "logs": logs, "stream": stream, "dump": dump}
    return {k: v if isinstance(v, bytes) else v.encode() for k, v in texts.items()}


def spellings(value):
    b = value.encode()
    return [b, base64.b64encode(b)[:-4], b.hex().encode(), urllib.parse.quote(value, safe="").encode(), json.dumps(value)[1:-1].encode()]


def assert_nowhere(texts, values):
    for value in values:
        for spelled in spellings(value):
            for where, text in texts.items():
                assert spelled not in text, (where, spelled[:12])


@pytest.fixture
def uncompressed(stack):
    """Redis' file shows strings as they are."""
    stack.redis.command("CONFIG", "SET", "rdbcompression", "no")
    return stack


EVENTS_AGENT = """\
    import base64
    token = os.environ["ERRAND_RUNNER_TOKEN"]
    key = open(FOLDER + "/key").read()
    say("tool_response", {"env": dict(os.environ), "b64": base64.b64encode(("u:" + token).encode()).decode(), "hex": token.encode().hex(), "list": [token, 1, {"x " + token: token}]})
    for i in range(0, len(token), 7):
        say("assistant_text", {"text": token[i:i + 7]})
    say("assistant_text", {"text": " "})
    for i in range(0, len(key), 11):
        say("assistant_text", {"text": key[i:i + 11], "n": i})
    print("plain " + token + " and a key:")
    for line in key.splitlines():
        print(line)
        sys.stdout.flush()
        say("notification", {"between": True})
    print("after the key")
    for i in range(0, len(token), 5):
        os.write(2, token[i:i + 5].encode())
    os.write(2, b"\\n")
    for i in range(0, len(key), 3):
        os.write(2, key[i:i + 3].encode())
    os.write(2, b"after the key on stderr\\n")
    say("runtime_terminal", {"status": "error" if job["input"] else "success", "result": {"t": token, "k": key, "password": "pass" + token[:3]}, "error": {"message": "x" * 980 + token}})
    sys.stdout.flush()
    sys.exit(3 if job["input"] == "exit" else 0)
    """

TEXT_AGENT = """\
    token = os.environ["ERRAND_RUNNER_TOKEN"]
    key = open(FOLDER + "/key").read()
    for i in range(0, len(token), 3):
        sys.stdout.write(token[i:i + 3])
        sys.stdout.flush()
    print(" after the token " + json.dumps({"t": token, "a/b": key}))
    for i in range(0, len(key), 5):
        sys.stdout.write(key[i:i + 5])
        sys.stdout.flush()
    print("after the key")
    sys.stderr.write(token + key)
    sys.stdout.write("cut at the end: " + token[:20])
    """


def agent(folder, text, **fields):
    key = Key()
    with open(os.path.join(folder, "key"), "w", encoding="ascii") as f:
        f.write(key.text)
    # the token is kept where the test finds it
    head = f"FOLDER = {folder!r}\nopen(FOLDER + '/token.tmp', 'w').write(os.environ['ERRAND_RUNNER_TOKEN']); os.rename(FOLDER + '/token.tmp', FOLDER + '/token')\n"
    return key, agents.python(folder, "    " + head.replace("\n", "\n    ") + "\n" + text, **fields)


def token_of(folder):
    path = os.path.join(folder, "token")
    wait_until(lambda: os.path.exists(path), 15, "the agent has its token")
    with open(path, encoding="ascii") as f:
        return f.read()


@pytest.mark.parametrize("ending", [None, "error", "exit"])
def test_the_events_protocol(uncompressed, apis, ending):
    stack = uncompressed
    stack.runner(api=apis[0])
    key, definition = agent(stack.folder, EVENTS_AGENT)
    run_id = apis[0].submit(definition, ending)
    record = apis[0].wait(run_id)
    assert record["status"] == ("error" if ending else "success")
    token = token_of(stack.folder)
    texts = shown(stack, apis[0], run_id)
    assert_nowhere(texts, [token, *key.lines])
    marker = b"[SECRET:ERRAND_RUNNER_TOKEN]"
    for where in ("record", "events", "logs", "stream"):
        assert marker in texts[where], where
    for where in ("events", "logs"):
        assert b"[REDACTED:private_key]" in texts[where]
        assert b"after the key" in texts[where]
    events = json.loads(texts["events"])["events"]
    deltas = "".join(e["data"].get("text", "") for e in events if e["kind"] == "assistant_text")
    assert deltas == "[SECRET:ERRAND_RUNNER_TOKEN] [REDACTED:private_key]\n"
    env = next(e["data"]["env"] for e in events if e["kind"] == "tool_response")
    assert env["ERRAND_RUNNER_TOKEN"] == marker.decode() and env["ERRAND_RUN_ID"] == run_id and env["PATH"]
    lines = [e["data"]["text"] for e in events if e["kind"] == "notification" and e["data"].get("stream") == "stdout"]
    assert lines == ["plain [SECRET:ERRAND_RUNNER_TOKEN] and a key:", "[REDACTED:private_key]", "after the key"]
    if ending:
        assert record["error"]["message"].endswith("x" * 20) or "[SECRET" in record["error"]["message"]
        assert token[:12] not in json.dumps(record["error"])
    else:
        assert record["result"] == {"t": marker.decode(), "k": "[REDACTED:private_key]\n", "password": "[REDACTED:password]"}
    for log in stack.logs(1000).splitlines():
        assert token not in log


def test_the_text_protocol(uncompressed, apis):
    stack = uncompressed
    stack.runner(api=apis[0])
    key, definition = agent(stack.folder, TEXT_AGENT, protocol="text")
    run_id = apis[0].submit(definition)
    record = apis[0].wait(run_id)
    token = token_of(stack.folder)
    texts = shown(stack, apis[0], run_id)
    assert_nowhere(texts, [token, *key.lines])
    whole = '[SECRET:ERRAND_RUNNER_TOKEN] after the token {"t": "[SECRET:ERRAND_RUNNER_TOKEN]", "a/b": "[REDACTED:private_key]\\n"}\n[REDACTED:private_key]\nafter the key\ncut at the end: '
    assert record["result"].startswith(whole)
    events = json.loads(texts["events"])["events"]
    assert "".join(e["data"]["text"] for e in events if e["kind"] == "assistant_text") == record["result"]


def test_what_can_not_be_started_says_no_token(stack, apis):
    stack.runner(api=apis[0])
    run_id = apis[0].submit(agents.process(["/nonexistent/gh" + "p_" + "A1" * 18]))
    record = apis[0].wait(run_id)
    assert record["error"]["class"] == "start_failed"
    assert "A1A1A1" not in json.dumps(record["error"])


def test_plain_text_is_not_kept_back(stack, apis):
    """What has nothing of a secret is shown while its agent waits."""
    stack.runner(api=apis[0])
    run_id = apis[0].submit(agents.python(stack.folder, f"""\
        sys.stdout.write("password and tokens, please!")
        sys.stdout.flush()
        while not os.path.exists({stack.folder!r} + "/go"):
            time.sleep(0.02)
        """, protocol="text"))
    wait_until(lambda: "please!" in apis[0].get(f"/v1/runs/{run_id}/events").body.decode(), 15, "the text is shown")
    with open(os.path.join(stack.folder, "go"), "w", encoding="ascii"):
        pass
    assert apis[0].wait(run_id)["result"] == "password and tokens, please!"


def test_the_ingress(uncompressed, apis):
    stack = uncompressed
    stack.runner(api=apis[0])
    key = Key()
    go = os.path.join(stack.folder, "go")
    definition = agents.shell(f'printf "%s" "$ERRAND_RUNNER_TOKEN" > {stack.folder}/token.tmp; mv {stack.folder}/token.tmp {stack.folder}/token; echo "log: $ERRAND_RUNNER_TOKEN"; '
                              f'while [ ! -e {go} ]; do sleep 0.02; done; echo "$ERRAND_RUNNER_TOKEN" >&2', name="remote", eventSource="remote", graceMs=500)
    run_id = apis[0].submit(definition)
    token = token_of(stack.folder)

    def post(body, content_type="application/json", api=apis[0]):
        return http_client.request(api.port, "POST", f"/v1/runs/{run_id}/runner/events", body, {"Authorization": f"Bearer {token}", "Content-Type": content_type})

    t = http_client.request(apis[0].port, "GET", f"/v1/runs/{run_id}/runner/manifest", headers={"Authorization": f"Bearer {token}"}).json()["lastTMs"]
    texts = ["x " + token[:9], token[9:], " y ", key.text[:90], key.text[90:], " z"]
    events = [{"seq": 2 + i, "tMs": t, "kind": "assistant_text", "data": {"i": i, "text": text}} for i, text in enumerate(texts)]
    events.append({"seq": 20, "tMs": t, "kind": "tool_response", "data": {"env": {"T": token}, "b": base64.b64encode(token.encode()).decode(), "n": 1.5, "password": "hunter" + "22"}})
    batch = {"v": 1, "runId": run_id, "events": events}
    first = post(batch)
    assert first.status == 202 and first.json()["accepted"] == len(events)
    again = post(batch, api=apis[1])
    assert again.status == 200 and again.json()["duplicate"] is True  # what comes out is the same on every node
    lines = "\n".join(json.dumps({"seq": 30 + i, "tMs": t, "kind": "notification", "data": {"line": f"{i} {token}"}}) for i in range(3))
    assert post(lines, "application/x-ndjson").status == 202
    assert post(lines, "application/x-ndjson", api=apis[1]).json()["duplicate"] is True
    claim = {"seq": 40, "tMs": t, "kind": "runtime_terminal", "data": {"status": "error", "result": {"t": token}, "error": {"message": "m" * 985 + token}}}
    assert post({"v": 1, "runId": run_id, "events": [claim]}).status == 202
    assert post({"v": 1, "runId": run_id, "events": [claim]}, api=apis[1]).json()["duplicate"] is True
    with open(go, "w", encoding="ascii"):
        pass
    record = apis[0].wait(run_id)
    assert record["status"] == "error" and record["error"]["class"] == "agent_error" and token[:10] not in record["error"]["message"]
    texts = shown(stack, apis[0], run_id)
    assert_nowhere(texts, [token, *key.lines, "hunter" + "22"])
    events = json.loads(texts["events"])["events"]
    assert [e["data"]["text"] for e in events if e["kind"] == "assistant_text"] == ["x [SECRET:ERRAND_RUNNER_TOKEN]", "", " y ", "[REDACTED:private_key]", "\n", " z"]
    assert b'"n":1.5,' in texts["events"]  # what is not redacted stays as it was sent
    assert b"log: [SECRET:ERRAND_RUNNER_TOKEN]" in texts["logs"]
