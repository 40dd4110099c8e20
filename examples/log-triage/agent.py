#!/usr/bin/env python3
"""log-triage: clusters the lines of a log and streams what deserves a look.

Reads its job as one JSON line; prints events, one JSON object a line. Memory is bounded however long the log is. No network.

Input: {"path": "/var/log/app.log"} or {"text": "…"}, and {"top": 20 (clusters in the result)}. Neither: the sample beside this program.
"""
import json
import os
import re
import signal
import sys

CLUSTERS_MAX = 5000     # patterns kept; lines of further ones are only counted
LINE_MAX = 4096         # bytes of a line that are looked at
BURST = 5               # this many lines of an error in a row are a burst
PROGRESS_LINES = 200_000

LEVELS = [
    ("fatal", re.compile(r"\b(?:fatal|panic|emerg(?:ency)?|critical|crit|segfault|out of memory)\b", re.I)),
    ("error", re.compile(r"\b(?:error|err|exception|traceback|failed|failure|refused|denied)\b", re.I)),
    ("warning", re.compile(r"\b(?:warn(?:ing)?|timed? ?out|retry(?:ing)?|deprecated|slow)\b", re.I)),
]
# What differs between lines of one kind, replaced by a word for it. The order matters: the special before the general.
VARIABLE = [
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{1,2} \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I), "<uuid>"),
    (re.compile(r"\b(?:https?|redis|unix)://\S+"), "<url>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"), "<email>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"(?<![\w<])/(?:[\w.@%+-]+/)*[\w.@%+-]+"), "<path>"),
    (re.compile(r'"[^"]{1,200}"'), "<text>"),
    (re.compile(r"'[^']{1,200}'"), "<text>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.I), "<hex>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b", re.I), "<hex>"),
    (re.compile(r"(?<![\w<])[-+]?\d+(?:\.\d+)?(?=(?:ms|us|ns|s|m|h|[kKMG]i?B?|%)?\b)"), "<n>"),
]


class Refused(Exception):
    """Something about the input that the person has to change."""


def emit(kind, data):
    print(json.dumps({"kind": kind, "data": data}, ensure_ascii=False), flush=True)


def read_job():
    try:
        job = json.loads(sys.stdin.readline())
    except ValueError as e:
        raise Refused(f"the job is not one line of JSON: {e}") from None
    given = job.get("input") if isinstance(job, dict) else None
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise Refused("input has to be an object like {\"path\": \"/var/log/app.log\"}")
    unknown = sorted(set(given) - {"path", "text", "top"})
    if unknown:
        raise Refused(f"unknown input field: {unknown[0]} (there are: path, text, top)")
    if "path" in given and "text" in given:
        raise Refused("give path or text, not both")
    for name in ("path", "text"):
        if name in given and not isinstance(given[name], str):
            raise Refused(f"{name} has to be a text")
    top = given.get("top", 20)
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= 1000:
        raise Refused("top has to be a whole number from 1 to 1000")
    return given.get("path"), given.get("text"), top


def lines_of(path, text):
    """The lines as text, each bounded; of a file without reading it whole."""
    if text is not None:
        for line in text.splitlines():
            yield line[:LINE_MAX]
        return
    if path is None:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.log")
    try:
        with open(path, "rb") as f:
            while raw := f.readline(LINE_MAX):
                whole = raw.endswith(b"\n")
                yield raw.rstrip(b"\r\n").decode("utf-8", "replace")
                while not whole:  # the rest of a line that is too long
                    rest = f.readline(LINE_MAX)
                    whole = not rest or rest.endswith(b"\n")
    except (OSError, ValueError) as e:
        raise Refused(f"{path} can't be read: {getattr(e, 'strerror', None) or e}") from None


def pattern_of(line):
    for expression, word in VARIABLE:
        line = expression.sub(word, line)
    return " ".join(line.split())


def level_of(line):
    for name, expression in LEVELS:
        if expression.search(line):
            return name
    return "info"


class Triage:
    """What is known about the log so far."""

    def __init__(self):
        self.clusters = {}
        self.lines = self.other = 0
        self.levels = {"fatal": 0, "error": 0, "warning": 0, "info": 0}
        self.last, self.in_a_row = None, 0

    def add(self, line):
        self.lines += 1
        if not line.strip():
            return
        pattern, level = pattern_of(line), level_of(line)
        self.levels[level] += 1
        cluster = self.clusters.get(pattern)
        if cluster is None and len(self.clusters) >= CLUSTERS_MAX:
            self.other += 1
            return
        if cluster is None:
            cluster = self.clusters[pattern] = {"pattern": pattern, "level": level, "count": 0, "firstLine": self.lines, "lastLine": 0, "example": line}
            if level in ("fatal", "error"):
                self.finding("new_error", cluster, f"line {self.lines}: first {level}: {line.strip()[:300]}")
        cluster["count"] += 1
        cluster["lastLine"] = self.lines
        self.in_a_row = self.in_a_row + 1 if pattern == self.last else 1
        self.last = pattern
        if self.in_a_row == BURST and level != "info":
            self.finding("burst", cluster, f"line {self.lines}: {BURST} times in a row: {pattern[:300]}")

    @staticmethod
    def finding(kind, cluster, message):
        emit("notification", {"type": "finding", "finding": kind, "level": cluster["level"], "line": cluster["firstLine"], "message": message})

    def ranked(self, top):
        order = {"fatal": 0, "error": 1, "warning": 2, "info": 3}
        return sorted(self.clusters.values(), key=lambda c: (order[c["level"]], -c["count"], c["firstLine"]))[:top]


def report(triage, top):
    ranked = triage.ranked(top)
    emit("assistant_text", {"text": f"{triage.lines} lines, {len(triage.clusters)} patterns: " + ", ".join(f"{n} {level}" for level, n in triage.levels.items()) + "\n"})
    for cluster in ranked[:10]:
        emit("assistant_text", {"text": f"  {cluster['count']:>6} ×  {cluster['level']:<8}{cluster['pattern'][:160]}\n"})
    return {"lines": triage.lines, "patterns": len(triage.clusters), "linesOfOtherPatterns": triage.other, "levels": triage.levels, "clusters": ranked}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        path, text, top = read_job()
        call = {"id": "call-1", "name": "read_log"}
        emit("tool_request", {**call, "input": {"path": path} if path else {"text": f"{len(text)} characters"} if text is not None else {"path": "sample.log"}})
        triage = Triage()
        try:
            for line in lines_of(path, text):
                triage.add(line)
                if triage.lines % PROGRESS_LINES == 0:
                    emit("notification", {"type": "progress", "message": f"{triage.lines} lines read, {len(triage.clusters)} patterns"})
        except Refused as e:
            emit("tool_response", {**call, "error": str(e)})
            raise
        emit("tool_response", {**call, "output": {"lines": triage.lines, "patterns": len(triage.clusters)}})
    except Refused as e:
        emit("runtime_terminal", {"status": "error", "error": {"class": "agent_error", "message": str(e)}})
        return 0
    emit("runtime_terminal", {"status": "success", "result": report(triage, top)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
