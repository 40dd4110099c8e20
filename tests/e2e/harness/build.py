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


def script_mark(script):
    """What each call of it carries, from the build: the end of its function's name, and the beginning of its SHA-1 where it is called by that."""
    with open(os.path.join(build_dir(), "lua", "scripts.c"), encoding="utf-8") as f:
        found = re.search(rf'"errand_{script}_([0-9a-f]{{16}})"', f.read())
    assert found, f"no function of {script}"
    return found.group(1).encode()
