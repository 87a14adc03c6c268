"""What the demo prints: headings, sentences, tables, and a mark behind each number that is known beforehand."""

from collections.abc import Sequence

from traind.display import duration, figure, table


class Report:
    """Prints, and counts what is off."""

    def __init__(self) -> None:
        self._checks = 0
        self._wrong: list[str] = []

    def heading(self, text: str) -> None:
        """The beginning of a part."""
        print(f"\n== {text}", flush=True)

    def say(self, text: str = "") -> None:
        """A line."""
        print(text, flush=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows in columns, set in a little."""
        print("\n".join("   " + line for line in table(header, rows).splitlines()), flush=True)

    def check(self, what: str, ok: bool) -> str:
        """Remember whether something holds; answers the mark to print."""
        self._checks += 1
        if ok:
            return "ok"
        self._wrong.append(what)
        return "WRONG"

    def close(self, seconds: float) -> int:
        """The last lines; answers the exit code."""
        self.heading("summary")
        self.say(f"{self._checks - len(self._wrong)} of {self._checks} numbers are as known, in {duration(seconds)}")
        for what in self._wrong:
            self.say(f"WRONG: {what}")
        return 1 if self._wrong or not self._checks else 0


def numbers(values: Sequence[float]) -> str:
    """Several figures in a cell."""
    return ", ".join(figure(value) for value in values)


def close(measured: Sequence[float], known: Sequence[float], tolerance: float) -> bool:
    """Whether every figure is within `tolerance` of the known one."""
    return len(measured) == len(known) and all(abs(a - b) <= tolerance for a, b in zip(measured, known, strict=True))
