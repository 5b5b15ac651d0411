"""Request bodies in the shapes that clients send them, turned into encoded pictures.

The shapes of ``/invocations`` and what they mean are those of MLflow's scoring server (``mlflow models serve``):
one table with the binary column ``image``, whose values travel as base64.
"""

import base64
import csv
import io
import json
import re
from dataclasses import dataclass
from typing import Any

from serving.limits import Refused

COLUMN = "image"
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/_-]")
_NEVER_WITHOUT_PLUS = 1000
"""A picture's base64 that is longer has a plus (or a minus) in it: without one it is one in seven million."""
_STANDARD = str.maketrans("-_", "+/")
SHAPES = ("dataframe_split", "dataframe_records", "inputs", "instances")


@dataclass(frozen=True)
class Encoded:
    """One picture as it came in: its bytes, and the client's name for it (cleaned, never used as a path)."""

    data: bytes
    name: str


def from_json(body: bytes) -> list[Encoded]:
    """``{"images": [base64 or {"name": …, "image": base64}, …]}`` → pictures; :class:`Refused` otherwise."""
    content = parse(body)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise _malformed('send {"images": ["<base64>", …]} or {"images": [{"name": "…", "image": "<base64>"}, …]}')
    pictures = []
    for number, image in enumerate(images, start=1):
        name = f"image {number}"
        if isinstance(image, dict):
            name = clean_name(image.get("name"), name)
            image = image.get(COLUMN)
        pictures.append(Encoded(unbase64(image, f"image {number}"), name))
    return pictures


def from_table(body: bytes) -> list[Encoded]:
    """The JSON body of ``/invocations`` → pictures; :class:`Refused` (400) otherwise."""
    content = parse(body)
    shapes = [shape for shape in SHAPES if isinstance(content, dict) and shape in content]
    if len(shapes) != 1:
        raise _malformed(f"the input must be a JSON object with exactly one of {', '.join(SHAPES)}")
    values = _COLUMNS[shapes[0]](content[shapes[0]])
    return _column(values)


def from_csv(body: bytes) -> list[Encoded]:
    """A CSV body of ``/invocations`` with the column ``image`` → pictures; :class:`Refused` (400) otherwise."""
    try:
        # The header is short, but one field is a whole picture.
        csv.field_size_limit(max(csv.field_size_limit(), len(body) + 1))
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        raise _malformed("the body is not CSV in UTF-8") from None
    return _column([row.get(COLUMN) for row in rows])


def parse(body: bytes) -> Any:
    """JSON bytes → objects; :class:`Refused` (400) for anything else, however deep or long."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        if body.startswith(b"\x1f\x8b"):
            raise _malformed("the body is gzip; say so with the header Content-Encoding: gzip") from None
        raise _malformed("the body is not JSON") from None


def unbase64(value: Any, name: str) -> bytes:
    """Base64 text → bytes; :class:`Refused` (400) that names the picture and what is wrong.

    Read is what can mean one thing only (RFC 4648): either alphabet, with or without padding, white space anywhere,
    and a ``data:`` URI around it (RFC 2397). Spaces that a web form made of pluses are pluses again.
    """
    if not isinstance(value, str):
        raise _malformed(f"{name}: not a base64 string")
    text = value
    if value[:5].lower() == "data:":
        head, comma, text = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise _malformed(f"{name}: a data URI without ';base64,' ({value[:40]!r}); send base64")
    text = "".join(_with_pluses(text).split()).rstrip("=")
    if wrong := _NO_BASE64.search(text):
        raise _malformed(f"{name}: not a base64 string ({wrong[0]!r} after {wrong.start()} characters)")
    if len(text) % 4 == 1:
        raise _malformed(f"{name}: a base64 string that is cut off ({len(text)} characters)")
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
    return [Encoded(unbase64(value, name), name) for value, name in zip(values, names, strict=True)]


def _split(table: Any) -> list[Any]:
    if not isinstance(table, dict) or "data" not in table or set(table) - {"columns", "data", "index"}:
        raise _malformed("dataframe_split must have 'data' and optionally 'columns' and 'index'")
    columns, rows = table.get("columns"), table["data"]
    if not isinstance(columns, list) or COLUMN not in columns or not isinstance(rows, list):
        raise _no_column()
    at = columns.index(COLUMN)
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise _malformed("dataframe_split: every row of 'data' must have one value per column")
    return [row[at] for row in rows]


def _records(records: Any) -> list[Any]:
    if not isinstance(records, list):
        raise _malformed("the records must be a list of objects")
    if not all(isinstance(record, dict) and COLUMN in record for record in records):
        raise _no_column()
    return [record[COLUMN] for record in records]


def _inputs(inputs: Any) -> list[Any]:
    if isinstance(inputs, dict):
        if COLUMN not in inputs:
            raise _no_column()
        values = inputs[COLUMN]
        return values if isinstance(values, list) else [values]
    return _records(inputs)


_COLUMNS = {"dataframe_split": _split, "dataframe_records": _records, "inputs": _inputs, "instances": _inputs}


def _no_column() -> Refused:
    return _malformed(f"the table has no column '{COLUMN}'; put the base64 of the JPEG or PNG bytes there")


def _malformed(message: str) -> Refused:
    return Refused(400, message, reason="malformed")
