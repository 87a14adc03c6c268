"""A file as a source, whatever its format."""

from collections.abc import Mapping
from pathlib import Path

from service.data.reading.encodings import to_utf8
from service.data.reading.formats import CSV, JSON_LINES, NPZ, Options, find_format
from service.data.reading.source import Source


def open_source(path: Path, options: Options, asked: Mapping[str, str], scratch: Path) -> tuple[Source, str]:
    """The source and its format. `scratch` is an empty folder for what must be copied.

    Raises InvalidTable, TooLarge, and InvalidField for options that do not fit the file.
    """
    kind = find_format(path, options)
    # Each is imported only where it is needed, for that takes a good part of a small file's time.
    if kind == CSV:
        if options.encoding == "CP949":
            to_utf8(path, scratch / "utf8.csv")
            path = scratch / "utf8.csv"
        # Before the parser is imported, which takes longer than to refuse a file by its header.
        return _csv(path, options.delimiter, asked), kind
    if kind == JSON_LINES:
        from service.data.reading.json_lines import JsonLines

        return JsonLines(path, asked), kind
    if kind == NPZ:
        from service.data.reading.npz import NpzFile

        return NpzFile(path, scratch), kind
    from service.data.reading.columnar import ColumnarFile

    return ColumnarFile(path, kind), kind


def _csv(path: Path, delimiter: str, asked: Mapping[str, str]) -> Source:
    from service.data.reading.header import read_header

    with path.open("rb") as file:
        read_header(file, delimiter)
    from service.data.reading.csv_file import CsvFile

    return CsvFile(path, delimiter, asked)
