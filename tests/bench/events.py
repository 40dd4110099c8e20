"""Events: `ingress` (a remote agent's batches, over HTTP), `runner-events` (what an agent prints, to Redis), `replay` (from Redis to a reader)."""
import datetime
import os
import statistics

import limits
import load
from report import figure
from scripts import pack
from system import System, Usage, end, spawn, wait_for

ENDLESS = {"ERRAND_RUN_BYTES_MAX": str(1 << 38), "ERRAND_RUN_EVENTS_MAX": "1000000000"}
TEXT = 32  # bytes of text of an event; 108 as it is stored
TOKEN = 'echo "$ERRAND_RUNNER_TOKEN" > "$OUT.tmp"; mv "$OUT.tmp" "$OUT"; exec sleep 600'


def events_key(run):
    return f"{limits.PREFIX}run:{run}:events"


# ---- ingress ----


class RemoteRun:
    """A run of a remote agent; what it posts goes under its token."""

    def __init__(self, s):
        out = os.path.join(s.dir, f"token{s.serial}")
        s.serial += 1
        s.call("PUT", "/v1/agents/remote", {"executor": "process", "protocol": "text", "eventSource": "remote", "graceMs": 100, "command": ["/bin/sh", "-c", TOKEN]})
        self.id = s.call("POST", "/v1/runs", {"agent": "remote", "env": {"OUT": out}})["runId"]
        wait_for(lambda: os.path.exists(out), "the remote agent")
        with open(out, encoding="utf-8") as f:
            self.token = f.read().strip()
        self.auth = {"Authorization": "Bearer " + self.token}
        manifest = s.call("GET", f"/v1/runs/{self.id}/runner/manifest", headers=self.auth)
        self.seq = manifest["nextSeq"]
        self.t = max(manifest.get("lastTMs", 0), int(1000 * datetime.datetime.now().timestamp()))

    def body(self, n, size):
        events = [{"seq": self.seq + i, "tMs": self.t, "kind": "assistant_text", "data": {"text": "x" * size}} for i in range(n)]
        self.seq += n
        return {"v": 1, "runId": self.id, "events": events}


class AppendAlone:
    """The append script alone: the call of a batch of n, looked at once, then made again and again for the seqs behind it."""

    def __init__(self, s, n, size):
        self.system, self.n, self.run = s, n, RemoteRun(s)
        with limits.Watch(s.redis) as w:
            s.call("POST", f"/v1/runs/{self.run.id}/runner/events", self.run.body(n, size), self.run.auth)
        self.call = w.calls(limits.Scripts(), "append")[0]

    def rate(self, batches):
        """Costs of a batch."""
        out = []
        for _ in range(batches):
            shift = self.run.seq - int(self.call.values["first"])
            entries = [{**row, "first": int(row["first"]) + shift, "last": int(row["last"]) + shift} for row in self.call.values["entries"]]
            out.append(self.call.pack(first=self.run.seq, last=self.run.seq + self.n - 1, entries=entries))
            self.run.seq += self.n
        return limits.calls(self.system, b"".join(out))


def bench_ingress(quick):
    rounds = 1 if quick else 3
    with System(env=ENDLESS, slots=512) as s:  # the runs stay
        for n, connections, batches, must in ((1, 16, 8000, None), (16, 16, 4000, None), (256, 16, 1000, ">= 0.80")):
            connections, batches = (4, batches // 20) if quick else (connections, batches)
            alone = AppendAlone(s, n, 120)
            raws, results, uses = [], [], []
            for _ in range(rounds):
                raws.append(alone.rate(batches))
                with Usage(s) as u:
                    results.append(load.bench(s, "ingress", "--connections", connections, "--requests", batches, "--batch", n, "--bytes", 120))
                uses.append(u.per(results[-1]["made"]))
            rates = [r["value"] for r in results]
            middle = rates.index(statistics.median_low(rates))
            figure(f"ingress-{n}", statistics.median(rates), "events/s", n * statistics.median(r["perSecond"] for r in raws), "events/s, the append script alone", values=rates, **({"must": must} if must else {}),
                   p50Us=results[middle]["p50Us"], p99Us=results[middle]["p99Us"], connections=connections, **uses[middle], **limits.redis_share(raws, uses[middle], n),
                   **load.client_of(results[middle]))


# ---- runner-events ----


def printed(s, count):
    """An agent that prints a file of so many events."""
    path = s.file(b"".join(b'{"kind":"assistant_text","data":{"text":"%0*d"}}\n' % (TEXT, i) for i in range(count)), "events")
    s.call("PUT", f"/v1/agents/cat{count}", {"executor": "process", "command": ["/bin/cat", path], "protocol": "events"})
    return f"cat{count}"


def finished(s, run, seconds=60):
    """The record, once it has ended; asked of Redis, so that no reader of the API has a part in it."""
    key = f"{limits.PREFIX}run:{run}"
    wait_for(lambda: s.redis.do("HGET", key, "status") in (b"success", b"error", b"stopped"), "a run's end", seconds, 0.02)
    return s.get(f"/v1/runs/{run}")


def took(record):
    begin, end = (datetime.datetime.fromisoformat(record[name].replace("Z", "+00:00")) for name in ("startedAt", "completedAt"))
    return max((end - begin).total_seconds(), 0.001)


def batches_of(s, run, commands):
    """The commands that stored a run's events, for another stream: packed; how many events they bring, and their key."""
    copy = run[:-4] + "copy"
    words = [[word.replace(run.encode(), copy.encode()) for word in words] for words in commands if words[0] in (b"XADD", b"PUBLISH") and run.encode() in words[1]]
    count = sum(int(w[w.index(b"h") + 1].split(b",")[3]) for w in words if w[0] == b"XADD")
    return b"".join(pack(*w) for w in words), count, events_key(copy)


def raw_store(s, data, key):
    """Sends them to a stream that is there and empty."""
    s.redis.do("UNLINK", key)
    s.redis.do("XADD", key, "0-1", "a", "b")
    s.redis.do("XDEL", key, "0-1")
    try:
        return limits.calls(s, data)
    finally:
        s.redis.do("UNLINK", key)


def bench_runner_events(quick):
    count, rounds = (5000, 2) if quick else (300000, 3)
    with System(env=ENDLESS) as s:
        agent = printed(s, count)
        with limits.Watch(s.redis) as w:
            run = s.call("POST", "/v1/runs", {"agent": agent})["runId"]
            finished(s, run)
        data, stored, key = batches_of(s, run, w.commands)
        if not stored:
            return figure("runner-events", 0, "events/s", why="the runner's batches are no XADDs")
        raws, rates, uses = [], [], []
        for _ in range(rounds):
            raw = raw_store(s, data, key)
            raws.append(stored * raw["perSecond"] / raw["calls"])
            with Usage(s) as u:
                record = finished(s, s.call("POST", "/v1/runs", {"agent": agent})["runId"])
            assert record["status"] == "success" and record["eventCount"] >= count, record
            rates.append(count / took(record))
            uses.append(u.per(count))
        middle = rates.index(statistics.median_low(rates))
        figure("runner-events", statistics.median(rates), "events/s", statistics.median(raws), "events/s, raw XADD+PUBLISH", must=">= 0.80", values=rates, **uses[middle], bytesAnEvent=round(len(data) / stored, 1))
        raw = statistics.median(raws)
        figure("runner-events-a-second", statistics.median(rates), "events/s", raw, "events/s, raw XADD+PUBLISH", must=">= 1000000", judge="value", informative=raw < 1e6, values=rates)


# ---- replay ----


def stream_request(s, run):
    return load.request(s, "GET", f"/v1/runs/{run}/stream")


def count_of(s, run):
    """The COUNT with which a node reads a stream."""
    with limits.Watch(s.redis) as w:
        limits.run("read", s.port, 1, stream_request(s, run))
    found = [int(words[words.index(b"COUNT") + 1]) for words in w.commands if words[0] == b"XRANGE" and run.encode() in words[1]]
    return statistics.mode(found)


def relayed(s, key, count):
    """MB/s of a program that passes the answers of an XRANGE loop on to a connection, as they are: neither frames nor anything else."""
    port_file = os.path.join(s.dir, f"relay{s.serial}")
    s.serial += 1
    p = spawn([limits.LIMIT[0], "relay", s.redis.path, key, str(count), port_file], limits.login())
    try:
        port = int(wait_for(lambda: os.path.exists(port_file) and open(port_file).read(), "the relay"))
        r = limits.run("read", port, 1, load.request(s, "GET", "/"))
    finally:
        end(p)
    return r["bytes"] / r["seconds"] / 1e6


def replay_of_one(s, quick, events):
    """A long run, to one reader: beside a loop of one XRANGE after another over the same stream."""
    rounds, agent = 1 if quick else 3, printed(s, events)
    run = s.call("POST", "/v1/runs", {"agent": agent})["runId"]
    finished(s, run)
    count, request = count_of(s, run), stream_request(s, run)
    loops, large, relays, rates, shares, uses, sse = [], [], [], [], [], [], 0
    for _ in range(rounds):
        raw, more = (limits.run("xrange", s.redis.path, events_key(run), n, 0.3, 1) for n in (count, 1000))
        loops.append(raw["bytes"] / raw["seconds"] / 1e6)
        large.append(more["bytes"] / more["seconds"] / 1e6)
        relays.append(relayed(s, events_key(run), 64))
        with Usage(s) as u:
            r = limits.run("read", s.port, 1, request)
        sse = r["bytes"]
        rates.append(sse / r["seconds"] / 1e6)
        shares.append(raw["seconds"] / raw["rounds"] / r["seconds"])
        uses.append(u.per(events))
    middle = rates.index(statistics.median_low(rates))
    figure("replay-1000000", statistics.median(rates), "MB/s to the reader", statistics.median(loops), f"MB/s, XRANGE COUNT {count} alone", must=">= 0.80", values=rates, events=events,
           **uses[middle], relayMb=round(statistics.median(relays), 1), limitCount1000=round(statistics.median(large), 1), timeOfXrangeToReplay=round(statistics.median(shares), 4), sseMb=round(sse / 1e6, 2),
           eventsPerSecond=round(statistics.median(rates) * 1e6 / sse * events))


SHORT, SHORT_RUNS, SHORT_READERS, SHORT_COUNT = 1000, 64, 8, 128  # events, runs, at once; entries that hold them all


def replays(s, requests, keys, readers, quick):
    """Repetitions of so many readers at once, each beside as many loops of XRANGE at once over the same streams: [(what they got, what the loops got, processor time a replay)], by their rate."""
    seconds, out = 0.1 if quick else 0.4, []
    for _ in range(1 if quick else 5):
        with Usage(s) as u:
            raw = limits.run("xrange", s.redis.path, keys, SHORT_COUNT, seconds, readers)
        raw["redisUs"] = u.us["redis"] / raw["rounds"]
        with Usage(s) as u:
            r = limits.run("replays", s.port, readers, seconds, requests)
        out.append((r, raw, u.per(r["replays"])))
    return sorted(out, key=lambda row: row[0]["bytes"] / row[0]["seconds"])


def replays_of_many(s, quick):
    """Short runs, many, each reader another one each time. To some readers at once, whose connections stay; and to one at a time, on a connection that stays and on new ones: what that takes."""
    agent = printed(s, SHORT)
    runs = [s.call("POST", "/v1/runs", {"agent": agent})["runId"] for _ in range(4 if quick else SHORT_RUNS)]
    for run in runs:
        finished(s, run)
    keys = ",".join(map(events_key, runs))
    stays, ends = (s.file(b"".join(load.packed("GET", f"/v1/runs/{run}/stream", headers=headers) for run in runs), "requests") for headers in ((), ("Connection: close",)))
    rows = replays(s, stays, keys, SHORT_READERS, quick)
    r, _, use = rows[len(rows) // 2]
    loops = statistics.median(raw["bytes"] / raw["seconds"] / 1e6 for _, raw, _ in rows)
    # On a machine that has cores to spare the fuller of two threads decides; here that says what processor time alone would allow, beside what the rates are.
    by_cpu = statistics.median(r["bytes"] / r["replays"] / max(use["cpuUs"]["api"], use["cpuUs"]["redis"]) * raw["redisUs"] / (raw["bytes"] / raw["rounds"]) for r, raw, use in rows)
    figure(f"replay-{SHORT}", r["bytes"] / r["seconds"] / 1e6, "MB/s to the readers", loops, f"MB/s, XRANGE COUNT {SHORT_COUNT} alone, {SHORT_READERS} at a time", must=">= 0.80",
           values=[row[0]["bytes"] / row[0]["seconds"] / 1e6 for row in rows], runs=len(runs), readers=SHORT_READERS, connections=r["connections"], replays=r["replays"], meanUs=r["meanUs"], ratioByCpu=round(by_cpu, 3), rawRedisUs=round(statistics.median(raw["redisUs"] for _, raw, _ in rows), 1),
           clientCpuUs=round(r["clientCpuUs"] / r["replays"], 1), **use)
    rows = replays(s, stays, keys, 1, quick)
    anew = replays(s, ends, keys, 1, quick)
    r, _, use = rows[len(rows) // 2]
    loop = statistics.median(1e6 * raw["seconds"] / raw["rounds"] for _, raw, _ in rows)
    figure(f"replay-{SHORT}-one", r["meanUs"], "us a replay, one at a time", loop, f"us, XRANGE COUNT {SHORT_COUNT} alone, one at a time", values=[row[0]["meanUs"] for row in rows], newConnectionUs=anew[len(anew) // 2][0]["meanUs"], **use)


def bench_replay(quick):
    with System(env=ENDLESS) as s:
        replays_of_many(s, quick)
        replay_of_one(s, quick, 20000 if quick else 1000000)


FIGURES = {"ingress": bench_ingress, "runner-events": bench_runner_events, "replay": bench_replay}
