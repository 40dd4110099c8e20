"""The walk-through of docs/agents.md, and the first agent of README.md, done as a reader would: each command is typed as it stands there, and what it prints is what stands below it."""
import os
import re
import shutil
import subprocess

import pytest

from harness import sandboxed
from harness.nodes import ROOT, build_dir

SECTION = "## From nothing to a pushed, sandboxed, schema-checked agent"
NODE = shutil.which("node", path="/usr/local/bin:/usr/bin")


def blocks():
    """{part: [(commands, output or None)]}; the part before the first heading is ""."""
    with open(os.path.join(ROOT, "docs", "agents.md"), encoding="utf-8") as f:
        [section] = re.findall(rf"^{SECTION}\n(.*?)^## ", f.read(), re.M | re.S)
    parts = re.split(r"^### In (.*)$", "\n" + section, flags=re.M)
    found = {}
    for name, text in zip([""] + parts[1::2], parts[::2]):
        found[name] = re.findall(r"^```sh\n(.*?)^```$(?:\n```\n(.*?)^```$)?", text, re.M | re.S)
        assert len(re.findall(r"^```", text, re.M)) == sum(2 + 2 * bool(output) for _, output in found[name]), "a block that nobody executes"
    return found


def run(stack, blocks_of_it):
    """What each block printed, in one shell."""
    end = "the-end-of-a-block"
    script = "".join(f"{commands}echo {end}\n" for commands, _ in blocks_of_it)
    env = {**stack.environment(), "ERRAND_URL": stack.apis[0].url, "ERRAND_KEY": stack.key}
    done = subprocess.run(["sh"], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=stack.folder, env=env, text=True, timeout=120, check=False)
    printed = done.stdout.split(end + "\n")
    assert done.returncode == 0 and len(printed) == len(blocks_of_it) + 1, done.stdout
    return printed[:-1]


def check(commands, printed, expected):
    """Line by line; "…" is what differs each time."""
    pattern = "".join(".*".join(re.escape(part) for part in line.split("…")) + "\n" for line in (expected or "").splitlines())
    assert re.fullmatch(pattern, printed), f"after\n{commands}the docs have\n{expected}but there was\n{printed}"


@pytest.mark.parametrize("language", ["Python", "Node", "shell"])
def test_walkthrough(language, stack, api, can_sandbox):
    if language == "Node" and not (NODE and os.path.realpath(NODE).startswith("/usr/")):
        pytest.skip("no node under /usr, where a sandbox could see it")
    sandboxed.runner(stack, api)
    os.symlink(build_dir(), os.path.join(stack.folder, "build"))
    found = blocks()
    assert list(found) == ["", "Python", "Node", "shell"]
    # The other languages go on from the files of the first; what it shows is looked at with it.
    steps = found[""] + (found["Python"] if language == "Python" else [b for b in found["Python"] if "cat > wordcount/" in b[0]] + found[language])
    for (commands, expected), printed in zip(steps, run(stack, steps)):
        if expected or "errand " not in commands:
            check(commands, printed, expected)
    stored = {a["name"]: a["executor"] for a in api.get("/v1/agents").json()["agents"]}
    assert stored == {"wordcount" + {"Python": "", "Node": "-node", "shell": "-shell"}[language]: "sandbox"}


def test_first_agent_of_the_readme(stack, api, can_sandbox):
    sandboxed.runner(stack, api)
    os.symlink(build_dir(), os.path.join(stack.folder, "build"))
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        [commands] = [c for c in re.findall(r"^```sh\n(.*?)^```$", f.read(), re.M | re.S) if "mkdir mine" in c]
    [printed] = run(stack, [(commands, None)])
    check(commands, printed, 'mine version 1  sha256:…\n▶ attempt 1 started, executor sandbox\nworking\n{\n  "answer": 42\n}\n✔ success in …\n')
