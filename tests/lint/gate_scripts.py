"""Shell, Python and Lua are free of their linters' complaints; Lua as generated, with its includes."""
import glob
import os
import re
import subprocess

from files import ROOT, end, tree


def first_line(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        return f.readline(200)


def run(command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return [] if done.returncode == 0 else [line for line in done.stdout.splitlines() if line.strip()][:20] or [f"{command[0]} failed"]


# What Redis gives a script; anything else by a global name is a slip (and an error at run time, in that one branch).
REDIS_GLOBALS = set("redis KEYS ARGV cjson cmsgpack string table math tonumber tostring type ipairs pairs next select unpack error assert pcall".split())


def lua_faults(path):
    """Compiles one script as it is sent to Redis, and looks at the globals it uses."""
    name = os.path.basename(path)
    with open(path) as f:
        text = f.read()
    # luac knows no shebang of Redis' form: the line stays, as a comment.
    done = subprocess.run(["luac5.1", "-l", "-p", "-"], input="--" + text if text.startswith("#!") else text, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        return [f"{name}: {done.stderr.strip()}"]
    read = set(re.findall(r"GETGLOBAL.*; (\w+)", done.stdout)) - REDIS_GLOBALS
    written = set(re.findall(r"SETGLOBAL.*; (\w+)", done.stdout))
    return [f"{name}: unknown global {g}" for g in sorted(read)] + [f"{name}: writes the global {g}" for g in sorted(written)]


shell = [p for p in tree() if p.endswith(".sh") or first_line(p).startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))]
python = tree(".py")
lua = sorted(glob.glob(os.path.join(ROOT, "build-san/lua/expanded/*.lua")))
faults = run(["shellcheck", *shell]) if shell else []
faults += run(["pyflakes3", *python]) if python else []
for path in lua:
    faults += lua_faults(path)
if not lua:
    faults.append("no generated Lua in build-san/lua/expanded")
end(len(shell) + len(python) + len(lua), faults, "shell, Python, Lua")
