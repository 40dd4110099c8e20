"""The users of a test's Redis: those of docker/users.acl, with passwords and a prefix made for this test."""
import os
import secrets
import subprocess

USERS_SH = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))), "docker", "users.sh")
USER_OF = {"errand-api": "api", "errand-runner": "runner"}  # by program; all others are people who look: doctor


class RedisUsers:
    """`login(user)` is what AUTH takes, `env(user)` what a node of ours does. Users: api, runner, doctor, replica, operator."""

    def __init__(self, prefix=None):
        self.prefix = prefix or f"t{secrets.token_hex(4)}:"
        self.passwords = {user: secrets.token_urlsafe(32) for user in ("api", "runner", "storage", "doctor", "replica", "operator")}

    def login(self, user):
        return f"errand-{user}", self.passwords[user]

    def env(self, user):
        name, password = self.login(user)
        return {"ERRAND_REDIS_USER": name, "ERRAND_REDIS_PASSWORD": password}

    def rules(self):
        """The ACL file, as docker/users.sh makes it."""
        env = {"PATH": os.environ["PATH"], "ERRAND_PREFIX": self.prefix, **{f"ERRAND_REDIS_{user.upper()}_PASSWORD": password for user, password in self.passwords.items()}}
        return subprocess.run(["sh", USERS_SH], env=env, stdout=subprocess.PIPE, check=True).stdout

    def write(self, path):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
            f.write(self.rules())
