"""Waiting for a condition; tests never sleep for a time."""
import time


class Timeout(AssertionError):
    """A condition did not come true in time."""


def wait_until(condition, timeout=10.0, what=""):
    """Asks `condition` until it returns something true, and returns that. Raises Timeout after `timeout` seconds, with the last answer."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Timeout(f"not within {timeout} s: {what or getattr(condition, '__name__', 'condition')} (last: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def holds_for(condition, seconds, what=""):
    """Asserts that `condition` stays true for the whole time; for "nothing happens" (a stopped run is never started)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not hold: {what or getattr(condition, '__name__', 'condition')}"
        time.sleep(0.02)
