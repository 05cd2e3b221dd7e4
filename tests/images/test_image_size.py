"""image_size.py: the size that suits the images, as far as there is memory for it."""

import pytest
from PIL import Image

import constants
from pipeline.images.image_size import choose_image_size, size_for


@pytest.mark.parametrize(
    ("short_side", "size"), [(1, 32), (40, 32), (41, 64), (64, 64), (65, 96), (99, 96), (100, 128)]
)
def test_the_size_follows_the_short_side(short_side, size):
    assert size_for(short_side, 10, 2**34) == size


def test_so_many_images_that_memory_does_not_suffice_are_made_smaller():
    room = 10_000 * 96 * 96 * 3
    assert size_for(500, 10_000, int(room / constants.IMAGES_MEMORY)) == 96
    assert size_for(500, 10_000, int(room / constants.IMAGES_MEMORY) - 9) == 64
    assert size_for(500, 10**12, 2**30) == 32


def test_the_median_of_the_headers_decides(tmp_path):
    files = []
    for number, side in enumerate([20, 50, 50, 300, 500]):
        files.append(f"{number % 2}/{number}")
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        Image.new("RGB", (side + 90, side)).save(tmp_path / files[-1], ["PNG", "JPEG"][number % 2])
    (tmp_path / "0/no image").write_bytes(b"")
    (tmp_path / "0/link").symlink_to(tmp_path / files[0])
    assert choose_image_size(str(tmp_path), [*files, "0/no image", "0/link", "0/gone"], 5) == 64
    assert choose_image_size(str(tmp_path), ["0/no image"], 5) == constants.IMAGE_SIZE
    assert choose_image_size(str(tmp_path), [], 0) == constants.IMAGE_SIZE


def test_a_sample_is_enough(tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr("pipeline.images.image_size._short_side", looked_at.append)
    files = [f"{number:05}.jpg" for number in range(10_000)]
    choose_image_size("x", files, 10_000)
    assert 200 < len(looked_at) <= constants.SIZE_SAMPLE
    assert looked_at[0] == "x/00000.jpg" and looked_at[-1] > "x/09900"


def test_a_header_behind_much_else_is_read_as_well(tmp_path):
    Image.new("RGB", (70, 70)).save(tmp_path / "x", "JPEG", icc_profile=bytes(200_000))
    assert choose_image_size(str(tmp_path), ["x"], 1) == 96
