"""clang builds every source without a warning, and clang-tidy has nothing to say."""
import concurrent.futures
import json
import os
import shlex
import subprocess

from files import ROOT, end

with open(os.path.join(ROOT, "build-san/compile_commands.json")) as f:
    commands = {os.path.relpath(c["file"], ROOT): shlex.split(c["command"]) for c in json.load(f)}
paths = sorted(p for p in commands if not p.startswith("..") and p.split("/")[0] in ("api", "runner", "common", "cli", "tests"))


def arguments(path):
    """The compile command's own flags: without compiler, launcher, output and gcc-only parts."""
    words, out = commands[path], []
    skip = False
    for word in words[1:]:
        if skip or word in ("-c", path) or word.endswith(("/cc", "/c++", "/gcc", "/g++")) or word == os.path.join(ROOT, path):
            skip = False
        elif word in ("-o", "-MF", "-MT"):
            skip = True
        elif word not in ("-MD",) and not word.startswith("-fsanitize"):
            out.append(word)
    return out


def check(path):
    compiler = "clang++" if path.endswith(".cc") else "clang"
    done = subprocess.run([compiler, *arguments(path), "-fsyntax-only", path], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    faults = [f"{path}: clang: {line}" for line in done.stderr.splitlines() if "error:" in line] or [f"{path}: clang failed"] * (done.returncode != 0)
    if not faults and not path.startswith("tests/"):
        done = subprocess.run(["clang-tidy", "--quiet", path, "--", *arguments(path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        faults = [line for line in done.stdout.splitlines() if " error: " in line or " warning: " in line] or [f"{path}: clang-tidy failed"] * (done.returncode != 0)
    return faults


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    found = [f for faults in pool.map(check, paths) for f in faults]
end(len(paths), sorted(set(found)), "clang, clang-tidy")
