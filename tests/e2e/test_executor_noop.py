"""The executor noop: an attempt that starts and succeeds within the runner, by the ordinary path."""
import os

from harness.delivery import check_exact_delivery
from harness.processes import of_run
from harness.wait import holds_for

NOTHING = {"name": "nothing", "executor": "noop"}


def kinds(api, run_id):
    return [(e["seq"], e["kind"]) for e in api.get(f"/v1/runs/{run_id}/events?after=0").json()["events"]]


def test_it_succeeds_by_the_ordinary_path(stack, api):
    stack.runner(slots=4, env={"ERRAND_EXECUTORS": "noop"})
    runs = [api.submit(NOTHING, input={"n": n}) for n in range(40)]
    for run_id in runs:
        record = api.wait(run_id)
        attempt = record["attempts"][-1]
        assert record["status"] == "success" and "result" not in record, record
        assert attempt["executor"] == "noop" and attempt["startedAt"] and attempt["endedAt"], record
        assert kinds(api, run_id) == [(1, "runtime_started"), (2, "runtime_terminal")]
        assert not of_run(run_id)
    check_exact_delivery(stack, runs)


def test_its_runner_makes_nothing_for_it(stack, api):
    """No folder: a runner of nothing else does not even have a place for them."""
    folder = stack.folder + "/none"
    stack.runner(env={"ERRAND_EXECUTORS": "noop", "ERRAND_WORK_DIR": folder})
    assert api.wait(api.submit(NOTHING))["status"] == "success"
    assert not os.path.exists(folder)


def test_only_a_runner_that_names_it_serves_it(stack, api):
    stack.runner()
    run_id = api.submit(NOTHING)
    holds_for(lambda: api.record(run_id)["status"] == "queued", 0.5)
    stack.runner(env={"ERRAND_EXECUTORS": "noop"})
    assert api.wait(run_id)["status"] == "success"


def test_a_result_schema_holds_for_it_too(stack, api):
    stack.runner(env={"ERRAND_EXECUTORS": "noop"})
    record = api.wait(api.submit({**NOTHING, "outputSchema": {"type": "object"}, "strictOutput": True, "maxAttempts": 1}))
    assert record["status"] == "error" and record["error"]["class"] == "output_invalid", record
