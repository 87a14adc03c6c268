import json
import tomllib

import pytest

from traind.spec_places import line_of

JSON = """{
  "dataset": "d", "displayName": "a \\"{ [b: c",
  "train": {
    "target": ["a",
      "b", "c"],
    "preprocess": {"groups": [
      {"columns": ["x"]},
      {
        "columns": ["y", "z"],
        "one_hot": {}
      }
    ]},
    "learn": {"gradient":
      {"batchSize": 0}}
  }
}
"""
TOML = '''# a job
dataset = "d"
display_name = """
target = 3
"""
train.seed = 1
train.target = [
  "a", # not the ] end
  "b",
]

[[train.preprocess.groups]]
columns = ["x"]

[[train.preprocess.groups]]
columns = ["y"]
[train.preprocess.groups.impute]
how = "MEAN"

[train.learn.gradient]
batch_size = 0
optimizer.adam = {lr = 1, beta1 = 2}
'''


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("job", 1),
        ("", 1),
        ("job.dataset", 2),
        ("job.display_name", 2),
        ("job.train.target", 4),
        ("job.train.target[0]", 4),
        ("job.train.target[2]", 5),
        ("job.train.preprocess.groups[0]", 7),
        ("job.train.preprocess.groups[1]", 8),
        ("job.train.preprocess.groups[1].columns[1]", 9),
        ("job.train.preprocess.groups[1].one_hot", 10),
        ("job.train.learn.gradient.batch_size", 14),
        ("job.train.learn.gradient.epochs", 13),
        ("job.train.loss.mse", 3),
        ("request_id", 1),
    ],
)
def test_lines_of_json(field, line):
    assert json.loads(JSON)
    assert line_of(JSON, ".json", field) == line


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("job", 1),
        ("job.dataset", 2),
        ("job.displayName", 3),
        ("job.train", 6),
        ("job.train.target", 7),
        ("job.train.target[1]", 7),
        ("job.train.preprocess.groups[0].columns", 13),
        ("job.train.preprocess.groups[1]", 15),
        ("job.train.preprocess.groups[1].columns[0]", 16),
        ("job.train.preprocess.groups[1].impute", 17),
        ("job.train.preprocess.groups[1].impute.how", 18),
        ("job.train.learn.gradient.batchSize", 21),
        ("job.train.learn.gradient.optimizer.adam.beta1", 22),
        ("job.train.learn.gradient.epochs", 20),
        ("job.model", 1),
    ],
)
def test_lines_of_toml(field, line):
    assert tomllib.loads(TOML)
    assert line_of(TOML, ".toml", field) == line
