"""Tables and specs that the tests of modelling and of learning share."""

import numpy as np
import torch
from google.protobuf import json_format

from service.data.table import Table, TableColumn
from service.modelling import specs
from traind.v1 import specs_pb2, tables_pb2

Column = tables_pb2.Column

# The lecture's house prices: area in pyeong, rooms, km to the station -> price in 100 million won.
HOUSES = {
    "area": [32, 33, 36],
    "rooms": [3, 3, 4],
    "station_km": [0.3, 0.5, 0.5],
    "price": [6.0, 7.0, 8.5],
}
HOUSE_SPEC = {
    "inputs": ["area", "rooms", "station_km"],
    "target": ["price"],
    "network": {"linear": {"bias": False}},
    "preprocess": {"scale": "NONE"},
    "split": {"none": {}},
    "loss": {"mse": {}},
    "dtype": "FLOAT64",
    "seed": 7,
}
# Its weight tables: weights, bias, predictions, mean absolute error.
WEIGHT_TABLES = [
    ([0.1, 0.3, 4.0], None, [5.3, 6.2, 6.8], 1.0667),
    ([0.1, 0.3, 3.0], 0.5, [5.5, 6.2, 6.8], 1.0),
    ([0.1, 0.3, 4.0], 0.5, [5.8, 6.7, 7.3], 0.5667),
    ([0.1, 0.2, 2.0], 0.5, [4.9, 5.4, 5.9], 1.7667),
]
# Its four points, which no line separates.
POINTS = {"x": [0, 1, 0, 1], "y": [0, 0, 1, 1], "color": ["white", "black", "black", "white"]}


def table_of(columns):
    """A table of lists: whole numbers are INTEGER, floats NUMBER, bools BOOLEAN, texts CATEGORY."""
    return Table({name: _column(name, values) for name, values in columns.items()}, len(next(iter(columns.values()))))


def _column(name, values):
    match values[0]:
        case bool():
            return TableColumn(name, Column.BOOLEAN, np.array(values))
        case int():
            return TableColumn(name, Column.INTEGER, np.array(values, np.int64))
        case float():
            return TableColumn(name, Column.NUMBER, np.array(values, np.float64))
        case str():
            known = tuple(sorted(set(values)))
            codes = np.array([known.index(value) for value in values], np.int32)
            return TableColumn(name, Column.CATEGORY, codes, None, known)
    raise AssertionError(values[0])


def columns_of(table):
    """What the service knows of the columns."""
    return [Column(name=c.name, type=c.type, categories=c.categories) for c in table.columns.values()]


def spec_of(spec):
    return json_format.ParseDict(spec, specs_pb2.TrainSpec())


def resolved(spec, table):
    return specs.resolve(spec_of(spec), columns_of(table), table.row_count)


def given(**weights):
    """`learn` with given weights: nested lists by name, dots of names written as two underlines."""
    tensors = {
        name.replace("__", "."): {
            "shape": list(np.shape(values)),
            "values": [_number(value) for value in np.ravel(values)],
        }
        for name, values in weights.items()
        if values is not None
    }
    return {"learn": {"given": {"weights": tensors}}}


def _number(value):
    """A number as proto3 JSON writes it."""
    if np.isfinite(value):
        return float(value)
    return "NaN" if np.isnan(value) else "Infinity"


def tensors_of(**weights):
    return {name.replace("__", "."): torch.tensor(values, dtype=torch.float64) for name, values in weights.items()}
