"""A proposal on its way, and how its reasons name columns and figures in English and Korean."""

import math
from collections.abc import Sequence

from service.errors import shown
from traind.v1 import profiles_pb2, specs_pb2, tables_pb2

NAMED = 3


class Draft:
    """The proposal so far."""

    def __init__(self, profile: profiles_pb2.Profile) -> None:
        self.profile = profile
        self.proposal = profiles_pb2.Proposal(dataset=profile.dataset, findings=profile.findings)
        self.proposal.train.SetInParent()

    @property
    def spec(self) -> specs_pb2.TrainSpec:
        """The spec so far."""
        return self.proposal.train

    def because(self, field: str, english: str, korean: str) -> None:
        """Give the reason for one line of the spec; both texts name the same figure."""
        self.proposal.reasons.add(field=field, english=english, korean=korean)

    def find(self, code: "tables_pb2.Finding.Code.ValueType", message: str, **figures: float) -> None:
        """Tell something that a person should know before."""
        self.proposal.findings.add(code=code, message=message, figures=figures)


def named(names: Sequence[str], korean: bool = False) -> str:
    """The first names, and how many more there are."""
    told = ", ".join(shown(name) for name in names[:NAMED])
    more = len(names) - NAMED
    if more <= 0:
        return told
    return f"{told} 외 {more}개" if korean else f"{told} and {more} more"


def figure(value: float) -> str:
    """A number for people: four digits that count, whole numbers as they are."""
    if 1e7 > abs(value) == int(abs(value)):
        return f"{value:,.0f}"
    return f"{float(f'{value:.4g}'):,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def share(value: float) -> str:
    """A share in percent: as many digits as tell it from 0 and from 100."""
    percent = 100 * value
    if 9.5 <= percent <= 99 or percent in {0, 100}:
        return f"{percent:.0f} %"
    return f"{percent:.2g} %" if percent < 9.5 else f"{math.floor(percent * 100) / 100:g} %"
