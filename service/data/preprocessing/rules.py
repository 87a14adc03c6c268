"""What a spec says of each column: the groups of `preprocess`, with what they leave open filled in."""

from collections.abc import Mapping
from dataclasses import dataclass

from traind.v1 import preprocess_pb2

Preprocess = preprocess_pb2.Preprocess
ColumnGroup = preprocess_pb2.ColumnGroup

PATH = "job.train.preprocess"


@dataclass(frozen=True)
class Rule:
    """How one column is treated."""

    # The group that names it, or an empty one.
    group: ColumnGroup
    scale: "Preprocess.Scale.ValueType"
    takes_unseen: bool
    # Where the spec says it, for errors.
    path: str

    @property
    def drops(self) -> bool:
        """Whether rows without a value are left out."""
        return self.group.impute.how == preprocess_pb2.Impute.DROP_ROW

    @property
    def fills(self) -> bool:
        """Whether something stands for missing values."""
        return self.group.HasField("impute") and not self.drops


def rules_of(preprocess: Preprocess) -> "Rules":
    """The rules of a spec, by column."""
    found = {}
    for index, group in enumerate(preprocess.groups):
        for name in group.columns:
            found[name] = _rule(preprocess, group, f"{PATH}.groups[{index}]")
    return Rules(found, _rule(preprocess, ColumnGroup(), PATH))


@dataclass(frozen=True)
class Rules:
    """Rules by the names of columns."""

    named: Mapping[str, Rule]
    # Of a column that no group names.
    other: Rule

    def of(self, name: str) -> Rule:
        """The rule of a column."""
        return self.named.get(name, self.other)


def _rule(preprocess: Preprocess, group: ColumnGroup, path: str) -> Rule:
    unseen = group.unseen or preprocess.unseen
    scale = group.scale or preprocess.scale or Preprocess.STANDARD
    return Rule(group, scale, unseen == Preprocess.UNKNOWN, path)
