"""Texts in bytes: UTF-8 as it is, CP949 turned into it, and every other encoding refused by name."""

from pathlib import Path
from typing import NoReturn

from service.errors import InvalidTable, invalid, shown

UTF8_MARK = b"\xef\xbb\xbf"
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_SAVE = "save the table as CSV in UTF-8"
_ACCEPTED = "accepted is UTF-8, with or without a mark, and CP949 where `encoding` says so"
_BLOCK_BYTES = 4 << 20
_LINE_BYTES = 1 << 20


def known_encoding(asked: str) -> str:
    """`UTF-8` or `CP949`; empty where nothing was asked. Raises InvalidField."""
    name = asked.upper().replace("_", "-")
    if name in {"", "UTF-8", "CP949"}:
        return name
    if name in {"UTF8", "UTF-8-SIG"}:
        return "UTF-8"
    cure = "EUC-KR is a part of CP949: send that" if name in {"EUC-KR", "EUCKR", "MS949", "UHC"} else ""
    raise invalid(
        "source.encoding",
        f"{shown(asked)} is not known; accepted are UTF-8 and CP949: {cure or 'convert the file to UTF-8'}",
    )


def refuse_marks(head: bytes) -> None:
    """Refuse a file that begins with the mark of another encoding."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            refuse_encoding(name)


def refuse_encoding(name: str) -> NoReturn:
    """Raise what is said of text in another encoding."""
    raise InvalidTable(f"the file is {name}; {_ACCEPTED}: {_SAVE}", metadata={"encoding": name})


def check_text(raw: bytes, offset: int, line: int) -> None:
    """Refuse bytes that are no UTF-8 text; `offset` and `line` tell where in the file they begin."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            begin = raw.rfind(b"\n", 0, error.start) + 1
            end = raw.find(b"\n", error.start)
            _refuse_byte(
                raw[error.start],
                offset + error.start,
                line + raw.count(b"\n", 0, error.start),
                f"is not UTF-8; {_cp949_cure(raw[begin : end if end >= 0 else len(raw)])}",
            )
    if (at := raw.find(b"\0")) >= 0:
        _refuse_byte(0, offset + at, line + raw.count(b"\n", 0, at), f"is zero, which no text has: {_SAVE}")


def to_utf8(path: Path, scratch: Path) -> None:
    """Write a CP949 file to `scratch` in UTF-8. Raises InvalidTable naming the line of bytes that are no CP949."""
    offset, line = 0, 1
    with path.open("rb") as file, scratch.open("wb") as written:
        while raw := file.read(_BLOCK_BYTES):
            # Whole lines: a line feed is no part of any character of CP949.
            raw += file.readline(_LINE_BYTES) if not raw.endswith(b"\n") else b""
            if not offset and raw.startswith(UTF8_MARK):
                raise InvalidTable(
                    "the file begins with the mark of UTF-8, but `encoding` says CP949: leave `encoding` away",
                    metadata={"line": "1", "encoding": "CP949"},
                )
            try:
                written.write(raw.decode("cp949").encode())
            except UnicodeDecodeError as error:
                at = line + raw.count(b"\n", 0, error.start)
                cure = "the bytes are UTF-8: leave `encoding` away" if _decodes(raw, "utf-8") else _SAVE
                _refuse_byte(raw[error.start], offset + error.start, at, f"is not CP949; {cure}", "CP949")
            offset, line = offset + len(raw), line + raw.count(b"\n")


def _cp949_cure(row: bytes) -> str:
    """What to do with a line that is no UTF-8."""
    if not _decodes(row, "cp949"):
        return f"{_ACCEPTED}: {_SAVE}"
    return (
        f"the line reads {shown(row.decode('cp949').strip())} in CP949, as Korean Excel saves: "
        "send the file with `encoding: CP949`"
    )


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as error:
        # A character may be cut at the end of a block.
        return error.start >= len(raw) - 3 and len(raw) > _BLOCK_BYTES
    return True


def _refuse_byte(byte: int, offset: int, line: int, what: str, encoding: str = "UTF-8") -> NoReturn:
    raise InvalidTable(
        f"line {line}: byte 0x{byte:02X} at offset {offset} {what}",
        metadata={"line": str(line), "offset": str(offset), "encoding": encoding},
    )
