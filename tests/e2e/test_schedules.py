"""Schedules over HTTP: made, refused, paused; each tick runs once whatever happens to nodes and their clocks; runs that overlap; ticks that were missed."""
import glob
import json
import os
import time

import pytest

from harness import agents
from harness.nodes import TERMINAL, release_dir
from harness.wait import holds_for, wait_until

QUICK = agents.shell("true", name="quick", protocol="text")
RUN = {"agent": QUICK}


def put(api, name, status=201, **body):
    answer = api.request("PUT", f"/v1/schedules/{name}", {"run": RUN, **body})
    assert answer.status == status, answer
    return answer.json()


def show(api, name):
    answer = api.get(f"/v1/schedules/{name}")
    assert answer.status == 200, answer
    return answer.json()


def counted(api, name, field="runs"):
    return show(api, name)[field]


def iso(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def redis_ms(stack):
    seconds, micros = (int(n) for n in stack.redis.command("TIME"))
    return seconds * 1000 + micros // 1000


def ticks_of(stack, name):
    """The ticks that the runs of a schedule were made for, sorted; also of those that a list would need pages for."""
    found = []
    for run_id in stack.redis.command("ZRANGE", stack.shard() + "idx:default", 0, -1):
        schedule, tick = stack.redis.command("HMGET", stack.shard() + f"run:{run_id.decode()}", "schedule", "tick")
        if schedule == name.encode():
            found.append(int(tick))
    return sorted(found)


def check_each_tick_once(stack, name, every_ms=1000):
    ticks = ticks_of(stack, name)
    assert ticks == list(range(ticks[0], ticks[0] + every_ms * len(ticks), every_ms)), ticks
    return ticks


def runs_of(api, name):
    """Records of the schedule's runs, oldest first."""
    rows = api.get("/v1/runs?limit=200").json()["runs"]
    return [r for r in reversed(rows) if r.get("scheduleName") == name]


# ---- made, shown, refused ----

def test_made_shown_replaced_deleted(api):
    body = {"name": "nightly", "cron": "30 3 * * MON-FRI", "timeZone": "Europe/London", "jitterMs": 5000, "startAt": "2030-01-01T00:00:00.000Z", "endAt": "2031-01-01T00:00:00.000Z",
            "overlap": "queue", "catchUp": "last", "run": {"agent": QUICK, "input": {"a": 1}, "labels": {"team": "x"}}}
    answer = api.post("/v1/schedules", body)
    assert answer.status == 201 and answer.headers["location"] == "/v1/schedules/nightly"
    made = answer.json()
    assert {k: made[k] for k in body} == body
    assert made["nextAt"] == "2030-01-01T03:30:00.000Z" and made["runs"] == made["skipped"] == 0 and made["paused"] is False
    assert not {"lastAt", "lastRunId", "lastError"} & set(made)
    assert show(api, "nightly") == made
    again = api.post("/v1/schedules", body)
    assert again.status == 409 and again.json()["code"] == "schedule_exists"
    changed = put(api, "nightly", 200, everyMs=60000, startAt="2030-06-01T00:00:00Z")
    assert changed["nextAt"] == "2030-06-01T00:00:00.000Z" and changed["everyMs"] == 60000 and changed["overlap"] == changed["catchUp"] == "skip"
    assert changed["createdAt"] == made["createdAt"] and not {"cron", "timeZone", "endAt"} & set(changed)
    assert api.request("DELETE", "/v1/schedules/nightly").status == 204
    for answer in (api.request("DELETE", "/v1/schedules/nightly"), api.get("/v1/schedules/nightly"), api.get("/v1/schedules/-x"),
                   *(api.post(f"/v1/schedules/nightly/{verb}") for verb in ("pause", "resume", "trigger"))):
        assert answer.status == 404 and answer.json()["code"] in ("schedule_not_found", "not_found"), answer


def test_they_are_listed_by_name_in_pages(api):
    for i in range(5):
        put(api, f"s{i}", everyMs=3600000)
    other = api.request("PUT", "/v1/schedules/s0", {"everyMs": 5000, "run": RUN}, workspace="other")
    assert other.status == 201
    seen, path = [], "/v1/schedules?limit=2"
    while path:
        page = api.get(path).json()
        assert len(page["schedules"]) <= 2
        seen += [s["name"] for s in page["schedules"]]
        path = page["cursor"] and f"/v1/schedules?limit=2&after={page['cursor']}"
    assert seen == [f"s{i}" for i in range(5)]
    assert "run" not in page["schedules"][0] and page["schedules"][0]["everyMs"] == 3600000
    assert api.get("/v1/schedules?after=%2f").json()["code"] == "invalid_parameter"
    assert api.get("/v1/schedules?limit=0").json()["code"] == "invalid_parameter"


REFUSED = [
    ({"cron": "* * * *"}, "invalid_field", "5 fields"),
    ({"cron": "60 * * * *"}, "invalid_field", "cron: minute must be from 0 to 59"),
    ({"cron": "* * 30 FEB *"}, "invalid_field", "there is no such day"),
    ({"cron": "@sometimes"}, "invalid_field", "@daily"),
    ({"cron": ""}, "invalid_field", "cron must be"),
    ({"cron": 5}, "invalid_field", "cron must be a string"),
    ({"cron": "*" + " *" * 200}, "invalid_field", "cron must be a string of 1 to 256 bytes"),
    ({"cron": "@daily", "timeZone": "Mars/Base"}, "invalid_field", "timeZone"),
    ({"cron": "@daily", "timeZone": "../../etc/passwd"}, "invalid_field", "timeZone"),
    ({"cron": "@daily", "timeZone": "localtime"}, "invalid_field", "timeZone"),
    ({"cron": "@daily", "timeZone": ""}, "invalid_field", "timeZone"),
    ({"everyMs": 5000, "timeZone": "UTC"}, "invalid_field", "timeZone goes with cron"),
    ({}, "missing_field", "cron or everyMs"),
    ({"cron": "@daily", "everyMs": 5000}, "invalid_field", "exclude each other"),
    ({"everyMs": 999}, "invalid_field", "everyMs must be an integer from 1000"),
    ({"everyMs": 1000.5}, "invalid_field", "everyMs"),
    ({"everyMs": 31536000001}, "invalid_field", "everyMs"),
    ({"everyMs": 5000, "jitterMs": -1}, "invalid_field", "jitterMs"),
    ({"everyMs": 5000, "jitterMs": 86400001}, "invalid_field", "jitterMs"),
    ({"everyMs": 5000, "startAt": "tomorrow"}, "invalid_field", "startAt must be a time"),
    ({"everyMs": 5000, "endAt": 5}, "invalid_field", "endAt must be a time"),
    ({"everyMs": 5000, "startAt": "2031-01-01T00:00:00Z", "endAt": "2030-01-01T00:00:00Z"}, "invalid_field", "endAt must be behind startAt"),
    ({"everyMs": 5000, "endAt": "2001-01-01T00:00:00Z"}, "invalid_field", "would never run"),
    ({"cron": "0 0 29 2 *", "startAt": "2030-01-01T00:00:00Z", "endAt": "2031-01-01T00:00:00Z"}, "invalid_field", "would never run"),
    ({"everyMs": 5000, "overlap": "both"}, "invalid_field", 'overlap must be "skip" or "queue" or "replace" or "allow"'),
    ({"everyMs": 5000, "overlap": None}, "invalid_field", "overlap"),
    ({"everyMs": 5000, "catchUp": "some"}, "invalid_field", 'catchUp must be "skip" or "last" or "all"'),
    ({"everyMs": 5000, "paused": 1}, "invalid_field", "paused must be true or false"),
    ({"everyMs": 5000, "name": "other"}, "invalid_field", "name differs from the path's"),
    ({"everyMs": 5000, "every": 1}, "unknown_field", "every is not a field"),
    ({"everyMs": 5000, "nextAt": "2030-01-01T00:00:00Z"}, "unknown_field", "nextAt"),
    ({"everyMs": 5000, "run": None}, "invalid_field", "run"),
    ({"everyMs": 5000, "run": {}}, "missing_field", "run.agent is required"),
    ({"everyMs": 5000, "run": {"agent": "nobody"}}, "agent_not_found", "no agent of that name"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "inputs": 1}}, "unknown_field", "run.inputs"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "priority": "top"}}, "invalid_field", "run.priority"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "delayMs": 5}}, "invalid_field", "run.delayMs has no meaning in a schedule"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "scheduledAt": "2030-01-01T00:00:00Z"}}, "invalid_field", "run.scheduledAt has no meaning"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "parentRunId": "x"}}, "invalid_field", "run.parentRunId has no meaning"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "dependsOn": []}}, "invalid_field", "run.dependsOn has no meaning"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "onDependencyFailure": "run"}}, "invalid_field", "run.onDependencyFailure has no meaning"),
    ({"everyMs": 5000, "run": {"agent": QUICK, "concurrencyKey": {"key": "k", "onLimit": "replace"}}}, "invalid_field", "run.concurrencyKey.onLimit must be"),
]


def test_what_is_refused(stack, api):
    for body, code, detail in REFUSED:
        answer = api.request("PUT", "/v1/schedules/s", {"run": RUN, **body})
        assert answer.json()["code"] == code and detail in answer.json()["detail"], (body, answer.json())
        assert answer.status == (404 if code == "agent_not_found" else 400)
    for method, path, body, code in [
            ("PUT", "/v1/schedules/-x", {"everyMs": 5000, "run": RUN}, "invalid_field"),
            ("PUT", "/v1/schedules/" + "x" * 129, {"everyMs": 5000, "run": RUN}, "invalid_field"),
            ("POST", "/v1/schedules", {"everyMs": 5000, "run": RUN}, "missing_field"),
            ("POST", "/v1/schedules", {"name": "a b", "everyMs": 5000, "run": RUN}, "invalid_field"),
            ("POST", "/v1/schedules", {"name": "a", "everyMs": 5000}, "missing_field"),
            ("POST", "/v1/schedules", [], "invalid_field"),
            ("POST", "/v1/schedules", b'{"name":"a","everyMs":5000,"everyMs":6000,"run":{"agent":"x"}}', "invalid_field"),
            ("POST", "/v1/schedules", b"{", "invalid_json")]:
        answer = api.request(method, path, body)
        assert answer.json()["code"] == code, (path, body, answer.json())
    put(api, "s", everyMs=3600000, startAt="2090-01-01T00:00:00Z")  # further ahead than a run may be delayed
    for verb in ("pause", "resume", "trigger"):
        assert api.post(f"/v1/schedules/s/{verb}", {"x": 1}).json()["code"] == "unknown_field"
    assert [k for k in stack.redis.command("KEYS", stack.shard() + "schedule:*")] == [f"{stack.shard()}schedule:default:s".encode()]


def test_a_workspace_has_so_many_and_no_more(stack, api):
    for i in range(999):
        stack.redis.command("ZADD", stack.shard() + "schedules:default", 0, f"x{i}")
    put(api, "last", everyMs=3600000)
    answer = api.request("PUT", "/v1/schedules/more", {"everyMs": 3600000, "run": RUN})
    assert answer.status == 409 and answer.json()["code"] == "limit_exceeded" and "delete one first" in answer.json()["detail"]
    put(api, "last", 200, everyMs=7200000)


# ---- ticks ----

def test_a_tick_runs_as_its_template_says(stack, api, runner):
    at = redis_ms(stack)
    put(api, "s", cron="* * * * * *", timeZone="Asia/Kolkata", run={"agent": QUICK, "input": {"n": 7}, "labels": {"a": "b"}, "queue": "default", "priority": "high", "sessionId": "x"})
    wait_until(lambda: counted(api, "s") >= 2, 10, "two ticks ran")
    after = api.post("/v1/schedules/s/pause").json()
    assert after["paused"] and "nextAt" not in after
    record = api.wait(after["lastRunId"])
    assert record["status"] == "success" and record["scheduleName"] == "s"
    assert (record["input"], record["labels"], record["priority"], record["sessionId"], record["createdBy"]) == ({"n": 7}, {"a": "b"}, "high", "x", api.created_by)
    ticks = check_each_tick_once(stack, "s")
    assert all(t % 1000 == 0 and t >= at - 1000 for t in ticks) and after["lastAt"] == iso(ticks[-1]) and after["runs"] == len(ticks)
    holds_for(lambda: counted(api, "s") == len(ticks), 1.5, "paused")
    before = redis_ms(stack)
    resumed = api.post("/v1/schedules/s/resume").json()
    assert not resumed["paused"] and resumed["nextAt"] >= iso(before)
    wait_until(lambda: counted(api, "s") > len(ticks), 10, "goes on")
    assert min(set(ticks_of(stack, "s")) - set(ticks)) > before - 1000  # none is made up


def test_intervals_count_from_their_start(stack, api, runner):
    start = redis_ms(stack) - 10 * 1500 + 700
    put(api, "s", everyMs=1500, startAt=iso(start))
    wait_until(lambda: counted(api, "s") >= 2, 10, "two ticks ran")
    assert all((t - start) % 1500 == 0 for t in check_each_tick_once(stack, "s", 1500))
    made = put(api, "t", everyMs=2000)
    assert made["createdAt"] < made["nextAt"]
    again = put(api, "t", 200, everyMs=2000)  # the same ticks as before
    parse = lambda text: int(time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))) * 1000 + int(text[20:23])  # noqa: E731
    assert (parse(again["nextAt"]) - parse(made["nextAt"])) % 2000 == 0


def test_it_ends_at_its_end(stack, api, runner):
    end = redis_ms(stack) // 1000 * 1000 + 3000
    put(api, "s", cron="* * * * * *", endAt=iso(end))
    wait_until(lambda: "nextAt" not in show(api, "s"), 10, "the schedule ended")
    assert ticks_of(stack, "s")[-1] == end
    shown = show(api, "s")
    assert shown["paused"] is False and shown["runs"] == len(check_each_tick_once(stack, "s"))
    assert "nextAt" not in api.post("/v1/schedules/s/resume").json()


def test_jitter_delays_each_run_by_its_own(stack, api, runner):
    put(api, "s", cron="* * * * * *", overlap="allow", jitterMs=600000)
    wait_until(lambda: counted(api, "s") >= 4, 15, "four ticks ran")
    late = []
    for run_id in stack.redis.command("ZRANGE", stack.shard() + "idx:default", 0, -1):
        status, tick, due = stack.redis.command("HMGET", stack.shard() + f"run:{run_id.decode()}", "status", "tick", "scheduled")
        if due:  # else its jitter was less than what the tick took
            late.append(int(due) - int(tick))
    assert all(0 < ms <= 600000 for ms in late) and len(set(late)) >= 3, late


def test_a_refusal_is_shown_and_the_schedule_goes_on(api):
    assert api.request("PUT", "/v1/agents/gone", QUICK | {"name": "gone"}).status == 201
    put(api, "s", cron="* * * * * *", run={"agent": "gone"}, overlap="allow")
    wait_until(lambda: counted(api, "s"), 10, "a tick ran")
    assert api.request("DELETE", "/v1/agents/gone").status == 204
    wait_until(lambda: show(api, "s").get("lastError") == "agent_not_found", 10, "a tick was refused")
    assert counted(api, "s", "skipped") >= 1
    assert api.request("PUT", "/v1/agents/gone", QUICK | {"name": "gone"}).status == 201
    wait_until(lambda: "lastError" not in show(api, "s"), 10, "a tick ran again")


# ---- one run a tick, whatever happens to nodes ----

def test_each_tick_runs_once_while_nodes_come_and_go(stack, apis):
    """Many schedules tick together, so that nodes meet at them."""
    runners = [stack.runner(), stack.runner()]
    nodes, names = list(apis), [f"s{i}" for i in range(12)]
    for name in names:
        put(nodes[0], name, cron="* * * * * *", overlap="allow")
    for _ in range(4):
        before = counted(nodes[0], "s0")
        nodes[1].kill9()
        runners[0].kill9()
        wait_until(lambda: counted(nodes[0], "s0") >= before + 3, 20, "ticks go on without the killed nodes")
        nodes = [stack.api(), nodes[0]]  # the new one stays, the older one is killed next
        runners = [runners[1], stack.runner(api=nodes[0])]
    for node in stack.apis + stack.runners:  # nobody is left
        node.kill9()
    down = redis_ms(stack)
    wait_until(lambda: redis_ms(stack) > down + 2500, 10, "ticks pass without any node")
    api = stack.api()
    stack.runner(api=api)
    wait_until(lambda: all(counted(api, name) and ticks_of(stack, name)[-1] > down + 3000 for name in names), 20, "ticks go on")
    for name in names:
        api.post(f"/v1/schedules/{name}/pause")
        ticks = check_each_tick_once(stack, name)
        shown = show(api, name)
        assert shown["runs"] == len(ticks) > 12 and shown["skipped"] == 0
    for run in runs_of(api, "s0"):
        assert api.wait(run["runId"], timeout=90)["status"] == "success"


@pytest.mark.parametrize("offset", ["+3600", "-3600"])
def test_a_node_whose_clock_is_wrong_does_no_harm(stack, api, runner, offset):
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library or not os.path.exists(os.path.join(release_dir(), "errand-api")):
        pytest.skip("needs faketime, and a Release build (a sanitizer does not go with it)")
    wrong = {"LD_PRELOAD": library[0], "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    put(api, "s", cron="* * * * * *", overlap="allow")
    put(api, "late", cron="0 0 1 1 *")
    skewed = [stack.api(env=wrong, build=release_dir()), stack.api(env=wrong, build=release_dir())]
    stack.runner(env=wrong, build=release_dir())
    before = counted(api, "s")
    wait_until(lambda: counted(api, "s") >= before + 3, 20, "ticks of all together")
    api.kill9()
    runner.kill9()
    before = counted(skewed[0], "s")
    made = put(skewed[1], "t", cron="* * * * * *", overlap="allow")
    now = redis_ms(stack)
    assert iso(now - 2000) < made["nextAt"] < iso(now + 2000)  # worked out from Redis' time
    wait_until(lambda: counted(skewed[0], "s") >= before + 3 and counted(skewed[0], "t") >= 3, 20, "ticks of the wrong clocks alone")
    for name in ("s", "t"):
        skewed[0].post(f"/v1/schedules/{name}/pause")
        assert check_each_tick_once(stack, name)[-1] <= redis_ms(stack)
    assert counted(skewed[0], "late") == 0
    resumed = skewed[1].post("/v1/schedules/s/resume").json()
    assert iso(now - 2000) < resumed["nextAt"] < iso(redis_ms(stack) + 2000)


# ---- runs that meet ----

def test_overlap_skip(stack, api, runner):
    put(api, "s", cron="* * * * * *", run={"agent": agents.sleeper()})
    wait_until(lambda: counted(api, "s", "skipped") >= 2, 10, "ticks are skipped")
    shown = show(api, "s")
    assert shown["runs"] == 1 and "lastError" not in shown
    answer = api.post("/v1/schedules/s/trigger")
    assert answer.status == 409 and answer.json()["code"] == "concurrency_limit" and "overlap is skip" in answer.json()["detail"]
    assert api.post(f"/v1/runs/{shown['lastRunId']}/stop?wait=20").json()["status"] == "stopped"
    wait_until(lambda: counted(api, "s") == 2, 10, "the next tick runs")
    api.request("DELETE", "/v1/schedules/s")
    stop_all(api)


def stop_all(api):
    for run in api.get("/v1/runs?limit=200").json()["runs"]:
        if run["status"] not in TERMINAL:
            api.post(f"/v1/runs/{run['runId']}/stop?wait=20")


def test_overlap_queue(stack, api, runner):
    put(api, "s", cron="* * * * * *", run={"agent": agents.sleeper()}, overlap="queue")
    wait_until(lambda: counted(api, "s") >= 3, 10, "three ticks ran")
    api.post("/v1/schedules/s/pause")
    first = runs_of(api, "s")[0]
    api.wait(first["runId"], "running")
    rows = runs_of(api, "s")
    assert [r["status"] for r in rows] == ["running"] + ["queued"] * (len(rows) - 1)
    assert rows[1]["waitingFor"] == {"gate": "schedule", "key": "s"}
    api.post(f"/v1/runs/{first['runId']}/stop?wait=20")
    api.wait(rows[1]["runId"], "running")
    assert [r["status"] for r in runs_of(api, "s")] == ["stopped", "running"] + ["queued"] * (len(rows) - 2)
    stop_all(api)


def test_overlap_replace(stack, api, runner):
    put(api, "s", cron="*/2 * * * * *", run={"agent": agents.sleeper()}, overlap="replace")
    wait_until(lambda: counted(api, "s") >= 3, 20, "three ticks ran")
    after = api.post("/v1/schedules/s/pause").json()
    api.wait(after["lastRunId"], "running")
    wait_until(lambda: [r["status"] for r in runs_of(api, "s")] == ["stopped"] * (after["runs"] - 1) + ["running"], 10, "only the last one is left")
    stop_all(api)


def test_trigger(stack, api, runner):
    put(api, "s", cron="0 0 1 1 *", run={"agent": QUICK, "input": 5}, paused=True)
    answer = api.post("/v1/schedules/s/trigger", headers={"Idempotency-Key": "k"})
    body = answer.json()
    assert answer.status == 202 and set(body) == {"runId", "status", "streamUrl"} and answer.headers["location"] == f"/v1/runs/{body['runId']}"
    record = api.wait(body["runId"])
    assert record["scheduleName"] == "s" and record["input"] == 5
    again = api.post("/v1/schedules/s/trigger", headers={"Idempotency-Key": "k"})
    assert again.json()["runId"] == body["runId"] and again.headers["idempotency-replayed"] == "true"
    shown = show(api, "s")
    assert shown["runs"] == 1 and shown["lastRunId"] == body["runId"] and shown["paused"]
    assert api.post("/v1/schedules/s/trigger", headers={"Idempotency-Key": ""}).json()["code"] == "invalid_parameter"


# ---- ticks that were missed ----

def test_catching_up_after_all_nodes_were_down(stack, api):
    """Five minutes and more of a tick each ten seconds: the schedules' next ticks are set back while nobody is alive."""
    start = redis_ms(stack) // 10000 * 10000 - 86400000
    for policy in ("skip", "last", "all"):
        put(api, policy, everyMs=10000, startAt=iso(start), catchUp=policy, overlap="allow")
    api.kill9()
    missed = redis_ms(stack) // 10000 * 10000 - 300000
    for policy in ("skip", "last", "all"):
        stack.redis.command("HSET", stack.shard() + f"schedule:default:{policy}", "next", missed)
        stack.redis.command("ZADD", stack.shard() + "ticks", missed, f"default:{policy}")
    api = stack.api()

    def next_ms(policy):
        return int(stack.redis.command("HGET", stack.shard() + f"schedule:default:{policy}", "next"))
    wait_until(lambda: all(next_ms(p) > redis_ms(stack) for p in ("skip", "last", "all")), 20, "all have caught up")
    skip, last, all_of = (ticks_of(stack, p) for p in ("skip", "last", "all"))
    assert check_each_tick_once(stack, "all", 10000)[0] == missed and len(all_of) >= 30
    assert skip and set(skip) < set(last) < set(all_of)
    in_time = skip[0]  # less than a minute late when they were looked at
    assert skip == [t for t in all_of if t >= in_time] and len(skip) in (6, 7, 8)
    assert len(last) == len(skip) + 1 and last[0] == in_time - 10000  # the newest one that was missed
    assert counted(api, "skip", "skipped") == (in_time - missed) // 10000 == counted(api, "last", "skipped") + 1
    assert counted(api, "all", "skipped") == 0


# ---- the command line ----

def cli(stack, *args, status=0):
    process = stack.cli("schedules", *args)
    assert process.wait(20) == status, process.output()
    return process.output().decode()


def test_the_command_line(stack, api, runner):
    assert api.request("PUT", "/v1/agents/quick", QUICK).status == 201
    assert cli(stack, "put", "--name", "nightly", "--cron", "0 3 * * *", "--time-zone", "Europe/London", "--agent", "quick", "--input", '{"a":1}', "--jitter", "5s",
               "--overlap", "queue", "--catch-up", "last").startswith("nightly next 2")
    shown = json.loads(cli(stack, "show", "nightly", "--json"))
    assert shown["run"] == {"agent": "quick", "input": {"a": 1}} and shown["jitterMs"] == 5000 and shown["overlap"] == "queue" and shown["catchUp"] == "last"
    path = os.path.join(stack.folder, "schedule.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"name": "poll", "everyMs": 3600000, "run": {"agent": "quick"}}, f)
    assert cli(stack, "put", path).startswith("poll next ")
    assert cli(stack, "put", path, "--name", "poll2").startswith("poll2 next ")
    lines = cli(stack).splitlines()
    assert lines[0].split() == ["SCHEDULE", "WHEN", "NEXT", "LAST", "RUNS", "SKIPPED"] and "0 3 * * * Europe/London" in lines[1] and lines[2].startswith("poll ") and "every " in lines[2]
    assert [json.loads(line)["name"] for line in cli(stack, "list", "--json").splitlines()] == ["nightly", "poll", "poll2"]
    assert cli(stack, "pause", "poll") == "poll next paused\n" and cli(stack, "resume", "poll").startswith("poll next 2")
    run_id = cli(stack, "trigger", "poll").strip()
    assert api.wait(run_id)["scheduleName"] == "poll"
    assert cli(stack, "delete", "poll") == "poll deleted\n"
    for args, text in [(["show", "poll"], "schedule"), (["put"], "--name, --agent, and --cron or --every"), (["put", path, "--cron", "@daily"], "not both"), (["pause"], "needs a NAME"),
                       (["trigge", "x"], "did you mean trigger"), (["list", "--cron", "@daily"], "for put"), (["put", "--name", "x", "--agent", "quick", "--every", "10ms"], "--every"),
                       (["put", "--name", "x", "--agent", "quick", "--cron", "nope"], "5 fields"), (["put", "/nonexistent"], "can't be read")]:
        assert text in cli(stack, *args, status=2), args
