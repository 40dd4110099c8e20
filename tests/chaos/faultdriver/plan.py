"""What a seed submits: groups of runs, each run with all that the check needs to know. Nothing here looks at a clock or at the system: the same seed is the same plan."""
import random

# What the deployed version may not know yet: submission fields that are tried once, before the load; kinds that need a missing one are left out.
FEATURES = {
    "concurrencyKey": {"concurrencyKey": "probe"},
    "rateLimit": {"rateLimit": {"key": "probe", "limit": 10, "perMs": 1000, "burst": 5}},
    "dependsOn": {"dependsOn": []},
    "onDependencyFailure": {"onDependencyFailure": "fail"},
    "startWithinMs": {"startWithinMs": 60000},
}
ONE_KEYS, THREE_KEYS, RATE_KEYS = 8, 2, 3
RATE = {"limit": 20, "perMs": 1000, "burst": 10}
QUEUES = ["default", "default", "other"]


class Spec:
    """One run to be: its body, its input, and what is to be done with it and expected of it."""

    def __init__(self, index, kind, agent=None, data=None, **fields):
        self.index, self.kind = index, kind
        self.agent, self.input, self.fields = agent or {}, data or {}, fields
        self.parent = None      # Spec
        self.depends = []       # Specs
        self.stop_after = None  # seconds after it was accepted
        self.reader = None      # None, "plain", "cut" or "slow"
        self.lock = None        # limit key
        self.rate = None        # rate key
        self.expect = "success"  # or "error", "stopped"; "any" where a stop comes at a random moment

    @property
    def key(self):
        return f"key-{self.index}"


class Plan:
    """Groups of Specs; within a group the later ones may name the earlier ones, so a group is submitted in order."""

    def __init__(self, seed, runs, features, folder, agent_path):
        self.random, self.features = random.Random(f"plan {seed}"), features
        self.agent_path, self.folder = agent_path, folder
        self.groups, self.specs = [], []
        kinds = [(weight, make) for weight, needs, make in self._kinds() if needs <= features]
        while len(self.specs) < runs:
            group = self.random.choices([m for _, m in kinds], [w for w, _ in kinds])[0]()
            self.groups.append(group)
        for spec in self.specs:
            share = 0.5 if spec.kind in ("chatty", "once", "hang") else 0.03
            if self.random.random() < share:
                spec.reader = self.random.choice(["plain", "cut", "cut", "slow"])

    def _kinds(self):
        return [
            (40, set(), self.plain), (9, set(), self.chatty), (9, set(), self.retried), (5, set(), self.failing), (8, set(), self.delayed), (8, set(), self.prioritised),
            (2, set(), self.once), (3, set(), self.hanging), (4, set(), self.stopped_somewhere), (1.5, set(), self.tree), (1, set(), self.quiet_tree),
            (7, {"concurrencyKey"}, self.limited_to_one), (7, {"concurrencyKey"}, self.limited_to_three), (3, {"rateLimit"}, self.rated), (3, {"dependsOn"}, self.chain),
            (1.5, {"dependsOn"}, self.fan), (1, {"dependsOn", "onDependencyFailure"}, self.chain_that_breaks), (2, {"startWithinMs"}, self.expiring),
        ]

    def _spec(self, kind, data=None, agent=None, **fields):
        definition = {"name": kind, "executor": "process", "command": [self.agent_path, self.folder], "graceMs": 500, "timeoutMs": 120000, **(agent or {})}
        fields.setdefault("queue", self.random.choice(QUEUES))
        spec = Spec(len(self.specs), kind, definition, data or self._little(), **fields)
        self.specs.append(spec)
        return spec

    def _little(self):
        return {"events": self.random.choice([0, 1, 2, 3, 5, 8]), "group": 2, "pauseUs": self.random.choice([0, 1000, 3000, 10000])}

    def plain(self):
        return [self._spec("plain")]

    def chatty(self):
        return [self._spec("chatty", {"events": self.random.randint(20, 150), "group": 10, "pauseUs": self.random.choice([2000, 10000, 30000]), "pad": self.random.choice([0, 20, 400])})]

    def _backoff(self):
        base = self.random.choice([1, 20, 200])
        return {"type": self.random.choice(["fixed", "exponential"]), "baseMs": base, "capMs": 400}

    def retried(self):
        fail = self.random.randint(1, 3)
        return [self._spec("retried", {**self._little(), "fail": fail}, {"maxAttempts": fail + 1, "backoff": self._backoff()})]

    def failing(self):
        spec = self._spec("failing", {**self._little(), "fail": 1000}, {"maxAttempts": self.random.randint(1, 3), "backoff": self._backoff()})
        spec.expect = "error"
        return [spec]

    def delayed(self):
        return [self._spec("delayed", delayMs=self.random.randint(1, 3000))]

    def prioritised(self):
        return [self._spec("prioritised", priority=self.random.choice(["high", "low"]))]

    def once(self):
        return [self._spec("once", {"events": 40, "group": 4, "pauseUs": 30000}, {"atMostOnce": True, "maxAttempts": 3})]

    def hanging(self):
        spec = self._spec("hang", {"events": self.random.randint(0, 20), "group": 5, "pauseUs": 5000, "hang": 1, "deaf": int(self.random.random() < 0.3)})
        spec.stop_after, spec.expect = self.random.uniform(0, 2), "stopped"
        return [spec]

    def stopped_somewhere(self):
        group = self.random.choice([self.plain, self.chatty, self.retried, self.delayed, self.prioritised])()
        group[0].stop_after, group[0].expect = self.random.uniform(0, 0.6), "any"
        return group

    def tree(self):
        """A root that is stopped, with children and grandchildren; some take 20 s, some end at once. (None hangs: one whose own parent ended before the stop escapes it.)"""
        root = self.hanging()[0]
        root.stop_after = self.random.uniform(0.2, 2)
        group, long = [root], {"events": 40, "group": 1, "pauseUs": 500000}
        for _ in range(self.random.randint(2, 6)):
            child = self._spec("child", self.random.choice([long, {**long, "deaf": 1}, self._little()]))
            child.parent, child.expect = self.random.choice(group), "any"
            group.append(child)
        return group

    def quiet_tree(self):
        group = [self._spec("child", {"events": 30, "group": 3, "pauseUs": 20000})]
        for _ in range(self.random.randint(1, 4)):
            child = self._spec("child")
            child.parent = self.random.choice(group)
            group.append(child)
        return group

    def _limited(self, name, limit):
        spec = self._spec("limited", {**self._little(), "lock": name, "slots": limit}, concurrencyKey={"key": name, "limit": limit})
        spec.lock = name
        if self.random.random() < 0.1:
            spec.input["fail"], spec.agent["maxAttempts"], spec.agent["backoff"] = 1, 3, self._backoff()
        elif self.random.random() < 0.1:
            spec.stop_after, spec.expect = self.random.uniform(0, 0.6), "any"
        return [spec]

    def limited_to_one(self):
        return self._limited(f"one-{self.random.randrange(ONE_KEYS)}", 1)

    def limited_to_three(self):
        return self._limited(f"three-{self.random.randrange(THREE_KEYS)}", 3)

    def rated(self):
        name = f"rate-{self.random.randrange(RATE_KEYS)}"
        spec = self._spec("rated", rateLimit={"key": name, **RATE})
        spec.rate = name
        return [spec]

    def chain(self):
        group = [self._spec("chain")]
        for _ in range(self.random.randint(1, 4)):
            spec = self._spec("chain", **({"delayMs": 100} if self.random.random() < 0.1 else {}))
            spec.depends = [group[-1]]
            group.append(spec)
        return group

    def fan(self):
        heads = [self._spec("fan", **({"delayMs": self.random.randint(1, 500)} if self.random.random() < 0.3 else {})) for _ in range(self.random.randint(2, 8))]
        last = self._spec("fan")
        last.depends = heads
        return heads + [last]

    def chain_that_breaks(self):
        """The first one fails; the second runs all the same, or fails with it; the third depends on that."""
        first, runs = self.failing()[0], self.random.random() < 0.5
        second, third = self._spec("broken", onDependencyFailure="run" if runs else "fail"), self._spec("broken")
        second.depends, third.depends = [first], [second]
        if not runs:
            second.expect = third.expect = "error"
        return [first, second, third]

    def expiring(self):
        """It starts within its time or never: nobody knows which."""
        spec = self._spec("expiring", startWithinMs=self.random.choice([50, 500, 5000]))
        spec.expect = "expires"
        return [spec]
