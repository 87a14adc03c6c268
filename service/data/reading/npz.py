"""NumPy's archive of arrays as a source: every array is copied out of it and mapped, none is unpickled."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.data.forms import as_texts
from service.data.layout import TIMESTAMP
from service.data.reading.columnar import plain
from service.data.reading.formats import refuse_format
from service.data.reading.names import check_column_count, check_names
from service.data.reading.source import CELL_BYTES, Place, check_cells, row_place
from service.errors import InvalidTable, TooLarge, shown

_PIECE_CELLS = 1 << 20
_COPY_BYTES = 1 << 20
# Where an array may begin in a mapped file.
_ALIGNED = 64
_KINDS = "biufUSM"


@dataclass(frozen=True)
class _Array:
    """An array of the archive."""

    name: str
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    # Where its values begin in the member.
    offset: int

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @property
    def names(self) -> list[str]:
        """Of the columns that it becomes."""
        return [self.name] if len(self.shape) == 1 else [f"{self.name}_{i}" for i in range(self.shape[1])]


class NpzFile:
    """An archive whose arrays are copied to a file in the folder `scratch`, where they can be mapped."""

    texts_are_texts = True

    def __init__(self, path: Path, scratch: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                arrays = _arrays(archive)
                self.names = tuple(name for array in arrays for name in array.names)
                check_names(self.names)
                check_cells(arrays[0].shape[0], len(self.names))
                self._values = _mapped(archive, arrays, scratch / "arrays.bin")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InvalidTable(
                f"the file is no sound NPZ archive: {shown(error)}; save it again by numpy.savez",
                metadata={"format": "NPZ"},
            ) from None
        self._rows = arrays[0].shape[0]
        widths = [len(array.names) for array in arrays]
        times = [array.dtype.kind == "M" for array, width in zip(arrays, widths, strict=True) for _ in range(width)]
        self.stated: Mapping[int, str] = {i: TIMESTAMP for i, is_time in enumerate(times) if is_time}

    def batches(self) -> Iterator[list[pa.Array]]:
        """The rows, in pieces of a bounded number of cells."""
        step = max(_PIECE_CELLS // len(self.names), 1)
        for start in range(0, self._rows, step):
            pieces = [column for values in self._values for column in _columns(values[start : start + step])]
            yield [_arrow(piece, name, start) for name, piece in zip(self.names, pieces, strict=True)]

    def column(self, index: int) -> Iterator[pa.Array]:
        """The texts of one column."""
        for arrays in self.batches():
            yield as_texts(arrays[index])

    def place(self, row: int) -> Place:
        """The number of the row."""
        return row_place(row)


def _arrays(archive: zipfile.ZipFile) -> list[_Array]:
    """The arrays, which have one length. Raises InvalidTable and TooLarge."""
    members = [info for info in archive.infolist() if not info.is_dir()]
    if not members or not all(info.filename.endswith(".npy") for info in members):
        refuse_format("a zip archive of other files than NumPy arrays (as are .xlsx and .pt files)")
    check_column_count(len(members))
    arrays = [_header(archive, info.filename) for info in members]
    for array in arrays:
        if array.shape[0] != arrays[0].shape[0]:
            raise InvalidTable(
                f"array {shown(array.name)} has {array.shape[0]:,} rows, {shown(arrays[0].name)} has "
                f"{arrays[0].shape[0]:,}: all arrays of a table need as many",
                metadata={"column": array.name, "expected": str(arrays[0].shape[0]), "got": str(array.shape[0])},
            )
    return arrays


def _header(archive: zipfile.ZipFile, member: str) -> _Array:
    """What an array says of itself. Raises InvalidTable for one that cannot be columns."""
    name = member.removesuffix(".npy")
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
        except (ValueError, KeyError, SyntaxError) as error:
            raise InvalidTable(
                f"array {shown(name)} has no sound header: {shown(error)}; save it again by numpy.savez",
                metadata={"column": name},
            ) from None
        offset = file.tell()
    if dtype.hasobject:
        _refuse(name, "holds Python objects, which only a pickle can carry: turn it into numbers or texts")
    if dtype.kind not in _KINDS or (dtype.kind == "f" and dtype.itemsize > 8):
        _refuse(name, f"is of the type {shown(dtype)}; accepted are whole and real numbers, booleans, texts and times")
    if len(shape) not in {1, 2}:
        _refuse(name, f"has {len(shape)} dimensions; a column has one, and two are [rows, columns]")
    if len(shape) == 2:
        check_column_count(shape[1])
    if dtype.itemsize > 4 * CELL_BYTES:
        raise TooLarge(
            f"array {shown(name)} has values of {dtype.itemsize:,} bytes; a value has at most {CELL_BYTES:,}",
            metadata={"column": name, "limit": str(CELL_BYTES)},
        )
    return _Array(name, member, tuple(shape), dtype, fortran, offset)


def _refuse(name: str, what: str) -> None:
    raise InvalidTable(f"array {shown(name)} {what}", metadata={"column": name})


def _mapped(archive: zipfile.ZipFile, arrays: list[_Array], scratch: Path) -> list[npt.NDArray[Any]]:
    """The values of all arrays, [rows] or [rows, columns] each, in one file: each mapped file holds a descriptor."""
    places = []
    with scratch.open("wb") as written:
        for array in arrays:
            written.seek(-written.tell() % _ALIGNED, 1)
            places.append(written.tell())
            _unpack(archive, array, written)
        if not written.tell():
            return [np.empty(array.shape, array.dtype) for array in arrays]
        written.truncate()
    whole = np.memmap(scratch, dtype=np.uint8, mode="r")
    return [_seen(whole[place : place + array.size], array) for place, array in zip(places, arrays, strict=True)]


def _seen(values: npt.NDArray[np.uint8], array: _Array) -> npt.NDArray[Any]:
    if not array.size:  # of texts without a character, for one
        return np.empty(array.shape, array.dtype)
    return values.view(array.dtype).reshape(array.shape, order="F" if array.fortran else "C")


def _unpack(archive: zipfile.ZipFile, array: _Array, written: IO[bytes]) -> None:
    with archive.open(array.member) as file:
        file.seek(array.offset)
        copied = _copy(file, written, array.size)
    if copied != array.size:
        raise InvalidTable(
            f"array {shown(array.name)} should have {array.size:,} bytes and has {copied:,}: "
            "save it again by numpy.savez",
            metadata={"column": array.name},
        )


def _copy(file: IO[bytes], written: IO[bytes], size: int) -> int:
    """Copy at most `size` bytes; answers how many there were."""
    copied = 0
    while copied < size and (part := file.read(min(_COPY_BYTES, size - copied))):
        written.write(part)
        copied += len(part)
    return copied


def _columns(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return [values] if values.ndim == 1 else [values[:, i] for i in range(values.shape[1])]


def _arrow(values: npt.NDArray[Any], name: str, first_row: int) -> pa.Array:
    """Values of one column as an array that a table can have."""
    values = np.ascontiguousarray(values)
    if values.dtype.kind in "US":
        return pa.array(_texts(values, name, first_row), pa.string())
    if values.dtype.kind == "M":
        days = np.datetime_data(values.dtype)[0] in {"Y", "M", "W", "D"}
        values = values.astype("datetime64[D]" if days else "datetime64[us]")
    elif not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return plain(pa.array(values), name, first_row)


def _texts(values: npt.NDArray[Any], name: str, first_row: int) -> list[str]:
    texts: list[Any] = values.tolist()
    for row, text in enumerate(texts):
        try:
            texts[row] = text.decode() if isinstance(text, bytes) else text.encode().decode()
        except UnicodeError:
            raise InvalidTable(
                f"row {first_row + row + 1}, column {shown(name)}: {shown(ascii(text))} is not UTF-8",
                metadata={"row": str(first_row + row + 1), "column": name},
            ) from None
    return texts
