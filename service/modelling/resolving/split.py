"""Which rows are held out: defaults, and whether the table allows it."""

from collections.abc import Sequence
from typing import assert_never

from service.errors import shown
from service.modelling.columns import all_told, class_count
from service.modelling.resolving.draft import NUMERIC, Column, Draft, default, nearest, type_name
from traind.v1 import splits_pb2

# Below so many rows nothing is held out unless it is asked for.
FEWEST_ROWS_TO_SPLIT = 20


def resolve_split(draft: Draft, targets: Sequence[Column] | None) -> None:
    """The split that was named, else a hold-out, else none where there are too few rows."""
    split = draft.spec.split
    kind = split.WhichOneof("kind") or ("hold_out" if draft.row_count >= FEWEST_ROWS_TO_SPLIT else "none")
    if kind != "none" and draft.row_count < 2:
        draft.refuse(f"split.{kind}", f"needs 2 rows and the data set has {draft.row_count}; use none")
    match kind:
        case "none":
            split.none.SetInParent()
        case "hold_out":
            _resolve_hold_out(draft, split.hold_out, targets)
        case "column":
            _check_column(draft, split.column)
        case "time":
            _check_time(draft, split.time)
        case _:
            assert_never(kind)


def _resolve_hold_out(draft: Draft, hold_out: splits_pb2.HoldOut, targets: Sequence[Column] | None) -> None:
    default(hold_out, "fraction", value=0.2)
    if targets is None:
        return
    classes = holds_classes(draft, targets)
    if hold_out.stratify and not classes:
        draft.refuse("split.hold_out.stratify", "keeps the shares of classes and the target is a number; leave it out")
    default(hold_out, "stratify", value=classes)


def holds_classes(draft: Draft, targets: Sequence[Column]) -> bool:
    """Whether the spec tells classes apart: by its network, by its loss, or by the target alone."""
    if draft.spec.network.WhichOneof("kind") == "perceptron":
        return True
    loss = draft.spec.loss.WhichOneof("kind")
    return loss in {"bce", "cross_entropy"} if loss else class_count(targets[0]) is not None


def _check_column(draft: Draft, split: splits_pb2.SplitByColumn) -> None:
    path = "split.column"
    column = _find(draft, path, split.column)
    if column is None:
        return
    if column.type not in {Column.CATEGORY, Column.BOOLEAN, Column.INTEGER}:
        draft.refuse(
            f"{path}.column", f"{shown(column.name)} is {type_name(column)}; it needs CATEGORY, BOOLEAN or INTEGER"
        )
    known = ("false", "true") if column.type == Column.BOOLEAN else tuple(column.categories)
    if column.type != Column.INTEGER and all_told(column):
        for index, value in enumerate(split.held_out):
            if value not in known:
                there = nearest(value, known)
                draft.refuse(f"{path}.held_out[{index}]", f"no row has {shown(value)} in {shown(column.name)}; {there}")


def _check_time(draft: Draft, split: splits_pb2.SplitByTime) -> None:
    path = "split.time"
    default(split, "fraction", value=0.2)
    column = _find(draft, path, split.column)
    if column is None:
        return
    if column.type != Column.TIMESTAMP and column.type not in NUMERIC:
        draft.refuse(
            f"{path}.column", f"{shown(column.name)} is {type_name(column)}; it needs TIMESTAMP, INTEGER or NUMBER"
        )
    elif column.missing_count:
        draft.refuse(
            f"{path}.column",
            f"{shown(column.name)} has {column.missing_count} missing values, and rows without a time cannot be "
            "ordered; upload the table without them, or split another way",
        )


def _find(draft: Draft, path: str, name: str) -> Column | None:
    if name not in draft.spec.target:
        return draft.find(f"{path}.column", name)
    draft.refuse(f"{path}.column", f"{shown(name)} is the target; rows must not be held out by what is predicted")
    return None
