"""The list of everything on the page, beside it or above it."""

from collections.abc import Iterable

from service.rest.docs.contents import REASONS, Contents, short
from service.rest.docs.markup import escape
from service.rest.docs.types import stem_of, title_of


def navigation(contents: Contents) -> str:
    """Links, grouped; the script puts a filter above them."""
    parts = [_links([("start", "Start"), (short(REASONS), "Errors"), ("limits", "Limits")])]
    for name, operations in contents.services.items():
        parts.append(_group(name, name, [(found.anchor, found.name) for found in operations]))
    for file, messages in contents.files.items():
        names = [short(message) for message in messages]
        parts.append(_group(f"types-{stem_of(file.name)}", title_of(file.name), [(name, name) for name in names]))
    return f'<nav aria-label="Contents">{"".join(parts)}</nav>'


def _group(anchor: str, title: str, links: Iterable[tuple[str, str]]) -> str:
    return f'<div class="group"><a class="head" href="#{anchor}">{escape(title)}</a>{_links(links)}</div>'


def _links(links: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title in links)
    return f"<ul>{items}</ul>"
