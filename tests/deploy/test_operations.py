"""docs/operations.md knows every setting there is and names files and commands that exist."""

import re

from click import Group

from service.__main__ import cli
from tests.deploy.processes import ROOT

TEXT = (ROOT / "docs" / "operations.md").read_text()


def variables(text):
    return set(re.findall(r"\bTRAIND_[A-Z_]+[A-Z]\b", text))


def test_every_setting_stands_in_the_table_and_no_other():
    read = variables((ROOT / "service" / "settings.py").read_text())
    table = TEXT.partition("## Settings")[2].partition("Clients:")[0]
    # Three of them share a name in the class's comments: TRAIND_{BEAT,SWEEP}_S and ports are written out there too.
    assert variables(table) == read


def test_files_and_commands_that_it_names_exist():
    for path in re.findall(r"\b((?:deploy|docs)/[\w./-]+\w)", TEXT):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([\w./-]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
    for words in re.findall(r"python -m service ([a-z-]+(?: [a-z]+)?)", TEXT):
        command, *rest = words.split()
        found = cli.commands[command]
        assert not (isinstance(found, Group) and rest) or rest[0] in found.commands
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ((?:\.venv/)?[a-z-]+)", TEXT):
        assert f"\n{target}:" in targets, target
