"""Trees, dead letters, bulk actions, and batches whose runs wait for each other."""
import threading

import pytest

from harness import agents
from harness.http_client import connect, encode
from harness.wait import wait_until
from test_cli import Cli, UNKNOWN_ID

QUICK = agents.shell("echo done", name="quick", protocol="text")
BAD = agents.shell("exit 3", name="bad")


def put(api, definition):
    assert api.request("PUT", f"/v1/agents/{definition['name']}", definition).status in (200, 201)
    return definition["name"]


def submit_many(api, count, **fields):
    """Run ids, oldest first."""
    found = []
    while len(found) < count:
        answer = api.post("/v1/runs/batch", {"runs": [fields] * min(1000, count - len(found))})
        assert answer.status == 200, answer
        found += [r["runId"] for r in answer.json()["results"]]
    return found


def listed(api, query=""):
    """All runs that a list finds, newest first."""
    found, cursor = [], ""
    while cursor is not None:
        page = api.get(f"/v1/runs?limit=200{query}" + (f"&cursor={cursor}" if cursor else ""))
        assert page.status == 200, page
        found += page.json()["runs"]
        cursor = page.json()["cursor"]
    return found


def bulk(api, action, filter, headers=None, **fields):
    answer = api.post("/v1/runs/bulk", {"action": action, "filter": filter, **fields}, headers=headers)
    assert answer.status == 200, answer
    return answer.json()


def bulk_all(api, action, filter, headers=None, **fields):
    """Walks all pages; the sums of their figures."""
    sums, cursor, pages = {"examined": 0, "matched": 0, "done": 0, "skipped": 0, "failed": []}, None, 0
    while cursor is not None or pages == 0:
        page = bulk(api, action, filter, headers, cursor=cursor, **fields)
        for name in sums:
            sums[name] += page[name]
        cursor, pages = page["cursor"], pages + 1
    return {**sums, "pages": pages}


# ---- trees ----

def grow(api, agent, shape, parent=None):
    """Submits a tree of runs that wait: {name: shape of its children}; returns [(id, depth)] in pre-order, children by creation."""
    found = []
    for children in shape:
        fields = {"parentRunId": parent} if parent else {}
        run_id = api.submit(agent, delayMs=3600000, **fields)
        found.append((run_id, 0))
        found += [(r, depth + 1) for r, depth in grow(api, agent, children, run_id)]
    return found


def test_a_tree_is_shown_in_pre_order_from_where_it_was_asked_for(apis):
    api = apis[0]
    top = api.submit(QUICK, delayMs=3600000)
    root = api.submit(QUICK, delayMs=3600000, parentRunId=top)
    below = grow(api, QUICK, [[[], [[[]]]], [], [[], []]], root)
    late = api.submit(QUICK, delayMs=3600000, parentRunId=below[0][0])  # a younger child of the first child
    wanted = [(root, 0)] + [(r, d + 1) for r, d in below]
    at = next(i for i in range(2, len(wanted)) if wanted[i][1] <= 1)
    wanted.insert(at, (late, 2))
    answer = apis[1].get(f"/v1/runs/{root}/tree").json()
    assert answer["root"] == root and answer["truncated"] is False
    assert [(r["runId"], r["depth"]) for r in answer["runs"]] == wanted
    parents = {r["runId"]: r["parentRunId"] for r in answer["runs"]}
    stack = []
    for run_id, depth in wanted:
        stack[depth:] = [run_id]
        assert parents[run_id] == (stack[depth - 1] if depth else top)
    assert answer["runs"][0]["status"] == "scheduled" and "input" not in answer["runs"][0]
    for limit in range(1, len(wanted) + 2):
        part = api.get(f"/v1/runs/{root}/tree?limit={limit}").json()
        assert [r["runId"] for r in part["runs"]] == [r for r, _ in wanted[:limit]] and part["truncated"] == (limit < len(wanted)), limit


def test_a_large_tree_is_cut_and_says_so(api):
    """Deeper and wider than one call of the script goes."""
    root = above = api.submit(QUICK, delayMs=3600000)
    chain = [root]
    for _ in range(240):
        above = api.submit(QUICK, delayMs=3600000, parentRunId=above)
        chain.append(above)
    wide = submit_many(api, 900, agent=QUICK, delayMs=3600000, parentRunId=root)
    answer = api.get(f"/v1/runs/{root}/tree").json()
    assert answer["truncated"] and len(answer["runs"]) == 1000
    assert [r["runId"] for r in answer["runs"]] == (chain + wide)[:1000]
    assert [r["depth"] for r in answer["runs"][:241]] == list(range(241)) and {r["depth"] for r in answer["runs"][241:]} == {1}
    below = api.get(f"/v1/runs/{chain[100]}/tree").json()
    assert [r["runId"] for r in below["runs"]] == chain[100:] and not below["truncated"]


def test_trees_that_nobody_may_see(api):
    run_id = api.submit(QUICK, delayMs=3600000)
    for path, status, code in ((f"/v1/runs/{UNKNOWN_ID}/tree", 404, "run_not_found"), ("/v1/runs/x/tree", 404, "run_not_found"), (f"/v1/runs/{run_id}/tree?limit=0", 400, "invalid_parameter"),
                               (f"/v1/runs/{run_id}/tree?limit=1001", 400, "invalid_parameter"), (f"/v1/runs/{run_id}/tree?depth=1", 400, "invalid_parameter")):
        answer = api.get(path)
        assert (answer.status, answer.code) == (status, code), answer
    assert api.get(f"/v1/runs/{run_id}/tree", workspace="other").status == 404
    assert api.post(f"/v1/runs/{run_id}/tree").status == 405


def test_the_tree_of_the_command_line(api, stack):
    cli = Cli(stack.folder, api.url, stack.key)
    root = api.submit(QUICK, delayMs=3600000)
    child = api.submit(QUICK, delayMs=3600000, parentRunId=root)
    assert [(r["runId"], r["depth"]) for r in cli.json("tree", root)] == [(root, 0), (child, 1)]
    lines = cli("tree", root).stdout.splitlines()
    assert lines[1].startswith(root) and lines[2].startswith(f"└ {child}") and "scheduled" in lines[2]
    cut = cli("tree", root, "--limit", "1")
    assert cut.returncode == 0 and child not in cut.stdout and "there are more" in cut.stderr
    assert cli("tree", UNKNOWN_ID).returncode == 2 and cli("tree", "x").returncode == 2


# ---- dead letters ----

def dead_letters(api, query=""):
    return [r["runId"] for r in listed(api, "&deadLetter=true" + query)]


def test_a_run_that_ended_in_error_is_a_dead_letter_until_it_is_redriven(api, runner, folder):
    good, bad = api.submit(QUICK), api.submit(BAD, labels={"team": "a"})
    assert api.wait(bad)["deadLetter"] is True and "deadLetter" not in api.wait(good)
    assert dead_letters(api) == [bad] and dead_letters(api, "&agent=quick") == [] and dead_letters(api, "&agent=bad&label=team:a&queue=default&status=error") == [bad]
    assert api.post(f"/v1/runs/{good}/redrive").code == "not_dead_letter"
    answer = api.post(f"/v1/runs/{bad}/redrive", {})
    assert answer.status == 202 and answer.headers["location"] == f"/v1/runs/{answer.json()['runId']}", answer
    again = answer.json()["runId"]
    record = api.record(bad)
    assert record["redrivenAs"] == again and "deadLetter" not in record and record["status"] == "error"
    new = api.wait(again)
    assert new["rerunOf"] == bad and new["labels"] == {"team": "a"} and new["status"] == "error"
    assert dead_letters(api) == [again], "the new one failed too"
    answer = api.post(f"/v1/runs/{bad}/redrive")
    assert (answer.status, answer.code) == (409, "not_dead_letter") and "redrivenAs" in answer.json()["detail"]
    assert api.request("DELETE", f"/v1/runs/{again}").status == 204 and dead_letters(api) == []


def test_what_redrive_refuses(api):
    waits = api.submit(QUICK, delayMs=3600000)
    for path, body, status, code in ((UNKNOWN_ID, None, 404, "run_not_found"), ("x", None, 404, "run_not_found"), (waits, None, 409, "not_dead_letter"), (waits, {"a": 1}, 400, "unknown_field")):
        answer = api.post(f"/v1/runs/{path}/redrive", body)
        assert (answer.status, answer.code) == (status, code), answer
    for value in ("false", "1", ""):
        assert api.get(f"/v1/runs?deadLetter={value}").code == "invalid_parameter"


def test_an_idempotency_key_of_a_redrive(api, runner):
    bad = api.submit(BAD)
    api.wait(bad)
    first, second = (api.post(f"/v1/runs/{bad}/redrive", headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.status == second.status == 202 and first.json()["runId"] == second.json()["runId"]
    assert second.headers["idempotency-replayed"] == "true"
    assert api.post(f"/v1/runs/{bad}/rerun", headers={"Idempotency-Key": "k"}).code == "idempotency_mismatch"


def test_two_redrives_at_once_give_one_run(apis, stack):
    """From two nodes, many times over."""
    stack.runner(api=apis[0])
    runs = submit_many(apis[0], 20, agent=BAD, labels={"from": "batch"})
    wait_until(lambda: len(dead_letters(apis[0])) == 20, 60, "all ended in error")
    answers = {r: [] for r in runs}

    def redrive(api):
        for run_id in runs:
            answers[run_id].append(api.post(f"/v1/runs/{run_id}/redrive"))
    threads = [threading.Thread(target=redrive, args=(api,)) for api in apis]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run_id in runs:
        assert sorted(a.status for a in answers[run_id]) == [202, 409], answers[run_id]
        accepted = next(a for a in answers[run_id] if a.status == 202)
        assert apis[0].record(run_id)["redrivenAs"] == accepted.json()["runId"]
    assert len(listed(apis[0])) == 40
    assert sorted(r["rerunOf"] for r in listed(apis[0]) if "rerunOf" in r) == sorted(runs)


def test_redrive_of_the_command_line(api, runner, stack):
    cli = Cli(stack.folder, api.url, stack.key)
    bad = [api.submit(BAD) for _ in range(2)]
    for run_id in bad:
        api.wait(run_id)
    assert sorted(r["runId"] for r in cli.json("list", "--dead-letter")) == sorted(bad)
    done = cli("redrive", *bad)
    assert done.returncode == 0 and [line.split()[0] for line in done.stdout.splitlines()] == bad
    again = cli("redrive", bad[0])
    assert again.returncode == 2 and bad[0] in again.stderr and again.stdout == ""


# ---- bulk ----

def test_a_bulk_stop_while_runners_work(apis, stack):
    """2,000 waiting runs; one page at a time; nothing of another queue or workspace is touched."""
    stack.runner(api=apis[0], slots=4)
    stack.runner(api=apis[1], slots=4)
    busy = [apis[0].submit(agents.sleeper(), queue="default") for _ in range(4)]
    for run_id in busy:
        apis[0].wait(run_id, "running")
    flood = submit_many(apis[0], 2000, agent=put(apis[0], QUICK), labels={"flood": "yes"})
    other = apis[0].submit(QUICK, delayMs=3600000, labels={"flood": "no"})
    pages = []
    cursor = None
    while cursor is not None or not pages:
        pages.append(bulk(apis[len(pages) % 2], "stop", {"labels": {"flood": "yes"}, "agent": "quick", "queue": "default"}, cursor=cursor))
        cursor = pages[-1]["cursor"]
    assert all(p["examined"] <= 1000 and p["failed"] == [] and p["done"] + p["skipped"] == p["matched"] for p in pages) and len(pages) >= 2
    assert sum(p["examined"] for p in pages) >= 2000 and sum(p["matched"] for p in pages) == 2000
    ended = wait_until(lambda: (rows := listed(apis[0], "&label=flood:yes")) and all(r["status"] in ("success", "stopped") for r in rows) and rows, 60, "all have ended")
    assert len(ended) == len(flood) and sum(r["status"] == "stopped" for r in ended) >= sum(p["done"] for p in pages) - 8 > 0
    assert {apis[0].record(r)["status"] for r in busy} == {"running"} and apis[0].record(other)["status"] == "scheduled"
    again = bulk_all(apis[1], "stop", {"labels": {"flood": "yes"}})
    assert again["done"] == 0 and again["matched"] == again["skipped"] == 2000, "a second one finds nothing to do"
    gone = bulk_all(apis[0], "delete", {"labels": {"flood": "yes"}, "status": ["success", "stopped"]})
    assert gone["done"] == 2000 and listed(apis[0], "&label=flood:yes") == []
    left = bulk_all(apis[0], "stop", {})
    assert left["done"] == 5 and left["matched"] == 5
    for run_id in busy:
        assert apis[0].wait(run_id)["status"] == "stopped"


def test_a_page_that_its_client_left_is_asked_for_again(api, stack):
    runs = submit_many(api, 1000, agent=QUICK, delayMs=3600000)
    sock = connect(api.port)
    sock.sendall(encode("POST", "/v1/runs/bulk", {"action": "stop", "filter": {}}, {"Authorization": f"Bearer {stack.key}"}))
    wait_until(lambda: listed(api, "&status=stopped"), 20, "it began")
    sock.close()
    sums = bulk_all(api, "stop", {}, limit=150)
    assert sums["matched"] == sums["done"] + sums["skipped"] == 1000 and sums["pages"] == 7
    assert [r["runId"] for r in listed(api, "&status=stopped")] == runs[::-1]


def test_a_rerun_never_reruns_its_own_runs(api, runner):
    """They end while it goes on, and fit its filter; a page asked for twice under its key makes nothing twice."""
    name = put(api, QUICK)
    runs = submit_many(api, 300, agent=name, labels={"a": "b"})
    wait_until(lambda: len(listed(api, "&status=success")) == 300, 60, "all ended")
    key = {"Idempotency-Key": "again"}
    first = bulk(api, "rerun", {"labels": {"a": "b"}}, key, limit=120)
    assert first["done"] == first["examined"] == 120
    wait_until(lambda: len(listed(api, "&status=success")) == 420, 60, "the copies ended, too")
    repeated = bulk(api, "rerun", {"labels": {"a": "b"}}, key, limit=120)
    assert repeated == first, "the first page under the key, though newer runs are there"
    cursor = first["cursor"]
    while cursor is not None:
        page = bulk(api, "rerun", {"labels": {"a": "b"}}, key, limit=120, cursor=cursor)
        cursor = page["cursor"]
    copies = [r for r in listed(api) if "rerunOf" in r]
    assert sorted(r["rerunOf"] for r in copies) == sorted(runs), "each once"
    other = api.post("/v1/runs/bulk", {"action": "rerun", "filter": {}}, headers=key)
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    wait_until(lambda: len(listed(api, "&status=success")) == 600, 60, "all of them ended")


def test_a_rerun_passes_over_what_has_not_ended(api):
    waits = [api.submit(QUICK, delayMs=3600000) for _ in range(3)]
    stopped = api.submit(QUICK, delayMs=3600000, queue="other", input={"x": [1]}, env={"A": "b"})
    api.post(f"/v1/runs/{stopped}/stop")
    page = bulk(api, "rerun", {})
    assert (page["matched"], page["done"], page["skipped"]) == (4, 1, 3)
    copy = api.record(listed(api)[0]["runId"])
    assert copy["rerunOf"] == stopped and copy["input"] == {"x": [1]} and copy["queue"] == "other" and copy["status"] == "queued"
    page = bulk(api, "delete", {})
    assert (page["done"], page["skipped"]) == (1, 4) and {r["runId"] for r in listed(api)} == {*waits, copy["runId"]}


def test_a_bulk_redrive_takes_dead_letters_only(api, runner):
    bad = submit_many(api, 30, agent=put(api, BAD))
    good = submit_many(api, 30, agent=put(api, QUICK))
    wait_until(lambda: len(listed(api, "&status=success")) == 30 and len(dead_letters(api)) == 30, 60, "all ended")
    page = bulk(api, "redrive", {"agent": "bad"})
    assert (page["examined"], page["matched"], page["done"], page["cursor"]) == (30, 30, 30, None)
    assert sorted(r["rerunOf"] for r in listed(api) if "rerunOf" in r) == sorted(bad) and good
    wait_until(lambda: len(dead_letters(api)) == 30, 60, "they failed again")
    assert bulk(api, "redrive", {"status": "success"})["matched"] == 0


def test_a_bulk_stop_takes_the_children_too(api):
    root = api.submit(QUICK, delayMs=3600000, labels={"top": "1"})
    children = submit_many(api, 20, agent=QUICK, delayMs=3600000, parentRunId=root)
    assert bulk(api, "stop", {"labels": {"top": "1"}})["done"] == 1
    assert {r["status"] for r in listed(api)} == {"stopped"} and children


def test_filters_of_the_list_and_of_bulk_are_the_same(api):
    first = api.submit(QUICK, delayMs=3600000, queue="a", labels={'a"b': "c\\d"})
    second = api.submit(agents.shell("x", name="other"), delayMs=3600000, queue="b")
    created = api.record(second)["createdAt"]
    for query, filter, wanted in (("&queue=a", {"queue": "a"}, [first]), ("&schedule=s", {"schedule": "s"}, []), ("&agent=other", {"agent": "other"}, [second]),
                                  ("&createdBy=me", {"createdBy": "me"}, [second, first]), ("&createdBy=x", {"createdBy": "x"}, []),
                                  ("&status=scheduled&status=queued", {"status": ["scheduled", "queued"]}, [second, first]), ("&status=queued", {"status": "queued"}, []),
                                  (f"&since={created}", {"since": created}, [second] if api.record(first)["createdAt"] < created else [second, first]),
                                  ("&until=2020-01-01T00:00:00Z", {"until": "2020-01-01T00:00:00Z"}, []), ("&label=a%22b:c%5Cd", {"labels": {'a"b': "c\\d"}}, [first]),
                                  ("&deadLetter=true", {"deadLetter": True}, []), ("", {}, [second, first])):
        assert [r["runId"] for r in listed(api, query)] == wanted, query
        page = bulk(api, "delete", filter)  # of runs that have not ended: nothing happens
        assert (page["matched"], page["skipped"], page["done"]) == (len(wanted), len(wanted), 0), filter


@pytest.mark.parametrize("body, code, part", [
    ({"filter": {}}, "missing_field", "action"), ({"action": "pause", "filter": {}}, "invalid_field", "action"), ({"action": 1, "filter": {}}, "invalid_field", "action"),
    ({"action": "stop"}, "missing_field", "filter"), ({"action": "stop", "filter": []}, "invalid_field", "filter"), ({"action": "stop", "filter": {}, "dryRun": True}, "unknown_field", "dryRun"),
    ({"action": "stop", "filter": {"agents": "x"}}, "unknown_field", "agents"), ({"action": "stop", "filter": {"agent": ""}}, "invalid_field", "agent"),
    ({"action": "stop", "filter": {"status": "ended"}}, "invalid_field", "status"), ({"action": "stop", "filter": {"status": []}}, "invalid_field", "status"),
    ({"action": "stop", "filter": {"labels": {}}}, "invalid_field", "labels"), ({"action": "stop", "filter": {"labels": {"a": 1}}}, "invalid_field", "labels"),
    ({"action": "stop", "filter": {"since": "yesterday"}}, "invalid_field", "since"), ({"action": "stop", "filter": {"deadLetter": False}}, "invalid_field", "deadLetter"),
    ({"action": "stop", "filter": {"createdBy": ""}}, "invalid_field", "createdBy"), ({"action": "stop", "filter": {"queue": None}}, "invalid_field", "queue"),
    ({"action": "stop", "filter": {}, "limit": 0}, "invalid_field", "limit"), ({"action": "stop", "filter": {}, "limit": 1001}, "invalid_field", "limit"),
    ({"action": "stop", "filter": {}, "cursor": "x"}, "invalid_field", "cursor"), (b'{"action":"stop","filter":{},"action":"delete"}', "invalid_field", "once"), ([], "invalid_field", "object"),
    (b"{", "invalid_json", "JSON"),
])
def test_what_bulk_refuses_by_name(api, body, code, part):
    run_id = api.submit(QUICK, delayMs=3600000)
    answer = api.post("/v1/runs/bulk", body)
    assert (answer.status, answer.code) == (400, code) and part in answer.json()["detail"], answer
    assert api.record(run_id)["status"] == "scheduled"


def test_a_bulk_action_while_redis_is_away(api, redis):
    redis.kill9()
    answer = api.post("/v1/runs/bulk", {"action": "stop", "filter": {}})
    assert answer.code == "redis_unavailable" and answer.headers["retry-after"] == "1"
    redis.start()


def test_failures_are_told_one_by_one(stack):
    """A full queue refuses what a rerun would add."""
    api = stack.api(env={"ERRAND_QUEUE_MAX": "5"})
    runs = [api.submit(QUICK, delayMs=3600000) for _ in range(5)]
    assert bulk(api, "stop", {})["done"] == 5
    kept = [api.submit(QUICK, delayMs=3600000) for _ in range(3)]
    page = bulk(api, "rerun", {"status": "stopped"})
    assert page["done"] == 2 and len(page["failed"]) == 3 and {f["code"] for f in page["failed"]} == {"queue_full"}
    assert {f["runId"] for f in page["failed"]} < set(runs) and kept


# ---- batches that are a graph ----

def graph(api, *depends, headers=None, **fields):
    """A batch whose item i depends on depends[i] (indexes, or anything as it is); its results."""
    runs = [{"agent": QUICK, "dependsOn": [f"#{d}" if isinstance(d, int) else d for d in needs], **fields} for needs in depends]
    answer = api.post("/v1/runs/batch", {"runs": runs}, headers=headers)
    assert answer.status == 200, answer
    return answer.json()["results"]


def codes(results):
    return [r["error"]["code"] if "error" in r else None for r in results]


def test_a_batch_that_is_a_graph_is_executed_in_its_order(api, runner):
    """Named forwards and backwards; each begins when all that it depends on have ended."""
    needs = [[], [0], [0], [5, 1], [1, 2, 3], [2], []]
    results = graph(api, *needs)
    assert codes(results) == [None] * 7 and results[0]["status"] == results[6]["status"] == "queued"
    assert {results[i]["status"] for i in range(1, 6)} <= {"scheduled", "queued"}
    records = [api.wait(r["runId"]) for r in results]
    assert {r["status"] for r in records} == {"success"}
    for record, before in zip(records, needs):
        assert record.get("dependsOn", []) == [results[n]["runId"] for n in before]
        for n in before:
            assert records[n]["completedAt"] <= record["startedAt"], (n, record)


def test_items_wait_for_older_runs_too(api, runner):
    first = api.submit(QUICK)
    results = graph(api, [first], [first, 0])
    assert [api.wait(r["runId"])["status"] for r in results] == ["success"] * 2
    assert codes(graph(api, [UNKNOWN_ID], [0], [])) == ["dependency_not_found", "dependency_refused", None]


@pytest.mark.parametrize("needs, wanted", [
    ([[1], [0], []], ["dependency_cycle", "dependency_cycle", None]),
    ([[0]], ["dependency_cycle"]),
    ([[2], [0], [1], [0], [3], []], ["dependency_cycle"] * 3 + ["dependency_refused"] * 2 + [None]),
    ([[1], [0], [1], [2, 4], [3]], ["dependency_cycle"] * 2 + ["dependency_cycle"] + ["dependency_cycle"] * 2),  # 2 is between two cycles
    ([[], [0, 7]], [None, "invalid_field"]),
    ([["#1"], ["#2"], ["#x"]], ["dependency_refused", "dependency_refused", "invalid_field"]),
    ([[], ["#0", "#00"]], [None, "invalid_field"]),
    ([[], ["#-1"], ["#"], ["#99999"], ["# 0"]], [None] + ["invalid_field"] * 4),
])
def test_what_can_not_be_refuses_only_what_depends_on_it(api, needs, wanted):
    results = graph(api, *needs)
    assert codes(results) == wanted
    assert len(listed(api)) == wanted.count(None)
    for i, result in enumerate(results):
        assert "error" not in result or f"runs[{i}]" in result["error"]["detail"] or "leads back" in result["error"]["detail"], result


def test_only_a_batch_knows_indexes(api):
    answer = api.post("/v1/runs", {"agent": QUICK, "dependsOn": ["#0"]})
    assert (answer.status, answer.code) == (400, "invalid_field")


def test_a_graph_under_its_key_is_answered_again(api):
    needs = [[2], [0], [], [1, 0], [9]]
    first = graph(api, *needs, headers={"Idempotency-Key": "g"})
    assert codes(first) == [None] * 4 + ["invalid_field"]
    assert graph(api, *needs, headers={"Idempotency-Key": "g"}) == first and len(listed(api)) == 4


def test_a_graph_whose_root_found_no_room_is_completed_under_its_key(stack):
    api = stack.api(env={"ERRAND_QUEUE_MAX": "2"})
    blocker = api.submit(QUICK, delayMs=3600000)
    first = graph(api, [], [0], [1], headers={"Idempotency-Key": "g"})
    assert codes(first) == [None, "queue_full", "dependency_refused"]
    api.post(f"/v1/runs/{blocker}/stop")
    second = graph(api, [], [0], [1], headers={"Idempotency-Key": "g"})
    assert codes(second)[:2] == [None, None] and second[0] == first[0] and api.record(second[1]["runId"])["dependsOn"] == [first[0]["runId"]]


def test_the_largest_graphs(api):
    """A chain of 1,000, and 1,000 runs with 100 dependencies each."""
    chain = graph(api, [], *([i] for i in range(999)), delayMs=3600000)
    assert codes(chain) == [None] * 1000
    assert api.record(chain[999]["runId"])["dependsOn"] == [chain[998]["runId"]]
    ring = graph(api, *([(i + 1) % 1000] for i in range(1000)))
    assert set(codes(ring)) == {"dependency_cycle"}
    dense = graph(api, *(list(range(max(0, i - 100), i)) for i in range(1000)), delayMs=3600000)
    assert codes(dense) == [None] * 1000
    assert api.record(dense[999]["runId"])["dependsOn"] == [r["runId"] for r in dense[899:999]]


# ---- what a rerun takes over ----

def test_a_rerun_takes_over_what_the_submission_said(api):
    fields = {"startWithinMs": 3600000, "stallMs": 5000, "concurrencyKey": {"key": "user a", "limit": 3, "onLimit": "replace"}, "rateLimit": {"key": "r", "limit": 5, "perMs": 60000, "burst": 2},
              "requires": ["gpu", "eu"], "labels": {"a": "b"}, "sessionId": "s", "priority": "high", "timeoutMs": 7000, "maxAttempts": 3, "env": {"X": "y"}}
    before = api.submit(agents.shell("x", name="limited", requires=["big"], concurrency=9), input=[1], delayMs=3600000, dependsOn=[api.submit(QUICK)], **fields)
    after = api.post(f"/v1/runs/{before}/rerun").json()["runId"]
    old, new = ({**api.record(r)} for r in (before, after))
    kept = ("agent", "input", "labels", "sessionId", "priority", "maxAttempts", "concurrencyKey", "requires", "queue")
    assert {k: old[k] for k in kept} == {k: new[k] for k in kept} and sorted(new["requires"]) == ["big", "eu", "gpu"]
    assert "dependsOn" not in new and "scheduledAt" not in new and new["rerunOf"] == before

    def stored(run_id, *names):
        return [api.stack.redis.command("HGET", f"{api.stack.shard()}run:{run_id}", name) for name in names]
    names = ("gates", "onLimit", "stallMs", "startWithinMs", "reqText", "timeoutMs", "env", "def")
    assert stored(before, *names) == stored(after, *names)


# ---- bulk from the command line ----

def test_bulk_of_the_command_line(api, stack):
    cli = Cli(stack.folder, api.url, stack.key)
    submit_many(api, 1100, agent=put(api, QUICK), delayMs=3600000, labels={"k": "v"})
    keeps = api.submit(QUICK, delayMs=3600000)
    done = cli("bulk", "stop")
    assert done.returncode == 2 and "--yes" in done.stderr and listed(api, "&status=stopped") == []
    part = cli("bulk", "stop", "--label", "k=v", "--limit", "400")
    assert part.returncode == 0 and part.stdout == "400 examined, 399 stopped, 0 skipped, 0 failed\n" and "400 examined, 399 stopped" in part.stderr, part
    cursor = part.stderr.split("--cursor ")[1].split()[0]
    rest = cli("bulk", "stop", "--label", "k=v", "--cursor", cursor)
    assert rest.stdout == "701 examined, 701 stopped, 0 skipped, 0 failed\n", rest
    assert api.record(keeps)["status"] == "scheduled" and len(listed(api, "&status=stopped")) == 1100
    answers = cli.json("bulk", "delete", "--agent", "quick", "--status", "stopped", "--since", "1h")
    assert [a["examined"] for a in answers] == [1000, 101] and sum(a["done"] for a in answers) == 1100 and answers[-1]["cursor"] is None
    assert cli("bulk", "stop", "--yes").stdout == "1 examined, 1 stopped, 0 skipped, 0 failed\n"


def test_bulk_from_the_command_line_that_was_interrupted(api, stack):
    """Between two pages or within one: the cursor leads on, and what was done stays done; a rerun with its key makes nothing twice."""
    cli = Cli(stack.folder, api.url, stack.key)
    runs = submit_many(api, 3000, agent=put(api, QUICK), delayMs=3600000)
    assert bulk_all(api, "stop", {})["done"] == 3000
    process = cli.start("bulk", "rerun", "--status", "stopped", "--agent", "quick", "--idempotency-key", "op")
    wait_until(lambda: any("rerunOf" in r for r in api.get("/v1/runs?limit=1").json()["runs"]), 30, "it began")
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), err
    if process.returncode == 130:
        more = ["--cursor", err.split("--cursor ")[1].split()[0]] if "--cursor " in err else []
        assert "--idempotency-key op" in err
        done = cli("bulk", "rerun", "--status", "stopped", "--agent", "quick", "--idempotency-key", "op", *more)
        assert done.returncode == 0, done
    assert sorted(r["rerunOf"] for r in listed(api) if "rerunOf" in r) == sorted(runs)


@pytest.mark.parametrize("args, part", [(["bulk"], "is missing"), (["bulk", "stpo", "--yes"], "did you mean stop"), (["bulk", "pause", "--yes"], "no action"), (["bulk", "stop", "--label", "x"], "NAME=VALUE"),
                                        (["bulk", "stop", "--mine", "--cursor", ""], "--cursor takes"), (["bulk", "rerun", "--mine", "--idempotency-key", ""], "--idempotency-key is empty"),
                                        (["bulk", "delete", "--since", "soon"], "--since takes a time"), (["redrive"], "is missing"), (["redrive", "x"], "no run's id")])
def test_bulk_usage_is_2(folder, args, part):
    done = Cli(folder, "http://127.0.0.1:1")(*args)
    assert done.returncode == 2 and part in done.stderr and done.stdout == "", done


def test_what_the_node_refuses_is_said_and_nothing_more(api, stack):
    done = Cli(stack.folder, api.url, stack.key)("bulk", "stop", "--status", "ended")
    assert done.returncode == 2 and "filter.status" in done.stderr and done.stdout == "" and "goes on" not in done.stderr


def test_failures_make_the_command_fail(stack):
    api = stack.api(env={"ERRAND_QUEUE_MAX": "1"})
    cli = Cli(stack.folder, api.url, stack.key)
    run_id = api.submit(QUICK, delayMs=3600000)
    api.post(f"/v1/runs/{run_id}/stop")
    api.submit(QUICK, delayMs=3600000)
    done = cli("bulk", "rerun", "--status", "stopped")
    assert done.returncode == 1 and f"{run_id}: queue_full" in done.stderr and "1 failed" in done.stdout
