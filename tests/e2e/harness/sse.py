"""Live readers: a stream that can be cut at any byte, and a reader that is cut at random, resumes on random nodes, and keeps every frame byte for byte."""
import random
import threading
import time

from .http_client import Connection, encode


class Frame:
    """One event of a stream: its id (bytes or None), its name, its data, and its lines as they came (without comments)."""

    __slots__ = ("id", "event", "data", "raw")

    def __init__(self, lines):
        self.id, self.event, data = None, None, []
        for line in lines:
            name, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if name == b"id":
                self.id = value
            elif name == b"event":
                self.event = value.decode()
            elif name == b"data":
                data.append(value)
        self.data, self.raw = b"\n".join(data), b"\n".join(lines) + b"\n\n"

    @property
    def seq(self):
        return int(self.id) if self.id is not None else None

    def __repr__(self):
        return f"<{self.event} {self.id} {self.data[:80]!r}>"


class Stream:
    """One connection to /stream. `end` is None while it is open, then "clean" (the chunked body was finished), "cut" (the node closed without), or "ours" (cut after `cut_after` bytes)."""

    def __init__(self, port, path, key=None, last_event_id=None, cut_after=None, timeout=60.0, receive_buffer=None, headers=None, method="GET", body=None):
        fields = {"Accept": "text/event-stream"}
        if key:
            fields["Authorization"] = f"Bearer {key}"
        if last_event_id is not None:
            fields["Last-Event-ID"] = str(last_event_id)
        fields.update(headers or {})
        self.connection = Connection(port, timeout, receive_buffer=receive_buffer)
        self.end, self.retry_ms, self.heartbeats, self.bytes = None, None, 0, 0
        self._cut_after, self._body, self._rest, self._pending, self._ready = cut_after, b"", b"", [], []
        self._left = None  # bytes that the present chunk still has; 0: its end is to come; None: its size
        self.connection.send(encode(method, path, body, fields))
        self.status, _, self.headers = self.connection.read_head()
        self.body = b""  # of an answer that is no stream
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            if self.status != 204:
                self.body = self.connection._take(int(self.headers.get("content-length", "0")))
            self.end = "clean"
            self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.end is None:
            self.end = "ours"
        self.connection.close()

    def next(self, timeout=None):
        """The next frame, or None at the end. Raises socket.timeout when nothing comes in time."""
        if timeout is not None and self.end is None:  # what came with the end is still to be given
            self.connection.sock.settimeout(timeout)
        while not self._ready and self.end is None:
            self._read()
        return self._ready.pop(0) if self._ready else None

    def frames(self):
        """All that is left, to the end."""
        return list(iter(self.next, None))

    def until(self, event, timeout=30.0):
        """Reads to the first frame of this name and returns all frames up to it."""
        seen, deadline = [], time.monotonic() + timeout
        while True:
            frame = self.next(max(0.01, deadline - time.monotonic()))
            assert frame is not None, f"the stream ended ({self.end}) before {event!r}: {seen[-3:]}"
            seen.append(frame)
            if frame.event == event:
                return seen

    def _read(self):
        """Reads some bytes; with a bound, never one more than it."""
        size = 262144
        if self._cut_after is not None:
            size = min(size, self._cut_after - self.bytes)
            if size <= 0:
                self.close()
                return
        if self.connection.buffer:  # came with the head
            data, self.connection.buffer = self.connection.buffer[:size], self.connection.buffer[size:]
        else:
            try:
                data = self.connection.sock.recv(size)
            except ConnectionError:
                data = b""
        self.bytes += len(data)
        if not data:
            self.end = "cut"
            self.connection.close()
            return
        self._body += data
        self._dechunk()

    def _dechunk(self):
        """Takes chunks apart; what has come of one counts, though its rest is not here yet."""
        while self.end is None:
            if self._left is None:
                line, mark, rest = self._body.partition(b"\r\n")
                if not mark:
                    return
                self._left, self._body = int(line, 16), rest
                if self._left == 0:
                    self.end = "clean"
                    self.connection.close()
            elif self._left > 0:
                if not self._body:
                    return
                part, self._body = self._body[:self._left], self._body[self._left:]
                self._left -= len(part)
                self._feed(part)
            else:
                if len(self._body) < 2:
                    return
                assert self._body[:2] == b"\r\n", "a chunk without its end"
                self._left, self._body = None, self._body[2:]

    def _feed(self, data):
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b":"):
                self.heartbeats += 1
            elif line.startswith(b"retry:"):
                self.retry_ms = int(line[6:])
            elif line:
                self._pending.append(line)
            elif self._pending:
                self._ready.append(Frame(self._pending))
                self._pending = []


def stream_path(run_id):
    return f"/v1/runs/{run_id}/stream"


class Record:
    """What one reader holds: event frames with an id, and how it ended."""

    def __init__(self):
        self.events, self.gaps, self.done, self.connections = [], [], None, 0

    @property
    def last_seq(self):
        return self.events[-1].seq if self.events else None

    def take(self, frame):
        if frame.event == "done":
            self.done = frame
        elif frame.event == "gap":
            self.gaps.append(frame)
        elif frame.id is not None:
            self.events.append(frame)

    def bytes(self):
        """The events' frames as they came, one after the other."""
        return b"".join(f.raw for f in self.events)

    def lines(self):
        """The events' JSON, one a line."""
        return [f.data for f in self.events]


def replay(port, run_id, key, after=None, timeout=60.0):
    """Reads a run to `done` in one connection."""
    record = Record()
    with Stream(port, stream_path(run_id), key, last_event_id=after, timeout=timeout) as stream:
        record.connections = 1
        assert stream.status == 200, (stream.status, stream.body)
        for frame in iter(stream.next, None):
            record.take(frame)
        assert record.done is not None, f"the stream ended ({stream.end}) without done"
        assert stream.end == "clean"
    return record


class Reader(threading.Thread):
    """Reads a run to its `done` in the background. `ports()` names the nodes to choose from at each connection (dead ones are tried and left).
    With `cut_between=(low, high)` it drops each connection after a random number of bytes in that range."""

    def __init__(self, ports, run_id, key, seed=0, cut_between=None, deadline=120.0, receive_buffer=None):
        super().__init__(daemon=True)
        self.ports, self.run_id, self.key, self.cut_between = ports, run_id, key, cut_between
        self.random, self.record, self.error = random.Random(seed), Record(), None
        self.deadline, self.receive_buffer = time.monotonic() + deadline, receive_buffer
        self.start()

    def run(self):
        try:
            while self.record.done is None and time.monotonic() < self.deadline:
                self._connect_once()
            if self.record.done is None:
                self.error = f"no done in time; {len(self.record.events)} events, {self.record.connections} connections"
        except Exception as e:  # shown by result()
            self.error = f"{type(e).__name__}: {e}"

    def _connect_once(self):
        ports = list(self.ports() if callable(self.ports) else self.ports)
        cut_after = self.random.randint(*self.cut_between) if self.cut_between else None
        try:
            with Stream(self.random.choice(ports), stream_path(self.run_id), self.key, self.record.last_seq, cut_after,
                        timeout=15, receive_buffer=self.receive_buffer) as stream:
                self.record.connections += 1
                if stream.status == 204:  # ended, and everything of it seen
                    self.record.done = Frame([b"event: done"])
                    return
                if stream.status >= 500:
                    raise ConnectionError(stream.status)
                assert stream.status == 200, (stream.status, stream.body)
                before = len(self.record.events)
                for frame in iter(stream.next, None):
                    self.record.take(frame)
            if len(self.record.events) == before and self.record.done is None:
                time.sleep(0.02)  # cut before anything new came: no faster than a client that waits
        except OSError:
            time.sleep(0.05)  # the node is gone or just coming back; the deadline bounds this

    def result(self):
        """Waits for the end and returns the record; raises what went wrong."""
        self.join(max(1.0, self.deadline - time.monotonic() + 20))
        assert not self.is_alive(), "the reader hangs"
        assert self.error is None, self.error
        return self.record
