"""Shell, Python and Lua are free of their linters' complaints; Lua as generated, with its includes."""
import glob
import os
import subprocess

from files import ROOT, end, tree


def first_line(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        return f.readline(200)


def run(command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return [] if done.returncode == 0 else [line for line in done.stdout.splitlines() if line.strip()][:20] or [f"{command[0]} failed"]


shell = [p for p in tree() if p.endswith(".sh") or first_line(p).startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]
python = tree(".py")
lua = sorted(glob.glob(os.path.join(ROOT, "build-san/lua/expanded/*.lua")))
faults = run(["shellcheck", *shell]) if shell else []
faults += run(["pyflakes3", *python]) if python else []
for path in lua:
    with open(path) as f:
        text = f.read()
    # luac knows no shebang of Redis' form: the line stays, as a comment.
    done = subprocess.run(["luac5.1", "-p", "-"], input="--" + text if text.startswith("#!") else text, text=True, stderr=subprocess.PIPE)
    if done.returncode != 0:
        faults.append(f"{os.path.basename(path)}: {done.stderr.strip()}")
if not lua:
    faults.append("no generated Lua in build-san/lua/expanded")
end(len(shell) + len(python) + len(lua), faults, "shell, Python, Lua")
