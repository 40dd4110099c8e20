"""A receiver of webhooks that keeps what it was sent, and answers what the test says."""
import base64
import hashlib
import hmac
import http.server
import json
import secrets
import threading

from .wait import wait_until

MASTER_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
# For an API node that tells receivers on this machine, and soon again where they fail.
ENV = {"ERRAND_MASTER_KEY": MASTER_KEY, "ERRAND_ALLOW_PRIVATE_ADDRESSES": "true", "ERRAND_WEBHOOK_RETRY_BASE_MS": "20", "ERRAND_WEBHOOK_TIMEOUT_MS": "700"}


class Sent:
    """One request that came."""

    def __init__(self, headers, body):
        self.headers, self.raw = {k.lower(): v for k, v in headers.items()}, body
        self.id = self.headers.get("webhook-id")

    def json(self):
        return json.loads(self.raw)

    def verifies(self, secret):
        """Whether one of the signatures is by that secret, worked out from the words of the specification."""
        key = base64.b64decode(secret[len("whsec_"):])
        text = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.raw
        wanted = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return wanted in self.headers["webhook-signature"].split(" ")


class Receiver:
    """Listens on this machine. `answers`: (status, headers) for one request after the other, then always the last one; None: no answer until the receiver is closed."""

    def __init__(self, answers=((204, {}),)):
        self.answers, self.got, self.hold = list(answers), [], threading.Event()
        self.came = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.came:
                    receiver.got.append(Sent(dict(self.headers), body))
                    answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if answer is None:
                    receiver.hold.wait()
                    return
                self.send_response(answer[0])
                for name, value in answer[1].items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, n, timeout=20.0):
        """The first n requests, once they came."""
        wait_until(lambda: len(self.got) >= n, timeout, f"{n} requests came")
        return self.got[:n]

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
