"""A private redis-server on a Unix socket in its own folder, and a small client for looking into it."""
import glob
import os
import socket
import subprocess

from .processes import Process
from .redis_users import RedisUsers
from .wait import wait_until

MEND = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))), "docker", "redis.sh")


class RedisError(Exception):
    """An error reply."""


class RedisClient:
    """One blocking connection; commands are argument vectors, replies are bytes, int, list or None. `login`: user and password."""

    def __init__(self, path, timeout=10.0, login=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        if login is not None:
            self.command("AUTH", *login)

    def command(self, *args):
        words = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        reply = self._read()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def _read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.file.read(int(rest) + 2)
            return data[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP: {line!r}")

    def close(self):
        self.file.close()
        self.sock.close()


class RedisServer:
    """redis-server with port 0. It may be killed, started again, and lose the tail of its append-only file in between.
    Its users are those that are shipped (`users`; made here unless given), and nobody else is let in; `command` is the operator's. With users=None everybody may do everything."""

    OWN = object()

    def __init__(self, folder, aof=True, fsync="everysec", options=None, users=OWN):
        self.folder, self.socket = folder, os.path.join(folder, "redis.sock")
        self.url = f"unix://{self.socket}"
        self.options = {"port": "0", "unixsocket": self.socket, "dir": folder, "save": "", "appendonly": "yes" if aof else "no",
                        "appendfsync": fsync, "maxmemory-policy": "noeviction", "daemonize": "no", "loglevel": "notice"}
        self.users = RedisUsers() if users is self.OWN else users
        if self.users is not None:
            self.options["aclfile"] = os.path.join(folder, "users.acl")
            self.users.write(self.options["aclfile"])
        self.options.update(options or {})
        self.process = self._client = None

    def start(self):
        command = ["redis-server"]
        for name, value in self.options.items():
            command += [f"--{name}", str(value)]
        self.process = Process("redis", command, os.path.join(self.folder, "redis.log"), {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"})
        wait_until(self._ready, 30, "redis-server answers PING")
        return self

    def _ready(self):
        if not self.process.alive():
            raise AssertionError("redis-server ended: " + self.process.output().decode("utf-8", "replace")[-2000:])
        try:
            return self.command("PING") == b"PONG"
        except (OSError, RedisError):
            return False

    def command(self, *args):
        """On a connection that is made anew when it was lost. A command whose reply was lost is not repeated."""
        if self._client is None:
            self._client = self.client()
        try:
            return self._client.command(*args)
        except OSError:
            self._drop()
            raise

    def client(self, user="operator", timeout=10.0):
        """One more connection, as this user."""
        return RedisClient(self.socket, timeout, self.users and self.users.login(user))

    def _drop(self):
        if self._client is not None:
            self._client.close()
            self._client = None

    def keys(self, pattern="*"):
        cursor, found = b"0", set()
        while True:
            cursor, page = self.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found.update(page)
            if cursor == b"0":
                return sorted(found)

    def info(self, section="all"):
        lines = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def used_memory(self):
        return int(self.info("memory")["used_memory"])

    def set_maxmemory(self, size):
        """0 lifts the bound. A size at or below what is used makes Redis full at once."""
        self.command("CONFIG", "SET", "maxmemory", size)

    def kill9(self):
        self._drop()
        self.process.kill9()

    def freeze(self):
        self.process.freeze()

    def thaw(self):
        self.process.thaw()

    def restart(self):
        """kill -9 and start: loses nothing that was written to the file."""
        self.kill9()
        return self.start()

    def aof_path(self):
        """The growing part of the append-only file."""
        return sorted(glob.glob(os.path.join(self.folder, "appendonlydir", "*.incr.aof")))[-1]

    def aof_size(self):
        """Everything whose reply was seen lies below this offset: Redis writes the file before it answers."""
        return os.path.getsize(self.aof_path())

    def cut_aof(self, size):
        """While Redis is down: what was written after the file had this size is lost, as when the machine dies before an fsync. Returns the bytes lost."""
        assert not self.process.alive(), "cut the file only while Redis is down"
        lost = self.aof_size() - size
        assert lost >= 0
        os.truncate(self.aof_path(), size)
        self.mend_aof()
        return lost

    def mend_aof(self):
        """What the container's start does to a file whose end is half a transaction."""
        subprocess.run(["sh", MEND, "mend", os.path.dirname(self.aof_path())], check=True, stderr=subprocess.DEVNULL)

    def stop(self):
        self._drop()
        if self.process is not None:
            self.process.end()

    def discard(self):
        """Ends it when nobody wants its data any more: a clean shutdown takes up to 100 ms, in which it writes them down once more."""
        self._drop()
        if self.process is not None:
            self.process.kill9()
