"""A tutorial's page: its blocks of Python run in order, and what each prints stands in the block of text after it."""

import contextlib
import io
import itertools
import math
import pathlib
import re
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Another processor may round otherwise, and a loss that is 0 but for rounding has any digits.
CLOSE, ZERO = 0.02, 1e-9


@dataclass(frozen=True)
class Step:
    """A block of Python with the output that the page shows; `begin` and `end` are where that text stands."""

    code: str
    line: int
    shown: str
    begin: int
    end: int


def pages() -> list[pathlib.Path]:
    """The tutorials in English, in their order."""
    return sorted(path for path in FOLDER.glob("[0-9]*.md") if not path.name.endswith(".ko.md"))


def translation(page: pathlib.Path) -> pathlib.Path:
    """The same page in Korean."""
    return page.with_suffix(".ko.md")


def read_steps(text: str) -> list[Step]:
    """The page's blocks of Python. Raises ValueError naming the line where one has no output after it."""
    steps = []
    blocks = [match for match in BLOCK.finditer(text) if match[1] in {"python", "text"}]
    for block, after in itertools.pairwise([*blocks, None]):
        if block is None or block[1] != "python":
            continue
        line = text.count("\n", 0, block.start(2)) + 1
        if after is None or after[1] != "text":
            raise ValueError(f"the Python of line {line} has no block of text with its output after it")
        steps.append(Step(block[2], line, after[2], after.start(2), after.end(2)))
    return steps


def run_steps(steps: list[Step], page: pathlib.Path) -> tuple[list[str], dict[str, object]]:
    """Run the blocks as one program; answers what each printed, and the names they leave behind."""
    names: dict[str, object] = {"__name__": "tutorial"}
    printed = []
    for step in steps:
        out = io.StringIO()
        # Blank lines before the code make a traceback name the page's own lines.
        program = compile("\n" * (step.line - 1) + step.code, str(page), "exec")
        with contextlib.redirect_stdout(out):
            exec(program, names)
        printed.append(out.getvalue())
    return printed, names


def difference(shown: str, printed: str) -> str:
    """The first line in which two outputs differ in more than rounding; empty where none does."""
    for one, other in itertools.zip_longest(shown.splitlines(), printed.splitlines(), fillvalue=""):
        if not alike(one, other):
            return f"shown:   {one}\nprinted: {other}"
    return ""


def alike(shown: str, printed: str) -> bool:
    """Equal words, and numbers equal to 2 %; ids differ from run to run."""
    shown, printed = UUID.sub("UUID", shown), UUID.sub("UUID", printed)
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=CLOSE, abs_tol=ZERO) for a, b in pairs)


def with_outputs(text: str, printed: list[str]) -> str:
    """The page with each output replaced by what was printed."""
    for step, output in reversed(list(zip(read_steps(text), printed, strict=True))):
        text = text[: step.begin] + output + text[step.end :]
    return text
