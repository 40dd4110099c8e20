"""A small runtime without Redis, for containers and machines: it reads its manifest, posts its events, and claims its end. Only the standard library, so that its text can be a command's: `python3 -c TEXT`.
input: {"say": [texts], "exit": status, "fail": message, "wait": true (until a stop), "stdin": true}"""
import json
import os
import sys
import time
import urllib.error
import urllib.request

BASE = f"{os.environ['ERRAND_API_BASE']}/v1/runs/{os.environ['ERRAND_RUN_ID']}/runner/"
HEADERS = {"Authorization": "Bearer " + os.environ["ERRAND_RUNNER_TOKEN"], "Content-Type": "application/json"}


def ask(what, body=None):
    """An answer's JSON; asked again while the API can't be reached."""
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
        try:
            request = urllib.request.Request(BASE + what, json.dumps(body).encode() if body is not None else None, HEADERS)
            return json.load(urllib.request.urlopen(request, timeout=10))
        except urllib.error.HTTPError as e:
            if e.code < 500:
                raise
        except OSError:
            pass
        time.sleep(pause)
    sys.exit("the API can't be reached")


class Events:
    """Numbers events and posts them."""

    def __init__(self, manifest):
        self.seq, self.t = manifest["nextSeq"], manifest["lastTMs"]

    def post(self, kind, data):
        self.t = max(self.t, int(time.time() * 1000))
        answer = ask("events", {"v": 1, "runId": os.environ["ERRAND_RUN_ID"], "events": [{"seq": self.seq, "tMs": self.t, "kind": kind, "data": data}]})
        self.seq, self.t = answer["nextSeq"], answer["lastTMs"]
        return answer


manifest = ask("manifest")
job, events = manifest["input"] or {}, Events(manifest)
print("this is only log", flush=True)
for text in job.get("say", []):
    events.post("assistant_text", {"text": text})
while job.get("wait") and not events.post("notification", {"waiting": True})["stop"]:
    time.sleep(0.2)
if "fail" in job:
    events.post("runtime_terminal", {"status": "error", "error": {"class": "agent_error", "message": job["fail"]}})
elif "exit" not in job:
    result = {"n": len(job.get("say", [])), "attempt": manifest["attempt"], "env": os.environ.get("GREETING")}
    if job.get("stdin"):
        result["stdin"] = json.loads(sys.stdin.readline())["runId"]
    events.post("runtime_terminal", {"status": "success", "result": result})
sys.exit(job.get("exit", 0))
