"""The strict first reading: what is refused, which line is named, and that the parser then sees the same cells."""

import csv
import io
import random

import pytest

from service.data.reading import scan as scanning
from service.data.reading.scan import line_of_row, scan
from service.data.reading.texts import MISSING, read_texts
from service.errors import InvalidTable, TooLarge

WIDE = ",".join(f"c{i}" for i in range(5000)).encode()
MILLION = ",".join(f"c{i}" for i in range(1_000_000)).encode()

REFUSED = {
    "empty file": (b"", "empty"),
    "empty first line": (b"\na,b\n1,2\n", "line 1 is empty"),
    "header only": (b"a,b", "0 data rows"),
    "header and empty lines": (b"a,b\n\n\n", "0 data rows"),
    "row too long": (b"a,b\n1,2\n3,4,5\n", "line 3 (row 2) has 3 columns, the header has 2"),
    "row too short": (b"a,b\n1,2\n3\n", "line 3 (row 2) has 1 column, the header has 2"),
    "ragged after lines in quotes": (b'a,b\n1,"x\ny"\n2,3\n4\n', "line 5 (row 3) has 1 column"),
    "empty line between": (b"a,b\n1,2\n\n3,4\n", "line 3 is empty"),
    "two equal names": (b"a,b,a\n1,2,3\n", '"a"'),
    "equal but for spaces": (b"a, a\n1,2\n", '"a"'),
    "empty name": (b"a,,c\n1,2,3\n", "column 2 has an empty name"),
    "long name": (b"a," + b"n" * 300 + b"\n1,2\n", "300 characters: at most 256"),
    "control character in a name": (b"a,b\x07\n1,2\n", r'"b\x07"'),
    "line end in a name": (b'a,"b\nc"\n1,2\n', r'"b\nc"'),
    "semicolons": (b"a;b\n1;2\n", '";"'),
    "tabs": (b"a\tb\n1\t2\n", r'"\t"'),
    "quote never closed": (b'a,b\n1,2\n3,"x\n4,5\n', "the quote that opens on line 3 is never closed"),
    "quote inside a value": (b'a,b\n1,5" pipe\n', "line 2 has a quote inside a value"),
    "quote not doubled": (b'a,b\n1,"5" pipe"\n', "line 2 has a quote inside a value"),
    "quote after a space": (b'a,b\n1, "x"\n', "line 2 has a quote inside a value"),
    "old line ends": (b"a,b\r1,2\r", "line 1 has a carriage return without a line feed"),
    "lone carriage return": (b"a,b\n1,2\r3\n", "line 2 has a carriage return without a line feed"),
    "LF among CRLF": (b"a,b\r\n1,2\r\n3,4\n", "line 3 ends with LF, the lines before it with CRLF"),
    "CRLF among LF": (b"a,b\n1,2\r\n", "line 2 ends with CRLF"),
    "zero byte": (b"a,b\n1,2\n3,\x00\n", "line 3: byte 0x00 at offset 10"),
    "EUC-KR": ("a,b\n1,서울\n".encode("euc-kr"), "line 2: byte 0xBC at offset 6 is not UTF-8; accepted is UTF-8"),
    "EUC-KR header": ("지역,b\n1,2\n".encode("euc-kr"), "line 1: byte 0xC1 at offset 0 is not UTF-8"),
    "UTF-16": ("a,b\n1,서울\n".encode("utf-16"), "the file is UTF-16; accepted is UTF-8"),
    "UTF-16 big-endian": ("\ufeffa,b\n1,2\n".encode("utf-16-be"), "the file is UTF-16"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "the file is UTF-16"),
    "UTF-32": ("a,b\n1,2\n".encode("utf-32"), "the file is UTF-32"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), "format not accepted: the file is a PNG image"),
    "zip": (b"PK\x03\x04" + bytes(100), "format not accepted: the file is a zip archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "format not accepted: the file is compressed by gzip"),
    "pickle": (b"\x80\x04\x95" + bytes(100), "format not accepted: the file is a pickle"),
    "Parquet": (b"PAR1\x15\x04\x00" + bytes(100), "format not accepted: the file is a Parquet file"),
    "Arrow": (b"ARROW1\x00\x00\xff\xff" + bytes(100), "format not accepted: the file is an Arrow file"),
    "Arrow stream": (b"\xff\xff\xff\xff" + bytes(100), "format not accepted: the file is an Arrow stream"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(100), "format not accepted: the file is a NumPy array"),
    "an open quote over more than a line may have": (
        b'a,b\n1,"' + b"x\n" * (1 << 20),
        "the quote that opens on line 2 is not closed within 1,048,576 bytes",
    ),
}
TOO_LARGE = {
    "5,000 columns": (WIDE + b"\n", "more than 4,096 columns"),
    "1,000,000 columns": (MILLION + b"\n", "more than 4,096 columns"),
    "long line": (b"a,b\n1,2\n3," + b"x" * (1 << 21) + b"\n", "line 3 is longer than 1,048,576 bytes"),
    "long first line": (b"a" * (1 << 21), "line 1 is longer than 1,048,576 bytes"),
    "long line in an open quote": (b'a,b\n1,"' + b"x" * (5 << 20), "line 2 is longer than 1,048,576 bytes"),
    "many cells": (b"a,b\n" + b",\n" * 25_000_001, "more than 50,000,000 cells"),
}


def on_disk(folder, raw):
    path = folder / "table.csv"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_sound_table_is_refused_naming_the_place(tmp_path, case):
    raw, text = REFUSED[case]
    with pytest.raises(InvalidTable) as caught:
        scan(on_disk(tmp_path, raw))
    assert text in caught.value.message
    assert len(caught.value.message) < 500
    assert all(isinstance(value, str) for value in caught.value.metadata.values())


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_file_beyond_the_limits_is_too_large(tmp_path, case):
    raw, text = TOO_LARGE[case]
    with pytest.raises(TooLarge) as caught:
        scan(on_disk(tmp_path, raw))
    assert text in caught.value.message
    assert caught.value.metadata["limit"].isdigit()


@pytest.mark.parametrize(
    "raw",
    [b"a,b\n1,2", b"a,b\n1,2\n", b"a,b\r\n1,2\r\n", b"a,b\n1,2\n\n\n", b"\xef\xbb\xbfa,b\n1,2\n", b'"a", b\n1,""\n'],
    ids=["no last line end", "LF", "CRLF", "empty lines at the end", "UTF-8 with a mark", "quotes and spaces"],
)
def test_what_is_sound_is_taken(tmp_path, raw):
    scanned = scan(on_disk(tmp_path, raw))
    assert (scanned.names, scanned.row_count) == (("a", "b"), 1)


def test_a_column_may_be_called_like_the_mark_of_a_format(tmp_path):
    assert scan(on_disk(tmp_path, b"PAR1,GIF8\n1,2\n")).names == ("PAR1", "GIF8")


def test_hangul_names_and_commas_in_names(tmp_path):
    assert scan(on_disk(tmp_path, '"면적, 평",가격\n1,2\n'.encode())).names == ("면적, 평", "가격")


def test_lines_of_rows_count_line_ends_inside_of_quotes(tmp_path):
    path = on_disk(tmp_path, b'a,b\n1,"x\n\ny"\n2,"q"\n3,z')
    assert [line_of_row(path, row) for row in range(3)] == [2, 5, 6]


@pytest.mark.parametrize("block_bytes", [1, 3, 8, 4 << 20])
def test_the_parser_sees_what_the_scan_lets_through_as_python_does(tmp_path, monkeypatch, block_bytes):
    """Random files, most of them damaged: an accepted one has the same cells for pyarrow as for Python's csv."""
    monkeypatch.setattr(scanning, "BLOCK_BYTES", block_bytes)
    rng = random.Random(block_bytes)
    accepted = 0
    for _ in range(200):
        width = rng.randint(1, 3)
        raw = random_file(rng, width)
        path = on_disk(tmp_path, raw)
        try:
            scanned = scan(path)
        except InvalidTable:
            continue
        accepted += 1
        got = [[""] * width for _ in range(scanned.row_count)]
        for part in read_texts(path, scanned, range(width)):
            for row, text in enumerate(part.texts.to_pylist(), part.first_row):
                got[row][part.index] = text
        assert got == expected_cells(raw), raw
    assert 50 < accepted < 175


def random_file(rng, width):
    header = ",".join("xyz"[:width])
    line_end = rng.choice(["\n", "\n", "\r\n"])
    if rng.random() < 0.4:
        pieces = ["a", "1", ",", ",", "\n", "\n", '"', '"', " ", "\t", "\r\n", "한", "NA", '""', '"\n"', ',"']
        body = "".join(rng.choices(pieces, k=rng.randint(0, 25)))
    else:
        rows = [",".join(random_cell(rng) for _ in range(width)) for _ in range(rng.randint(0, 5))]
        body = line_end.join(rows) + line_end * rng.randint(0, 2)
    return f"{header}{line_end}{body}".encode()


def random_cell(rng):
    text = "".join(rng.choices(["a", "1", " ", '"', ",", "\n", "NA", "한", "\t", ""], k=rng.randint(0, 4)))
    needs_quotes = any(character in text for character in '",\n')
    return '"' + text.replace('"', '""') + '"' if needs_quotes or rng.random() < 0.2 else text


def expected_cells(raw):
    rows = list(csv.reader(io.StringIO(raw.decode(), newline=""), strict=True))[1:]
    while rows and not rows[-1]:
        rows.pop()
    bare = [[cell.strip(" \t") for cell in row] for row in rows]
    return [[None if cell in MISSING else cell for cell in row] for row in bare]
