"""Base64 in every spelling that can mean one thing only."""

import base64
import json
import random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import payloads
from serving.limits import Refused

_SPACES = st.sampled_from(["", "\n", "\r\n", " ", "\t"])


# RFC 4648's two alphabets, with and without padding, broken into lines of any length, bare or in a data URI.
@given(
    data=st.binary(min_size=1, max_size=300),
    urlsafe=st.booleans(),
    padded=st.booleans(),
    space=_SPACES,
    width=st.integers(1, 80),
    head=st.sampled_from(["", "data:image/jpeg;base64,", "DATA:;BASE64,", "data:image/png;charset=utf-8;base64,"])
    | st.sampled_from(["data:image/jpeg; base64,", " \n data:image/jpeg;base64,", "data: image/png ;\nbase64 , "]),
    percent=st.booleans(),
)
def test_every_spelling_is_read(
    data: bytes, urlsafe: bool, padded: bool, space: str, width: int, head: str, percent: bool
) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    text = space.join(text[at : at + width] for at in range(0, len(text), width)) + space
    text = head + (quote(text, safe="") if percent else text)
    assert payloads.unbase64(text, "image 1") == data
    (table,) = payloads.from_table(json.dumps({"instances": [{"image": text}]}).encode())
    assert table.data == data


def test_spaces_that_a_web_form_made_of_pluses_are_pluses() -> None:
    # Taken for white space, 20 of them shift every byte behind the first: the picture was called damaged.
    data = random.Random(0).randbytes(3000)
    text = base64.b64encode(data).decode()
    assert text.count("+") > 20
    assert payloads.unbase64(text.replace("+", " "), "image 1") == data
    without = base64.b64encode(bytes(3000)).decode()  # and lines that a shell joined with spaces are lines
    assert payloads.unbase64(" ".join(without[at : at + 76] for at in range(0, 4000, 76)), "image 1") == bytes(3000)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "image 1: not a base64 string"),
        (3, "image 1: not a base64 string"),
        ("abc!defg", r"'!' after 3 characters"),
        ("ab=cdefg", r"'=' after 2 characters"),
        ("/9j/4AAQé", "'é' after 8 characters"),
        ("abcde", "cut off .5 characters"),
        ("data:image/jpeg,abcd", "data URI without ';base64,'"),
        ("data:image/jpeg;base64", "data URI without ';base64,'"),
        ("https://example.org/driver.jpg", "image 1: 'https://example.org/driver.jpg' is an address; send the picture"),
        (" S3://bucket/driver.jpg", "is an address"),
        ("data:image/jpeg;base64,ab%zzcd", "'%' after 2 characters"),
        ("data:image/jpeg;base64,ab%ffcd", "after 2 characters"),
    ],
)
def test_anything_else_is_refused_with_its_place(value: object, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        payloads.unbase64(value, "image 1")
    assert refused.value.status == 400


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "Excel's byte order mark"])
def test_csv_is_read(start: bytes) -> None:
    assert [one.data for one in payloads.from_csv(start + b"image,id\r\nAAAA,1\r\n\r\nAAAB\r\n")] == [
        bytes(3),
        b"\0\0\1",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id;image\n1;AAAA\n", "the CSV is separated by ';'"),
        ('"id";"image"\n"1";"AAAA"\n', "the CSV is separated by ';'"),
        ("image\tid\nAAAA\t1\n", "the CSV is separated by tabs"),
        ("id,picture\n1,AAAA\n", "no column 'image'"),
        ("id,image\n1,AAAA\n2,\n", "row 1, column 'image': the cell is empty"),
        ("id,image\n1, \n", "row 0, column 'image': the cell is empty"),
        ("id,image\n1\n", "row 0, column 'image': the cell is empty"),
        ("id,image\n1,AAAA\n2,AAAA,3\n", "row 1 of the CSV has 3 cells for 2 columns"),
        ("image,image\nAAAA,AAAA\n", "2 columns 'image'"),
        ("image\nDATA:image/jpeg;base64,AAAA\n", "row 0 of the CSV: the comma of a data URI separates two cells; put"),
        ("image,id\ndata:;base64,AAAA\n", "row 0 of the CSV: the comma of a data URI separates two cells; put"),
        ("crop,image\nface,AAAA\n", "the column 'crop' is not read"),
    ],
)
def test_csv_is_refused_by_row_and_column(text: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        payloads.from_csv(text.encode())
    assert words in refused.value.message


def test_an_empty_cell_of_a_json_table_is_named() -> None:
    with pytest.raises(Refused, match="row 1, column 'image': the cell is empty"):
        payloads.from_table(json.dumps({"inputs": {"image": ["AAAA", None]}}).encode())


def test_a_data_uri_in_quotes_is_read_from_csv() -> None:
    assert payloads.from_csv(b'image\n"data:image/jpeg;base64,AAAA"\n')[0].data == bytes(3)


@pytest.mark.parametrize("read", [payloads.from_json, payloads.from_table])
def test_json_that_was_encoded_twice_is_named(read) -> None:
    body = json.dumps(json.dumps({"images": ["AAAA"], "instances": [{"image": "AAAA"}]})).encode()
    with pytest.raises(Refused, match="encoded twice, a string that holds JSON; encode it once"):
        read(body)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"signature_name": "serving_default"},
            "'signature_name' is TensorFlow Serving's: there is one signature here; leave",
        ),
        ({"crop": "face"}, "'crop' is not read: /invocations takes driver views; for others ask /v1/gaze with crop="),
        ({"batch": 3}, "'batch' is not read by /invocations; leave it out"),
        ({"params": {"threshold": 3}}, "params: 'threshold' is not read by /invocations; leave it out"),
    ],
)
def test_each_key_that_is_not_read_has_its_own_line(more: dict, words: str) -> None:
    with pytest.raises(Refused) as refused:
        payloads.from_table(json.dumps({"instances": [{"image": "AAAA"}]} | more).encode())
    assert words in refused.value.message
