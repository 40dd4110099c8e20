"""Figures as JSON lines and, at the end, as a table. A figure is a median of repetitions beside its raw limit of the same minutes; `must` is what it is judged by."""
import json
import os
import platform
import statistics
import subprocess
import time

from scripts import PERSISTENCE

FIGURES = []
BEGAN = time.monotonic()


def judged(value, must):
    """Whether `value` meets a text like '>= 0.80'."""
    sign, bound = must.split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)


def round_of(value):
    return value if not isinstance(value, float) else round(value, 4 if abs(value) < 1 else 3 if abs(value) < 100 else 1)


def figure(name, value, unit, limit=None, limit_unit=None, must=None, judge="ratio", values=None, informative=False, **more):
    """One line. `values`: of the repetitions. `must` is about the ratio to the limit, or with judge="value" about the value, or about a field of that name. informative: the bound does not hold here, and `why` says why."""
    ratio = value / limit if limit else None
    line = {"name": name, "value": round_of(value), "unit": unit}
    if values and len(values) > 1:
        line.update(lowest=round_of(min(values)), highest=round_of(max(values)), repetitions=len(values), spread=round((max(values) - min(values)) / statistics.median(values), 3) if value else None)
    if limit:
        line.update(limit=round_of(limit), limitUnit=limit_unit, ratio=round(ratio, 4))
    if must:
        subject = ratio if judge == "ratio" else value if judge == "value" else more[judge]
        line.update(must=f"{judge} {must}", ok=None if informative else judged(subject, must))
    line.update(more, atS=round(time.monotonic() - BEGAN, 1))
    FIGURES.append(line)
    print(json.dumps(line), flush=True)
    return line


def old_figure(name, value, unit, raw, raw_unit, **more):
    """Figures of the programs that came before this module: value, and the raw one beside it."""
    most = more.pop("most", None)
    ok = more.pop("ok", None)
    line = figure(name, value, unit, raw or None, raw_unit, **more)
    if ok is not None:
        line.update(must=f"most {most}" if most is not None else "ok", ok=ok)
    return line


def skipped(name, why):
    line = {"name": name, "skipped": why}
    FIGURES.append(line)
    print(json.dumps(line), flush=True)


def failed(name, why):
    line = {"name": name, "failed": why, "ok": False}
    FIGURES.append(line)
    print(json.dumps(line), flush=True)


def machine():
    """What the figures come from: one line before them."""
    redis = subprocess.run(["redis-server", "--version"], stdout=subprocess.PIPE, text=True).stdout.split("v=")[1].split()[0]
    line = {"name": "machine", "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "cpu": cpu_name(), "redis": redis, "load": round(os.getloadavg()[0], 2),
            "persistence": " ".join(f"{k} {v or chr(34) * 2}" for k, v in PERSISTENCE.items())}
    print(json.dumps(line), flush=True)
    return line


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "?")


def short(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def table(of):
    """The table: what, figure, raw limit, ratio, processor time an operation, must, ok."""
    rows = [("what", "figure", "", "raw limit", "", "ratio", "api", "runner", "redis us", "must", "ok")]
    for line in FIGURES:
        if "value" not in line:
            rows.append((line["name"], line.get("skipped") or line.get("failed"), *[""] * 8, "skipped" if "skipped" in line else "FAILED"))
            continue
        cpu = line.get("cpuUs", {})
        ok = line.get("ok")
        rows.append((line["name"], short(line["value"]), line["unit"], short(line.get("limit")), line.get("limitUnit", ""), short(line.get("ratio")), short(cpu.get("api")), short(cpu.get("runner")),
                     short(cpu.get("redis")), line.get("must", ""), "" if "must" not in line and ok is None else {True: "ok", False: "NO", None: "(not judged)"}[ok]))
    wide = [min(44, max(len(str(row[i])) for row in rows if not row[1] or row[2] or row[0] == "what")) for i in range(len(rows[0]))]
    right = (1, 3, 5, 6, 7, 8)
    print()
    print(f"{of['cores']} cores ({of['cpu']}), Linux {of['kernel']}, Redis {of['redis']}, {of['persistence']}; load {of['load']} before")
    for row in rows:
        print("  ".join(str(cell).rjust(w) if i in right else str(cell).ljust(w) for i, (cell, w) in enumerate(zip(row, wide))).rstrip())
    bad = [line["name"] for line in FIGURES if line.get("ok") is False]
    print(f"{sum(1 for line in FIGURES if line.get('ok') is True)} hold, {len(bad)} do not{': ' + ', '.join(bad) if bad else ''}; took {time.monotonic() - BEGAN:.0f} s")
    return not bad
