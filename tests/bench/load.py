"""The load: `build/errand bench NAME … --json`, the same client that users have; where it is not there yet, load.c."""
import json
import os
import subprocess
import time

from system import BUILD, KEY, ROOT, Failed, end, spawn, wait_for

OLD = []  # load.c, built


def build(folder):
    path = os.path.join(folder, "load")
    subprocess.run(["gcc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-o", path, os.path.join(ROOT, "tests/bench/load.c")], check=True)
    OLD.append(path)


def bench(system, name, *options, seconds=60, warmup=0):
    """One repetition by the load client: its JSON line."""
    urls = ",".join(f"http://127.0.0.1:{port}" for port in system.ports)
    env = {"PATH": os.environ["PATH"], "ERRAND_KEY": KEY, "HOME": system.dir}
    return result([os.path.join(BUILD, "errand"), "bench", name, "--url", urls, "--repeat", "1", "--keep", "--json", "--warmup", str(warmup), *map(str, options)], env, seconds)


def old(*words, seconds=60):
    return result([OLD[0], *map(str, words)], {"PATH": os.environ["PATH"]}, seconds)


def result(command, env, seconds):
    p = spawn(command, env, stdout=subprocess.PIPE, text=True)
    try:
        out = p.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        raise Failed(f"the load took longer than {seconds} s")
    finally:
        end(p)
    lines = out.strip().splitlines()
    if p.returncode != 0 or not lines:
        raise Failed(f"the load ended with {p.returncode}: {lines[-1] if lines else 'nothing'}")
    return json.loads(lines[-1])


def request(system, method, path, body=b"", key=KEY):
    """A whole request as a file for load.c."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return system.file("\r\n".join(head).encode() + b"\r\n\r\n" + body, "request")


def noop(system, n, connections=64):
    """n no-op runs from submit to their end."""
    began = time.monotonic()
    path = request(system, "POST", "/v1/runs", b'{"agent":"noop","input":{"n":1}}')
    old("http", system.port, connections, n, path)
    wait_for(lambda: all(q["waiting"] + q["running"] == 0 for q in system.get("/v1/queues")["queues"]), "the runs to end", 60, 0.01)
    return {"value": n / (time.monotonic() - began), "requests": n}


def client_of(r):
    """What the load client says of itself."""
    return {name: r[name] for name in ("clientCpuUs", "clientShare") if name in r}
