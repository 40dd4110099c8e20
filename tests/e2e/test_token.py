"""Tokens of CI jobs for short-lived keys: an issuer with real keys, everything that must not be taken, and what strangers may learn."""
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

from harness.http_client import request
from harness.issuer import Issuer, Key, b64, claims, hs256
from harness.nodes import build_dir
from harness.wait import wait_until

pytestmark = pytest.mark.root_key

OPEN = {"ERRAND_ALLOW_PRIVATE_ADDRESSES": "true", "ERRAND_AUTH_FAILURES_MAX": "0"}
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
RSA = Key("rsa-1")
EC = Key("ec-1", "ES256")


class Place:
    """An issuer, two nodes, and the policy `deploy` of the workspace `default` for its tokens."""

    def __init__(self, stack, issuer):
        self.stack, self.issuer = stack, issuer
        self.api = stack.api(env=OPEN)
        issuer.keys["ci"] = [RSA.jwk(), EC.jwk()]
        self.put("deploy")

    def policy(self, name="ci", **fields):
        return {"issuer": self.issuer.url(name), "audience": "errand", "claims": {"repository": "example/app", "ref": "refs/heads/*"}, "scopes": ["runs:read", "runs:create"], **fields}

    def put(self, policy, ws=None, api=None, **fields):
        answer = self.ask("PUT", f"/v1/trust/{policy}", self.policy(**fields), ws, api)
        assert answer.status in (200, 201), answer
        return answer

    def ask(self, method, path, body=None, ws=None, api=None):
        return (api or self.api).request(method, path, body, headers={"X-Errand-Workspace": ws} if ws else None)

    def claims(self, name="ci", **fields):
        return claims(self.issuer.url(name), **fields)

    def exchange(self, token, api=None, **fields):
        return request((api or self.api).port, "POST", "/v1/token", {"token": token, **fields})

    def good(self, key=RSA, name="ci", **fields):
        return key.token(self.claims(name, **fields))


@pytest.fixture
def issuer():
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def place(stack, issuer):
    return Place(stack, issuer)


def assert_refused(answer, code="invalid_token", status=401, detail=""):
    assert (answer.status, answer.code) == (status, code), answer
    assert detail in answer.json()["detail"] and "access_token" not in answer.json(), answer
    assert status != 401 or answer.headers.get("www-authenticate", "").startswith("Bearer")
    return answer


def assert_exchanged(answer):
    assert answer.status == 200, answer
    body = answer.json()
    assert (body["token_type"], body["issued_token_type"]) == ("Bearer", TYPE + "access_token")
    assert answer.headers["cache-control"] == "no-store"
    return body


# ---- what is taken ----

@pytest.mark.parametrize("key", [RSA, EC], ids=["rs256", "es256"])
def test_a_good_token_gives_a_key_that_may_what_the_policy_says(place, key):
    body = assert_exchanged(place.exchange(place.good(key)))
    assert body["expires_in"] == 900 and body["scope"] == "runs:create runs:read" and body["workspace"] == "default" and body["policy"] == "deploy"
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    assert request(place.api.port, "GET", "/v1/runs", headers=bearer).status == 200
    assert request(place.api.port, "GET", "/v1/agents", headers=bearer).status == 403
    assert request(place.api.port, "GET", "/v1/trust", headers=bearer).status == 403
    assert request(place.api.port, "GET", "/v1/runs", headers={**bearer, "X-Errand-Workspace": "other"}).status in (400, 403)


def test_the_form_of_rfc_8693(place):
    def form(**fields):
        text = urllib.parse.urlencode({"grant_type": GRANT, "subject_token": place.good(), "subject_token_type": TYPE + "id_token", **fields})
        return request(place.api.port, "POST", "/v1/token", text, {"Content-Type": "application/x-www-form-urlencoded"})
    assert assert_exchanged(form())["scope"] == "runs:create runs:read"
    assert assert_exchanged(form(scope="runs:read", audience="default", policy="deploy", requested_token_type=TYPE + "access_token"))["scope"] == "runs:read"
    assert_exchanged(request(place.api.port, "POST", "/v1/token", {"grant_type": GRANT, "subject_token": place.good(), "subject_token_type": TYPE + "jwt"}))
    assert_refused(form(scope="runs:stop"), "invalid_field", 400, "does not grant runs:stop")
    assert_refused(form(grant_type="password"), "invalid_field", 400)
    assert_refused(form(actor_token="x"), "unknown_field", 400, "actor_token")


def test_narrowed_by_agents_queues_and_time(place):
    place.put("narrow", claims={"repository": "example/narrow"}, agents=["deployer"], queues=["ci"], ttlMs=60000)
    body = assert_exchanged(place.exchange(place.good(repository="example/narrow")))
    assert body["expires_in"] == 60 and body["policy"] == "narrow"
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    answer = request(place.api.port, "POST", "/v1/runs", {"agent": "another"}, bearer)
    assert answer.status in (403, 404), answer
    keys = place.ask("GET", "/v1/keys").json()["keys"]
    mine = [k for k in keys if k["name"] == "token:narrow"]
    assert len(mine) == 1 and mine[0]["agents"] == ["deployer"] and mine[0]["queues"] == ["ci"] and mine[0]["expiresAt"], mine
    assert (mine[0]["createdBy"], mine[0]["details"]["repository"], mine[0]["details"]["ref"]) == ("trust:narrow", "example/narrow", "refs/heads/main")
    kept = place.stack.redis.command("PTTL", f"{place.stack.prefix}{{g}}:key:{mine[0]['id']}")
    assert 60000 < kept <= 3660000, "its record goes an hour behind its end"


def test_each_workspace_has_its_own_policies(place):
    place.put("deploy", ws="team", scopes=["runs:stop"])
    body = assert_exchanged(place.exchange(place.good(), workspace="team"))
    assert (body["workspace"], body["scope"]) == ("team", "runs:stop")
    assert_refused(place.exchange(place.good(), workspace="nobody"))


def test_a_policy_that_is_gone_takes_nothing(place):
    assert place.ask("DELETE", "/v1/trust/deploy").status == 204
    assert_refused(place.exchange(place.good()))


# ---- what is not ----

def bad_tokens(place):
    c, now = place.claims(), int(time.time())
    good = RSA.token(c)
    head, middle, tail = good.split(".")
    flipped = ("A" if tail[10] != "A" else "B")
    small = Key("small", bits=1024)
    place.issuer.keys["ci"].append(small.jwk())
    yield "expired", RSA.token({**c, "exp": now - 120, "iat": now - 400, "nbf": now - 400}), "expired"
    yield "not yet", RSA.token({**c, "nbf": now + 600, "exp": now + 900}), "not valid yet"
    yield "issued in the future", RSA.token({**c, "iat": now + 600, "exp": now + 900}), "not valid yet"
    yield "a week long", RSA.token({**c, "exp": now + 7 * 86400}), "longer than a day"
    yield "without exp", RSA.token({k: v for k, v in c.items() if k != "exp"}), "exp"
    yield "exp as text", RSA.token({**c, "exp": str(now + 300)}), "exp"
    yield "exp as a fraction", RSA.token({**c, "exp": now + 300.5}), "exp"
    yield "without iat", RSA.token({k: v for k, v in c.items() if k != "iat"}), "iat"
    yield "without sub", RSA.token({k: v for k, v in c.items() if k != "sub"}), "sub"
    yield "sub as a list", RSA.token({**c, "sub": ["a"]}), "sub"
    yield "wrong audience", RSA.token({**c, "aud": "https://example.com"}), "no trust policy takes it"
    yield "audience of another spelling", RSA.token({**c, "aud": "Errand"}), "no trust policy takes it"
    yield "wrong issuer", RSA.token({**c, "iss": place.issuer.url("ci") + "/"}), "no trust policy of this workspace"
    yield "another repository", RSA.token({**c, "repository": "example/other"}), "no trust policy takes it"
    yield "a pull request", RSA.token({**c, "ref": "refs/pull/1/merge"}), "no trust policy takes it"
    yield "a branch below", RSA.token({**c, "ref": "refs/heads/a/b"}), "no trust policy takes it"
    yield "ref as a list", RSA.token({**c, "ref": ["refs/heads/main"]}), "no trust policy takes it"
    yield "ref as true", RSA.token({**c, "ref": True}), "no trust policy takes it"
    yield "no ref", RSA.token({k: v for k, v in c.items() if k != "ref"}), "no trust policy takes it"
    yield "header changed", b64({"alg": "RS256", "kid": "rsa-1", "typ": "JWT", "x": 1}) + f".{middle}.{tail}", "signature"
    yield "claims changed", f"{head}.{b64({**c, 'repository': 'example/app', 'ref': 'refs/heads/evil'})}.{tail}", "signature"
    yield "signature changed", f"{head}.{middle}.{tail[:10]}{flipped}{tail[11:]}", "signature"
    yield "signature cut", f"{head}.{middle}.{tail[:-4]}", "signature"
    yield "no signature", f"{head}.{middle}.", "three parts"
    yield "none", b64({"alg": "none", "typ": "JWT"}) + f".{middle}.", "three parts"
    yield "none with a signature", b64({"alg": "none", "typ": "JWT"}) + f".{middle}.{tail}", "alg"
    yield "nOnE", b64({"alg": "nOnE"}) + f".{middle}.{tail}", "alg"
    yield "HS256 with the public key", hs256(RSA.pem(), c, {"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}), "alg"
    yield "HS256 that says RS256", hs256(RSA.pem(), c, {"alg": "RS256", "typ": "JWT", "kid": "rsa-1"}), "signature"
    yield "RS256 of the EC key", RSA.token(c, {"kid": "ec-1"}), "signature"
    yield "ES256 of the RSA key", EC.token(c, {"kid": "rsa-1"}), "signature"
    yield "an EC signature as RS256", EC.token(c, {"alg": "RS256", "kid": "rsa-1"}), "signature"
    yield "an RSA signature as ES256", RSA.token(c, {"alg": "ES256", "kid": "ec-1"}), "signature"
    yield "RS512", RSA.token(c, {"alg": "RS512"}), "alg"
    yield "unknown kid", RSA.token(c, {"kid": "rsa-9"}), "signature"
    yield "a key that it brings along", Key("rsa-1").token(c, {"jwk": RSA.jwk(), "jku": place.issuer.url("evil") + "/keys"}), "signature"
    yield "crit", RSA.token(c, {"crit": ["exp"]}), "crit"
    yield "typ of another use", RSA.token(c, {"typ": "logout+jwt"}), "typ"
    yield "RSA of 1024 bits", small.token(c), "signature"
    yield "a claim twice", RSA.token(None, raw_claims=json.dumps(c)[:-1].encode() + b',"ref":"refs/heads/main"}'), "each there once"
    yield "a header member twice", b64(b'{"alg":"RS256","alg":"none","kid":"rsa-1"}') + f".{middle}.{tail}", "each there once"
    yield "deep", RSA.token({**c, "x": json.loads("[" * 50 + "]" * 50)}), "claims"
    yield "oversized", RSA.token({**c, "x": "x" * 14000}), "limit"
    yield "four parts", good + ".AAAA", "three parts"
    yield "five parts", "a.b.c.d.e", "three parts"
    yield "padding", good + "==", "base64url"
    yield "bits left over", f"{head}.{middle}.{tail[:-1]}" + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(tail[-1]) ^ 1], "base64url"
    yield "standard base64", f"{head}.{middle}." + tail.replace("-", "+").replace("_", "/"), "base64url"
    yield "white space", " " + good, "header"
    yield "not UTF-8", RSA.token(None, raw_claims=b'{"iss":"\xff"}'), "claims"
    yield "empty parts", "..", "three parts"


def test_nothing_else_is_taken(place):
    seen = 0
    for what, token, detail in bad_tokens(place):
        answer = place.exchange(token)
        assert (answer.status, answer.code) == (401, "invalid_token") and detail in answer.json()["detail"], (what, answer)
        seen += 1
    assert seen > 45
    assert not [path for path in place.issuer.asked if not path.startswith("/ci/")]
    assert len(place.issuer.asked) == 2, "keys are asked for once"
    assert_exchanged(place.exchange(place.good()))


def test_a_kid_is_not_needed_where_there_is_one_key(place):
    assert_refused(place.exchange(Key("rsa-1").token(place.claims(), {"kid": None})))
    assert_exchanged(place.exchange(RSA.token(place.claims(), {"kid": None})))
    place.issuer.keys["two"] = [RSA.jwk(), Key("rsa-2").jwk()]
    place.put("two", name="two")
    assert_refused(place.exchange(RSA.token(place.claims("two"), {"kid": None})))
    assert_exchanged(place.exchange(RSA.token(place.claims("two"))))


def test_malformed_requests(place):
    def raw(body, **headers):
        return request(place.api.port, "POST", "/v1/token", body, headers)
    assert raw("{}").code == "missing_field"
    assert raw("nonsense").code == "invalid_json"
    assert raw('{"token":"a","token":"b"}').code == "invalid_field"
    assert raw('{"token":"a","x":1}').code == "unknown_field"
    assert raw('{"token":"a","workspace":"../x"}').code == "invalid_field"
    assert raw(b"x" * 30000).status == 413
    assert request(place.api.port, "GET", "/v1/token").status == 405
    assert place.issuer.asked == []


def test_an_exchange_is_in_the_audit_log(place):
    assert place.exchange(place.good()).status == 200
    entry = place.api.get("/v1/audit?what=exchangeToken").json()["entries"][-1]
    assert (entry["who"], entry["object"], entry.get("outcome")) == ("trust:deploy", "deploy", None) and entry["detail"]["repository"] == "example/app"


def test_each_token_is_exchanged_once(place):
    second = place.stack.api(env=OPEN)
    token = place.good(EC)
    assert_exchanged(place.exchange(token))
    assert_refused(place.exchange(token), "token_used")
    assert_refused(place.exchange(token, api=second), "token_used")
    assert_refused(place.exchange(EC.other_signature(token)), "token_used")
    place.put("deploy", ws="team")
    assert_refused(place.exchange(token, workspace="team"), "token_used")
    token = place.good()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: place.exchange(token, api=(place.api, second)[i % 2]), range(16)))
    assert sorted(a.status for a in answers) == [200] + [401] * 15


def test_several_policies(place):
    place.put("more", claims={"repository": "example/*"}, scopes=["runs:read"])
    token = place.good()
    answer = assert_refused(place.exchange(token), "missing_field", 400, "name one in policy")
    assert "deploy" not in answer.json()["detail"]
    assert assert_exchanged(place.exchange(token, policy="more"))["scope"] == "runs:read"
    assert_refused(place.exchange(place.good(ref="refs/pull/1/merge"), policy="deploy"))


# ---- what strangers learn, and whom they make us call ----

def test_strangers_learn_nothing(place, issuer):
    forged = Key("rsa-1")
    other = Issuer()
    try:
        place.put("hidden", ws="team", scopes=["runs:stop"])
        answers = [place.exchange(forged.token(place.claims())), place.exchange(forged.token(place.claims()), workspace="team"), place.exchange(forged.token(place.claims()), workspace="nobody"),
                   place.exchange(forged.token(place.claims()), policy="deploy"), place.exchange(forged.token(place.claims()), policy="none"),
                   place.exchange(forged.token(place.claims(repository="example/other"))), place.exchange(forged.token(place.claims(aud="x"))),
                   place.exchange(forged.token(claims(other.url("x")))), place.exchange(forged.token(claims("https://169.254.169.254/latest")))]
        assert {(a.status, a.body) for a in answers} == {(401, answers[0].body)}
        assert other.asked == []
    finally:
        other.stop()
    assert issuer.asked == ["/ci/.well-known/openid-configuration", "/ci/keys"]


def test_private_addresses_are_not_called(stack, issuer):
    api = stack.api()
    issuer.keys["ci"] = [RSA.jwk()]
    policy = {"issuer": issuer.url("ci"), "audience": "errand", "claims": {"sub": "x"}, "scopes": ["runs:read"]}
    answer = api.request("PUT", "/v1/trust/a", policy)
    assert (answer.status, answer.code) == (400, "invalid_field") and "https" in answer.json()["detail"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        for url in (f"https://127.0.0.1:{port}/ci", f"https://localhost:{port}/ci", f"https://[::ffff:127.0.0.1]:{port}/ci"):
            assert api.request("PUT", "/v1/trust/a", {**policy, "issuer": url}).status in (200, 201)
            assert_refused(request(api.port, "POST", "/v1/token", {"token": RSA.token(claims(url, sub="x"))}), "issuer_unavailable", 503)
            with pytest.raises(BlockingIOError):  # nobody connected
                listener.accept()
    assert issuer.asked == []


def test_a_policy_of_http_counts_only_while_that_is_allowed(place):
    strict = place.stack.api()
    before = len(place.issuer.asked)
    assert_refused(place.exchange(place.good(), api=strict))
    assert len(place.issuer.asked) == before
    assert_exchanged(place.exchange(place.good()))


@pytest.mark.parametrize("mode", ["error", "html", "huge", "redirect", "elsewhere", "other"])
def test_an_issuer_that_is_wrong(place, mode):
    place.issuer.keys.update(bad=[RSA.jwk()], elsewhere=[RSA.jwk()])
    place.issuer.modes["bad"] = mode
    place.put("bad", name="bad")
    before = len(place.issuer.asked)
    for _ in range(3):
        assert_refused(place.exchange(place.good(name="bad")), "issuer_unavailable", 503)
    asked = place.issuer.asked[before:]
    assert len(asked) <= 2 and all(p.startswith("/bad/") for p in asked), asked
    assert_exchanged(place.exchange(place.good()))


def test_an_issuer_that_is_down_or_slow(place):
    place.put("down", name="down", issuer="http://127.0.0.1:1/down")
    assert_refused(place.exchange(RSA.token(claims("http://127.0.0.1:1/down"))), "issuer_unavailable", 503)
    place.issuer.gate["slow"] = threading.Event()
    place.put("slow", name="slow")
    begun = time.monotonic()
    assert_refused(place.exchange(place.good(name="slow")), "issuer_unavailable", 503)
    assert 4 < time.monotonic() - begun < 15
    assert_exchanged(place.exchange(place.good()))


def test_who_waits_for_keys(place):
    """One question for all; what changed meanwhile counts; a client that has gone harms nobody; a node that ends lets nobody hang."""
    issuer = place.issuer
    issuer.gate["slow"], issuer.keys["slow"] = threading.Event(), [RSA.jwk()]
    place.put("slow", name="slow", claims={"repository": "example/app"})
    place.put("gone", name="slow", claims={"repository": "example/gone"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(place.exchange, place.good(name="slow")) for _ in range(6)]
        refused = pool.submit(place.exchange, place.good(name="slow", repository="example/gone"))
        wait_until(lambda: issuer.asked.count("/slow/.well-known/openid-configuration") == 1, 10, "the issuer is asked")
        assert place.ask("DELETE", "/v1/trust/gone").status == 204
        issuer.gate["slow"].set()
        for answer in waiting:
            assert_exchanged(answer.result())
        # it was looked up before or after the policy went; either way nothing comes of it
        assert_refused(refused.result())
    assert issuer.asked.count("/slow/keys") == 1


def test_a_node_that_ends_while_somebody_waits(place):
    place.issuer.gate["slow"] = threading.Event()
    place.put("slow", name="slow")
    node = place.stack.api(env={**OPEN, "ERRAND_DRAIN_MS": "100"})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place.exchange, place.good(name="slow"), node)
        wait_until(lambda: "/slow/.well-known/openid-configuration" in place.issuer.asked, 10, "the issuer is asked")
        node.process.signal(signal.SIGTERM)
        try:
            assert waiting.result().status == 503
        except ConnectionError:
            pass
    assert node.process.wait(20) == 0


def test_rotated_keys(place):
    """A node that comes later knows the new keys; one that knew the old ones asks again for a kid it does not know, but not within a minute (test_issuer.c has the times)."""
    assert_exchanged(place.exchange(place.good()))
    new = Key("rsa-2")
    place.issuer.keys["ci"] = [new.jwk()]
    assert_refused(place.exchange(new.token(place.claims())))
    assert len(place.issuer.asked) == 2
    later = place.stack.api(env=OPEN)
    assert_exchanged(place.exchange(new.token(place.claims()), api=later))
    assert_refused(place.exchange(place.good(), api=later))


def test_no_token_and_no_key_is_logged_or_kept(place):
    token = place.good()
    key = assert_exchanged(place.exchange(token))["access_token"]
    place.exchange(token)
    for name in os.listdir(place.stack.folder):
        if name.endswith(".log"):
            with open(os.path.join(place.stack.folder, name), "rb") as f:
                text = f.read()
            assert token.split(".")[2].encode() not in text and key.encode() not in text, name
    held = b""
    for name in place.stack.redis.keys("*"):
        kind = place.stack.redis.command("TYPE", name)
        held += name + (repr(place.stack.redis.command("HGETALL", name)).encode() if kind == b"hash" else b"")
    assert token.split(".")[2].encode() not in held and key.split("_")[-1].encode() not in held


def test_failures_are_limited_by_source(place):
    node = place.stack.api(env={**OPEN, "ERRAND_AUTH_FAILURES_MAX": "5"})
    answers = []

    def limited():
        answers.append(place.exchange(place.good(aud="x"), api=node))
        return answers[-1].status == 429
    wait_until(limited, 20, "the address is told to wait")
    assert len(answers) > 5 and {a.status for a in answers[:5]} == {401}
    assert answers[-1].code == "rate_limited" and int(answers[-1].headers["retry-after"]) > 1
    # who has a good one is let in all the same
    wait_until(lambda: place.exchange(place.good(), api=node).status == 200, 20, "a good token is taken")


# ---- policies ----

def test_policies_are_kept(place):
    answer = place.put("more", ttlMs=60000, agents=["a"])
    assert answer.status == 201 and answer.headers["location"] == "/v1/trust/more"
    assert answer.json() == {**place.policy(ttlMs=60000, agents=["a"]), "name": "more", "createdAt": answer.json()["createdAt"], "updatedAt": answer.json()["updatedAt"], "createdBy": "root"}
    assert place.put("more").status == 200
    assert "agents" not in place.ask("GET", "/v1/trust/more").json()
    assert [p["name"] for p in place.ask("GET", "/v1/trust").json()["policies"]] == ["deploy", "more"]
    assert place.ask("GET", "/v1/trust", ws="team").json() == {"policies": []}
    assert place.ask("GET", "/v1/trust/more", ws="team").code == "trust_not_found"
    assert place.ask("DELETE", "/v1/trust/more", ws="team").code == "trust_not_found"
    assert place.ask("DELETE", "/v1/trust/more").status == 204
    assert place.ask("GET", "/v1/trust/more").code == "trust_not_found"
    answer = place.ask("PUT", "/v1/trust/more", place.policy(jwksUri="https://keys.example.com/"))
    assert (answer.status, answer.code) == (409, "trust_conflict")
    for fields in ({"claims": {}}, {"scopes": ["keys:admin"]}, {"ttlMs": 3600001}, {"more": 1}):
        assert place.ask("PUT", "/v1/trust/more", place.policy(**fields)).status == 400
    assert place.ask("PUT", "/v1/trust/more", place.policy(claims={"sub": "x" * 9000})).status == 413
    for method in ("GET", "PUT", "DELETE"):
        assert request(place.api.port, method, "/v1/trust/deploy", {} if method == "PUT" else None).status == 401


def test_nobody_grants_more_than_they_have(place):
    def put(policy, **key):
        made = place.ask("POST", "/v1/keys", {"name": "maker", **key})
        assert made.status == 201, made
        return request(place.api.port, "PUT", "/v1/trust/granted", policy, {"Authorization": f"Bearer {made.json()['key']}"})
    own = ["trust:admin", "runs:read", "runs:create"]
    assert put(place.policy(), scopes=own).status == 201
    assert place.ask("GET", "/v1/trust/granted").json()["createdBy"] != "root"
    answer = put(place.policy(scopes=["runs:read", "runs:stop"]), scopes=own)
    assert answer.status == 403 and "runs:stop" in answer.json()["detail"]
    assert put(place.policy(), scopes=["runs:read", "runs:create"]).status == 403
    answer = put(place.policy(), scopes=own, expiresInMs=3600000)
    assert answer.status == 403 and "expire" in answer.json()["detail"]
    here = ["127.0.0.0/8"]
    assert put(place.policy(), scopes=own, cidrs=here).status == 403
    assert put(place.policy(cidrs=["127.0.0.1", "192.0.2.1"]), scopes=own, cidrs=here).status == 403
    assert put(place.policy(cidrs=["127.0.0.1"]), scopes=own, cidrs=here).status == 200
    body = assert_exchanged(place.exchange(place.good(), policy="granted"))
    assert request(place.api.port, "GET", "/v1/runs", headers={"Authorization": f"Bearer {body['access_token']}"}).status == 200


def test_policies_are_bounded(place):
    for i in range(99):
        place.put(f"p{i:02}", name=f"i{i}")
    assert place.ask("PUT", "/v1/trust/more", place.policy()).code == "limit_exceeded"
    assert len(place.ask("GET", "/v1/trust").json()["policies"]) == 100
    place.put("deploy", ws="team")
    assert_exchanged(place.exchange(place.good()))


# ---- the CLI ----

def errand(place, *args, env=None, stdin=None):
    return subprocess.run([os.path.join(build_dir(), "errand"), *args, "--url", place.api.url], input=stdin, text=True, capture_output=True, timeout=60, cwd=place.stack.folder,
                          env={**place.stack.environment(), "ERRAND_KEY": place.stack.key, **(env or {})})


def test_the_cli_keeps_policies(place):
    path = os.path.join(place.stack.folder, "policy.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(place.policy(), f)
    done = errand(place, "trust", "put", "ci", path)
    assert done.returncode == 0 and json.loads(done.stdout)["name"] == "ci", done
    done = errand(place, "trust")
    assert done.returncode == 0 and "deploy" in done.stdout and place.issuer.url("ci") in done.stdout, done
    assert json.loads(errand(place, "trust", "show", "ci", "--json").stdout)["audience"] == "errand"
    assert errand(place, "trust", "delete", "ci").returncode == 0
    assert errand(place, "trust", "delete", "ci").returncode == 2
    assert errand(place, "trust", "put", "ci").returncode == 2
    assert errand(place, "trust", "put", "ci", "-", stdin="{}").returncode == 2


def test_the_cli_exchanges_tokens(place):
    token = place.good()
    done = errand(place, "token", "--policy", "deploy", "--token-file", "-", stdin=token + "\n")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1, done
    bearer = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert request(place.api.port, "GET", "/v1/runs", headers=bearer).status == 200
    done = errand(place, "token", "--token-file", "-", stdin=token)
    assert done.returncode != 0 and done.stdout == "" and "exchanged before" in done.stderr.lower() or "once" in done.stderr, done
    assert token not in done.stderr
    path = os.path.join(place.stack.folder, "token")
    with open(path, "w", encoding="utf-8") as f:
        f.write(place.good())
    done = errand(place, "token", "--token-file", path, "--export")
    assert done.returncode == 0 and done.stdout.startswith("export ERRAND_KEY='errand_"), done
    done = errand(place, "token", env={"ACTIONS_ID_TOKEN_REQUEST_URL": "", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": ""})
    assert done.returncode == 2 and "id-token: write" in done.stderr, done


def test_the_cli_in_github_actions(place):
    """The runner of a job gives the token to whoever has the job's secret; the stand-in checks it as GitHub does."""
    import http.server
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            ok = self.headers["Authorization"] == "Bearer job-secret" and query.get("api-version") == ["2.0"]
            body = json.dumps({"count": 1, "value": place.good(aud=query.get("audience", ["https://github.com/example"])[0])} if ok else {}).encode()
            self.send_response(200 if ok else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        env = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_address[1]}/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job-secret"}
        done = errand(place, "token", "--policy", "deploy", "--audience", "errand", env=env)
        assert done.returncode == 0 and done.stdout.startswith("errand_"), done
        assert asked == ["/token?api-version=2.0&audience=errand"]
        done = errand(place, "token", "--policy", "deploy", env=env)
        assert done.returncode != 0 and done.stdout == "", done
        done = errand(place, "token", env={**env, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "wrong"})
        assert done.returncode == 2 and "no id token" in done.stderr, done
        done = errand(place, "token", env={**env, "ACTIONS_ID_TOKEN_REQUEST_URL": "http://example.com/x"})
        assert done.returncode == 2 and "https" in done.stderr, done
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
