"""What operators do: queues are paused and drained, runners leave, workspaces get settings; on two nodes, with two shards, and what is refused."""
import os
import re
import subprocess

import pytest

from harness import agents
from harness.nodes import build_dir
from harness.wait import holds_for, wait_until

HELLO = agents.shell("echo hello", name="hello", protocol="text")
SHARDS = {"ERRAND_SHARDS": "2"}


class Place:
    """Two API nodes over two shards, with a workspace in each shard; runners are the test's own."""

    def __init__(self, stack):
        self.stack = stack
        self.apis = [stack.api(env=SHARDS), stack.api(env=SHARDS)]
        self.workspaces = [None, None]
        for i in range(64):
            run_id = self.submit(f"ws{i}", queue="nowhere", node=i % 2)
            self.workspaces[int(run_id[:2], 16)] = f"ws{i}"
            assert self.ask("POST", f"/v1/runs/{run_id}/stop", ws=f"ws{i}").status in (200, 202)
            assert self.ask("DELETE", f"/v1/runs/{run_id}", ws=f"ws{i}").status == 204
            if all(self.workspaces):
                break
        assert all(self.workspaces)

    def runner(self, name, slots=4, **env):
        return self.stack.runner(slots=slots, env={**SHARDS, "ERRAND_NODE": name, **env})

    def ask(self, method, path, body=None, node=0, ws=None):
        return self.apis[node].request(method, path, body, workspace=ws)

    def try_submit(self, ws, agent=HELLO, node=0, **fields):
        return self.ask("POST", "/v1/runs", {"agent": agent, **fields}, node, ws)

    def submit(self, ws, agent=HELLO, node=0, **fields):
        answer = self.try_submit(ws, agent, node, **fields)
        assert answer.status == 202, answer
        self.stack.run_ids.append(answer.json()["runId"])
        return answer.json()["runId"]

    def submit_both(self, **fields):
        """A run in each shard: [(workspace, id)]."""
        return [(ws, self.submit(ws, node=i, **fields)) for i, ws in enumerate(self.workspaces)]

    def status(self, ws, run_id):
        return self.ask("GET", f"/v1/runs/{run_id}", ws=ws).json()["status"]

    def wait(self, runs, status="success", timeout=30):
        wait_until(lambda: {self.status(*r) for r in runs} == {status}, timeout, f"all are {status}")

    def queue(self, name="default", node=0):
        answer = self.ask("GET", f"/v1/queues/{name}", node=node)
        assert answer.status == 200, answer
        return answer.json()

    def rows(self, node=0):
        return {q["name"]: q for q in self.ask("GET", "/v1/queues", node=node).json()["queues"]}


@pytest.fixture
def place(stack):
    return Place(stack)


def waiter(folder, name="gate"):
    """An agent that goes on until the file is there, and the file."""
    path = os.path.join(folder, name)
    return agents.shell(f"while [ ! -e {path} ]; do sleep 0.02; done", name="waiter", protocol="text"), path


def touch(path):
    with open(path, "w", encoding="ascii"):
        pass


# ---- queues ----

def test_a_paused_queue_starts_nothing_and_resume_goes_on(place):
    for name in ("n1", "n2"):
        place.runner(name)
    answer = place.ask("POST", "/v1/queues/default/pause", node=0)
    assert answer.status == 200 and answer.json() == {"name": "default", "paused": True, "draining": False}
    runs = place.submit_both() + place.submit_both(priority="high")
    other = place.submit_both(queue="nowhere")
    holds_for(lambda: {place.status(*r) for r in runs} == {"queued"}, 2.5, "nothing of a paused queue is claimed")  # longer than runners ask for
    for node in (0, 1):
        row = place.queue(node=node)
        assert row["paused"] and row["waiting"] == 4 and row["running"] == 0 and row["oldestWaitingMs"] >= 2000
        assert row["desiredSlots"] == row["busySlots"] == 0 and place.rows(node)["default"]["paused"]
    assert place.ask("POST", "/v1/queues/default/resume", node=1).json() == {"name": "default", "paused": False, "draining": False}
    place.wait(runs)
    assert {place.status(*r) for r in other} == {"queued"}
    assert place.queue()["waiting"] == 0 and place.queue()["oldestWaitingMs"] == 0


def test_what_runs_already_ends_while_its_queue_is_paused(place):
    agent, gate = waiter(place.stack.folder)
    place.runner("n1")
    runs = place.submit_both(agent=agent)
    place.wait(runs, "running")
    assert place.ask("POST", "/v1/queues/default/pause").status == 200
    late = place.submit_both()
    touch(gate)
    place.wait(runs)
    holds_for(lambda: {place.status(*r) for r in late} == {"queued"}, 1.5, "the others wait")
    assert place.ask("PUT", "/v1/queues/default", {"paused": False}).status == 200
    place.wait(late)


def test_a_draining_queue_refuses_and_executes_what_waits(place):
    waiting = place.submit_both()
    assert place.ask("POST", "/v1/queues/default/drain", {}).json() == {"name": "default", "paused": False, "draining": True}
    for node, ws in enumerate(place.workspaces):
        answer = place.try_submit(ws, node=node)
        assert answer.status == 503 and answer.code == "queue_draining" and answer.headers["retry-after"]
    batch = place.ask("POST", "/v1/runs/batch", {"runs": [{"agent": HELLO}, {"agent": HELLO, "queue": "other"}]}, ws=place.workspaces[0]).json()["results"]
    assert batch[0]["error"]["code"] == "queue_draining" and batch[1]["status"] == "queued"
    assert {place.status(*r) for r in waiting} == {"queued"} and place.queue()["draining"] and place.queue()["waiting"] == 2
    place.runner("n1")
    place.wait(waiting)
    assert place.try_submit(place.workspaces[0]).code == "queue_draining"
    assert place.ask("POST", "/v1/queues/default/resume").json()["draining"] is False
    place.wait(place.submit_both())


def test_a_retry_stays_in_a_draining_queue(place):
    flag = os.path.join(place.stack.folder, "flag")
    ws = place.workspaces[0]
    run_id = place.submit(ws, agents.shell(f"[ -e {flag} ]", name="fails", protocol="text", maxAttempts=50, backoff={"type": "fixed", "baseMs": 50, "capMs": 50}))
    place.runner("n1")
    wait_until(lambda: place.ask("GET", f"/v1/runs/{run_id}", ws=ws).json()["failures"] > 0, 20)
    assert place.ask("POST", "/v1/queues/default/drain").status == 200
    touch(flag)
    place.wait([(ws, run_id)])


def test_how_many_may_wait(place):
    assert place.ask("PUT", "/v1/queues/default", {"maxWaiting": 2}).json() == {"name": "default", "paused": False, "draining": False, "maxWaiting": 2}
    first, second = place.workspaces
    runs = [place.submit(first), place.submit(first, delayMs=600000)]
    answer = place.try_submit(first, node=1)
    assert answer.status == 503 and answer.code == "queue_full"
    place.submit(second)  # each shard counts its own
    place.submit(first, queue="other")
    assert place.queue()["maxWaiting"] == 2 and place.queue()["scheduled"] == 1
    assert place.ask("POST", f"/v1/runs/{runs[0]}/stop", ws=first).status in (200, 202)
    place.submit(first)
    assert place.try_submit(first).code == "queue_full"
    assert place.ask("PUT", "/v1/queues/default", {"maxWaiting": None}).json() == {"name": "default", "paused": False, "draining": False}
    place.submit(first)


def test_settings_merge_and_a_queue_needs_no_making(place):
    zeros = place.queue("never-heard-of")
    assert zeros == {"name": "never-heard-of", "waiting": 0, "scheduled": 0, "running": 0, "paused": False, "draining": False, "oldestWaitingMs": 0,
                     "perMinute": {"success": 0, "error": 0, "stopped": 0}, "slots": 0, "busySlots": 0, "desiredSlots": 0}
    assert "never-heard-of" not in place.rows()
    assert place.ask("PUT", "/v1/queues/q", {"paused": True, "maxWaiting": 7}).status == 200
    assert place.ask("PUT", "/v1/queues/q", {"draining": True}, node=1).json() == {"name": "q", "paused": True, "draining": True, "maxWaiting": 7}
    assert place.ask("PUT", "/v1/queues/q", {}).json() == {"name": "q", "paused": True, "draining": True, "maxWaiting": 7}
    assert place.rows(1)["q"]["paused"] and place.rows(1)["q"]["maxWaiting"] == 7
    assert place.ask("POST", "/v1/queues/q/resume").json() == {"name": "q", "paused": False, "draining": False, "maxWaiting": 7}
    assert place.ask("PUT", "/v1/queues/q", {"maxWaiting": None}).status == 200
    assert "q" not in place.rows()


@pytest.mark.parametrize("method, path, body, code, part", [
    ("PUT", "/v1/queues/q", {"paused": 1}, "invalid_field", "paused"), ("PUT", "/v1/queues/q", {"paused": None}, "invalid_field", "paused"), ("PUT", "/v1/queues/q", {"draining": "yes"}, "invalid_field", "draining"),
    ("PUT", "/v1/queues/q", {"maxWaiting": 0}, "invalid_field", "maxWaiting"), ("PUT", "/v1/queues/q", {"maxWaiting": -1}, "invalid_field", "maxWaiting"), ("PUT", "/v1/queues/q", {"maxWaiting": 1.5}, "invalid_field", "maxWaiting"),
    ("PUT", "/v1/queues/q", {"maxWaiting": "5"}, "invalid_field", "maxWaiting"), ("PUT", "/v1/queues/q", {"maxWaiting": 10**9 + 1}, "invalid_field", "maxWaiting"), ("PUT", "/v1/queues/q", {"paused": True, "name": "q"}, "unknown_field", "name"),
    ("PUT", "/v1/queues/q", "[]", "invalid_field", "object"), ("PUT", "/v1/queues/q", "{", "invalid_json", ""), ("PUT", "/v1/queues/q", '{"paused":true,"paused":true}', "invalid_field", "twice"),
    ("PUT", "/v1/queues/-q", {}, "invalid_field", "queue's name"), ("GET", "/v1/queues/a%20b", None, "invalid_field", "queue's name"), ("POST", "/v1/queues/%2Aq/pause", None, "invalid_field", "queue's name"),
    ("POST", "/v1/queues/q/pause", {"paused": True}, "unknown_field", "paused"), ("POST", "/v1/queues/q/halt", None, "not_found", ""), ("DELETE", "/v1/queues/q", None, "method_not_allowed", ""),
    ("GET", "/v1/queues/q?wait=1", None, "invalid_parameter", "wait"), ("POST", "/v1/runners/x/drain", {"now": 1}, "unknown_field", "now"), ("POST", "/v1/runners/nobody/drain", None, "runner_not_found", ""),
    ("POST", f"/v1/runners/{'x' * 2000}/drain", None, "runner_not_found", ""), ("GET", "/v1/workspaces/a%20b", None, "invalid_field", "workspace's name"), ("PUT", "/v1/workspaces/.x", {}, "invalid_field", "workspace's name"),
    ("DELETE", f"/v1/workspaces/{'x' * 129}", None, "invalid_field", "workspace's name"), ("PUT", "/v1/workspaces/w", {"color": 1}, "unknown_field", "color"), ("PUT", "/v1/workspaces/w", {"weight": 101}, "invalid_field", "weight"),
    ("PUT", "/v1/workspaces/w", {"concurrency": 10**6 + 1}, "invalid_field", "concurrency"), ("PUT", "/v1/workspaces/w", {"queueMax": 10**9 + 1}, "invalid_field", "queueMax"), ("PUT", "/v1/workspaces/w", "null", "invalid_field", "object"),
    ("PUT", "/v1/workspaces/w", {"bytesMax": 2**53 + 1}, "invalid_field", "bytesMax"), ("GET", "/v1/workspaces?limit=0", None, "invalid_parameter", "limit"), ("GET", "/v1/workspaces?after=%20", None, "invalid_parameter", "after"),
    *[("PUT", "/v1/workspaces/w", {field: value}, "invalid_field", field) for field in ("weight", "concurrency", "queueMax", "bytesMax", "retentionMs", "retentionCount", "eventsRetentionMs", "resultRetentionMs")
      for value in (0, -1, 1.5, "5", True, [], 10**18)],
])
def test_what_is_wrong_is_refused_by_name_and_changes_nothing(shared, method, path, body, code, part):
    api = shared
    answer = api.request(method, path, body)
    statuses = {"not_found": 404, "runner_not_found": 404, "method_not_allowed": 405}
    assert answer.status == statuses.get(code, 400) and answer.code == code and part in answer.json()["detail"], answer
    assert not [k for k in api.stack.redis.keys(f"{api.stack.prefix}*") if re.search(rb"queue:|queues|ws:|workspaces|limits:", k)]


@pytest.fixture(scope="module")
def shared():
    """One node for all refusals, which leave nothing behind."""
    import shutil
    import tempfile
    from harness.nodes import Stack
    from harness.redis_server import RedisServer
    folder = tempfile.mkdtemp(prefix="errand-", dir="/tmp")
    server = RedisServer(folder).start()
    made = Stack(folder, server)
    yield made.api(env=SHARDS)
    faults = made.stop()
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
    assert not faults, "\n".join(faults)


def test_credentials_are_needed(shared):
    for method, path in (("GET", "/v1/workspaces"), ("PUT", "/v1/workspaces/w"), ("PUT", "/v1/queues/q"), ("POST", "/v1/queues/q/pause"), ("POST", "/v1/runners/x/drain"), ("GET", "/v1/queues/q")):
        assert shared.request(method, path, {} if method != "GET" else None, headers={"Authorization": None}).status == 401


def test_the_figures_of_a_queue(place):
    agent, gate = waiter(place.stack.folder)
    place.runner("n1", slots=2)
    place.runner("n2", slots=3, ERRAND_QUEUES="default,extra")
    row = wait_until(lambda: (lambda r: r if r["slots"] == 5 else None)(place.queue()), 20)  # each node once, though it is in both shards
    assert (row["busySlots"], row["desiredSlots"], row["running"], row["perMinute"]) == (0, 0, 0, {"success": 0, "error": 0, "stopped": 0}) and "averageRunMs" not in row
    assert place.queue("extra")["slots"] == 3 and place.rows(1)["extra"]["slots"] == 3
    done = place.submit_both() + place.submit_both() + [(place.workspaces[0], place.submit(place.workspaces[0]))]
    place.wait(done)
    failed = place.submit(place.workspaces[1], agents.shell("exit 3", name="bad", protocol="text"))
    place.wait([(place.workspaces[1], failed)], "error")
    stopped = [(place.workspaces[0], place.submit(place.workspaces[0], agent)) for _ in range(2)]
    place.wait(stopped, "running")
    wait_until(lambda: place.queue()["busySlots"] == 2 and place.queue(node=1)["running"] == 2, 20, "busy slots are told")
    for ws, run_id in stopped:
        assert place.ask("POST", f"/v1/runs/{run_id}/stop", ws=ws).status == 202
    place.wait(stopped, "stopped")
    row = wait_until(lambda: (lambda r: r if r["busySlots"] == 0 and r["running"] == 0 else None)(place.queue()), 20)
    rate = row["perMinute"]
    assert rate["success"] > rate["stopped"] > rate["error"] > 0 and 5 / 6 - 0.01 <= rate["success"] <= 1.01
    assert isinstance(row["averageRunMs"], int) and row["averageRunMs"] >= 0
    # More than there are slots for.
    busy = [(ws, place.submit(ws, agent, node=i % 2)) for i in range(5) for ws in place.workspaces]
    row = wait_until(lambda: (lambda r: r if r["busySlots"] == 5 and r["running"] == 5 else None)(place.queue()), 20)
    assert row["waiting"] == 5 and row["oldestWaitingMs"] >= 0 and 6 <= row["desiredSlots"] <= 10
    assert place.rows()["default"]["waiting"] == 5 and place.rows(1)["default"]["desiredSlots"] == row["desiredSlots"]
    assert place.queue("extra")["busySlots"] == 3  # the node's slots are busy, whosever runs they execute
    touch(gate)
    place.wait(busy)
    wait_until(lambda: place.queue()["desiredSlots"] == 0, 20)


def test_the_list_is_sorted_and_bounded(place):
    for i in range(30):
        place.submit(place.workspaces[i % 2], queue=f"q{(i * 7) % 30:02}", node=i % 2)
    names = [q["name"] for q in place.ask("GET", "/v1/queues").json()["queues"]]
    assert names == sorted(names) and set(names) == {f"q{i:02}" for i in range(30)}
    shard = place.stack.shard(1)
    place.stack.redis.command("HSET", f"{shard}queued", *[w for i in range(1200) for w in (f"r{i:04}", 3)])
    answer = place.ask("GET", "/v1/queues", node=1).json()["queues"]
    names = [q["name"] for q in answer]
    assert len(names) == 1000 and names == sorted(names) and all(q["waiting"] == 3 for q in answer if q["name"].startswith("r"))
    assert place.queue("r1199")["waiting"] == 3
    place.stack.redis.command("HDEL", f"{shard}queued", *[f"r{i:04}" for i in range(1200)])


def test_a_shard_that_fails_is_said_and_repeating_is_safe(stack, redis, redis_factory):
    second = redis_factory()
    url = f"{redis.url},{second.url}"
    api = stack.api(env={**SHARDS, "ERRAND_REDIS_URL": url})
    assert api.post("/v1/queues/q/pause").status == 200
    second.kill9()
    answer = api.post("/v1/queues/q/resume")
    assert answer.status == 503 and answer.code == "redis_unavailable" and "1 of 2 shards" in answer.json()["detail"] and answer.headers["retry-after"]
    assert api.get("/v1/queues").status == 503 and api.get("/v1/queues/q").status == 503 and api.get("/v1/workspaces").status == 503
    second.start()
    wait_until(api.ready, 20)
    row = api.get("/v1/queues/q").json()
    assert row["paused"]  # as long as one shard is
    assert api.post("/v1/queues/q/resume").json() == {"name": "q", "paused": False, "draining": False}
    assert not api.get("/v1/queues/q").json()["paused"]


# ---- runners ----

def test_a_drained_runner_finishes_its_runs_and_leaves(place):
    agent, gate = waiter(place.stack.folder)
    first = place.runner("n1", ERRAND_DRAIN_MS="60000")
    runs = place.submit_both(agent=agent)
    place.wait(runs, "running")
    second = place.runner("n2")
    answer = place.ask("POST", f"/v1/runners/{first.inc}/drain", node=1)
    assert answer.status == 202 and answer.json() == {"id": first.inc, "draining": True}
    shown = {r["id"]: r["draining"] for r in place.ask("GET", "/v1/runners").json()["runners"]}
    assert shown[first.inc] and not shown[second.inc]
    assert place.ask("POST", f"/v1/runners/{first.inc}/drain").status == 202  # again: not a second SIGTERM
    later = place.submit_both()
    place.wait(later)
    assert {r["attempts"][0]["runner"] for r in (place.ask("GET", f"/v1/runs/{i}", ws=ws).json() for ws, i in later)} == {"n2"}
    assert {place.status(*r) for r in runs} == {"running"} and first.process.alive()
    wait_until(lambda: place.queue()["slots"] == 4, 20, "only the other one's slots count")
    touch(gate)
    place.wait(runs)
    assert first.process.popen.wait(20) == 0
    assert {len(place.ask("GET", f"/v1/runs/{i}", ws=ws).json()["attempts"]) for ws, i in runs} == {1}
    wait_until(lambda: first.inc not in [r["id"] for r in place.ask("GET", "/v1/runners").json()["runners"]], 10)
    assert place.ask("POST", f"/v1/runners/{first.inc}/drain").code == "runner_not_found"


def test_a_runner_whose_order_was_lost_hears_it_with_its_heartbeat(place):
    runner = place.runner("n1")
    place.stack.redis.command("HSET", f"{place.stack.shard(0)}runner:{runner.inc}", "drain", "1")
    assert runner.process.popen.wait(20) == 0


def test_runners_are_drained_by_name(place):
    place.runner("n1")
    pair = [place.runner("twin"), place.runner("twin")]
    assert place.ask("POST", "/v1/runners/twin/drain").json() == {"id": "twin", "draining": True}
    assert [r.process.popen.wait(20) for r in pair] == [0, 0]
    wait_until(lambda: {r["name"] for r in place.ask("GET", "/v1/runners").json()["runners"]} == {"n1"}, 10)
    place.wait(place.submit_both())


def test_tags_are_shown(place):
    place.runner("n1", ERRAND_TAGS="gpu, zone=eu-1,os:linux,a.b_c")
    rows = wait_until(lambda: (lambda r: r if len(r) == 2 else None)(place.ask("GET", "/v1/runners").json()["runners"]), 10)
    assert [r["tags"] for r in rows] == [["gpu", "zone=eu-1", "os:linux", "a.b_c"]] * 2


@pytest.mark.parametrize("tags", ["a b", "a,b/c", "é", "x" * 129, ",".join(f"t{i}" for i in range(65)), "a;b"])
def test_wrong_tags_are_refused_at_the_start(folder, tags):
    done = subprocess.run([os.path.join(build_dir(), "errand-runner"), "--tags", tags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20, cwd=folder,
                          env={"PATH": os.environ["PATH"], "HOME": folder})
    assert done.returncode == 2 and done.stderr.startswith("errand-runner: tags: ") and "Sanitizer" not in done.stderr, done


# ---- workspaces ----

def test_a_workspaces_settings(place):
    for name in place.workspaces:
        path = f"/v1/workspaces/{name}"
        assert place.ask("GET", path).json() == {"name": name, "weight": 1, "usage": {"waiting": 0, "bytes": 0}}
        whole = {"weight": 100, "concurrency": 1000000, "queueMax": 10**9, "bytesMax": 10**15, "retentionMs": 31536000000, "retentionCount": 5, "eventsRetentionMs": 1, "resultRetentionMs": 2}
        answer = place.ask("PUT", path, whole)
        assert answer.status == 200 and {k: v for k, v in answer.json().items() if k in whole} == whole and answer.json()["createdAt"]
        assert place.ask("GET", path, node=1).json() == answer.json()
        created = answer.json()["createdAt"]
        answer = place.ask("PUT", path, {"weight": 2, "concurrency": None}, node=1)  # the whole is replaced
        assert answer.json() == {"name": name, "weight": 2, "createdAt": created, "usage": {"waiting": 0, "bytes": 0}}
        assert place.ask("PUT", path, {}).json() == {"name": name, "weight": 1, "createdAt": created, "usage": {"waiting": 0, "bytes": 0}}
    listed = place.ask("GET", "/v1/workspaces", node=1).json()
    assert [w["name"] for w in listed["workspaces"]] == sorted(place.workspaces) and listed["cursor"] is None
    for name in place.workspaces * 2:
        assert place.ask("DELETE", f"/v1/workspaces/{name}").status == 204
    assert place.ask("GET", "/v1/workspaces").json() == {"workspaces": [], "cursor": None}
    assert "createdAt" not in place.ask("GET", f"/v1/workspaces/{place.workspaces[0]}").json()


def test_workspaces_in_pages_over_the_shards(place):
    names = sorted(f"w{i:02}" for i in range(23))
    for i, name in enumerate(names):
        assert place.ask("PUT", f"/v1/workspaces/{name}", {"weight": i + 1}, node=i % 2).status == 200
    found, after = [], ""
    while after is not None:
        page = place.ask("GET", f"/v1/workspaces?limit=5{'&after=' + after if after else ''}").json()
        assert len(page["workspaces"]) <= 5
        found += [(w["name"], w["weight"]) for w in page["workspaces"]]
        after = page["cursor"]
    assert found == [(name, i + 1) for i, name in enumerate(names)]


def test_what_a_workspace_uses(place):
    for ws in place.workspaces:
        for i in range(3):
            place.submit(ws, input={"pad": "x" * 1000}, delayMs=600000 if i == 0 else 0)
        usage = place.ask("GET", f"/v1/workspaces/{ws}", node=1).json()["usage"]
        assert usage["waiting"] == 3 and 3000 <= usage["bytes"] < 20000


def test_a_workspaces_concurrency_holds_and_can_be_raised(place):
    agent, gate = waiter(place.stack.folder)
    ws, other = place.workspaces
    assert place.ask("PUT", f"/v1/workspaces/{ws}", {"concurrency": 1}).status == 200
    place.runner("n1", slots=8)
    runs = [place.submit(ws, agent, node=i % 2) for i in range(4)]
    free = place.submit(other, agent)
    def running():
        return [place.status(ws, r) for r in runs].count("running")
    wait_until(lambda: running() == 1 and place.status(other, free) == "running", 20)
    holds_for(lambda: running() == 1, 1.5, "one at a time")
    assert place.ask("PUT", f"/v1/workspaces/{ws}", {"concurrency": 3}, node=1).status == 200
    wait_until(lambda: running() == 3, 20, "those that wait are let in")
    holds_for(lambda: running() == 3, 1.5, "three at a time")
    assert place.ask("DELETE", f"/v1/workspaces/{ws}").status == 204
    wait_until(lambda: running() == 4, 20, "there is no bound any more")
    touch(gate)
    place.wait([(ws, r) for r in runs] + [(other, free)])


# ---- the command line ----

def errand(place, *args):
    return subprocess.run([os.path.join(build_dir(), "errand"), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, cwd=place.stack.folder,
                          env=place.stack.environment({"ERRAND_URL": place.apis[0].url, "ERRAND_KEY": place.stack.key}))


def said(place, *args):
    done = errand(place, *args)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def test_queues_from_the_command_line(place):
    place.submit(place.workspaces[0])
    assert said(place, "queues", "pause", "default") == "default paused\n"
    assert said(place, "queues", "drain", "default") == "default paused, draining\n"
    assert said(place, "queues", "set", "default", "--max-waiting", "9") == "default paused, draining, at most 9 waiting\n"
    assert re.search(r"^QUEUE +WAITING .*\ndefault +1 +0 +0 .* paused, draining *$", said(place, "queues"), re.M)
    assert said(place, "queues", "list").splitlines()[0] == said(place, "queues").splitlines()[0]
    assert place.queue()["maxWaiting"] == 9 and '"maxWaiting": 9' in said(place, "queues", "show", "default")
    assert re.search(r'^\{"name":"default","waiting":1,', said(place, "queues", "show", "default", "--json"))
    assert said(place, "queues", "resume", "default", "--json") == '{"name":"default","paused":false,"draining":false,"maxWaiting":9}\n'
    assert said(place, "queues", "set", "default", "--max-waiting", "0") == "default open\n"


def test_runners_from_the_command_line(place):
    runner = place.runner("n1", ERRAND_TAGS="gpu,ssd")
    assert re.search(r" gpu, ssd +.* live .* process \(timeout", said(place, "runners"), re.M) and said(place, "runners", "list")
    assert said(place, "runners", "drain", "n1") == "n1 drains: it finishes its runs and ends\n"
    assert runner.process.popen.wait(20) == 0
    wait_until(lambda: not place.ask("GET", "/v1/runners").json()["runners"], 10)
    done = errand(place, "runners", "drain", "n1")
    assert done.returncode == 2 and "runner_not_found" in done.stderr and done.stdout == ""


def test_workspaces_from_the_command_line(place):
    assert said(place, "workspaces", "set", "w", "--weight", "4", "--concurrency", "50", "--retention", "2d")
    assert said(place, "workspaces", "set", "w", "--concurrency", "0", "--queue-max", "10")  # what is not named stays
    shown = place.ask("GET", "/v1/workspaces/w").json()
    assert {k: v for k, v in shown.items() if k not in ("createdAt", "usage")} == {"name": "w", "weight": 4, "queueMax": 10, "retentionMs": 172800000}
    assert re.search(r"^WORKSPACE .*\nw +4 +- +10 +0 +0 *$", said(place, "workspaces"), re.M)
    assert '"weight": 4' in said(place, "workspaces", "show", "w") and said(place, "workspaces", "list", "--json").startswith('{"name":"w","weight":4,')
    assert said(place, "workspaces", "delete", "w") == "w has no settings now\n"
    assert said(place, "workspaces", "list", "--json") == ""


@pytest.mark.parametrize("args, part", [
    (["queues", "puase", "x"], "did you mean pause"), (["queues", "pause"], "needs a NAME"), (["queues", "list", "x"], "unexpected 'x'"), (["queues", "set", "x"], "--max-waiting"),
    (["queues", "pause", "x", "--max-waiting", "4"], "set NAME"), (["queues", "set", "x", "--max-waiting", "-1"], "between 0 and"), (["queues", "show", "a b"], "invalid_field"), (["runners", "drian"], "did you mean drain"),
    (["runners", "drain"], "needs an ID"), (["runners", "list", "x"], "unexpected 'x'"), (["workspaces", "set", "x"], "--weight 4"), (["workspaces", "show", "x", "--weight", "2"], "set NAME"), (["workspaces", "show"], "needs a NAME"),
    (["workspaces", "set", "x", "--weight", "0"], "between 1 and 100"), (["workspaces", "set", "x", "--retention", "soon"], "a time like"), (["workspaces", "st", "x"], "unknown 'st'"),
])
def test_usage_is_2(shared, args, part):
    done = subprocess.run([os.path.join(build_dir(), "errand"), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          env=shared.stack.environment({"ERRAND_URL": shared.url, "ERRAND_KEY": shared.stack.key}))
    assert done.returncode == 2 and part in done.stderr and done.stdout == "", done
