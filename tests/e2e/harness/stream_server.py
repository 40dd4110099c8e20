"""A server whose answers are streams that a test writes piece by piece, on plain sockets: they can be cut anywhere, and it is seen when the client leaves."""
import json
import socket
import threading


class Request:
    """One that came, whole."""

    def __init__(self, method, path, headers, raw):
        self.method, self.path, self.headers, self.raw = method, path, headers, raw

    def json(self):
        return json.loads(self.raw)


class Reply:
    """What is answered. After `end` or `cut` the connection is closed."""

    def __init__(self, sock):
        self.sock, self.chunked = sock, False

    def raw(self, data):
        self.sock.sendall(data)

    def head(self, status=200, type="application/x-ndjson", chunked=True, **headers):
        fields = {"Content-Type": type, **{k.replace("_", "-"): v for k, v in headers.items()}}
        if chunked:
            fields["Transfer-Encoding"] = "chunked"
        self.chunked = chunked
        self.raw((f"HTTP/1.1 {status} It\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None) + "\r\n").encode())
        return self

    def send(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
        return self

    def lines(self, *objects):
        """Each as a line of JSON."""
        return self.send("".join(json.dumps(o) + "\n" for o in objects))

    def frame(self, data, event=None, id=None):
        """Server-Sent Events; data is JSON unless it is text."""
        text = data if isinstance(data, str) else json.dumps(data)
        head = (f"id: {id}\n" if id is not None else "") + (f"event: {event}\n" if event else "")
        return self.send(head + "".join(f"data: {line}\n" for line in text.split("\n")) + "\n")

    def whole(self, status, body=b"", type="application/json", **headers):
        body = body.encode() if isinstance(body, str) else body
        self.head(status, type, chunked=False, Content_Length=str(len(body)), **headers).send(body)

    def end(self):
        if self.chunked:
            self.raw(b"0\r\n\r\n")

    def cut(self):
        """Closes in the middle."""
        self.sock.shutdown(socket.SHUT_RDWR)

    def client_left(self, timeout=20):
        """Waits until the client has closed the connection."""
        self.sock.settimeout(timeout)
        try:
            return self.sock.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


class StreamServer:
    """`answer(request, reply)` is called for each request, in a thread of its own; `got` are the requests so far."""

    def __init__(self, answer=None):
        self.got, self.errors = [], []
        if answer is not None:
            self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.open = set()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.thread.join()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with self.lock:
            self.open.add(sock)
        try:
            request = self._read(sock)
            if request is not None:
                self.got.append(request)
                self.answer(request, Reply(sock))
        except (ConnectionError, BrokenPipeError):
            pass  # the client left
        except Exception as e:  # a test's own fault: it is to be seen
            self.errors.append(e)
        finally:
            with self.lock:
                self.open.discard(sock)
            sock.close()

    @staticmethod
    def _read(sock):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, version = first.split(" ")
        assert version == "HTTP/1.1", version
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} stands twice"
            headers[name.lower()] = value
        assert "transfer-encoding" not in headers and "expect" not in headers
        while len(body) < int(headers.get("content-length", 0)):
            body += sock.recv(65536)
        return Request(method, path, headers, body)
