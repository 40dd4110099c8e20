"""The exact-delivery check: what must be true of every accepted run after any faults, seen from the outside."""
import json
import random

from . import http_client
from .nodes import TERMINAL
from .processes import of_run
from .sse import Reader, replay
from .wait import wait_until


def check_exact_delivery(stack, run_ids, live=None, timeout=60.0, seed=1, cut_between=(200, 20000)):
    """For each run: one terminal status, the same on every node; exactly one runtime_terminal, last; the same bytes live (`live`: run id → list of Record or Reader), replayed on every node,
    as JSON pages, in Redis, and to a reader cut at random places on random nodes; seq strictly increasing; no attempts interleaved; no process left; nothing kept as if it still ran.
    Returns {run id: record}. `stack` needs at least one living API node."""
    assert run_ids, "nothing to check"
    nodes = [a for a in stack.apis if a.process.alive()]
    assert nodes, "no API node lives"
    records = {run_id: nodes[0].wait(run_id, TERMINAL, timeout) for run_id in run_ids}
    rng = random.Random(seed)
    for run_id in run_ids:
        _check_run(stack, nodes, run_id, records[run_id], (live or {}).get(run_id, []), rng.randrange(1 << 30), cut_between)
    _check_nothing_runs(stack, run_ids)
    return records


def _check_run(stack, nodes, run_id, record, live, seed, cut_between):
    for node in nodes:
        again = node.record(run_id)
        assert (again["status"], again.get("completedAt")) == (record["status"], record.get("completedAt")), f"{run_id} differs between nodes"
    replays = [replay(node.port, run_id, stack.key) for node in nodes]
    first = replays[0]
    for other in replays[1:]:
        assert_same(first, other, f"{run_id}: replay on another node")
    for reader in live:
        held = reader.result() if isinstance(reader, Reader) else reader
        assert_same(first, held, f"{run_id}: live reader")
    cut = Reader([n.port for n in nodes], run_id, stack.key, seed=seed, cut_between=cut_between).result()
    assert_same(first, cut, f"{run_id}: reader cut {cut.connections} times")
    check_events(run_id, first, record)
    assert pages(nodes[0].port, run_id, stack.key) == first.lines(), f"{run_id}: the JSON pages differ from the stream"
    check_stored(stack, run_id, first)


def assert_same(one, other, what):
    """Two readers hold the same frames, byte for byte; says where they part."""
    if one.bytes() == other.bytes():
        return
    for i, (a, b) in enumerate(zip(one.events, other.events)):
        assert a.raw == b.raw, f"{what}: differs at frame {i}: {a.raw[:300]!r} against {b.raw[:300]!r}"
    raise AssertionError(f"{what}: {len(one.events)} frames against {len(other.events)}; "
                         f"ends {one.events[-1:]!r} against {other.events[-1:]!r}")


def check_events(run_id, replayed, record):
    """Order, the one end, and attempts that do not mix."""
    events = [json.loads(line) for line in replayed.lines()]
    assert events, f"{run_id} has no event"
    for frame, event in zip(replayed.events, events):
        assert frame.seq == event["seq"] and frame.event == event["kind"], f"{run_id}: the frame and its data differ: {frame.raw[:200]!r}"
    for before, after in zip(events, events[1:]):
        assert before["seq"] < after["seq"], f"{run_id}: seq {after['seq']} after {before['seq']}"
        assert before["tMs"] <= after["tMs"], f"{run_id}: tMs goes back at seq {after['seq']}"
    ends = [e for e in events if e["kind"] == "runtime_terminal"]
    assert len(ends) == 1 and events[-1] is ends[0], f"{run_id}: {len(ends)} runtime_terminal, last is {events[-1]['kind']}"
    assert ends[0]["data"]["status"] == record["status"], f"{run_id}: event says {ends[0]['data']['status']}, record {record['status']}"
    assert (record["lastSeq"], record["eventCount"]) == (events[-1]["seq"], len(events)), f"{run_id}: counters differ from the events: {record} {events[:3]} … {events[-3:]}"
    current = 0
    for event in events:
        if event["kind"] == "runtime_started":
            assert event["data"]["attempt"] > current, f"{run_id}: attempt {event['data']['attempt']} started after {current}"
            current = event["data"]["attempt"]
        elif event["kind"] not in ("runtime_terminal", "stream_error") and isinstance(event["data"].get("attempt"), int):
            assert event["data"]["attempt"] == current, f"{run_id}: an event of attempt {event['data']['attempt']} within attempt {current}"
    done = json.loads(replayed.done.data)
    assert done["status"] == record["status"] and done["runId"] == run_id, f"{run_id}: done differs from the record"


def check_stored(stack, run_id, replayed):
    """The stream in Redis: epochs never go back, ids name their last seq, its lines are what readers got."""
    shard = int(run_id[:2], 16)
    entries = stack.redis.command("XRANGE", f"{stack.shard(shard)}run:{run_id}:events", "-", "+")
    lines, epochs = [], []
    for entry_id, flat in entries:
        fields = dict(zip(flat[::2], flat[1::2]))
        batch = fields.get(b"b", b"").splitlines()
        lines += batch
        epochs.append(int(entry_id.split(b"-")[0]))
        if batch:
            assert json.loads(batch[-1])["seq"] == int(fields[b"h"].split(b",")[1]), f"{run_id}: entry {entry_id!r} does not end at its last seq"
    assert epochs == sorted(epochs), f"{run_id}: epochs go back"
    assert lines == replayed.lines(), f"{run_id}: readers got something else than Redis holds"


def pages(port, run_id, key, limit=100):
    """The events as JSON pages, as lines of raw bytes."""
    lines, after = [], -1
    while True:
        answer = http_client.request(port, "GET", f"/v1/runs/{run_id}/events?after={after}&limit={limit}", headers={"Authorization": f"Bearer {key}"})
        assert answer.status == 200, answer
        page = answer.json()
        raw = raw_elements(answer.body)
        assert len(raw) == len(page["events"]) <= limit
        lines += raw
        if page["next"] is None or not raw:
            return lines
        after = page["next"]


def raw_elements(body):
    """The elements of the page's "events" array, as the bytes they were sent as."""
    text = body.decode()
    position = text.index("[") + 1
    decoder, found = json.JSONDecoder(), []
    while text[position] != "]":
        if text[position] == ",":
            position += 1
        _, end = decoder.raw_decode(text, position)
        found.append(text[position:end].encode())
        position = end
    return found


def _check_nothing_runs(stack, run_ids):
    """No process, and nothing in Redis that would make a run start or be taken back."""
    wait_until(lambda: not any(of_run(r) for r in run_ids), 10, "no process of an ended run lives")
    for key in stack.redis.keys(f"{stack.prefix}*"):
        name = key.decode().split("}:", 1)[-1]
        if name.startswith("held:") or name == "delayed":
            members = [m.decode() for m in stack.redis.command("ZRANGE", key, 0, -1)]
        elif name.startswith("lane:"):
            members = [flat[1].decode() for _, flat in stack.redis.command("XRANGE", key, "-", "+")]
        else:
            continue
        left = sorted(set(members) & set(run_ids))
        assert not left, f"{name} still has ended runs: {left}"


def check_no_keys_left(stack, run_ids):
    """After deletion or retention: no key of these runs, and no index entry."""
    keys = [k.decode() for k in stack.redis.keys(f"{stack.prefix}*")]
    named = [k for k in keys if any(r in k for r in run_ids)]
    assert not named, f"keys left: {named}"
    for key in keys:
        if stack.redis.command("TYPE", key) == b"zset":
            members = {m.decode() for m in stack.redis.command("ZRANGE", key, 0, -1)}
            assert not members & set(run_ids), f"{key} still names a deleted run"
