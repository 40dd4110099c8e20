"""`errand keys`, `errand login`: keys made, kept, used and ended from the terminal."""
import json
import os
import stat
import subprocess

import pytest

from harness.nodes import build_dir

pytestmark = pytest.mark.root_key


@pytest.fixture
def errand(stack, api):
    """Runs `errand` in a home of its own, without any key in its environment."""
    home = os.path.join(stack.folder, "home")
    os.makedirs(home, exist_ok=True)

    def run(*args, stdin="", status=0, env=None):
        environment = {**stack.environment({"HOME": home, **(env or {})})}
        done = subprocess.run([os.path.join(build_dir(), "errand"), *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=home, timeout=60)
        assert done.returncode == status, (args, done)
        return done
    run.file = os.path.join(home, ".config", "errand", "credentials")
    return run


def root(stack):
    return {"ERRAND_KEY": stack.key}


def test_make_login_use_rotate_revoke(stack, api, errand):
    url = ("--url", api.url)
    made = errand("keys", "create", "ci", "--scope", "runs:create,runs:read", "--scope", "keys:admin", "--rate", "100/1s", "--expires", "1d", *url, env=root(stack))
    key = made.stdout.strip()
    assert key.startswith("errand_") and "once" in made.stderr and key not in made.stderr
    errand("list", *url, status=4)
    said = errand("login", *url, stdin=key + "\n").stdout
    assert "workspace default" in said and key not in said
    assert stat.S_IMODE(os.stat(errand.file).st_mode) == 0o600 and stat.S_IMODE(os.stat(os.path.dirname(errand.file)).st_mode) == 0o700
    who = json.loads(errand("keys", "whoami", "--json").stdout)
    assert who["scopes"] == ["runs:create", "runs:read", "keys:admin"] and who["expiresAt"]
    listed = errand("keys").stdout
    assert who["key"] in listed and "ci" in listed and "active" in listed and key not in listed
    new = errand("keys", "rotate", who["key"], "--overlap", "0s").stdout.strip()
    assert new != key
    errand("keys", "whoami", status=4)
    errand("login", *url, stdin=new + "\n")
    errand("keys", "revoke", who["key"])
    errand("keys", "whoami", status=4)
    errand("logout", *url)
    assert new not in open(errand.file, encoding="utf-8").read()


def test_what_login_does_not_take(stack, api, errand):
    url = ("--url", api.url)
    for text, word in (("", "no key"), ("nonsense\n", "checksum"), ("errand_root_" + "x" * 43 + "\n", "root key")):
        assert word in errand("login", *url, stdin=text, status=2).stderr
    good = errand("keys", "create", "ci", "--scope", "runs:read", *url, env=root(stack)).stdout.strip()
    typo = good[:-1] + ("a" if good[-1] != "a" else "b")
    assert "checksum" in errand("login", *url, stdin=typo, status=2).stderr
    assert not os.path.exists(errand.file)
    errand("login", *url, stdin=good)
    os.chmod(errand.file, 0o644)
    assert "0600" in errand("list", *url, status=4).stderr


def test_what_create_does_not_take(stack, api, errand):
    url = ("--url", api.url)
    for args, word in ((("create", "x"), "--scope"), (("create",), "NAME"), (("create", "x", "--scope", "a", "--rate", "fast"), "100/1m"), (("revoke",), "ID"), (("list", "x"), "unexpected"), (("fly",), "fly")):
        assert word in errand("keys", *args, *url, env=root(stack), status=2).stderr, args
    answer = errand("keys", "create", "x", "--scope", "runs:fly", *url, env=root(stack), status=2)
    assert "runs:fly" in answer.stderr
    assert "runs:create" in errand("keys", "scopes").stdout
