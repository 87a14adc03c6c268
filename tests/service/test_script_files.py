"""Models as scripts: a program without traind answers what Predict answers, whatever columns are called."""

import ast
import csv
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.service import exported

pytestmark = pytest.mark.timeout(600)
TABLE = exported.rows()
DRIVER = """
import importlib.util, json, pathlib, sys
answers = {}
for name in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("predict", pathlib.Path(name) / "predict.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = json.loads((pathlib.Path(name) / "rows.json").read_text(encoding="utf-8"))
    told = {"predict": script.predict(rows)}
    for more in ("probabilities", "deviations"):
        if hasattr(script, more):
            found = getattr(script, more)(rows)
            told[more] = [list(row.values()) if isinstance(row, dict) else [row] for row in found]
    answers[pathlib.Path(name).name] = told
assert not {"traind", "service", "worker"} & set(sys.modules)
json.dump(answers, open("answers.json", "w", encoding="utf-8"))
"""
HOSTILE = (
    'a"""b',
    "it's",
    "line\nbreak",
    "back\\slash\\",
    "'); import os; os._exit(3)  #",
    "{__import__('os')._exit(3)}",
    "\u200f\u05e9\u05dd\u202e",
    "층\u2028수",
    "%s %(x)s \\N{DIGIT ONE}",
    "a b",
)


def isolated(*words, cwd, code=0):
    """A script in a process of its own, which finds installed packages alone."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [sys.executable, "-I", *words], cwd=cwd, env=env, capture_output=True, timeout=500, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    return done


def answers_of(folder, models):
    """What the scripts of models answer, by name: of (predictor, rows) each."""
    for name, (predictor, table) in models.items():
        exported.script(predictor, folder / name)
        (folder / name / "rows.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "driver.py").write_text(DRIVER)
    isolated("driver.py", *models, cwd=folder)
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def compare(found, predictor, table):
    said, classes = exported.predict(predictor, table), predictor.target.classes
    if classes:
        assert [str(label) for label in found["predict"]] == [classes[code] for code in said.values]
        assert ("probabilities" in found) == (said.probabilities is not None)
        if said.probabilities is not None:
            near(found["probabilities"], said.probabilities)
        return
    rows = [list(row.values()) if isinstance(row, dict) else [row] for row in found["predict"]]
    near(rows, said.values)
    assert ("deviations" in found) == (said.deviations is not None)
    if said.deviations is not None:
        near(found["deviations"], said.deviations)


def test_scripts_answer_what_predict_answers(tmp_path):
    """Every kind in one process, which imports torch once."""
    models = {name: (exported.model(name), exported.taken(name, TABLE)) for name in exported.SPECS}
    found = answers_of(tmp_path, models)
    for name, (predictor, table) in models.items():
        compare(found[name], predictor, table)


def test_a_file_of_rows(tmp_path):
    model, table = exported.model("classes"), TABLE[:50]
    exported.script(model, tmp_path)
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows([{name: "NA" if value is None else value for name, value in row.items()} for row in table])
    done = isolated("predict.py", "rows.csv", cwd=tmp_path)
    classes = model.target.classes
    told = list(csv.reader(io.StringIO(done.stdout.decode())))
    assert told == [["dear"], *([classes[code]] for code in exported.predict(model, table).values)]
    assert b"usage" in isolated("predict.py", cwd=tmp_path, code=1).stderr


REFUSED = {
    "a missing number": ({"area": None}, "lacks 'area'"),
    "an infinite number": ({"층": "inf"}, "infinite '층'"),
    "a number without a logarithm": ({"rooms": -1}, "no finite result"),
    "a missing category": ({"kind": None}, "lacks 'kind'"),
    "an unseen category": ({"kind": "성"}, "row 2: '성' is no 'kind'"),
    "an unseen boolean": ({"lift": "maybe"}, "takes true and false"),
    "a missing time": ({"built": None}, "lacks 'built'"),
    "no such column": ({"built": ...}, "lacks the column 'built'"),
}


def test_what_predict_refuses(tmp_path):
    exported.script(exported.model("log"), tmp_path)
    cases = []
    for change, words in REFUSED.values():
        table = [dict(row) for row in TABLE[:3]]
        table[1] = {name: value for name, value in (table[1] | change).items() if value is not ...}
        cases.append((table, words))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    program = (
        "import json, sys; sys.path.insert(0, '.'); import predict\n"
        "for table, words in json.load(open('cases.json')):\n"
        "    try: predict.predict(table)\n"
        "    except ValueError as error: assert words in str(error), (words, error)\n"
        "    else: raise SystemExit(words)\n"
    )
    isolated("-c", program, cwd=tmp_path)


def hostile():
    """A model whose columns and categories are called so that code could come of them."""
    spec = exported.spec_of("linear") | {"inputs": list(HOSTILE), "target": ["price"]}
    types = [exported.Column(name=name, type=exported.Column.CATEGORY) for name in HOSTILE]
    types.append(exported.Column(name="price", type=exported.Column.NUMBER))
    table = [
        {name: HOSTILE[(row + place) % len(HOSTILE)] for place, name in enumerate(HOSTILE)} | {"price": float(row)}
        for row in range(200)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exported, "types", lambda _: types)
        return exported.predictor_of(spec, table), table


def test_names_are_literals_and_never_code(tmp_path):
    predictor, table = hostile()
    found = answers_of(tmp_path, {"hostile": (predictor, table)})
    compare(found["hostile"], predictor, table)
    text = (tmp_path / "hostile" / "predict.py").read_text(encoding="utf-8")
    assert not re.search("[\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    tree = ast.parse(text)
    literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set(HOSTILE) <= literals
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"os", "__import__", "eval", "exec"}


def test_a_script_is_short():
    """One of a network with scaled numbers and one-hot categories, for people to read."""
    spec = exported.spec_of("numbered") | {"inputs": ["area", "rooms", "층", "kind"], "target": ["price"], "loss": {}}
    spec.pop("loss")
    predictor = exported.predictor_of(spec, TABLE)
    text = exported.write_script("models/kim.m/versions/1", predictor.spec, predictor.fitted, predictor.target)
    assert len(text.splitlines()) < 150
    assert max(map(len, text.splitlines())) < 160
    assert "traind" not in text.replace("a model of traind", "")
