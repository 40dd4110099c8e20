"""What redaction costs (`./dev bench redact`): MB/s on text, events and what was made to be slow, each beside memcpy over the same bytes; and what an attempt's redactor costs. Needs no node."""
import os
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ERRAND_BUILD", os.path.join(ROOT, "build"))
LIBRARIES = ["-lpcre2-8", "-lsodium", "-lsimdjson", "-luv", "-lhiredis", "-luuid", "-lcctz", "-lcurl", "-lstdc++", "-lm"]


def bench_redact(figure):
    with tempfile.TemporaryDirectory(prefix="errand-bench-") as folder:
        program = os.path.join(folder, "redact")
        subprocess.run(["gcc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-I", ROOT, "-o", program, os.path.join(ROOT, "tests/bench/redact.c"),
                        os.path.join(BUILD, "liberrand_common.a"), *LIBRARIES], check=True)
        lines = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    values = {name: float(value) for name, value in map(str.split, lines)}
    for name in ("memchr", "log", "prose", "events", "adversarial-slowest"):
        figure(f"redact-{name}", values[name], "MB/s", values["memcpy"], "MB/s, memcpy of the same bytes")
    for n, of in ((1, "the runner token alone"), (10, "10 secrets of 64 bytes")):
        figure(f"redactor-{n}", values[f"making-{n}-us"], "us to make", 0, "", of=of, bytes=int(values[f"making-{n}-bytes"]))


FIGURES = {"redact": bench_redact}
