"""npm packages for tests: installed once, from the lock file beside their package.json, into a folder that git does not see."""
import fcntl
import os
import shutil
import subprocess

import pytest

from .nodes import ROOT

JS = os.path.join(ROOT, "tests", "e2e", "js")


@pytest.fixture(scope="session")
def npm_modules():
    """The folder with node_modules. Skips where there is neither npm nor what it would fetch."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    with open(os.path.join(JS, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers come here at once
        stamp = os.path.join(JS, "node_modules", ".package-lock.json")
        lock_file = os.path.join(JS, "package-lock.json")
        if not os.path.exists(stamp) or os.path.getmtime(stamp) < os.path.getmtime(lock_file):
            done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=JS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
            if done.returncode != 0:
                pytest.skip("npm ci failed: " + " ".join(done.stdout.split())[-300:])
            os.utime(stamp)
    return JS


def node(folder, script, *args, timeout=60):
    """Runs a script of tests/e2e/js; its standard output. Fails the test with what it said when it ends badly."""
    done = subprocess.run(["node", os.path.join(folder, script), *args], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
