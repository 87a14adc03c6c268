"""Parts of times in whole numbers: days become years and months as Howard Hinnant's `civil_from_days` has it."""

from service.onnx_files.arithmetic import divide, linear, modulo
from service.onnx_files.graph import DOUBLE, INT64, Graph

_HOUR, _MINUTE, _DAY = 3_600_000_000, 60_000_000, 86_400_000_000
_THURSDAY = 3  # 1970-01-01, Monday being 0
# Days from 0000-03-01, with which a year begins here so that the leap day ends it, and from 0001-01-01, to 1970-01-01.
_FROM_MARCH, _FROM_ONE = 719_468, 719_162


class Dates:
    """The parts of times, microseconds since 1970-01-01; what several parts need is computed once."""

    def __init__(self, graph: Graph, times: str) -> None:
        self._graph, self._times = graph, times
        self._days = divide(graph, times, _DAY)
        self._civil: tuple[str, str, str] | None = None

    def part(self, name: str) -> str:
        """A part, by its name in the contract, as numbers of 64 bits."""
        graph = self._graph
        if name == "DAYS":
            return graph.add("Div", graph.cast(self._times, DOUBLE), graph.number(float(_DAY)))
        return graph.cast(self._whole(name), DOUBLE)

    def _whole(self, name: str) -> str:
        match name:
            case "YEAR" | "MONTH" | "DAY":
                return self._date[("YEAR", "MONTH", "DAY").index(name)]
            case "WEEKDAY":
                return modulo(self._graph, linear(self._graph, self._days, 1, _THURSDAY), 7)
            case "DAY_OF_YEAR":
                return self._day_of_year()
            case "HOUR":
                return divide(self._graph, modulo(self._graph, self._times, _DAY), _HOUR)
            case "MINUTE":
                return modulo(self._graph, divide(self._graph, modulo(self._graph, self._times, _DAY), _MINUTE), 60)
            case _:
                raise AssertionError(f"there is no part {name}")

    @property
    def _date(self) -> tuple[str, str, str]:
        """Year, month, day."""
        if self._civil is None:
            self._civil = self._find_date()
        return self._civil

    def _find_date(self) -> tuple[str, str, str]:
        graph = self._graph
        since = linear(graph, self._days, 1, _FROM_MARCH)
        era, day = divide(graph, since, 146_097), modulo(graph, since, 146_097)
        # Days of the era without its leap days.
        plain = graph.add("Sub", day, divide(graph, day, 1460))
        plain = graph.add("Sub", graph.add("Add", plain, divide(graph, day, 36_524)), divide(graph, day, 146_096))
        year = divide(graph, plain, 365)
        leaps = graph.add("Sub", divide(graph, year, 4), divide(graph, year, 100))
        of_year = graph.add("Sub", day, graph.add("Add", linear(graph, year, 365, 0), leaps))
        month = divide(graph, linear(graph, of_year, 5, 2), 153)  # 0 = March
        before = divide(graph, linear(graph, month, 153, 2), 5)
        late = graph.add("GreaterOrEqual", month, graph.whole(10))
        shown = graph.add("Where", late, linear(graph, month, 1, -9), linear(graph, month, 1, 3))
        whole = graph.add("Add", year, graph.add("Add", linear(graph, era, 400, 0), graph.cast(late, INT64)))
        return whole, shown, linear(graph, graph.add("Sub", of_year, before), 1, 1)

    def _day_of_year(self) -> str:
        graph = self._graph
        past = linear(graph, self._date[0], 1, -1)
        leaps = graph.add("Sub", divide(graph, past, 4), divide(graph, past, 100))
        leaps = graph.add("Add", leaps, divide(graph, past, 400))
        first = linear(graph, graph.add("Add", linear(graph, past, 365, 0), leaps), 1, -_FROM_ONE)
        return linear(graph, graph.add("Sub", self._days, first), 1, 1)
