"""Links between the pages lead somewhere."""

import re

import pytest

from tests.docs.pages import FENCE, ROOT, headings, markdown

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in headings(found), target


def test_links_are_found_at_all():
    text = "see [a](docs/x.md#part) and ![b](y.svg)"
    assert LINK.findall(text) == ["docs/x.md#part", "y.svg"]


def test_every_page_of_docs_can_be_reached_from_its_index():
    index = ROOT / "docs" / "README.md"
    seen, coming = set(), [index]
    while coming:
        page = coming.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(page.read_text(encoding="utf-8")))
        coming += [(page.parent / path).resolve() for path in targets if path and not re.match(r"\w+:", path)]
    lost = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")} - {
        str(page.relative_to(ROOT)) for page in seen if page.is_relative_to(ROOT)
    }
    assert not lost
