"""Profiles, proposals, splits, confusion, several targets and deviations, over a server that answers as it is told."""

import io
import json
import math

import numpy as np
import pytest

import traind
from tests.clients.traind.scripted import scripted_server
from tests.clients.traind.test_history import EVIL, Shape
from traind.cli import run_command as run
from traind.csv_out import encode_csv
from traind.display import width_of
from traind.measured import decode_split
from traind.specs import build_job
from traind.tables_in import read_csv, read_table
from traind.v1 import datasets_pb2, models_pb2, predictions_pb2, profiles_pb2, specs_pb2, tables_pb2, uploads_pb2

Column = tables_pb2.Column


def profile():
    numbers = profiles_pb2.NumberFigures(
        min=1,
        max=9,
        mean=4,
        std=2.5,
        skewness=0.5,
        quantiles=[profiles_pb2.Quantile(share=share, value=value) for share, value in ((0.25, 2), (0.5, 3.5))],
        histogram=profiles_pb2.Histogram(edges=[1, 5, 9], counts=[3, 1]),
    )
    texts = profiles_pb2.TextFigures(min_length=2, max_length=30, mean_length=9.5)
    top = [profiles_pb2.ValueCount(value="서울", count=3), profiles_pb2.ValueCount(value="부산", count=2)]
    times = profiles_pb2.TimeFigures(first="2023-01-01", last="2024-12-31")
    return profiles_pb2.Profile(
        dataset="datasets/kim.homes/versions/2",
        row_count=6,
        columns=[
            profiles_pb2.ColumnProfile(name="면적", type=Column.NUMBER, count=4, missing_count=2, numbers=numbers),
            profiles_pb2.ColumnProfile(name="price", type=Column.INTEGER, count=6, distinct_count=6, numbers=numbers),
            profiles_pb2.ColumnProfile(name="지역", type=Column.CATEGORY, count=6, distinct_count=3, top_values=top),
            profiles_pb2.ColumnProfile(name="note", type=Column.TEXT, count=6, distinct_count=6, texts=texts),
            profiles_pb2.ColumnProfile(name="when", type=Column.TIMESTAMP, count=6, times=times),
            profiles_pb2.ColumnProfile(name="none", type=Column.TEXT, missing_count=6),
        ],
        correlation=profiles_pb2.Correlation(
            columns=["면적", "price", "flat"],
            values=tables_pb2.Tensor(shape=[3, 3], values=[1, -0.9, math.nan, -0.9, 1, math.nan, *[math.nan] * 3]),
        ),
        duplicate_row_count=1,
        findings=[tables_pb2.Finding(code=tables_pb2.Finding.MANY_MISSING, message="a third is missing")],
    )


def proposal():
    train = specs_pb2.TrainSpec(inputs=["면적", "지역"], target=["price"])
    train.network.mlp.hidden.append(16)
    train.preprocess.groups.add(columns=["면적"]).impute.indicator = True
    reason = profiles_pb2.Reason(field="network.mlp.hidden", english="6 rows: 16 neurons.", korean="6개 행: 뉴런 16개.")
    leak = tables_pb2.Finding(code=tables_pb2.Finding.SUSPECTED_LEAK, message="too good", figures={"association": 1})
    return profiles_pb2.Proposal(
        dataset="datasets/kim.homes/versions/2", train=train, reasons=[reason], findings=[leak]
    )


@pytest.fixture
def script(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for name in ("TRAIND_TOKEN", "TRAIND_TOKEN_FILE", "TRAIND_PROFILE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    with scripted_server() as (script, url):
        monkeypatch.setenv("TRAIND_URL", url)
        yield script


@pytest.fixture
def client(script):
    with traind.Client() as client:
        yield client


def test_a_profile_by_name(script, client):
    script.scripts["ProfileDataset"] = [profile()]
    found = client.datasets.profile("homes")
    assert script.requests["ProfileDataset"][0].name == "homes"
    assert (found.row_count, found.duplicate_row_count) == (6, 1)
    assert list(found.columns) == ["면적", "price", "지역", "note", "when", "none"]
    assert found.columns["면적"].missing_count == 2
    assert found.quantile("price", 0.5) == 3.5
    assert found.correlation("price", "면적") == -0.9
    assert math.isnan(found.correlation("price", "flat"))
    with pytest.raises(KeyError):
        found.correlation("price", "지역")
    assert found.findings[0].code == "MANY_MISSING"


def test_a_data_set_asks_for_its_own_version(script, client):
    script.scripts["GetDataset"] = [datasets_pb2.Dataset(name="datasets/kim.homes/versions/2")]
    script.scripts["ProfileDataset"] = [profile()]
    script.scripts["ProposeTraining"] = [proposal()]
    dataset = client.datasets.get("homes")
    dataset.profile()
    dataset.propose("price")
    assert script.requests["ProfileDataset"][0].name == dataset.name
    asked = script.requests["ProposeTraining"][0]
    assert (asked.name, asked.target) == (dataset.name, "price")


def test_a_proposal_is_submitted_as_it_is(script, client):
    script.scripts["ProposeTraining"] = [proposal()]
    found = client.datasets.propose("homes", "price")
    assert build_job(None, dataset="homes", train=found.train).train == proposal().train
    assert found.reasons[0].text("ko") == "6개 행: 뉴런 16개."
    assert found.reasons[0].text() == found.reasons[0].english
    assert found.findings[0].figures == {"association": 1.0}


def test_the_profile_stands_in_columns(script, capsys):
    script.scripts["ProfileDataset"] = [profile()]
    assert run(["data", "profile", "homes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "datasets/kim.homes/versions/2: 6 rows, 1 stand twice or more"
    begin = width_of(lines[2].partition("TYPE")[0])
    assert [
        width_of(line.partition(kind)[0]) for line, kind in zip(lines[3:5], ("NUMBER", "INTEGER"), strict=True)
    ] == [begin] * 2
    assert any("서울 3, 부산 2" in line for line in lines)
    assert any("2 to 30 characters" in line for line in lines)
    assert any("2023-01-01 to 2024-12-31" in line for line in lines)
    assert any(line.split() == ["price", "면적", "-0.900"] for line in lines)
    assert any("MANY_MISSING" in line for line in lines)
    assert run(["data", "profile", "homes", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["duplicateRowCount"] == "1"


def test_init_writes_what_run_takes(script, capsys, tmp_path, monkeypatch):
    script.scripts["ProposeTraining"] = [proposal()]
    assert run(["init", "homes", "--target", "price", "-o", "homes.json"]) == 0
    out, err = capsys.readouterr()
    assert out == "homes.json\n"
    assert "6 rows: 16 neurons." in err
    assert "too good" in err
    job = build_job(tmp_path / "homes.json")
    assert (job.dataset, job.model) == ("kim.homes:2", "price")
    assert job.train == proposal().train
    assert "면적" in (tmp_path / "homes.json").read_text(encoding="utf-8")
    # What is there is not written over by chance.
    assert run(["init", "homes", "--target", "price", "-o", "homes.json"]) == 2
    assert run(["init", "homes", "--target", "price", "-o", "homes.json", "--force"]) == 0
    assert run(["init", "homes", "--target", "price", "-o", "homes.toml"]) == 2
    capsys.readouterr()
    assert run(["init", "homes", "--target", "price"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["target"] == ["price"]


def test_init_speaks_the_terminals_language(script, capsys, monkeypatch):
    script.scripts["ProposeTraining"] = [proposal()]
    for args, environ, said in (
        (["--lang", "ko"], "C", "뉴런 16개"),
        ([], "ko_KR.UTF-8", "뉴런 16개"),
        (["--lang", "en"], "ko_KR.UTF-8", "16 neurons"),
        ([], "en_US.UTF-8", "16 neurons"),
    ):
        monkeypatch.setenv("LANG", environ)
        assert run(["init", "homes", "--target", "가격", *args]) == 0
        out, err = capsys.readouterr()
        assert said in err
        # No Latin letter leads the target's name, so the model is called like the data set.
        assert json.loads(out)["model"] == "homes"
    assert run(["init", "homes", "--target", "price", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"][0]["field"] == "network.mlp.hidden"


def test_how_a_file_is_read_is_told(script, client, capsys, tmp_path):
    script.scripts["CreateUpload"] = [uploads_pb2.Upload(name="uploads/u")]
    script.scripts["WriteUpload"] = [uploads_pb2.Upload(offset=4)]
    script.scripts["CreateDataset"] = [
        datasets_pb2.Dataset(name="datasets/kim.d/versions/1", format=datasets_pb2.Dataset.JSON_LINES)
    ]
    schema = {"zip": "category"}
    made = client.datasets.create(b"{}\n", name="d", format="json-lines", schema=schema)
    source = script.requests["CreateDataset"][0].source
    assert made.format == "JSON_LINES"
    assert (source.format, source.upload) == (datasets_pb2.Dataset.JSON_LINES, "uploads/u")
    assert [(column.name, column.type) for column in source.schema] == [("zip", Column.CATEGORY)]
    (tmp_path / "d.tsv").write_text("a\tb\n1\t2\n")
    how = ["--delimiter", "\\t", "--encoding", "CP949", "--format", "csv", "--type", "a=b=TEXT"]
    assert run(["data", "push", "d.tsv", *how]) == 0
    source = script.requests["CreateDataset"][1].source
    assert (source.delimiter, source.encoding, source.format) == ("\\t", "CP949", datasets_pb2.Dataset.CSV)
    assert source.schema[0].name == "a=b"
    capsys.readouterr()
    assert run(["data", "push", "d.tsv", "--type", "a"]) == 2
    assert run(["data", "push", "d.tsv", "--type", "a=THING"]) == 2
    with pytest.raises(traind.InvalidSpec, match="PARQUET"):
        client.datasets.create(b"", name="d", format="xlsx")
    assert len(script.requests["CreateDataset"]) == 2


def test_rows_of_a_split_are_bits():
    split = models_pb2.RowSplit(
        dataset="d", row_count=11, train_rows=bytes([0b10000101, 0b00000010]), val_rows=bytes([0b01000000, 0b100])
    )
    found = decode_split(split)
    assert (found.train, found.val) == ([0, 2, 7, 9], [6, 10])
    rng = np.random.default_rng(0)
    mask = rng.random(1003) < 0.3
    packed = np.packbits(mask, bitorder="little").tobytes()
    assert decode_split(models_pb2.RowSplit(train_rows=packed)).train == np.flatnonzero(mask).tolist()


def test_a_model_tells_its_split_and_its_confusion(script, client, capsys):
    counts = tables_pb2.Tensor(shape=[2, 2], values=[5, 1, 0, 4])
    confusion = tables_pb2.ConfusionMatrix(split="val", classes=["고양이", "dog"], counts=counts)
    script.scripts["GetModel"] = [models_pb2.Model(name="models/kim.m/versions/1", confusion=[confusion])]
    script.scripts["GetSplit"] = [models_pb2.RowSplit(row_count=3, train_rows=b"\x05", val_rows=b"\x02")]
    script.scripts["EvaluateModel"] = [models_pb2.Evaluation(confusion=confusion, row_count=10)]
    model = client.models.get("m")
    assert model.confusion["val"].count("고양이", "dog") == 1
    assert model.split().train == [0, 2]
    assert script.requests["GetSplit"][0].name == model.name
    assert model.evaluate("d").confusion.counts == [[5, 1], [0, 4]]
    assert run(["models", "show", "m"]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines == [
        "val right \\ answer  고양이  dog",
        "고양이              5       1",
        "dog                 0       4",
    ]
    assert run(["models", "split", "m"]) == 0
    assert capsys.readouterr().out.split() == ["row,split", "0,train", "1,val", "2,train"]
    assert run(["models", "split", "m", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["val"] == [1]


def two_targets(script):
    number = Column(name="x", type=Column.NUMBER)
    outputs = [Column(name="low", type=Column.INTEGER), Column(name="high", type=Column.NUMBER)]
    script.scripts["GetModel"] = [models_pb2.Model(name="models/kim.m/versions/1", inputs=[number], outputs=outputs)]

    def answer(request):
        x = list(request.columns[0].numbers)

        def made(factor, *names):
            return [
                tables_pb2.ColumnValues(name=name, numbers=[factor * (i + 1) * v for v in x])
                for i, name in enumerate(names)
            ]

        low_high = made(1, "low", "high")
        return predictions_pb2.PredictResponse(predictions=low_high, deviations=made(0.5, "low", "high"))

    script.scripts["Predict"] = [answer]


def test_several_targets_are_rows_in_the_form_of_the_question(script, client):
    two_targets(script)
    assert client.predict("m", [[1.0], [2.0]]) == [[1, 2.0], [2, 4.0]]
    array = client.predict("m", np.array([[1.0], [2.0]]))
    assert array.tolist() == [[1.0, 2.0], [2.0, 4.0]]
    full = client.predict("m", {"x": [3.0]}, full=True)
    assert (full.targets, full.target) == (["low", "high"], "low")
    assert full.columns() == {"low": [3], "high": [6.0]}
    assert full.deviation_columns() == {"low": [1.5], "high": [3.0]}
    assert full.deviations == [[1.5, 3.0]]


def test_several_targets_of_many_rows_come_in_parts(script, client):
    two_targets(script)
    rows = [[float(i)] for i in range(100_000)]
    assert client.predict("m", rows)[-1] == [99_999, 199_998.0]
    assert len(script.requests["Predict"]) > 1


def test_several_targets_are_columns_of_the_command(script, tmp_path, capsys):
    two_targets(script)
    (tmp_path / "rows.csv").write_text("x\n1\n2\n")
    assert run(["predict", "m", "rows.csv", "--std"]) == 0
    assert capsys.readouterr().out.splitlines() == ["low,high,std_low,std_high", "1,2.0,0.5,1.0", "2,4.0,1.0,2.0"]
    (tmp_path / "semi.csv").write_bytes("메모;x\n가;1\n나;2\n".encode("cp949"))
    assert run(["predict", "m", "semi.csv", "--encoding", "CP949"]) == 0
    assert capsys.readouterr().out.splitlines() == ["low,high", "1,2.0", "2,4.0"]
    assert run(["predict", "m", "semi.csv"]) == 2
    assert "CP949" in capsys.readouterr().err
    assert run(["predict", "m", "semi.csv", "--encoding", "UTF-16"]) == 2
    assert run(["predict", "m", "rows.csv", "--delimiter", ":"]) == 2


def test_a_model_without_deviations_says_so(script, tmp_path, capsys):
    two_targets(script)
    script.scripts["Predict"] = [
        predictions_pb2.PredictResponse(predictions=[tables_pb2.ColumnValues(name="low", numbers=[1.0])])
    ]
    (tmp_path / "rows.csv").write_text("x\n1\n")
    assert run(["predict", "m", "rows.csv", "--std"]) == 2
    assert "gaussian_nll" in capsys.readouterr().err


def test_a_file_of_another_delimiter_is_the_same_table():
    table = {"a b": ["1", "x;y"], "c": ["2,5", "|"]}
    commas = encode_csv(read_table(table)).decode()
    assert read_csv(io.StringIO(commas), "f").columns == table
    tabs = "a b\tc\n1\t2,5\nx;y\t|\n"
    assert read_csv(io.StringIO(tabs), "f").columns == table
    assert read_csv(io.StringIO(tabs), "f", "\\t").columns == table
    assert list(read_csv(io.StringIO('"a\nb",c\n1,2\n'), "f").columns) == ["a\nb", "c"]


def test_a_profile_is_a_frame_of_its_columns():
    frame = traind.Profile(profile()).to_df()
    assert list(frame["column"]) == ["면적", "price", "지역", "note", "when", "none"]
    assert list(frame["missing"]) == [2, 0, 0, 0, 0, 6]
    price = frame.set_index("column").loc["price"]
    assert (price["type"], price["distinct"], price["mean"], price["skewness"]) == ("INTEGER", 6, 4.0, 0.5)
    assert frame.set_index("column").loc["지역"]["most frequent"] == "서울"
    assert frame["mean"].isna().sum() == 4


def test_notebooks_show_profiles_and_proposals_as_tables():
    shown = Shape(traind.Profile(profile())._repr_html_())
    assert {"table", "caption", "th", "td"} <= shown.tags
    assert shown.texts[0] == "datasets/kim.homes/versions/2: 6 rows"
    assert {"면적", "NUMBER", "most frequent", "서울"} <= set(shown.texts)
    shown = Shape(traind.Proposal(proposal())._repr_html_())
    assert shown.texts == ["proposal for datasets/kim.homes/versions/2", "field", "why", "network.mlp.hidden",
                           "6 rows: 16 neurons."]  # fmt: skip


def test_notebooks_show_names_of_columns_as_text():
    evil = profile()
    evil.dataset = evil.columns[0].name = evil.columns[2].top_values[0].value = EVIL
    told = proposal()
    told.dataset = told.reasons[0].english = told.reasons[0].field = EVIL
    for text in (traind.Profile(evil)._repr_html_(), traind.Proposal(told)._repr_html_()):
        shown = Shape(text)
        assert not {"img", "script"} & shown.tags
        assert EVIL in " ".join(shown.texts)
