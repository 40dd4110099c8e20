"""The load: `build/errand bench NAME … --json`, the same client that users have."""
import json
import os
import subprocess

from system import BUILD, KEY, Failed, end, spawn


def bench(system, name, *options, seconds=60, key=KEY):
    """One repetition by the load client: its JSON line. `made`: its operations with those of the warm-up, which cost as much."""
    warm, requests = 0, 1
    if name in ("submit", "ingress"):
        requests, connections = (options[options.index(option) + 1] for option in ("--requests", "--connections"))
        warm = requests // 10 + connections
        options = [*options, "--warmup", warm]
    urls = ",".join(f"http://127.0.0.1:{port}" for port in system.ports)
    env = {"PATH": os.environ["PATH"], "ERRAND_KEY": key, "HOME": system.dir}
    r = result([os.path.join(BUILD, "errand"), "bench", name, "--url", urls, "--repeat", "1", "--keep", "--json", *map(str, options)], env, seconds)
    return {**r, "made": r["operations"] * (requests + warm) / requests}


def result(command, env, seconds):
    p = spawn(command, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, words = p.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"the load took longer than {seconds} s")
    finally:
        end(p)
    lines = out.strip().splitlines()
    if p.returncode != 0 or not lines:
        raise Failed(f"errand bench {command[2]} ended with {p.returncode}: {(words.strip().splitlines() or lines or ['nothing'])[-1]}")
    return json.loads(lines[-1])


def packed(method, path, body=b"", key=KEY, headers=()):
    """A whole request."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}", *headers]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def request(system, method, path, body=b"", key=KEY):
    """One as a file for limit.c, which reads its answer to the connection's end."""
    return system.file(packed(method, path, body, key, ["Connection: close"]), "request")


def client_of(r):
    """What the load client says of itself."""
    return {name: r[name] for name in ("clientCpuUs", "clientShare") if name in r}
