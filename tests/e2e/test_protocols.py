"""The protocols of tools, end to end: an agent that prints as goose or Claude Code does; its events, its result, its error; secrets in what is cut to parts."""
import json
import os

import pytest

from harness import agents

CORPUS = os.path.join(os.path.dirname(__file__), "..", "unit", "adapter_corpus")


def events_of(api, run_id):
    return [json.loads(line) for line in api.replay(run_id).lines()]


def text(events):
    return "".join(e["data"]["text"] for e in events if e["kind"] == "assistant_text")


def others(events):
    return [e for e in events if e["kind"] != "assistant_text" and "stream" not in e["data"]]


def transcripts(protocol):
    return sorted(f[:-len(".jsonl")] for f in os.listdir(CORPUS) if f.startswith(protocol) and not f.endswith(".expected.jsonl"))


@pytest.mark.parametrize("protocol", ["goose", "claude"])
def test_each_transcript_is_what_readers_see(api, runner, protocol):
    """The same events as the adapter's own test, between the runner's first and last; the claim is the end."""
    runs = {name: api.submit(agents.shell(f"cat {os.path.abspath(CORPUS)}/{name}.jsonl", protocol=protocol)) for name in transcripts(protocol)}
    assert len(runs) >= 8
    for name, run_id in runs.items():
        record = api.wait(run_id)
        with open(f"{CORPUS}/{name}.expected.jsonl", encoding="utf-8") as f:
            *expected, claim = [json.loads(line) for line in f]
        seen = [{"kind": e["kind"], "data": e["data"]} for e in events_of(api, run_id)[1:-1]]
        # What may begin a secret waits for what follows it, so text may come in other pieces, and lines that are no events a little later.
        assert others(seen) == others(expected), name
        assert [e for e in seen if "stream" in e["data"]] == [e for e in expected if "stream" in e["data"]], name
        assert text(seen) == text(expected), name
        if claim["claim"] == "error":
            assert record["status"] == "error" and record["error"]["class"] == "agent_error", (name, record["error"])
            assert record["error"]["message"] == claim.get("message", "the agent reported an error"), name
        else:
            assert record["status"] == "success" and record.get("result") == claim.get("result"), (name, record)


def test_a_failed_tool_overrides_its_claim(api, runner):
    """As with any agent: an exit status does."""
    text = """printf '%s\\n' '{"type":"result","subtype":"success","is_error":false,"result":"done"}'; exit 3"""
    record = api.wait(api.submit(agents.shell(text, protocol="claude")))
    assert record["status"] == "error" and record["error"]["class"] == "exit_nonzero"


def test_a_large_result_of_a_tool_is_whole_and_redacted(stack, api, runner):
    """The runner's token stands where the output is cut into parts."""
    text = """\
        token = os.environ["ERRAND_RUNNER_TOKEN"]
        output = "".join("%07d " % i for i in range(0, 50000))
        for at in range(32768 - 20, len(output), 32768):
            output = output[:at] + token + output[at + len(token):]
        print(json.dumps({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t", "content": output}]}}))
        print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "ok"}))
        """
    run_id = api.submit(agents.python(stack.folder, text, "large", protocol="claude"))
    record = api.wait(run_id)
    assert record["status"] == "success" and record["result"] == "ok"
    parts = [e["data"] for e in events_of(api, run_id) if e["kind"] == "tool_response"]
    assert len(parts) > 10 and [p["part"] for p in parts] == list(range(1, len(parts) + 1)) and all(p["partial"] and p["parts"] == len(parts) and p["id"] == "t" for p in parts)
    whole = "".join(p["output"] for p in parts)
    assert "ert_1_" not in whole and whole.count("ERRAND_RUNNER_TOKEN") >= 10 and whole.startswith("0000000 ") and whole.endswith("0049999 ")


def test_a_loud_agent_is_whole(stack, api, runner):
    """Deltas that are cut anywhere, as fast as they are taken: none is lost, doubled or out of order, their text is whole, and their agent was given a larger pipe when it had filled its own."""
    text = """\
        import fcntl
        token = os.environ["ERRAND_RUNNER_TOKEN"]
        whole = "".join(f"{i} er ert ke to {token if i % 1000 == 999 else i}\\n" for i in range(12000))
        before = fcntl.fcntl(1, 1032)
        out, at, n = [], 0, 0
        while at < len(whole):
            size = 1 + n * 7 % 23
            out.append(json.dumps({"kind": "assistant_text", "data": {"text": whole[at:at + size]}}, separators=(",", ":") if n % 3 else None))
            at, n = at + size, n + 1
        sys.stdout.write("\\n".join(out) + "\\n")
        sys.stdout.flush()
        say("notification", {"n": n, "before": before, "behind": fcntl.fcntl(1, 1032)})
        """
    run_id = api.submit(agents.python(stack.folder, text, "loud"))
    assert api.wait(run_id)["status"] == "success"
    events = events_of(api, run_id)
    said = next(e["data"] for e in events if e["kind"] == "notification")
    assert [e["seq"] for e in events] == list(range(events[0]["seq"], events[0]["seq"] + len(events)))
    assert "".join(e["data"]["text"] for e in events if e["kind"] == "assistant_text") == "".join(f"{i} er ert ke to {'[SECRET:ERRAND_RUNNER_TOKEN]' if i % 1000 == 999 else i}\n" for i in range(12000))
    assert said["n"] > 20000 and (said["before"], said["behind"]) == (65536, 1 << 20)


def test_a_structured_result_meets_a_schema(api, runner):
    line = json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "x", "structured_output": {"n": "1"}})
    record = api.wait(api.submit(agents.shell(f"echo '{line}'", protocol="claude", outputSchema={"properties": {"n": {"type": "integer"}}})))
    assert record["result"] == {"n": "1"} and [w["pointer"] for w in record["schemaWarnings"]] == ["/n"]
