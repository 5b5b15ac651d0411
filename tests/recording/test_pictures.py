"""Sound pictures come out as their encoders meant them; damaged ones are refused, by name."""

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import drives
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from recording import face, pictures, preprocess
from recording.exceptions import InputError
from recording.pictures import decode


def _noisy_face(seed: int, size: tuple[int, int] = (160, 200)) -> np.ndarray:
    """(h, w, 3) uint8 RGB: a face with a camera's noise, a few KB as JPEG."""
    random = np.random.default_rng(seed)
    face = drives.face(random.uniform(-15, 15, 2), size).astype(np.float64)
    return np.clip(face + random.normal(0, 4, face.shape), 0, 255).astype(np.uint8)


def _pillow(picture: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def _opencv(picture: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], list(options))[1].tobytes()


def _ffmpeg(picture: np.ndarray, **options: str) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.options = "yuvj420p", Fraction(1, 25), options
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
    return b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))


ENCODERS = {
    "OpenCV": _opencv,
    "OpenCV, progressive": lambda p: _opencv(p, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "OpenCV, optimised": lambda p: _opencv(p, cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, 60),
    "OpenCV, restarts": lambda p: _opencv(p, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    "Pillow": _pillow,
    "Pillow, 4:4:4": lambda p: _pillow(p, subsampling=0, quality=100),
    "Pillow, small": lambda p: _pillow(p, quality=5),
    "Pillow, progressive": lambda p: _pillow(p, progressive=True, optimize=True),
    "Pillow, grey": lambda p: _pillow(p[..., 1]),
    "Pillow, restarts": lambda p: _pillow(p, restart_marker_rows=1),
    "Pillow, RGB kept": lambda p: _pillow(p, keep_rgb=True),
    "FFmpeg": _ffmpeg,
    "FFmpeg, standard tables": lambda p: _ffmpeg(p, huffman="default", qmin="2", qmax="2"),
    "simplejpeg, 4:2:2": lambda p: simplejpeg.encode_jpeg(np.ascontiguousarray(p), 85, "RGB", "422"),
    "simplejpeg, 4:1:1": lambda p: simplejpeg.encode_jpeg(np.ascontiguousarray(p), 95, "RGB", "411"),
}


# What OpenCV reads (and training read before), to the last bit; flat and extreme pictures are sound as well.
@pytest.mark.parametrize("encoder", ENCODERS)
def test_sound_jpeg_has_the_pixels_that_opencv_reads(encoder: str) -> None:
    flat = [np.full((61, 83, 3), value, np.uint8) for value in (0, 1, 128, 255)]
    noise = np.random.default_rng(0).integers(0, 256, (64, 72, 3)).astype(np.uint8)
    checks = (np.indices((48, 48)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    for picture in [*map(_noisy_face, range(6)), *flat, noise, checks]:
        data = ENCODERS[encoder](np.ascontiguousarray(picture))
        wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(decode(data), wanted)


def _damaged(data: bytes, other: bytes, kind: str, random: np.random.Generator) -> bytes:
    at = int(random.integers(2, len(data) - 1))
    size = min(int(np.exp(random.uniform(np.log(8), np.log(2000)))), len(data) - at)
    return {
        "cut": data[:at],
        "half with an end": data[:at] + b"\xff\xd9",
        "zeroed": data[:at] + bytes(size) + data[at + size :],
        "overwritten": data[:at] + random.bytes(size) + data[at + size :],
        "spliced": data[:at] + other[int(random.integers(2, len(other))) :],
    }[kind]


# 200 pictures. What is taken for a picture is, but for a few in a hundred, near the sound one: a decoder cannot see
# a change that leaves a valid picture. What the shares are on real ones stands in docs/benchmarks.md.
@pytest.mark.parametrize(
    ("kind", "let_through"), [("cut", 0), ("half with an end", 0), ("zeroed", 5), ("overwritten", 2), ("spliced", 0)]
)
def test_damaged_jpeg_is_refused(kind: str, let_through: int) -> None:
    random = np.random.default_rng(7)
    wrong = 0
    for number in range(40):
        sound, other = (_opencv(_noisy_face(seed)) for seed in (number, number + 1))
        damaged = _damaged(sound, other, kind, random)
        try:
            off = decode(damaged).astype(np.float64) - decode(sound)
        except InputError as error:
            assert str(error).startswith("image: damaged JPEG"), error
        else:
            wrong += np.abs(off).mean() > 1
    assert wrong <= let_through


# The report's own cases: zeros in the middle, half a picture with an end marker.
def test_zeros_in_the_middle_are_refused_and_named() -> None:
    for seed in range(20):
        sound = _opencv(_noisy_face(seed))
        middle = len(sound) // 2
        with pytest.raises(InputError, match=r"a\.jpg: damaged JPEG"):
            decode(sound[:middle] + bytes(200) + sound[middle + 200 :], "a.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_comes_out_the_way_up_that_exif_says(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _pillow(_noisy_face(1), kind, exif=exif)
    assert np.array_equal(decode(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


# EXIF asks for 16 bits here; of other widths the big-endian ones were read as 0, and the picture lay.
@pytest.mark.parametrize(("kind", "packed"), [(1, "Bxxx"), (3, "Hxx"), (4, "I")])
@pytest.mark.parametrize(("mark", "order"), [(b"MM\0*", ">"), (b"II*\0", "<")])
def test_orientation_is_read_in_every_width(kind: int, packed: str, mark: bytes, order: str) -> None:
    block = struct.pack(f"{order}IHHHI{packed}I", 8, 1, 0x0112, kind, 1, 6, 0)
    picture = _noisy_face(1)
    turned = decode(_pillow(picture, exif=b"Exif\0\0" + mark + block))
    assert np.array_equal(turned, np.rot90(decode(_pillow(picture)), -1))


# Cameras write 0 where they do not know; what viewers then show is the picture as stored.
@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_meaningless_orientation_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = _noisy_face(1)
    assert np.array_equal(decode(_pillow(picture, exif=exif)), decode(_pillow(picture)))


# A motion photo: a film behind the picture's end, with bytes that look like scans.
def test_what_follows_a_jpeg_does_not_matter() -> None:
    picture = _opencv(_noisy_face(2))
    film = (b"\x00\x00\x00\x18ftypmp42" + b"\xff\xda\x00\x08" * 500) * 3
    assert np.array_equal(decode(picture + film), decode(picture))


def test_a_jpeg_of_many_scans_is_not_decoded() -> None:
    picture = _pillow(_noisy_face(0), progressive=True)
    scan = picture[picture.rindex(b"\xff\xda") : -2]
    with pytest.raises(InputError, match="more than 100 scans"):
        decode(picture[:-2] + scan * 100 + b"\xff\xd9")


def test_print_colours_are_refused_by_name() -> None:
    file = io.BytesIO()
    Image.fromarray(_noisy_face(0)).convert("CMYK").save(file, "JPEG")
    as_photoshop = bytearray(file.getvalue())  # YCCK: the same with the colours turned, Adobe's transform 2
    as_photoshop[as_photoshop.index(b"Adobe") + 11] = 2
    for data in (file.getvalue(), bytes(as_photoshop)):
        with pytest.raises(InputError, match=r"CMYK.*save it in RGB"):
            decode(data)


def test_twelve_bits_a_colour_are_refused_by_name() -> None:
    data = bytearray(_pillow(_noisy_face(0)))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(InputError, match="a JPEG with 12 bits a colour; save it with 8"):
        decode(bytes(data))


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def _narrow(picture: np.ndarray, bits: int, noise: bool) -> np.ndarray:
    """(h, w, 3) uint16: the picture in so many bits that were not spread; with noise in all of them."""
    low = np.random.default_rng(0).integers(256, size=picture.shape) if noise else 0
    return ((picture.astype(np.int64) << 8) + low >> (16 - bits)).astype(np.uint16)


BESIDE = {
    "nothing": lambda p: p,
    "a hot pixel": lambda p: _painted(p, (slice(1), slice(1)), 65_535),
    "a text": lambda p: _written(p),
    "a white bar": lambda p: _painted(p, (slice(40), slice(None)), 65_535),
    "a dead pixel": lambda p: _painted(p, (slice(1), slice(1)), 0),
    "a black level": lambda p: p + np.uint16(p.max() // 8),
}


def _painted(picture: np.ndarray, where: tuple[slice, slice], value: int) -> np.ndarray:
    painted = picture.copy()
    painted[where] = value
    return painted


def _written(picture: np.ndarray) -> np.ndarray:
    """With a white text of soft edges."""
    ink = cv2.putText(np.zeros(picture.shape, np.uint8), "12:30", (5, 190), 0, 1, (255,) * 3, 2, cv2.LINE_AA) / 255
    return (picture * (1 - ink) + 65_535 * ink).astype(np.uint16)


# 12 bits in a 16-bit file: all but black when read as PNG says, whatever bright things stand beside them.
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_a_few_bits_in_a_16_bit_png_are_refused(bits: int, noise: bool, beside: str) -> None:
    for seed in range(3):
        picture = BESIDE[beside](_narrow(_noisy_face(seed), bits, noise))
        for kind in (picture, picture[..., 1]):
            with pytest.raises(InputError, match=r"of 65535, as if it held \d+ bits .* spread them over 16 bits, or"):
                decode(_png(kind))


def test_the_refusal_of_a_few_bits_says_how_many() -> None:
    for bits in (10, 12, 14):
        with pytest.raises(InputError, match=f"as if it held {bits} bits only"):
            decode(_png(_narrow(_noisy_face(3), bits, True)))


# A face at night: as many levels as there are in 8 bits, or in 12, or in light that was encoded with all 16.
@pytest.mark.parametrize("dark", [1, 0.6, 0.3, 0.15])
@pytest.mark.parametrize(
    "spread",
    [
        lambda light: np.rint(light * 255) * 257,
        lambda light: np.rint(light * 255) * 256,
        lambda light: np.rint(light * 4095) * 16,
        lambda light: np.rint(np.rint(light * 4095) * 65535 / 4095),
        lambda light: (np.rint(light * 4095).astype(int) << 4) + (np.rint(light * 4095).astype(int) >> 8),
        lambda light: (np.rint(light * 1023).astype(int) << 6) + (np.rint(light * 1023).astype(int) >> 4),
    ],
    ids=["8 x257", "8 x256", "12 x16", "12 rescaled", "12 repeated", "10 repeated"],
)
def test_a_dark_picture_that_was_spread_is_read(spread: Callable[[np.ndarray], np.ndarray], dark: float) -> None:
    picture = spread(_noisy_face(3) / 255 * dark).astype(np.uint16)
    assert np.array_equal(decode(_png(picture[..., ::-1])), picture >> 8)


@pytest.mark.parametrize("dark", [1, 0.5, 0.2, 0.1])
def test_a_dark_scene_in_all_16_bits_is_read(dark: float) -> None:
    light = (_noisy_face(3) / 255) ** 2.2 * dark  # so much less light, and then encoded
    picture = np.rint(light ** (1 / 2.2) * 65_535).astype(np.uint16)
    assert np.array_equal(decode(_png(picture[..., ::-1])), picture >> 8)


def test_a_full_16_bit_png_is_its_upper_8_bits() -> None:
    picture = _noisy_face(3)
    assert np.array_equal(decode(_png(picture[..., ::-1].astype(np.uint16) * 257)), picture)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def _gamma(gamma: float) -> bytes:
    return _chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


# Light itself in place of the usual curve: all of it is darker, and no decoder here corrects it.
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.22727])
def test_an_unusual_gamma_is_refused(gamma: float, depth: type) -> None:
    data = _with_chunks(_png(_noisy_face(3).astype(depth) * depth(257 if depth is np.uint16 else 1)), _gamma(gamma))
    with pytest.raises(
        InputError, match=rf"a\.png: a PNG whose gamma is {gamma:g}.* not about 0\.45455; save it as sRGB"
    ):
        decode(data, "a.png")


@pytest.mark.parametrize(
    "chunks",
    [
        [_gamma(0.45455)],
        [_gamma(0.45)],
        [_gamma(0)],
        [_gamma(1), _chunk(b"sRGB", b"\0")],
        [_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(132))), _gamma(1)],
    ],
    ids=["usual", "rounded", "nothing", "sRGB", "profile"],
)
def test_the_usual_gamma_changes_nothing(chunks: list[bytes]) -> None:
    picture = _noisy_face(3)
    assert np.array_equal(decode(_with_chunks(_png(picture[..., ::-1]), *chunks)), picture)


def _coded(transfer: int) -> bytes:
    return _chunk(b"cICP", bytes([9, transfer, 0, 1]))


@pytest.mark.parametrize(
    ("transfer", "kind"), [(8, "in proportion to light"), (16, "PQ"), (18, "HLG"), (5, ""), (99, "")]
)
@pytest.mark.parametrize("also", [b"", _chunk(b"sRGB", b"\0"), _gamma(0.45455)], ids=["alone", "sRGB", "gAMA"])
def test_a_transfer_that_is_not_the_usual_is_refused(transfer: int, kind: str, also: bytes) -> None:
    data = _with_chunks(_png(_noisy_face(3)), _coded(transfer), also)
    with pytest.raises(
        InputError, match=rf"a\.png: a PNG whose transfer is {transfer}.*{kind}.* not that of sRGB .* as sRGB"
    ):
        decode(data, "a.png")


@pytest.mark.parametrize("transfer", [1, 4, 6, 13, 14, 15])
def test_the_usual_transfers_change_nothing(transfer: int) -> None:
    picture = _noisy_face(3)
    assert np.array_equal(decode(_with_chunks(_png(picture[..., ::-1]), _coded(transfer), _gamma(1))), picture)


def test_a_transfer_that_is_left_open_leaves_it_to_the_gamma() -> None:
    picture = _png(_noisy_face(3))
    decode(_with_chunks(picture, _coded(2)))
    with pytest.raises(InputError, match="whose gamma is 1"):
        decode(_with_chunks(picture, _coded(2), _gamma(1)))


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_an_exif_block_that_begins_as_in_a_jpeg_is_read(prefix: bytes) -> None:
    block = prefix + b"MM\0*" + struct.pack(">IHHHIHxxI", 8, 1, 0x0112, 3, 1, 6, 0)
    picture = _noisy_face(3)
    turned = decode(_with_chunks(_png(picture[..., ::-1]), _chunk(b"eXIf", block)))
    assert np.array_equal(turned, np.rot90(picture, -1))


def test_a_damaged_png_is_refused() -> None:
    sound = _png(_noisy_face(4))
    random = np.random.default_rng(0)
    for kind in ("cut", "zeroed", "overwritten", "spliced"):
        for number in range(25):
            damaged = _damaged(sound, _png(_noisy_face(number)), kind, random)
            if damaged != sound:
                with pytest.raises(InputError):
                    decode(damaged)


# A lost part whose neighbours are whole has no wrong checksum.
def test_a_png_without_one_of_its_parts_is_refused() -> None:
    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in _noisy_face(5)))
    parts = [part(b"IDAT", rows[at : at + 4000]) for at in range(0, len(rows), 4000)]
    head = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 160, 200, 8, 2, 0, 0, 0))
    assert decode(head + b"".join(parts) + part(b"IEND", b"")).shape == (200, 160, 3)
    for lost in range(len(parts)):
        rest = b"".join(parts[:lost] + parts[lost + 1 :])
        with pytest.raises(InputError, match="damaged"):
            decode(head + rest + part(b"IEND", b""))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "nor PNG but empty; send"),
        (b"\x1f\x8b\x08" + bytes(99), "nor PNG but gzip; send"),
        (b"https://example.org/driver.jpg", "nor PNG but an address; send"),
        (b"hello", "neither JPEG nor PNG; send"),
        (b"GIF89a" + bytes(99), "nor PNG but GIF"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "nor PNG but HEIC"),
        (b"<!doctype html>", "nor PNG but text"),
        (b"\0\0\0\x0cjP  \r\n", "nor PNG but JPEG 2000"),
        (b"/9j/4AAQSkZJRg", "nor PNG but base64"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "damaged JPEG or PNG .its header"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode(data)


# However the bytes are changed, the answer is a picture or one line that names it; EXIF blocks included.
def test_whatever_comes_is_a_picture_or_an_input_error() -> None:
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    sounds = [_pillow(_noisy_face(0, (48, 56)), kind, exif=exif) for kind in ("JPEG", "PNG")]
    for number in range(1500):
        damaged = bytearray(sounds[number % 2])
        for at in random.integers(2, 200 if number % 3 else len(damaged), size=4):
            damaged[at] = random.integers(256)
        try:
            assert decode(bytes(damaged), "this one", max_pixels=10_000_000).dtype == np.uint8
        except InputError as error:
            assert str(error).startswith("this one: "), error


def test_the_size_is_read_without_decoding() -> None:
    assert preprocess.encoded_size(_opencv(_noisy_face(0))[:700]) == (160, 200)


def test_what_networks_see_is_nearly_the_pixels_of_the_video_grain_included():
    random = np.random.default_rng(0)
    grey = cv2.GaussianBlur(random.normal(0, 60, (200, 160, 3)), (0, 0), 8) * 6 + 120
    grainy = np.clip(grey + random.normal(0, 5, grey.shape), 0, 255).astype(np.uint8)

    def rms(encoded):
        return np.sqrt(np.mean((pictures.decode(encoded)[..., ::-1].astype(float) - grainy) ** 2))

    assert rms(pictures.encode(grainy)) < 2  # 4.3 at quality 95 with half the colours
    assert len(pictures.encode(grainy, for_people=True)) < 0.4 * len(pictures.encode(grainy))


@given(st.data())
def test_a_part_of_a_frame_comes_out_as_of_the_jpeg_that_is_kept_of_the_whole_view(data):
    width, height = data.draw(st.integers(8, 90)), data.draw(st.integers(8, 90))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    composite = np.random.default_rng(width * 100 + height).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    view = composite[11 : 11 + height, 23 : 23 + width]
    kept = pictures.decode(pictures.encode(view[..., ::-1].copy()))
    np.testing.assert_array_equal(pictures.as_kept(view[top:bottom, left:right], view), kept[top:bottom, left:right])
    assert not np.array_equal(kept, view), "noise does not survive a JPEG"


@pytest.mark.parametrize("kind", ["drawn", "blurred", "noisy", "a JPEG's"])
def test_a_png_goes_through_that_jpeg_once_and_not_again(kind: str) -> None:
    noisy = _noisy_face(3, (320, 360))
    raw = {
        "drawn": drives.face(np.array([3.0, -5.0]), (320, 360)),
        "blurred": cv2.GaussianBlur(noisy, (0, 0), 2),
        "noisy": noisy,
        "a JPEG's": decode(_opencv(cv2.GaussianBlur(noisy, (0, 0), 1), cv2.IMWRITE_JPEG_QUALITY, 90)),
    }[kind]
    kept = decode(pictures.encode(raw[..., ::-1].copy()))
    assert not np.array_equal(kept, raw)
    for saved in (raw, kept):
        png = preprocess.read(_pillow(saved, "PNG"), "a", face.whole)
        np.testing.assert_array_equal(png, preprocess.resize(kept))
