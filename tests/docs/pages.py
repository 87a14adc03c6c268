"""The project's pages and the programs of examples/ that run them."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The programs of examples/ import each other by their bare names, as they do when a person runs them.
sys.path.append(str(ROOT / "examples"))


def markdown():
    """Every page of the checkout that people read."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def fences(path):
    """Language and text of each fenced block, in order."""
    return FENCE.findall(path.read_text(encoding="utf-8"))


def headings(path):
    """The anchors of a page's headings, as GitHub makes them."""
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
