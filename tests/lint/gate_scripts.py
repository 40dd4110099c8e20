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
REDIS_GLOBALS = set("redis KEYS ARGV cjson cmsgpack string table math tonumber tostring type ipairs pairs next select unpack error assert pcall setmetatable".split())


def kept_faults(name, text, code):
    """What outlives a call: nothing that one call sets, or puts into a table of an include, may be seen by the next. (What `-- EACH CALL` sets is set anew; what is declared with `-- KEPT` is kept on purpose, and says why it may be.)"""
    lines = text.split("\n")
    begin = lines.index("-- each call") + 1
    of_group = next((line for line in lines[begin:] if re.match(r"(return|local \w+ =) one\(ARGV", line)), None)  # where its own lines stand before those that each call begins with
    body = lines.index(of_group or "-- " + name.removesuffix(".lua"), begin) + 1
    top = lines[:next(i for i, line in enumerate(lines) if line.startswith(("local function one(", "local function main(")))]  # behind it, locals are a call's own
    kept = {word.strip() for line in top if line.startswith("local ") and not line.startswith("local function") and "-- KEPT" not in line for word in line[6:].split("=")[0].split(" --")[0].split(",")}
    kept |= {word for line in top for word in re.findall(r"^local function (\w+)", line)}
    written = [(word, int(line)) for line, word in re.findall(r"\[(\d+)\]\s+SETUPVAL.*; (\w+)", code)]
    anew = {word for word, line in written if begin <= line <= body}
    faults = sorted({f"{name}: {word} outlives the call that sets it" for word, _ in written if word in kept - anew})
    for word in sorted(kept - anew):
        if re.search(rf"(?<![\w.]){word}(\.\w+|\[[^\]]*\])+ = |table\.(insert|remove|sort)\({word}\b", "\n".join(re.sub(r"--.*", "", line) for line in lines)):
            faults.append(f"{name}: what is put into {word} outlives the call")
    return faults


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
    return [f"{name}: unknown global {g}" for g in sorted(read)] + [f"{name}: writes the global {g}" for g in sorted(written)] + kept_faults(name, text, done.stdout)


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
