"""Many readers, slow readers, and floods: each reader gets every event, or is cut and comes back; nobody else notices; memory stays bounded."""
import json
import select
import socket
import threading
import time

import pytest

from harness import agents
from harness.http_client import Connection, encode
from harness.sse import Stream, stream_path
from harness.wait import wait_until
from test_ingress import Remote, event


def flood(folder, **fields):
    """input.n texts of input.size bytes, as fast as they are taken."""
    return agents.python(folder, """\
        job = job["input"]
        line = '{"kind":"assistant_text","data":{"text":"%s"}}\\n' % ("x" * job["size"])
        for i in range(job["n"]):
            sys.stdout.write(line)
        end("success", result=job["n"])
        """, "flood", **fields)


class Crowd:
    """Connections that read one stream, all served by one loop; each keeps the number of bytes and a digest of its frames only."""

    def __init__(self, port, run_id, key, count):
        self.poll, self.socks = select.epoll(), {}
        request = encode("GET", stream_path(run_id), headers={"Authorization": f"Bearer {key}", "Accept": "text/event-stream", "Connection": "close"})
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=20)
            sock.sendall(request)
            sock.setblocking(False)
            self.poll.register(sock.fileno(), select.EPOLLIN)
            self.socks[sock.fileno()] = [sock, b"", False]

    def read(self, seconds):
        """Reads what comes until all have ended, or the time is over."""
        deadline = time.monotonic() + seconds
        open_ = sum(not s[2] for s in self.socks.values())
        while open_ and time.monotonic() < deadline:
            for fd, _ in self.poll.poll(0.5):
                held = self.socks[fd]
                try:
                    data = held[0].recv(1 << 20)
                except BlockingIOError:
                    continue
                held[1] += data
                if not data:
                    held[2] = True
                    open_ -= 1
                    self.poll.unregister(fd)
        return open_

    def all_have(self, mark):
        return all(mark in s[1] for s in self.socks.values())

    def bodies(self):
        return [dechunk(s[1].split(b"\r\n\r\n", 1)[1]) for s in self.socks.values()]

    def close(self):
        for held in self.socks.values():
            held[0].close()
        self.poll.close()


def dechunk(raw):
    out, at = [], 0
    while at < len(raw):
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end], 16)
        out.append(raw[end + 2:end + 2 + size])
        at = end + 4 + size
    return b"".join(out)


@pytest.mark.release
def test_two_thousand_readers_of_one_run_each_get_every_event(stack, api, runner):
    gate = agents.python(stack.folder, f"""\
        while not os.path.exists("{stack.folder}/go"):
            time.sleep(0.02)
        for i in range(200):
            say("assistant_text", {{"i": i}})
        end("success")
        """, timeoutMs=120000)
    run_id = api.submit(gate)
    api.wait(run_id, "running")
    crowd = Crowd(api.port, run_id, stack.key, 2000)
    wait_until(lambda: api.metric("errand_stream_readers") == 2000, 30)
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    assert crowd.read(60) == 0, "readers did not come to their end"
    wanted = b"".join(f.raw for f in api.replay(run_id).events)
    for body in crowd.bodies():
        at = body.index(b"id: 1\n")
        assert body[at:at + len(wanted)] == wanted and body[at + len(wanted):].startswith(b"event: done\n") and b"heartbeat" not in body[at:at + len(wanted)]
    crowd.close()
    assert api.metric("errand_stream_readers_cut_total", 0) == 0
    wait_until(lambda: api.metric("errand_stream_readers") == 0, 5)


def test_the_end_of_a_run_is_asked_for_once_whatever_the_number_of_readers(stack, api, runner):
    gate = agents.python(stack.folder, f"""\
        while not os.path.exists("{stack.folder}/go"):
            time.sleep(0.02)
        end("success")
        """, timeoutMs=120000)
    run_id = api.submit(gate)
    api.wait(run_id, "running")
    crowd = Crowd(api.port, run_id, stack.key, 300)
    wait_until(lambda: api.metric("errand_stream_readers") == 300, 30)
    before = api.metric("errand_redis_commands_total")
    with open(f"{stack.folder}/go", "w", encoding="ascii"):
        pass
    assert crowd.read(60) == 0, "readers did not come to their end"
    assert api.metric("errand_redis_commands_total") - before < 150
    done = {body[body.index(b"event: done\n"):] for body in crowd.bodies()}
    assert len(done) == 1 and json.loads(done.pop().split(b"data: ", 1)[1])["status"] == "success"
    crowd.close()


def test_an_ended_run_is_replayed_with_its_final_record(stack, api, runner):
    """Its record is known when the reader comes: a small one is kept, a large one is asked for again at the end; both times it is the whole."""
    for size in (10, 20000):
        agent = agents.python(stack.folder, f"""\
            say("assistant_text", {{"text": "hello"}})
            end("success", result="r" * {size})
            """, f"result{size}")
        run_id = api.submit(agent)
        record = api.wait(run_id)
        with api.stream(run_id) as stream:
            frames = stream.frames()
        assert [f.seq for f in frames if f.seq] == list(range(1, record["lastSeq"] + 1))
        done = json.loads(frames[-1].data)
        assert frames[-1].event == "done" and done["result"] == "r" * size and done["status"] == "success"
        with Stream(api.port, stream_path(run_id) + f"?after={record['lastSeq']}", api.key) as stream:
            assert [f.event for f in stream.frames()] == ["run", "done"]


def subscriptions(stack):
    return stack.redis.info("commandstats").get("cmdstat_subscribe", "calls=0,").split(",")[0]


def test_replays_of_ended_runs_follow_each_other_on_one_connection(stack, api, runner):
    """Each is one read, sent together with the look at the record, and no subscription."""
    agent = agents.python(stack.folder, """\
        for i in range(job["input"]):
            say("assistant_text", {"text": "x" * 1000})
        end("success")
        """)
    runs = [api.submit(agent, n) for n in (3, 60, 100)]
    wanted = {run_id: api.wait(run_id)["lastSeq"] for run_id in runs}
    wait_until(lambda: api.metric("errand_stream_readers") == 0, 5)
    reads, subscribed = api.metric("errand_stream_reads_total"), subscriptions(stack)
    seen = []
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as sock:
        for run_id in runs:
            sock.sendall(encode("GET", stream_path(run_id), headers={"Authorization": f"Bearer {api.key}"}))
            raw = b""
            while not raw.endswith(b"\r\n0\r\n\r\n"):
                raw += sock.recv(1 << 20)
            head, body = raw.split(b"\r\n\r\n", 1)
            assert b"Connection: keep-alive" in head and raw.count(b"HTTP/1.1 ") == 1
            body = dechunk(body)
            seen.append([int(line[4:]) for line in body.splitlines() if line.startswith(b"id: ")])
            assert seen[-1] == list(range(1, wanted[run_id] + 1)) and body.count(b"event: done\n") == 1
        sock.sendall(encode("GET", stream_path("00000000-0000-4000-8000-000000000000"), headers={"Authorization": f"Bearer {api.key}"}))
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 404 ")
    assert subscriptions(stack) == subscribed
    assert api.metric("errand_stream_reads_total") - reads == 4, seen  # the run that is none was looked for as well
    assert api.metric("errand_stream_readers") == 0


@pytest.mark.release
def test_an_idle_reader_costs_little_of_the_nodes_memory(stack):
    api = stack.api(env={"ERRAND_LOG_LEVEL": "info"})  # as shipped
    stack.runner()
    run_id = api.submit(agents.sleeper())
    with api.stream(run_id) as stream:
        stream.until("notification")
    before = api.process.private_kib()
    crowd = Crowd(api.port, run_id, stack.key, 1000)
    wait_until(lambda: api.metric("errand_stream_readers") == 1000, 20)
    # what the burst of requests needed goes back to the system within a second or two
    wait_until(lambda: (api.process.private_kib() - before) / 1000 < 2, 5, "a reader costs less than 2 KiB")
    crowd.close()
    api.post(f"/v1/runs/{run_id}/stop?wait=10")


@pytest.mark.release
def test_a_reader_that_stops_reading_is_cut_while_a_flood_goes_on(stack):
    """200 MB pass a node; 20 readers that read nothing are cut at their bound, one that reads gets all of it, and the node stays small."""
    api = stack.api(env={"ERRAND_RUN_BYTES_MAX": 1 << 30})
    stack.runner(env={"ERRAND_RUN_BYTES_MAX": 1 << 30})
    size, n = 20000, 10000
    gate = flood(stack.folder, timeoutMs=200000)
    run_id = api.submit(gate, {"n": n, "size": size}, delayMs=1500)
    stuck = []
    for _ in range(20):
        c = Connection(api.port, receive_buffer=4096)
        c.send(encode("GET", stream_path(run_id), headers={"Authorization": f"Bearer {stack.key}"}))
        stuck.append(c)
    wait_until(lambda: api.metric("errand_stream_readers") == 20, 10)
    reader = stack.reader(run_id, deadline=180)
    peak = 0

    def over():
        nonlocal peak
        peak = max(peak, api.process.private_kib())
        return api.record(run_id)["status"] in ("success", "error")
    wait_until(over, 150, "the flood is over")
    record = reader.result()
    assert api.record(run_id)["status"] == "success"
    assert [f.seq for f in record.events] == list(range(1, n + 3)) and sum(len(f.raw) for f in record.events) > 200_000_000
    assert api.metric("errand_stream_readers_cut_total") >= 20
    assert peak < 100 * 1024, f"the node took {peak} KiB"
    for c in stuck:
        c.close()


def test_a_burst_cuts_no_reader_that_keeps_up(stack, apis):
    """One legal batch is several times a reader's buffer, or of more entries than one read gives: who is live and reads gets all of it at once, on the same connection."""
    stack.runner(api=apis[0])
    remote = Remote(stack, apis[0])
    with apis[1].stream(remote.run_id) as stream:
        stream.until("runtime_started")
        t = remote.now()
        for first in (2, 17, 32):
            assert remote.batch(*[event(seq, t, text="x" * 250000) for seq in range(first, first + 15)]).status == 202
            assert [stream.next(timeout=2).seq for _ in range(15)] == list(range(first, first + 15)), "no later than a message would have it"
        assert remote.batch(*[event(seq, t, text="x" * 35000) for seq in range(47, 87)]).status == 202
        assert [stream.next(timeout=2).seq for _ in range(40)] == list(range(47, 87))
        remote.exit()
        assert stream.frames()[-1].event == "done"
    assert apis[1].metric("errand_stream_readers_cut_total") == 0
    apis[0].wait(remote.run_id)


def test_a_run_of_many_small_entries_and_some_large_ones_is_replayed_whole(stack, apis):
    """Reads grow with small entries, are sent ahead, and shrink with large ones: from wherever a reader begins, each event comes once."""
    stack.runner(api=apis[0])
    remote = Remote(stack, apis[0])
    t, seq = remote.now(), 2
    for size, count in ((10, 300), (250000, 6), (10, 40), (60000, 12), (10, 5)):
        for _ in range(count):
            assert remote.batch(event(seq, t, text="x" * size)).status == 202
            seq += 1
    remote.exit()
    last = apis[0].wait(remote.run_id)["lastSeq"]
    for after in (None, 1, 17, 18, 150, 301, 302, 320, last - 1):
        assert [f.seq for f in apis[1].replay(remote.run_id, after=after).events] == list(range((after or 0) + 1, last + 1))


def test_the_smallest_buffer_slows_nobody_down(stack):
    api = stack.api(env={"ERRAND_READER_BUFFER": 65536})
    stack.runner()
    run_id = api.submit(flood(stack.folder), {"n": 30, "size": 40000})
    api.wait(run_id)
    with api.stream(run_id, timeout=2) as stream:
        assert [f.seq for f in stream.frames() if f.seq] == list(range(1, 33))


def test_who_is_live_does_not_wait_for_those_who_are_slow(stack, api):
    """Sixty readers replay much, slowly; one at the tip has each event at once."""
    stack.runner()
    remote = Remote(stack, api)
    t, tip, over = remote.now(), 482, threading.Event()
    for first in range(2, tip, 16):
        assert remote.batch(*[event(seq, t, text="x" * 30000) for seq in range(first, first + 16)]).status == 202
    request = encode("GET", stream_path(remote.run_id), headers={"Authorization": f"Bearer {stack.key}"})
    slow = [Connection(api.port, receive_buffer=16384) for _ in range(60)]

    def read_slowly():
        while not over.wait(0.03):
            for c in slow:
                if select.select([c.sock], [], [], 0)[0]:
                    c.sock.recv(60000)
    with api.stream(remote.run_id, last_event_id=tip - 1) as live:
        live.until("run")
        for c in slow:
            c.send(request)
        reading = threading.Thread(target=read_slowly)
        reading.start()
        try:
            for seq in range(tip, tip + 300):
                assert remote.batch(event(seq, t, text="small")).status == 202
                assert live.next(timeout=1.5).seq == seq
        finally:
            over.set()
            reading.join()
    for c in slow:
        c.close()
    remote.exit()
    api.wait(remote.run_id)


def test_the_bound_cuts_between_frames(stack, api):
    """A reader that took nothing for too long: what it finds when it reads on ends with a whole frame, and it resumes from there."""
    stack.runner()
    run_id = api.submit(flood(stack.folder), {"n": 400, "size": 20000}, delayMs=300)
    slow = Connection(api.port, receive_buffer=16384)
    request = encode("GET", stream_path(run_id), headers={"Authorization": f"Bearer {stack.key}"}).replace(b"HTTP/1.1", b"HTTP/1.0")
    slow.send(request)
    wait_until(lambda: api.metric("errand_stream_readers_cut_total") == 1, 20)
    api.wait(run_id)
    got = slow.read_to_end()
    assert got.endswith(b"\n\n") and b"event: done" not in got
    last = int(got.rsplit(b"\nid: ", 1)[1].split(b"\n", 1)[0])
    assert 1 < last < 402
    with Stream(api.port, stream_path(run_id), stack.key, last_event_id=last) as stream:
        assert [f.seq for f in stream.frames() if f.seq] == list(range(last + 1, 403))


@pytest.mark.release
def test_a_runner_is_small_and_stays_small_while_redis_is_frozen(stack, redis):
    """A flood of output is not read when Redis does not take it; when Redis continues, nothing of it is missing."""
    api = stack.api()
    runner = stack.runner(env={"ERRAND_LEASE_MS": 60000})
    idle = runner.process.private_kib()
    assert idle < 15 * 1024, f"{idle} KiB idle"
    run_id = api.submit(flood(stack.folder), {"n": 3000, "size": 10000})
    api.wait(run_id, "running")
    redis.freeze()
    sizes = []

    def steady():
        """The same size ten times in a row: the agent is blocked on its pipe."""
        sizes.append(runner.process.private_kib())
        return len(sizes) >= 10 and len(set(sizes[-10:])) == 1
    wait_until(steady, 20, "the runner's memory stands still")
    assert max(sizes) < idle + 8 * 1024, f"{max(sizes)} KiB against {idle} idle"
    redis.thaw()
    record = api.wait(run_id, timeout=60)
    assert record["status"] == "success" and record["attempt"] == 1
    texts = [e for e in map(json.loads, api.replay(run_id).lines()) if e["kind"] == "assistant_text"]
    assert len(texts) == 3000 and all(len(e["data"]["text"]) == 10000 for e in texts)


def test_an_event_limit_ends_a_run(stack, api):
    stack.runner(env={"ERRAND_RUN_EVENTS_MAX": 100})
    run_id = api.submit(agents.counter(stack.folder), {"n": 1000})
    record = api.wait(run_id)
    assert record["status"] == "error" and record["error"]["class"] == "event_limit" and record["eventCount"] <= 100
    events = [json.loads(line) for line in api.replay(run_id).lines()]
    assert events[-1]["kind"] == "runtime_terminal" and len(events) == record["eventCount"]
