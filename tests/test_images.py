"""Every kind of file that people have, good and bad, against pixels known beforehand."""

import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from i2i import images
from i2i.encoders import Packing
from i2i.images import ImageError, Picture

H, W = 6, 9
GREY = (np.arange(H * W).reshape(H, W) * 4).astype(np.uint8)
RGB = np.dstack([GREY, 255 - GREY, GREY * 3]).astype(np.uint8)
ALPHA = (np.arange(H * W).reshape(H, W)[::-1] * 4 + 20).astype(np.uint8)
GREY16 = GREY.astype(np.uint16) * 257 + 3
RGB16 = RGB.astype(np.uint16) * 256 + 7
ALPHA16 = ALPHA.astype(np.uint16) * 256 + 9
FLOAT = GREY.astype(np.float32) / 7 - 3
RGBF = RGB.astype(np.float32) * 10
BITS = np.where(GREY > 100, 255, 0).astype(np.uint8)
INDEX = (GREY // 4 % 4).astype(np.uint8)
PALETTE = np.array([[0, 0, 0], [255, 0, 0], [10, 200, 30], [1, 2, 3]], np.uint8)


def decode(data: bytes, name: str, **options: int) -> Picture:
    """What `images.read` makes of a file with these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(data)
        return images.read(file, **options)


def pil(array: np.ndarray, format: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(array)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def cv(array: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def palette(format: str, **options: object) -> bytes:
    image = Image.frombytes("P", (W, H), INDEX.tobytes())
    image.putpalette(PALETTE.tobytes())
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def frames(format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, format, save_all=True, append_images=[Image.fromarray(255 - GREY)], lossless=True)
    return file.getvalue()


def lab() -> bytes:
    """A mid grey, as L = 50 %, a = b = 0."""
    file = io.BytesIO()
    Image.frombytes("LAB", (W, H), bytes([128, 0, 0]) * (H * W)).save(file, "TIFF")
    return file.getvalue()


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_AS_RGB = np.repeat(GREY[..., None], 3, axis=2)
CLEAR_RED = np.where(INDEX == 1, 0, 255).astype(np.uint8)
CLEAR_PALETTE = palette("PNG", transparency=1)

# name: (bytes, array, alpha, tolerance, a word of the notes)
KINDS = {
    "grey.png": (pil(GREY, "PNG"), GREY, None, 0, ""),
    "grey-alpha.png": (pil(np.dstack([GREY, ALPHA]), "PNG"), GREY, ALPHA, 0, ""),
    "rgb.png": (pil(RGB, "PNG"), RGB, None, 0, ""),
    "rgba.png": (pil(np.dstack([RGB, ALPHA]), "PNG"), RGB, ALPHA, 0, ""),
    "1-bit.png": (pil(BITS, "PNG", "1"), BITS, None, 0, "1 converted"),
    "1-bit-clear.png": (
        png(8, 1, 1, 0, b"\0\xf0", chunk(b"tRNS", b"\0\1")),
        np.array([[255] * 4 + [0] * 4], np.uint8),
        np.array([[0] * 4 + [255] * 4], np.uint8),
        0,
        "alpha",
    ),
    "palette.png": (palette("PNG"), PALETTE[INDEX], None, 0, "palette"),
    "palette-clear.png": (CLEAR_PALETTE, PALETTE[INDEX], CLEAR_RED, 0, "palette"),
    "grey-clear.png": (pil(GREY, "PNG", transparency=8), GREY, np.where(GREY == 8, 0, 255).astype(np.uint8), 0, "alpha"),
    "rgb-clear.png": (
        pil(RGB, "PNG", transparency=(0, 255, 0)),
        RGB,
        np.where((RGB == [0, 255, 0]).all(axis=2), 0, 255).astype(np.uint8),
        0,
        "alpha",
    ),
    "icc.png": (pil(RGB, "PNG", icc_profile=SRGB), RGB, None, 0, ""),
    "grey16.png": (cv(GREY16, ".png"), GREY16, None, 0, ""),
    "rgb16.png": (cv(RGB16[..., ::-1], ".png"), RGB16, None, 0, ""),
    "rgba16.png": (cv(np.dstack([RGB16[..., ::-1], ALPHA16]), ".png"), RGB16, ALPHA16, 0, ""),
    "grey-alpha16.png": (
        png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 1000, 2000, 3000, 4000)),
        np.array([[1000, 3000]], np.uint16),
        np.array([[2000, 4000]], np.uint16),
        0,
        "",
    ),
    "grey16-clear.png": (
        png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 3000), chunk(b"tRNS", struct.pack(">H", 3000))),
        np.array([[1000, 3000]], np.uint16),
        np.array([[65535, 0]], np.uint16),
        0,
        "",
    ),
    "grey.jpg": (pil(GREY, "JPEG", quality=100), GREY, None, 3, ""),
    "rgb.jpg": (pil(GREY_AS_RGB, "JPEG", quality=100), GREY_AS_RGB, None, 3, ""),
    "cmyk.jpg": (pil(GREY_AS_RGB, "JPEG", "CMYK", quality=100), GREY_AS_RGB, None, 4, "CMYK"),
    "lossless.webp": (pil(RGB, "WEBP", lossless=True), RGB, None, 0, ""),
    "alpha.webp": (pil(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True), RGB, ALPHA, 0, ""),
    "rgb.bmp": (pil(RGB, "BMP"), RGB, None, 0, ""),
    "grey.bmp": (pil(GREY, "BMP"), GREY, None, 0, ""),
    "palette.gif": (palette("GIF"), PALETTE[INDEX], None, 0, "palette"),
    "clear.gif": (palette("GIF", transparency=1), PALETTE[INDEX], CLEAR_RED, 0, "palette"),
    "frames.gif": (frames("GIF"), GREY_AS_RGB, None, 0, "first of 2 frames"),
    "frames.webp": (frames("WEBP"), GREY_AS_RGB, None, 0, "first of 2 frames"),
    "frames.png": (frames("PNG"), GREY, None, 0, "first of 2 frames"),
    "frames.tif": (frames("TIFF"), GREY, None, 0, "first of 2 frames"),
    "grey.pgm": (pil(GREY, "PPM"), GREY, None, 0, ""),
    "rgb.ppm": (pil(RGB, "PPM"), RGB, None, 0, ""),
    "grey16.pgm": (cv(GREY16, ".pgm"), GREY16, None, 0, ""),
    "rgb16.ppm": (cv(RGB16[..., ::-1], ".ppm"), RGB16, None, 0, ""),
    "10-bit.pgm": (b"P5 2 1 1023\n" + struct.pack(">2H", 1023, 512), np.array([[65535, 32800]], np.uint16), None, 0, "1023"),
    "text.ppm": (b"P3\n1 1\n65535\n1000 300 2\n", np.array([[[1000, 300, 2]]], np.uint16), None, 0, ""),
    "grey.tif": (pil(GREY, "TIFF"), GREY, None, 0, ""),
    "rgb-lzw.tif": (pil(RGB, "TIFF", compression="tiff_lzw"), RGB, None, 0, ""),
    "rgba.tif": (pil(np.dstack([RGB, ALPHA]), "TIFF"), RGB, ALPHA, 0, ""),
    "1-bit-fax.tif": (pil(BITS, "TIFF", "1", compression="group4"), BITS, None, 0, "1 converted"),
    "palette.tif": (palette("TIFF"), PALETTE[INDEX], None, 0, "palette"),
    "cmyk.tif": (pil(GREY_AS_RGB, "TIFF", "CMYK"), GREY_AS_RGB, None, 1, "CMYK"),
    "ycbcr.tif": (pil(GREY_AS_RGB, "TIFF", "YCbCr"), GREY_AS_RGB, None, 2, "YCbCr"),
    "jpeg.tif": (pil(GREY_AS_RGB, "TIFF", compression="jpeg", quality=100), GREY_AS_RGB, None, 4, ""),
    "lab.tif": (lab(), np.full((H, W, 3), 119, np.uint8), None, 2, "LAB"),
    "grey16.tif": (cv(GREY16, ".tif"), GREY16, None, 0, ""),
    "rgb16.tif": (cv(RGB16[..., ::-1], ".tif"), RGB16, None, 0, ""),
    "rgba16.tif": (cv(np.dstack([RGB16[..., ::-1], ALPHA16]), ".tif"), RGB16, ALPHA16, 0, ""),
    "float.tif": (pil(FLOAT, "TIFF"), FLOAT, None, 0, ""),
    "rgb-float.tif": (cv(RGBF[..., ::-1], ".tif"), RGBF, None, 0, ""),
    "int32.tif": (pil(GREY.astype(np.int32) - 100, "TIFF"), GREY.astype(np.float32) - 100, None, 0, "int32"),
    "1x1.png": (pil(RGB[:1, :1], "PNG"), RGB[:1, :1], None, 0, ""),
    "column.png": (pil(RGB[:, :1], "PNG"), RGB[:, :1], None, 0, ""),
    "row16.tif": (cv(RGB16[:1, :, ::-1], ".tif"), RGB16[:1], None, 0, ""),
    "png-named.jpg": (pil(RGB, "PNG"), RGB, None, 0, "PNG content in a .jpg file"),
    "suffix.PNG": (pil(RGB, "PNG"), RGB, None, 0, ""),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_file_gives_its_exact_pixels(tmp_path, name):
    data, array, alpha, tolerance, note = KINDS[name]
    (tmp_path / name).write_bytes(data)
    picture, found = images.read(tmp_path / name), images.header(tmp_path / name)
    array = array if array.ndim == 3 else array[..., None]
    assert (picture.array.shape, picture.array.dtype) == (array.shape, array.dtype)
    assert np.abs(picture.array.astype(float) - array).max() <= tolerance
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        assert picture.alpha.dtype == array.dtype
        np.testing.assert_array_equal(picture.alpha, alpha)
    assert note in " ".join(picture.notes)
    assert bool(note) == bool(picture.notes)
    described = (found.height, found.width, found.channels, found.dtype, found.alpha)
    assert described == (picture.height, picture.width, picture.channels, picture.dtype, alpha is not None)


FLOATS = {"float.tif", "rgb-float.tif", "int32.tif"}


def test_every_kind_goes_through_a_model_with_its_pixels_size_depth_and_alpha(same):
    """The model returns its input, and makes colour of grey. Floats, whose range nobody knows, are refused by one of 8 bits."""
    Path("in").mkdir()
    for name, (data, *_) in KINDS.items():
        Path("in", name).write_bytes(data)
    records = list(same.translate_folder("in", "out"))
    assert {record.input.name for record in records if record.status != "done"} == FLOATS
    done = [record for record in records if record.status == "done"]
    assert len(done) == len(KINDS) - len(FLOATS)
    for record in done:
        given, made = images.read(record.input), images.read(record.output)
        assert (made.array.shape, made.dtype) == ((given.height, given.width, 3), given.dtype), record.input
        assert np.abs(made.array.astype(int) - given.array).max() <= 1, record.input
        assert (made.alpha is None) == (given.alpha is None), record.input
        if given.alpha is not None:
            np.testing.assert_array_equal(made.alpha, given.alpha)


def stored_for(orientation: int, upright: np.ndarray) -> np.ndarray:
    """What a camera would store so that a viewer who follows `orientation` sees `upright`."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return np.asarray(Image.fromarray(upright).transpose(turn[orientation])) if orientation > 1 else upright


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_in_every_format_and_depth(tmp_path, orientation):
    stored, stored16 = stored_for(orientation, RGB), stored_for(orientation, GREY16)
    tag, deep = exif(orientation), cv(stored16, ".png")
    files = {
        "a.png": (pil(stored, "PNG", exif=tag), RGB),
        "a.webp": (pil(stored, "WEBP", lossless=True, exif=tag), RGB),
        "a.tif": (pil(stored, "TIFF", tiffinfo={274: orientation}), RGB),
        "palette.tif": (pil(stored_for(orientation, GREY), "TIFF", "P", tiffinfo={274: orientation}), GREY_AS_RGB),
        "a16.tif": (pil(stored16, "TIFF", tiffinfo={274: orientation}), GREY16[..., None]),
        "a16.png": (deep[:33] + chunk(b"eXIf", tag[6:]) + deep[33:], GREY16[..., None]),
    }
    for name, (data, expected) in files.items():
        (tmp_path / name).write_bytes(data)
        picture, found = images.read(tmp_path / name), images.header(tmp_path / name)
        np.testing.assert_array_equal(picture.array, expected, name)
        assert (found.height, found.width) == expected.shape[:2]
        assert ("EXIF orientation applied" in picture.notes) == (orientation > 1)
    jpeg = decode(pil(stored_for(orientation, GREY), "JPEG", quality=100, exif=tag), "photo.jpg")
    assert np.abs(jpeg.array[..., 0].astype(int) - GREY).max() <= 3


def test_cmyk_goes_through_its_profile_where_it_has_one():
    ink = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    file = io.BytesIO()
    ink.save(file, "TIFF", icc_profile=b"not a profile")
    assert "damaged" in decode(file.getvalue(), "ink.tif").notes[0]


def test_hidden_colour_under_alpha_is_left_as_it_is(tmp_path):
    hidden = Picture(RGB, np.zeros((H, W), np.uint8))
    for suffix in (".png", ".tif"):
        np.testing.assert_array_equal(decode(images.encode(hidden, suffix), f"x{suffix}").array, RGB)


def test_sixteen_bit_premultiplied_alpha_is_undone():
    tifffile = pytest.importorskip("tifffile")
    half, file = np.full((H, W, 4), (100, 200, 300, 32768), np.uint16), io.BytesIO()
    tifffile.imwrite(file, half, photometric="rgb", extrasamples=["assocalpha"])
    picture = decode(file.getvalue(), "half.tif")
    assert picture.array[0, 0].tolist() == [200, 400, 600]
    assert picture.notes == ("premultiplied alpha undone",)


TIFF_KINDS = [
    (dtype, channels, predictor, packing, planar, tile, order, big)
    for dtype in ("uint8", "uint16", "float32", "int16")
    for channels in (1, 3, 4, 7)
    for predictor in (False, True)
    for packing in (None, "zlib")
    for planar in ("contig", "separate")
    for tile in (None, (16, 16))
    for order, big in (("<", False), (">", True))
    if (channels > 1 or planar == "contig") and not (predictor and (packing is None or dtype == "float32"))
]


def test_tiffs_of_every_layout_are_read():
    tifffile = pytest.importorskip("tifffile")
    noise = np.random.default_rng(0).random((37, 45, 7)) * 250
    for dtype, channels, predictor, packing, planar, tile, order, big in TIFF_KINDS:
        array, file = noise[..., :channels].astype(dtype), io.BytesIO()
        tifffile.imwrite(
            file,
            (array if planar == "contig" else array.transpose(2, 0, 1)) if channels > 1 else array[..., 0],
            photometric="rgb" if channels in (3, 4) else "minisblack",
            extrasamples=["unassalpha"] if channels == 4 else None,
            planarconfig=planar if channels > 1 else None,
            **{"predictor": predictor, "compression": packing, "tile": tile, "byteorder": order, "bigtiff": big},
            rowsperstrip=None if tile else 10,
            metadata=None,
        )
        picture = decode(file.getvalue(), "x.tif")
        np.testing.assert_array_equal(picture.stacked, array)
        assert (picture.alpha is not None) == (channels == 4)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_floating_point_predictor_is_undone(channels):
    noise = np.random.default_rng(0).standard_normal((37, 45, channels)).astype(np.float32)
    how = [cv2.IMWRITE_TIFF_COMPRESSION, 8, cv2.IMWRITE_TIFF_PREDICTOR, 3]
    data = cv2.imencode(".tif", noise[..., [2, 1, 0, 3][:channels]] if channels > 1 else noise, how)[1].tobytes()
    assert struct.pack("<HHIHxx", 317, 3, 1, 3) in data
    np.testing.assert_array_equal(decode(data, "x.tif").stacked, noise)


# Bad files

GOOD = {name: KINDS[name][0] for name in ("rgb.png", "rgb16.png", "rgb.jpg", "alpha.webp", "rgb.bmp", "rgb-lzw.tif")}
GOOD |= {name: KINDS[name][0] for name in ("rgb16.tif", "float.tif", "palette.tif", "palette.gif", "rgb16.ppm", "text.ppm")}
BAD = {
    "empty.png": (b"", "empty"),
    "page.png": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "text.jpg": (b"hello, world", "not an image"),
    "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
    "crc.png": (GOOD["rgb.png"][:-20] + bytes([GOOD["rgb.png"][-20] ^ 1]) + GOOD["rgb.png"][-19:], "broken PNG"),
    "nan.tif": (pil(np.where(FLOAT > 0, np.nan, FLOAT).astype(np.float32), "TIFF"), "not finite"),
    "infinite.tif": (pil(np.where(FLOAT > 0, np.inf, FLOAT).astype(np.float32), "TIFF"), "not finite"),
    "bare.tif": (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "no picture"),
    "circle.tif": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "no picture"),
    "zero.pgm": (b"P5 0 0 255\n", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, name):
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=name) as caught:
        images.read(tmp_path / name)
    assert reason in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert "<_io" not in caught.value.message


@pytest.mark.parametrize("name", GOOD)
def test_a_file_cut_anywhere_is_reported(name):
    data = GOOD[name].rstrip()
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            decode(data[: int(len(data) * share)], name)


def test_folders_pipes_and_missing_files_are_refused_without_waiting(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    names = {
        "folder.png": "folder",
        "pipe.png": "regular",
        "missing.png": "no such",
        "loop.png": "cannot",
        "x" * 300: "cannot",
        "\0": "cannot",
    }
    for name, reason in names.items():
        with pytest.raises(ImageError, match=reason):
            images.read(tmp_path / name)
        with pytest.raises(ImageError, match=reason):
            images.header(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_reported(tmp_path):
    (tmp_path / "x.png").write_bytes(GOOD["rgb.png"])
    (tmp_path / "x.png").chmod(0)
    with pytest.raises(ImageError, match="permission"):
        images.read(tmp_path / "x.png")


def huge_png(side: int, depth: int) -> bytes:
    return png(side, side, depth, 2, b"")


@pytest.mark.parametrize(
    "data",
    [
        huge_png(30_000, 8),
        huge_png(30_000, 16),
        huge_png(11_000, 8),
        b"P5 30000 30000 65535\n",
        KINDS["rgb16.tif"][0].replace(struct.pack("<HHIHxx", 256, 3, 1, W), struct.pack("<HHII", 256, 4, 1, 1 << 30)),
    ],
    ids=["8 bit", "16 bit", "just over", "pgm", "tiff"],
)
def test_a_bomb_is_refused_before_it_is_decoded(data):
    start = time.monotonic()
    with pytest.raises(ImageError, match="megapixels"):
        decode(data, "bomb")
    assert time.monotonic() - start < 0.5


def test_the_pixel_limit_is_a_parameter(tmp_path):
    (tmp_path / "x.png").write_bytes(GOOD["rgb.png"])
    assert images.read(tmp_path / "x.png", max_pixels=H * W).width == W
    with pytest.raises(ImageError, match="over"):
        images.header(tmp_path / "x.png", max_pixels=H * W - 1)


@pytest.mark.parametrize(
    "name", ["ü 🎈.png", "line\nbreak.png", "[b]red[b].png", "n" * 251 + ".png", "-x.png", os.fsdecode(b"\xff.png")]
)
def test_odd_names_are_read_written_and_printable(tmp_path, name):
    images.write(tmp_path / name, Picture(RGB))
    np.testing.assert_array_equal(images.read(tmp_path / name).array, RGB)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        images.read(tmp_path / name)
    assert caught.value.message.encode().decode().isprintable()


def test_mutated_files_give_a_picture_or_an_image_error():
    chance = random.Random(1)
    for name, data in KINDS.items():
        for _ in range(12):
            mutated = bytearray(data[0])
            for _ in range(chance.randint(1, 4)):
                mutated[chance.randrange(len(mutated))] = chance.choice((0, 1, 127, 255, chance.randrange(256)))
            try:
                picture = decode(bytes(mutated), name, max_pixels=1_000_000)
            except ImageError:
                continue
            assert picture.array.ndim == 3


# Writing

DEPTHS = {"uint8": 1, "uint16": 257, "float32": 0.37}


def example(dtype: str, channels: int, alpha: bool) -> Picture:
    noise = np.random.default_rng(channels).integers(0, 256, (H, W, channels + 1)) * DEPTHS[dtype]
    values = noise.astype(dtype)
    return Picture(values[..., :-1], values[..., -1] if alpha else None)


ROUND_TRIPS = [
    *((".png", dtype, channels, alpha) for dtype in ("uint8", "uint16") for channels in (1, 3) for alpha in (False, True)),
    *((".tif", dtype, channels, alpha) for dtype in DEPTHS for channels in (1, 2, 3, 4, 5, 7) for alpha in (False, True)),
    *((".bmp", "uint8", channels, False) for channels in (1, 3)),
]


@pytest.mark.parametrize(("suffix", "dtype", "channels", "alpha"), ROUND_TRIPS)
def test_what_is_written_is_read_back(tmp_path, suffix, dtype, channels, alpha):
    picture, path = example(dtype, channels, alpha), tmp_path / f"x{suffix}"
    picture.save(path)
    back = images.read(path)
    assert (back.dtype, back.channels, back.notes) == (dtype, channels, ())
    np.testing.assert_array_equal(back.stacked, picture.stacked)
    assert (back.alpha is not None) == alpha
    assert path.read_bytes() == images.encode(picture, suffix)


@pytest.mark.parametrize("picture", [example("uint16", 3, True), example("uint8", 1, True)])
def test_other_readers_read_our_png_and_tiff(picture):
    for suffix in (".png", ".tif"):
        data = images.encode(picture, suffix)
        if picture.dtype == "uint8":
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture.stacked)
        else:
            seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(seen[..., [2, 1, 0, 3]], picture.stacked)


def test_lossy_formats_come_close_and_obey_the_quality():
    smooth = np.repeat(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)[..., None], 3, axis=2)
    for suffix in (".jpg", ".jpeg", ".webp"):
        good, poor = images.encode(Picture(smooth), suffix), images.encode(Picture(smooth), suffix, Packing(quality=10))
        assert np.abs(decode(good, f"x{suffix}").array.astype(int) - smooth).max() <= 6
        assert len(poor) < len(good)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (1, True), (3, False), (3, True)])
def test_a_png_holds_the_same_however_hard_it_is_packed(dtype, channels, alpha):
    ramp = np.add.outer(np.arange(64), np.arange(64))[..., None] * DEPTHS[dtype]
    values = np.repeat(ramp, channels + 1, axis=2).astype(dtype)
    picture = Picture(values[..., :-1], values[..., -1] if alpha else None)
    usual, *packed = [images.encode(picture, ".png", Packing(compression=level)) for level in (None, 0, 1, 9)]
    for data in (usual, *packed):
        np.testing.assert_array_equal(decode(data, "x.png").stacked, picture.stacked)
    assert len(packed[0]) > len(packed[1]) >= len(packed[2])
    assert len(usual) < len(packed[0])


def test_the_bytes_of_a_file_are_read_as_the_file_is():
    np.testing.assert_array_equal(images.read(GOOD["rgb.png"]).array, RGB)
    np.testing.assert_array_equal(images.read_ids(pil(GREY, "PNG")), GREY)
    with pytest.raises(ImageError, match="cannot read the image: the file is empty"):
        images.read(b"")


@pytest.mark.parametrize(
    ("suffix", "picture", "reason"),
    [
        (".jpg", example("uint8", 3, True), "JPEG has no alpha"),
        (".bmp", example("uint8", 3, True), "BMP has no alpha"),
        (".jpg", example("uint16", 3, False), "JPEG cannot hold uint16"),
        (".webp", example("uint16", 3, False), "WebP cannot hold uint16"),
        (".png", example("float32", 3, False), "PNG cannot hold float32"),
        (".png", example("uint8", 5, False), "1 or 3 channels, not 5"),
        (".png", example("uint8", 2, False), "1 or 3 channels, not 2"),
        (".webp", Picture(np.zeros((1, 20_000, 3), np.uint8)), "cannot encode 20000x1"),
        (".gif", example("uint8", 3, False), "cannot write '.gif' files"),
        ("", example("uint8", 3, False), "cannot write '' files"),
    ],
)
def test_what_a_format_cannot_hold_is_said_and_nothing_is_written(tmp_path, suffix, picture, reason):
    with pytest.raises(ImageError, match=reason):
        images.write(tmp_path / f"x{suffix}", picture)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_a_disk_that_is_full_is_reported(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        images.write(tmp_path / "missing" / "x.png", Picture(RGB))
    code = "import resource, signal, sys, numpy as np; from pathlib import Path; from i2i import errors, images\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "try: images.write(Path(sys.argv[1]), images.Picture(np.zeros((99, 99, 3), np.uint8)))\n"
    code += "except errors.OutOfResources as error: print(error)"
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "x.bmp"], capture_output=True, text=True, check=True)
    assert "cannot write" in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_to_pil_gives_the_same_values_and_refuses_what_pillow_cannot_hold():
    for channels, alpha, mode in ((1, False, "L"), (1, True, "LA"), (3, False, "RGB"), (3, True, "RGBA")):
        picture = example("uint8", channels, alpha)
        assert picture.to_pil().mode == mode
        np.testing.assert_array_equal(np.asarray(picture.to_pil()).reshape(H, W, -1), picture.stacked)
    with pytest.raises(ImageError, match="uint16 with 3 channels"):
        example("uint16", 3, False).to_pil()


# Ids


def ids(data: bytes, name: str, palette=None) -> np.ndarray:
    """What `images.read_ids` makes of a file with these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(data)
        return images.read_ids(file, palette)


def stored_tiff(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "TIFF")
    return file.getvalue()


LARGE = np.array([[0, 7, 254, 255], [26_001, 32_767, 33_008, 65_535]])
ID_FILES = {
    "8-bit PNG": (pil(GREY, "PNG"), "x.png", GREY),
    "8-bit BMP": (pil(GREY, "BMP"), "x.bmp", GREY),
    "8-bit TIFF": (stored_tiff(GREY), "x.tif", GREY),
    "palette PNG": (palette("PNG"), "x.png", INDEX),
    "palette PNG with a clear colour": (palette("PNG", transparency=1), "x.png", INDEX),
    "palette GIF": (palette("GIF"), "x.gif", INDEX),
    "palette TIFF": (palette("TIFF"), "x.tif", INDEX),
    "1-bit PNG": (pil(BITS, "PNG", "1"), "x.png", BITS // 255),
    "16-bit PNG": (cv(LARGE.astype(np.uint16), ".png"), "x.png", LARGE),
    "16-bit TIFF": (cv(LARGE.astype(np.uint16), ".tif"), "x.tif", LARGE),
    "32-bit TIFF": (stored_tiff((LARGE - 1).astype(np.int32) * 1000), "x.tif", (LARGE - 1) * 1000),
    "16-bit PGM": (b"P5 4 2 65535\n" + LARGE.astype(">u2").tobytes(), "x.pgm", LARGE),
}


@pytest.mark.parametrize(("data", "name", "expected"), ID_FILES.values(), ids=ID_FILES)
def test_ids_are_read_as_they_are_stored(data, name, expected):
    found = ids(data, name)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_colours_are_read_as_their_place_in_the_palette():
    colours = PALETTE[[2, 0, 3]]
    expected = np.array([1, -1, 0, 2])[INDEX]  # the second colour of the file is not among these
    for data, name in (
        (pil(PALETTE[INDEX], "PNG"), "x.png"),
        (palette("PNG"), "x.png"),
        (cv(PALETTE[INDEX][..., ::-1], ".tif"), "x.tif"),
    ):
        np.testing.assert_array_equal(ids(data, name, colours), expected)
    np.testing.assert_array_equal(ids(pil(GREY, "PNG"), "x.png", colours), GREY)


def test_ids_are_turned_upright():
    np.testing.assert_array_equal(ids(pil(INDEX, "PNG", exif=exif(6)), "x.png"), np.rot90(INDEX, -1))


NO_IDS = {
    "JPEG": (pil(GREY, "JPEG"), "x.jpg", "JPEG does not keep ids"),
    "JPEG by another name": (pil(GREY, "JPEG"), "x.png", "JPEG does not keep ids"),
    "WebP": (pil(RGB, "WEBP"), "x.webp", "WEBP does not keep ids"),
    "colours": (pil(RGB, "PNG"), "x.png", "colours, not the ids"),
    "RGBA": (pil(np.dstack([RGB, ALPHA]), "PNG"), "x.png", "RGBA pixels"),
    "LA": (pil(np.dstack([GREY, ALPHA]), "PNG"), "x.png", "LA pixels"),
    "CMYK": (pil(np.dstack([RGB, GREY]), "TIFF", "CMYK"), "x.tif", "CMYK pixels"),
    "floats": (stored_tiff(FLOAT), "x.tif", "float32 values are no ids"),
    "16-bit colours": (cv(RGB16, ".png"), "x.png", "uint16 colours are no ids"),
    "five channels": (images.encode(Picture(np.zeros((4, 4, 5), np.uint8)), ".tif"), "x.tif", "other channels"),
    "a PGM that goes to 34": (b"P5 2 1 34\n\0\x22", "x.pgm", "go up to 34"),
    "damage": (pil(GREY, "PNG")[:-30], "x.png", "cannot read"),
}


@pytest.mark.parametrize(("data", "name", "reason"), NO_IDS.values(), ids=NO_IDS)
def test_what_does_not_hold_exact_ids_is_refused_by_name(data, name, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        ids(data, name)
    assert name in caught.value.message
    assert caught.value.hint


# Resizing


def test_resizing_is_pillows_bicubic():
    expected = np.asarray(Image.fromarray(RGB).resize((4, 3), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(images.resize(RGB, (3, 4)), expected)
    assert images.resize(RGB, (H, W)) is RGB


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_resizing_keeps_type_channels_and_flat_areas(dtype, channels):
    flat = np.full((H, W, channels), 200, dtype)
    flat[..., 0] = 0
    resized = images.resize(flat, (13, 4))
    assert (resized.shape, resized.dtype.name) == ((13, 4, channels), dtype)
    np.testing.assert_allclose(resized, np.broadcast_to(flat[0, 0], resized.shape), atol=1e-3)


def test_sixteen_bit_resizing_rounds_and_does_not_wrap():
    edge = np.zeros((8, 8, 1), np.uint16)
    edge[:, 4:] = 65535
    resized = images.resize(edge, (16, 16))
    assert resized.max() == 65535
    assert resized.min() == 0
    eight = images.resize((edge // 257).astype(np.uint8), (16, 16))
    assert np.abs(resized / 257.0 - eight).max() <= 1


@pytest.mark.parametrize("size", [(4, 3), (5, 13), (30, 31), (6, 4)])
def test_ids_are_resized_on_pillows_nearest_grid(size):
    expected = np.asarray(Image.fromarray(GREY).resize(size[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(images.nearest(GREY[..., None], size)[..., 0], expected)
    deep = images.nearest(GREY.astype(np.int32)[..., None] * 1000, size)
    np.testing.assert_array_equal(deep[..., 0], expected.astype(np.int32) * 1000)


def test_the_module_does_not_import_torch():
    code = "import sys, i2i.images, i2i.domain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
