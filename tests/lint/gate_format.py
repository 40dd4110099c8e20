"""clang-format leaves every C file as it is."""
import subprocess

from files import ROOT, end, tree

paths = tree(".c", ".h", ".cc")
faults = []
if paths:
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *paths], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    faults = sorted({line.split(":", 1)[0] + ": ./dev fmt would change it" for line in done.stderr.splitlines() if ": error:" in line})
end(len(paths), faults, "formatting")
