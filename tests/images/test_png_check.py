"""png_check.py: every true PNG passes, and no kind of damage does."""

import itertools
import random
import tracemalloc
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import constants
from pipeline.images import png_check
from pipeline.images.png_check import validate_png, without_extras
from pipeline.images.preparation import ImageError
from testkit.pngs import (
    CHANNELS,
    DAMAGED,
    GREY,
    INDEXED_CHUNKS,
    INDEXED_RGB,
    LEGAL,
    PALETTE,
    PIXELS,
    RGB,
    RGBA,
    SMALL,
    SMALL_CHUNKS,
    STREAM,
    as_rgb,
    chunk,
    crc,
    decoded,
    header,
    passes_unchanged,
    png,
    with_idat,
    written,
)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def peak_memory(content: bytes) -> tuple[str, int]:
    """What is said against it, and the most bytes that finding this out took."""
    tracemalloc.start()
    try:
        validate_png(content)
        reason = ""
    except ImageError as error:
        reason = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return reason, peak


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("colour", "depth"), LEGAL)
def test_accepts_every_legal_kind_of_png_in_nine_widths(colour, depth, interlace):
    rng = random.Random(f"{colour} {depth} {interlace}")
    for width in range(1, 10):
        height = rng.randrange(1, 10)
        numbers = [rng.randrange(2**depth) for _ in range(height * width * CHANNELS[colour])]
        samples = np.array(numbers).reshape(height, width, -1)
        palette = rng.randbytes(3 * 2**depth) if colour == PALETTE else b""
        content = written(samples, depth, colour, interlace, rng, palette)
        assert validate_png(content)[0][:2] == (width, height)
        expected = as_rgb(samples, depth, colour, palette)
        np.testing.assert_array_equal(decoded(without_extras(content)), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_accepts_what_pillow_writes(mode):
    rng = np.random.default_rng(5)
    for width, height in [(1, 1), (7, 3), (32, 32), (300, 200)]:
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
        else:
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            image = Image.fromarray(pixels).convert(mode)
        file, text = BytesIO(), PngImagePlugin.PngInfo()
        text.add_text("Comment", "a word " * 99, zip=True)
        image.save(file, "PNG", pnginfo=text, optimize=width == 7)
        assert validate_png(file.getvalue())[0][:2] == (width, height)


def test_accepts_the_largest_size_that_is_allowed_and_no_larger():
    assert validate_png(SMALL, 20)[0][:2] == (5, 4)
    reason = r"^has 5 x 4 pixels, more than the 19 allowed \(--largest-image\)$"
    with pytest.raises(ImageError, match=reason):
        validate_png(SMALL, 19)


def test_at_least_sixty_kinds_of_damage_are_tried():
    assert len({name for name, _, _ in DAMAGED}) == len(DAMAGED) >= 60


@pytest.mark.parametrize(
    ("content", "reason"), [kind[1:] for kind in DAMAGED], ids=[d[0] for d in DAMAGED]
)
def test_refuses(content, reason):
    with pytest.raises(ImageError) as refused:
        validate_png(content)
    assert reason in str(refused.value)


def test_refuses_every_prefix():
    for content in (SMALL, png(*INDEXED_CHUNKS[:-1])):
        validate_png(content)
        for size in range(len(content)):
            with pytest.raises(ImageError, match=r"^is (empty|not a PNG file|cut off)"):
                validate_png(content[:size])


def test_no_flipped_bit_changes_a_picture_unnoticed():
    for place, bit in itertools.product(range(len(SMALL)), range(8)):
        flipped = bytearray(SMALL)
        flipped[place] ^= 1 << bit
        assert not passes_unchanged(bytes(flipped), PIXELS)


def test_no_flipped_bit_changes_a_picture_unnoticed_even_if_the_checksum_fits():
    accepted = 0
    for which, original in enumerate(SMALL_CHUNKS):
        for place, bit in itertools.product(range(4, len(original) - 4), range(8)):
            flipped = bytearray(original[4:-4])
            flipped[place - 4] ^= 1 << bit
            chunks = list(SMALL_CHUNKS)
            chunks[which] = original[:4] + flipped + crc(flipped)
            accepted += passes_unchanged(png(*chunks), PIXELS)
    assert accepted > 40  # flips in the text, which is no part of the picture


def indexed(chunks: list[bytes]) -> bytes:
    return png_check.SIGNATURE + b"".join(chunks)


def test_a_chunk_removed_or_doubled_is_refused_where_it_makes_the_picture():
    needed = [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert passes_unchanged(indexed(INDEXED_CHUNKS), INDEXED_RGB)
    for place, some in enumerate(INDEXED_CHUNKS):
        before, after = INDEXED_CHUNKS[:place], INDEXED_CHUNKS[place + 1 :]
        harmless = some[4:8] not in needed
        assert passes_unchanged(indexed(before + after), INDEXED_RGB) == harmless
        assert passes_unchanged(indexed([*before, some, some, *after]), INDEXED_RGB) == harmless


def test_no_two_swapped_chunks_change_a_picture_unnoticed():
    accepted = 0
    for one, other in itertools.combinations(range(len(INDEXED_CHUNKS)), 2):
        chunks = list(INDEXED_CHUNKS)
        chunks[one], chunks[other] = chunks[other], chunks[one]
        accepted += passes_unchanged(indexed(chunks), INDEXED_RGB)
    assert accepted == 9  # gAMA, tRNS, tEXt and PLTE among themselves, tIME with the first three


def test_sizes_up_to_two_to_the_31_are_refused_before_anything_is_allocated():
    sizes = [0, 1, 2**13, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
    for width, height in itertools.product(sizes, sizes):
        for depth, colour, interlace in [(1, GREY, 0), (8, RGB, 1), (16, RGBA, 0)]:
            content = with_idat(
                STREAM, width=width, height=height, depth=depth, colour=colour, interlace=interlace
            )
            reason, peak = peak_memory(content)
            assert reason
            assert peak < 200_000
            if max(width, height) >= 2**31 or not min(width, height):
                assert reason == f"says that it is {width} x {height} pixels"
            elif width * height > constants.MAX_IMAGE_PIXELS:
                assert reason == (
                    f"has {width} x {height} pixels, more than the 64,000,000 allowed"
                    " (--largest-image)"
                )


def test_a_bomb_is_refused_in_little_memory():
    stream = zlib.compress(bytes(100_000_000))
    assert len(stream) < 100_000
    for bomb in (with_idat(stream), png(header(), *[chunk(b"IDAT", stream)] * 3)):
        reason, peak = peak_memory(bomb)
        assert reason == "holds more pixels than it says"
        assert peak < 400_000


def test_a_large_picture_is_checked_in_less_memory_than_it_fills():
    stream = zlib.compress(bytes(4000 * (1 + 4000 * 4)), 9)
    reason, peak = peak_memory(with_idat(stream, width=4000, height=4000, colour=RGBA))
    assert reason == ""
    assert peak < 20_000_000  # it fills 64 million bytes


def test_without_extras_only_the_picture_is_left():
    extras = [chunk(b"tEXt", b"a\0b"), chunk(b"zTXt", b"damaged"), chunk(b"acTL", bytes(3))]
    content = png(header(), *extras, *SMALL_CHUNKS[2:], *extras)
    assert validate_png(content)[0][:2] == (5, 4)
    assert without_extras(content) == png(header(), *SMALL_CHUNKS[2:])
