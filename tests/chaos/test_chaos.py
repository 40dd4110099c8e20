"""One fixed seed of the chaos driver (`./dev chaos` runs many, and more runs each)."""
import json
import os
import subprocess
import sys

import pytest

DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "driver.py")


@pytest.mark.timeout(400)
def test_a_seed_of_everything():
    """Thousands of runs of all kinds while everything breaks; every check of the driver passes."""
    done = subprocess.run([sys.executable, DRIVER, "--seeds", "3", "--seconds", "60", "--runs", "2500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout.strip(), done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["ok"], json.dumps(result, indent=1)
    assert result["accepted"] + result["refused"] == result["runs"] == sum(result["byKind"].values())
    assert set(result["faults"]) >= {"redis_tail_cut", "redis_restart", "redis_full", "redis_freeze", "runner_kill", "runner_freeze", "api_kill", "script_flush", "client_kill"}, "a kind of fault was never done"
