"""The documentation lists what there is."""
import json
import os
import re
import subprocess

import pytest

from harness.http_client import request
from harness.nodes import ROOT, build_dir


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as f:
        return f.read()


def documents():
    return ["README.md"] + [f"docs/{n}" for n in sorted(os.listdir(os.path.join(ROOT, "docs"))) if n.endswith(".md")] + [f"docker/{n}" for n in os.listdir(os.path.join(ROOT, "docker")) if n.endswith(".md")]


@pytest.mark.parametrize("program", ["errand-api", "errand-runner"])
def test_every_option_is_listed(program):
    shown = subprocess.run([os.path.join(build_dir(), program), "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    names = set(re.findall(r"ERRAND_[A-Z_]+", shown))
    assert len(names) > 10
    text = read("docs", "operations.md")
    assert not [n for n in names if f"`{n}`" not in text and f"`{n.removesuffix('_FILE')}`, `…_FILE`" not in text]


def test_every_option_of_the_docs_exists():
    shown = "".join(subprocess.run([os.path.join(build_dir(), p), "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout for p in ("errand-api", "errand-runner", "errand"))
    known = set(re.findall(r"ERRAND_[A-Z_]+", shown)) | {"ERRAND_CONFIG", "ERRAND_URL", "ERRAND_KEY"}
    agents = set(re.findall(r"`(ERRAND_[A-Z_]+)`", read("docs", "agents.md"))) | set(re.findall(r"ERRAND_[A-Z]+", read("docker", "compose.yml")))
    for name in documents():
        for option in set(re.findall(r"\bERRAND_[A-Z_]*[A-Z]\b", read(name))):
            assert option in known | agents or option.replace("_FILE", "") in known or option.startswith("ERRAND_TEST"), f"{name}: {option}"


def test_every_error_code_is_listed():
    codes = re.findall(r'X\(ERR_\w+, "(\w+)", (\d+)', read("common", "err.h"))
    assert len(codes) > 40
    text = read("docs", "api.md")
    inner = {"ok", "incarnation_dead", "stale_claim", "io_error", "config", "canceled"}  # never in an answer
    assert not [c for c, _ in codes if c not in inner and f"`{c}`" not in text]


def test_every_limit_is_listed():
    shown = subprocess.run([os.path.join(build_dir(), "errand"), "limits", "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout
    limits = [json.loads(line) for line in shown.splitlines()]
    if len(limits) == 1 and isinstance(limits[0], dict) and "limits" in limits[0]:
        limits = limits[0]["limits"]
    assert len(limits) > 30
    text = read("docs", "api.md")
    for row in re.findall(r'X\(LIMIT_\w+, \d+, "\w*", +"([^"]+)"', read("common", "limits.h").replace("\\\n", " ")):
        assert row in text, row


def test_every_metric_is_listed(stack, api):
    text = read("docs", "operations.md")
    names = re.findall(r"^# TYPE (errand_\w+)", request(api.port, "GET", "/metrics").body.decode(), re.M)
    assert len(names) > 10 and not [n for n in names if f"`{n}`" not in text and n != "errand_build_info"]


def test_every_route_is_listed(api):
    text = read("docs", "api.md")
    for path in request(api.port, "GET", "/openapi.json").json()["paths"]:
        assert path in text, path


def test_links_lead_somewhere():
    for name in documents():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(name)):
            if not re.match(r"[a-z]+:", target):
                assert os.path.exists(os.path.join(ROOT, os.path.dirname(name), target)), f"{name}: {target}"


def test_every_script_is_in_the_architecture():
    text = read("docs", "architecture.md")
    scripts = [n[:-4] for n in os.listdir(os.path.join(ROOT, "lua")) if n.endswith(".lua")]
    assert len(scripts) > 15 and not [s for s in scripts if f"`{s}`" not in text]
