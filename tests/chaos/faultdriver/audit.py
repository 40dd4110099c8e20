"""Redis after the load, and after everything was deleted: nothing is left that would make a run start, be taken back, or hold a limit, and no key that nobody will ever remove."""
import os
import re
import subprocess

from harness.nodes import build_dir
from harness.redis_server import RedisError

# Keys that may exist when every run has ended: members must then be none (sets, streams, counters), or are checked elsewhere.
EMPTY_NOW = re.compile(r"^(lane:|held:|lanes:|prios:|wait:|gate:|delayed$|expiry$|throttled$|depq$|stopq$|run:[^:]+:dependents$|queued$|scheduled$|active$)")
# Keys that may stay when every run was deleted. Those that time out by themselves must have a time to live.
STAYS = re.compile(r"^(auditlog:|auditseal:|auditopen$|auditdue$|runner:|leases$|reap$|bell:|reqs$|reqn$|told$|workspaces$|ws:|limits:|queue:|use:|vt:|secret$|key:|keys:|keyver$)")
EXPIRES = re.compile(r"^(idem:|tput:|rate:)")


def _keys(stack):
    """Without the shard's prefix."""
    begin = len(stack.shard())
    return [k.decode()[begin:] for k in stack.redis.keys(f"{stack.prefix}*")]


def _size(redis, key):
    """Members of a key of any type; for a hash of counters those that are not zero."""
    kind = redis.command("TYPE", key)
    if kind == b"hash":
        return sum(v not in (b"0", b"") for v in redis.command("HVALS", key))
    command = {b"zset": "ZCARD", b"set": "SCARD", b"stream": "XLEN", b"list": "LLEN"}.get(kind)
    return redis.command(command, key) if command else 1


def members(stack, key):
    return {m.decode() for m in stack.redis.command("ZRANGE", stack.shard() + key, 0, -1)}


def after_the_load(stack, accepted, lost_ids):
    """All runs ended: violations of what Redis may then hold. `accepted` and `lost_ids` are run ids."""
    violations, redis, begin = [], stack.redis, stack.shard()

    def leak(text, run_id=None, check="leaked"):
        violations.append({"check": check, "run": run_id, "text": text})
    for key in _keys(stack):
        if EMPTY_NOW.match(key) and _size(redis, begin + key):
            leak(f"{key} still has {_size(redis, begin + key)}")
        found = re.match(r"^run:([^:]+)", key)
        if found and found[1] not in accepted:
            leak(f"{key} is of a run that nobody has an answer for", found[1], "double")
    waiting = redis.command("HGET", begin + "use:default", "waiting")
    if waiting not in (None, b"0"):
        leak(f"use:default counts {waiting!r} waiting")
    for index in ("idx:default", "retain"):
        held = members(stack, index)
        for run_id in sorted(held - accepted)[:10]:
            leak(f"{index} has a run that nobody has an answer for", run_id, "double" if index == "idx:default" else "leaked")
        for run_id in sorted(accepted - held)[:10]:
            leak(f"{index} lacks a run", run_id, "lost" if index == "idx:default" else "leaked")
    for run_id in sorted(lost_ids - accepted):
        if redis.command("EXISTS", f"{begin}run:{run_id}"):
            leak("its key was accepted again, under another id", run_id, "double")
    return violations


def doctor(stack):
    """`errand doctor --audit`, where this version has it: (whether it has, violations)."""
    program = os.path.join(build_dir(), "errand")
    env = stack.environment()
    if "--audit" not in subprocess.run([program, "doctor", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env).stdout:
        return False, []
    env.update(ERRAND_URL=stack.apis[0].url, ERRAND_KEY=stack.key)
    done = subprocess.run([program, "doctor", "--audit", "--events"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=120)
    return True, [{"check": "audit", "run": None, "text": done.stdout[-3000:]}] if done.returncode else []


def after_deletion(stack, run_ids):
    """Everything was deleted: no key is left but what belongs to nodes and settings, or times out by itself."""
    violations, redis, begin = [], stack.redis, stack.shard()
    for key in _keys(stack):
        try:
            left = None
            if EXPIRES.match(key):
                left = redis.command("PTTL", begin + key) == -1 and "will never time out"
            elif not STAYS.match(key):
                left = f"is left ({redis.command('TYPE', begin + key).decode()}, {_size(redis, begin + key)} members)"
            elif redis.command("TYPE", begin + key) == b"zset" and members(stack, key) & run_ids:
                left = "still names deleted runs"
        except RedisError as e:
            left = f"can't be looked at: {e}"
        if left:
            violations.append({"check": "leaked", "run": None, "text": f"after deletion of everything {key} {left}"})
    return violations
