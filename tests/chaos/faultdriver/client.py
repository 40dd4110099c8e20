"""The client of the chaos driver: submits the plan's groups with Idempotency-Keys until each has an answer, stops what is to be stopped, and keeps live readers. It behaves as a careful
client would, also when Redis' machine dies: what was answered within the last second before that may be gone, so it submits it again under the same key.

What "accepted" means under a cut tail: a run is accepted by the last answer to its key. An answer that came before the file's kept part ended binds for ever: that id must be the run's id
at the end, too. One that came later (a Cut covers it) may be lost; its key is then submitted again once Redis is back, and the new answer binds. The old id must then be gone."""
import heapq
import itertools
import random
import threading
import time

from harness import http_client
from harness.sse import Reader, Record

ANSWER_S = 5.0
SUBMITTERS = 10
READERS_MAX = 40
RETRIED = (429, 500, 502, 503, 504)


class SlowRecord(Record):
    """Of a reader that takes its time for every frame."""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)

    def take(self, frame):
        super().take(frame)
        if self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, 0.05))


class LiveReader(Reader):
    """A reader that knows when it began and ended."""

    def __init__(self, spec, ports, run_id, key, seed):
        self.began, self.ended, self.slow = time.monotonic(), None, spec.reader == "slow"
        cut = (100, 4000) if spec.reader == "cut" else None
        super().__init__(ports, run_id, key, seed=seed, cut_between=cut, deadline=600, receive_buffer=4096 if self.slow else None)

    def run(self):
        if self.slow:
            self.record = SlowRecord(self.random.random())
        super().run()
        self.ended = time.monotonic()


class State:
    """What became of one Spec."""

    def __init__(self):
        self.run_id = self.began = self.answered = None
        self.bound = None       # the id of an answer that no cut covers
        self.refused = None     # (status, code) of a final refusal
        self.doubted = False    # a run that names it was told that it is not there
        self.lost_ids = []      # ids whose run was lost with a tail
        self.submits = 0        # requests that it took
        self.stop_asked = self.stop_answered = self.stop_status = None  # monotonic, monotonic, HTTP status of the answer that binds
        self.stop_began_ms = self.stop_wall_ms = None  # wall clock: when it was asked for first, and answered
        self.stop_said = None
        self.readers = []


class Cut:
    """A lost tail: everything answered before `kept` is in the file; Redis was back at `back`."""

    def __init__(self, kept):
        self.kept, self.back = kept, None

    def covers(self, began, answered):
        return answered > self.kept and (self.back is None or began < self.back)


class Client:
    """Runs the plan against the nodes in `nodes()` (a list of ports of which some may be dead)."""

    def __init__(self, plan, ports, key, seed):
        self.plan, self.ports, self.key, self.seed = plan, ports, key, seed
        self.states = {s.index: State() for s in plan.specs}
        self.violations, self.cuts = [], []
        self.lock = threading.RLock()
        self.group_locks = [threading.Lock() for _ in plan.groups]
        self.group_of = {s.index: g for g, group in enumerate(plan.groups) for s in group}
        self.again = []  # groups to submit again
        self.stops, self.ticket = [], itertools.count()
        self.stopping = threading.Event()
        self.next_group = 0
        self.local = threading.local()
        self.live = []
        self.busy = 0
        self.rng = random.Random(f"client {seed}")

    # ---- the whole ----

    def start(self, seconds):
        self.began, self.seconds = time.monotonic(), seconds
        self.threads = [threading.Thread(target=self._guard, args=(work,), daemon=True) for work in [self._submit_groups] * SUBMITTERS + [self._stop_runs] * 2]
        for thread in self.threads:
            thread.start()

    def _guard(self, work):
        try:
            work()
        except Exception as e:  # told with the seed's result
            self._violate("client", None, f"the client itself failed: {type(e).__name__}: {e}")
            raise

    def share_done(self):
        return self.next_group / len(self.plan.groups)

    def settled(self):
        """Whether all is submitted and all stops are answered."""
        with self.lock:
            return self.next_group == len(self.plan.groups) and not self.again and not self.stops and self.busy == 0

    def finish(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)

    def _violate(self, check, run_id, text):
        with self.lock:
            self.violations.append({"check": check, "run": run_id, "text": text})

    # ---- requests ----

    def request(self, port, method, path, body=None, headers=None):
        """One request on this thread's kept connection to that node; raises OSError when there is no answer."""
        kept = self.local.__dict__.setdefault("connections", {})
        fields = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        connection = kept.pop(port, None) or http_client.Connection(port, ANSWER_S)
        try:
            answer = connection.request(method, path, body, fields)
        except (OSError, ValueError, IndexError, AssertionError):
            connection.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            kept[port] = connection
        return answer

    def ask(self, rng, method, path, body=None, headers=None, count=None):
        """Asks random nodes until one answers for good; (answer, when the first request began)."""
        began = time.monotonic()
        while True:
            if count is not None:
                count.submits += 1
            try:
                answer = self.request(rng.choice(self.ports()), method, path, body, headers)
                if answer.status not in RETRIED:
                    return answer, began
                if answer.status == 500 or answer.code == "internal":
                    self._violate("internal", None, f"{method} {path}: {answer!r}")
            except (OSError, IndexError):
                pass
            if self.stopping.is_set():
                raise TimeoutError(f"no answer to {method} {path}")
            time.sleep(rng.uniform(0.03, 0.3))

    # ---- submits ----

    def _take_group(self):
        with self.lock:
            if self.again:
                self.busy += 1
                return self.again.pop()
            done = self.next_group
            if done < len(self.plan.groups) and time.monotonic() >= self.began + self.seconds * done / len(self.plan.groups):
                self.next_group += 1
                self.busy += 1
                return done
        return None

    def _submit_groups(self):
        while not self.stopping.is_set():
            number = self._take_group()
            if number is None:
                time.sleep(0.01)
                continue
            try:
                with self.group_locks[number]:
                    self._submit_group(number)
            finally:
                with self.lock:
                    self.busy -= 1

    def _submit_group(self, number):
        rng = random.Random(f"{self.seed} {number} {len(self.cuts)}")
        for attempt in range(20):
            if all(self._submit(spec, rng) for spec in self.plan.groups[number]):
                return
        self._violate("submit", None, f"group {number} is never complete")

    def body_of(self, spec):
        body = {"agent": spec.agent, "input": spec.input, "labels": {"spec": str(spec.index)}, **spec.fields}
        if spec.parent is not None:
            body["parentRunId"] = self.states[spec.parent.index].run_id
        if spec.depends:
            body["dependsOn"] = [self.states[d.index].run_id for d in spec.depends]
        return body

    def _submit(self, spec, rng):
        """Submits one run, unless its answer binds already. False: an earlier one of its group was lost, so begin anew."""
        state = self.states[spec.index]
        with self.lock:
            above = [spec.parent] * (spec.parent is not None) + spec.depends
            if any(self.states[s.index].run_id is None for s in above):
                return self._refused(state, 0, "above")  # what it needs was refused
            if state.refused or (state.answered is not None and not state.doubted and not self.cut_between(state.began, state.answered)):
                return True
        answer, began = self.ask(rng, "POST", "/v1/runs", self.body_of(spec), {"Idempotency-Key": spec.key}, state)
        now = time.monotonic()
        if answer.status == 202:
            return self._accepted(spec, state, answer.json()["runId"], began, now)
        if answer.status in (404, 422) and answer.code in ("run_not_found", "dependency_not_found") and self.cuts and above:
            for s in above:  # lost with the tail: asked again, its own key says so
                self.states[s.index].doubted = True
            time.sleep(0.05)
            return False
        if answer.status == 409 and answer.code == "parent_stopped" and self._stop_begun(spec.parent):
            return self._refused(state, answer.status, answer.code)
        self._violate("submit", None, f"{spec.kind} {spec.index}: unexpected answer {answer!r}")
        return self._refused(state, answer.status, answer.code)

    def _refused(self, state, status, code):
        """For good. A run that it had been accepted as was lost with a tail (what it needs, too: that was written before)."""
        with self.lock:
            state.refused = state.refused or (status, code)
            if state.run_id is not None:
                state.lost_ids.append(state.run_id)
            state.run_id, state.readers = None, []
        return True

    def _stop_begun(self, spec):
        while spec is not None:
            if self.states[spec.index].stop_asked is not None:
                return True
            spec = spec.parent
        return False

    def _accepted(self, spec, state, run_id, began, now):
        with self.lock:
            if state.run_id not in (None, run_id):
                if state.bound == state.run_id:
                    self._violate("double", run_id, f"{spec.key} was accepted as {state.run_id} before the kept part's end, and is {run_id}")
                elif not self.cuts:
                    self._violate("double", run_id, f"{spec.key} was accepted as {state.run_id} and as {run_id}")
                state.lost_ids.append(state.run_id)
                state.readers = []  # of the lost run; theirs ends with 404
            fresh = state.run_id != run_id
            state.run_id, state.began, state.answered, state.doubted = run_id, began, now, False
            if not self.cut_between(began, now):
                state.bound = run_id
            if fresh and spec.stop_after is not None:
                state.stop_asked = state.stop_answered = state.stop_status = None
                heapq.heappush(self.stops, (now + spec.stop_after, next(self.ticket), spec))
            if self.cut_between(began, now, over=True):
                self._mark_for_again(spec)  # its answer came while Redis was lost and found
        if fresh and spec.reader:
            self._add_reader(spec, state, run_id)
        return True

    def _mark_for_again(self, spec):
        if self.group_of[spec.index] not in self.again:
            self.again.append(self.group_of[spec.index])

    # ---- stops ----

    def _stop_runs(self):
        rng = random.Random(f"{self.seed} stops {next(self.ticket)}")
        while not self.stopping.is_set():
            with self.lock:
                due = self.stops and self.stops[0][0] <= time.monotonic()
                if due:
                    spec = heapq.heappop(self.stops)[2]
                    self.busy += 1
            if not due:
                time.sleep(0.01)
                continue
            try:
                self._stop(spec, rng)
            finally:
                with self.lock:
                    self.busy -= 1

    def _stop(self, spec, rng):
        state = self.states[spec.index]
        run_id = state.run_id
        if run_id is None:
            return
        state.stop_asked = state.stop_asked or time.monotonic()
        began_ms = time.time() * 1000
        answer, began = self.ask(rng, "POST", f"/v1/runs/{run_id}/stop")
        with self.lock:
            now = time.monotonic()
            if run_id != state.run_id:
                return  # it was lost meanwhile; the run that took its place has a stop of its own
            if answer.status == 404 and (state.bound != run_id or state.doubted):
                heapq.heappush(self.stops, (now + 0.2, next(self.ticket), spec))
            elif answer.status in (200, 202):
                state.stop_answered, state.stop_status, state.stop_began_ms, state.stop_wall_ms = now, answer.status, began_ms, time.time() * 1000
                state.stop_said = answer.json()["status"]
                if self.cut_between(began, now, over=True):
                    heapq.heappush(self.stops, (now, next(self.ticket), spec))
            else:
                self._violate("stop", run_id, f"unexpected answer {answer!r}")

    # ---- lost tails ----

    def cut_begins(self):
        """Everything answered until now will be kept: call it before the file's size is taken."""
        with self.lock:
            self.cuts.append(Cut(time.monotonic()))

    def cut_ends(self):
        """Redis is back. Everything whose answer may be lost is asked for again."""
        with self.lock:
            cut = self.cuts[-1]
            cut.back = time.monotonic()
            asked = 0
            for spec in self.plan.specs:
                state = self.states[spec.index]
                if state.answered is not None and cut.covers(state.began, state.answered):
                    self._mark_for_again(spec)
                    asked += 1
                if state.stop_answered is not None and state.stop_answered > cut.kept:
                    heapq.heappush(self.stops, (cut.back, next(self.ticket), spec))
            return asked

    def cut_between(self, began, ended, over=False):
        """Whether a tail was lost while something went on from `began` to `ended`; with `over` only where Redis is back since."""
        return any(c.covers(began, ended) for c in self.cuts if c.back is not None or not over)

    # ---- readers ----

    def _add_reader(self, spec, state, run_id):
        with self.lock:
            self.live = [r for r in self.live if r.ended is None]
            if len(self.live) < READERS_MAX:
                self.live.append(LiveReader(spec, self.ports, run_id, self.key, self.rng.randrange(1 << 30)))
                state.readers.append(self.live[-1])

    def accepted(self):
        """{run id: Spec} of all that were accepted."""
        return {self.states[s.index].run_id: s for s in self.plan.specs if self.states[s.index].run_id is not None and not self.states[s.index].refused}

    def lost_ids(self):
        return {r for s in self.states.values() for r in s.lost_ids}
