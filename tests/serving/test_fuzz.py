"""Whatever comes in: a documented answer, no growth of memory, no word about the machine."""

import asyncio
import base64
import json
import random
import re
import socket
import struct
import time
import zlib

import httpx
import packages
import pytest
import registries
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.slow

MUTATIONS = 3_000
EXAMPLES = 30
DOCUMENTED = {200, 400, 408, 413, 415, 422, 503}
# What an answer must not show: paths, traces, modules.
LEAK = re.compile(r"Traceback|File \"|site-packages|/home/|/tmp/|/work/|\.py\b|line \d+, in")
JPEG = packages.picture(10, 5)


@pytest.fixture(scope="module")
def running(server_process, empty_database, tmp_path_factory):
    """One server for whatever comes: it has to survive all of it."""
    folder = tmp_path_factory.mktemp("fuzz")
    with registries.in_production(folder, empty_database):
        started = server_process(folder, "--poll", "2")
        started.wait_ready(1)
        yield started
        assert started.process.poll() is None
        started.stop()


@pytest.fixture
def server(running):
    running.forget_peak()
    return running


def _png(width: int, height: int, data: bytes | None = None) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes((width * 3 + 1) * height)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _mutated(seed: bytes, rng: random.Random) -> bytes:
    body = bytearray(seed)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(body)) if body else 0
        match rng.randrange(5):
            case 0:
                body[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del body[at : at + rng.randrange(1, 200)]
            case 2:
                body[at:at] = rng.randbytes(rng.randrange(1, 40))
            case 3:
                body[at:at] = body[at : at + rng.randrange(1, 200)]
            case 4:
                body = body[: max(at, 1)]
    return bytes(body)


def _seeds() -> list[tuple[str, str, bytes]]:
    """(path, content type, valid body) of everything that is mutated."""
    text = base64.b64encode(JPEG).decode()
    table = {"columns": ["image"], "data": [[text]]}
    split = b"--b\r\nContent-Disposition: form-data; name=image; filename=a.jpg\r\n\r\n" + JPEG + b"\r\n--b--\r\n"
    return [
        ("/v1/gaze", "image/jpeg", JPEG),
        ("/v1/gaze", "image/png", _png(32, 24)),
        ("/v1/gaze", "application/json", json.dumps({"images": [text, {"name": "a", "image": text}]}).encode()),
        ("/v1/gaze", "multipart/form-data; boundary=b", split),
        ("/invocations", "application/json", json.dumps({"dataframe_split": table}).encode()),
        ("/invocations", "application/json", json.dumps({"instances": [{"image": text}]}).encode()),
        ("/invocations", "text/csv", f"image\n{text}\n".encode()),
    ]


def test_mutated_bodies_get_documented_answers_and_leave_no_memory_behind(server) -> None:
    rng, seeds = random.Random(0), _seeds()
    for path, kind, body in seeds:
        assert server.client.post(path, content=body, headers={"content-type": kind}).status_code == 200, (path, kind)

    async def batch(count: int) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=16)
        async with httpx.AsyncClient(base_url=server.address, timeout=60, limits=limits) as client:
            gate = asyncio.Semaphore(16)

            async def one() -> httpx.Response:
                path, kind, body = rng.choice(seeds)
                async with gate:
                    return await client.post(path, content=_mutated(body, rng), headers={"content-type": kind})

            return await asyncio.gather(*(one() for _ in range(count)))

    asyncio.run(batch(MUTATIONS // 5))
    warm = server.resident_mib()
    statuses: set[int] = set()
    for _ in range(4):
        answers = asyncio.run(batch(MUTATIONS // 5))
        statuses |= {answer.status_code for answer in answers}
        leaks = [answer.text for answer in answers if LEAK.search(answer.text)]
        assert leaks == []
    assert statuses <= DOCUMENTED, statuses
    assert {200, 400, 422} <= statuses  # the mutations reached past the first check
    assert server.resident_mib() < warm + 30
    assert "Traceback" not in server.log.read_text()


def test_generated_requests_conform_to_the_openapi_description(server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def conforms(case) -> None:
            response = case.call()
            assert not LEAK.search(response.text), response.text
            # Status, content type and body as described. That any string of bytes is a picture is not described.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])

        conforms()
        tried.add(operation.path)
    assert {"/v1/gaze", "/invocations", "/v1/model", "/readyz", "/livez"} <= tried


def _post(server, body: bytes, kind: str) -> httpx.Response:
    return server.client.post("/v1/gaze", content=body, headers={"content-type": kind})


def test_a_picture_of_400_million_pixels_is_refused_from_its_header(server) -> None:
    bomb = _png(20_000, 20_000, zlib.compress(bytes(60_001)) * 2)
    before = server.resident_mib("VmHWM")
    answer = _post(server, bomb, "image/png")
    assert answer.status_code == 422
    assert "pixels" in answer.json()["error"]["message"]
    assert server.resident_mib("VmHWM") < before + 30


def test_a_body_of_two_gigabytes_is_cut_off(server) -> None:
    before = server.resident_mib("VmHWM")
    stated = b"POST /v1/gaze HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 2147483648\r\n\r\n"
    chunked = b"POST /v1/gaze HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    for head in (stated, chunked):
        sent = 0
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(head)
            block = bytes(1 << 20)
            if head is chunked:
                block = b"%x\r\n" % len(block) + block + b"\r\n"
            try:
                while sent < 1 << 31:
                    connection.sendall(block)
                    sent += 1 << 20
            except OSError:
                pass
            assert sent < 200 << 20  # hung up on long before the end
        assert _post(server, JPEG, "image/jpeg").status_code == 200
    assert server.resident_mib("VmHWM") < before + 120


def test_a_thousand_idle_and_slow_connections_leave_room_for_others(server) -> None:
    before = server.resident_mib("VmHWM")
    head = b"POST /v1/gaze HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 5000\r\n\r\n"
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(1000)]
    try:
        for number, connection in enumerate(held):
            if number % 2:
                connection.sendall(head + JPEG[: number % 100])  # a byte now and then, never the whole
        began = time.monotonic()
        for _ in range(20):
            assert _post(server, JPEG, "image/jpeg").status_code == 200
        assert time.monotonic() - began < 20
        assert server.resident_mib("VmHWM") < before + 100
    finally:
        for connection in held:
            connection.close()
    assert _post(server, JPEG, "image/jpeg").status_code == 200
