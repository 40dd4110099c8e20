"""What the build knows and tests want to."""
import os
import re

from .nodes import build_dir


def scopes():
    """The words of all scopes, from their table."""
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "..", "common", "scope.h"), encoding="utf-8") as f:
        found = re.findall(r'X\(SCOPE_\w+, "([a-z:]+)"', f.read())
    assert found, "no scope in common/scope.h"
    return found


def sha1(script):
    """What EVALSHA names it by, from the build."""
    with open(os.path.join(build_dir(), "lua", "scripts.c"), encoding="utf-8") as f:
        text = f.read()
    found = re.search(rf'const struct script script_{script} = \{{.*?"([0-9a-f]{{40}})"', text, re.S)
    assert found, f"no SHA1 of {script}"
    return found.group(1).encode()
