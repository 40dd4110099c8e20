"""What holds between two features: readers of runs that wait, runs larger than a claim, stalls while Redis is away."""
import time

from harness import agents
from harness.wait import holds_for, wait_until
from test_ingress import Remote, event


def test_a_reader_of_a_queued_run_stays(stack, api):
    run_id = api.submit(agents.shell("exit 0"))
    with api.stream(run_id) as stream:
        assert stream.next().event == "run"
        frame = stream.next(timeout=20)  # the node looks every three to six seconds whether the run is still there
        assert frame is not None and frame.event == "notification", "the stream of a run that waits was cut"
        stack.runner()
        assert stream.frames()[-1].event == "done"


def test_a_run_of_more_slots_than_a_claim_has_runs(stack, api):
    stack.runner(slots=100)
    large = api.submit(agents.shell("exit 0", name="large", slots=80))
    assert api.wait(large, timeout=10)["status"] == "success"
    assert api.wait(api.submit(agents.shell("exit 0")), timeout=10)["status"] == "success"
    assert api.record(large)["slots"] == 80 and "requires" not in api.record(large)


def test_a_remote_runtime_does_not_stall_while_redis_is_away(stack, api, proxy):
    stack.runner(env={"ERRAND_REDIS_URL": proxy.url})
    remote = Remote(stack, api, stallMs=4000)
    t = remote.now()
    stack.redis.command("HSET", stack.shard() + "reap", "until", t + 60000)  # Redis is away for the runner alone: as in an outage of all, nobody may take it for lost
    assert remote.batch(event(10, t)).status == 202
    begun = time.monotonic()
    asked = stack.redis.info("commandstats")["cmdstat_xrevrange"]
    wait_until(lambda: stack.redis.info("commandstats")["cmdstat_xrevrange"] != asked, 10, "the runner looks for what is newest")
    proxy.cut(refuse=True)
    wait_until(lambda: time.monotonic() - begun > 6, 10, "longer than stallMs")
    proxy.accept()
    wait_until(lambda: stack.redis.command("PUBSUB", "NUMSUB", stack.shard() + "ctl:" + stack.runners[0].inc)[1] == 1, 10, "the runner is back")
    holds_for(lambda: api.record(remote.run_id)["status"] == "running", 1.5)  # its next looks, and less than stallMs
    assert remote.batch(event(11, t)).status == 202
    remote.exit(0)
    assert api.wait(remote.run_id)["status"] == "success"


def test_a_batch_of_inline_definitions_is_read_to_its_depth(api):
    agent = agents.shell("exit 0", env=[{"key": "A", "value": "b", "description": "c"}], rateLimit={"limit": 5, "perMs": 10, "burst": 2},
                         backoff={"type": "fixed", "baseMs": 1, "capMs": 2}, requires=["x=y", "gpu"], retryOn=["timeout"])
    body = {"runs": [{"agent": agent, "concurrencyKey": {"key": "a=1% :ü\u0000\"", "limit": 2, "onLimit": "queue"}, "rateLimit": {"key": "=/:", "limit": 1}, "requires": ["z"], "labels": {"\"\\\u2028": "</\u0001>"},
                      "env": {"E": "1"}}]}
    answer = api.post("/v1/runs/batch", body).json()["results"]
    assert "runId" in answer[0], answer
    record = api.record(answer[0]["runId"])
    assert record["concurrencyKey"] == {"key": body["runs"][0]["concurrencyKey"]["key"], "limit": 2} and record["labels"] == body["runs"][0]["labels"]
    assert record["requires"] == ["gpu", "x=y", "z"]
    second = api.post("/v1/runs/batch", body).json()["results"][0]["runId"]
    assert api.record(second)["waitingFor"] == {"gate": "rateLimit", "key": "=/:"}


def test_a_dependent_starts_at_once(stack, api):
    """Whatever a promote or a claim that is under way came too early for: a chain of twenty takes no second a link."""
    stack.runner()
    agent = agents.shell("exit 0")
    runs = [{"agent": agent}] + [{"agent": agent, "dependsOn": [f"#{i}"]} for i in range(20)]
    begun = time.monotonic()
    ids = [r["runId"] for r in api.post("/v1/runs/batch", {"runs": runs}).json()["results"]]
    wait_until(lambda: api.record(ids[-1])["status"] == "success", 30)
    assert time.monotonic() - begun < 10


def test_a_large_run_is_not_kept_out_by_another_shard(stack):
    env = {"ERRAND_SHARDS": 2}
    api = stack.api(env=env)

    def submit(workspace, agent):
        answer = api.post("/v1/runs", {"agent": agent}, workspace=workspace)
        assert answer.status == 202, answer
        return answer.json()["runId"]

    def status(workspace, run_id):
        return api.get(f"/v1/runs/{run_id}", workspace=workspace).json()["status"]

    homes = {}
    for name in "abcdefghijklmnop":
        homes.setdefault(int(submit(name, agents.shell("exit 0"))[:2], 16), name)
    large_home, small_home = homes[0], homes[1]
    stack.runner(slots=4, env=env)
    small = [submit(small_home, agents.shell(f"sleep 0.{3 + i % 5}")) for i in range(150)]
    wait_until(lambda: status(small_home, small[4]) == "success", 20)
    large = submit(large_home, agents.shell("exit 0", slots=4))
    wait_until(lambda: status(large_home, large) == "success", 8)
    assert status(small_home, small[-1]) == "queued", "nobody was in its way"
    for run_id in small:
        api.post(f"/v1/runs/{run_id}/stop", workspace=small_home)
