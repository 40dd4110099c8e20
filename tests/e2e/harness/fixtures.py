"""The fixtures of e2e and chaos tests; their conftest.py files import this."""
import os
import shutil
import subprocess
import tempfile

import pytest

from .nodes import Stack, build_dir, release_dir
from .redis_proxy import RedisProxy
from .redis_server import RedisServer
from .redis_users import RedisUsers


def pytest_configure(config):
    config.addinivalue_line("markers", "release: runs the Release build (memory and latency are measured on it)")
    config.addinivalue_line("markers", "root_key: asks with the root key by nature (keys, policies, the audit log of what was done as root)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the ends of its nodes' logs."""
    outcome = yield
    report = outcome.get_result()
    held = getattr(item, "errand_stack", None)
    if report.failed and held is not None and os.path.isdir(held.folder):
        report.sections.append(("logs", held.logs()))


@pytest.fixture
def folder():
    """A folder of the test's own, with a path short enough for Unix sockets."""
    path = tempfile.mkdtemp(prefix="errand-", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def redis_factory(folder):
    """Makes private Redis servers with options of the test's own, all with the same users; the first one lives in the test's folder."""
    made, users = [], RedisUsers()

    def make(**kwargs):
        path = os.path.join(folder, f"r{len(made)}")
        os.mkdir(path)
        made.append(RedisServer(path, **{"users": users, **kwargs}).start())
        return made[-1]
    yield make
    for server in made:
        if server.process is not None:
            server.discard()


@pytest.fixture
def redis(redis_factory):
    """A private redis-server with AOF, everysec, noeviction. Timestamps in the file do not matter: tests cut it at a size they took."""
    return redis_factory()


@pytest.fixture
def stack(request, folder, redis):
    """An empty stack on that Redis. At the end its nodes must leave with status 0, without a sanitizer's complaint and without a process left behind."""
    assert os.path.exists(os.path.join(build_dir(), "errand-api")), f"no errand-api in {build_dir()}: ./dev build, or name the build in ERRAND_BUILD"
    made = Stack(folder, redis, **({"test_key": "root"} if request.node.get_closest_marker("root_key") else {}))
    if request.node.get_closest_marker("release"):
        made.start = _with_build(made.start, release_dir())
    request.node.errand_stack = made
    yield made
    faults = made.stop()
    assert not faults, "\n".join(faults)


def _with_build(start, directory):
    return lambda program, args=(), env=None, build=None: start(program, args, env, build or directory)


@pytest.fixture
def proxy(folder, redis):
    """A proxy before Redis; give its url to a node as ERRAND_REDIS_URL."""
    made = RedisProxy(folder, redis.socket)
    yield made
    made.stop()


@pytest.fixture
def api(stack):
    """One API node."""
    return stack.api()


@pytest.fixture
def apis(stack):
    """Two API nodes."""
    return [stack.api(), stack.api()]


@pytest.fixture
def runner(stack, api):
    """One runner beside `api`."""
    return stack.runner(api=api)


@pytest.fixture(scope="session")
def can_sandbox():
    """Skips where this machine has nothing to make a sandbox with; what is missing is the reason."""
    if not os.path.exists("/usr/bin/bwrap"):
        pytest.skip("bubblewrap is not installed")
    how = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "/bin/true"]
    done = subprocess.run(how, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"bubblewrap can't make namespaces here: {done.stderr.strip()}")
