#!/usr/bin/python3
"""A warm worker: finds anagrams. The index is made once, before the first run; each run is a line of standard input, and is over with its runtime_terminal line.

What a worker must do: say worker_ready each time it waits for a job, take everything that is a run's own (env, workDir) from the job's line, and leave nothing of a run behind: no process, no output.
"""
import json
import os
import sys

WORDS = """
    alert alter later angel angle glean arc car argon groan orang bare bear brae below bowel elbow bored robed break brake baker caret crate react trace cat act tac
    cheap peach cinema iceman claim malic coast tacos dear dare read dusty study earth heart hater east seat eats teas elbow below fired fried gallery largely regally
    inch chin intro nitro kitchen thicken lamp palm least slate stale steal tales leaf flea lemon melon limped dimple listen silent enlist tinsel inlets lion loin loin
    mean name amen men meals males neon none night thing notes onset stone tones nurse runs now own won opts post pots spot stop tops paper panel plane penal parse
    spare spear pears reaps rates stare tears resist sister race care acre rescue secure seat sauce cause save vase scare cares races sheet these shore horse skate
    steak takes teaks snap span pans state taste swear wears wares team meat mate tame thorn north tool loot use sue verse serve sever waist waits week ewe
"""


def make_index(text):
    """What takes long in a real worker: a model, a connection, a large table."""
    index = {}
    for word in sorted(set(text.split())):
        index.setdefault("".join(sorted(word)), []).append(word)
    return index


def say(kind, data):
    sys.stdout.write(json.dumps({"kind": kind, "data": data}) + "\n")
    sys.stdout.flush()


def fail(message):
    say("runtime_terminal", {"status": "error", "error": {"class": "bad_input", "message": message}, "noRetry": True})


def work(job, index, served):
    given = job.get("input")
    letters = given.get("letters") if isinstance(given, dict) else None
    if not isinstance(letters, str) or not letters.isalpha() or len(letters) > 64:
        fail('the input must be {"letters": "…"}: 1 to 64 letters')
        return
    found = [w for w in index.get("".join(sorted(letters.lower())), []) if w != letters.lower()]
    say("assistant_text", {"text": f"{letters}: {', '.join(found) or 'nothing'} (worker {os.getpid()}, its run {served})\n"})
    say("runtime_terminal", {"status": "success", "result": {"letters": letters, "anagrams": found, "servedByThisWorker": served, "pid": os.getpid()}})


def main():
    index, served = make_index(WORDS), 0
    while True:
        say("notification", {"type": "worker_ready"})
        line = sys.stdin.readline()
        if not line:
            break  # the runner has gone
        served += 1
        work(json.loads(line), index, served)


if __name__ == "__main__":
    main()
