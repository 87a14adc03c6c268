"""A spec out of a data set's figures, with a reason for each of its lines.

The rules were chosen by training on real tables (tests/acceptance/test_quality.py holds what they reach): a small
network that stops early does no worse than a linear model on any of them, and better on most.
"""

from collections.abc import Mapping, Sequence

from service.errors import invalid, shown
from service.modelling.proposing.goal import Goal, find_goal, propose_target
from service.modelling.proposing.groups import propose_groups
from service.modelling.proposing.inputs import choose_inputs
from service.modelling.proposing.learning import propose_learning
from service.modelling.proposing.reasons import Draft, share
from service.modelling.proposing.split import propose_split
from traind.v1 import profiles_pb2, tables_pb2

Column = tables_pb2.Column
Finding = tables_pb2.Finding


def propose(
    profile: profiles_pb2.Profile,
    columns: Sequence[Column],
    target: str,
    row_count: int,
    associations: Mapping[str, float] | None = None,
) -> profiles_pb2.Proposal:
    """A TrainSpec to predict `target`, that can be submitted as it is, and why it says what it says.

    `associations` tell how exactly single columns tell the target, 0 to 1; what tells it almost exactly is no input.
    Raises InvalidField naming `target` where there is no such column, or none that can be predicted or learned from.
    """
    goal = goal_of(profile, columns, target, row_count)
    figures = {column.name: column for column in profile.columns}
    draft = Draft(profile)
    draft.spec.target.append(target)
    inputs = choose_inputs(draft, goal, [figures[c.name] for c in columns if c.name != target], associations or {})
    if not inputs:
        raise invalid("target", f"no column is left to predict {shown(target)} from; see the findings of its profile")
    draft.spec.inputs.extend(column.name for column in inputs)
    propose_split(draft, goal, inputs)
    width = propose_groups(draft, inputs, row_count)
    propose_target(draft, goal)
    propose_learning(draft, goal, width=width, held_out=not draft.spec.split.HasField("none"))
    _warn(draft, goal)
    return draft.proposal


def goal_of(profile: profiles_pb2.Profile, columns: Sequence[Column], target: str, row_count: int) -> Goal:
    """The target by figures. Raises InvalidField naming `target` where there is nothing to learn about it."""
    figures = {column.name: column for column in profile.columns}
    if target not in {column.name for column in columns} or target not in figures:
        names = ", ".join(shown(column.name) for column in columns[:8])
        more = " …" if len(columns) > 8 else ""
        raise invalid("target", f"the data set has no column {shown(target)}; there are {names}{more}")
    return find_goal(figures[target], row_count)


def _warn(draft: Draft, goal: Goal) -> None:
    """What a person should know before: of the target and the split; of the table its profile tells."""
    if goal.imbalanced:
        draft.find(
            Finding.IMBALANCED,
            f"The rarest class of {shown(goal.name)} has {goal.rarest:,} of {goal.rows:,} rows "
            f"({share(goal.rarest_share)}); "
            "look at balanced_accuracy and roc_auc rather than at accuracy.",
            rows=goal.rarest,
            share=goal.rarest_share,
        )
    if draft.spec.split.HasField("none"):
        draft.find(
            Finding.NO_HOLD_OUT,
            f"With {goal.rows} rows none are held out: every figure is in sample and says nothing about new rows.",
            rows=goal.rows,
            limit=20,
        )
