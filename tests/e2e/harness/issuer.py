"""A token issuer as CI providers run one: real keys and signatures, its description and key set over HTTP, and the ways in which it can be wrong."""
import base64
import hashlib
import http.server
import json
import threading
import time

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils


def b64(data):
    """base64url without padding, of bytes or of what JSON can say."""
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


class Key:
    """A key pair that signs tokens."""

    def __init__(self, kid, alg="RS256", bits=2048):
        self.kid, self.alg = kid, alg
        self.private = rsa.generate_private_key(65537, bits) if alg == "RS256" else ec.generate_private_key(ec.SECP256R1())

    def jwk(self, **more):
        p = self.private.public_key().public_numbers()
        own = {"kty": "RSA", "n": number(p.n), "e": number(p.e)} if self.alg == "RS256" else {"kty": "EC", "crv": "P-256", "x": number(p.x, 32), "y": number(p.y, 32)}
        return {"kid": self.kid, "use": "sig", "alg": self.alg, **own, **more}

    def sign(self, text):
        if self.alg == "RS256":
            return self.private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def pem(self):
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def token(self, claims, header=None, raw_claims=None):
        """header: what replaces or (None) leaves out members of the usual one. raw_claims: bytes in place of the claims."""
        fields = {"alg": self.alg, "typ": "JWT", "kid": self.kid, **(header or {})}
        text = b64({k: v for k, v in fields.items() if v is not None}) + "." + b64(raw_claims or claims)
        return text + "." + b64(self.sign(text))

    def other_signature(self, token):
        """The same token with the second form of its ECDSA signature (r, n - s)."""
        text, signature = token.rsplit(".", 1)
        raw = base64.urlsafe_b64decode(signature + "==")
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        return text + "." + b64(raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big"))


def hs256(secret, claims, header):
    text = b64(header) + "." + b64(claims)
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(text.encode())
    return text + "." + b64(mac.finalize())


class Issuer:
    """Serves any number of issuers, each at a path of its own: `issuer.url("name")`. `keys["name"]` is its list of JWKs; `modes["name"]` makes it misbehave; `asked` lists the paths that were requested.
    While `gate["name"]` (a threading.Event) is there and not set, its description does not come."""

    def __init__(self):
        self.keys, self.modes, self.gate, self.asked = {}, {}, {}, []
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                issuer.asked.append(self.path)
                name, _, what = self.path[1:].partition("/")
                issuer.answer(self, name, what)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"

    def stop(self):
        for gate in self.gate.values():
            gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, handler, name, what):
        mode = self.modes.get(name)
        if name in self.gate:
            self.gate[name].wait(30)
        body, status, headers = b"{}", 200, {}
        if what == ".well-known/openid-configuration":
            body = json.dumps({"issuer": self.url(name), "jwks_uri": self.url(name) + "/keys"}).encode()
        elif what == "keys":
            body = json.dumps({"keys": self.keys.get(name, [])}).encode()
        else:
            status = 404
        if mode == "error":
            status = 500
        elif mode == "html":
            body = b"<html>no</html>"
        elif mode == "huge" and what == "keys":
            body = body[:-1] + b" " * 300000 + b"}"
        elif mode == "redirect":
            status, headers = 302, {"Location": self.url("elsewhere") + "/" + what}
        elif mode == "elsewhere" and what != "keys":
            body = json.dumps({"issuer": self.url(name), "jwks_uri": f"http://localhost:{self.port}/{name}/keys"}).encode()
        elif mode == "other" and what != "keys":
            body = json.dumps({"issuer": self.url("other"), "jwks_uri": self.url(name) + "/keys"}).encode()
        try:
            self.send(handler, status, headers, body)
        except ConnectionError:
            pass  # whoever asked waits no longer

    @staticmethod
    def send(handler, status, headers, body):
        handler.send_response(status)
        for field, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(field, value)
        handler.end_headers()
        handler.wfile.write(body)


def claims(issuer_url, **fields):
    """What a GitHub Actions job's token says; None leaves a claim out."""
    now = int(time.time())
    usual = {"iss": issuer_url, "aud": "errand", "sub": "repo:example/app:ref:refs/heads/main", "repository": "example/app", "repository_owner": "example",
             "ref": "refs/heads/main", "iat": now, "nbf": now - 5, "exp": now + 300, "jti": hashlib.sha256(str(time.time_ns()).encode()).hexdigest()}
    usual.update(fields)
    return {k: v for k, v in usual.items() if v is not None}
