"""image_reader.py: every PNG becomes the pixels that Pillow makes of it, alone or among others."""

import errno
import io
import os
import random
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import constants
from pipeline.images import png_check
from pipeline.images.image_reader import ReadResult, read_images, read_raw
from pipeline.images.preparation import REDUCING_GAP, Preparation
from testkit.pngs import CHANNELS, LEGAL, PALETTE, written

SIZE = 6


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def picture(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def save(pixels: np.ndarray, path: Path, **options) -> None:
    Image.fromarray(pixels).save(path, "PNG", **options)


def read(paths: list[Path], size: int, fit: str = "squeeze") -> tuple[np.ndarray, ReadResult]:
    """The images at `paths`, all in one folder, and what is said of them."""
    images = np.zeros((len(paths), size, size, 3), np.uint8)
    names = [path.name for path in paths]
    preparation = Preparation(size, fit)
    return images, read_images(str(paths[0].parent), names, preparation, images.reshape(-1).data)


def read_image(path: Path, size: int) -> np.ndarray:
    (image,), answer = read([path], size)
    assert answer.damaged == {}
    return image


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def test_reads_rgb_exactly(tmp_path):
    save(picture(1), tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), picture(1))


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(height, width, 3) with alpha (height, width)."""
    alpha = alpha.astype(int)[..., None]
    return ((pixels * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def test_what_is_transparent_shows_white(tmp_path):
    for alpha in (0, 1, 128, 254):
        alphas = np.full((SIZE, SIZE), alpha, np.uint8)
        save(np.dstack([picture(2), alphas]), tmp_path / "x.png")
        expected = on_white(picture(2), alphas)
        np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), expected)
    grey = picture(3)[..., 0]
    save(np.dstack([grey, 255 - grey]), tmp_path / "x.png")
    expected = on_white(np.dstack([grey] * 3), 255 - grey)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), expected)


@pytest.mark.parametrize("transparency", [None, 77])
def test_reads_grey_as_three_equal_channels(tmp_path, transparency):
    grey = picture(3)[..., 0]
    options = {} if transparency is None else {"transparency": transparency}
    grey[0, 0] = 77
    save(grey, tmp_path / "x.png", **options)
    expected = np.where(grey == transparency, 255, grey) if transparency else grey
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), np.dstack([expected] * 3))


def test_reads_one_bit_as_black_and_white(tmp_path):
    bits = picture(4)[..., 0] > 127
    save(bits, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "1"
    expected = np.dstack([bits * np.uint8(255)] * 3)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), expected)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(16))])
def test_reads_a_palette_exactly(tmp_path, transparency):
    indexes, palette = picture(5)[..., 0] % 16, picture(6).ravel()[:48]
    image = Image.fromarray(indexes)
    image.putpalette(palette.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "x.png", **options)
    alphas = np.full(16, 255)
    if isinstance(transparency, bytes):
        alphas = np.frombuffer(transparency, np.uint8)
    elif transparency:
        alphas[transparency] = 0
    expected = on_white(palette.reshape(16, 3)[indexes], alphas[indexes])
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), expected)


def test_16_bit_grey_of_the_whole_range_is_divided_by_257(tmp_path):
    deep = np.random.default_rng(7).integers(0, 65536, (SIZE, SIZE), np.uint16)
    deep[0, :4] = [0, 255, 256, 65535]
    save(deep, tmp_path / "x.png")
    expected = np.dstack([(deep / 257 + 0.5).astype(np.uint8)] * 3)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), expected)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_resizes_to_the_size_that_is_asked_for(tmp_path, size):
    pixels = np.random.default_rng(8).integers(0, 256, (9, 17, 3), np.uint8)
    save(pixels, tmp_path / "x.png")
    expected = resized(Image.fromarray(pixels), size)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", size), np.asarray(expected))


def test_a_wide_picture_of_one_colour_keeps_its_colour(tmp_path):
    save(np.full((2, 50, 3), (10, 200, 30), np.uint8), tmp_path / "x.png")
    assert (read_image(tmp_path / "x.png", SIZE) == (10, 200, 30)).all()


EXTRAS = {
    "a short gamma": chunk(b"gAMA", b"\0\0"),
    "a damaged profile": chunk(b"iCCP", b"p\0\0nothing"),
    "a large text": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3_000_000))),
    "a short time": chunk(b"tIME", b"\1"),
    "a short animation": chunk(b"acTL", b"\1"),
    "an animation of a part": chunk(b"acTL", struct.pack(">II", 1, 0))
    + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 1, 1, 2, 2, 1, 1, 0, 0)),
}


@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
def test_what_a_png_holds_beside_its_pixels_changes_nothing(tmp_path, extra, behind):
    path = tmp_path / "x.png"
    save(picture(1), path)
    content = path.read_bytes()
    place = len(content) - 12 if behind else 33
    path.write_bytes(content[:place] + extra + content[place:])
    np.testing.assert_array_equal(read_image(path, SIZE), picture(1))


def test_a_row_with_a_filter_that_does_not_exist_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(6) + b"\5" + bytes(6))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert read([tmp_path / "x.png"], 2)[1].damaged == {
        0: "has a row with a filter that no PNG has"
    }


# Together as alone.


def pillow(content: bytes, size: int) -> np.ndarray:
    """What Pillow makes of one PNG, which it decodes by itself; put on white and resized here."""
    with Image.open(io.BytesIO(png_check.without_extras(content))) as image:
        image.load()
    samples, header = np.asarray(image).astype(float), png_check.validate_png(content)[0]
    if image.mode == "I;16":
        gray = resized(Image.fromarray(samples.astype(np.float32)), size)
        scaled = (np.asarray(gray) - samples.min()) * 255 / max(1, np.ptp(samples))
        return np.dstack([(scaled + 0.5).astype(np.uint8)] * 3)
    alpha = samples[..., -1] if image.mode in ("LA", "RGBA") else np.full(image.size[::-1], 255)
    if image.mode == "P":
        table = np.full(256, 255)
        table[: len(header.transparency)] = list(header.transparency)
        alpha = table[np.asarray(image)]
    elif header.transparency:
        values = np.frombuffer(header.transparency, ">u2") % 2**header.depth
        shown = np.asarray(image.convert("RGB"))
        same = (shown == values * 255 // (2**header.depth - 1)).all(axis=2)
        alpha = np.where(same, 0, 255)
    whole = Image.fromarray(on_white(np.asarray(image.convert("RGB")), alpha))
    return np.asarray(resized(whole, size))


def resized(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)


def random_png(rng: random.Random, colour: int, depth: int, interlace: int, size: int) -> bytes:
    """A PNG whose rows each have a filter drawn by chance; of another size now and then."""
    width, height = (
        (rng.randrange(1, 17), rng.randrange(1, 17)) if rng.random() < 0.3 else [size] * 2
    )
    samples = [rng.randrange(2**depth) for _ in range(height * width * CHANNELS[colour])]
    palette = rng.randbytes(3 * 2**depth) if colour == PALETTE else b""
    array = np.array(samples).reshape(height, width, -1)
    return written(array, depth, colour, interlace, rng, palette)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("kept", [0, png_check.KEPT], ids=["in pieces", "at once"])
def test_pixels_that_point_beyond_the_palette_are_refused(
    tmp_path, monkeypatch, depth, interlace, kept
):
    monkeypatch.setattr(png_check, "KEPT", kept)
    rng = random.Random(depth)
    indexes = np.array([rng.randrange(2**depth - 1) for _ in range(7 * 7)]).reshape(7, 7, 1)
    indexes[6, 6] = most = 2**depth - 1  # in the last pass, if there are any
    palette = rng.randbytes(3 * 2**depth)
    short = written(indexes, depth, PALETTE, interlace, rng, palette[:-3])
    whole = written(indexes, depth, PALETTE, interlace, rng, palette)
    indexes[6, 6] = 0
    unused = written(indexes, depth, PALETTE, interlace, rng, palette[:-3])
    images, answer = read(put(tmp_path, [whole, short, unused]), 7)
    assert answer.damaged == {1: f"has pixels that point beyond its palette of {most} colours"}
    for image, content in ((images[0], whole), (images[2], unused)):
        np.testing.assert_array_equal(image, pillow(content, 7))


def put(folder: Path, contents: list[bytes]) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.mark.parametrize("size", [1, 7, 12])
def test_png_for_png_the_pixels_are_those_of_pillow(tmp_path, size):
    rng = random.Random(size)
    kinds = [(*kind, interlace) for kind in LEGAL for interlace in (0, 1)]
    runs = [kind for kind in rng.sample(kinds, len(kinds)) for _ in range(rng.randrange(1, 12))]
    contents = [random_png(rng, colour, depth, lace, size) for colour, depth, lace in runs]
    images, answer = read(put(tmp_path, contents), size)
    assert answer.damaged == {}
    for content, image in zip(contents, images, strict=True):
        np.testing.assert_array_equal(image, pillow(content, size))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_plain_pngs_are_decoded_together(tmp_path, mode, monkeypatch):
    contents = []
    for number in range(300):
        file = io.BytesIO()
        Image.fromarray(picture(number)).convert(mode).save(file, "PNG")
        contents.append(file.getvalue())
    expected = [pillow(content, SIZE) for content in contents]
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return frombytes(*arguments)

    frombytes = Image.frombytes
    monkeypatch.setattr(Image, "frombytes", counted)
    monkeypatch.setattr(Image, "open", None)
    images, _ = read(put(tmp_path, contents), SIZE)
    np.testing.assert_array_equal(images, expected)
    assert len(calls) == 1


def test_so_many_are_decoded_together_that_it_takes_little_memory(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (600, 600), "red").save(content, "PNG")
    paths = put(tmp_path, [content.getvalue()] * 50)
    tracemalloc.start()
    images, _ = read(paths, SIZE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (images == (255, 0, 0)).all()
    assert peak < 8 * 600 * 600 * 3


def test_a_picture_larger_than_what_is_kept_is_read_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(png_check, "KEPT", SIZE * (1 + SIZE * 3) - 1)
    save(picture(1), tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", SIZE), picture(1))


def test_a_damaged_image_spoils_none_of_its_neighbours(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        save(picture(number), path)
    paths[0].write_bytes(b"")
    paths[4].write_bytes(paths[4].read_bytes()[:-12])
    paths[8].unlink()
    images, answer = read(paths, SIZE)
    assert answer.damaged == {
        0: "is empty",
        4: "is cut off: it has no end (IEND)",
        8: "cannot be read: No such file or directory",
    }
    whole = [1, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(images[whole], [picture(number) for number in whole])


def test_equal_pixels_have_equal_digests_and_others_have_not(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, seed in zip(paths, (1, 2, 1, 3), strict=True):
        save(picture(seed), path, compress_level=seed)
    Image.fromarray(picture(1)).convert("RGBA").save(paths[2], "PNG")
    digests = read(paths, SIZE)[1].digests
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3
    assert {len(digest) for digest in digests} == {constants.DIGEST_BYTES}


# Plain files only.


def test_reads_plain_files_only(tmp_path):
    (tmp_path / "plain").write_bytes(b"content")
    assert read_raw(str(tmp_path / "plain"), 99) == b"content"
    (tmp_path / "link").symlink_to("plain")
    os.mkfifo(tmp_path / "pipe")
    for path, reason in [
        (tmp_path / "link", "it is a link"),
        (tmp_path / "pipe", "it is a pipe, expected a file"),
        (Path("/dev/null"), "it is a device, expected a file"),
        (tmp_path, "it is a folder, expected a file"),
    ]:
        with pytest.raises(OSError, match=reason):
            read_raw(str(path), 99)


def test_what_cannot_be_read_is_closed_again(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = set(Path("/dev/fd").iterdir())
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="expected a file"):
            read_raw(str(path), 99)
    assert set(Path("/dev/fd").iterdir()) == before


def test_an_error_of_the_disk_says_where(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "x.png").write_bytes(b"content")
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(OSError, match="Input/output error") as failed:
        read([tmp_path / "x.png"], SIZE)
    assert failed.value.filename == str(tmp_path / "x.png")
