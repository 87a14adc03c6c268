"""The whole text of a script."""

from service.data.preprocessing import Fitted
from service.data.targets import Target
from service.modelling import networks
from service.modelling.predictor import largest_number
from service.script_files.answers import answer_functions, target_lines
from service.script_files.columns import column_functions, features_function, missing_marks, steps_of
from service.script_files.layers import network_lines
from service.script_files.lines import call, literal
from service.script_files.steps import step_functions
from traind.v1 import specs_pb2, tables_pb2

_HEAD = '''"""Predicts what a model of traind predicts, by PyTorch and NumPy alone.

    pip install torch numpy safetensors
    python predict.py ROWS.csv

Needs Python 3.11; weights.safetensors lies beside this file. In a program: predict([{"column": value, ...}, ...]).
"""
'''


def write_script(name: str, spec: specs_pb2.TrainSpec, fitted: Fitted, target: Target) -> str:
    """`predict.py` of the model `name`, of a resolved spec."""
    wide = spec.dtype == specs_pb2.TrainSpec.FLOAT64
    dtype = "torch.float64" if wide else "torch.float32"
    kind, outputs = spec.network.WhichOneof("kind"), networks.output_width(spec, len(target.classes))
    deviations = spec.loss.WhichOneof("kind") == "gaussian_nll"
    undone = [step for column in target.columns for step in column.steps]
    body = [
        *step_functions(steps_of(fitted), undone),
        *column_functions(fitted),
        *features_function(fitted, largest_number(spec), dtype),
        *network_lines(spec.network, fitted.layout, outputs, dtype),
        *answer_functions(target, outputs, logits=kind != "perceptron", deviations=deviations),
        *_main(target),
    ]
    lines = [_HEAD, *_imports(fitted, body), "", *_constants(name, fitted, target), "", *body]
    return "\n".join(lines) + "\n"


def _imports(fitted: Fitted, body: list[str]) -> list[str]:
    dated = any(column.type == tables_pb2.Column.TIMESTAMP for column in fitted.columns)
    lines = ["import csv", "import pathlib", "import sys"]
    lines += ["from datetime import UTC, datetime"] if dated else []
    lines += [
        "",
        "import numpy as np",
        "import torch",
        "from safetensors.torch import load_file",
        "from torch import nn",
    ]
    return lines + (["from torch.nn import functional"] if any("functional." in line for line in body) else [])


def _constants(name: str, fitted: Fitted, target: Target) -> list[str]:
    empty, marks = missing_marks(fitted)
    return [
        f"MODEL = {literal(name)}",
        *call("INPUTS = [", [column.name for column in fitted.columns], "]"),
        *target_lines(target),
        f"MISSING = {(None, *empty)!r}  # what stands for a missing value in a row, as NaN does",
        f"MISSING_IN_FILES = {list(marks)!r}",
        'WEIGHTS = pathlib.Path(__file__).with_name("weights.safetensors")',
        'np.seterr(all="ignore")  # features() refuses what has no finite result',
        "",
    ]


def _main(target: Target) -> list[str]:
    many = len(target.columns) > 1
    row = "answer.values()" if many else "[answer]"
    return [
        'if __name__ == "__main__":',
        "    if len(sys.argv) != 2:",
        '        sys.exit("usage: python predict.py ROWS.csv")',
        '    with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:',
        "        table = list(csv.DictReader(file))",
        "    for row in table:",
        "        row.update({name: None for name in INPUTS if row.get(name) in MISSING_IN_FILES})",
        '    sys.stdout.reconfigure(encoding="utf-8")',
        '    writer = csv.writer(sys.stdout, lineterminator="\\n")',
        "    writer.writerow(TARGETS)",
        "    for answer in predict(table):",
        f"        writer.writerow({row})",
    ]
