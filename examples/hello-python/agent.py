"""Greets, from a sandbox. Its job is one JSON line; it prints events, one JSON object a line.

Errand has checked the input against `inputSchema` before there was a run, and checks the result against `outputSchema`.
"""
import json
import sys


def say(kind, data):
    print(json.dumps({"kind": kind, "data": data}), flush=True)


job = json.loads(sys.stdin.readline())
name, times = job["input"]["name"], job["input"].get("times", 1)
greeting = f"Hello, {name}!"
for _ in range(times):
    say("assistant_text", {"text": greeting + "\n"})
say("runtime_terminal", {"status": "success", "result": {"greeting": greeting, "times": times}})
