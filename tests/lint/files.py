"""What the gates look at: the files of the tree, as git knows them, and how a gate ends."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def tree(*endings):
    """Paths (relative to the root) of tracked and not ignored files with one of these endings; all files without any."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [p for p in sorted(set(out.splitlines())) if (not endings or p.endswith(endings)) and os.path.isfile(os.path.join(ROOT, p))]


def end(count, faults, what):
    """Prints the faults, then how many files were looked at; a gate that saw no file fails."""
    for fault in faults[:50]:
        print(fault)
    print(f"{count} files looked at ({what}), {len(faults)} faults")
    sys.exit(1 if faults or count == 0 else 0)
