"""Columns as a spec uses them."""

from collections.abc import Iterable

from service.modelling.inputs import Embedded, InputLayout
from traind.v1 import preprocess_pb2, specs_pb2, tables_pb2

Column = tables_pb2.Column
# So many categories of a column are told at most, and fewer, down to none, where a table has very many of them.
MOST_CATEGORIES = 1000


def class_count(target: Column) -> int | None:
    """Classes of a column that always holds classes, as far as they are told; None where it may hold numbers."""
    match target.type:
        case Column.CATEGORY:
            return len(target.categories) or MOST_CATEGORIES
        case Column.BOOLEAN:
            return 2
        case _:
            return None


def all_told(column: Column) -> bool:
    """Whether a column has no more categories than those that are told."""
    return column.type != Column.CATEGORY or 0 < len(column.categories) < MOST_CATEGORIES


def input_layout(resolved: specs_pb2.TrainSpec, columns: Iterable[Column]) -> InputLayout:
    """The features that preprocessing will make, as far as the columns tell.

    Categories count as far as they are told, also where the training rows will turn out to have fewer.
    """
    by_name = {column.name: column for column in columns}
    groups = {name: group for group in resolved.preprocess.groups for name in group.columns}
    place, embedded = 0, []
    for name in resolved.inputs:
        column, group = by_name[name], groups.get(name, preprocess_pb2.ColumnGroup())
        if group.encode.WhichOneof("kind") == "embedding":
            embedded.append(Embedded(place, _categories(column, group), group.encode.embedding.width))
        place += _features(column, group)
    return InputLayout(place, tuple(embedded))


def _features(column: Column, group: preprocess_pb2.ColumnGroup) -> int:
    """Features of one column: its own, and one more for an indicator."""
    if column.type in {Column.CATEGORY, Column.BOOLEAN}:
        own = _categories(column, group) if group.encode.WhichOneof("kind") in {None, "one_hot"} else 1
    else:
        own = len(group.date_parts) if column.type == Column.TIMESTAMP else 1
    return own + group.impute.indicator


def _categories(column: Column, group: preprocess_pb2.ColumnGroup) -> int:
    known = ("false", "true") if column.type == Column.BOOLEAN else tuple(column.categories)
    impute = group.impute
    constant = impute.how == preprocess_pb2.Impute.CONSTANT and column.missing_count > 0 and impute.text not in known
    return len(known) + constant
