"""What README shows is what is printed: its commands run in order, on a terminal, against the server of `up`."""

import fcntl
import getpass
import math
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios

import pytest

from service.programs.up import user_slug
from tests.acceptance import stack as stacks
from tests.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
# Differs from run to run: ids, hashes, times, and the curve of a line that is drawn while time passes.
CHANGING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d+(\.\d+)? m?s\b"), "SECONDS"),
    (re.compile(r"\s*ETA SECONDS"), ""),
]


@pytest.fixture(scope="module")
def server():
    with stacks.up() as stack:
        yield stack


def walk():
    """The commands of the sixty seconds, each with the lines that README shows below it."""
    part = README.split("## Sixty seconds")[1].split("### From a program")[0]
    blocks = re.findall(r"```console\n(.*?)```", part, re.DOTALL)
    return [shown for block in blocks for shown in commands(block)]


def commands(block):
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return found


def local(text, stack):
    """README's addresses, folders and user as they are here."""
    text = text.replace("http://127.0.0.1:8080", stack.address["http"])
    text = re.sub(r"\bkim\.", f"{user_slug(getpass.getuser())}.", text)
    return text.replace(".traind/run/token", str(stack.data / "run" / "token"))


def on_a_terminal(words, stack):
    """What stands on the screen after a command: a line that was rewritten shows its last text."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    bin_folder = pathlib.Path(stacks.PYTHON).parent
    env = stack.env | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen(["/bin/bash", "-c", words], cwd=ROOT, env=env, stdout=follower, stderr=follower)
    os.close(follower)
    received = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        received += part
    os.close(leader)
    assert process.wait(60) == 0, received.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received.decode()).replace("\r\n", "\n")
    return [line.split("\r")[-1].rstrip() for line in text.rstrip("\n").split("\n")]


def alike(shown, printed):
    """Equal words, and numbers equal to 2 %: another processor may round otherwise."""
    for pattern, name in CHANGING:
        shown, printed = pattern.sub(name, shown), pattern.sub(name, printed)
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=0.02, abs_tol=1e-9) for a, b in pairs)


def test_the_walk_prints_what_readme_shows(server):
    steps = walk()
    assert steps[0][0] == "make up"
    wait_until(lambda: "Stop with" in server.output("up"), "up has said all", 30)
    greeting = server.output("up").splitlines()
    for shown, printed in zip(steps[0][1], greeting, strict=True):
        assert shown.split()[:1] == printed.split()[:1], (shown, printed)
    assert len(steps) <= 6
    check(steps[1:], server)


def check(steps, server):
    for words, shown in steps:
        printed = on_a_terminal(local(words, server), server)
        printed = printed if printed != [""] else []
        assert len(shown) == len(printed), (words, printed)
        for one, other in zip(shown, printed, strict=True):
            assert alike(local(one, server), other), (words, one, other)


def test_the_table_as_people_have_it_prints_what_readme_shows(server, tmp_path):
    part = README.split("### From a table as people have it")[1]
    block = re.search(r"```console\n(.*?)```", part, re.DOTALL)[1]
    check(commands(block.replace("/tmp/", f"{tmp_path}/")), server)


def test_the_program_prints_what_readme_shows(server):
    program = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [stacks.PYTHON, "-c", program[1]], cwd=ROOT, env=server.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert alike(program[2].strip(), done.stdout.strip()), done.stdout


def test_the_curl_line_prints_what_readme_shows(server):
    part = README.split("### From anything that speaks HTTP")[1]
    block = re.search(r"```console\n(.*?)```", part, re.DOTALL)[1]
    words, shown = block.removeprefix("$ ").replace("\\\n", "").split("\n", 1)
    printed = on_a_terminal(local(words, server), server)
    assert alike(local(shown.strip(), server), " ".join(printed)), printed


def test_readme_shows_the_spec_of_the_examples():
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)[1]
    assert block == (ROOT / "examples" / "penguins.json").read_text(encoding="utf-8")
