"""CSV files for the tests of data, and the ingest of their bytes."""

import contextlib

from service.data.ingest import ingest_table
from service.data.table import load_table
from traind.v1 import tables_pb2

Column = tables_pb2.Column


def column(name, kind):
    return Column(name=name, type=Column.Type.Value(kind))


@contextlib.contextmanager
def ingested(folder, raw, **more):
    """Bytes after the real child has read them; its scratch folder must be left as it was."""
    source = folder / "source.csv"
    source.write_bytes(raw)
    tmp = folder / "tmp"
    made = ingest_table(source, tmp=tmp, **more)
    assert list(tmp.iterdir()) == [made.table]
    yield made
    made.table.unlink()


def read(folder, raw, **more):
    """Types by name, and the table that was made of bytes."""
    with ingested(folder, raw, **more) as made:
        table = load_table(made.table)
        assert table.row_count == made.row_count
        return {c.name: Column.Type.Name(c.type) for c in made.columns}, table
