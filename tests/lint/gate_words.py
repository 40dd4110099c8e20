"""No address but reserved ones, no machine path, no package-registry host, no left-over mark of unfinished work."""
import os
import re

from files import ROOT, end, tree

FORBIDDEN = [
    (re.compile(r"(?<![\w/.])/(?:root|home/\w+|work)/"), "a path of one machine"),
    (re.compile(r"registry\.npmjs|deb\.debian\.org|pypi\.org|crates\.io", re.I), "a package registry's host"),
    (re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b"), "a mark of unfinished work"),
    (re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_[A-Za-z0-9]{36}"), "what looks like a secret"),
]
SKIP = ("tests/lint/gate_words.py",)
faults, count = [], 0
for path in tree():
    if path in SKIP or "/corpus/" in path:
        continue
    with open(os.path.join(ROOT, path), "rb") as f:
        text = f.read().decode("utf-8", "replace")
    count += 1
    for number, line in enumerate(text.splitlines(), 1):
        faults += [f"{path}:{number}: {what}" for pattern, what in FORBIDDEN if pattern.search(line)]
end(count, faults, "words")
