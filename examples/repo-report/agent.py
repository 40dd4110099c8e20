#!/usr/bin/env python3
"""repo-report: walks a git repository and reports its languages, its churn and its large files.

Reads its job as one JSON line; prints events, one JSON object a line. Needs git and Python 3, no network, and changes nothing.

Input: {"path": "." (where the repository is), "days": 365 (how far back churn counts), "top": 10 (length of the lists)}
"""
import collections
import json
import os
import signal
import subprocess
import sys

LANGUAGES = {
    "C": ".c .h", "C++": ".cc .cpp .cxx .hpp .hh", "Python": ".py", "Shell": ".sh .bash", "Lua": ".lua", "JavaScript": ".js .mjs .cjs .jsx",
    "TypeScript": ".ts .tsx", "Go": ".go", "Rust": ".rs", "Java": ".java", "Ruby": ".rb", "PHP": ".php", "Perl": ".pl .pm", "C#": ".cs",
    "Swift": ".swift", "Kotlin": ".kt", "Haskell": ".hs", "SQL": ".sql", "HTML": ".html .htm", "CSS": ".css .scss", "Markdown": ".md .rst",
    "JSON": ".json", "YAML": ".yml .yaml", "TOML": ".toml", "XML": ".xml", "CMake": ".cmake", "Protocol Buffers": ".proto", "Nix": ".nix",
}
BY_ENDING = {ending: name for name, endings in LANGUAGES.items() for ending in endings.split()}
BY_NAME = {"CMakeLists.txt": "CMake", "Makefile": "Make", "Dockerfile": "Dockerfile"}
BY_INTERPRETER = {"sh": "Shell", "bash": "Shell", "dash": "Shell", "python": "Python", "node": "JavaScript", "perl": "Perl", "ruby": "Ruby", "lua": "Lua"}
COUNTED_BYTES = 4 << 20  # of one file; what is larger is only measured


class Refused(Exception):
    """Something about the input that the person has to change: (class, message)."""


def emit(kind, data):
    print(json.dumps({"kind": kind, "data": data}, ensure_ascii=False), flush=True)


class Tools:
    """Names each step as a tool call, so that a reader sees what is being done and what came of it."""

    def __init__(self):
        self.calls = 0

    def call(self, name, arguments, fn):
        self.calls += 1
        call_id = f"call-{self.calls}"
        emit("tool_request", {"id": call_id, "name": name, "input": arguments})
        try:
            full, summary = fn()
        except Refused as e:
            emit("tool_response", {"id": call_id, "name": name, "error": str(e)})
            raise
        emit("tool_response", {"id": call_id, "name": name, "output": summary})
        return full


def git(repository, *arguments):
    """Runs git on the repository without trusting it: no hooks, no helpers, no pager, whoever owns it. Returns bytes."""
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks", "--no-pager", "-C", repository, *arguments]
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    except FileNotFoundError:
        raise Refused("git is not installed") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(lines[-1] if lines else f"git {arguments[0]} failed with {done.returncode}")
    return done.stdout


def text(raw):
    return raw.decode("utf-8", "replace")


def read_job():
    line = sys.stdin.readline()
    try:
        job = json.loads(line)
    except ValueError as e:
        raise Refused(f"the job is not one line of JSON: {e}") from None
    given = job.get("input") if isinstance(job, dict) else None
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise Refused("input has to be an object like {\"path\": \".\", \"days\": 365, \"top\": 10}")
    unknown = sorted(set(given) - {"path", "days", "top"})
    if unknown:
        raise Refused(f"unknown input field: {unknown[0]} (there are: path, days, top)")
    path, days, top = given.get("path", "."), given.get("days", 365), given.get("top", 10)
    if not isinstance(path, str) or not path or "\0" in path:
        raise Refused("path has to be a text: where the repository is")
    for name, value, most in (("days", days, 36500), ("top", top, 100)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise Refused(f"{name} has to be a whole number from 1 to {most}")
    return path, days, top


def find_repository(path):
    if not os.path.isdir(path):
        raise Refused(f"there is no folder {path}")
    root = text(git(path, "rev-parse", "--show-toplevel")).rstrip("\n")
    return root, root


def list_files(root):
    """The tracked files that are there, with their sizes."""
    files = []
    for raw in git(root, "ls-files", "-z").split(b"\0"):
        name = os.fsdecode(raw)
        full = os.path.join(root, name)
        # A link is no content, and may lead anywhere.
        if name and os.path.isfile(full) and not os.path.islink(full):
            files.append((name, os.stat(full).st_size))
    return files, {"files": len(files), "bytes": sum(size for _, size in files)}


def language_of(root, name):
    """By its name, or, for a name without an ending, by the interpreter that its first line names."""
    base, ending = os.path.basename(name), os.path.splitext(name)[1].lower()
    if base in BY_NAME or ending:
        return BY_NAME.get(base) or BY_ENDING.get(ending)
    with open(os.path.join(root, name), "rb") as f:
        words = text(f.readline(200)).split()
    if not words or not words[0].startswith("#!"):
        return None
    program = words[1] if words[0].endswith("/env") and len(words) > 1 else words[0]
    return BY_INTERPRETER.get(os.path.basename(program).rstrip("0123456789."))


def count_lines(path):
    """Lines of a text file; None for one that holds binary data, or is too large to be read for this."""
    with open(path, "rb") as f:
        data = f.read(COUNTED_BYTES + 1)
    if len(data) > COUNTED_BYTES or b"\0" in data[:8192]:
        return None
    return data.count(b"\n") + (1 if data and not data.endswith(b"\n") else 0)


def count_languages(root, files):
    found = collections.defaultdict(lambda: [0, 0, 0])
    for done, (name, size) in enumerate(files, 1):
        language = language_of(root, name)
        lines = count_lines(os.path.join(root, name)) if language else None
        if lines is not None:
            entry = found[language]
            entry[0], entry[1], entry[2] = entry[0] + 1, entry[1] + lines, entry[2] + size
        if done % 2000 == 0:
            emit("notification", {"type": "progress", "message": f"{done} of {len(files)} files counted", "done": done, "total": len(files)})
    total = sum(entry[1] for entry in found.values()) or 1
    languages = [{"language": name, "files": n, "lines": lines, "bytes": size, "share": round(lines / total, 4)}
                 for name, (n, lines, size) in sorted(found.items(), key=lambda item: (-item[1][1], item[0]))]
    return languages, {entry["language"]: entry["lines"] for entry in languages[:5]}


def count_churn(root, days, top):
    """What changed most often lately: commits a file, and who made them."""
    log = git(root, "log", f"--since={days} days ago", "--no-merges", "--no-renames", "--no-ext-diff", "--no-textconv", "--numstat", "-z", "--format=%x01%aN%x02%H")
    commits, authors, changes = 0, collections.Counter(), collections.defaultdict(lambda: [0, 0, 0])
    # "\x01author\x02hash\0\nadded\tremoved\tpath\0added\t…"
    for part in log.split(b"\0"):
        part = part.lstrip(b"\n")
        if part.startswith(b"\x01"):
            head, _, rest = part[1:].partition(b"\x02")
            commits += 1
            authors[text(head)] += 1
            part = rest.partition(b"\n")[2]
        fields = part.split(b"\t", 2)
        if len(fields) == 3:
            entry = changes[os.fsdecode(fields[2])]
            entry[0] += 1
            entry[1] += int(fields[0]) if fields[0].isdigit() else 0
            entry[2] += int(fields[1]) if fields[1].isdigit() else 0
    most = sorted(changes.items(), key=lambda item: (-item[1][0], -(item[1][1] + item[1][2]), item[0]))[:top]
    churn = {
        "days": days, "commits": commits, "filesChanged": len(changes),
        "authors": [{"name": name, "commits": n} for name, n in authors.most_common(top)],
        "files": [{"path": printable(name), "commits": n, "added": added, "removed": removed} for name, (n, added, removed) in most],
    }
    return churn, {"commits": commits, "filesChanged": len(changes)}


def find_large(files, top):
    large = [{"path": printable(name), "bytes": size} for name, size in sorted(files, key=lambda f: (-f[1], f[0]))[:top]]
    return large, {"largest": large[0] if large else None}


def describe_head(root):
    """The commit that is checked out; None in a repository without one."""
    try:
        commit, date, subject = text(git(root, "log", "-1", "--format=%H%x00%cI%x00%s")).rstrip("\n").split("\0")
    except Refused:
        return None, "no commit yet"
    return {"commit": commit, "date": date, "subject": subject}, commit[:12]


def printable(name):
    """A path as text: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def size_of(number):
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def summary(report):
    """The report for people, piece by piece."""
    yield f"{report['repository']}: {report['files']} files, {size_of(report['bytes'])}\n\n"
    yield "Languages\n"
    for entry in report["languages"][:8]:
        yield f"  {entry['language']:<18}{entry['lines']:>9} lines  {entry['share'] * 100:5.1f} %\n"
    churn = report["churn"]
    if churn:
        yield f"\nChanged most in {churn['days']} days ({churn['commits']} commits)\n"
        for entry in churn["files"][:8]:
            yield f"  {entry['commits']:>4} ×  +{entry['added']} -{entry['removed']}  {entry['path']}\n"
    yield "\nLargest files\n"
    for entry in report["largeFiles"][:5]:
        yield f"  {size_of(entry['bytes']):>12}  {entry['path']}\n"


def make_report(path, days, top):
    tools = Tools()
    root = tools.call("find_repository", {"path": path}, lambda: find_repository(path))
    head = tools.call("read_head", {}, lambda: describe_head(root))
    files = tools.call("list_files", {}, lambda: list_files(root))
    languages = tools.call("count_languages", {"files": len(files)}, lambda: count_languages(root, files))
    churn = tools.call("count_churn", {"days": days}, lambda: count_churn(root, days, top)) if head else None
    large = tools.call("find_large_files", {"top": top}, lambda: find_large(files, top))
    return {"repository": printable(root), "head": head, "files": len(files), "bytes": sum(size for _, size in files), "languages": languages, "churn": churn, "largeFiles": large}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        report = make_report(*read_job())
    except Refused as e:
        emit("runtime_terminal", {"status": "error", "error": {"class": "agent_error", "message": str(e)}})
        return 0
    for piece in summary(report):
        emit("assistant_text", {"text": piece})
    emit("runtime_terminal", {"status": "success", "result": report})
    return 0


if __name__ == "__main__":
    sys.exit(main())
