"""A spreadsheet as Korean Excel saves it (CP949, CRLF, Hangul headers and values) goes in by the commands, is
profiled, trained with the spec that `traind init` writes, predicts, and is printed right."""

import csv
import io
import json
import math
import os
import subprocess
import sys

import pytest

from traind.display import width_of

pytestmark = pytest.mark.timeout(300)
HEADER = ["번호", "지역", "면적(㎡)", "방 수", "계약일", "가격(만원)", "비고"]
REGIONS = ["서울", "부산", "대구", "똠방각하동"]  # 똠 is in CP949 and not in EUC-KR
ROWS = 240


def houses():
    """Prices follow from place and size; some sizes are missing, notes are free text."""
    rows = []
    for i in range(ROWS):
        region, area, rooms = REGIONS[i * 7 % 4], 30 + 17 * i % 120, 1 + i % 5
        price = 500 * area + 3000 * rooms + 9000 * (region == "서울") + round(900 * math.sin(i))
        size = "" if i % 40 == 7 else str(area)
        day = f"2023-{1 + i * 5 % 12:02d}-{1 + i * 3 % 28:02d}"
        rows.append([str(i + 1), region, size, str(rooms), day, str(price), f"{i}번째, 남향 집"])
    return rows


def korean_excel(header, rows):
    """The bytes of `다른 이름으로 저장 > CSV`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([header, *rows])
    return text.getvalue().encode("cp949")


@pytest.fixture
def walk(sqlite_stack, tmp_path):
    """Runs a command in a folder with the spreadsheet."""
    (tmp_path / "집값.csv").write_bytes(korean_excel(HEADER, houses()))
    env = {
        **os.environ,
        "TRAIND_URL": sqlite_stack.address["grpc"],
        "TRAIND_TOKEN": sqlite_stack.token,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONIOENCODING": "utf-8",
        "LANG": "ko_KR.UTF-8",
        "LC_ALL": "",
        "LC_MESSAGES": "",
    }

    def run(*args, code=0):
        argv = [sys.executable, "-m", "traind", *args]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, check=False, timeout=120)
        assert done.returncode == code, done.stderr.decode()
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in done.err
        return done

    run.folder = tmp_path
    return run


def test_from_korean_excel_to_an_answer(walk):
    refused = walk("data", "push", "집값.csv", "--name", "jip", code=2)
    assert "CP949" in refused.err, "the cure is named"
    pushed = walk("data", "push", "집값.csv", "--name", "jip", "--encoding", "CP949")
    assert "/versions/1" in pushed.out
    assert "가격(만원)" in pushed.err

    shown = walk("data", "show", "jip").out
    assert "CP949" in shown
    assert_aligned(table_of(shown, "COLUMN"))
    assert "똠방각하동" in shown
    assert "서울" in walk("data", "head", "jip", "-n", "3").out

    profile = walk("data", "profile", "jip")
    columns = table_of(profile.out, "COLUMN")
    assert_aligned(columns)
    assert [line.split("  ")[0] for line in columns[1:]] == HEADER
    assert_aligned(table_of(profile.out, "NUMBERS"))
    figures = json.loads(walk("data", "profile", "jip", "-o", "json").out)
    assert figures["rowCount"] == str(ROWS)
    assert [column["missingCount"] for column in figures["columns"]] == ["0", "0", "6", "0", "0", "0", "0"]

    spec, said = propose(walk)
    assert spec["train"]["target"] == ["가격(만원)"]
    assert spec["train"]["inputs"] == ["지역", "면적(㎡)", "방 수", "계약일"]
    assert '"번호"' in said
    assert "빠진 값이 많게는 6개" in said

    done = walk("run", "jip.json")
    model = done.out.strip()
    assert model.startswith("models/")
    told = walk("models", "show", model)
    assert "면적(㎡)" in told.out
    assert_aligned(table_of(told.out, "FIELD"))

    answers_are_near(walk, model)


def propose(walk):
    """`traind init`: the spec that it wrote, and the reasons that it told."""
    told = walk("init", "jip", "--target", "가격(만원)", "-o", "jip.json")
    assert told.out.strip() == "jip.json"
    english = walk("init", "jip", "--target", "가격(만원)", "--lang", "en")
    assert "missing" in english.err
    spec = json.loads((walk.folder / "jip.json").read_text(encoding="utf-8"))
    assert json.loads(english.out) == spec
    walk("init", "jip", "--target", "가격(만원)", "-o", "jip.json", code=2)
    return spec, told.err


def answers_are_near(walk, model):
    """New rows come as Korean Excel saves them too; a place that nobody has seen and a missing size are no obstacle."""
    header = [HEADER[1], HEADER[2], HEADER[3], HEADER[4]]
    rows = [["서울", "80", "3", "2023-05-05"], ["부산", "", "3", "2023-05-05"], ["세종", "80", "3", "2023-05-05"]]
    (walk.folder / "새집.csv").write_bytes(korean_excel(header, rows))
    answer = walk("predict", model, "새집.csv", "--encoding", "CP949").out.splitlines()
    assert answer[0] == "가격(만원)"
    prices = [float(line) for line in answer[1:]]
    assert prices[0] == pytest.approx(500 * 80 + 3000 * 3 + 9000, rel=0.15)
    assert all(map(math.isfinite, prices))
    found = json.loads(walk("predict", model, "새집.csv", "--encoding", "CP949", "-o", "json").out)
    assert [row["가격(만원)"] for row in found["rows"]] == pytest.approx(prices)
    wrong = walk("predict", model, "새집.csv", code=2)
    assert "CP949" in wrong.err


def test_classes_in_hangul_are_told_and_confused_right(walk):
    walk("data", "push", "집값.csv", "--name", "jip-kind", "--encoding", "CP949")
    walk("init", "jip-kind", "--target", "지역", "-o", "kind.json")
    model = walk("run", "kind.json").out.strip()
    shown = walk("models", "show", model).out
    confusion = table_of(shown, "val right")
    assert_aligned(confusion)
    assert all(region in confusion[0] for region in REGIONS)
    answer = walk("predict", model, "집값.csv", "--encoding", "CP949", "--proba").out.splitlines()
    assert answer[0].startswith("지역,p_")
    assert {line.split(",")[0] for line in answer[1:]} <= set(REGIONS)


def table_of(text, first):
    """The lines of the table whose header begins with a word."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(first))
    end = next((i for i in range(begin, len(lines)) if not lines[i].strip()), len(lines))
    return lines[begin:end]


def assert_aligned(lines):
    """The second column begins at one place of the terminal in every line, where a syllable takes two."""
    begin = width_of(lines[0][: second_column(lines[0])])
    for line in lines[1:]:
        place = next((i for i in range(len(line)) if width_of(line[:i]) == begin), None)
        assert place is not None, line
        assert line[place - 2 : place] == "  ", line
        assert line[place] != " ", line


def second_column(line):
    """Where a header's second word begins, two blanks after the first."""
    gap = line.index("  ")
    return gap + len(line[gap:]) - len(line[gap:].lstrip())
