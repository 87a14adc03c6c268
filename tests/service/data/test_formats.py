"""Every format the real child reads: the same table comes out, and what is wrong is named by line or row and column."""

import datetime as dt
import decimal
import io
import json
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.data.reading import source as sources
from service.data.reading.formats import FORMATS
from service.errors import InvalidField, InvalidTable, TooLarge
from tests.service.data.csvs import column, ingested, read
from traind.v1.datasets_pb2 import Dataset

WHOLE = [3, None, -2, 7]
HALF = [0.5, None, 2.0, -1.25]
FLAG = [True, False, None, True]
CITY = ["서울", "부산", None, "서울"]
DAY = ["2020-01-02", None, "2021-12-31", "1999-02-03"]
TYPES = {"whole": "INTEGER", "half": "NUMBER", "flag": "BOOLEAN", "city": "CATEGORY", "day": "TIMESTAMP"}


def arrow_table():
    days = [None if day is None else dt.date.fromisoformat(day) for day in DAY]
    return pa.table({"whole": pa.array(WHOLE), "half": HALF, "flag": FLAG, "city": CITY, "day": pa.array(days)})


def csv_bytes(delimiter=",", encoding="utf-8", line_end="\n", mark=""):
    cells = [
        ["" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in row]
        for row in zip(WHOLE, HALF, FLAG, CITY, DAY, strict=True)
    ]
    return (mark + line_end.join(delimiter.join(row) for row in [list(TYPES), *cells]) + line_end).encode(encoding)


def json_bytes():
    rows = [dict(zip(TYPES, row, strict=True)) for row in zip(WHOLE, HALF, FLAG, CITY, DAY, strict=True)]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def parquet_bytes(table=None, **more):
    sink = io.BytesIO()
    pq.write_table(arrow_table() if table is None else table, sink, **more)
    return sink.getvalue()


def arrow_bytes(kind, table=None):
    table = arrow_table() if table is None else table
    sink = io.BytesIO()
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def npz_bytes(compressed=False, **arrays):
    sink = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(sink, **arrays)
    return sink.getvalue()


FILES = {
    "CSV": csv_bytes(),
    "CSV, semicolons": csv_bytes(";"),
    "CSV, bars": csv_bytes("|"),
    "TSV": csv_bytes("\t"),
    "CSV, CRLF and mark": csv_bytes(line_end="\r\n", mark="\ufeff"),
    "Parquet": parquet_bytes(),
    "Parquet, small groups": parquet_bytes(row_group_size=1, compression="zstd"),
    "Arrow file": arrow_bytes("file"),
    "Arrow stream": arrow_bytes("stream"),
    "JSON Lines": json_bytes(),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_table_comes_out_of_every_format(tmp_path, name):
    kind = "JSON_LINES" if "JSON" in name else name.split()[0].strip(",").upper().replace("TSV", "CSV")
    with ingested(tmp_path, FILES[name]) as made:
        assert made.format == kind
        assert made.encoding == ("UTF-8" if kind == "CSV" else "")
        assert made.row_count == 4
        assert [c.missing_count for c in made.columns] == [1] * 5
    types, table = read(tmp_path, FILES[name])
    assert types == TYPES
    columns = table.columns
    assert columns["whole"].values.tolist() == [3, 0, -2, 7]
    np.testing.assert_array_equal(columns["half"].values, [0.5, np.nan, 2, -1.25])
    assert columns["flag"].values.tolist() == [True, False, False, True]
    assert columns["city"].categories == ("부산", "서울")
    assert columns["city"].values.tolist() == [1, 0, -1, 1]
    days = np.array(["2020-01-02", "NaT", "2021-12-31", "1999-02-03"], "datetime64[us]")
    np.testing.assert_array_equal(columns["day"].values, days)


def test_the_formats_are_the_contracts():
    assert set(FORMATS) == set(Dataset.Format.keys()) - {"FORMAT_UNSPECIFIED"}


def test_an_archive_may_have_more_arrays_than_a_process_has_files(tmp_path):
    arrays = {f"c{i}": np.full(3, i, np.int16 if i % 2 else np.float64) for i in range(300)}
    types, table = read(tmp_path, npz_bytes(empty=np.array(["", "", ""]), **arrays))
    assert len(types) == 301
    assert all(table.columns[f"c{i}"].values.tolist() == [i] * 3 for i in range(300))


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_become_columns(tmp_path, compressed):
    square = np.arange(6.0).reshape(3, 2)
    raw = npz_bytes(
        compressed,
        x=square,
        f=np.asfortranarray(square * 10),
        y=np.array([1, 0, 1], np.int8),
        name=np.array(["가", "b", "가"]),
        raw=np.array([b"u", b"v", b"u"]),
        big=np.array([1, 2, 3], ">i4"),
        seen=np.array(["2020-01-01", "NaT", "2020-01-03"], "datetime64[D]"),
        single=np.array([0.5, np.nan, 2], np.float32),
        flag=np.array([True, False, True]),
    )
    types, table = read(tmp_path, raw)
    numbers = {"x_0": "NUMBER", "x_1": "NUMBER", "f_0": "NUMBER", "f_1": "NUMBER", "y": "INTEGER"}
    texts = {"name": "CATEGORY", "raw": "CATEGORY"}
    others = {"big": "INTEGER", "seen": "TIMESTAMP", "single": "NUMBER", "flag": "BOOLEAN"}
    assert types == numbers | texts | others
    assert table.columns["x_1"].values.tolist() == [1, 3, 5]
    assert table.columns["f_1"].values.tolist() == [10, 30, 50]
    assert table.columns["big"].values.tolist() == [1, 2, 3]
    seen = np.array(["2020-01-01", "NaT", "2020-01-03"], "datetime64[us]")
    np.testing.assert_array_equal(table.columns["seen"].values, seen)
    assert table.columns["single"].missing.tolist() == [False, True, False]


def test_types_of_columns_that_files_state(tmp_path):
    times = pa.array([0, 1_500_000, None], pa.timestamp("us", "Asia/Seoul"))
    table = pa.table({
        "small": pa.array([1, 2, None], pa.uint8()),
        "decimal": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.00")]),
        "half": pa.array(np.array([1.5, np.nan, 2], np.float16)),
        "zoned": times,
        "kind": pa.array(["b", "a", "b"]).dictionary_encode(),
        "digits": pa.array(["001", "002", "NA"]),
        "nothing": pa.nulls(3),
        "large": pa.array(["x", "y", "x"], pa.large_string()),
        "view": pa.array(["x", "y", "x"], pa.string_view()),
    })  # fmt: skip
    for raw in (arrow_bytes("stream", table), parquet_bytes(table.drop_columns(["half", "view"]))):
        types, read_table = read(tmp_path, raw)
        wanted = {
            "small": "INTEGER", "decimal": "NUMBER", "half": "NUMBER", "zoned": "TIMESTAMP", "kind": "CATEGORY",
            "digits": "CATEGORY", "nothing": "TEXT", "large": "CATEGORY", "view": "CATEGORY",
        }  # fmt: skip
        assert types == {name: kind for name, kind in wanted.items() if name in types}
        zoned = np.array([0, 1_500_000, "NaT"], "datetime64[us]")
        np.testing.assert_array_equal(read_table.columns["zoned"].values, zoned)
        np.testing.assert_array_equal(read_table.columns["decimal"].values, [1.25, np.nan, -3])
        assert read_table.columns["digits"].categories == ("001", "002")
        assert read_table.columns["digits"].missing.tolist() == [False, False, True]


@pytest.mark.parametrize("name", ["Parquet", "Arrow stream", "JSON Lines", "CSV"])
def test_the_schema_stands_in_every_format(tmp_path, name):
    schema = [column("whole", "NUMBER"), column("city", "TEXT"), column("half", "CATEGORY"), column("flag", "TEXT")]
    types, table = read(tmp_path, FILES[name], schema=schema)
    assert types == TYPES | {"whole": "NUMBER", "city": "TEXT", "half": "CATEGORY", "flag": "TEXT"}
    np.testing.assert_array_equal(table.columns["whole"].values, [3, np.nan, -2, 7])
    assert table.columns["flag"].values.tolist() == ["true", "false", "", "true"]


@pytest.mark.parametrize("name", ["Parquet", "Arrow file", "JSON Lines", "CSV"])
def test_a_value_that_does_not_fit_is_named_in_every_format(tmp_path, name):
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, FILES[name], schema=[column("half", "INTEGER")]):
        pass
    line = {"CSV": "2", "JSON Lines": "1"}.get(name)
    assert ({"line": line, "row": "1"} if line else {"row": "1"}).items() <= caught.value.metadata.items()
    assert f'{f"line {line}" if line else "row 1"}, column "half": "0.5" is not INTEGER' in caught.value.message


def infinite(rows, at):
    values = np.arange(rows, dtype=float)
    values[at] = np.inf
    return values


@pytest.mark.parametrize(
    "make",
    [
        lambda values: parquet_bytes(pa.table({"n": values, "x": values})),
        lambda values: arrow_bytes("stream", pa.table({"n": np.ones(len(values)), "x": values})),
        lambda values: npz_bytes(x=values),
    ],
    ids=["Parquet", "Arrow", "NPZ"],
)
def test_infinite_numbers_are_refused_with_their_count_and_first_row(tmp_path, make):
    raw = make(infinite(100_000, [70_000, 90_000]))
    with (
        pytest.raises(InvalidTable, match=r'row 70001, column "[xn]": "inf" is not') as caught,
        ingested(tmp_path, raw),
    ):
        pass
    assert (caught.value.metadata["row"], caught.value.metadata["count"]) == ("70001", "2")


UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16], pa.binary(16)))
NESTED = pa.table({"ok": [1], "deep": pa.array([[1, 2]])})
REFUSED = {
    "list": (arrow_bytes("file", NESTED), 'column "deep" is of the type "list<item: int64>"'),
    "struct": (parquet_bytes(pa.table({"s": pa.array([{"a": 1}])})), 'column "s" is of the type "struct<a: int64>"'),
    "binary": (arrow_bytes("file", pa.table({"b": pa.array([b"x"])})), 'column "b" is of the type "binary"'),
    "time of day": (arrow_bytes("file", pa.table({"t": pa.array([1], pa.time64("us"))})), '"time64[us]"'),
    "extension": (
        arrow_bytes("stream", pa.table({"u": UUIDS})),
        'column "u" is of the type "extension<arrow.uuid>"',
    ),
    "beyond 64 bits": (
        arrow_bytes("file", pa.table({"u": pa.array([1, (1 << 64) - 1], pa.uint64())})),
        'row 2, column "u": 18446744073709551615 is no whole number',
    ),
    "two equal names": (arrow_bytes("file", pa.table([[1], [2]], names=["a", "a"])), 'the same name: "a"'),
    "cut Parquet": (parquet_bytes()[:-20], "no sound Parquet file"),
    "cut Arrow": (arrow_bytes("file")[:-30], "no sound Arrow file"),
    "no rows": (parquet_bytes(pa.table({"a": pa.array([], pa.int64())})), "0 data rows"),
    "pickled objects": (npz_bytes(ok=np.arange(2), o=np.array([{}, 1], object)), 'array "o" holds Python objects'),
    "three dimensions": (npz_bytes(c=np.zeros((2, 2, 2))), 'array "c" has 3 dimensions'),
    "single number": (npz_bytes(c=np.float64(1)), 'array "c" has 0 dimensions'),
    "complex": (npz_bytes(c=np.zeros(2, complex)), '"complex128"'),
    "uneven arrays": (npz_bytes(a=np.zeros(3), b=np.zeros(2)), 'array "b" has 2 rows, "a" has 3'),
    "damaged NPZ": (npz_bytes(a=np.zeros(300))[:500], "no sound NPZ archive"),
    "bad line": (b'{"a": 1}\n{"a": }\n', "line 2 is no JSON object"),
    "list of JSON": (b'{"a": 1}\n[1]\n', "line 2 is no JSON object"),
    "key twice": (b'{"a": 1, "a": 2}\n', 'line 1 is no JSON object: the key "a" stands twice'),
    "nested JSON": (b'{"a": 1}\n{"a": {"b": 1}}\n', 'line 2, column "a": "{\\"b\\": 1}" is an object'),
    "deep JSON": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1 is nested too deep"),
    "mixed JSON": (b'{"a": 1}\n{"a": null}\n{"a": "x"}\n', 'line 3, column "a": "x" is a text, the values before'),
    "infinite JSON": (b'{"a": 1.5}\n{"a": 1e999}\n', 'line 2, column "a": "inf" is not NUMBER'),
    "Infinity": (b'{"a": 1.5}\n{"a": Infinity}\n', "line 2 is no JSON object: Infinity is no finite number"),
    "half a character": (b'{"a": "x"}\n{"a": "\\ud800"}\n', 'line 2, column "a": the text holds half a character'),
    "empty line": (b'{"a": 1}\n\n{"a": 2}\n', "line 2 is empty"),
    "no keys": (b"{}\n{}\n", "no keys"),
    "JSON in CP949": ('{"a": "서울"}\n'.encode("cp949"), "line 1: byte 0xBC"),
    "JSON array": (b'[{"a": 1}]', "a JSON array"),
    "zip of others": (b"", "a zip archive of other files"),
    "pickle": (pickle.dumps([1]), "the file is a pickle"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), "the file is a PNG image"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "compressed by gzip"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(100), "a single NumPy array"),
    "UTF-16": ("a,b\n1,서울\n".encode("utf-16"), "the file is UTF-16; accepted is UTF-8"),
    "UTF-16 big-endian": ("\ufeffa,b\n1,2\n".encode("utf-16-be"), "the file is UTF-16"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "the file is UTF-16"),
    "UTF-32": ("a,b\n1,2\n".encode("utf-32"), "the file is UTF-32"),
    "empty": (b"", "the file is empty"),
}  # fmt: skip
_zip = io.BytesIO()
with zipfile.ZipFile(_zip, "w") as _archive:
    _archive.writestr("xl/workbook.xml", "<x/>")
REFUSED["zip of others"] = (_zip.getvalue(), "a zip archive of other files")


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sound_table_is_refused_by_name(tmp_path, case):
    raw, text = REFUSED[case]
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, raw):
        pass
    assert text.replace('\\"', '"') in caught.value.message.replace('\\"', '"')
    assert len(caught.value.message) < 600
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("raw", "options", "field"),
    [
        (b"a,b\n1,2\n", {"format": "PARQUET"}, "source.format"),
        (parquet_bytes(), {"format": "CSV"}, "source.format"),
        (parquet_bytes(), {"encoding": "CP949"}, "source.encoding"),
        (b'{"a": 1}\n', {"delimiter": ";"}, "source.delimiter"),
        (b"a,b\n1,2\n", {"delimiter": "x"}, "source.delimiter"),
        (b"a,b\n1,2\n", {"encoding": "EUC-KR"}, "source.encoding"),
    ],
)
def test_options_that_do_not_fit_the_file_are_named(tmp_path, raw, options, field):
    with pytest.raises(InvalidField) as caught, ingested(tmp_path, raw, **options):
        pass
    assert caught.value.metadata["field"] == field


@pytest.mark.parametrize(("delimiter", "text"), [("\t", "\t"), ("\\t", "\t"), (";", ";")])
def test_a_delimiter_that_is_asked_for_is_taken(tmp_path, delimiter, text):
    types, _ = read(tmp_path, f"a{text}b,c,d\n1{text}2\n".encode(), delimiter=delimiter)
    assert list(types) == ["a", "b,c,d"]


def test_a_delimiter_that_makes_no_columns_is_refused_with_the_one_that_does(tmp_path):
    with (
        pytest.raises(InvalidTable, match='line 1 has no ";", but ","'),
        ingested(tmp_path, b"a,b\n1,2\n", delimiter=";"),
    ):
        pass


def test_a_spreadsheet_of_korean_excel_is_read(tmp_path):
    raw = '면적,도시,"비고, 기타"\r\n32,서울,"쓺, 똠"\r\n33.5,부산,\r\n36,서울,뷁\r\n'.encode("cp949")
    with ingested(tmp_path, raw, encoding="cp949") as made:
        assert (made.format, made.encoding) == ("CSV", "CP949")
    types, table = read(tmp_path, raw, encoding="CP949")
    assert types == {"면적": "NUMBER", "도시": "CATEGORY", "비고, 기타": "CATEGORY"}
    assert table.columns["도시"].categories == ("부산", "서울")
    assert table.columns["비고, 기타"].categories == ("뷁", "쓺, 똠")


def test_bytes_of_cp949_name_the_encoding_as_the_cure(tmp_path):
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, "면적,도시\n1,서울\n".encode("cp949")):
        pass
    assert 'reads "면적,도시" in CP949' in caught.value.message
    assert "`encoding: CP949`" in caught.value.message
    assert caught.value.metadata == {"line": "1", "offset": "0", "encoding": "UTF-8"}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\ufeff면적\n1\n".encode(), "mark of UTF-8"),
        ("a,b\n1,서울\n2,부산광역시\n".encode(), "leave `encoding` away"),
        (b"a,b\n1,x\n2,\xff\xff\n", "line 3: byte 0xFF at offset 10 is not CP949"),
    ],
)
def test_bytes_that_are_no_cp949_are_named(tmp_path, raw, text):
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, raw, encoding="CP949"):
        pass
    assert text in caught.value.message


def test_a_value_that_is_too_long_is_named(tmp_path):
    long = "x" * (sources.CELL_BYTES + 1)
    for raw, place in (
        (f"a,b\n1,y\n2,{long}\n".encode(), "line 3"),
        (f'{{"a": "y"}}\n{{"a": "{long}"}}\n'.encode(), "line 2"),
        (parquet_bytes(pa.table({"b": ["y", long]})), "row 2"),
    ):
        with pytest.raises(TooLarge, match=f"{place}, column .* has 262,145 bytes") as caught, ingested(tmp_path, raw):
            pass
        assert caught.value.metadata["limit"] == str(sources.CELL_BYTES)


def test_a_small_file_of_very_many_cells_is_too_large_whatever_its_footer_says(tmp_path):
    table = pa.table({"a": pa.repeat(1, 100_000_001)})
    raw = parquet_bytes(table)
    assert len(raw) < 1 << 20
    with pytest.raises(TooLarge, match="more than 100,000,000 cells"), ingested(tmp_path, raw):
        pass
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (100_000_001,)})
        member.write(bytes(100))
    with pytest.raises(TooLarge, match="more than 100,000,000 cells"), ingested(tmp_path, zeros.getvalue()):
        pass


def test_too_many_columns_are_refused_in_every_format(tmp_path):
    wide = pa.table({f"c{i}": [1] for i in range(4097)})
    objects = json.dumps({f"c{i}": 1 for i in range(4097)}).encode()
    for raw in (parquet_bytes(wide), arrow_bytes("file", wide), objects, npz_bytes(x=np.zeros((1, 4097)))):
        with pytest.raises(TooLarge, match="more than 4,096 columns"), ingested(tmp_path, raw):
            pass


def test_keys_that_come_late_are_missing_before(tmp_path):
    raw = b'{"a": 1}\n{"b": "x", "a": 2.5}\n{"c": true}\n'
    types, table = read(tmp_path, raw)
    assert types == {"a": "NUMBER", "b": "CATEGORY", "c": "BOOLEAN"}
    assert [c.missing.tolist() for c in table.columns.values()] == [
        [False, False, True], [True, False, True], [True, True, False],
    ]  # fmt: skip


def test_whole_numbers_that_no_integer_holds_are_the_nearest_float(tmp_path):
    raw = b'{"a": 9007199254740993, "b": 0.5}\n{"a": null, "b": 9007199254740993}\n{"a": %d, "b": 1}\n' % (10**50)
    types, table = read(tmp_path, raw)
    assert types == {"a": "NUMBER", "b": "NUMBER"}
    assert table.columns["a"].values[2] == 1e50
    assert table.columns["b"].values.tolist() == [0.5, 9007199254740992.0, 1.0]
    for number in (10**400, -(10**400)):
        raw = b'{"a": 1}\n{"a": %d}\n' % number
        with pytest.raises(InvalidTable, match=r'line 2, column "a".*is not NUMBER'), ingested(tmp_path, raw):
            pass


@pytest.mark.parametrize("late", ["1.5", "word", "0x1F", ""])
def test_a_column_whose_first_rows_mislead_has_the_type_of_all_its_values(tmp_path, late):
    """Numbers are read as numbers at once where the first rows are; later ones must be seen all the same."""
    rows = [f"{i},{i}.5,{i}" for i in range(400_000)]
    rows[399_000] = f"{late},{late},7"
    types, table = read(tmp_path, ("a,b,c\n" + "\n".join(rows)).encode())
    kinds = {"1.5": ["NUMBER", "NUMBER"], "word": ["TEXT", "TEXT"], "0x1F": ["TEXT", "TEXT"], "": ["INTEGER", "NUMBER"]}
    assert list(types.values()) == [*kinds[late], "INTEGER"]
    assert table.columns["c"].values[399_000] == 7
    assert str(table.columns["a"].values[399_000]) == (late or "0")


@pytest.mark.parametrize(
    ("bad", "text"),
    [("1,2", "line 300002 (row 300001) has 2 columns"), ("", "line 300002 is empty"), ("1,2,3,4", "has 4 columns")],
)
def test_an_uneven_row_of_a_plain_file_is_named(tmp_path, bad, text):
    rows = ["1,2.5,3"] * 400_000
    rows[300_000] = bad
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, ("a,b,c\n" + "\n".join(rows)).encode()):
        pass
    assert text in caught.value.message


def test_empty_lines_at_the_end_of_a_plain_file_are_nothing(tmp_path):
    types, table = read(tmp_path, b"a,b\n1,2\n3,4\n\n\n")
    assert (types, table.row_count) == ({"a": "INTEGER", "b": "INTEGER"}, 2)


def test_an_uneven_row_is_named_before_a_value_that_does_not_fit(tmp_path):
    raw = b"a,b\n1,2\nx,3\n\n4,5\n"
    schema = [column("a", "INTEGER")]
    with pytest.raises(InvalidTable, match="line 4 is empty"), ingested(tmp_path, raw, schema=schema):
        pass
