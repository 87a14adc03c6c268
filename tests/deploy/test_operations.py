"""docs/operations.md knows every setting there is and names files and commands that exist."""

import re
import shlex
import subprocess
import sys

import pytest
from click import Group

from service.__main__ import cli
from service.settings import Settings
from service.store.database import Database
from tests.deploy.processes import ROOT, environment

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


def commands_of(section):
    """The lines of a section that call the server's program, without their comments."""
    text = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ") and "python -m service" in line]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.timeout(200)
def test_backup_restore_and_housekeeping_do_what_is_written(tmp_path):
    """Each command in its order, on folders of the test instead of those in the text."""
    folders = {"/mnt/backups": str(tmp_path / "backups"), "/srv/traind": str(tmp_path / "new")}
    (tmp_path / "backups").mkdir()
    env = environment(tmp_path / "data")
    database = Database(Settings.from_env(env).database_url)
    database.migrate()
    database.dispose()
    ran = []
    for words in [words for section in ("Backup", "Restore", "Housekeeping") for words in commands_of(section)]:
        named = dict(word.split("=", 1) for word in words if word.startswith("TRAIND_"))
        own = [_moved(word, folders) for word in words[words.index("python") + 1 :]]
        moved = {name: _moved(value, folders) for name, value in named.items()}
        argv = [sys.executable, *own]
        done = subprocess.run(argv, env=env | moved, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        ran.append(own[2])
    assert ran == ["backup", "backup", "restore", "housekeeping", "housekeeping", "housekeeping"]
    named, dated = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert named == "before.tar"
    assert re.fullmatch(r"traind-\d{8}T\d{6}Z\.tar", dated)
    assert (tmp_path / "new" / "traind.db").exists()


def _moved(word, folders):
    for written, own in folders.items():
        word = word.replace(written, own)
    return word
