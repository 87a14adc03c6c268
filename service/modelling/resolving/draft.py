"""A spec on its way to its resolved form: every part fills its defaults in and notes what is wrong."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from service.errors import InvalidField, Violation, shown
from traind.v1 import preprocess_pb2, specs_pb2, tables_pb2

Column = tables_pb2.Column
MOST_VIOLATIONS = 20
NUMERIC = frozenset({Column.INTEGER, Column.NUMBER})
CLASSED = frozenset({Column.CATEGORY, Column.BOOLEAN})


@dataclass
class Draft:
    """The spec, which is changed in place, and what it is held against."""

    spec: specs_pb2.TrainSpec
    columns: Sequence[Column]
    row_count: int
    device: str = "cpu"
    violations: list[Violation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_name = {column.name: column for column in self.columns}
        # The group that names a column; made by the preprocessing's part.
        self.groups: dict[str, preprocess_pb2.ColumnGroup] = {}

    def refuse(self, path: str, description: str) -> None:
        """Note what is wrong with a field below `job.train`."""
        self.violations.append(Violation(f"job.train.{path}", description))

    def find(self, path: str, name: str) -> Column | None:
        """The column of a name; none is noted as wrong, with the nearest name there is."""
        column = self.by_name.get(name)
        if column is None:
            self.refuse(path, f"the data set has no column {shown(name)}; {nearest(name, self.by_name)}")
        return column

    def raise_if_wrong(self) -> None:
        """Raise InvalidField with all that was noted, at most 20."""
        if not self.violations:
            return
        first = self.violations[0]
        more = f" (and {len(self.violations) - 1} more)" if len(self.violations) > 1 else ""
        text = f"{first.field}: {first.description}{more}"
        raise InvalidField(text, self.violations[:MOST_VIOLATIONS], {"field": first.field})


def default(message: Message, name: str, *, value: object) -> None:
    """Set an optional field that is absent."""
    if not message.HasField(name):
        setattr(message, name, value)


def nearest(name: str, known: Iterable[str]) -> str:
    """What to try instead of a name that is not known."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {shown(near[0])}?"
    more = ", …" if len(names) > 8 else ""
    return f"there are {', '.join(map(shown, names[:8]))}{more}" if names else "there are none"


def type_name(column: Column) -> str:
    """A column's type as it is written."""
    return str(Column.Type.Name(column.type))
