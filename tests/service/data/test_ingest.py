"""Tables read by the real child: their types, the errors that name line, column and value, and the child's limits."""

import contextlib
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from service.data import ingest
from service.data.forms import TAKES
from service.data.ingest import ingest_table
from service.data.ingest_child import KEPT_CATEGORIES, KEPT_CATEGORY_BYTES
from service.data.layout import ARROW_TYPES
from service.data.table import load_table
from service.errors import DiskFull, InvalidField, InvalidTable, TooLarge
from tests.service.data.csvs import Column, column, ingested, read
from tests.waiting import gone, wait_until

MIXED = b"""whole,number,flag,day,kind,nothing
1,1.5,true,2020-01-02,red,
-2,.5,FALSE,2020-01-02T03:04:05Z,blue,NA
null,None,NaN,N/A,"",NaN
 +7 ,1e3, true,2020-02-29 03:04, red,""
"""

COLUMNS = {
    "INTEGER": ["0", "-1", "007", "+5", "9223372036854775807", "-9223372036854775808"],
    "NUMBER": ["0", "1.5", ".5", "5.", "-1e-300", "+2E5", "9223372036854775808"],
    "BOOLEAN": ["true", "false", "True", "FALSE"],
    "TIMESTAMP": ["2020-02-29", "2020-01-02 23:59", "2020-01-02T03:04:05.123456789+09:00", "1999-12-31T00:00:00Z"],
    "CATEGORY": ["1_000", "0x1F", "1,5", "true", "1 2", "--5", "+-5", "1e", "1.5f", "٣", "1", "2020-01-02"],
}
MISFITS = {
    "INTEGER": ["1.5", "1e3", "x", "9223372036854775808", "0x1F", "1_000", "inf", "3.0"],
    "NUMBER": ["x", "1,5", "1_000", "0x1F", "inf", "-Infinity", "nan", "1e999", "+-1"],
    "BOOLEAN": ["yes", "1", "t"],
    "TIMESTAMP": ["2020-02-30", "2020-1-2", "02/01/2020", "2020-01-02T24:00", "2020-01-02 10:60", "epoch", "20200102"],
}


def test_every_type_is_detected_and_missing_cells_are_counted(tmp_path):
    with ingested(tmp_path, MIXED) as made:
        assert [(c.name, Column.Type.Name(c.type), c.missing_count, list(c.categories)) for c in made.columns] == [
            ("whole", "INTEGER", 1, []),
            ("number", "NUMBER", 1, []),
            ("flag", "BOOLEAN", 1, []),
            ("day", "TIMESTAMP", 1, []),
            ("kind", "CATEGORY", 1, ["blue", "red"]),
            ("nothing", "TEXT", 4, []),
        ]
        columns = load_table(made.table).columns
    assert columns["whole"].values.tolist() == [1, -2, 0, 7]
    np.testing.assert_array_equal(columns["number"].values, [1.5, 0.5, np.nan, 1000])
    assert columns["flag"].values.tolist() == [True, False, False, True]
    days = np.array(["2020-01-02", "2020-01-02T03:04:05", "NaT", "2020-02-29T03:04"], "datetime64[us]")
    np.testing.assert_array_equal(columns["day"].values, days)
    assert columns["kind"].categories == ("blue", "red")
    assert columns["kind"].values.tolist() == [1, 0, -1, 1]
    assert [c.missing.tolist() for c in columns.values()] == [[False, False, True, False]] * 5 + [[True] * 4]


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_type_is_that_of_all_values(tmp_path, kind):
    quoted = "".join(f'"{value}"\n' for value in COLUMNS[kind])
    types, table = read(tmp_path, b"x\n" + quoted.encode())
    assert types == {"x": kind}
    if kind in {"INTEGER", "NUMBER"}:
        convert = int if kind == "INTEGER" else float
        assert table.columns["x"].values.tolist() == [convert(value) for value in COLUMNS[kind]]


def test_numbers_come_out_as_python_reads_them(tmp_path):
    rng = random.Random(1)
    texts = [repr(rng.uniform(-1, 1) * 10 ** rng.randint(-300, 300)) for _ in range(5000)]
    texts += ["4.9e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "0.1", "123456789012345678901234567890"]
    _, table = read(tmp_path, "x\n{}\n".format("\n".join(texts)).encode())
    assert table.columns["x"].values.tolist() == [float(text) for text in texts]


@pytest.mark.parametrize(("rows", "distinct", "kind"), [(20, 20, "CATEGORY"), (21, 21, "TEXT"), (1000, 50, "CATEGORY")])
def test_few_distinct_texts_are_categories(tmp_path, rows, distinct, kind):
    raw = "x\n" + "".join(f"word {i % distinct}\n" for i in range(rows))
    types, table = read(tmp_path, raw.encode())
    assert types == {"x": kind}
    assert len(table.columns["x"].categories) == (distinct if kind == "CATEGORY" else 0)


def test_more_than_5_percent_of_distinct_texts_are_text(tmp_path):
    raw = "x\n" + "".join(f"word {i % 51}\n" for i in range(1000))
    assert read(tmp_path, raw.encode())[0] == {"x": "TEXT"}


def test_the_schema_stands_instead_of_what_would_be_detected(tmp_path):
    raw = b"a,b,c,d\n1,0,2,red\n2,1,3,blue\n"
    schema = [column("a", "NUMBER"), column("b", "CATEGORY"), column("d", "TEXT"), Column(name="c")]
    types, table = read(tmp_path, raw, schema=schema)
    assert types == {"a": "NUMBER", "b": "CATEGORY", "c": "INTEGER", "d": "TEXT"}
    assert table.columns["b"].categories == ("0", "1")
    assert table.columns["d"].values.tolist() == ["red", "blue"]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind in MISFITS for value in MISFITS[kind]])
def test_a_value_that_does_not_fit_the_asked_type_is_named(tmp_path, kind, value):
    fit = COLUMNS[kind][0]
    raw = f'n,x\n1,{fit}\n2,"{value}"\n3,NA\n4,"{value}"\n'.encode()
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, raw, schema=[column("x", kind)]):
        pass
    assert caught.value.message.startswith(
        f'line 3, column "x": "{value}" is not {kind} ({TAKES[kind]}); 2 such values'
    )
    assert caught.value.metadata == {"line": "3", "row": "2", "column": "x", "count": "2"}
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e999", "nan"])
def test_infinite_numbers_are_refused_with_their_count_and_first_line(tmp_path, value):
    raw = f"n,x\n1,0.5\n2,1\n3,{value}\n4,{value}\n5,{value}\n".encode()
    with pytest.raises(InvalidTable, match="line 4") as caught, ingested(tmp_path, raw):
        pass
    assert caught.value.metadata == {"line": "4", "row": "3", "column": "x", "count": "3"}


def test_a_misfit_far_down_is_found_with_its_line(tmp_path):
    rows = [f'{i},"a\nb"' for i in range(300_000)]
    rows[250_000] = 'what,"a\nb"'
    raw = "n,x\n{}\n".format("\n".join(rows)).encode()
    with pytest.raises(InvalidTable) as caught, ingested(tmp_path, raw, schema=[column("n", "INTEGER")]):
        pass
    assert caught.value.metadata == {"line": "500002", "row": "250001", "column": "n", "count": "1"}


def test_a_column_that_does_not_exist_and_one_described_twice_are_named(tmp_path):
    with pytest.raises(InvalidField) as caught, ingested(tmp_path, b"a,b\n1,2\n", schema=[Column(name="z")]):
        pass
    assert caught.value.violations[0].field == "source.schema[0].name"
    assert "it has a, b" in caught.value.message
    with (
        pytest.raises(InvalidField, match="twice") as caught,
        ingested(tmp_path, b"a\n1\n", schema=[column("a", "TEXT")] * 2),
    ):
        pass
    assert caught.value.metadata["field"] == "source.schema[1].name"


@pytest.mark.parametrize("encoding", ["EUC-KR", "utf-16", "latin1"])
def test_another_encoding_is_named(tmp_path, encoding):
    with pytest.raises(InvalidField, match="UTF-8") as caught, ingested(tmp_path, b"a\n1\n", encoding=encoding):
        pass
    assert caught.value.metadata["field"] == "source.encoding"
    assert encoding in caught.value.message


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-8", ""])
def test_utf8_is_taken_with_a_mark_too(tmp_path, encoding):
    types, _ = read(tmp_path, "\ufeff면적,도시\n1,서울\n".encode(), encoding=encoding)
    assert types == {"면적": "INTEGER", "도시": "CATEGORY"}


def test_what_the_scan_refuses_comes_out_of_the_child(tmp_path):
    with pytest.raises(InvalidTable, match="line 3") as caught, ingested(tmp_path, b"a,b\n1,2\n3\n"):
        pass
    assert caught.value.metadata == {"line": "3", "row": "2", "expected": "2", "got": "1"}
    with pytest.raises(TooLarge, match="4,096"), ingested(tmp_path, b"c," * 5000 + b"c\n"):
        pass
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_table_of_several_blocks_keeps_its_rows_in_order(tmp_path):
    rows = 500_000
    raw = b"n,half,kind\n" + b"".join(b"%d,%d.5,k%d\n" % (i, i, i % 7) for i in range(rows))
    types, table = read(tmp_path, raw)
    assert types == {"n": "INTEGER", "half": "NUMBER", "kind": "CATEGORY"}
    counted = np.arange(rows)
    np.testing.assert_array_equal(table.columns["n"].values, counted)
    np.testing.assert_array_equal(table.columns["half"].values, counted + 0.5)
    np.testing.assert_array_equal(table.columns["kind"].values, counted % 7)


def test_the_widest_table_is_read(tmp_path):
    header = ",".join(f"c{i}" for i in range(4096))
    row = ",".join(str(i) for i in range(4095)) + ",word"
    types, table = read(tmp_path, f"{header}\n{row}\n{row}\n".encode())
    assert set(types.values()) == {"INTEGER", "CATEGORY"}
    assert [int(c.values[1]) for c in table.columns.values()] == [*range(4095), 0]


def test_told_categories_are_bounded_and_the_table_has_them_all(tmp_path):
    raw = "x\n" + "".join(f"{i:05}\n" for i in range(2000))
    with ingested(tmp_path, raw.encode(), schema=[column("x", "CATEGORY")]) as made:
        assert list(made.columns[0].categories) == [f"{i:05}" for i in range(KEPT_CATEGORIES)]
        assert len(load_table(made.table).columns["x"].categories) == 2000
    long = "x\n" + "".join(f"{i:05}{'y' * 5000}\n" for i in range(1000))
    with ingested(tmp_path, long.encode(), schema=[column("x", "CATEGORY")]) as made:
        told = sum(len(text.encode()) for text in made.columns[0].categories)
        assert 0 < told <= KEPT_CATEGORY_BYTES


def test_the_childs_names_of_types_are_the_contracts():
    assert set(ARROW_TYPES) == set(Column.Type.keys()) - {"TYPE_UNSPECIFIED"}


@pytest.mark.alone
def test_a_small_file_takes_less_than_a_second_of_processor_time(tmp_path):
    raw = "a,b,c\n" + "".join(f"{i * 0.37},{i},{'xyz'[i % 3]}\n" for i in range(150))
    before = os.times()
    with ingested(tmp_path, raw.encode()):
        pass
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert 0.05 < spent < 1


class Waiting:
    """An ingest whose child waits to open its file, for that is a pipe that nobody writes to."""

    def __init__(self, folder):
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        self.tmp = folder / "tmp"
        self.raised = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.child = wait_until(lambda: children("service.data.ingest_child"), "the child runs")[0]
        wait_until(lambda: limited(self.child.pid), "the child is limited")

    def _run(self):
        try:
            ingest_table(self.fifo, tmp=self.tmp)
        except Exception as error:
            self.raised = error

    def end(self):
        self.child.kill()
        self.thread.join(10)
        assert not self.thread.is_alive()


def children(name, of=None):
    found = psutil.Process(of).children(recursive=True)
    return [child for child in found if name in command(child)]


def command(process):
    """A process's command line; empty if it has ended meanwhile, as children of other tests may have."""
    try:
        return " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return ""


def limits_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


def limited(pid):
    """Whether the child has set its last limit."""
    return limits_of(pid)["Max file size"] != "unlimited"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_child_is_limited_and_knows_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAIND_DATABASE_URL", "postgresql://secret@host/name")
    waiting = Waiting(tmp_path)
    try:
        limits = limits_of(waiting.child.pid)
        assert limits["Max address space"] == str(ingest.MEMORY_BYTES)
        assert limits["Max cpu time"] == str(ingest.START_S)
        assert limits["Max file size"] == str(ingest.FILE_BYTES)
        assert limits["Max open files"] == "64"
        assert set(waiting.child.environ()) <= {*ingest._environment(), "LC_CTYPE"}
        assert "secret" not in " ".join(waiting.child.cmdline())
        assert "NoNewPrivs:\t1" in pathlib.Path(f"/proc/{waiting.child.pid}/status").read_text(encoding="utf-8")
        # Its own input and pipe beside the usual three; none of the parent's files or sockets.
        assert waiting.child.num_fds() <= 5
    finally:
        waiting.end()
    assert isinstance(waiting.raised, InvalidTable)
    assert "SIGKILL" in waiting.raised.message
    assert list(waiting.tmp.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the tie to a parent is Linux's")
def test_the_child_dies_with_its_parent(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    script = "import pathlib, sys; from service.data.ingest import ingest_table; p = pathlib.Path(sys.argv[1]); "
    script += "ingest_table(p / 'fifo', tmp=p / 'tmp')"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as parent:
        child = wait_until(lambda: children("service.data.ingest_child", parent.pid), "the child runs")[0]
        wait_until(lambda: limited(child.pid), "the child is tied and limited")
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: gone(child.pid), "the child is gone")


def test_a_server_with_more_than_a_thousand_open_files_reads_tables(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 4096), before[1]))
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        for _ in range(1100):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        assert read(tmp_path, b"a\n1\n")[0] == {"a": "INTEGER"}


def test_a_child_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "WALL_S_PER_S", 1 / ingest.START_S)
    os.mkfifo(tmp_path / "fifo")
    began = time.monotonic()
    with pytest.raises(TooLarge, match="took longer"):
        ingest_table(tmp_path / "fifo", tmp=tmp_path / "tmp")
    assert 0.9 < time.monotonic() - began < 10
    assert children("service.data.ingest_child") == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_child_that_computes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "START_S", 1)
    monkeypatch.setattr(ingest, "BYTES_PER_S", 1 << 40)
    with (
        pytest.raises(TooLarge, match="took longer than 1 s"),
        ingested(tmp_path, b"a,b,c,d\n" + b"1.5,2.5,3,x\n" * 5_000_000),
    ):
        pass


def test_a_table_that_needs_more_memory_than_there_is_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "MEMORY_BYTES", 420 << 20)
    raw = b"a\n" + b"".join(b"%d some words that make it longer\n" % i for i in range(1_000_000))
    with pytest.raises(TooLarge, match="420 MiB"), ingested(tmp_path, raw, schema=[column("a", "CATEGORY")]):
        pass
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "FILE_BYTES", 1000)
    monkeypatch.setattr(ingest, "FILE_BYTES_PER_BYTE", 0)
    with pytest.raises(DiskFull), ingested(tmp_path, b"a\n" + b"1\n" * 1000):
        pass
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_defect_of_the_child_is_told_as_a_defect(tmp_path):
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        ingest._run(broken_request(tmp_path), 0)


def broken_request(folder):
    request = {"source": "/nowhere", "schema": [], "table": "/nowhere", "scratch": str(folder)}
    (folder / "request.json").write_text(json.dumps(request | {"format": "", "encoding": "", "delimiter": ""}))
    return folder
