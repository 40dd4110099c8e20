#!/usr/bin/python3
"""`./dev bench [name…] [--quick] [--users] [--list]`: how fast Errand is, and how far that is from what Redis and the kernel allow; one JSON line a figure, and a table at the end.

Each figure stands beside its raw limit of the same minutes on the same Redis (limits.py, limit.c), with what an operation costs of API node, runner and Redis. Without names all of FIGURES; those of MORE by name
only, or all with `more`. --quick: few operations, to see that it works (its figures say nothing). --users: nodes have the Redis users of docker/users.acl. --json: no table. Exit 1 where a figure could not be
taken; a bound that does not hold is no failure of the benchmark, and stands in the table.
"""
import os
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
SECONDS = 120  # a name's figures may not take longer
QUICK = "--quick" in sys.argv or "--small" in sys.argv
if QUICK:
    os.environ["ERRAND_BENCH_SMALL"] = "1"

import events  # noqa: E402
import fanout  # noqa: E402
import latency  # noqa: E402
import limits  # noqa: E402
import longest  # noqa: E402
import memory  # noqa: E402
import recovery  # noqa: E402
import redact  # noqa: E402
import report  # noqa: E402
import runs  # noqa: E402
import scale  # noqa: E402
import scripts  # noqa: E402
import start  # noqa: E402
import submit  # noqa: E402
import system  # noqa: E402

FIGURES = {**submit.FIGURES, **runs.FIGURES, **events.FIGURES, **fanout.FIGURES, **latency.FIGURES, **memory.FIGURES, **recovery.FIGURES, **scale.FIGURES}
ALONE = {**scripts.FIGURES, **longest.FIGURES, **redact.FIGURES}  # they bring their own Redis, or need none
MORE = {**submit.MORE, **start.FIGURES, **{name: (lambda quick, of=of: of(report.old_figure)) for name, of in ALONE.items()}}


def chosen(words):
    names = [word for word in words if not word.startswith("--")]
    if "more" in names:
        names = [*FIGURES, *MORE]
    unknown = [name for name in names if name not in FIGURES and name not in MORE]
    options = [word for word in words if word.startswith("--") and word not in ("--quick", "--small", "--users", "--json", "--list")]
    if unknown or options:
        print(f"bench: no such figure or option: {', '.join(unknown + options)} (there are: {', '.join([*FIGURES, *MORE])}; --quick --users --json --list)", file=sys.stderr)
        sys.exit(2)
    return names or list(FIGURES)


def stop(number, frame):
    raise KeyboardInterrupt


def late(number, frame):
    raise system.Failed(f"took longer than {SECONDS} s")


def main():
    names = chosen(sys.argv[1:])
    if "--list" in sys.argv:
        print("\n".join([*FIGURES, *MORE]))
        return 0
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGALRM, late)
    of = report.machine()
    with tempfile.TemporaryDirectory(prefix="errand-bench-") as folder:
        try:
            limits.build(folder)
            for name in names:
                try:
                    signal.alarm(SECONDS if name in FIGURES else 0)
                    (FIGURES.get(name) or MORE[name])(QUICK)
                except (system.Failed, OSError, AssertionError) as why:
                    report.failed(name, str(why))
                finally:
                    signal.alarm(0)
        except KeyboardInterrupt:
            print("bench: stopped", file=sys.stderr)
            return 130
        finally:
            system.end_all()
    if "--json" not in sys.argv:
        report.table(of)
    return 1 if any("failed" in line for line in report.FIGURES) else 0


if __name__ == "__main__":
    sys.exit(main())
