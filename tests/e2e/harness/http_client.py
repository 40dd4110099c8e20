"""HTTP/1.1 over raw sockets: ordinary requests, and bytes exactly as a test wants them."""
import json
import socket


class Response:
    """A parsed answer. `headers` has lower-case names; a repeated one keeps all values, joined by ", "."""

    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The problem's code, or None."""
        try:
            return self.json().get("code")
        except (ValueError, AttributeError):
            return None

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def connect(port, timeout=30.0, host="127.0.0.1", receive_buffer=None):
    """A connected socket; a small receive_buffer (bytes) makes a slow reader felt early."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(timeout)
    sock.connect((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def encode(method, path, body=None, headers=None, host="127.0.0.1"):
    """A whole request. `body`: bytes, str, or anything that JSON can say."""
    fields = {"Host": host}
    if body is not None:
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        body = body.encode() if isinstance(body, str) else body
        fields["Content-Length"] = str(len(body))
        fields["Content-Type"] = "application/json"
    for name, value in (headers or {}).items():
        for old in [n for n in fields if n.lower() == name.lower()]:
            del fields[old]
        if value is not None:
            fields[name] = value
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items()) + "\r\n"
    return head.encode("utf-8", "surrogateescape") + (body or b"")


class Connection:
    """A keep-alive connection; answers are read one by one."""

    def __init__(self, port, timeout=30.0, receive_buffer=None):
        self.sock = connect(port, timeout, receive_buffer=receive_buffer)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def request(self, method, path, body=None, headers=None):
        self.send(encode(method, path, body, headers))
        return self.read_response(method)

    def read_response(self, method="GET"):
        """The next final answer (1xx are passed over); raises ConnectionError when the connection ends before it."""
        while True:
            status, reason, headers = self.read_head()
            if status >= 200:
                break
        if method == "HEAD" or status in (204, 304):
            return Response(status, reason, headers, b"")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(iter(self._read_chunk, b""))
        elif "content-length" in headers:
            body = self._take(int(headers["content-length"]))
        else:
            body = self.read_to_end()
        return Response(status, reason, headers, body)

    def read_head(self):
        """(status, reason, headers) of the next answer, interim ones included."""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (head[0] + "  ").split(" ", 2)
        assert version == "HTTP/1.1", head[0]
        headers = {}
        for line in head[1:]:
            name, value = line.split(":", 1)
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return int(status), reason.strip(), headers

    def read_to_end(self):
        """Everything until the other side closes; a reset counts as an end."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def closed(self, timeout=5.0):
        """Whether the other side closes within the time, without another byte."""
        self.sock.settimeout(timeout)
        try:
            return not self.buffer and not self._more()
        except socket.timeout:
            return False

    def _read_chunk(self):
        size = int(self._until(b"\r\n").split(b";")[0], 16)
        data = self._take(size)
        assert self._take(2) == b"\r\n", "a chunk without its end"
        return data

    def _more(self):
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data)

    def _until(self, mark):
        while mark not in self.buffer:
            if not self._more():
                raise ConnectionError(f"the connection ended in an answer: {self.buffer[:200]!r}")
        data, self.buffer = self.buffer.split(mark, 1)
        return data

    def _take(self, size):
        parts, have = [self.buffer], len(self.buffer)
        while have < size:
            data = self.sock.recv(min(1 << 20, size - have))
            if not data:
                raise ConnectionError(f"the connection ended in a body: {have} of {size} bytes")
            parts.append(data)
            have += len(data)
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]


def request(port, method, path, body=None, headers=None, timeout=30.0):
    """One request on a connection of its own."""
    with Connection(port, timeout) as connection:
        return connection.request(method, path, body, headers)


def exchange(port, data, timeout=10.0, half_close=False):
    """Sends bytes as they are and returns all that comes back until the node closes. With half_close the sending side is shut first."""
    with Connection(port, timeout) as connection:
        try:
            connection.send(data)
            if half_close:
                connection.sock.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # refused early: the answer may already be there
        return connection.read_to_end()


def statuses(data):
    """The status codes of all answers in raw bytes, bodies skipped by their Content-Length or chunks."""
    found = []
    while data.startswith(b"HTTP/1.1 "):
        head, _, data = data.partition(b"\r\n\r\n")
        found.append(int(head[9:12]))
        fields = {line.split(b":", 1)[0].strip().lower(): line.split(b":", 1)[1].strip() for line in head.split(b"\r\n")[1:]}
        if found[-1] < 200 or found[-1] in (204, 304):
            continue
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            size = -1
            while size != 0 and data:
                line, _, data = data.partition(b"\r\n")
                size = int(line, 16)
                data = data[size + 2:]
        else:
            data = data[int(fields.get(b"content-length", b"0")):]
    return found
