"""What README shows is what is printed: its commands run in order, on a terminal, against the server of `up`."""

import fcntl
import getpass
import itertools
import math
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios
import tomllib

import pytest

import traind
from service.programs.up import user_slug
from tests.acceptance import stack as stacks
from tests.waiting import wait_until
from traind import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
# Differs from run to run: ids, hashes, times, and the curve of a line that is drawn while time passes.
CHANGING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"(?<=job show )[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d+(\.\d*)?( m?s?(/e?p?o?c?h?)?)?…$"), "SECONDS/epoch"),  # slow, and cut off at the terminal's edge
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


def on_a_terminal(words, stack, code=0):
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
    assert process.wait(60) == code, received.decode()
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


@pytest.mark.alone
def test_the_walk_prints_what_readme_shows(server):
    steps = walk()
    assert steps[0][0] == "make up"
    wait_until(lambda: "Stop with" in server.output("up"), "up has said all", 30)
    greeting = server.output("up").splitlines()
    for shown, printed in zip(steps[0][1], greeting, strict=True):
        assert shown.split()[:1] == printed.split()[:1], (shown, printed)
    assert len(steps) <= 6
    check(steps[1:], server)


def check(steps, server, codes=()):
    for (words, shown), code in itertools.zip_longest(steps, codes, fillvalue=0):
        printed = on_a_terminal(local(words, server), server, code)
        printed = printed if printed != [""] else []
        if not any(line.startswith("epoch ") for line in shown):
            # Drawn only where time passes before the end of a job.
            printed = [line for line in printed if not line.startswith("epoch ")]
        assert len(shown) == len(printed), (words, printed)
        for one, other in zip(shown, printed, strict=True):
            assert alike(local(one, server), other), (words, one, other)


def test_the_table_as_people_have_it_prints_what_readme_shows(server, tmp_path):
    part = README.split("### From a table as people have it")[1]
    block = re.search(r"```console\n(.*?)```", part, re.DOTALL)[1]
    check(commands(block.replace("/tmp/", f"{tmp_path}/")), server)


PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_the_programs_print_what_readme_shows(server, number):
    program, shown = PROGRAMS[number]
    done = subprocess.run(
        [stacks.PYTHON, "-c", program], cwd=ROOT, env=server.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    for one, other in itertools.zip_longest(shown.splitlines(), printed, fillvalue=""):
        assert alike(one, other), done.stdout


def test_every_program_shows_its_output():
    assert len(PROGRAMS) == README.count("```python") >= 2


def test_the_curl_line_prints_what_readme_shows(server):
    part = README.split("### From anything that speaks HTTP")[1]
    block = re.search(r"```console\n(.*?)```", part, re.DOTALL)[1]
    words, shown = block.removeprefix("$ ").replace("\\\n", "").split("\n", 1)
    printed = on_a_terminal(local(words, server), server)
    assert alike(local(shown.strip(), server), " ".join(printed)), printed


def test_readme_shows_the_spec_of_the_examples():
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)[1]
    assert block == (ROOT / "examples" / "penguins.json").read_text(encoding="utf-8")


def part(title):
    """The first block of commands below a heading."""
    return re.search(r"```console\n(.*?)```", README.split(f"{title}\n", 1)[1], re.DOTALL)[1]


def test_mistakes_print_what_readme_shows_and_end_with_its_codes(server):
    """After the walk and the program, whose data sets are there now."""
    check(commands(part("## When something goes wrong")), server, codes=(2, 4, 6, 3))


def test_the_cure_of_the_diverging_rate_cures_it(server):
    cure = re.search(r"`(--set learn\.gradient\S+)`", README)[1]
    printed = on_a_terminal(f"traind run examples/too_fast.json {cure}", server)
    assert any(line.startswith("done in") for line in printed), printed


def test_the_lab_owner_makes_a_user_for_each_name(server, tmp_path):
    """With the shell's own line, in a folder of its own; each token opens the door to nothing but its user's own."""
    lines = [words for words, _ in commands(part("### You run a lab"))]
    (tmp_path / "roster.txt").write_text("ara\nbo-ram\nchul\n")
    line = lines[-1].replace(".traind ", f"{server.data} ")
    python = f'python() {{ (cd {ROOT} && "{stacks.PYTHON}" "$@"); }}'
    on_a_terminal(f"cd {tmp_path}; {python}; {lines[0]}; {line}", server)
    tokens = dict(words.split() for words in (tmp_path / "tokens.txt").read_text().splitlines())
    assert list(tokens) == ["ara", "bo-ram", "chul"]
    assert (tmp_path / "tokens.txt").stat().st_mode & 0o077 == 0
    for name, token in tokens.items():
        with traind.Client(server.address["grpc"], token=token) as client:
            assert client.server_info().user == name
            assert not list(client.datasets.list())


def test_a_service_gets_a_token_that_can_only_predict(server):
    words = re.search(r"`TRAIND_DATA_DIR=.traind python -m (service user token NAME .*?)`", README)[1]
    user = user_slug(getpass.getuser())
    token = server.run(*words.replace("NAME", user).split()[1:]).stdout.strip()
    with traind.Client(server.address["grpc"], token=token) as client:
        assert client.predict("species", ROOT / "examples" / "new_penguins.csv") == ["Adelie", "Gentoo", "Chinstrap"]
        with pytest.raises(traind.Forbidden):
            client.jobs.create(ROOT / "examples" / "penguins.json")


def test_what_a_student_installs_has_nothing_of_the_server():
    lines = [words for words, _ in commands(part("### You are a student"))]
    assert lines[1] == "pip install ."
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert needed
    assert not [name for name in needed if re.match("torch|numpy|pyarrow|sqlalchemy|celery", name)]


def test_every_command_is_in_the_list(server):
    listed = README.split("## The commands")[1].split("\n## ")[0]
    told = "\n".join(on_a_terminal("traind --help", server)).split("Commands:")[1]
    for name in re.findall(r"^  ([a-z]+) ", told, re.MULTILINE):
        assert re.search(rf"`(traind )?{name}\b", listed), name


def test_the_exit_codes_are_those_of_the_client():
    table = README.split("Scripts look at the exit code:")[1].split("## ")[0]
    told = {int(code) for code in re.findall(r"\| (\d+) \|", table)}
    assert told == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130}
    assert {code for _, code in cli._EXITS} <= told


def test_the_korean_page_has_the_same_commands_and_sections():
    korean = (ROOT / "README.ko.md").read_text(encoding="utf-8")
    fence = re.compile(r"^```\w+\n.*?^```$", re.DOTALL | re.MULTILINE)
    assert fence.findall(korean) == fence.findall(README)
    prose = [fence.sub("", text) for text in (README, korean)]
    for pattern in (r"^(#+) ", r"^\| *`([^`]+)`", r"^    (\S.*)$"):
        found = [re.findall(pattern, text, re.MULTILINE) for text in prose]
        assert found[0] == found[1], pattern
    inline = [sorted(set(re.findall(r"`([^`\n]+)`", text))) for text in prose]
    assert inline[0] == inline[1]
    assert len(re.findall("[가-힣]", korean)) > 2000
