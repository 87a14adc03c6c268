"""Proposals: a spec for a data set, by its figures."""

from collections.abc import Sequence

from service import datasets, references
from service.app import App
from service.callers import Caller
from service.data.association import association
from service.modelling.proposing.goal import Goal
from service.modelling.proposing.inputs import FEWEST_ROWS_TO_ACCUSE
from service.modelling.proposing.propose import goal_of, propose
from service.store.records import DatasetRow
from traind.v1 import datasets_pb2, profiles_pb2, tables_pb2

Column = tables_pb2.Column
_COMPARED = frozenset({Column.INTEGER, Column.NUMBER, Column.BOOLEAN, Column.CATEGORY})


def propose_training(app: App, caller: Caller, request: datasets_pb2.ProposeTrainingRequest) -> profiles_pb2.Proposal:
    """A spec that can be submitted as it is, for the version of the data set that it names."""
    row = datasets.find_dataset(app, caller, request.name, "name")
    name = references.version_name("datasets", row.owner_name, row.slug, row.version)
    profile = datasets.profile_dataset(app, caller, datasets_pb2.ProfileDatasetRequest(name=name))
    columns = datasets.columns_of(row)
    goal = goal_of(profile, columns, request.target, row.row_count)
    associations = _associations(app, row, columns, goal) if goal.rows >= FEWEST_ROWS_TO_ACCUSE else {}
    return propose(profile, columns, request.target, row.row_count, associations)


def _associations(app: App, row: DatasetRow, columns: Sequence[Column], goal: Goal) -> dict[str, float]:
    """How exactly each column tells the target; one column at a time, for a table may be large."""
    target = datasets.open_table(app, row, [goal.name]).column(goal.name)
    names = [column.name for column in columns if column.type in _COMPARED and column.name != goal.name]
    return {
        name: association(datasets.open_table(app, row, [name]).column(name), target, classes=bool(goal.classes))
        for name in names
    }
