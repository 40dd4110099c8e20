"""What goes wrong: nodes and Redis are killed, frozen, filled, cut off and robbed of their last second, by two schedules drawn from the seed, one for nodes and one for Redis and the ways to
it. Redis suffers from one fault at a time; nodes may suffer beside that."""
import collections
import os
import random
import threading
import time

from harness import nodes
from harness.build import script_mark
from harness.redis_proxy import RedisProxy
from harness.wait import wait_until

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
QUICK = {"ERRAND_LEASE_MS": 3000, "ERRAND_HEARTBEAT_MS": 500, "ERRAND_LOG_LEVEL": "info"}
APIS, RUNNERS, SLOTS = 3, 4, 8
LOST_REPLIES = {"runner": ["claim", "started", "finish", "heartbeat", "hand_back", "promote", "reap", "XADD", "XADD"], "api": ["submit", "submit", "stop", "show", "promote", "reap"]}


def skew_library():
    """libfaketime, wherever this machine's architecture has it; None when it is not installed."""
    if os.path.exists(FAKETIME):
        return FAKETIME
    for folder, _, files in os.walk("/usr/lib"):
        if folder.endswith("/faketime") and "libfaketimeMT.so.1" in files:
            return os.path.join(folder, "libfaketimeMT.so.1")
    return None


class Member:
    """One place of the cluster: a node that is started again after each of its deaths, always with the same name and options."""

    def __init__(self, kind, name, env, build=None):
        self.kind, self.name, self.env, self.build = kind, name, env, build
        self.node, self.port, self.pids = None, 0, []
        self.thaw_at = self.start_at = None  # monotonic

    def well(self):
        return self.node is not None and self.node.process.alive() and self.thaw_at is None and self.start_at is None


class Cluster:
    """API nodes, runners and the proxies that some of them reach Redis through; one of each kind has a clock some hours off, which may jump."""

    def __init__(self, stack, redis, seed):
        self.stack, self.redis = stack, redis
        rng = random.Random(f"cluster {seed}")
        self.proxies = [RedisProxy(stack.folder, redis.socket, f"p{i}") for i in range(3)]
        self.clock = os.path.join(stack.folder, "clock")
        self.skewed = skew_library() is not None
        self.set_clock(rng.choice([-1, 1]) * rng.uniform(2, 12))
        self.members = [self._member("api", i, rng) for i in range(APIS)] + [self._member("runner", i, rng) for i in range(RUNNERS)]

    def _member(self, kind, i, rng):
        name, env, build = f"{kind}{i}", dict(QUICK), None
        env["ERRAND_NODE"] = name
        if i < 2 and (kind == "runner" or i == 0):
            env["ERRAND_REDIS_URL"] = self.proxies[i if kind == "runner" else 2].url
        if i == 1 and self.skewed:
            # Of the Release build: libfaketime and a sanitizer both want to be the first library of a process.
            build = nodes.release_dir()
            env.update(LD_PRELOAD=skew_library(), FAKETIME_TIMESTAMP_FILE=self.clock, FAKETIME_CACHE_DURATION="1", FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DISABLE_SHM="1")
        return Member(kind, name, env, build)

    def set_clock(self, hours):
        with open(self.clock + ".new", "w", encoding="ascii") as f:
            f.write(f"{hours * 3600:+.0f}\n")
        os.rename(self.clock + ".new", self.clock)

    def start(self, member):
        member.start_at = None
        if member.kind == "api":
            member.node = self.stack.api(env=member.env, build=member.build, wait=False, port=member.port)
            member.port = member.node.port
        else:
            port = next(m.port for m in self.members if m.kind == "api")
            env = {"ERRAND_EXECUTORS": "process", "ERRAND_SLOTS": SLOTS, "ERRAND_QUEUES": "default,other", "ERRAND_API_BASE": f"http://127.0.0.1:{port}", "ERRAND_DRAIN_MS": "1000", **member.env}
            process = self.stack.start("errand-runner", (), env, member.build)
            member.node = nodes.Runner(self.stack, process, None)
            self.stack.runners.append(member.node)
        member.pids.append(member.node.process.pid)

    def start_all(self):
        for member in self.members:
            self.start(member)
        self.wait_ready()

    def wait_ready(self):
        wait_until(lambda: all(m.node.ready() for m in self.members if m.kind == "api"), 30, "API nodes are ready")

    def ports(self):
        """Of the API nodes, also while one is dead or frozen: a client has to find that out by itself."""
        return [m.port for m in self.members if m.kind == "api"]

    def well(self, kind):
        return [m for m in self.members if m.kind == kind and m.well()]

    def heal(self):
        """Everything runs again, and nothing is held, cut or full."""
        for proxy in self.proxies:
            proxy.release()
            proxy.accept()
        self.redis.thaw()
        if not self.redis.process.alive():
            self.redis.start()
        self.redis.set_maxmemory(0)
        for member in self.members:
            self.tend(member, now=float("inf"))
            if member.start_at is not None:  # it is still on its way out
                member.node.process.wait(30)
                self.start(member)

    def tend(self, member, now):
        """Does what has come due for a node: goes on, starts again."""
        if member.thaw_at is not None and member.thaw_at <= now:
            member.thaw_at = None
            member.node.process.thaw()
        if member.start_at is not None and member.start_at <= now:
            if not member.node.process.alive():
                self.start(member)

    def close(self):
        """To be called when all nodes have ended."""
        for proxy in self.proxies:
            proxy.stop()
        for pid in (p for m in self.members if "LD_PRELOAD" in m.env for p in m.pids):
            for name in (f"/dev/shm/faketime_shm_{pid}", f"/dev/shm/sem.faketime_sem_{pid}"):  # libfaketime's, of a node that was killed
                if os.path.exists(name):
                    os.unlink(name)


NODE_FAULTS = {"runner_kill": 8, "runner_freeze": 7, "runners_freeze": 1, "partition": 5, "runner_drain": 4, "api_kill": 5, "api_freeze": 3, "clock_jump": 3}
REDIS_FAULTS = {"redis_restart": 3, "redis_tail_cut": 3, "redis_freeze": 3, "redis_full": 3, "client_kill": 5, "script_flush": 5, "proxy_cut": 5, "proxy_hold": 4, "reply_lost": 12}


class Faults:
    """Draws faults and does them until told to stop; `counts` says how often each was done, `kills` when runners were lost: (wall ms, name)."""

    def __init__(self, cluster, client, seed, on=None):
        self.cluster, self.client, self.redis, self.seed = cluster, client, cluster.redis, seed
        self.counts, self.kills, self.faults = collections.Counter(), [], []
        self.on = set(on) if on else set(NODE_FAULTS) | set(REDIS_FAULTS)
        if not cluster.skewed:
            self.on.discard("clock_jump")

    def run_until(self, done):
        """Both schedules at once, until done(). What fails in them is raised here."""
        halt = threading.Event()

        def run(schedule):
            try:
                schedule.run_until(lambda: halt.is_set() or done())
            except Exception as e:  # raised below
                self.faults.append(e)
        schedules = [threading.Thread(target=run, args=(s,)) for s in (NodeFaults(self, NODE_FAULTS), RedisFaults(self, REDIS_FAULTS))]
        for thread in schedules:
            thread.start()
        try:
            for thread in schedules:
                thread.join()
        finally:  # also when the driver is told to end meanwhile
            halt.set()
            for thread in schedules:
                thread.join()
        if self.faults:
            raise self.faults[0]


class Schedule:
    """One of the two: faults with pauses of up to 1.5 s between them. The first ones are one of each kind, so that a short seed has all of them."""

    def __init__(self, faults, kinds):
        self.faults, self.cluster, self.client, self.redis = faults, faults.cluster, faults.client, faults.redis
        self.kinds = {k: w for k, w in kinds.items() if k in faults.on}
        self.random, self.counts = random.Random(f"{type(self).__name__} {faults.seed}"), faults.counts

    def run_until(self, done):
        deck = list(self.kinds)
        self.random.shuffle(deck)
        while not done():
            kind = deck.pop() if deck else self.random.choices(list(self.kinds), list(self.kinds.values()))[0] if self.kinds else None
            if kind and getattr(self, kind)() is not False:
                self.counts[kind] += 1
            self._pause(self.random.uniform(0, 1.5), done)

    def _pause(self, seconds, done=lambda: False):
        """Lets time go by."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            self._tend()
            time.sleep(max(0, min(0.02, end - time.monotonic())))

    def _tend(self):
        """What is to be done meanwhile."""


class NodeFaults(Schedule):
    """Nodes are killed, frozen, sent away; each comes back in a while."""

    def _tend(self):
        for member in self.cluster.members:
            self.cluster.tend(member, time.monotonic())

    def _victim(self, kind):
        """A node that is well; the last one of its kind is spared."""
        well = self.cluster.well(kind)
        return self.random.choice(well) if len(well) > 1 else None

    def _kill(self, kind):
        member = self._victim(kind)
        if member is None:
            return False
        self.faults.kills.append((time.time() * 1000, member.name))
        member.node.kill9()
        member.start_at = time.monotonic() + self.random.choice([0, self.random.uniform(0, 3)])
        return True

    def runner_kill(self):
        return self._kill("runner")

    def api_kill(self):
        return self._kill("api")

    def _freeze(self, kind, longest):
        member = self._victim(kind)
        if member is None:
            return False
        seconds = self.random.uniform(0.1, longest)
        if kind == "runner" and seconds > 2.5:
            self.faults.kills.append((time.time() * 1000, member.name))  # it will be declared dead
        member.node.process.freeze()
        member.thaw_at = time.monotonic() + seconds
        return True

    def runner_freeze(self):
        return self._freeze("runner", 7)

    def runners_freeze(self):
        """All of them at once, past their leases: their runs are taken back while nobody can claim, so what the first to go on still has to say meets a fence that no new attempt hides."""
        began = time.monotonic()
        for member in self.cluster.well("runner"):
            self.faults.kills.append((time.time() * 1000, member.name))
            member.node.process.freeze()
            member.thaw_at = began + self.random.uniform(4, 5)

    def partition(self):
        """What two runners say is held on its way until after their leases, and the others are frozen: their runs are taken back and wait, and then what they said arrives. Only the fence is left to
        refuse it."""
        began, ways = time.monotonic(), self.cluster.proxies[:2]
        for proxy in ways:
            proxy.hold(replies=False)
        for member in self.cluster.well("runner"):
            self.faults.kills.append((time.time() * 1000, member.name))
            if "ERRAND_REDIS_URL" not in member.env:
                member.node.process.freeze()
                member.thaw_at = began + self.random.uniform(5, 6)
        self._pause(self.random.uniform(4.2, 4.8))
        for proxy in ways:
            proxy.release(replies=False)

    def api_freeze(self):
        return self._freeze("api", 3)

    def runner_drain(self):
        member = self._victim("runner")
        if member is None:
            return False
        member.node.process.signal(15)
        member.start_at = time.monotonic() + self.random.uniform(1, 3)
        return True

    def clock_jump(self):
        self.cluster.set_clock(self.random.choice([-1, 1]) * self.random.uniform(0, 12))


class RedisFaults(Schedule):
    """Redis, one thing at a time, and the connections to it."""

    def redis_restart(self):
        self.redis.kill9()
        self._pause(self.random.choice([0, self.random.uniform(0, 2)]))
        self.redis.start()

    def redis_tail_cut(self):
        """As when its machine dies under `everysec`: what was written in the last second is gone, whoever heard of it."""
        self.client.cut_begins()
        size = self.redis.aof_size()
        self._pause(self.random.uniform(0.1, 1.0))
        self.redis.kill9()
        self.redis.cut_aof(size)
        self._pause(self.random.choice([0, self.random.uniform(0, 1)]))
        self.redis.start()
        self.counts["lost_answers"] += self.client.cut_ends()

    def redis_freeze(self):
        self.redis.freeze()
        self._pause(self.random.uniform(0.05, 4.5))
        self.redis.thaw()

    def redis_full(self):
        self.redis.set_maxmemory(1)
        self._pause(self.random.uniform(0.1, 3))
        self.redis.set_maxmemory(0)

    def client_kill(self):
        self.redis.command("CLIENT", "KILL", "TYPE", self.random.choice(["normal", "normal", "pubsub"]), "SKIPME", "yes")

    def script_flush(self):
        self.redis.command("FUNCTION", "FLUSH")
        self.redis.command("SCRIPT", "FLUSH")

    def proxy_cut(self):
        proxy = self.random.choice(self.cluster.proxies)
        refuse = self.random.random() < 0.4
        proxy.cut(refuse=refuse)
        if refuse:
            self._pause(self.random.uniform(0.1, 5))
            proxy.accept()

    def proxy_hold(self):
        """Nothing passes in one direction or both; connections stay open. Past the lease the runner behind it is declared dead."""
        proxy = self.random.choice(self.cluster.proxies)
        ways = self.random.choice([{}, {"replies": False}, {"requests": False}])
        proxy.hold(**ways)
        self._pause(self.random.uniform(0.1, 6))
        proxy.release()

    def reply_lost(self):
        """The connection is cut between a script's execution and its answer."""
        number = self.random.randrange(len(self.cluster.proxies))
        for _ in range(self.random.randint(1, 3)):
            mark = self.random.choice(LOST_REPLIES["api" if number == 2 else "runner"])
            self.cluster.proxies[number].lose_reply_to(b"XADD" if mark == "XADD" else script_mark(mark))
