"""A multipart body (RFC 7578) in memory → its pictures: each part is answered, or refused by its name."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving import wishes
from serving.limits import Limits, Refused
from serving.payloads import COLUMN, Asked, Encoded, clean_name, malformed, unbase64

OTHER_PARTS = 8
"""Parts beside the pictures: what is said about them, and the empty files of a browser's form."""
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG")
_AS_TEXT = ("/9j/", "iVBORw0KGgo", "data:", "http://", "https://")
"""How a picture begins that stands in a text field, and what people take for one."""
_PLAIN = ("", "binary", "8bit", "7bit")
_NAMES = re.compile(r';\s*(name|filename\*?)\s*=\s*(?:"((?:\\"|[^"])*)"|([^;\s]*))', re.IGNORECASE)


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    name: str = ""
    filename: str | None = None

    @property
    def kind(self) -> str:
        """Its content type; nothing where it states none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"the part {clean_name(self.name, '')[:40]!r}"

    def take_names(self) -> None:
        """Name and file name from its Content-Disposition; RFC 5987's ``filename*`` comes before ``filename``."""
        said = {
            key.lower(): quoted.replace('\\"', '"') or plain
            for key, quoted, plain in _NAMES.findall(self.headers.get("content-disposition", ""))
        }
        if "name" not in said:
            raise malformed("the multipart body has a part without a name (Content-Disposition: form-data; name=…)")
        self.name, self.filename = said["name"], said.get("filename")
        if "filename*" in said:
            self.filename = unquote(said["filename*"].rpartition("'")[2])


def read(body: bytes, content_type: str, limits: Limits) -> Asked:
    """The pictures of a multipart body and every ``crop`` that it says; :class:`Refused` names the part otherwise.

    A picture is any part with JPEG or PNG bytes, whether it has a file name or not, or base64 of them
    (``Content-Transfer-Encoding: base64``, or a text field). A file field that was left empty counts as none.
    """
    pictures: list[Encoded] = []
    crops: list[object] = []
    for part in _parts(body, content_type, limits.max_images + OTHER_PARTS):
        if part.filename is None and part.name == wishes.CROP:
            crops.append(part.data.decode("utf-8", "replace"))
        elif part.filename == "" and not part.data:
            continue
        elif len(pictures) == limits.max_images:
            raise _too_many(limits.max_images)
        else:
            data = _picture(part, f"image {len(pictures) + 1} ({part.label})")
            pictures.append(Encoded(data, clean_name(part.filename, f"image {len(pictures) + 1}")))
    return Asked(pictures, crops)


def _picture(part: _Part, name: str) -> bytes:
    data, encoding = bytes(part.data), part.headers.get("content-transfer-encoding", "").strip().lower()
    if encoding == "base64":
        return unbase64(data.decode("latin-1"), name)
    if encoding not in _PLAIN:
        raise malformed(f"{name}: Content-Transfer-Encoding {encoding[:40]!r} is not read; send the bytes as they are")
    if data.startswith(_SIGNATURES):
        return data
    if part.kind == "text/plain" or (not part.kind and part.filename is None):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return data  # no text at all: what it is, the decoder says
        if part.name in (COLUMN, "images") or text.lstrip().startswith(_AS_TEXT):
            return unbase64(text, name)
        raise malformed(f"{part.label} is not read; send pictures, and what they show as {wishes.CROP}")
    if part.kind in ("", "application/octet-stream") or part.kind.startswith("image/"):
        return data
    raise malformed(f"{part.label} is {part.kind[:40]}, no picture; send JPEG or PNG")


def _parts(body: bytes, content_type: str, most: int) -> list[_Part]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise malformed("the multipart body is malformed (its Content-Type states no boundary)")
    if not body:
        return []
    parts: list[_Part] = []
    header, value = bytearray(), bytearray()
    ended = False

    def begin() -> None:
        if len(parts) == most:
            raise _too_many(most - OTHER_PARTS)
        parts.append(_Part())

    def header_end() -> None:
        parts[-1].headers[header.decode("latin-1").lower()] = value.decode("utf-8", "replace")
        header.clear()
        value.clear()

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_header_field": lambda data, start, stop: header.extend(data[start:stop]),
                "on_header_value": lambda data, start, stop: value.extend(data[start:stop]),
                "on_header_end": header_end,
                "on_headers_finished": lambda: parts[-1].take_names(),
                "on_part_data": lambda data, start, stop: parts[-1].data.extend(memoryview(data)[start:stop]),
                "on_end": end,
            },
        ).write(body)
    except FormParserError as error:
        raise malformed(f"the multipart body is malformed ({error})") from None
    if not ended:
        raise malformed("the multipart body is cut off: its last boundary is missing; send it again, whole")
    return parts


def _too_many(pictures: int) -> Refused:
    return Refused(413, f"more than {pictures} pictures in one request", reason="count")
