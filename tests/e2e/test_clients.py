"""Other people's clients: Chromium's own EventSource, the npm package, an OpenAPI linter, promtool."""
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

from harness import agents
from harness.http_client import request
from harness.npm import node
from harness.wait import wait_until

PAGE = """<!doctype html><meta charset="utf-8"><title>reading</title><script>
const got = [], kinds = ["runtime_started", "assistant_text", "runtime_terminal"];
let opens = 0, done = null;
const source = new EventSource(%s);
source.onopen = () => { opens++; };
for (const kind of kinds) source.addEventListener(kind, (e) => got.push([Number(e.lastEventId), kind]));
source.addEventListener("done", (e) => { done = JSON.parse(e.data).status; });
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) fetch("/result", { method: "POST", body: JSON.stringify({ opens, done, got }) });
};
</script>"""


class Browser:
    """Chromium with one page that reads a stream; the page is served from an origin of its own, and posts there what it got when it was over."""

    def __init__(self, folder, url):
        self.result, self.over = None, threading.Event()
        browser = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = (PAGE % json.dumps(url)).encode() if self.path == "/" else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                browser.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()
                browser.over.set()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   "--disable-dev-shm-usage", f"--user-data-dir={folder}/profile", f"http://127.0.0.1:{self.server.server_port}/"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def wait(self, seconds):
        came = self.over.wait(seconds)
        self.close()
        assert came, "the page did not come to its end"
        return self.result

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self.server.shutdown()
        self.server.server_close()


def submit_with_stream(api, stack, n, pause_ms, **env):
    answer = api.post("/v1/runs", {"agent": agents.counter(stack.folder), "input": {"n": n, "group": 5, "pauseMs": pause_ms}})
    assert answer.status == 202
    stack.run_ids.append(answer.json()["runId"])
    return answer.json()


def chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(not chromium(), reason="chromium is not installed")
def test_chromiums_eventsource_reads_a_stream_and_stops_at_its_end(stack):
    """Through streamUrl and CORS, without a header; the 204 ends it."""
    api = stack.api(env={"ERRAND_CORS_ORIGINS": "*"})
    stack.runner(api=api)
    run = submit_with_stream(api, stack, 40, 20)
    got = Browser(stack.folder, api.url + run["streamUrl"]).wait(60)
    assert got["done"] == "success" and [seq for seq, _ in got["got"]] == list(range(1, 43))
    assert got["got"][0][1] == "runtime_started" and got["got"][-1][1] == "runtime_terminal"


@pytest.mark.skipif(not chromium(), reason="chromium is not installed")
def test_chromiums_eventsource_resumes_after_its_node_was_restarted(stack):
    """Same address, another process: no gap, no duplicate."""
    env = {"ERRAND_CORS_ORIGINS": "*"}
    first = stack.api(env=env)
    stack.api()
    stack.runner(api=stack.apis[1])
    run = submit_with_stream(first, stack, 300, 100)
    browser = Browser(stack.folder, first.url + run["streamUrl"])
    try:
        wait_until(lambda: first.metric("errand_stream_readers") == 1 and first.metric("errand_stream_frames_total") > 5, 30, "the browser reads")
    except AssertionError:
        browser.close()
        raise
    first.kill9()
    again = stack.api(env=env, port=first.port)
    result = browser.wait(80)
    assert again.metric("errand_stream_frames_total") > 0
    assert result["opens"] >= 2 and result["done"] == "success" and [seq for seq, _ in result["got"]] == list(range(1, 303))


def test_the_npm_package_eventsource_reads_resumes_and_stops(stack, api, runner, npm_modules):
    run = submit_with_stream(api, stack, 200, 20)
    got = json.loads(node(npm_modules, "eventsource_read.mjs", api.url + run["streamUrl"], "6000"))
    assert got["done"]["status"] == "success" and [e[0] for e in got["got"]] == list(range(1, 203))
    assert got["opens"] >= 2 and int(got["resumedAfter"]) == 202, "the last connection was told that all had been seen"
    wanted = [line.decode() for line in api.replay(run["runId"]).lines()]
    assert [e[2] for e in got["got"]] == wanted


# ---- descriptions ----

def test_an_openapi_linter_accepts_the_description(stack, api, npm_modules):
    path = os.path.join(stack.folder, "openapi.json")
    with open(path, "wb") as f:
        f.write(request(api.port, "GET", "/openapi.json").body)
    said = node(npm_modules, "openapi_lint.mjs", path)
    assert said.splitlines()[-1].startswith("0 errors"), said


def test_the_description_lists_what_is_served(api):
    spec = request(api.port, "GET", "/openapi.json").json()
    assert spec["openapi"].startswith("3.1.")
    operations = [o for item in spec["paths"].values() for k, o in item.items() if k in ("get", "post", "put", "delete")]
    ids = [o["operationId"] for o in operations]
    assert len(ids) == len(set(ids)) >= 20
    text = json.dumps(spec)
    for ref in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        at = spec
        for part in ref.split("/"):
            at = at[part]
    for path, item in spec["paths"].items():  # each is served: never a 404 for the path itself
        for method in item:
            if method in ("get", "post", "put", "delete"):
                answer = api.request(method.upper(), re.sub(r"\{[a-z]+\}", "x", path), b"" if method in ("post", "put") else None, headers={"Last-Event-ID": "0"})
                assert answer.code != "not_found" and answer.status != 405, (method, path, answer)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) is not installed")
def test_promtool_accepts_the_metrics(stack):
    api = stack.api()
    runner = stack.runner(args=["--metrics-listen", "127.0.0.1:0", "--port-file", os.path.join(stack.folder, "runner.port")])
    for _ in range(3):
        api.wait(api.submit(agents.shell("echo hello", name="h", protocol="text")))
    api.wait(api.submit(agents.shell("exit 1", name="f")))

    def port():
        try:
            with open(os.path.join(stack.folder, "runner.port"), encoding="ascii") as f:
                return int(f.read())
        except FileNotFoundError:
            return 0
    runner_port = wait_until(port, 5)
    for at in (api.port, runner_port):
        answer = request(at, "GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        done = subprocess.run(["promtool", "check", "metrics"], input=answer.body, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0 and not done.stdout, done.stdout
    assert api.metric("errand_runs_submitted_total") == 4

    def of_runner(name, labels):
        found = re.search(rf"^{name}\{{[^}}]*{labels}[^}}]*\}} (\S+)$", request(runner_port, "GET", "/metrics").body.decode(), re.M)
        return float(found.group(1)) if found else None
    assert of_runner("errand_runner_attempts_total", "success") == 3 and of_runner("errand_runner_attempts_total", "error") == 1
    assert request(runner_port, "GET", "/healthz").status == 200 and request(runner_port, "GET", "/readyz").status == 200
    assert runner.process.alive()


@pytest.mark.parametrize("log_format", ["json", "logfmt"])
def test_logs_are_structured(stack, log_format):
    api = stack.api(env={"ERRAND_LOG_FORMAT": log_format})
    runner = stack.runner(env={"ERRAND_LOG_FORMAT": log_format})
    run_id = api.submit(agents.shell("exit 1", name='od"d'.replace('"', "-")))
    api.wait(run_id)
    for process in (api.process, runner.process):
        lines = process.output().decode().splitlines()
        assert lines
        for line in lines:
            if log_format == "json":
                assert {"time", "level", "component", "msg"} <= set(json.loads(line)), line
            else:
                assert re.match(r"time=\S+ level=(debug|info|warn|error) component=(api|runner) ", line), line
    assert f"{run_id}" in runner.process.output().decode()
