"""What the commands write to stdout: one form, one document, names that other commands take, and no formulas."""

import csv
import io
import json

import pytest

from tests.clients.traind.test_cli import ID, OTHER, State, job
from traind.cli import run_command as run
from traind.cli.csv_lines import harmless
from traind.display import table, width_of
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, server_pb2, tables_pb2

FORMULAS = ["=cmd()|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "-", "=", "-1 ", "- 1"]
HARMLESS = ["", "a=1", "서울", "-1.5", "+3", "-1e-9", "12", "-inf", " =1", "'=1"]


@pytest.fixture
def jobs(script):
    """Two jobs that have ended, the newer with a model."""
    found = {
        ID: job(State.SUCCEEDED, done=True, display_name="=1+1", model_version="models/kim.d/versions/3"),
        OTHER: job(State.FAILED, OTHER, done=True, metrics=[tables_pb2.Metric(name="train_loss", value=0.5)]),
    }
    script.scripts["WatchJob"] = [[]]
    script.scripts["GetJob"] = [lambda request: found[request.name.removeprefix("jobs/")]]
    script.scripts["ListJobs"] = [jobs_pb2.ListJobsResponse(jobs=found.values())]
    for method in ("CancelJob", "PauseJob", "ResumeJob"):
        script.scripts[method] = script.scripts["GetJob"]
    script.scripts["GetHistory"] = [jobs_pb2.History()]
    return script


def out_of(capsys, *args, code=0):
    capsys.readouterr()
    assert run(list(args)) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_stand_behind_an_apostrophe(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_other_texts_stand_as_they_are(text):
    assert harmless(text) == text


def lines_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv_of_every_command_holds_no_formula(jobs, capsys, tmp_path):
    evil = FORMULAS[0]
    (header, first, _) = lines_of(out_of(capsys, "jobs", "-o", "csv"))
    assert dict(zip(header, first, strict=True))["display_name"] == "'=1+1"
    columns = [
        tables_pb2.ColumnValues(name=evil, strings=[evil, "fine"]),
        tables_pb2.ColumnValues(name="n", numbers=[-1.5, 2]),
    ]
    jobs.scripts["PreviewDataset"] = [datasets_pb2.PreviewDatasetResponse(columns=columns)]
    expected = [[f"'{evil}", "n"], [f"'{evil}", "-1.5"], ["fine", "2"]]
    assert lines_of(out_of(capsys, "data", "head", "d", "-o", "csv")) == expected
    jobs.scripts["Predict"] = [predictions_pb2.PredictResponse(model="models/kim.d/versions/3", predictions=columns)]
    jobs.scripts["GetModel"] = [models_pb2.Model(inputs=[tables_pb2.Column(name="a", type=tables_pb2.Column.NUMBER)])]
    (tmp_path / "rows.csv").write_text("a\n1\n2\n")
    assert lines_of(out_of(capsys, "predict", "d", "rows.csv"))[:2] == expected[:2]
    assert json.loads(out_of(capsys, "predict", "d", "rows.csv", "--json"))["rows"][0][evil] == evil
    jobs.scripts["ListModels"] = [models_pb2.ListModelsResponse(models=[models_pb2.Model(name=evil)])]
    assert f"'{evil}" in lines_of(out_of(capsys, "models", "list", "-o", "csv"))[1]


def test_waiting_for_several_writes_one_document(jobs, capsys):
    waited = ("job", "wait", ID, OTHER)
    told = json.loads(out_of(capsys, *waited, "--json", code=3))
    assert [one["name"] for one in told] == [f"jobs/{ID}", f"jobs/{OTHER}"]
    lines = lines_of(out_of(capsys, *waited, "-o", "csv", code=3))
    assert len(lines) == 3
    assert "train_loss" in lines[0]
    assert len({len(line) for line in lines}) == 1
    assert len(out_of(capsys, *waited, "-o", "jsonl", code=3).splitlines()) == 2
    assert out_of(capsys, *waited, code=3) == "models/kim.d/versions/3\n"
    (first,) = json.loads(out_of(capsys, *waited, "--any", "--json"))
    assert first["name"] == f"jobs/{ID}"


def test_one_id_writes_one_document_and_several_a_list(jobs, capsys):
    assert json.loads(out_of(capsys, "job", "wait", ID, "--json"))["name"] == f"jobs/{ID}"
    for move in ("cancel", "pause", "resume"):
        assert json.loads(out_of(capsys, "job", move, ID, "--json"))["name"] == f"jobs/{ID}"
        several = json.loads(out_of(capsys, "job", move, ID, OTHER, "--json"))
        assert [one["name"] for one in several] == [f"jobs/{ID}", f"jobs/{OTHER}"]


def test_names_alone_are_those_of_the_contract(jobs, capsys):
    both = f"jobs/{ID}\njobs/{OTHER}\n"
    for option in (["-q"], ["-o", "id"], ["-q", "-o", "id"]):
        assert out_of(capsys, "jobs", *option) == both
    assert out_of(capsys, "job", "list", "-q") == both
    assert out_of(capsys, "job", "show", ID, "-q") == f"jobs/{ID}\n"
    assert out_of(capsys, "compare", ID, OTHER, "-q") == both
    for move in ("cancel", "pause", "resume"):
        assert out_of(capsys, "job", move, ID, OTHER, "-q") == both
    assert out_of(capsys, "job", "wait", ID, OTHER, "-q", code=3) == f"models/kim.d/versions/3\njobs/{OTHER}\n"
    entries = [jobs_pb2.QueueEntry(job=f"jobs/{ID}"), jobs_pb2.QueueEntry()]
    jobs.scripts["ListQueue"] = [jobs_pb2.ListQueueResponse(entries=entries)]
    jobs.scripts["GetServerInfo"] = [server_pb2.ServerInfo()]
    assert out_of(capsys, "queue", "-q") == f"jobs/{ID}\n"


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "csv", "--json"],
        ["--json", "-o", "csv"],
        ["-q", "--json"],
        ["-o", "table", "-q"],
        ["-o", "jsonl", "--json", "-q"],
    ],
)
@pytest.mark.parametrize("command", [["jobs"], ["job", "show", ID], ["models", "list"], ["queue"]])
def test_two_forms_at_once_are_refused(script, capsys, command, options):
    capsys.readouterr()
    assert run([*command, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(option in err for option in options if option.startswith("-"))


@pytest.mark.parametrize("options", [["-o", "json", "--json"], ["--json"], ["--json", "--json"]])
def test_one_form_said_twice_is_fine(jobs, capsys, options):
    assert json.loads(out_of(capsys, "job", "show", ID, *options))["name"] == f"jobs/{ID}"


HEADER = ("ID", "STATE", "NAME", "DATASET", "CREATED")
ROWS = [("0b1f7c9e", "SUCCEEDED", "a name of many words", "kim.apartments:1", "2026-11-27 10:00")]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (0, "0b1f7c9e  SUCCEEDED  a name of many words  kim.apartments:1  2026-11-27 10:00"),
        (70, "0b1f7c9e  SUCCEEDED  a name of man…  kim.apartments:1  2026-11-27 10:…"),
        (57, "0b1f7c9e  SUCCEEDED  a name …  kim.apartments:1  2026-11…"),
        (56, "0b1f7c9e  SUCCEEDED  a name of many w…  kim.apartments:1"),
        (49, "0b1f7c9e  SUCCEEDED  a name of…  kim.apartments:1"),
        (46, "0b1f7c9e  SUCCEEDED  a name …  kim.apartments…"),
        (40, "0b1f7c9e  SUCCEEDED  a name …  kim.apar…"),
    ],
)
def test_columns_that_are_kept_are_cut_last(width, shown):
    lines = table(HEADER, ROWS, width=width, keep=("STATE", "DATASET"), spare=("CREATED",)).splitlines()
    assert lines[1] == shown
    assert not width or width_of(lines[1]) <= width
    assert ("CREATED" in lines[0]) == ("2026" in shown)
