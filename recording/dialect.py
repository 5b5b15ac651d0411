"""How a labels CSV is written down: encoding, line ends, where its header is, separator, quotes.

People's files come from spreadsheets, eye trackers and scripts of several countries. What can be read in one way
only is read; what is no text table at all is named for what it is.
"""

import csv
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recording import files, units
from recording.exceptions import DriveError

DELIMITERS = (",", ";", "\t", "|")
LONGEST_LINE = 1 << 20
HEADER_WITHIN = 50
"""The header is looked for in so many lines: a few comments may stand above it."""
_HEAD = 1 << 16

_WHOLE, _DIGITS = re.compile(r"\s*[+\-\u2212]?\d+\s*"), re.compile(r"\d+\s*")

_SAVE_SHEET = "open it and save the sheet as CSV"
_UNPACK = "unpack it"
_GIVE = "give the CSV with the measured gaze angles"
_OTHER_FILES = (
    (0, b"PK\x03\x04", "an Excel workbook or another ZIP archive", "save the sheet as CSV, or unpack it"),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel workbook", _SAVE_SHEET),
    (0, b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (0, b"BZh", "compressed with bzip2", _UNPACK),
    (0, b"\xfd7zXZ", "compressed with xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", "unpack it and give the CSV in it"),
    (0, b"Rar!", "a RAR archive", "unpack it and give the CSV in it"),
    (0, b"PAR1", "a Parquet file", "write the table as CSV"),
    (0, b"ARROW1", "a Feather file", "write the table as CSV"),
    (0, b"\x89HDF", "an HDF5 file", "write the table as CSV"),
    (0, b"\x93NUMPY", "a NumPy array", "write the table as CSV"),
    (0, b"\x80\x04\x95", "a Python pickle", "write the table as CSV"),
    (0, b"\x80\x05\x95", "a Python pickle", "write the table as CSV"),
    (0, b"SQLite format 3", "an SQLite database", "write the table as CSV"),
    (0, b"%PDF", "a PDF", _GIVE),
    (0, b"{\\rtf", "an RTF document", "save it as CSV"),
    (0, b"\x89PNG", "a picture", _GIVE),
    (0, b"\xff\xd8\xff", "a picture", _GIVE),
    (4, b"ftyp", "a video", f"{_GIVE}, and the video as video"),
    (0, b"\x1aE\xdf\xa3", "a video", f"{_GIVE}, and the video as video"),
    (0, b"version https://git-lfs", "a Git LFS pointer and not the file", "run: git lfs pull"),
    (0, b"<!doctype html", "an HTML page", "download the file itself"),
    (0, b"<html", "an HTML page", "download the file itself"),
    (0, b"<?xml", "an XML file", "save the table as CSV"),
    (0, b"{", "JSON", "write the table as CSV"),
    (0, b"[{", "JSON", "write the table as CSV"),
)
_SHEETS = {"xl/": "an Excel workbook", "Index/": "a Numbers workbook", "content.xml": "an OpenDocument spreadsheet"}
"""What a ZIP archive is that holds a name which begins so."""


@dataclass(frozen=True)
class Header:
    """The line that names the columns. ``line``: its number, from 1. ``plain``: names in lower case, single spaces.

    ``row_names``: every row begins with a field that has no name here. ``halves``: positions of the columns whose
    numbers a decimal comma has made two fields of.
    """

    line: int
    delimiter: str
    names: tuple[str, ...]
    plain: tuple[str, ...]
    row_names: bool = False
    halves: tuple[int, ...] = ()


class CsvFile:
    """A labels CSV, opened: its header, and its rows as often as they are asked for.

    ``wanted`` says whether a tuple of plain column names can be the header. Raises :class:`DriveError` when the
    file cannot be read or is no text table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        head = self._head()
        start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        for at, mark, what, remedy in _OTHER_FILES:
            if start.startswith(mark.lower(), at):
                sheet = _sheet(path) if what == _OTHER_FILES[0][2] else None
                what, remedy = (sheet, _SAVE_SHEET) if sheet else (what, remedy)
                raise DriveError(f"labels {path}: is {what}, not a CSV; {remedy}")
        self._encoding = _encoding(head)

    def headers(self) -> Iterator[Header]:
        """Every line that may be the header, in each separator: the first ones of the file, blank ones left out."""
        declared = None
        for number, line in self._lines():
            if number > HEADER_WITHIN:
                return
            line = line.strip("\0\ufeff")
            said = re.fullmatch(r'"?sep=(.)"?[,;\t]*', line.strip(" \r\n"), re.IGNORECASE)
            if said:
                declared = said.group(1)  # what Excel writes and reads
            if said or not line.strip():
                continue
            for delimiter in (declared,) if declared else DELIMITERS:
                names = tuple(name.strip() for name in _fields(line.lstrip("# "), delimiter) or [line])
                yield Header(number, delimiter, names, tuple(map(units.plain_name, names)))

    def rows(self, header: Header) -> Iterator[tuple[int, str, list[str] | None]]:
        """``(line number, line, fields)`` of every line below the header that is not blank; fields None: malformed.

        A record is one line. An empty field more than the header has names is cut off (several where the separator
        cannot be a decimal comma), and those that a header with a separator at its end has too many need not be there.
        """
        named = len(header.names)
        filled = named
        while filled > 1 and not header.names[filled - 1]:
            filled -= 1
        for number, line in self._lines():
            if number <= header.line or not line.strip():
                continue
            fields = _fields(line, header.delimiter)
            if fields is not None and header.row_names:
                fields = fields[1:]
            if fields is not None and header.halves and len(fields) == named + len(header.halves):
                fields = _put_together(fields, header.halves)
            if fields is not None and len(fields) != named:
                beyond = fields[named:]
                if beyond and not any(map(str.strip, beyond)) and (len(beyond) == 1 or header.delimiter != ","):
                    fields = fields[:named]
                elif filled <= len(fields) < named:
                    fields = fields + [""] * (named - len(fields))
                else:
                    fields = None
            yield number, line, fields

    def _head(self) -> bytes:
        files.check_name(self.path, "labels")
        if not self.path.exists():
            raise DriveError(f"labels {self.path}: no such file; give the CSV with the measured gaze angles")
        if not self.path.is_file():
            raise DriveError(f"labels {self.path}: is not a file; give the CSV with the measured gaze angles")
        try:
            with self.path.open("rb") as file:
                return file.read(_HEAD)
        except OSError as error:
            raise self._unreadable(error) from None

    def _lines(self) -> Iterator[tuple[int, str]]:
        try:
            with self.path.open("r", encoding=self._encoding, errors="surrogateescape") as text:
                number = 0
                while line := text.readline(LONGEST_LINE):
                    number += 1
                    yield number, _decoded(line.rstrip("\r\n"), len(line) >= LONGEST_LINE)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> DriveError:
        return DriveError(f"labels {self.path}: cannot be read ({error.strerror}); check the file and its rights")


def _put_together(fields: list[str], halves: tuple[int, ...]) -> list[str] | None:
    """Fields in which both halves of the numbers at the positions ``halves`` are one; None where they are no halves."""
    whole = list(fields)
    for at in sorted(halves):  # from the left: what was put together before takes up one field
        if not (_WHOLE.fullmatch(whole[at]) and _DIGITS.fullmatch(whole[at + 1])):
            return None
        whole[at : at + 2] = [f"{whole[at].strip()}.{whole[at + 1].strip()}"]
    return whole


def _sheet(path: Path) -> str | None:
    """Which kind of workbook a ZIP archive is, None for any other."""
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    return next((kind for start, kind in _SHEETS.items() for name in names if name.startswith(start)), None)


def _encoding(head: bytes) -> str:
    """From the byte-order mark, or from where the zero bytes of plain letters are; UTF-8 otherwise."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    first = head[:200]
    for encoding, zeros, letters in (("utf-16-le", first[1::2], first[::2]), ("utf-16-be", first[::2], first[1::2])):
        if len(zeros) >= 10 and not any(zeros) and all(letters):
            return encoding
    return "utf-8-sig"


def _decoded(line: str, torn: bool) -> str:
    """A line with what was no UTF-8 read as Windows-1252; NUL marks one that is too long or no text (see _fields)."""
    if torn:
        return line + "\0"
    try:
        line.encode("utf-8")
        return line
    except UnicodeEncodeError:
        return line.encode("utf-8", errors="surrogateescape").decode("cp1252", errors="replace")


def _fields(line: str, delimiter: str) -> list[str] | None:
    """The fields of one line, None when it is malformed: a stray quote costs only its own line."""
    if "\0" in line or "\ufffd" in line:
        return None
    if '"' not in line:
        return line.split(delimiter)
    for spaces in (False, True):  # "a" , "b": spaces around the separators, outside the quotes
        text = re.sub(rf'"[ \t]+(?={re.escape(delimiter)}|$)', '"', line.rstrip()) if spaces else line
        try:
            fields = next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=spaces))
        except csv.Error:
            continue
        # A spreadsheet that took each line for a single field put all of it in quotes.
        return _fields(fields[0], delimiter) if len(fields) == 1 and delimiter in fields[0] else fields
    return None
