"""Text of the contract as HTML: everything is escaped, code spans and paragraphs are kept, known names are links."""

import html
import re
from collections.abc import Collection

# What may stand for something with an anchor: `Job.State`, CreateDataset, INVALID_FIELD.
_NAME = re.compile(r"[A-Za-z][A-Za-z_]*(?:\.[A-Za-z_]+)*")


def escape(text: str) -> str:
    """Text as it may stand in an element or in a quoted attribute."""
    return html.escape(text, quote=True)


class Prose:
    """Comments as HTML; `anchors` are the names that have a place on the page."""

    def __init__(self, anchors: Collection[str]) -> None:
        self._anchors = frozenset(anchors)

    def paragraphs(self, text: str) -> str:
        """Each paragraph as an element of its own."""
        return "".join(f"<p>{self.line(part)}</p>" for part in text.split("\n\n") if part.strip())

    def line(self, text: str) -> str:
        """One paragraph without its element. A code span that is not closed is text."""
        parts = text.split("`")
        if len(parts) % 2 == 0:
            parts[-2:] = ["`".join(parts[-2:])]
        return "".join(self.code(part) if n % 2 else self._plain(part) for n, part in enumerate(parts))

    def code(self, text: str) -> str:
        """A code span, a link where it names something."""
        found = f"<code>{escape(text)}</code>"
        return f'<a href="#{escape(text)}">{found}</a>' if text in self._anchors else found

    def _plain(self, text: str) -> str:
        """Escaped text in which the names of reasons, methods and messages are links."""
        found, end = [], 0
        for match in _NAME.finditer(text):
            target = self._target(match[0])
            if target:
                found += [escape(text[end : match.start()]), f'<a href="#{target}">{match[0]}</a>']
                end = match.end()
        return "".join([*found, escape(text[end:])])

    def _target(self, name: str) -> str | None:
        if f"ErrorReason.{name}" in self._anchors:
            return f"ErrorReason.{name}"
        # One capital is a word that begins a sentence: Job, Model, Dataset.
        return name if name in self._anchors and sum(c.isupper() for c in name) > 1 else None


def code_block(text: str, title: str, attributes: str = "") -> str:
    """Lines to copy, which can be scrolled by keyboard."""
    return (
        f'<figure class="code"><figcaption>{escape(title)}</figcaption>'
        f'<pre tabindex="0"{attributes}><code>{escape(text)}</code></pre></figure>'
    )


def table(heads: Collection[str], rows: Collection[Collection[str]], caption: str) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{escape(caption)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
