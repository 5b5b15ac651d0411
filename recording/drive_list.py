"""A list of drives: one CSV that says which recordings are used together, and who drives in each.

One row a drive. ``driver`` says who drives; ``video`` and ``labels`` name the recording, or ``data`` a folder that is
prepared already; ``layout``, ``face``, ``label_offset_frames`` and ``name`` are for single drives that need their own.
Paths are relative to the list's folder; a leading ``~`` is the home folder. Whatever is wrong with the list is said
before anything is computed.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recording import face, layouts
from recording.exceptions import InputError
from recording.files import given_path

COLUMNS = ("video", "labels", "data", "driver", "layout", "face", "label_offset_frames", "name")
DELIMITERS = (",", ";", "\t")
SHOWN = 5
"""So many of the things that are wrong are shown; of the others their number."""


@dataclass(frozen=True)
class Entry:
    """One drive of a list: a recording (``video`` and ``labels``) or a prepared folder (``data``), and its driver.

    ``layout`` and ``face`` are "" where the drive has none of its own.
    """

    line: int
    """Of the list, from 1."""
    name: str
    driver: str
    video: Path | None = None
    labels: Path | None = None
    data: Path | None = None
    layout: str = ""
    face: str = ""
    label_offset_frames: float = 0.0

    @property
    def files(self) -> tuple[Path, ...]:
        """What the row names: two files, or one folder."""
        return tuple(path for path in (self.video, self.labels, self.data) if path is not None)


def read(path: Path) -> tuple[Entry, ...]:
    """The drives of a list, in its order; each has a name that no other has.

    Raises :class:`InputError`, one line that names the list's line, for an unknown or missing column, a row that does
    not say what it must, a layout that is none, files that are not there, one recording in two rows, or a driver in two
    spellings.
    """
    path = Path(path)
    entries = [_entry(path, line, cells) for line, cells in _rows(path)]
    if not entries:
        raise InputError(f"drives={path}: lists no drives; write one row a drive: video,labels,driver")
    _check_files(path, entries)
    _check_layouts(path, entries)
    _check_once(path, entries)
    _check_spelling(path, entries)
    return _named(path, entries)


def drivers(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Who drives, each once, in the list's order."""
    return tuple(dict.fromkeys(entry.driver for entry in entries))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, column → cell) of every row that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"drives={path}: cannot be read ({reason}); give a CSV with one row a drive") from None
    first = text.partition("\n")[0]
    if not first.strip():
        raise InputError(f"drives={path}: is empty; its first line names the columns: video,labels,driver")
    rows = _split(path, text, max(DELIMITERS, key=first.count))
    header = [name.strip().lower() for name in next(rows)[1]]
    _check_header(path, header)
    for line, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"drives={path}: line {line} has {len(row)} fields, the header has {len(header)}; "
                "put a field with a comma in it into quotes"
            )
        yield line, dict(zip(header, row, strict=True))


def _split(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells). A quote that is not closed would take the drives of the next lines into one cell."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    line = 1
    try:
        for row in rows:
            if any("\n" in cell or "\r" in cell for cell in row):
                raise csv.Error
            yield line, row
            line = rows.line_num + 1
    except csv.Error:  # also of a field that is longer than any name
        raise InputError(
            f"drives={path}: a quote in line {line} is not closed there; a quote inside a field is written twice"
        ) from None


def _check_header(path: Path, header: list[str]) -> None:
    known = ", ".join(COLUMNS)
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise InputError(f"drives={path}: column {unknown[0]!r} is unknown; columns are {known}")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InputError(f"drives={path}: column {twice[0]!r} is there twice; name each once")
    if "driver" not in header or not ({"video", "labels"} <= set(header) or "data" in header):
        raise InputError(
            f"drives={path}: has the columns {', '.join(header)}; needed are driver, and video with labels or data"
        )


def _entry(path: Path, line: int, cells: dict[str, str]) -> Entry:
    here = f"drives={path}: line {line}"
    said = {name: cells.get(name, "").strip() for name in COLUMNS}
    if not said["driver"]:
        raise InputError(f"{here}: names no driver; say who drives, with the same name in all drives of one person")
    if bool(said["video"]) != bool(said["labels"]) or bool(said["video"]) == bool(said["data"]):
        raise InputError(f"{here}: give video and labels, or data (a folder that is prepared already), of each drive")
    offset = said["label_offset_frames"] or "0"
    try:
        face.parse(said["face"] or face.AUTO)
        shift = float(offset)
    except InputError as error:
        raise InputError(f"{here}: {error}") from None
    except ValueError:
        shift = math.nan
    if not math.isfinite(shift):
        raise InputError(f"{here}: label_offset_frames={offset!r} is not a number of frames")
    if said["data"] and (shift or said["layout"]):
        raise InputError(f"{here}: layout and label_offset_frames act when a recording is prepared, not on data")
    found = {name: _place(path, said[name]) if said[name] else None for name in ("video", "labels", "data")}
    layout = said["layout"]
    if layout and (beside := _place(path, layout)).is_file():
        layout = str(beside)
    driver = cells["driver"]  # with the spaces around it: a second spelling is said
    return Entry(line, said["name"], driver, **found, layout=layout, face=said["face"], label_offset_frames=shift)


def _place(path: Path, named: str) -> Path:
    """What a cell of the list names: seen from the list's folder, or with ``~`` from the home folder."""
    return path.parent / given_path(named)


def _check_files(path: Path, entries: list[Entry]) -> None:
    gone = [
        f"line {entry.line}: {file}"
        for entry in entries
        for file in entry.files
        if not (file.is_dir() if file == entry.data else file.is_file())
    ]
    if gone:
        raise InputError(f"drives={path}: not there: {_some(gone)}; paths are relative to the list's folder")


def _check_layouts(path: Path, entries: list[Entry]) -> None:
    """A layout that is none would be found out by each drive's preparation."""
    for entry in entries:
        try:
            if entry.layout:
                layouts.variants(entry.layout)
        except InputError as error:
            raise InputError(f"drives={path}: line {entry.line}: {error}") from None


def _check_once(path: Path, entries: list[Entry]) -> None:
    named: dict[Path, Entry] = {}
    for other in entries:
        for file in other.files:
            one = named.setdefault(file.resolve(), other)
            if one is not other:
                whose = f" of {one.driver!r} and of {other.driver!r}" if one.driver != other.driver else ""
                raise InputError(
                    f"drives={path}: lines {one.line} and {other.line} name the same {file.resolve()}{whose}; "
                    "give each recording once"
                )


def _check_spelling(path: Path, entries: list[Entry]) -> None:
    """One person in two spellings would be on both sides of a split; only the user knows whether it is one."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(_plain(entry.driver), entry)
        if first.driver != entry.driver:
            raise InputError(
                f"drives={path}: driver {first.driver!r} (line {first.line}) and driver {entry.driver!r} (line "
                f"{entry.line}) look like one person in two spellings; write one person alike, and two apart"
            )


def _plain(driver: str) -> str:
    folded = unicodedata.normalize("NFKC", driver).casefold()
    # Letters, digits, and the marks that are vowels in some scripts.
    return "".join(sign for sign in folded if unicodedata.category(sign)[0] in "LNM") or folded.strip()


def _named(path: Path, entries: list[Entry]) -> tuple[Entry, ...]:
    """The entries with a name each: the given one, else the file's, with its folder's or the line where that is not one
    drive's alone."""
    given = [entry.name for entry in entries if entry.name]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        lines = ", ".join(str(entry.line) for entry in entries if entry.name == twice)
        raise InputError(f"drives={path}: two drives have the name {twice!r} (lines {lines}); give each its own")
    files = [entry.data or entry.video or path for entry in entries]
    names = [entry.name or file.stem for entry, file in zip(entries, files, strict=True)]
    with_folder = [f"{file.resolve().parent.name}-{file.stem}" for file in files]
    for longer in (with_folder, [f"line-{entry.line}" for entry in entries]):
        clash = [names.count(name) > 1 and not entry.name for name, entry in zip(names, entries, strict=True)]
        names = [longer[k] if clash[k] else name for k, name in enumerate(names)]
    named = zip(entries, names, strict=True)
    return tuple(replace(entry, name=name, driver=entry.driver.strip()) for entry, name in named)


def _some(things: list[str]) -> str:
    more = f" and {len(things) - SHOWN} more" if len(things) > SHOWN else ""
    return ", ".join(things[:SHOWN]) + more
