"""clang builds every source without a warning, and clang-tidy has nothing to say.

Almost all of the time is its analyzer's, which follows a function's paths up to a number of nodes. ERRAND_LINT_NODES says how many: clang's own bound (225,000) for `./dev lint`, a third of it within `./dev test`, at half the
time. What passed is remembered by all that went in (source, headers, flags, the checks, the version), as ccache does: in ERRAND_LINT_CACHE, or errand-lint beside other programs' caches.
"""
import concurrent.futures
import hashlib
import json
import os
import shlex
import subprocess
import time

from files import ROOT, end

DEEPEST = 225000
NODES = int(os.environ.get("ERRAND_LINT_NODES") or DEEPEST)
CACHE = os.environ.get("ERRAND_LINT_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "errand-lint")

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


contents = {}


def content(path):
    """The hash of a file's bytes; most headers are asked for again and again."""
    if path not in contents:
        with open(path, "rb") as f:
            contents[path] = hashlib.sha256(f.read()).hexdigest()
    return contents[path]


def fingerprint(path, compiler):
    """Of all that decides what clang-tidy says about a file, apart from where the tree is; None when that can't be told."""
    done = subprocess.run([compiler, *arguments(path), "-M", "-MT", "x", path], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        return None
    needed = sorted(os.path.relpath(os.path.join(ROOT, f), ROOT) for f in done.stdout.replace("\\\n", " ").split(":", 1)[1].split())
    parts = [version, content(os.path.join(ROOT, ".clang-tidy")), *(a.replace(ROOT, ".") for a in arguments(path))]
    parts += [f"{os.path.basename(f) if f.startswith('..') else f} {content(os.path.join(ROOT, f))}" for f in needed]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def passed(key, nodes):
    return os.path.join(CACHE, f"{key}-{nodes}")


def tidy(path, compiler):
    key = fingerprint(path, compiler)
    for known in (passed(key, n) for n in sorted({NODES, DEEPEST}) if key is not None):
        if os.path.exists(known):
            os.utime(known)
            return []
    bound = [f"--extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang", f"max-nodes={NODES}")]
    done = subprocess.run(["clang-tidy", "--quiet", *bound, path, "--", *arguments(path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    faults = [line for line in done.stdout.splitlines() if " error: " in line or " warning: " in line] or [f"{path}: clang-tidy failed"] * (done.returncode != 0)
    if key is not None and not faults:
        try:
            os.makedirs(CACHE, exist_ok=True)
            with open(passed(key, NODES), "w", encoding="ascii"):
                pass
        except OSError:
            pass  # it is looked at again next time
    return faults


def check(path):
    compiler = "clang++" if path.endswith(".cc") else "clang"
    done = subprocess.run([compiler, *arguments(path), "-fsyntax-only", path], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    faults = [f"{path}: clang: {line}" for line in done.stderr.splitlines() if "error:" in line] or [f"{path}: clang failed"] * (done.returncode != 0)
    if not faults and not path.startswith("tests/"):
        faults = tidy(path, compiler)
    return faults


def forget(days=30):
    """Removes what nobody has asked for in so long."""
    for entry in os.scandir(CACHE) if os.path.isdir(CACHE) else []:
        if entry.stat().st_mtime < time.time() - 86400 * days:
            os.unlink(entry.path)


version = subprocess.run(["clang-tidy", "--version"], stdout=subprocess.PIPE, text=True).stdout
with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    found = [f for faults in pool.map(check, paths) for f in faults]
forget()
end(len(paths), sorted(set(found)), "clang, clang-tidy")
