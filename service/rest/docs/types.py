"""Messages and enums, file by file."""

from google.protobuf.descriptor import Descriptor, EnumDescriptor

from service.rest.docs.contents import Contents, short
from service.rest.docs.fields import Fields
from service.rest.docs.markup import Prose, escape
from service.rest.docs.rules import unspecified

# A file of the contract by what its heading says.
TITLES = {
    "datasets": "Data sets",
    "jobs": "Jobs",
    "learning": "Ways to learn",
    "losses": "Losses",
    "models": "Models",
    "networks": "Networks",
    "optimizers": "Optimizers and schedules",
    "predictions": "Predictions",
    "preprocess": "Preprocessing",
    "profiles": "Profiles and proposals",
    "server": "Server",
    "specs": "Training specs",
    "splits": "Splits",
    "tables": "Tables",
    "uploads": "Uploads",
}


def title_of(file: str) -> str:
    """The heading of a file: `traind/v1/networks.proto` = Networks."""
    stem = stem_of(file)
    return TITLES.get(stem, stem.replace("_", " ").capitalize())


def stem_of(file: str) -> str:
    """`networks`."""
    return file.rpartition("/")[2].removesuffix(".proto")


class Types:
    """Writes messages and enums."""

    def __init__(self, contents: Contents, comments: dict[str, str], prose: Prose, fields: Fields) -> None:
        self._contents = contents
        self._comments = comments
        self._prose = prose
        self._fields = fields

    def section(self) -> str:
        """All files."""
        parts = []
        for file, messages in self._contents.files.items():
            said = self._prose.paragraphs(self._comments.get(file.name, ""))
            inside = "".join(self._message(message) for message in messages)
            head = f'<section id="types-{stem_of(file.name)}"><h2>{escape(title_of(file.name))}</h2>'
            parts.append(f"{head}{said}{inside}</section>")
        return "".join(parts)

    def _message(self, message: Descriptor) -> str:
        name = short(message)
        said = self._prose.paragraphs(self._comments.get(message.full_name, ""))
        enums = "".join(self._enum(enum) for enum in message.enum_types)
        return (
            f'<article id="{name}"><h3>{name}</h3>{said}{self._fields.choices(message)}'
            f"{self._fields.listed(message.fields)}{enums}</article>"
        )

    def _enum(self, enum: EnumDescriptor) -> str:
        name = short(enum)
        said = self._prose.paragraphs(self._comments.get(enum.full_name, ""))
        left_out = unspecified(enum, self._comments)
        if left_out:
            said += f"<p>Left out: {self._prose.line(left_out)}</p>"
        values = "".join(
            f'<div id="{name}.{value.name}"><dt><code>{value.name}</code></dt>'
            f"<dd>{self._prose.paragraphs(self._comments.get(f'{enum.full_name}.{value.name}', ''))}</dd></div>"
            for value in enum.values
            if value.number
        )
        return f'<section id="{name}" class="enum"><h4>{name}</h4>{said}<dl class="fields">{values}</dl></section>'
