"""B59 and B60: secrets that are none, and texts that want to be more than texts, with real server processes."""

import csv
import io
import json
import re
import subprocess
import sys

import pytest
from google.protobuf import json_format

from tests.service.doors.learned import TRAIN
from tests.service.doors.process import ROOT, environment
from tests.service.doors.refused import parts, refused, upload
from tests.service.doors.running import Refusal, answer_of_rest
from traind.v1 import datasets_pb2, jobs_pb2

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "formula": "=cmd()|' /C calc'!A0",
    "log": "a\\r\\nlevel=ERROR msg=forged",
    "percent": "%s%n%(message)s",
    "braces": "{0}{kim.__class__}",
    "sql": "' OR 1=1; DROP TABLE job; --",
    "jndi": "${jndi:ldap://x}",
    "template": "{{7*7}}",
    "path": "../../etc/passwd",
}
# A record of ours, a line of a traceback below one, or a line of gRPC's own library, which writes past Python.
RECORD = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) \S+ |    |[IWE]\d{4} [\d:.]+ +\d+ \w+\.cc:\d+\] "
)


@pytest.fixture
def kim(api):
    return api.token("kim")


@pytest.fixture
def traind(api, kim, tmp_path):
    """The command, as a program of its own."""
    env = environment() | {"TRAIND_URL": f"grpc://127.0.0.1:{api.grpc_port}", "TRAIND_TOKEN": kim}
    env |= {"XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "clients")}

    def run(*words):
        argv = [sys.executable, "-m", "traind", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    return run


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_b60_names_of_jobs_are_texts(api, kim, world, name):
    job = {"dataset": "houses", "model": "named", "displayName": name, "train": TRAIN}
    request = json_format.ParseDict({"job": job}, jobs_pb2.CreateJobRequest())
    by_rest = api.rest("POST", "/v1/jobs", kim, json=job)
    by_rpc = api.rpc("JobService.CreateJob", request, kim)
    assert not isinstance(by_rpc, Refusal), by_rpc
    assert by_rest.headers["content-type"] == "application/json"
    assert by_rest.headers["x-content-type-options"] == "nosniff"
    for made in (answer_of_rest(by_rest, jobs_pb2.Job).name, by_rpc.name):
        assert api.rpc("JobService.GetJob", jobs_pb2.GetJobRequest(name=made), kim).display_name == name
        assert api.rest("GET", f"/v1/{made}", kim).json()["displayName"] == name
        assert api.rest("POST", f"/v1/{made}:cancel", kim, json={}).status_code == 200


@pytest.mark.parametrize("what", HOSTILE)
def test_b60_names_of_columns_are_texts(api, kim, what):
    name = HOSTILE[what]
    header, quoted = io.StringIO(), name.replace('"', '""')
    header.write(f'"{quoted}",price\n' + "".join(f"{n},{n}\n" for n in range(30)))
    made = answer_of_rest(upload(api, kim, header.getvalue().encode(), f"hostile-{what}"), datasets_pb2.Dataset)
    assert made.columns[0].name == name
    # An error tells the name as a text, too.
    train = {"target": ["price"], "inputs": [f"{name}?"], "network": {"linear": {}}}
    job = {"dataset": f"hostile-{what}", "train": train}
    request = json_format.ParseDict({"job": job, "validate_only": True}, jobs_pb2.CreateJobRequest())
    refused(
        api,
        lambda: api.rpc("JobService.CreateJob", request, kim),
        lambda: api.rest("POST", "/v1/jobs?validateOnly=true", kim, json=job),
        field="job.train.inputs[0]",
        says=[f'"{name}?"', f'"{name}"'],
    )


LINE_ENDS = {
    "CRLF": ("a\r\nlevel=ERROR", "column 1"),
    "NEL": ("a\x85b", "column 1"),
    "LS": ("a\u2028b", "column 1"),
    "PS": ("a\u2029b", "column 1"),
    "ESC": ("\x1b[2J", "column 1"),
    "NUL": ("a\0b", "line 1"),
}


@pytest.mark.parametrize("what", LINE_ENDS)
def test_b60_names_that_end_a_line_are_refused(api, kim, what):
    name, place = LINE_ENDS[what]
    data = f'"{name}",price\n1,2\n'.encode()
    refused(
        api,
        lambda: upload(api, kim, data, "bad"),
        lambda: api.rpc("DatasetService.UploadDataset", parts(data, dataset_id="bad"), kim),
        reason="INVALID_TABLE",
        says=[place],
    )
    refused(
        api,
        lambda: upload(api, kim, b"a,b\n1,2\n", "bad", displayName=name),
        lambda: api.rpc("DatasetService.UploadDataset", parts(b"a,b\n1,2\n", dataset_id="bad", display_name=name), kim),
        field="display_name",
        says=["control character"],
    )


def test_b60_commands_print_no_formula(api, kim, world, traind):
    name = HOSTILE["formula"]
    made = api.rest("POST", "/v1/jobs", kim, json={"dataset": "houses", "model": "m", "displayName": name,
                                                   "train": TRAIN}).json()["name"]  # fmt: skip
    assert api.rest("POST", f"/v1/{made}:cancel", kim, json={}).status_code == 200
    (line,) = csv.DictReader(io.StringIO(traind("job", "show", made, "-o", "csv"), newline=""))
    assert line["display_name"] == f"'{name}"
    assert json.loads(traind("job", "show", made, "--json"))["displayName"] == name
    table = f'"{name}",b\n"{name}",-1.5\n"@x",+2\n'.encode()
    assert upload(api, kim, table, "formulas").status_code == 200
    lines = list(csv.reader(io.StringIO(traind("data", "head", "formulas", "-o", "csv"), newline="")))
    assert lines == [[f"'{name}", "b"], [f"'{name}", "-1.5"], ["'@x", "2"]]


def test_b60_the_log_holds_records_of_the_server_only(api, kim):
    """After everything that these tests have sent."""
    forged = "x%0D%0Alevel=ERROR%20msg=forged"
    assert api.rest("GET", f"/v1/jobs/{forged}", kim).status_code == 400
    assert api.rest("GET", f"/v1/{forged}", kim).status_code == 404
    lines = api.log().splitlines()
    assert [line for line in lines if not RECORD.match(line)] == []
    assert not any(kim in line or "internal error" in line for line in lines), lines


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"TRAIND_HOST": "0.0.0.0"}, ["TRAIND_HOST is 0.0.0.0", "service user add"]),
        ({"TRAIND_BROKER_URL": "redis://:changeme@queue.lab.example:6379/0"}, ["TRAIND_BROKER_URL", "openssl rand"]),
        ({"TRAIND_BROKER_URL": "redis://:abc@queue.lab.example:6379/0"}, ["TRAIND_BROKER_URL", "openssl rand"]),
        ({"TRAIND_DATABASE_URL": "postgresql://traind@db.lab.example/traind"}, ["TRAIND_DATABASE_URL", "password"]),
    ],
)
def test_b59_a_server_without_a_secret_does_not_start(tmp_path, more, says):
    env = environment() | {"TRAIND_DATA_DIR": str(tmp_path), "TRAIND_HTTP_PORT": "0", "TRAIND_GRPC_PORT": "0"} | more
    argv = [sys.executable, "-m", "service", "api"]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "")
    for word in says:
        assert word in line
    assert "changeme" not in line
    assert not (tmp_path / "run" / "address.json").exists()
