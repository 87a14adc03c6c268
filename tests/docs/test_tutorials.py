"""The tutorials print what they show, draw what they show, and say the same in both languages."""

import os
import re
import subprocess
import sys
import time

import pytest

from tests.docs.pages import ROOT, TUTORIALS, fences

import tutorial_page  # isort: skip - of examples/, which tests.docs.pages puts on the path
import tutorial_pictures  # isort: skip

PAGES = tutorial_page.pages()
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def test_there_are_four():
    assert [page.name[0] for page in PAGES] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.alone
def test_a_tutorial_prints_and_draws_what_it_shows(page, server, monkeypatch):
    # Not by the profile: `up` writes it a moment after it answers.
    monkeypatch.setenv("TRAIND_URL", server.address["grpc"])
    monkeypatch.setenv("TRAIND_TOKEN", server.token)
    steps = tutorial_page.read_steps(page.read_text(encoding="utf-8"))
    began = time.monotonic()
    printed, names = tutorial_page.run_steps(steps, page)
    assert time.monotonic() - began <= 20
    for step, output in zip(steps, printed, strict=True):
        assert not tutorial_page.difference(step.shown, output), f"line {step.line}"
    assert "assert " in steps[-1].code
    drawn, kept = tutorial_pictures.picture(page, names), page.with_suffix(".svg").read_text(encoding="utf-8")
    assert NUMBER.sub("#", drawn) == NUMBER.sub("#", kept)
    far = [(a, b) for a, b in zip(numbers(drawn), numbers(kept), strict=True) if abs(a - b) > 1.5]
    assert not far, "more than a pixel and a half from the picture that is kept"


def numbers(svg):
    return [float(number) for number in NUMBER.findall(svg)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_korean_page_has_the_same_blocks_and_sections(page):
    korean = tutorial_page.translation(page)
    assert fences(korean) == fences(page)
    titles = [re.findall(r"^(#+) ", path.read_text(encoding="utf-8"), re.MULTILINE) for path in (page, korean)]
    assert titles[0] == titles[1]
    assert len(re.findall("[가-힣]", korean.read_text(encoding="utf-8"))) > 300


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_are_as_short_as_promised(page):
    for step in tutorial_page.read_steps(page.read_text(encoding="utf-8")):
        assert len(step.code.strip().splitlines()) <= 20, step.line


def test_another_output_is_noticed():
    assert not tutorial_page.difference("loss 0.500\n", "loss 0.501\n")
    assert "printed: loss 0.6" in tutorial_page.difference("loss 0.5\n", "loss 0.6\n")
    assert tutorial_page.difference("a\n", "a\nb\n")
    assert tutorial_page.difference("SUCCEEDED 1\n", "FAILED 1\n")


def test_python_without_its_output_is_refused():
    with pytest.raises(ValueError, match="line 2"):
        tutorial_page.read_steps("```python\nprint(1)\n```\n\n```python\nprint(2)\n```\n\n```text\n2\n```\n")


def test_the_program_tells_a_page_that_is_wrong(server, tmp_path):
    """As a reader runs it, on a copy of the pages of which one has another figure."""
    for name in ("examples", "docs/tutorials"):
        (tmp_path / name).mkdir(parents=True)
        for file in (ROOT / name).glob("*.*"):
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    page = tmp_path / "docs" / "tutorials" / PAGES[3].name
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("largest stable rate 8.713e-04", "largest stable rate 9.9e-04"), encoding="utf-8")
    env = os.environ | {"TRAIND_URL": server.address["grpc"], "TRAIND_TOKEN": server.token}
    done = subprocess.run(
        [sys.executable, "examples/tutorials.py", "4"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "5 of 6 blocks as shown" in done.stdout
    assert "printed: largest stable rate 8.713e-04" in done.stdout


def test_the_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in TUTORIALS.glob("*.svg")}
    assert len(sizes) == 4
    assert all(size < 20_000 for size in sizes.values()), sizes
