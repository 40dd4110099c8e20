"""What an attempt was given as a secret is in nothing that it shows, by whatever way and in whatever form it comes."""
import base64
import json
import urllib.parse

import pytest

from harness.sse import replay
from harness.wait import wait_until
from test_secrets import assert_nowhere, new_key, new_value, put, stored_files

SAY = """
import base64, json, os, sys, time, urllib.parse, urllib.request
job = json.loads(sys.stdin.readline())
value = os.environ["KEY"]
token = os.environ["ERRAND_RUNNER_TOKEN"]
forms = [value, base64.b64encode(value.encode()).decode(), base64.b64encode(b"x" + value.encode()).decode(), urllib.parse.quote(value, safe=""), value.encode().hex(), json.dumps(value)[1:-1], token]
def event(kind, **data):
    print(json.dumps({"kind": kind, "data": data}), flush=True)
"""

WAYS = {
    "events": """
for form in forms:
    event("notification", message=f"it is {form}.")
    event("tool_request", deep={"list": [form, {"k": form}]})
    print(form, flush=True)
    print("err " + form, file=sys.stderr, flush=True)
for i in range(1, len(value)):
    event("assistant_text", text="begin " + value[:i])
    event("assistant_text", text=value[i:] + " end")
event("runtime_terminal", status="success", result={"forms": forms})
""",
    "text": """
out = sys.stdout
for form in forms:
    for i in range(1, len(form), 7):
        out.write(form[:i]); out.flush(); time.sleep(0.001)
        out.write(form[i:] + " "); out.flush()
        sys.stderr.write(form[:i]); sys.stderr.flush(); time.sleep(0.001)
        sys.stderr.write(form[i:] + chr(10)); sys.stderr.flush()
""",
    "error": """
event("runtime_terminal", status="error", error={"class": "agent_error", "message": "it was " + value})
""",
    "remote": """
run, base = os.environ["ERRAND_RUN_ID"], os.environ["ERRAND_API_BASE"]
def call(path, body=None):
    request = urllib.request.Request(base + path, None if body is None else json.dumps(body).encode(), {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))
seq, now = call(f"/v1/runs/{run}/runner/manifest")["nextSeq"], int(time.time() * 1000)
events = [{"seq": seq + i, "tMs": now, "kind": "notification", "data": {"message": form}} for i, form in enumerate(forms)]
batch = {"v": 1, "runId": run, "events": events + [{"seq": seq + len(forms), "tMs": now, "kind": "runtime_terminal", "data": {"status": "success", "result": {"forms": forms}}}]}
call(f"/v1/runs/{run}/runner/events", batch)
assert call(f"/v1/runs/{run}/runner/events", batch)["duplicate"]
print(value)
print(value, file=sys.stderr)
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_in_nothing_that_is_shown(stack, way):
    env = {"ERRAND_MASTER_KEY": new_key()}
    api, other = stack.api(env=env), stack.api(env=env)
    stack.runner(env=env, api=api)
    value = new_value("s") + "\"/+ü"
    put(api, "MODEL_KEY", value)
    definition = {"name": "says", "executor": "process", "command": ["/usr/bin/python3", "-c", SAY + WAYS[way]], "env": [{"key": "KEY", "secret": "MODEL_KEY"}],
                  "protocol": "text" if way == "text" else "events", "eventSource": "remote" if way == "remote" else "stdout"}
    run_id = api.submit(definition)
    record = api.wait(run_id)
    assert record["status"] == ("error" if way == "error" else "success"), (record, api.get(f"/v1/runs/{run_id}/logs").json())
    texts = {path: node.get(path).body for node in (api, other) for path in (f"/v1/runs/{run_id}", "/v1/runs", f"/v1/runs/{run_id}/events?limit=1000", f"/v1/runs/{run_id}/logs")}
    texts["stream"] = replay(other.port, run_id, stack.key).bytes()
    texts.update(stored_files(stack))
    assert_nowhere(value, texts)
    for name, text in texts.items():
        for form in (json.dumps(value)[1:-1], urllib.parse.quote(value, safe=""), base64.b64encode(b"x" + value.encode()).decode()[4:-4]):
            assert form.encode() not in text, (name, form)
    marked = b"".join(texts.values())
    assert b"[SECRET:MODEL_KEY]" in marked
    if way != "error":
        assert b"[SECRET:ERRAND_RUNNER_TOKEN]" in marked
    for event in json.loads(texts[f"/v1/runs/{run_id}/events?limit=1000"])["events"]:
        assert json.dumps(event)


def test_of_a_secret_that_was_deleted_nothing_is_let_through(stack):
    """A node that can't read what it has to redact takes no events of that attempt."""
    env = {"ERRAND_MASTER_KEY": new_key()}
    api = stack.api(env=env)
    stack.runner(env=env, api=api)
    value = new_value()
    put(api, "GONE", value)
    program = SAY + """
run, base = os.environ["ERRAND_RUN_ID"], os.environ["ERRAND_API_BASE"]
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.02)
request = urllib.request.Request(f"{base}/v1/runs/{run}/runner/events", json.dumps({"v": 1, "runId": run, "events": [{"seq": 1000, "tMs": int(time.time() * 1000), "kind": "notification", "data": {"message": value}}]}).encode(), {"Authorization": "Bearer " + token})
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as e:
    print(e.code, json.load(e)["code"], flush=True)
"""
    go = f"{stack.folder}/go"
    run_id = api.submit({"name": "says", "executor": "process", "command": ["/usr/bin/python3", "-c", program], "env": [{"key": "KEY", "secret": "GONE"}, {"key": "GO", "value": go}], "eventSource": "remote"})
    api.wait(run_id, "running")
    assert api.request("DELETE", "/v1/secrets/GONE").status == 204
    open(go, "w").close()
    api.wait(run_id)
    lines = wait_until(lambda: [line["text"] for line in api.get(f"/v1/runs/{run_id}/logs").json()["lines"]], 10)
    assert lines == ["404 secret_not_found"]
    assert value.encode() not in api.get(f"/v1/runs/{run_id}/events").body


@pytest.mark.parametrize("protocol", ["events", "text"])
def test_the_last_letters_of_a_pause_are_shown(api, runner, protocol):
    """`s` may begin `sk-…`: but nobody waits for what a model says next to see the word that it said."""
    words = "half a line, is this the apis"
    say = words if protocol == "text" else json.dumps({"kind": "assistant_text", "data": {"text": words}})
    end = "" if protocol == "text" else "\\n"
    run_id = api.submit({"name": "pauses", "executor": "process", "command": ["/bin/sh", "-c", f"printf '%s{end}' '{say}'; exec sleep 1000"], "protocol": protocol})

    def shown():
        events = api.get(f"/v1/runs/{run_id}/events").json()["events"]
        return "".join(e["data"]["text"] for e in events if e["kind"] == "assistant_text") == words
    wait_until(shown, 10)


@pytest.mark.parametrize("protocol", ["events", "text"])
def test_what_follows_a_pause_is_judged_with_what_was_before(api, runner, protocol):
    """The beginning of a key, a pause, and the rest of it."""
    secret = "".join(["s", "k-", "proj-", "A1b2C3d4E5f6G7h8" * 3])
    program = SAY.replace('value = os.environ["KEY"]', f'value = "s"; rest = {secret[1:]!r}') + ("""
out = sys.stdout
out.write("it is s"); out.flush(); time.sleep(0.6); out.write(rest + " and more"); out.flush()
""" if protocol == "text" else """
event("assistant_text", text="it is s"); time.sleep(0.6); event("assistant_text", text=rest + " and more")
""")
    run_id = api.submit({"name": "pauses", "executor": "process", "command": ["/usr/bin/python3", "-c", program], "protocol": protocol})
    api.wait(run_id)
    text = "".join(e["data"]["text"] for e in api.get(f"/v1/runs/{run_id}/events").json()["events"] if e["kind"] == "assistant_text")
    assert text.startswith("it is s") and text.endswith("] and more") and "[REDACTED:" in text and secret[3:20] not in text, text
