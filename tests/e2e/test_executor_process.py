"""The executor `process` and what runners leave: descriptors, limits and folders of an agent; control groups and folders that a dead runner could not remove are swept by the next of its node, a live one's are not."""
import glob
import json
import os
import signal

import pytest

from harness import agents
from harness.processes import of_run
from harness.wait import holds_for, wait_until

NODE = {"ERRAND_NODE": f"sweep-{os.getpid()}"}


def groups_of(node):
    """The folders of a node's attempts in every hierarchy."""
    return [p for p in glob.glob(f"/sys/fs/cgroup/**/errand-{node}/*/*", recursive=True) if os.path.isdir(p)]


def folders_of(stack, node):
    return glob.glob(os.path.join(stack.folder, f"errand-{node}-??????", "*"))


def need_groups(api):
    if "memory_limit" not in api.get("/v1/runners").json()["runners"][0]["capabilities"]["process"]:
        pytest.skip("no control group can limit memory here")


def exec_above(pid):
    """The errand-exec whose child this is."""
    with open(f"/proc/{pid}/stat") as f:
        parent = int(f.read().rsplit(")", 1)[1].split()[1])
    with open(f"/proc/{parent}/comm") as f:
        assert f.read().strip() == "errand-exec"
    return parent


def commands_of(run_id):
    """The processes of a run, without its errand-exec."""
    return [p for p in of_run(run_id) if os.readlink(f"/proc/{p}/exe").rsplit("/", 1)[1] != "errand-exec"]


def test_an_agent_has_its_own_descriptors_mask_limits_and_folder(stack, api):
    stack.runner(env=NODE)
    agent = agents.python(stack.folder, """\
        import resource
        mask = os.umask(0)
        end("success", result={"fds": sorted(int(f) for f in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{f}")), "mask": mask, "home": os.environ["HOME"], "tmp": os.environ["TMPDIR"],
                               "mode": os.stat(os.environ["HOME"]).st_mode & 0o777, "core": resource.getrlimit(resource.RLIMIT_CORE), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                               "fsize": resource.getrlimit(resource.RLIMIT_FSIZE)[0], "session": os.getsid(0) == os.getpid(), "leader": os.getpid()})
        """, resources={"diskMb": 3})
    run_id = api.submit(agent)
    r = api.wait(run_id)["result"]
    assert r["fds"] == [0, 1, 2] and r["mask"] == 0o077 and r["mode"] == 0o700 and r["core"] == [1, 1] and r["session"]
    assert r["home"] == r["tmp"] and r["home"].startswith(os.path.join(stack.folder, "errand-" + NODE["ERRAND_NODE"])) and run_id in r["home"]
    assert 256 <= r["nofile"] <= 65536 and r["fsize"] == 3 << 20
    wait_until(lambda: not os.path.exists(r["home"]), 10, "its folder is removed")


def test_groups_go_with_their_attempts_and_their_runner(stack, api):
    runner = stack.runner(env=NODE)
    need_groups(api)
    run_id = api.submit(agents.sleeper(resources={"memoryMb": 64, "cpus": 1, "pids": 50}, graceMs=100))
    wait_until(lambda: commands_of(run_id), 10)
    made = wait_until(lambda: groups_of(NODE["ERRAND_NODE"]), 10, "its groups")
    assert len(made) >= 1 and all(p.endswith(f"{run_id}-1") for p in made), made
    [pid] = commands_of(run_id)
    assert all(str(pid) in open(os.path.join(p, "cgroup.procs")).read().split() for p in made)
    assert str(exec_above(pid)) not in "".join(open(os.path.join(p, "cgroup.procs")).read() for p in made).split()
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    wait_until(lambda: not groups_of(NODE["ERRAND_NODE"]), 10, "its groups are removed")
    assert runner.process.end() == 0
    assert not glob.glob(f"/sys/fs/cgroup/**/errand-{NODE['ERRAND_NODE']}", recursive=True) and not glob.glob(os.path.join(stack.folder, f"errand-{NODE['ERRAND_NODE']}*"))


def test_what_a_dead_runner_left_is_swept_and_what_a_live_one_has_is_not(stack, api):
    """The runner and the errand-exec of its run are killed together, so that nobody is left who would end the run's children. Beside them lives another runner of the same node name, and one of another."""
    runner = stack.runner(env=NODE, slots=1)
    need_groups(api)
    bound = {"resources": {"memoryMb": 64}, "graceMs": 100}
    lost = api.submit(agents.tree(stack.folder, atMostOnce=True, **bound))  # else it would soon be executed again, and have groups
    with api.stream(lost) as stream:
        tree = json.loads(stream.until("notification")[-1].data)["data"]["pids"]
    same = stack.runner(env=NODE, slots=1)
    kept = api.submit(agents.sleeper(**bound))
    wait_until(lambda: of_run(kept), 10)
    other = stack.runner(env={"ERRAND_NODE": NODE["ERRAND_NODE"] + "-b"}, slots=1)
    apart = api.submit(agents.sleeper(**bound))
    wait_until(lambda: of_run(apart), 10)
    above = exec_above(tree[0])
    os.kill(above, signal.SIGSTOP)  # it may not see its runner's end before it is killed itself
    runner.kill9()
    os.kill(above, signal.SIGKILL)
    holds_for(lambda: all(os.path.exists(f"/proc/{p}") for p in tree[1:]), 0.3)
    assert folders_of(stack, NODE["ERRAND_NODE"]) and groups_of(NODE["ERRAND_NODE"])
    again = stack.runner(env=NODE, slots=1)
    wait_until(lambda: not of_run(lost), 10, "what was left is ended")
    wait_until(lambda: not [g for g in groups_of(NODE["ERRAND_NODE"]) if lost in g], 10, "its groups are gone")
    wait_until(lambda: not [f for f in folders_of(stack, NODE["ERRAND_NODE"]) if lost in f], 10, "its folder is gone")
    assert of_run(kept) and of_run(apart), "what others execute lives"
    assert [f for f in folders_of(stack, NODE["ERRAND_NODE"]) if kept in f] and [g for g in groups_of(NODE["ERRAND_NODE"]) if kept in g]
    log = again.process.output().decode()
    assert "left running" in log and "folders that earlier runners" in log
    for run_id in (kept, apart):
        assert api.post(f"/v1/runs/{run_id}/stop?wait=10").json()["status"] == "stopped"
    assert same.process.alive() and other.process.alive()


def test_an_adopted_attempt_keeps_its_group_and_folder(stack, api):
    """Killed, its runner leaves the attempt to a successor: a sweep takes neither group nor folder of it, and both go at its end."""
    env = {"ERRAND_NODE": f"adopt-{os.getpid()}", "ERRAND_ADOPT": "true", "ERRAND_LEASE_MS": "1500", "ERRAND_HEARTBEAT_MS": "300"}
    first = stack.runner(env=env)
    need_groups(api)
    run_id = api.submit(agents.sleeper(resources={"memoryMb": 64}, graceMs=100))
    [pid] = wait_until(lambda: commands_of(run_id), 10)
    api.wait(run_id, "running")
    wait_until(lambda: api.record(run_id)["attempts"][-1].get("handle"), 10)
    made = wait_until(lambda: groups_of(env["ERRAND_NODE"]), 10)
    first.kill9()
    second = stack.runner(env=env)
    wait_until(lambda: "attempt adopted" in second.process.output().decode(), 10, "it is adopted")
    stack.runner(env={**env, "ERRAND_ADOPT": "false"})  # sweeps at its start
    holds_for(lambda: commands_of(run_id) == [pid] and all(os.path.isdir(p) for p in made), 4)  # the successor's own sweep comes behind a lease and two seconds
    assert [f for f in folders_of(stack, env["ERRAND_NODE"]) if run_id in f]
    assert api.post(f"/v1/runs/{run_id}/stop?wait=10").json()["status"] == "stopped"
    wait_until(lambda: not groups_of(env["ERRAND_NODE"]) and not folders_of(stack, env["ERRAND_NODE"]), 10, "group and folder are gone")
    assert api.record(run_id)["attempt"] == 1


def test_an_agent_that_lives_without_what_was_killed_of_it_succeeds(stack, api):
    """A child too large is killed; the agent heeds that and ends well."""
    stack.runner(env=NODE)
    need_groups(api)
    agent = agents.python(stack.folder, """\
        child = subprocess.run([sys.executable, "-c", "x = [bytearray(b'x') * (1 << 20) for _ in range(4096)]"])
        end("success", result={"child": child.returncode})
        """, resources={"memoryMb": 96})
    assert api.wait(api.submit(agent))["result"] == {"child": -signal.SIGKILL}


@pytest.mark.parametrize("root, word", [("sideways", "cgroup-root"), ("/a/../b", "cgroup-root")])
def test_a_bad_cgroup_root_is_refused(stack, root, word):
    process = stack.start("errand-runner", ["--executors", "process"], {"ERRAND_CGROUP_ROOT": root})
    assert process.wait(20) == 2 and word in process.output().decode()


def test_a_given_cgroup_root_is_used(stack, api):
    node = {"ERRAND_NODE": f"given-{os.getpid()}", "ERRAND_CGROUP_ROOT": f"/errand-test-{os.getpid()}"}
    runner = stack.runner(env=node)
    need_groups(api)
    run_id = api.submit(agents.sleeper(resources={"memoryMb": 64}, graceMs=100))
    made = wait_until(lambda: [g for g in groups_of(node["ERRAND_NODE"]) if run_id in g], 10)
    assert all(node["ERRAND_CGROUP_ROOT"] + "/errand-" in g for g in made), made
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
    assert runner.process.end() == 0
    for path in glob.glob(f"/sys/fs/cgroup/*{node['ERRAND_CGROUP_ROOT']}") + glob.glob(f"/sys/fs/cgroup{node['ERRAND_CGROUP_ROOT']}"):
        os.rmdir(path)


def test_statistics_without_groups_come_from_the_tree(stack, api):
    stack.runner(env={**NODE, "ERRAND_CGROUP_ROOT": "none", "ERRAND_STATS_MS": "200"})
    agent = agents.python(stack.folder, """\
        kept = bytearray(b"x") * (50 << 20)
        if os.fork() == 0:
            while True:
                pass
        while True:
            time.sleep(100)
        """, graceMs=100)
    run_id = api.submit(agent)
    api.wait(run_id, "running")
    stats = wait_until(lambda: (lambda s: s if s.get("cpuPercent", 0) > 30 and s.get("memoryMb", 0) > 45 else None)(api.record(run_id)["attempts"][-1].get("resourceStats") or {}), 15, "statistics")
    assert set(stats) == {"cpuPercent", "memoryMb"}, json.dumps(stats)
    api.post(f"/v1/runs/{run_id}/stop?wait=10")
