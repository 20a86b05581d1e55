"""A table as spreadsheets and scripts write it: its encoding, its separator, its lines as cells."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import InputError
from hwsim.files import read_bytes

__all__ = ["Sheet", "SheetLine", "read_sheet_text"]

MAX_SHEET_BYTES = 8 * 2**20
_SEPARATORS = ",;\t"
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060"))
_SEP = re.compile(r'"?sep=([,;\t])"?\s*\Z')


@dataclass(frozen=True, slots=True)
class SheetLine:
    """A line that is not blank: its number, its cells without the empty ones at the end, its last cell."""

    number: int
    cells: list[str]
    tail: str


class Sheet:
    """The lines of a table.

    The separator is the most frequent one of the header (comma, semicolon or tab), or that of a first line
    ``sep=;``, as Excel writes it. Lines end in LF, CR LF or CR. Blanks around a cell are removed, no-break spaces
    too. `decimals` are the decimal marks that numbers may have: with commas between cells it is the point.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
        self._skip = 0
        header = next((line for line in self._lines if line.strip() and not line.lstrip().startswith("#")), "")
        if match := _SEP.match(header):
            self.separator = match[1]
            self._skip = self._lines.index(header) + 1
        else:
            bare = re.sub(r'"[^"]*"', "", header)
            self.separator = max(_SEPARATORS, key=bare.count)
        self.decimals = "." if self.separator == "," else ".,"

    def __iter__(self) -> Iterator[SheetLine]:
        reader = csv.reader(self._lines[self._skip :], delimiter=self.separator, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                clean = [" ".join(cell.translate(_INVISIBLE).split()) for cell in cells]
                tail = clean[-1] if clean else ""
                while clean and not clean[-1]:
                    clean.pop()
                if clean and not clean[0].startswith("#"):
                    yield SheetLine(reader.line_num + self._skip, clean, tail)
        except csv.Error as error:
            raise InputError(f"must be CSV: {error}", f"{self.file}:{reader.line_num + self._skip}") from None


def read_sheet_text(path: Path) -> str:
    """The text of a table: UTF-8, UTF-16 (Excel's "Unicode text"), or else Windows-1252 (Excel's "CSV")."""
    raw = read_bytes(path, MAX_SHEET_BYTES)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\0" in raw[:2]:
        encodings = ["utf-16-be" if raw[:1] == b"\0" else "utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError("must be text in UTF-8, UTF-16 or Windows-1252, not binary", str(path))
