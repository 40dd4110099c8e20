"""Stands between nodes and Redis on a Unix socket: loses replies, holds traffic, cuts connections. What it does to a byte stream no real network could not do."""
import os
import socket
import threading


class RedisProxy:
    """Forwards connections of `path` to Redis. Its `url` goes to the node that is to suffer."""

    def __init__(self, folder, upstream, name="proxy"):
        self.path, self.upstream = os.path.join(folder, f"{name}.sock"), upstream
        self.url = f"unix://{self.path}"
        self.lost = 0  # replies lost so far
        self._lose, self._pairs, self._lock = [], set(), threading.Lock()
        self._flow = threading.Event()
        self._flow.set()
        self._refuse = self._then_refuse = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_reply_to(self, mark, times=1, then_refuse=False):
        """The next `times` requests that contain `mark` (bytes, e.g. a script's SHA1) are executed, but their connection is cut before the answer. With `then_refuse` nobody connects any more, until accept()."""
        with self._lock:
            self._lose += [mark] * times
            self._then_refuse = then_refuse

    def hold(self):
        """Nothing passes any more, in either direction; connections stay open."""
        self._flow.clear()

    def release(self):
        self._flow.set()

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
                self._flow.wait()
                if direction == 0:
                    self._look(state, data)
                elif state["cut"]:
                    self._swallow(source)
                    break
                target.sendall(data)
        except OSError:
            pass
        self._close(pair[:2])

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
        """Decides whether this connection's next answer is lost. A mark may lie across two reads."""
        with self._lock:
            if state["cut"]:
                return
            text = state["tail"] + data
            for mark in self._lose:
                if mark in text:
                    self._lose.remove(mark)
                    state["cut"], text = True, b""
                    break
            state["tail"] = text[-64:]

    def _close(self, pair):
        with self._lock:
            self._pairs.discard(pair)
        for sock in pair:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
