"""Every route of the OpenAPI document, called with what schemathesis makes of it: fitting values, and broken ones.

Half of the calls name things that are there, else guesses would end at NOT_FOUND. An answer is held against the
document (status, content type, headers, schema; what breaks the schema must be refused) and against what is promised
of every refusal: no 5xx, code and reason that belong together, no word of the server's inside, an answer in time.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field

import hypothesis
import requests
import schemathesis
from google.protobuf import json_format
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from service import errors
from service.rest.errors import BY_CODE, BY_REASON
from tests.acceptance import wire as wires
from tests.fuzz.prey import DATASET, MODEL, SPARE, Prey
from traind.v1 import jobs_pb2

# `use_after_free` and its kin are about the order of calls, `ignored_auth` sends no token: other tests do both.
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
# A refusal takes less than a second at a desk; what a busy machine adds is no defect.
ANSWER_S = 20.0
LEAKS = ("Traceback", "site-packages", "/tmp/", "/root", "SELECT ", "sqlalchemy", "pyarrow", "trd_")
REASONS = {error.reason: error.code for error in vars(errors).values() if hasattr(error, "reason")}
# The one that cannot be watched to its end: it waits for a worker that is not there.
WATCH = "/v1/jobs/{job}:watch"
UPLOAD = "/v1/datasets:upload"
STREAMS = {"text/event-stream", "application/x-ndjson"}
FILE = "application/octet-stream"


@dataclass
class Told:
    """What came of the calls of one route."""

    route: str
    statuses: Counter = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def calls(self) -> int:
        return self.statuses.total()

    def __str__(self) -> str:
        statuses = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        return f"{self.route:<55} {self.calls:>4} calls  slowest {self.slowest_s * 1000:>5.0f} ms  {statuses}"


def operations(prey: Prey) -> list:
    """Every operation of the server's document."""
    load_all_checks()
    schema = schemathesis.openapi.from_dict(prey.document())
    schema.config.update(base_url=prey.base_url)
    # The token is ours to send: without it no call would get past the door.
    schema.config.generation.update(with_security_parameters=False)
    return [found.ok() for found in schema.get_all_operations()]


def fuzz(prey: Prey, operation, examples: int, seed: int) -> Told:
    """Call one route with so many examples. Raises what is wrong, with the call as a curl command."""
    told = Told(operation.label)
    checks = [CHECKS.get_one(name) for name in CHECKED]
    read_only = fields_only_read(prey.document(), operation)
    fitting, broken = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        # A call changes the server: sent again and again to be shrunk it would show something else.
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
    )
    @hypothesis.given(case=fitting | broken, known=strategies.booleans(), choice=strategies.integers(0, 99))
    def one_call(case, known, choice):
        if known:
            name_known(case, prey, choice)
        began = time.monotonic()
        response = case.call(headers=prey.headers | accepted(case, choice), timeout=ANSWER_S)
        told.slowest_s = max(told.slowest_s, time.monotonic() - began)
        told.statuses[response.status_code] += 1
        case.validate_response(
            response, checks=checks, excluded_checks=excluded(response, known or ignores(case.body, read_only))
        )
        try:
            check(response)
        except Exception as error:
            raise AssertionError(f"{error!r}\n{case.as_curl_command()}") from error

    one_call()
    return told


def accepted(case, choice: int) -> dict[str, str]:
    """A stream in each of its two forms."""
    return {"accept": "application/x-ndjson"} if case.path == WATCH and choice % 2 else {}


def excluded(response, taken: bool) -> list:
    """What breaks the document may be `taken` if a known name has put it right or the contract lets it be ignored.

    Of a stream the document cannot tell what its texts hold.
    """
    streams = response.status_code == 200 and response.headers["content-type"][0] in {*STREAMS, FILE}
    names = ["negative_data_rejection"] * taken + ["response_schema_conformance"] * streams
    return [CHECKS.get_one(name) for name in names]


def fields_only_read(document: dict, operation) -> set[str]:
    """The fields of an operation's body that only the server sets: whatever callers send there is ignored."""
    body = document["paths"][operation.path][operation.method.lower()].get("requestBody", {"content": {}})
    schema = body["content"].get("application/json", {}).get("schema", {})
    known = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return {name for name, of_field in known.get("properties", {}).items() if of_field.get("readOnly")}


def ignores(body, read_only: set[str]) -> bool:
    """Whether a body has a null, which stands for nothing in proto3 JSON, or a field that only the server sets."""
    if isinstance(body, dict):
        return bool(read_only & body.keys()) or any(ignores(part, set()) for part in body.values())
    return body is None or (isinstance(body, list) and any(ignores(part, set()) for part in body))


def name_known(case, prey: Prey, choice: int) -> None:
    """Put the names of what is there into a call, where it has place for them."""
    for name in case.path_parameters or {}:
        known = prey.known[name]
        case.path_parameters[name] = known[0 if case.path == WATCH else choice % len(known)]
    if case.method == "DELETE":
        # What others are asked for must stay: a data set that is spare goes, and a model that is not there does not.
        case.path_parameters |= dict.fromkeys(case.path_parameters.keys() & {"dataset", "model"}, SPARE)
    if case.path.endswith(":cancel"):
        [case.path_parameters["job"]] = prey.known["doomed"]
    if isinstance(case.body, bytes) and case.path == UPLOAD:
        case.body = b"a,b\n1,2\n" + case.body
        case.query = (case.query or {}) | {"datasetId": f"guess{choice % 3}"}
    if case.path.endswith(":propose") and isinstance(case.query, dict):
        case.query["target"] = "y"
    if isinstance(case.body, dict):
        _name_in_body(case.body, choice)


def _name_in_body(body: dict, choice: int) -> None:
    for name, known in (("dataset", f"datasets/{DATASET}"), ("model", MODEL)):
        if isinstance(body.get(name), str):
            body[name] = known
    if isinstance(body.get("train"), dict):
        keep_one(jobs_pb2.Job.DESCRIPTOR, body, choice)
        # One guess beside what is right gets further than ten at once.
        guessed = sorted(body["train"].items())[choice % max(len(body["train"]), 1) :][:1]
        body["train"] = {"target": ["y"], "network": {"linear": {}}} | dict(guessed)
    if "columns" in body:
        body["columns"] = [{"name": f"x{number}", "numbers": [choice]} for number in range(wires.WIDTH)]


def keep_one(descriptor, body: dict, choice: int) -> None:
    """Leave one member of each choice, for JSON schema has no word for `oneof` that guesses would heed."""
    for one in descriptor.oneofs:
        present = [member.json_name for member in one.fields if member.json_name in body]
        kept = "train" if "train" in present else present and present[choice % len(present)]
        for name in present:
            if name != kept:
                del body[name]
    for member in descriptor.fields:
        part = body.get(member.json_name)
        if member.message_type and isinstance(part, dict):
            keep_one(member.message_type, part, choice)


def check(response) -> None:
    """What holds of every answer beside the document."""
    [kind] = response.headers["content-type"]
    if response.status_code >= 400:
        assert kind == "application/json", kind
        check_refusal(response.status_code, response.json()["error"], response.text)
    elif kind in STREAMS:
        check_stream(kind, response.text)
    elif kind == FILE:
        # A data set is written while it is sent: its size is not known before, and its end is the last chunk.
        length = response.headers.get("content-length")
        assert length or response.headers["transfer-encoding"] == ["chunked"]
        assert not length or len(response.content) == int(length[0])


def check_refusal(status: int, error: dict, text: str) -> None:
    """The code, the HTTP status and the reason are of one error of ours, with words for a person."""
    info = error["details"][0]
    assert info["@type"].endswith("google.rpc.ErrorInfo")
    assert REASONS.get(info["reason"]) == error["status"], text
    assert status == error["code"] == BY_REASON.get(info["reason"], BY_CODE[error["status"]]), text
    assert len(error["message"]) > 10, text
    assert not [leak for leak in LEAKS if leak in error["message"]], text


def check_stream(kind: str, text: str) -> None:
    """A stream that came to its end: numbered events of the contract, then the job's last state."""
    if kind == "application/x-ndjson":
        told = [json.loads(line) for line in text.splitlines()]
    else:
        blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
        # A heartbeat is a comment: a line without a name.
        blocks = [block for block in blocks if "" not in block]
        assert blocks.pop()["event"] == "end", text
        told = [json.loads(block["data"]) for block in blocks]
    events = [json_format.ParseDict(one, jobs_pb2.JobEvent()) for one in told]
    numbers = [event.seq for event in events]
    assert numbers == list(range(numbers[-1] - len(numbers) + 1, numbers[-1] + 1)) if numbers else True, text


def unreachable(prey: Prey) -> str:
    """Why the server does not answer any more; empty if it does."""
    try:
        status = requests.get(f"{prey.base_url}/readyz", timeout=5).status_code
    except requests.RequestException as error:
        return f"{type(error).__name__}: {error}"
    return "" if status == 200 else f"/readyz is {status}"
