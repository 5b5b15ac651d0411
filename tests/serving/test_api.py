import base64
import contextlib
import gzip
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import packages
import pytest
import registries
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from recording import angles
from registry import stages
from registry.addresses import Selector
from serving import server
from serving.limits import Limits

JPEG = packages.picture(10, -5)
TOKEN = {"Authorization": "Bearer open sesame"}


def _application(cache, *, token: str = "", poll: float = 0.2, **limits):
    settings = server.Settings(selector=Selector(), limits=Limits(**limits), poll=poll, cache=str(cache))
    return server.assemble(settings, token=token)


def _wait_ready(client: TestClient) -> None:
    for _ in range(600):
        if client.get("/readyz").json() == {"ready": True, "stale": False}:
            return
        __import__("time").sleep(0.05)
    raise AssertionError(client.get("/readyz?verbose").text)


@contextlib.contextmanager
def _serving(folder: Path, empty_database: bytes, **options: object) -> Iterator[TestClient]:
    """Version 1, of these ``options``, on a server that has looked into its registry once, when it started."""
    with contextlib.ExitStack() as stack:
        with registries.in_production(folder, empty_database, **options):
            app = _application(folder / "cache", poll=3600, max_bytes=300_000, max_images=4)
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            _wait_ready(client)
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory, empty_database):
    """One server for all tests that leave it as it is."""
    with _serving(tmp_path_factory.mktemp("served"), empty_database) as client:
        yield client


def _b64(data: bytes = JPEG) -> str:
    return base64.b64encode(data).decode()


def _png() -> bytes:
    import cv2

    return cv2.imencode(".png", cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR))[1].tobytes()


SHAPES = {
    "raw jpeg": {"content": JPEG, "headers": {"content-type": "image/jpeg"}},
    "raw png": {"content": _png(), "headers": {"content-type": "image/png"}},
    "json text": {"json": {"images": [_b64()]}},
    "json object": {"json": {"images": [{"name": "a.jpg", "image": _b64()}]}},
    "multipart": {"files": [("image", ("a.jpg", JPEG, "image/jpeg"))]},
}


# Every documented shape of request gets the painted angles, the vector that belongs to them, and the version.
@pytest.mark.parametrize("shape", SHAPES)
def test_gaze_of_every_shape(client: TestClient, shape: str) -> None:
    response = client.post("/v1/gaze", **SHAPES[shape])
    assert response.status_code == 200, response.text
    content = response.json()
    assert (content["model"], content["version"], content["stage"]) == ("gaze-tracker", 1, "Production")
    (answer,) = content["answers"]
    assert answer["azimuth_deg"] == pytest.approx(10, abs=0.5)
    assert answer["elevation_deg"] == pytest.approx(-5, abs=0.5)
    expected = angles.vectors(np.array([answer["azimuth_deg"], answer["elevation_deg"]]))
    assert answer["vector"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert response.headers["x-model-version"] == "1"


# Many pictures are answered in their order, under the names they came with.
def test_many_pictures_keep_their_order(client: TestClient) -> None:
    sent = [(-20, 0), (0, 10), (20, -10)]
    files = [("image", (f"{n}.jpg", packages.picture(*gaze), "image/jpeg")) for n, gaze in enumerate(sent)]
    answers = client.post("/v1/gaze", files=files).json()["answers"]
    assert [answer["name"] for answer in answers] == ["0.jpg", "1.jpg", "2.jpg"]
    for answer, gaze in zip(answers, sent, strict=True):
        assert (answer["azimuth_deg"], answer["elevation_deg"]) == pytest.approx(gaze, abs=0.6)


# crop=composite answers for the driver view alone, whatever stands beside it.
def test_crop_of_a_composite(client: TestClient) -> None:
    import cv2

    frame = np.full((540, 1504, 3), 255, dtype=np.uint8)
    driver = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)
    frame[4:538, 3:478] = cv2.resize(driver, (475, 534))
    composite = cv2.imencode(".png", frame)[1].tobytes()
    for crop, near in (("composite", True), ("auto", True), ("driver", False)):
        answer = client.post(f"/v1/gaze?crop={crop}", files=[("image", ("a.png", composite, "image/png"))])
        azimuth = answer.json()["answers"][0]["azimuth_deg"]
        assert (abs(azimuth - 10) < 1) is near, (crop, azimuth)


def _lying(data: bytes, orientation: int = 6) -> bytes:
    """The same picture stored as a camera that is held upright stores it: turned, with a word about it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_90)
    file = io.BytesIO()
    stored.save(file, "JPEG", exif=exif, quality=95)
    return file.getvalue()


DAMAGED = JPEG[: len(JPEG) // 2] + b"\xff\xd9"


# A picture that is stored lying is answered as it is shown, on every way in.
def test_orientation_counts_on_every_way_in(client: TestClient) -> None:
    lying = _lying(JPEG)
    answers = [client.post("/v1/gaze", content=lying, headers={"content-type": "image/jpeg"}).json()["answers"][0]]
    answers.append(client.post("/invocations", json={"inputs": {"image": [_b64(lying)]}}).json()["predictions"][0])
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(lying)
        answers.append(socket.receive_json())
    for answer in answers:
        assert (answer["azimuth_deg"], answer["elevation_deg"]) == pytest.approx((10, -5), abs=0.6)


# Half a picture with an end marker: refused on every way in, and the stream goes on.
def test_damage_is_refused_on_every_way_in(client: TestClient) -> None:
    raw = client.post("/v1/gaze", content=DAMAGED, headers={"content-type": "image/jpeg"})
    table = client.post("/invocations", json={"inputs": {"image": [_b64(DAMAGED)]}})
    assert (raw.status_code, table.status_code) == (422, 400)
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(DAMAGED)
        assert socket.receive_json()["error"].startswith("frame 1: damaged JPEG")
        socket.send_bytes(DAMAGED)
        said = socket.receive_json()["error"]
        assert said.startswith("frame 2: damaged JPEG"), "the number of the frame, not of the picture in a request"
        socket.send_bytes(JPEG)
        assert socket.receive_json()["azimuth_deg"] == pytest.approx(10, abs=0.6)
    for words in (raw.json()["error"]["message"], table.json()["error"]["message"], said):
        assert "damaged JPEG" in words


@pytest.mark.parametrize("kind", ["image/jpg", "image/pjpeg", "Image/JPEG", "image/x-png", "application/octet-stream"])
def test_other_names_of_the_two_types(client: TestClient, kind: str) -> None:
    response = client.post("/v1/gaze", content=JPEG, headers={"content-type": kind})
    assert response.json()["answers"][0]["azimuth_deg"] == pytest.approx(10, abs=0.6)


def _in_two(data: bytes) -> bytes:
    """As `pigz` and `cat a.gz b.gz` write it: several members one after the other."""
    return gzip.compress(data[:99]) + gzip.compress(data[99:]) + bytes(9)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("gzip", _in_two),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    ],
    ids=["gzip", "x-gzip", "two members", "deflate", "deflate without a frame"],
)
def test_packed_bodies_are_unpacked(client: TestClient, encoding: str, pack) -> None:
    body = pack(json.dumps({"images": [_b64()]}).encode())
    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = client.post("/v1/gaze", content=body, headers=headers).json()["answers"][0]
    assert answer["azimuth_deg"] == pytest.approx(10, abs=0.6)


# A body of 300 KB at most, however small it is packed; and every mistake has its own words. Names are given because the
# bytes of gzip hold the time, and two workers would call one test by two names.
@pytest.mark.parametrize(
    ("encoding", "body", "status", "words"),
    [
        ("gzip", gzip.compress(bytes(300_001)), 413, "300000 bytes"),
        ("gzip", gzip.compress(b"{}")[:-9], 400, "Content-Encoding says, or is cut off"),
        ("gzip", b"{}", 400, "Content-Encoding says, or is cut off"),
        ("gzip", gzip.compress(b"{}") + b"more", 400, "Content-Encoding says, or is cut off"),
        ("deflate", b"{}", 400, "Content-Encoding says, or is cut off"),
        ("gzip", gzip.compress(bytes(200_000)) * 2, 413, "300000 bytes"),
        ("br", b"{}", 415, "'br' is not read"),
        ("identity", gzip.compress(b"{}"), 400, "say so with the header Content-Encoding: gzip"),
    ],
    ids=["too large", "cut off", "not packed", "something behind", "no deflate", "too large in two", "br", "not said"],
)
def test_packed_bodies_that_are_refused(client: TestClient, encoding: str, body: bytes, status: int, words: str):
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = client.post("/v1/gaze", content=body, headers=headers)
    assert (response.status_code, words in response.json()["error"]["message"]) == (status, True), response.text


# Where a stream or a base64 holds one, no header could say so: the picture is called what it is.
def test_gzip_that_no_header_tells_of_is_named(client: TestClient) -> None:
    packed = gzip.compress(JPEG)
    for path, kind in (
        ("/v1/gaze", "image/jpeg"),
        ("/v1/gaze", "application/octet-stream"),
        ("/v1/gaze", "multipart/form-data; boundary=b"),
        ("/invocations", "text/csv"),
    ):
        response = client.post(path, content=packed, headers={"content-type": kind})
        assert (response.status_code, "Content-Encoding: gzip" in response.text) == (400, True), (kind, response.text)
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(packed)
        assert "neither JPEG nor PNG but gzip" in socket.receive_json()["error"]
        socket.send_bytes(b"")
        assert "neither JPEG nor PNG but empty" in socket.receive_json()["error"]


PNG_HEADER = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", 20_000, 20_000) + b"\0" * 30
REFUSED = {
    "no picture": ({"content": b"hello", "headers": {"content-type": "image/jpeg"}}, 422, "image 1: neither JPEG"),
    "empty": ({"content": b"", "headers": {"content-type": "image/jpeg"}}, 400, "no picture"),
    "20,000 x 20,000": ({"content": PNG_HEADER, "headers": {"content-type": "image/png"}}, 422, "over the limit"),
    "too many bytes": ({"content": b"x" * 300_001, "headers": {"content-type": "image/png"}}, 413, "300000 bytes"),
    "too many pictures": ({"json": {"images": [_b64()] * 5}}, 413, "at most 4"),
    "too many parts": ({"files": [("image", ("a.jpg", JPEG, "image/jpeg"))] * 5}, 413, "4 pictures"),
    "no list": ({"json": {"images": 3}}, 400, "images"),
    "no object": ({"json": [1]}, 400, "images"),
    "no base64": ({"json": {"images": [[1]]}}, 400, "image 1: not a base64"),
    "not JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
    "deep JSON": ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "not JSON"),
    "no multipart": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "malformed"),
    "another type": ({"content": b"x", "headers": {"content-type": "image/gif"}}, 415, "image/png"),
}


# What is refused says why in one JSON object; the second of two pictures is named when it is the bad one.
@pytest.mark.parametrize("case", REFUSED)
def test_refusals(client: TestClient, case: str) -> None:
    request, status, words = REFUSED[case]
    response = client.post("/v1/gaze", **request)
    assert response.status_code == status, response.text
    assert words in response.json()["error"]["message"]


def test_bad_picture_is_named(client: TestClient) -> None:
    response = client.post("/v1/gaze", json={"images": [_b64(), _b64(b"no picture")]})
    assert response.status_code == 422
    assert "image 2" in response.json()["error"]["message"]


def test_unknown_crop_is_refused(client: TestClient) -> None:
    response = client.post("/v1/gaze?crop=passenger", content=JPEG, headers={"content-type": "image/jpeg"})
    assert response.status_code == 422
    assert "composite" in response.json()["error"]["message"]


def _form(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> dict[str, object]:
    """A multipart body of (further headers behind ``form-data; ``, data), as it goes over the wire."""
    body = b"".join(
        b"--XX\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return {"content": body + end, "headers": {"content-type": "multipart/form-data; boundary=XX"}}


IMAGE = ('name="image"; filename="a.jpg"', JPEG)
RAW = {"content": JPEG, "headers": {"content-type": "image/jpeg"}}
# This version reads the whole driver view: it answers none of these but by the refusal of crop=face.
WISHES = {
    "address": ("?crop=face", RAW),
    "field": ("", _form(IMAGE, ('name="crop"', b"face"))),
    "field before": ("", _form(('name="crop"', b"face"), IMAGE)),
    "JSON": ("", {"json": {"images": [_b64()], "crop": "face"}}),
    "address and field agree": ("?crop=face&crop=face", _form(IMAGE, ('name="crop"', b"face"))),
}


@pytest.mark.parametrize("case", WISHES)
def test_crop_is_followed_wherever_it_is_said(client: TestClient, case: str) -> None:
    query, request = WISHES[case]
    response = client.post(f"/v1/gaze{query}", **request)
    assert (response.status_code, "said to be the face alone" in response.text) == (422, True), response.text


TABLE = {"inputs": {"image": [_b64()]}}
NOT_FOLLOWED = {
    "misspelt": ("/v1/gaze?corp=face", RAW, "the parameter 'corp' is not read, only crop"),
    "two": ("/v1/gaze?crop=driver&crop=face", RAW, "crop is said to be driver and face"),
    "two, first unknown": ("/v1/gaze?crop=x&crop=face", RAW, "crop is 'x'; choose driver, composite, face or auto"),
    "address against field": ("/v1/gaze?crop=driver", _form(IMAGE, ('name="crop"', b"face")), "driver and face"),
    "address against JSON": ("/v1/gaze?crop=auto", {"json": {"images": [_b64()], "crop": "face"}}, "auto and face"),
    "two fields": ("/v1/gaze", _form(('name="crop"', b"face"), IMAGE, ('name="crop"', b"auto")), "face and auto"),
    "unknown field": ("/v1/gaze", _form(IMAGE, ('name="corp"', b"face")), "the part 'corp' is not read"),
    "wrong field": ("/v1/gaze", _form(IMAGE, ('name="crop"', b"Face")), "crop is 'Face'; choose"),
    "wrong in JSON": ("/v1/gaze", {"json": {"images": [_b64()], "crop": [1]}}, "crop is '[1]'; choose"),
    "unknown key": ("/v1/gaze", {"json": {"images": [_b64()], "corp": "face"}}, "the key 'corp' is not read"),
    "of one picture": ("/v1/gaze", {"json": {"images": [{"image": _b64(), "crop": "face"}]}}, "crop beside 'images'"),
    "key of one": ("/v1/gaze", {"json": {"images": [{"image": _b64(), "id": 3}]}}, "image 1: the key 'id' is not read"),
    "key twice": (
        "/v1/gaze",
        {"content": f'{{"images":[],"images":["{_b64()}"]}}', "headers": {"content-type": "application/json"}},
        "'images' stands twice",
    ),
    "invocations": ("/invocations?crop=face", {"json": TABLE}, "ask /v1/gaze with crop="),
    "params": ("/invocations", {"json": TABLE | {"params": {"crop": "face"}}}, "params: 'crop' is not read"),
    "beside the table": ("/invocations", {"json": TABLE | {"crop": "face"}}, "the key 'crop' is not read"),
    "column": ("/invocations", {"json": {"inputs": [{"image": _b64(), "crop": "face"}]}}, "the column 'crop'"),
    "columns": (
        "/invocations",
        {"json": {"dataframe_split": {"columns": ["image", "image"], "data": [[_b64(), _b64()]]}}},
        "2 columns 'image'",
    ),
}


# Answered as if it had not been said, it would be a wrong angle without a word.
@pytest.mark.parametrize("case", NOT_FOLLOWED)
def test_what_is_not_followed_is_refused_by_name(client: TestClient, case: str) -> None:
    path, request, words = NOT_FOLLOWED[case]
    response = client.post(path, **request)
    assert response.status_code in ((400,) if path.startswith("/invocations") else (400, 422)), response.text
    assert words in response.json()["error"]["message"]


@pytest.mark.parametrize("params", [None, {}])
def test_params_that_say_nothing_are_what_mlflows_clients_send(client: TestClient, params: object) -> None:
    assert client.post("/invocations", json=TABLE | {"params": params}).status_code == 200


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("corp=face", "the parameter 'corp' is not read"),
        ("crop=x", "choose driver"),
        ("crop=face&crop=auto", "face and"),
        ("\U0001f600" * 40 + "=1", "the parameter"),
    ],
)
def test_a_stream_is_told_of_what_is_not_followed(client: TestClient, query: str, words: str) -> None:
    with client.websocket_connect(f"/v1/stream?{query}") as socket, pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_json()
    assert closed.value.code == 1008
    assert words in closed.value.reason
    assert len(closed.value.reason.encode()) <= 123


# Every one of these is one picture that was passed over, or called none.
PARTS = {
    "no file name": ('name="image"', JPEG),
    "a type": ('name="image"\r\nContent-Type: image/jpeg', JPEG),
    "RFC 5987": ("name=image; filename*=UTF-8''a%20b.jpg", JPEG),
    "a name that is its own": ('name="picture of the driver"', JPEG),
    "base64": ('name="image"', _b64().encode()),
    "base64 under another name": ('name="frame"', _b64().encode()),
    "a data URI": ('name="image"', b"data:image/jpeg;base64," + _b64().encode()),
    "base64 said": ('name="image"; filename="a.jpg"\r\nContent-Transfer-Encoding: Base64', _b64().encode()),
}


@pytest.mark.parametrize("case", PARTS)
def test_every_picture_of_a_form_is_answered(client: TestClient, case: str) -> None:
    for parts, count in ([PARTS[case]], 1), ([IMAGE, PARTS[case]], 2), ([PARTS[case], IMAGE], 2):
        response = client.post("/v1/gaze", **_form(*parts))
        assert response.status_code == 200, response.text
        azimuths = [answer["azimuth_deg"] for answer in response.json()["answers"]]
        assert azimuths == pytest.approx([10] * count, abs=0.6)


def test_a_file_field_left_empty_is_no_picture(client: TestClient) -> None:
    empty = ('name="more"; filename=""\r\nContent-Type: application/octet-stream', b"")
    assert len(client.post("/v1/gaze", **_form(empty, IMAGE)).json()["answers"]) == 1
    assert "no picture" in client.post("/v1/gaze", **_form(empty)).text


def test_names_of_files_are_answered(client: TestClient) -> None:
    heads = ['filename="a \\"b\\" é.jpg"', "filename=\"x.jpg\"; filename*=UTF-8''%c3%a9%20b.jpg", "filename=c.jpg"]
    form = _form(*((f'name="image"; {head}', JPEG) for head in heads))
    answers = client.post("/v1/gaze", **form).json()["answers"]
    assert [answer["name"] for answer in answers] == ['a "b" é.jpg', "é b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (_form(IMAGE, ('name="driver"', b"Jane")), "the part 'driver' is not read; send pictures"),
        (_form(IMAGE, ('name="image"', b"hello!")), "image 2 (the part 'image'): not a base64 string"),
        (_form(IMAGE, ('name="image"', JPEG[1:])), "image 2: neither JPEG nor PNG"),
        (_form(IMAGE, ('name="meta"; filename="m.json"\r\nContent-Type: application/json', b"{}")), "'meta' is appl"),
        (_form(('name="image"\r\nContent-Transfer-Encoding: quoted-printable', JPEG)), "'quoted-printable' is not"),
        (_form(("filename=a.jpg", JPEG)), "a part without a name"),
        (_form(IMAGE, end=b""), "cut off"),
        (_form(IMAGE, end=b"--XX\r\n"), "cut off"),
        (_form(IMAGE) | {"content": _form(IMAGE)["content"][: len(JPEG) // 2]}, "cut off"),
    ],
    ids=["text", "no base64", "damaged", "JSON", "quoted", "no name", "no end", "no second part", "half"],
)
def test_parts_that_are_refused_are_named(client: TestClient, request_: dict, words: str) -> None:
    response = client.post("/v1/gaze", **request_)
    assert response.status_code in (400, 422)
    assert words in response.json()["error"]["message"]


def test_an_ended_form_needs_no_last_line(client: TestClient) -> None:
    assert client.post("/v1/gaze", **_form(IMAGE, end=b"--XX--")).status_code == 200


# A body that never says its length is cut off at the limit as well.
def test_chunked_body_is_cut_off(client: TestClient) -> None:
    def chunks():
        for _ in range(40):
            yield b"x" * 10_000

    response = client.post("/v1/gaze", content=chunks(), headers={"content-type": "image/jpeg"})
    assert response.status_code == 413


# A client's name for a picture comes back harmless.
def test_names_are_cleaned(client: TestClient) -> None:
    body = json.dumps({"images": [{"name": "../\n\u202e\ud800" + "x" * 500, "image": _b64()}]})
    answer = client.post("/v1/gaze", content=body, headers={"content-type": "application/json"}).json()["answers"][0]
    assert answer["name"] == "../" + "x" * 197


# MLflow's four shapes and CSV give the same numbers.
def test_invocations_shapes(client: TestClient) -> None:
    shapes = [
        {"dataframe_split": {"columns": ["image"], "data": [[_b64()]]}},
        {"dataframe_split": {"columns": ["id", "image"], "index": [7], "data": [[1, _b64()]]}},
        {"dataframe_records": [{"image": _b64()}]},
        {"inputs": {"image": [_b64()]}},
        {"inputs": [{"image": _b64()}]},
        {"instances": [{"image": _b64()}]},
    ]
    answers = [client.post("/invocations", json=shape) for shape in shapes]
    answers.append(client.post("/invocations", content=f"image\n{_b64()}\n", headers={"content-type": "text/csv"}))
    assert {response.status_code for response in answers} == {200}
    assert len({response.text for response in answers}) == 1
    (row,) = answers[0].json()["predictions"]
    assert row == pytest.approx({"azimuth_deg": 10, "elevation_deg": -5}, abs=0.5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": {}},
        {"dataframe_records": 3},
        {"dataframe_split": {"data": []}},
        {"inputs": [1], "instances": [1]},
    ],
)
def test_invocations_refuse_with_400(client: TestClient, body: dict) -> None:
    assert client.post("/invocations", json=body).status_code == 400


def test_invocations_refuse_other_types(client: TestClient) -> None:
    for kind in ("image/jpeg", "application/json; charset=latin-1"):
        assert client.post("/invocations", content=JPEG, headers={"content-type": kind}).status_code == 415


def test_invocations_read_what_a_csv_says_of_its_header(client: TestClient) -> None:
    body = f"image\n{_b64()}\n"
    for kind in ("text/csv; header=present", 'text/csv;charset="UTF-8"; Header=Present'):
        assert client.post("/invocations", content=body, headers={"content-type": kind}).status_code == 200
    refused = client.post("/invocations", content=body, headers={"content-type": "text/csv; header=absent"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        415,
        "a CSV without a header is not read; name the columns in line 1",
    )


# The model's page names the version, its errors at registration and since when it is there.
def test_model_page(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert (model["version"], model["stage"]) == (1, "Production")
    assert model["errors"]["model"]["azimuth_error_deg"] < 1 < model["errors"]["constant"]["azimuth_error_deg"]
    assert model["since"].startswith("20")
    assert model["output"]["label_frame"] == "unknown"  # car, head, or not verified


# As tags, card, list and app have it: the calibration that the verdict was reached against, here the affine one.
def test_the_best_calibration_is_stated_beside_the_linear_one(client: TestClient, tmp_path, empty_database) -> None:
    kept = packages.make_holdout()
    kept.baselines_deg["affine"] = kept.labels_deg + 0.5
    with _serving(tmp_path, empty_database, holdout=kept) as other:
        stated = other.get("/v1/model").json()
    assert stated["best_calibration"] == "affine"
    assert stated["baselines"]["affine"]["azimuth_error_deg"] == pytest.approx(0.5)
    assert stated["baselines"]["calibrated"] == pytest.approx(stated["errors"]["calibrated"], abs=1e-6)
    assert set(stated["baselines"]) == {"constant", "calibrated", "affine"}
    assert client.get("/v1/model").json()["best_calibration"] == "calibrated"


# What answers is the model, what its errors are of is its twin.
def test_a_model_trained_on_all_samples_answers_and_says_that_its_errors_are_its_twins(
    client: TestClient, tmp_path, empty_database
) -> None:
    assert client.get("/v1/model").json()["errors_of_twin"] is False
    options = {"holdout": packages.make_holdout(twin=True), "bias_deg": (1, 1), "twin_bias_deg": (2, 2)}
    with _serving(tmp_path, empty_database, **options) as other:
        stated = other.get("/v1/model").json()
        shown = packages.picture(5, 5)
        answer = other.post("/v1/gaze", content=shown, headers={"content-type": "image/jpeg"}).json()
    assert stated["errors_of_twin"] is True
    assert stated["errors"]["model"]["azimuth_error_deg"] == pytest.approx(2, abs=0.1)
    assert answer["answers"][0]["azimuth_deg"] == pytest.approx(6, abs=0.3)


# Prometheus sees requests by route and status, refusals by reason, and the version.
def test_metrics(tmp_path, empty_database) -> None:
    with _serving(tmp_path, empty_database) as client:
        client.post("/v1/gaze", content=JPEG, headers={"content-type": "image/jpeg"})
        client.post("/v1/gaze", content=b"x", headers={"content-type": "image/jpeg"})
        client.get("/nowhere/../../etc/passwd")
        text = client.get("/metrics").text
    for line in (
        'gaze_requests_total{route="/v1/gaze",status="200"} 1.0',
        'gaze_requests_total{route="/v1/gaze",status="422"} 1.0',
        'gaze_requests_total{route="other",status="404"} 1.0',
        'gaze_rejected_total{reason="picture"} 1.0',
        'gaze_reloads_total{outcome="loaded"} 1.0',
        "gaze_model_version 1.0",
        "gaze_registry_stale 0.0",
        "gaze_batch_images_count 1.0",
    ):
        assert line in text, line


# Probes and proxies ask with HEAD: what GET answers, without the body.
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose", "/health", "/ping", "/version", "/v1/model"])
def test_head_is_answered_as_get_without_the_body(client: TestClient, path) -> None:
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers} == {**whole.headers}


def test_head_of_the_metrics_and_of_what_is_no_get(client: TestClient) -> None:
    head = client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")
    assert client.head("/v1/gaze").status_code == 405
    assert client.head("/nothing").status_code == 404


# With a token nothing but the health checks answers without it, and verbose health does not either.
def test_token(make_version, tmp_path) -> None:
    make_version()
    stages.promote("gaze-tracker", 1)
    with TestClient(_application(tmp_path / "cache", token="open sesame")) as client:
        _wait_ready(client)
        raw = {"content": JPEG, "headers": {"content-type": "image/jpeg"}}
        assert client.post("/v1/gaze", **raw).status_code == 401
        assert client.get("/livez").status_code == 200
        for path in ("/readyz?verbose", "/v1/model", "/metrics", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 401, path
            assert client.get(path, headers=TOKEN).status_code == 200, path
        assert client.get("/v1/model", headers={"Authorization": "Bearer open"}).status_code == 401
        raw["headers"] |= TOKEN
        assert client.post("/v1/gaze", **raw).status_code == 200


# Without any version the server lives, is not ready, and says what to do; with one it becomes ready by itself.
def test_starts_without_a_version(make_version, tmp_path) -> None:
    make_version()
    with TestClient(_application(tmp_path / "cache")) as client:
        for _ in range(200):
            standing = client.get("/readyz?verbose").json()
            if standing["problem"]:
                break
            __import__("time").sleep(0.05)
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert "python -m registry promote --version 1" in standing["problem"]
        refused = client.post("/v1/gaze", content=JPEG, headers={"content-type": "image/jpeg"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        stages.promote("gaze-tracker", 1)
        _wait_ready(client)


# A full queue answers 503 with Retry-After, and takes requests again afterwards.
def test_full_queue(make_version, tmp_path) -> None:
    make_version()
    stages.promote("gaze-tracker", 1)
    with TestClient(_application(tmp_path / "cache", queue=2)) as client:
        _wait_ready(client)
        refused = client.post("/v1/gaze", json={"images": [_b64()] * 3})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.post("/v1/gaze", json={"images": [_b64()] * 2}).status_code == 200


# The latest frame wins: frames that waited are dropped and counted, the last one is always answered.
def test_stream(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        for gaze in range(-20, 21):
            socket.send_bytes(packages.picture(gaze, 0))
        answers = []
        while not answers or answers[-1]["frame"] < 41:
            answers.append(socket.receive_json())
        assert answers[-1]["azimuth_deg"] == pytest.approx(20, abs=0.6)
        assert answers[-1]["version"] == 1
        assert answers[-1]["dropped"] == 41 - len(answers)
        socket.send_bytes(b"no picture")
        assert "neither JPEG" in socket.receive_json()["error"]
        socket.send_bytes(JPEG)
        assert socket.receive_json()["azimuth_deg"] == pytest.approx(10, abs=0.6)


def test_a_stream_that_the_server_fails_on_is_closed_and_logged(client: TestClient, monkeypatch, caplog) -> None:
    monkeypatch.setattr("serving.stream.gaze", lambda angles: 1 / 0)
    with client.websocket_connect("/v1/stream") as socket, pytest.raises(WebSocketDisconnect) as closed:
        socket.send_bytes(JPEG)
        socket.receive_json()
    assert (closed.value.code, closed.value.reason) == (1011, "the server failed on a frame; its log says why")
    assert "ZeroDivisionError" in caplog.text


def test_openapi_documents_examples(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    body = described["paths"]["/v1/gaze"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json", "image/jpeg", "image/png"}
    assert "example" in described["components"]["schemas"]["GazeAnswers"]
    page = client.get("/docs")
    assert page.status_code == 200
    assert "swagger-ui" in page.text and "/openapi.json" in page.text


# The limit on open streams: the next is told to come later, and has a place once another has left.
def test_more_streams_than_allowed_are_told_to_come_later(make_version, tmp_path) -> None:
    make_version()
    stages.promote("gaze-tracker", 1)
    with TestClient(_application(tmp_path / "cache", streams=1)) as client:
        _wait_ready(client)
        with client.websocket_connect("/v1/stream") as first:
            with client.websocket_connect("/v1/stream") as second, pytest.raises(WebSocketDisconnect) as closed:
                second.receive_json()
            assert (closed.value.code, closed.value.reason) == (1013, "too many streams; try again later")
            first.send_bytes(JPEG)
            assert first.receive_json()["azimuth_deg"] == pytest.approx(10, abs=0.6)
        with client.websocket_connect("/v1/stream") as third:
            third.send_bytes(JPEG)
            assert third.receive_json()["azimuth_deg"] == pytest.approx(10, abs=0.6)
        assert 'gaze_rejected_total{reason="streams"} 1.0' in client.get("/metrics").text


# A browser's address line, curl, or a proxy that does not pass Upgrade on.
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_a_plain_request_to_the_stream_is_told_what_it_is(client: TestClient, method) -> None:
    answer = client.request(method, "/v1/stream?crop=face")
    assert answer.status_code == 426
    assert (answer.headers["upgrade"], answer.headers["connection"]) == ("websocket", "Upgrade")
    if method != "HEAD":
        assert answer.json()["error"]["message"].startswith("/v1/stream is a WebSocket: ")
        assert "a proxy on the way must pass the headers Upgrade" in answer.json()["error"]["message"]
    assert "/v1/stream" not in client.get("/openapi.json").json()["paths"]
