"""formats.py, image_decoder.py: each format shows what it shows elsewhere, and no half of one is read."""

import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images import formats, image_decoder
from pipeline.images.image_reader import ReadResult, read_images
from pipeline.images.preparation import ImageError, Preparation
from pipeline.images.reader_processes import ImageReaders
from testkit import images
from testkit.images import SIZE, exif, expected, picture, saved, variants

NAMES = list(variants())
SIDE = 16


def read(folder: Path, contents: list[bytes], preparation=None, names=None):
    """Pixels, and what is said of them."""
    preparation = preparation or Preparation(SIDE)
    names = names or [str(number) for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    side = preparation.size
    pixels = np.zeros((len(names), side, side, 3), np.uint8)
    return pixels, read_images(str(folder), names, preparation, pixels.reshape(-1).data)


def read_one(folder: Path, content: bytes, preparation=None) -> tuple[np.ndarray, list[str]]:
    pixels, result = read(folder, [content], preparation)
    assert result.damaged == {}
    return pixels[0], result.notes.get(0, [])


def reason(folder: Path, content: bytes, preparation=None) -> str:
    return read(folder, [content], preparation)[1].damaged[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_format_shows_the_picture(tmp_path, name):
    shown, notes = read_one(tmp_path, variants()[name], Preparation(SIDE, "squeeze"))
    wanted = expected(name).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert abs(shown.astype(int) - np.asarray(wanted)).mean() < 4
    said = {"turned": "oriented", "frames": "frames", "float": "float"}
    special = [note for word, note in said.items() if word in name]
    assert notes == ["squeezed", *(["16 bit"] if "16 bit" in name else special)]


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_file_is_taken_for_a_whole(tmp_path, name):
    content = variants()[name]
    step = max(1, len(content) // 100)
    sizes = sorted({*range(0, len(content), step), *range(len(content) - 12, len(content))})
    pixels, result = read(tmp_path, [content, *(content[:size] for size in sizes)])
    for number, size in enumerate(sizes, 1):
        if number not in result.damaged:  # what is not there was not of the image
            assert len(content) - size < 8, f"{size} of {len(content)} bytes were accepted"
            np.testing.assert_array_equal(pixels[number], pixels[0])


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_is_too_large_is_refused_by_its_header(tmp_path, name, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    monkeypatch.setattr(Image, "frombytes", None)
    largest = SIZE[0] * SIZE[1] - 1
    assert reason(tmp_path, variants()[name], Preparation(SIDE, largest_image=largest)) == (
        "has 24 x 16 pixels, more than the 383 allowed (--largest-image)"
    )


def test_more_pixels_than_pillow_allows_may_be_allowed(tmp_path):
    content = saved(Image.new("1", (14_000, 14_000)), "TIFF", compression="group4")
    _, notes = read_one(tmp_path, content, Preparation(2, largest_image=14_000**2))
    assert notes == ["constant"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
def test_an_image_is_shown_as_its_exif_data_ask(tmp_path, name, orientation, fit):
    options = {"lossless": True} if name == "WEBP" else {"quality": 95}
    content = saved(picture(), name, exif=exif(orientation), **options)
    shown, notes = read_one(tmp_path, content, Preparation(SIDE, fit))
    turn = image_decoder.TURNS.get(orientation)
    upright = picture().transpose(turn) if turn is not None else picture()
    wanted, _ = read_one(tmp_path, saved(upright, "PNG"), Preparation(SIDE, fit))
    assert abs(shown.astype(int) - wanted).mean() < 4
    assert ("oriented" in notes) == (orientation > 1)


@pytest.mark.parametrize("damaged", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", exif(0)])
def test_damaged_exif_data_turn_nothing(tmp_path, damaged):
    assert read_one(tmp_path, saved(picture(), "JPEG", exif=damaged))[1] == ["cropped"]


def test_a_jpeg_without_its_end_is_cut_off_even_if_pillow_shows_it(tmp_path):
    thumbnail = saved(picture().resize((8, 8)), "JPEG")
    content = saved(picture(), "JPEG", exif=exif(1) + thumbnail)
    assert reason(tmp_path, content[:-2]) == "is cut off: it has no end (EOI)"
    assert read_one(tmp_path, content + b"what a telephone adds")[1] == ["cropped"]


def test_an_avif_that_ends_before_its_pixels_is_cut_off(tmp_path):
    content = variants()["AVIF"]
    begin = content[: content.index(b"mdat") - 4]
    assert reason(tmp_path, begin) == "is cut off before its pixels"


def test_jpegs_of_the_wanted_size_are_read_as_alone(tmp_path):
    draw, contents = np.random.default_rng(1), []
    for mode in ("RGB", "L", "RGB", "CMYK"):
        for _ in range(3):
            noise = Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
            contents.append(saved(noise.convert(mode), "JPEG"))
    together, _ = read(tmp_path, contents)
    np.testing.assert_array_equal(together, [read_one(tmp_path, one)[0] for one in contents])
    sampling = contents[1].index(b"\xff\xc0") + 11
    damaged = contents[1][:sampling] + b"\xff" + contents[1][sampling + 1 :]
    pixels, result = read(tmp_path, [contents[0], damaged, contents[2]])
    assert result.damaged == {1: "is damaged: cannot decode image data"}
    np.testing.assert_array_equal(pixels[::2], together[[0, 2]])


@pytest.mark.parametrize("size", [3, 20, 40, 60, 64, 90, 128, 200, 256, 300])
@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
def test_a_jpeg_that_is_decoded_smaller_looks_the_same(tmp_path, size, fit):
    large = picture().resize((300, 256), Image.Resampling.BICUBIC)
    shown, notes = read_one(tmp_path, saved(large, "JPEG", quality=95), Preparation(size, fit))
    wanted, said = read_one(tmp_path, saved(large, "PNG"), Preparation(size, fit))
    assert abs(shown.astype(int) - wanted).mean() < 2
    assert notes == said


# Size and shape.


def test_what_is_not_square_is_cropped_padded_or_squeezed(tmp_path):
    pixels = np.full((4, 8, 3), 100, np.uint8)
    pixels[:, :2], pixels[:, 6:] = 0, 200
    content = saved(Image.fromarray(pixels), "PNG")
    cropped, notes = read_one(tmp_path, content, Preparation(4, "crop"))
    assert notes == ["cropped", "constant"]
    assert (cropped == 100).all()
    padded, notes = read_one(tmp_path, content, Preparation(8, "pad", background=(1, 2, 3)))
    assert notes == ["padded"]
    assert (padded[[0, 1, 6, 7]] == (1, 2, 3)).all()
    np.testing.assert_array_equal(padded[2:6], pixels)
    squeezed, notes = read_one(tmp_path, content, Preparation(4, "squeeze"))
    assert notes == ["squeezed"]
    assert squeezed[0, 0, 0] < 50 and squeezed[0, 3, 0] > 150


def test_a_smaller_image_and_one_of_one_colour_are_noted(tmp_path):
    assert read_one(tmp_path, saved(Image.new("RGB", (4, 4)), "BMP"))[1] == ["smaller", "constant"]


def test_an_image_of_one_row_can_be_padded(tmp_path):
    shown, _ = read_one(tmp_path, saved(Image.new("L", (900, 1)), "PNG"), Preparation(8, "pad"))
    assert (shown[3] == 0).all() or (shown[4] == 0).all()


# Alpha.


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 30)])
def test_what_is_transparent_shows_the_background(tmp_path, name, background):
    half = Image.new("L", SIZE, 255)
    half.paste(0, (0, 0, 12, 16))
    image = picture()
    image.putalpha(half)
    options = {"lossless": True} if name == "WEBP" else {}
    preparation = Preparation(SIDE, "squeeze", background)
    shown, notes = read_one(tmp_path, saved(image, name, **options), preparation)
    assert (shown[:, :7] == background).all()
    assert not (shown[:, 9:] == background).all()
    assert notes == ["squeezed", "transparent"]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_drawn_in_alpha_alone_is_not_lost(tmp_path, mode):
    image = Image.new("RGB", SIZE, "white")
    image.putalpha(Image.fromarray(images.gray()))
    shown, notes = read_one(
        tmp_path, saved(image.convert(mode), "PNG"), Preparation(SIDE, "squeeze")
    )
    wanted, _ = read_one(
        tmp_path, saved(Image.fromarray(images.gray()), "PNG"), Preparation(SIDE, "squeeze")
    )
    np.testing.assert_array_equal(shown, wanted)
    assert notes == ["squeezed", "only alpha"]


def test_an_alpha_that_hides_nothing_is_no_note(tmp_path):
    image = picture()
    image.putalpha(255)
    assert read_one(tmp_path, saved(image, "PNG"))[1] == ["cropped"]


# More than 8 bits.


def deep(values: np.ndarray, name: str = "PNG") -> bytes:
    return saved(Image.fromarray(values), name)


@pytest.mark.parametrize("processes", [0, 2])
def test_images_of_more_than_8_bits_are_scaled_by_the_range_of_them_all(tmp_path, processes):
    dark, light = np.full((2, SIDE, SIDE), 100, np.uint16)
    dark[0, 0], light[0, 0] = 0, 4095
    small = np.linspace(-1, 0, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    contents = [
        deep(dark),
        saved(picture(), "JPEG"),
        deep(light, "TIFF"),
        deep(small, "TIFF"),
        deep(small + 1, "TIFF"),
    ]
    for folder, some in (("a", contents[:2]), ("b", contents[2:])):
        read(tmp_path / folder, some)
    with ImageReaders(Preparation(SIDE), processes, 2) as readers:
        readings = [
            readers.read(tmp_path / folder, ["0", "1", "2"][:count])
            for folder, count in (("a", 2), ("b", 3))
        ]
        assert readers.finish() == {"16 bit": (0, 4095), "float": (-1, 1)}
    first, second = readings
    assert first.pixels[0].max() == 100 * 255 // 4095 + 0
    assert second.pixels[0].max() == 255
    assert second.pixels[0].min() == first.pixels[0].max()
    assert (second.pixels[1].min(), second.pixels[1].max()) == (0, 128)
    assert (second.pixels[2].min(), second.pixels[2].max()) == (128, 255)
    assert second.result.digests[0] != read(tmp_path, contents[2:3])[1].digests[0]
    assert second.result.notes == {0: ["16 bit"], 1: ["float"], 2: ["float"]}


def test_what_is_no_number_is_refused(tmp_path):
    values = np.zeros((SIDE, SIDE), np.float32)
    for wrong in (np.nan, np.inf):
        values[3, 3] = wrong
        assert reason(tmp_path, deep(values, "TIFF")) == "has pixels that are no finite numbers"


def test_16_bit_colour_is_noted(tmp_path):
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    import zlib

    from testkit.pngs import chunk, png

    content = png(
        chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" + bytes([9, 1, 8, 2, 7, 3])))
    )
    shown, notes = read_one(tmp_path, content, Preparation(1))
    assert shown.tolist() == [[[9, 8, 7]]]
    assert notes == ["constant", "16 bit colour"] or notes == ["16 bit colour", "constant"]


# Files.


def test_a_name_that_says_another_format_is_noted(tmp_path):
    contents = [variants()["GIF"], variants()["PNG"], variants()["JPEG"], variants()["TIFF"]]
    names = ["a/x.png", "a/b/x.JPG", "x.jpeg", "no extension"]
    _, result = read(tmp_path, contents, names=names)
    assert [number for number in result.notes if "extension" in result.notes[number]] == [0, 1]


def test_equal_files_have_equal_digests(tmp_path):
    contents = [variants()["JPEG"], variants()["PNG"], variants()["JPEG"], b"no image"]
    digests = read(tmp_path, contents)[1].file_digests
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3
    assert digests[3] != bytes(len(digests[3]))


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_said_in_one_line_and_by_nobody_else(tmp_path, name, capfd):
    draw = np.random.default_rng(len(name))
    contents = []
    for _ in range(40):
        content = bytearray(variants()[name])
        for at in draw.integers(0, len(content), 6):
            content[at] = draw.integers(0, 256)
        contents.append(bytes(content))
    result = read(tmp_path, contents)[1]
    assert all(why.isprintable() and len(why) < 200 for why in result.damaged.values())
    assert capfd.readouterr() == ("", "")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"".join(
    (
        struct.pack(">I4sI", 56, b"meta", 0),
        struct.pack(">I4s", 44, b"iprp"),
        struct.pack(">I4s", 36, b"ipco"),
        struct.pack(">I4sIII", 20, b"ispe", 0, 24, 16),
        struct.pack(">I4s", 8, b"mdat"),
    )
)


def test_heic_is_named_with_the_package_that_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert reason(tmp_path, HEIC) == (
        "is a HEIC photograph, which the package pillow-heif reads (pip install pillow-heif)"
    )
    opened = types.SimpleNamespace(to_pillow=picture)
    package = types.SimpleNamespace(open_heif=lambda file, convert_hdr_to_8bit: opened)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert read_one(tmp_path, HEIC)[1] == ["cropped"]


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 273, 274, 277, 279, 322, 323])
def test_a_tag_without_a_value_is_as_none(tag):
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 273: 8, 274: 1, 277: 1, 279: 1, 322: 1, 323: 1}
    content = tiff(*((number, 3, int(number != tag), value) for number, value in tags.items()))
    if tag in (256, 257, 273, 279):
        with pytest.raises(ImageError, match="does not say"):
            formats.validate(content, 100)
    else:
        assert formats.validate(content, 100)[:3] == ("TIFF", 1, 1)


def test_a_bomb_is_refused_before_it_is_decoded():
    many = 3_000_000
    bombs = {
        "has more than 2,000,000 values in its tags": tiff(
            (256, 3, 1, 9), (257, 3, 1, 9), (273, 3, many, 0)
        )
        + bytes(2 * many),
        "is damaged: its boxes are too short or too many": b"\0\0\0\x10ftypavif\0\0\0\0"
        + struct.pack(">I4sI", 2**20, b"meta", 0) * 150_000,
        "has more than 100 scans": variants()["JPEG"][:-2] + b"\xff\xda\0\2" * 101 + b"\xff\xd9",
        "is cut off: its tag 273 is not in it": tiff(
            (256, 3, 1, 9), (257, 3, 1, 9), (273, 4, 9**9, 0)
        ),
    }
    for why, content in bombs.items():
        with pytest.raises(ImageError, match=why):
            formats.validate(content, 64_000_000)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "GIF", "TIFF", "BMP", "PNG", "AVIF"])
def test_a_header_alone_says_the_size(name):
    begin = variants()[name][: 400 if name == "AVIF" else 2**16 if name == "TIFF" else 200]
    header = formats.read_header(variants()[name] if name in ("AVIF", "JPEG") else begin)
    assert (header.format, header.width, header.height) == (name, *SIZE)


def test_a_result_can_be_put_together(tmp_path):
    assert isinstance(read(tmp_path, [variants()["GIF"]])[1], ReadResult)
