"""Which columns are learned from and about: targets and inputs."""

from service.errors import shown
from service.modelling.columns import class_count
from service.modelling.resolving.draft import NUMERIC, Column, Draft, type_name
from traind.v1 import preprocess_pb2

TargetSteps = preprocess_pb2.TargetSteps


def resolve_targets(draft: Draft) -> list[Column] | None:
    """The columns to predict; None where one of them cannot be."""
    names, before = list(draft.spec.target), len(draft.violations)
    found = [draft.find(f"target[{index}]", name) for index, name in enumerate(names)]
    columns = [column for column in found if column is not None]
    steps = draft.spec.preprocess.target
    steps.missing = steps.missing or TargetSteps.REFUSE
    for index, column in enumerate(columns):
        _check_target(draft, f"target[{index}]", column, several=len(names) > 1)
        if column.missing_count and steps.missing == TargetSteps.REFUSE:
            draft.refuse(
                f"target[{index}]",
                f"column {shown(column.name)} has {column.missing_count} missing values; leave these rows out by "
                "preprocess.target.missing = DROP_ROW, or upload the table without them",
            )
        if column.missing_count >= draft.row_count:
            draft.refuse(f"target[{index}]", f"column {shown(column.name)} has no value in any row")
    return columns if len(draft.violations) == before else None


def _check_target(draft: Draft, path: str, column: Column, *, several: bool) -> None:
    name, classes = shown(column.name), class_count(column)
    if column.type in {Column.TEXT, Column.TIMESTAMP}:
        draft.refuse(path, f"column {name} is {type_name(column)}, which cannot be predicted; choose another column")
    elif several and column.type not in NUMERIC:
        draft.refuse(
            path, f"column {name} is {type_name(column)}; only numbers are predicted together: name one target"
        )
    elif classes is not None and classes < 2:
        draft.refuse(path, f"column {name} has one class only; there is nothing to tell apart")
    elif draft.spec.network.WhichOneof("kind") == "perceptron":
        _check_perceptron(draft, path, column, classes, several=several)


def _check_perceptron(draft: Draft, path: str, column: Column, classes: int | None, *, several: bool) -> None:
    name = shown(column.name)
    if column.type == Column.NUMBER or several:
        draft.refuse(path, f"a perceptron tells two classes apart and {name} holds numbers; use linear or mlp")
    elif classes is not None and classes != 2:
        draft.refuse(path, f"a perceptron tells 2 classes apart and {name} has {classes}; use linear or mlp")


def resolve_inputs(draft: Draft) -> None:
    """The columns to learn from: those that are named, else all that can be learned from."""
    spec, targets = draft.spec, set(draft.spec.target)
    if not spec.inputs:
        aside = targets | {_split_column(draft)}
        spec.inputs.extend(c.name for c in draft.columns if c.name not in aside and _learnable(draft, c))
        if not spec.inputs:
            draft.refuse("inputs", f"there is no column to learn from beside the target {shown(spec.target[0])}")
        for name in spec.inputs:
            _check_input(draft, "inputs", draft.by_name[name])
        return
    for index, name in enumerate(spec.inputs):
        path = f"inputs[{index}]"
        if name in targets:
            draft.refuse(path, f"{shown(name)} is the target; a model must not see what it predicts")
        elif (column := draft.find(path, name)) is not None:
            _check_input(draft, path, column)


def _split_column(draft: Draft) -> str:
    split = draft.spec.split
    return split.column.column or split.time.column


def _learnable(draft: Draft, column: Column) -> bool:
    if column.type == Column.TIMESTAMP:
        return column.name in draft.groups
    return column.type != Column.TEXT


def _check_input(draft: Draft, path: str, column: Column) -> None:
    name, group = shown(column.name), draft.groups.get(column.name)
    if column.type == Column.TEXT:
        draft.refuse(path, f"column {name} is TEXT, which cannot be learned from yet; leave it out")
    elif column.type == Column.TIMESTAMP and group is None:
        draft.refuse(path, f"column {name} is TIMESTAMP; name it in preprocess.groups with date_parts, or leave it out")
    elif column.missing_count and (group is None or not group.HasField("impute")):
        draft.refuse(
            path,
            f"column {name} has {column.missing_count} missing values, allowed are 0 without impute; name the column "
            "in preprocess.groups with impute (for instance MEDIAN or MOST_FREQUENT), or leave it out",
        )
