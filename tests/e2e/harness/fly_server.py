"""A strict stand-in for the Fly Machines API: its schema (unknown fields refused, required ones demanded), authentication, states and their legal moves, leases, rate limits, and the ways in which it fails.
A machine is a real local process that is given the machine's environment and nothing else."""
import http.server
import json
import os
import re
import secrets
import signal
import subprocess
import threading
import time
import urllib.parse

from .processes import with_environment

# What a state may become. `failed` is reached from any that is not an end.
MOVES = {"created": {"starting", "destroying", "failed"}, "starting": {"started", "destroying", "failed"}, "started": {"stopping", "destroying", "failed"},
         "stopping": {"stopped", "destroying", "failed"}, "stopped": {"destroying", "starting"}, "destroying": {"destroyed"}, "failed": {"destroying"}, "destroyed": set()}
LIMITS = {"get": (5.0, 10), "wait": (5.0, 10), "list": (1.0, 3), "create": (1.0, 3), "stop": (1.0, 3), "delete": (1.0, 3), "lease": (1.0, 3), "app": (5.0, 10)}
WAIT_STATES = ("started", "stopped", "suspended", "destroyed")


class Refused(Exception):
    def __init__(self, status, error, headers=None):
        super().__init__(error)
        self.status, self.error, self.headers = status, error, headers or {}


def fields(value, where, required, optional=()):
    """An object with these members and no others."""
    if not isinstance(value, dict):
        raise Refused(400, f"{where} must be an object")
    for name in value:
        if name not in required and name not in optional:
            raise Refused(400, f"unknown field {where}.{name}")
    for name in required:
        if name not in value:
            raise Refused(400, f"missing field {where}.{name}")


def strings(value, where):
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise Refused(400, f"{where} must be an object of strings")


def duration(value, where):
    match = re.fullmatch(r"(\d+)(ms|s|m)", value) if isinstance(value, str) else None
    if not match:
        raise Refused(400, f"{where} must be a duration")
    return int(match.group(1)) * {"ms": 0.001, "s": 1, "m": 60}[match.group(2)]


def check_guest(guest):
    fields(guest, "config.guest", ("cpu_kind", "cpus", "memory_mb"))
    cpus, memory = guest["cpus"], guest["memory_mb"]
    if guest["cpu_kind"] not in ("shared", "performance") or cpus not in (1, 2, 4, 8, 16):
        raise Refused(422, "invalid config.guest: cpu_kind, cpus")
    if memory % 256 or not 256 * cpus <= memory <= 2048 * cpus:
        raise Refused(422, "invalid config.guest.memory_mb")


def check_config(config):
    fields(config, "config", ("image", "guest"), ("env", "init", "auto_destroy", "restart", "metadata", "stop_config"))
    if not isinstance(config["image"], str) or not config["image"]:
        raise Refused(400, "config.image is required")
    check_guest(config["guest"])
    strings(config.get("env", {}), "config.env")
    strings(config.get("metadata", {}), "config.metadata")
    fields(config.get("init", {}), "config.init", (), ("exec", "entrypoint", "cmd"))
    fields(config.get("restart", {"policy": "no"}), "config.restart", ("policy",), ("max_retries",))
    if config.get("restart", {}).get("policy", "no") not in ("no", "always", "on-failure"):
        raise Refused(400, "config.restart.policy")
    stop = config.get("stop_config", {})
    fields(stop, "config.stop_config", (), ("timeout", "signal"))
    if "timeout" in stop:
        duration(stop["timeout"], "config.stop_config.timeout")


class Machine:
    def __init__(self, fly, name, region, config):
        self.fly, self.name, self.region, self.config = fly, name, region, config
        self.id, self.instance = secrets.token_hex(7), secrets.token_hex(13).upper()
        self.state, self.states, self.events = "created", ["created"], []
        self.process, self.requested_stop, self.forced, self.nonce, self.lease_end = None, False, False, None, 0
        self.changed = threading.Condition(fly.lock)
        self.thread = threading.Thread(target=self.live, daemon=True)

    def move(self, state):
        with self.fly.lock:
            if state not in MOVES[self.state]:
                self.fly.faults.append(f"{self.name}: {self.state} -> {state}")
            self.state = state
            self.states.append(state)
            self.changed.notify_all()

    def event(self, kind, status, request=None):
        with self.fly.lock:
            self.events.insert(0, {"id": secrets.token_hex(8), "type": kind, "status": status, "source": "flyd", "timestamp": int(time.time() * 1000), **({"request": request} if request else {})})

    def live(self):
        """Its whole life, after it was created."""
        self.move("starting")
        self.fly.gate.wait()
        if self.fly.start_s:
            with self.fly.lock:
                self.changed.wait_for(lambda: self.forced, self.fly.start_s)
        with self.fly.lock:
            if not self.forced and not self.fly.fail_start:
                env = {"PATH": "/usr/bin:/bin", "FLY_MACHINE_ID": self.id, "FLY_APP_NAME": self.fly.app, **self.config.get("env", {})}
                self.process = subprocess.Popen(self.config["init"]["exec"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")
        if self.process is None:
            self.move("failed" if not self.forced else "destroying")
            if self.forced:
                self.move("destroyed")
            return
        self.move("started")
        self.event("start", "started")
        code = self.process.wait()
        self.exit(code)

    def exit(self, code):
        for pid in with_environment("FLY_MACHINE_ID", self.id):  # a machine ends with all that is in it
            os.kill(pid, signal.SIGKILL)
        oom = code == -signal.SIGKILL and not self.forced and not self.requested_stop  # nobody else kills inside a machine
        exit_event = {"requested_stop": self.requested_stop, "restarting": False, "guest_exit_code": code if code >= 0 else 128 - code, "guest_signal": -code if code < 0 else -1,
                      "guest_error": "", "exit_code": code if code >= 0 else 128 - code, "signal": -1, "error": "", "oom_killed": oom, "exited_at": "2026-01-01T00:00:00Z"}
        if not self.fly.lose:
            self.event("exit", "stopped", {"exit_event": exit_event, "restart_count": 0})
        if self.state == "started":
            self.move("stopping")
        if self.state == "stopping":
            self.move("stopped")
        if self.config.get("auto_destroy") or self.forced:
            self.move("destroying")
            self.move("destroyed")

    def kill(self, number):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def leased(self):
        return self.nonce is not None and time.monotonic() < self.lease_end

    def shown(self):
        return {"id": self.id, "name": self.name, "state": self.state, "region": self.region, "instance_id": self.instance, "private_ip": "fdaa::1", "config": self.config,
                "image_ref": {}, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "events": self.events}


class Fly:
    """`url`, `app`, `token`. `log`: what was asked, (action, machine or ""). `limited`: how often 429 was said. `faults`: illegal moves; a test that has any has failed.
    `break_next`: [(action, how)], taken one by one: a status; "cut" (done, but the connection ends without an answer); "lost" (not done, cut); "late" (cut, and done some time after that)."""

    def __init__(self):
        self.app, self.token = "errand-test", "fly-" + secrets.token_hex(16)
        self.lock = threading.RLock()
        self.machines, self.log, self.faults, self.break_next, self.limited, self.bodies = {}, [], [], [], 0, []
        self.start_s, self.fail_start, self.lose, self.buckets = 0, False, False, {}
        self.gate = threading.Event()
        self.gate.set()
        fly = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                fly.serve(self)
            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.gate.set()
        for m in list(self.machines.values()):
            m.kill(signal.SIGKILL)
            m.thread.join(5)
        self.server.shutdown()
        self.server.server_close()

    def alive(self):
        """Machines whose program runs."""
        return [m for m in self.machines.values() if m.process is not None and m.process.poll() is None]

    def of_run(self, run_id):
        return [m for m in self.machines.values() if m.config.get("metadata", {}).get("errand_run") == run_id]

    # ---- requests ----

    def limit(self, action, machine):
        rate, burst = LIMITS[action]
        now = time.monotonic()
        with self.lock:
            tokens, at = self.buckets.get((action, machine), (burst, now))
            tokens = min(burst, tokens + (now - at) * rate)
            if tokens < 1:
                self.buckets[(action, machine)] = (tokens, now)
                self.limited += 1
                raise Refused(429, "rate limit exceeded", {"Retry-After": "1"})
            self.buckets[(action, machine)] = (tokens - 1, now)

    def broken(self, action):
        with self.lock:
            for i, (which, how) in enumerate(self.break_next):
                if which == action:
                    del self.break_next[i]
                    return how
        return None

    def serve(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        url = urllib.parse.urlsplit(handler.path)
        try:
            action, work = self.route(handler, url, body)
            how = self.broken(action)
            if how == "late":
                threading.Timer(1.5, work).start()
            if how in ("lost", "late"):
                raise ConnectionError
            if isinstance(how, int):
                raise Refused(how, "it does not work now" if how >= 500 else "insufficient resources to create new machine")
            status, answer = work()
            if how == "cut":
                raise ConnectionError
            headers = {}
        except Refused as e:
            status, answer, headers = e.status, {"error": e.error}, e.headers
        except ConnectionError:
            handler.close_connection = True
            handler.connection.shutdown(2)
            return
        data = json.dumps(answer).encode()
        try:
            handler.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            pass

    def route(self, handler, url, body):
        if handler.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "unauthorized")
        match = re.fullmatch(r"/v1/apps/([^/]+)(/machines(?:/([0-9a-z]+)(?:/(wait|stop|lease))?)?)?", url.path)
        if not match or match.group(1) != self.app:
            raise Refused(404, "app not found")
        query = dict(urllib.parse.parse_qsl(url.query, strict_parsing=bool(url.query)))
        machine_id, sub, nonce = match.group(3), match.group(4), handler.headers.get("fly-machine-lease-nonce")
        given = json.loads(body) if body else None
        machine = None
        if machine_id:
            machine = self.machines.get(machine_id)
            if machine is None:
                raise Refused(404, "machine not found")
        routes = {("GET", False, None): ("app", lambda: (200, {"name": self.app})), ("GET", True, "wait"): ("wait", lambda: self.wait(machine, query)),
                  ("POST", True, "stop"): ("stop", lambda: self.stop_machine(machine, given, nonce)), ("POST", True, "lease"): ("lease", lambda: self.lease(machine, given, nonce)),
                  ("DELETE", True, "lease"): ("lease", lambda: self.release(machine, nonce)), ("GET", True, None): ("get", lambda: (200, machine.shown())),
                  ("DELETE", True, None): ("delete", lambda: self.delete(machine, query, nonce))}
        if match.group(2) == "/machines":
            routes = {("GET", False, None): ("list", lambda: self.list(query)), ("POST", False, None): ("create", lambda: self.create(given))}
        found = routes.get((handler.command, bool(machine_id), sub))
        if found is None:
            raise Refused(405, "method not allowed")
        action = found[0]
        self.log.append((action, machine_id or ""))
        self.limit(action, machine_id or "")

        def work():
            with self.lock:
                return found[1]()
        return action, found[1] if action == "wait" else work

    # ---- what they do ----

    def create(self, given):
        fields(given, "body", ("config",), ("name", "region", "skip_launch", "lease_ttl"))
        check_config(given["config"])
        self.bodies.append(given)
        for m in self.machines.values():
            if m.name == given.get("name") and m.state != "destroyed":
                raise Refused(409, f"already_exists: unique machine name violation, machine ID {m.id} already exists with name \"{m.name}\"")
        m = Machine(self, given.get("name") or secrets.token_hex(4), given.get("region") or "lhr", given["config"])
        self.machines[m.id] = m
        shown = m.shown()
        m.thread.start()
        return 200, shown

    def list(self, query):
        wanted = {k[9:]: v for k, v in query.items() if k.startswith("metadata.")}
        unknown = [k for k in query if not k.startswith("metadata.") and k not in ("include_deleted", "region", "state")]
        if unknown:
            raise Refused(400, f"unknown parameter {unknown[0]}")
        rows = [m for m in self.machines.values() if m.state != "destroyed" or query.get("include_deleted") == "true"]
        return 200, [m.shown() for m in rows if all(m.config.get("metadata", {}).get(k) == v for k, v in wanted.items())]

    def wait(self, m, query):
        state, timeout = query.get("state", "started"), int(query.get("timeout", "60"))
        if state not in WAIT_STATES or not 1 <= timeout <= 60:
            raise Refused(400, "invalid state or timeout")
        with self.lock:
            m.changed.wait_for(lambda: m.state == state or m.state in ("destroyed", "failed"), timeout)
            if m.state == state:
                return 200, {"ok": True}
            if m.state == "destroyed":
                raise Refused(404, "machine is destroyed")
        raise Refused(408, "deadline_exceeded")

    @staticmethod
    def check_lease(m, nonce):
        if m.leased() and nonce != m.nonce:
            raise Refused(409, "lease currently held by somebody else")
        if nonce is not None and not m.leased():
            raise Refused(400, "no lease is held")

    def stop_machine(self, m, given, nonce):
        fields(given or {}, "body", (), ("signal", "timeout"))
        self.check_lease(m, nonce)
        if m.state != "started":
            raise Refused(412, f"machine is {m.state}")
        m.requested_stop = True
        m.move("stopping")
        number = getattr(signal, (given or {}).get("signal", "SIGINT"))
        m.kill(number)
        threading.Timer(duration((given or {}).get("timeout", "5s"), "timeout"), m.kill, (signal.SIGKILL,)).start()
        return 200, {"ok": True}

    def delete(self, m, query, nonce):
        self.check_lease(m, nonce)
        if m.state == "destroyed":
            return 200, {"ok": True}
        if m.state in ("started", "starting", "stopping", "created") and query.get("force") != "true":
            raise Refused(412, f"machine is {m.state}")
        m.forced = True
        m.changed.notify_all()
        if m.state in ("failed", "stopped"):
            m.move("destroying")
            m.move("destroyed")
        m.kill(signal.SIGKILL)
        return 200, {"ok": True}

    def lease(self, m, given, nonce):
        fields(given, "body", ("ttl",), ("description",))
        if m.state == "destroyed":
            raise Refused(404, "machine is destroyed")
        if m.leased() and nonce != m.nonce:
            raise Refused(409, "lease currently held by somebody else")
        fresh = not m.leased()
        m.nonce = m.nonce if not fresh else secrets.token_hex(8)
        m.lease_end = time.monotonic() + given["ttl"]
        return 201 if fresh else 200, {"status": "success", "data": {"nonce": m.nonce, "expires_at": int(time.time()) + given["ttl"], "owner": "test", "description": given.get("description", ""), "version": "1"}}

    def release(self, m, nonce):
        if not m.leased() or nonce != m.nonce:
            raise Refused(404, "no such lease")
        m.nonce = None
        return 200, {"status": "success"}
