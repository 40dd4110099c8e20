"""Each header compiles alone, with gcc and with clang."""
import concurrent.futures
import os
import subprocess

from files import ROOT, end, tree

BUILD = os.path.join(ROOT, "build-san")
paths = tree(".h")
UV = ["-I/usr/share/include/llhttp", "-DLLHTTP_STRICT_MODE=1"]


def check(job):
    compiler, path = job
    command = [compiler, "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", ROOT, "-I", BUILD,
               "-I", os.path.join(ROOT, os.path.dirname(path)), *UV, "-include", os.path.join(ROOT, path), "-x", "c", "/dev/null"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    error = next((line for line in done.stderr.splitlines() if "error" in line), "failed")
    return None if done.returncode == 0 else f"{path} ({compiler}): {error}"


with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    faults = [f for f in pool.map(check, [(c, p) for p in paths for c in ("gcc", "clang")]) if f]
end(len(paths), faults, "headers alone")
