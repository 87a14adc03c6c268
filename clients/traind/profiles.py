"""What the figures of a data set are, and the spec that they propose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind.events import decode_finding
from traind.v1 import profiles_pb2, tables_pb2

if TYPE_CHECKING:
    from traind.events import Finding
    from traind.v1 import specs_pb2

LANGUAGES = ("en", "ko")


@dataclass(frozen=True)
class Profile:
    """A data set by figures, missing values left out."""

    message: profiles_pb2.Profile

    @property
    def row_count(self) -> int:
        """Rows."""
        return self.message.row_count

    @property
    def columns(self) -> dict[str, profiles_pb2.ColumnProfile]:
        """The figures of each column by its name, in the order of the file."""
        return {column.name: column for column in self.message.columns}

    @property
    def duplicate_row_count(self) -> int:
        """Rows that are equal to an earlier one in every column."""
        return self.message.duplicate_row_count

    @property
    def findings(self) -> list[Finding]:
        """What a person should know."""
        return [decode_finding(finding) for finding in self.message.findings]

    def quantile(self, column: str, share: float) -> float:
        """The value below which a share of a column of numbers lies; 0.5 is the median. Raises KeyError for others."""
        found = {quantile.share: quantile.value for quantile in self.columns[column].numbers.quantiles}
        return found[share]

    def correlation(self, one: str, other: str) -> float:
        """Pearson's, of two columns of numbers. Raises KeyError where it was not computed."""
        names = list(self.message.correlation.columns)
        if one not in names or other not in names:
            raise KeyError(one if one not in names else other)
        return self.message.correlation.values.values[names.index(one) * len(names) + names.index(other)]

    def to_df(self) -> Any:
        """A pandas DataFrame, a row a column of the data set."""
        from traind.tables_out import frame_of

        return frame_of([_record(column) for column in self.message.columns])

    def _repr_html_(self) -> str:
        from traind.html import table_html

        records = [_record(column) for column in self.message.columns]
        header = list(dict.fromkeys(name for record in records for name in record))
        rows = [[record.get(name, "") for name in header] for record in records]
        return table_html(f"{self.message.dataset}: {self.row_count:,} rows", header, rows)

    def __repr__(self) -> str:
        return f"<Profile of {self.message.dataset}: {self.row_count} rows, {len(self.message.columns)} columns>"


@dataclass(frozen=True)
class Reason:
    """Why a spec says what it says."""

    field: str  # `network.mlp.hidden`
    english: str
    korean: str

    def text(self, language: str = "en") -> str:
        """The reason in `en` or `ko`."""
        return self.korean if language == "ko" else self.english


@dataclass(frozen=True)
class Proposal:
    """A spec that can be submitted as it is."""

    message: profiles_pb2.Proposal

    @property
    def dataset(self) -> str:
        """The data set, with its version."""
        return self.message.dataset

    @property
    def train(self) -> specs_pb2.TrainSpec:
        """What `jobs.create(train=...)` takes."""
        return self.message.train

    @property
    def reasons(self) -> list[Reason]:
        """Why, line by line."""
        return [Reason(reason.field, reason.english, reason.korean) for reason in self.message.reasons]

    @property
    def findings(self) -> list[Finding]:
        """What a person should know before."""
        return [decode_finding(finding) for finding in self.message.findings]

    def _repr_html_(self) -> str:
        from traind.html import table_html

        reasons = [(reason.field, reason.english) for reason in self.reasons]
        return table_html(f"proposal for {self.dataset}", ("field", "why"), reasons)

    def __repr__(self) -> str:
        target = ", ".join(self.message.train.target)
        return f"<Proposal for {target} of {self.dataset}: {len(self.message.reasons)} reasons>"


def _record(column: profiles_pb2.ColumnProfile) -> dict[str, Any]:
    """The figures of a column that fit into a line."""
    record: dict[str, Any] = {
        "column": column.name,
        "type": type_name(column),
        "missing": column.missing_count,
        "distinct": column.distinct_count,
    }
    if column.WhichOneof("figures") == "numbers":
        numbers = column.numbers
        told = {"min": numbers.min, "mean": numbers.mean, "max": numbers.max, "std": numbers.std}
        record |= told | {"skewness": numbers.skewness}
    elif column.top_values:
        record["most frequent"] = column.top_values[0].value
    return record


def type_name(column: tables_pb2.Column | profiles_pb2.ColumnProfile) -> str:
    """`NUMBER`; a type that this client does not know yet stays a number."""
    found = tables_pb2.Column.Type.DESCRIPTOR.values_by_number.get(column.type)
    return found.name if found else f"TYPE_{column.type}"
