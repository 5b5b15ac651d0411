"""Request bodies in the shapes that clients send them, turned into encoded pictures.

The shapes of ``/invocations`` and what they mean are those of MLflow's scoring server (``mlflow models serve``):
one table with the binary column ``image``, whose values travel as base64.
"""

import base64
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from recording import files
from serving import wishes
from serving.limits import Refused

COLUMN = "image"
GZIP = b"\x1f\x8b"
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/_-]")
_NEVER_WITHOUT_PLUS = 1000
"""A picture's base64 that is longer has a plus (or a minus) in it: without one it is one in seven million."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TORN_URI = re.compile(r"\s*data:[^,]*;\s*base64\s*", re.IGNORECASE)
_STANDARD = str.maketrans("-_", "+/")
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
SHAPES = ("dataframe_split", "dataframe_records", "inputs", "instances")


@dataclass(frozen=True)
class Encoded:
    """One picture as it came in: its bytes, and the client's name for it (cleaned, never used as a path)."""

    data: bytes
    name: str


@dataclass(frozen=True)
class Asked:
    """What the body of a request holds: its pictures, and each ``crop`` that it says they have."""

    pictures: list[Encoded]
    crops: list[Any] = field(default_factory=list)


def from_json(body: bytes) -> Asked:
    """``{"images": [base64 or {"name": …, "image": base64}, …], "crop": …}`` → pictures; :class:`Refused` otherwise.

    ``crop`` may be left out; it stands for all pictures. Whatever else stands there is refused by its name.
    """
    content = parse(body)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise malformed('send {"images": ["<base64>", …]} or {"images": [{"name": "…", "image": "<base64>"}, …]}')
    for key in content:
        if key not in ("images", wishes.CROP):
            raise wishes.not_followed(f"the key {key[:40]!r}", ("images", wishes.CROP))
    pictures = []
    for number, image in enumerate(images, start=1):
        name = f"image {number}"
        if isinstance(image, dict):
            _check_image(image, name)
            name = clean_name(image.get("name"), name)
            image = image.get(COLUMN)
        pictures.append(Encoded(unbase64(image, f"image {number}"), name))
    return Asked(pictures, [content[wishes.CROP]] if wishes.CROP in content else [])


def _check_image(image: dict[str, Any], name: str) -> None:
    for key in image:
        if key == wishes.CROP:
            raise wishes.not_followed(
                f"{name}: the {key} of one picture", (f"{key} beside 'images', for all of them,",)
            )
        if key not in ("name", COLUMN):
            raise wishes.not_followed(f"{name}: the key {key[:40]!r}", ("name", COLUMN))


def from_table(body: bytes) -> list[Encoded]:
    """The JSON body of ``/invocations`` → pictures; :class:`Refused` (400) otherwise."""
    content = parse(body)
    shapes = [shape for shape in SHAPES if isinstance(content, dict) and shape in content]
    if len(shapes) != 1:
        raise malformed(f"the input must be a JSON object with exactly one of {', '.join(SHAPES)}")
    for key, value in content.items():
        if key == "params" and (value is None or isinstance(value, dict)):
            for parameter in value or {}:  # MLflow's own clients send none as null or {}
                raise wishes.not_in_invocations(f"params: {parameter[:40]!r}", parameter)
        elif key not in SHAPES:
            raise wishes.not_in_invocations(f"the key {key[:40]!r}", key)
    values = _COLUMNS[shapes[0]](content[shapes[0]])
    return _column(values)


def from_csv(body: bytes) -> list[Encoded]:
    """A CSV body of ``/invocations`` with the column ``image`` → pictures; :class:`Refused` (400) otherwise."""
    try:
        # The header is short, but one field is a whole picture.
        csv.field_size_limit(max(csv.field_size_limit(), len(body) + 1))
        # Excel puts a byte order mark before its UTF-8. Blank lines are no rows, as MLflow's server reads them.
        rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error):
        raise malformed("the body is not CSV in UTF-8") from None
    if not rows:
        return []
    columns, *rows = rows
    if COLUMN not in columns:
        raise _otherwise_separated(columns) or _no_column()
    _check_columns(columns)
    for number, row in enumerate(rows):
        if any(map(_TORN_URI.fullmatch, row)):
            raise malformed(
                f"row {number} of the CSV: the comma of a data URI separates two cells; put the URI in quotes, or send "
                "only the base64 behind the comma"
            )
        if len(row) > len(columns):
            raise malformed(f"row {number} of the CSV has {len(row)} cells for {len(columns)} columns; separate by ','")
    at = columns.index(COLUMN)
    return _column([row[at] if at < len(row) else "" for row in rows])


def _otherwise_separated(columns: list[str]) -> Refused | None:
    for separator, called in _SEPARATORS.items():
        if COLUMN in (name.strip(' "') for name in columns[0].split(separator)):
            return malformed(f"the CSV is separated by {called}; separate its cells by ','")
    return None


def check_unpacked(body: bytes) -> None:
    """:class:`Refused` (400) where a body is gzip that no header told of: nothing that is read begins so."""
    if body.startswith(GZIP):
        raise malformed("the body is gzip; say so with the header Content-Encoding: gzip")


def parse(body: bytes) -> Any:
    """JSON bytes → objects; :class:`Refused` (400) for anything else, however deep or long."""
    try:
        content = files.parse_json(body, _object)
    except ValueError:
        raise malformed("the body is not JSON") from None
    if isinstance(content, str) and content.lstrip()[:1] in ("{", "["):
        raise malformed("the body is JSON that was encoded twice, a string that holds JSON; encode it once")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):  # the last one would win, and the others go unanswered
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise malformed(f"the key {twice[:40]!r} stands twice in one JSON object; give it once")
    return made


def unbase64(value: Any, name: str) -> bytes:
    """Base64 text → bytes; :class:`Refused` (400) that names the picture and what is wrong.

    Read is what can mean one thing only (RFC 4648): either alphabet, with or without padding, white space anywhere,
    percent-encoding, and a ``data:`` URI around it (RFC 2397), with white space in its head too. Spaces that a web form
    made of pluses are pluses again.
    """
    if not isinstance(value, str):
        raise malformed(f"{name}: not a base64 string")
    text = value.strip()
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not "".join(head.lower().split()).endswith(";base64"):
            raise malformed(f"{name}: a data URI without ';base64,' ({value[:40]!r}); send base64")
    elif _ADDRESS.match(text):
        raise malformed(f"{name}: {text[:60]!r} is an address; send the picture itself, as base64")
    if "%" in text:
        text = unquote(text)
    text = "".join(_with_pluses(text).split()).rstrip("=")
    if wrong := _NO_BASE64.search(text):
        raise malformed(f"{name}: not a base64 string ({wrong[0]!r} after {wrong.start()} characters)")
    if len(text) % 4 == 1:
        raise malformed(f"{name}: a base64 string that is cut off ({len(text)} characters)")
    return base64.b64decode(text.translate(_STANDARD) + "=" * (-len(text) % 4))


def _with_pluses(text: str) -> str:
    """Base64 that went through a web form unescaped has a space for each plus; lines that spaces join are as long."""
    pieces = text.strip().split(" ")
    torn = len(text) > _NEVER_WITHOUT_PLUS and "+" not in text and "-" not in text
    return "+".join(pieces) if torn and len({len(piece) for piece in pieces[:-1]}) > 1 else text


def clean_name(name: Any, fallback: str) -> str:
    """A client's name for a picture made harmless for logs and answers: one short printable line."""
    if not isinstance(name, str):
        return fallback
    return "".join(letter for letter in name if letter.isprintable())[:200] or fallback


def _column(values: list[Any]) -> list[Encoded]:
    names = [f"image in row {row}" for row in range(len(values))]
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise malformed(f"row {row}, column '{COLUMN}': the cell is empty; put a picture's base64 there")
    return [Encoded(unbase64(value, name), name) for value, name in zip(values, names, strict=True)]


def _check_columns(columns: Iterable[Any]) -> None:
    """Other columns are left alone, as MLflow's server leaves them; a wish among them is not."""
    named = list(columns)
    if wishes.CROP in named:
        raise wishes.not_in_invocations(f"the column {wishes.CROP!r}", wishes.CROP)
    if named.count(COLUMN) > 1:
        raise malformed(
            f"the table has {named.count(COLUMN)} columns '{COLUMN}'; give one, with a row for each picture"
        )


def _split(table: Any) -> list[Any]:
    if not isinstance(table, dict) or "data" not in table or set(table) - {"columns", "data", "index"}:
        raise malformed("dataframe_split must have 'data' and optionally 'columns' and 'index'")
    columns, rows = table.get("columns"), table["data"]
    if not isinstance(columns, list) or COLUMN not in columns or not isinstance(rows, list):
        raise _no_column()
    _check_columns(columns)
    at = columns.index(COLUMN)
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise malformed("dataframe_split: every row of 'data' must have one value per column")
    return [row[at] for row in rows]


def _records(records: Any) -> list[Any]:
    if not isinstance(records, list):
        raise malformed("the records must be a list of objects")
    if not all(isinstance(record, dict) and COLUMN in record for record in records):
        raise _no_column()
    for record in records:
        _check_columns(record)
    return [record[COLUMN] for record in records]


def _inputs(inputs: Any) -> list[Any]:
    if isinstance(inputs, dict):
        if COLUMN not in inputs:
            raise _no_column()
        _check_columns(inputs)
        values = inputs[COLUMN]
        return values if isinstance(values, list) else [values]
    return _records(inputs)


_COLUMNS = {"dataframe_split": _split, "dataframe_records": _records, "inputs": _inputs, "instances": _inputs}


def _no_column() -> Refused:
    return malformed(f"the table has no column '{COLUMN}'; put the base64 of the JPEG or PNG bytes there")


def malformed(message: str) -> Refused:
    """The refusal of a body that has not a shape that is read."""
    return Refused(400, message, reason="malformed")
