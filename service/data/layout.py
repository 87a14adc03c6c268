"""How a table lies in an Arrow file: the one that writes it and the one that reads it agree here.

One Arrow column for each column of the table, uncompressed, so that it can be mapped into memory; which Column.Type it
has stands in the field's metadata. Missing values are nulls. Codes of a CATEGORY count its sorted texts.
"""

import pyarrow as pa

# The names of Column.Type; the contract's generated code would cost the ingest child a third of its time.
INTEGER, NUMBER, BOOLEAN, TIMESTAMP, CATEGORY, TEXT = "INTEGER", "NUMBER", "BOOLEAN", "TIMESTAMP", "CATEGORY", "TEXT"

TYPE_KEY = b"traind.type"

ARROW_TYPES = {
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    BOOLEAN: pa.bool_(),
    TIMESTAMP: pa.string(),
    CATEGORY: pa.dictionary(pa.int32(), pa.string()),
    TEXT: pa.string(),
}
_KINDS = {pa.int64(): INTEGER, pa.float64(): NUMBER, pa.bool_(): BOOLEAN, pa.string(): TEXT}


def kind_of(kind: pa.DataType) -> str:
    """The Column.Type of values that are read and not coded yet; texts may become another one."""
    return _KINDS[kind]


# Cells of one batch. A table below it is one batch, which a reader need not copy.
BATCH_CELLS = 4_000_000
# And bytes of its texts.
BATCH_BYTES = 64 << 20
