"""Makes the tables of this folder from the packages that README.md names; needs the PyPI package `rdata`, no network.

    python tests/data/make.py MODELDATA BOKEH

MODELDATA is `.../site-library/modeldata/data` of Debian's r-cran-modeldata, BOKEH `.../bokeh_sampledata/_data`.
"""

import bz2
import csv
import gzip
import io
import lzma
import math
import pathlib
import struct
import sys
import zlib

import rdata

HERE = pathlib.Path(__file__).parent
# How R's lazy-load files were packed: by their first byte.
LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
UNPACK = {
    b"0": bytes,
    b"2": bz2.decompress,
    b"Z": lambda packed: lzma.decompress(packed, format=lzma.FORMAT_RAW, filters=LZMA),
}


def main(modeldata, bokeh):
    for name in ("credit_data", "attrition", "ames"):
        frame = read_lazy(modeldata, name)
        rows = ([cell(value) for value in row] for row in frame.itertuples(index=False))
        write(name, list(frame.columns), rows)
    for name, file in (("titanic", "titanic_all.csv"), ("penguins", "penguins.csv")):
        with (bokeh / file).open(newline="", encoding="utf-8") as text:
            header, *rows = csv.reader(text)
        write(name, header, [["" if value in {"NA", "NaN"} else value for value in row] for row in rows])


def read_lazy(folder, name):
    """One data frame of an R package: Rdata.rdx tells where in Rdata.rdb it begins and how long it is."""
    index = to_python(gzip.decompress((folder / "Rdata.rdx").read_bytes()))
    begin, length = (int(number) for number in index["variables"][name])
    packed = (folder / "Rdata.rdb").read_bytes()[begin : begin + length]
    kind = int(index["compressed"][0] if hasattr(index["compressed"], "__len__") else index["compressed"])
    data = zlib.decompress(packed[4:]) if kind == 1 else UNPACK[packed[4:5]](packed[5:])
    assert len(data) == struct.unpack(">I", packed[:4])[0]
    return to_python(data)


def to_python(data):
    return rdata.conversion.convert(rdata.parser.parse_data(data, expand_altrep=True))


def cell(value):
    """What a cell of a CSV file holds: nothing for a missing value, and whole numbers without a point."""
    if value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def write(name, header, rows):
    """The same rows are the same bytes: without a time in the gzip header."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with gzip.GzipFile(HERE / f"{name}.csv.gz", "wb", compresslevel=9, mtime=0) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main(*(pathlib.Path(argument) for argument in sys.argv[1:3]))
