"""Whether what clients wrote down (history_clients.py) can have come from a service that keeps its promises.

`final` is what stands when all is over: {name: {"state", "attempt", "epoch", "events"}}. Notes overlap in time; only
what had ended before something else began must be seen by it.
"""

import math

ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
AFTER = {
    "QUEUED": {"RUNNING", "PAUSED", "CANCELLED"},
    "RUNNING": {"QUEUED", "PAUSING", "CANCELLING", "SUCCEEDED", "FAILED"},
    "PAUSING": {"PAUSED", "CANCELLING", "SUCCEEDED", "FAILED"},
    "PAUSED": {"QUEUED", "CANCELLED"},
    "CANCELLING": {"CANCELLED", "SUCCEEDED", "FAILED"},
}


def _reachable(state):
    found, new = {state}, {state}
    while new:
        new = {after for before in new for after in AFTER.get(before, ())} - found
        found |= new
    return found


REACHABLE = {state: _reachable(state) for state in (*AFTER, *ENDED)}


def violations(notes, final):
    """Every broken promise, one line each."""
    return [
        *missing(notes, final),
        *backwards(notes, final),
        *watched(notes, final),
        *keys(notes),
        *cancelled(notes, final),
        *listed(notes),
        *unanswered(notes),
    ]


def submissions(notes):
    return [note for note in notes if note["what"] == "submit" and "job" in note["told"]]


def acknowledged(notes):
    """{name: when its first answer was there}"""
    found = {}
    for note in submissions(notes):
        name = note["told"]["job"]["name"]
        found[name] = min(note["end"], found.get(name, note["end"]))
    return found


def missing(notes, final):
    """An acknowledged job is there, for everyone, from then on."""
    known = acknowledged(notes)
    yield from (f"{name} was acknowledged and is missing" for name in known.keys() - final.keys())
    for note in notes:
        name = note["asked"].get("name")
        if note["told"].get("error") == "NOT_FOUND" and known.get(name, note["begin"]) < note["begin"]:
            yield f"{name} was acknowledged, and {note['what']} did not find it"


def observations(notes, final):
    """Each look at a job, as (name, begin, end, what was seen); the last one when all is over.

    What a watcher saw last may be old when it comes, but nobody may see less afterwards: its look has no beginning.
    """
    for note in notes:
        jobs = note["told"].get("jobs", []) + ([note["told"]["job"]] if "job" in note["told"] else [])
        for job in jobs:
            yield job["name"], note["begin"], note["end"], job
        if note["told"].get("events"):
            yield note["asked"]["name"], -math.inf, note["end"], _at_the_end(note["told"]["events"])
    over = max((note["end"] for note in notes), default=0.0)
    for name, job in final.items():
        yield name, over, over, job


def _at_the_end(events):
    """The job as its watcher knew it at last."""
    states = [event["state"] for event in events if event["kind"] == "state"]
    epochs = [event["epoch"] for event in events if event["kind"] in {"epoch", "resumed"}]
    return {"state": states[-1], "attempt": events[-1]["attempt"], "epoch": epochs[-1] if epochs else 0}


def backwards(notes, final):
    """Attempts and epochs never fall, an end is for ever, and a state is never followed by one it cannot come to."""
    by_job = {}
    for name, *seen in observations(notes, final):
        by_job.setdefault(name, []).append(seen)
    for name, seen in by_job.items():
        looks = sorted(seen, key=lambda look: look[0])
        ended = sorted(seen, key=lambda look: look[1])
        place, attempt, epoch, states = 0, 0, 0, set()
        for begin, _, job in looks:
            while place < len(ended) and ended[place][1] < begin:
                before = ended[place][2]
                attempt, epoch = max(attempt, before["attempt"]), max(epoch, before["epoch"])
                states.add(before["state"])
                place += 1
            if job["attempt"] < attempt:
                yield f"{name} went back from attempt {attempt} to {job['attempt']}"
            if job["epoch"] < epoch:
                yield f"{name} went back from epoch {epoch} to {job['epoch']}"
            for state in sorted(states):
                if job["state"] not in REACHABLE[state]:
                    yield f"{name} went back from {state} to {job['state']}"


def watched(notes, final):
    """A watcher sees events 1, 2, 3, … of the job as it went, epochs 1..n once each, and nothing after the end."""
    for note in notes:
        events, name = note["told"].get("events"), note["asked"].get("name")
        if events is None:
            continue
        if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
            yield f"a watcher of {name} saw the events {[event['seq'] for event in events]}"
        stood = 0
        for event in events:
            if event["kind"] == "resumed" and event["rewound"]:
                stood = event["epoch"]
            elif event["kind"] == "epoch":
                if event["epoch"] != stood + 1:
                    yield f"a watcher of {name} saw epoch {event['epoch']} after {stood}"
                stood = event["epoch"]
        if events != final.get(name, {}).get("events", [])[: len(events)]:
            yield f"a watcher of {name} saw what did not happen"


def keys(notes):
    """A key stands for one job: the same body is answered with it, another is refused; another key is another job."""
    bodies, names, owners = {}, {}, {}
    # The first that was answered with a job says which body the key has.
    for note in sorted(submissions(notes), key=lambda note: note["end"]):
        key, name = note["asked"]["key"], note["told"]["job"]["name"]
        body = bodies.setdefault(key, note["asked"]["body"])
        if note["asked"]["body"] != body:
            yield f"the key {key} was taken with two bodies"
        if names.setdefault(key, name) != name:
            yield f"the key {key} was answered with {names[key]} and with {name}"
        if owners.setdefault(name, key) != key:
            yield f"{name} was answered to two keys"
    for note in notes:
        asked = note["asked"]
        refused = note["what"] == "submit" and note["told"].get("error") == "ALREADY_EXISTS"
        if refused and bodies.get(asked["key"], asked["body"]) == asked["body"]:
            yield f"the key {asked['key']} was refused with the body it has"


def cancelled(notes, final):
    """A cancel that was acknowledged holds; a job that ended otherwise meanwhile says so in its events."""
    for note in notes:
        if note["what"] != "cancel":
            continue
        name = note["asked"]["name"]
        end = final.get(name, {"state": "", "events": []})
        told = note["told"].get("job", {}).get("state")
        last = [event["state"] for event in end["events"] if event["kind"] == "state"][-2:]
        if told == "CANCELLED" and end["state"] != "CANCELLED":
            yield f"{name} was CANCELLED for the caller and ended {end['state']}"
        elif told == "CANCELLING" and end["state"] != "CANCELLED" and last[:1] != ["CANCELLING"]:
            yield f"{name} was CANCELLING for the caller and ended {end['state']}, by its events {last}"
        elif told is not None and told not in {"CANCELLED", "CANCELLING"}:
            yield f"a cancel of {name} was answered with {told}"
        elif note["told"].get("error") == "FAILED_PRECONDITION" and end["state"] == "CANCELLED":
            yield f"a cancel of {name} was refused, and it ended CANCELLED"


def listed(notes):
    """A list has every job that was acknowledged before it began, once."""
    known = acknowledged(notes)
    for note in notes:
        if note["what"] != "list" or "jobs" not in note["told"]:
            continue
        names = [job["name"] for job in note["told"]["jobs"]]
        if len(names) != len(set(names)):
            yield f"client {note['client']} was listed a job twice"
        for name in sorted(name for name, end in known.items() if end < note["begin"]):
            if name not in names:
                yield f"{name} was acknowledged, and client {note['client']} was not listed it"


EXPECTED = {
    "submit": {"ALREADY_EXISTS"},
    "cancel": {"FAILED_PRECONDITION"},
    "pause": {"FAILED_PRECONDITION"},
    "resume": {"FAILED_PRECONDITION"},
}


def unanswered(notes):
    """Every call is answered in the end, and refused only for what the caller asked."""
    for note in notes:
        error = note["told"].get("error")
        if error is not None and error not in EXPECTED.get(note["what"], ()):
            yield f"client {note['client']}: {note['what']} {note['asked']} was answered {error}"
