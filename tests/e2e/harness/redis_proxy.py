"""Stands between nodes and Redis on a Unix socket: loses replies, holds traffic, cuts connections. What it does to a byte stream no real network could not do."""
import os
import select
import socket
import threading

HELD_MAX = 1 << 20  # bytes of one connection, while it is held


class RedisProxy:
    """Forwards connections of `path` to Redis. Its `url` goes to the node that is to suffer."""

    def __init__(self, folder, upstream, name="proxy"):
        self.path, self.upstream = os.path.join(folder, f"{name}.sock"), upstream
        self.url = f"unix://{self.path}"
        self.lost = 0  # replies lost so far
        self._lose, self._hooks, self._pairs, self._lock = [], [], set(), threading.Lock()
        self._flow = (threading.Event(), threading.Event())  # requests, replies
        self.release()
        self._refuse = self._then_refuse = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_reply_to(self, mark, times=1, then_refuse=False):
        """The next `times` requests that contain `mark` (bytes, e.g. script_mark's) are executed, but their connection is cut before the answer. With `then_refuse` nobody connects any more, until accept()."""
        with self._lock:
            self._lose += [mark] * times
            self._then_refuse = then_refuse

    def before(self, mark, act=None):
        """Calls `act` (e.g. hold or cut) once, when the next request that contains `mark` has come and before it is passed on, also when it comes while requests are held. Returns an Event that is set after that."""
        done = threading.Event()
        with self._lock:
            self._hooks.append((mark, act, done))
        return done

    def hold(self, requests=True, replies=True):
        """Nothing passes any more, in the directions named; connections stay open."""
        for flow, wanted in zip(self._flow, (requests, replies)):
            if wanted:
                flow.clear()

    def release(self, requests=True, replies=True):
        for flow, wanted in zip(self._flow, (requests, replies)):
            if wanted:
                flow.set()

    def cut(self, refuse=False):
        """Cuts every connection; with `refuse`, new ones are cut too, until accept()."""
        self._refuse = refuse
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._close(pair)

    def cut_others(self, server):
        """Refuses new connections, and cuts all but this one."""
        self._refuse = True
        with self._lock:
            pairs = [p for p in self._pairs if p[1] is not server]
        for pair in pairs:
            self._close(pair)

    def accept(self):
        self._refuse = False

    def stop(self):
        self.release()
        self._listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                if self._refuse:
                    raise ConnectionRefusedError
                server.connect(self.upstream)
            except OSError:
                client.close()
                server.close()
                continue
            pair = (client, server, {"cut": False, "tail": b""})
            with self._lock:
                self._pairs.add(pair[:2])
            threading.Thread(target=self._pump, args=(pair, 0), daemon=True).start()
            threading.Thread(target=self._pump, args=(pair, 1), daemon=True).start()

    def _pump(self, pair, direction):
        source, target, state = pair[direction], pair[1 - direction], pair[2]
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if direction == 0:
                    self._look(state, data)
                data += self._while_held(direction, source, state)
                if direction == 1 and state["cut"]:
                    self._swallow(source)
                    break
                target.sendall(data)
        except (OSError, ValueError):  # ValueError: it was closed while we waited for it
            pass
        self._close(pair[:2])

    def _while_held(self, direction, source, state):
        """Waits until this direction is released; what comes meanwhile, up to a bound, is looked at and returned."""
        held = b""
        while not self._flow[direction].is_set():
            if len(held) > HELD_MAX or not select.select([source], [], [], 0.01)[0]:
                self._flow[direction].wait(0.01)
                continue
            data = source.recv(65536)
            if not data:
                self._flow[direction].wait()
                break
            if direction == 0:
                self._look(state, data)
            held += data
        return held

    def _swallow(self, server):
        """Takes what Redis answers until it is quiet, so that the marked request was executed for sure before the cut."""
        if self._then_refuse:
            self.cut_others(server)
        server.settimeout(0.05)
        try:
            while server.recv(65536):
                pass
        except socket.timeout:
            pass
        with self._lock:
            self.lost += 1

    def _look(self, state, data):
        """Calls hooks, and decides whether this connection's next answer is lost. A mark may lie across two reads."""
        with self._lock:
            if state["cut"]:
                return
            text = state["tail"] + data
            for mark in self._lose:
                if mark in text:
                    self._lose.remove(mark)
                    state["cut"] = True
                    break
        while met := self._first_met(text):
            text = text[text.index(met[0][0]) + len(met[0][0]):]  # a hook that a hook adds sees only what comes behind
            for _, act, done in met:
                if act is not None:
                    act()
                done.set()
        state["tail"] = b"" if state["cut"] else text[-64:]

    def _first_met(self, text):
        """Takes away, and returns, the hooks of the mark that comes first in `text`."""
        with self._lock:
            found = [h for h in self._hooks if h[0] in text]
            first = min((text.index(h[0]) for h in found), default=0)
            met = [h for h in found if text.index(h[0]) == first]
            self._hooks = [h for h in self._hooks if h not in met]
        return met

    def _close(self, pair):
        with self._lock:
            self._pairs.discard(pair)
        for sock in pair:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
