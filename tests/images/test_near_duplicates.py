"""Copies that were altered are recognized, and look-alikes are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_images

from pipeline.images import near_duplicates as module
from pipeline.images.near_duplicates import groups, near_duplicates, signatures, threshold_for

SIZE = 32


def photographs(size=48, side=50):
    """Parts of two photographs, without plain sky."""
    parts = np.stack(
        [
            np.asarray(
                Image.fromarray(photograph[row : row + side, column : column + side]).resize(
                    (size, size), 2
                )
            )
            for photograph in load_sample_images().images
            for row in range(0, 427 - side, side)
            for column in range(0, 640 - side, side)
        ]
    )
    parts = parts[parts.std((1, 2, 3)) > 25]
    return np.delete(parts, near_duplicates(signatures(parts), 0.9).second, axis=0)


def digits():
    grown = [
        Image.fromarray(np.uint8(image * 255 / 16)).resize((SIZE, SIZE), 2)
        for image in load_digits().images
    ]
    return np.stack([np.asarray(image.convert("RGB")) for image in grown])


def noise(count=1000):
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def as_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image, size):
    small = Image.fromarray(image).resize((size, size), 2)
    return np.asarray(small.resize(image.shape[:2], 2))


ALTERED = {
    "equal": lambda image: image,
    "JPEG 60": lambda image: as_jpeg(image, 60),
    "JPEG 85": lambda image: as_jpeg(image, 85),
    "smaller": lambda image: resized(image, 3 * len(image) // 4),
    "larger": lambda image: resized(image, 3 * len(image) // 2),
    "brighter": lambda image: np.asarray(
        ImageEnhance.Brightness(Image.fromarray(image)).enhance(1.05)
    ),
    "contrast": lambda image: np.asarray(
        ImageEnhance.Contrast(Image.fromarray(image)).enhance(0.8)
    ),
    "mirrored": lambda image: as_jpeg(np.ascontiguousarray(image[:, ::-1]), 60),
}


@pytest.mark.parametrize("altered", ALTERED)
@pytest.mark.parametrize("images", [photographs(), digits()[::10]], ids=["photographs", "digits"])
def test_an_altered_copy_is_near_its_original_and_to_nothing_else(images, altered):
    copies = np.stack([ALTERED[altered](image) for image in images])
    pairs = near_duplicates(signatures(np.concatenate([images, copies])))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    planted = {(number, number + len(images)) for number in range(len(images))}
    assert len(found & planted) >= 0.98 * len(planted)
    assert len(found - planted) <= 0.01 * len(planted)


@pytest.mark.parametrize(
    "images", [photographs(), digits(), noise()], ids=["photos", "digits", "noise"]
)
def test_images_that_look_alike_are_no_copies(images):
    assert len(near_duplicates(signatures(images)).first) <= len(images) / 1000


def test_twelve_images_with_ten_altered_copies_each_are_twelve_groups():
    originals = photographs()[:12]
    copies = [as_jpeg(image, quality) for quality in range(50, 100, 5) for image in originals]
    images = np.concatenate([originals, copies])
    found = groups(len(images), near_duplicates(signatures(images)))
    assert found.tolist() == [number % 12 for number in range(len(images))]


def test_the_threshold_is_stricter_where_different_images_look_alike():
    assert threshold_for(signatures(photographs())) == 0.98
    assert threshold_for(signatures(noise())) == 0.98
    assert 0.99 < threshold_for(signatures(digits())) < 1


def test_copies_do_not_change_the_threshold():
    images = digits()
    copies = np.concatenate([images] * 4)
    assert threshold_for(signatures(copies)) == pytest.approx(
        threshold_for(signatures(images)), abs=0.001
    )


@pytest.mark.parametrize("height, width", [(1, 1), (5, 3), (8, 8), (20, 30), (96, 96)])
def test_a_signature_is_made_of_the_means_of_areas(height, width):
    images = np.random.default_rng(2).integers(0, 256, (7, height, width, 3), np.uint8)
    repeated = images.repeat(8, axis=1).repeat(8, axis=2).mean(3)  # each area is whole pixels
    means = repeated.reshape(7, 8, height, 8, width).mean((2, 4)).reshape(7, 64)
    means -= means.mean(1, keepdims=True)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    expected = np.where(lengths < 16, 0, means / np.maximum(lengths, 1))
    assert np.allclose(signatures(images), expected, atol=1e-5)


def test_constant_images_are_like_nothing():
    plain = np.repeat(np.arange(0, 256, 5, np.uint8), SIZE * SIZE * 3).reshape(-1, SIZE, SIZE, 3)
    plain[:, 3, 3] ^= 1  # as good as constant
    assert not signatures(plain).any()
    assert len(near_duplicates(signatures(plain)).first) == 0
    both = near_duplicates(signatures(np.concatenate([plain, noise(1)])))
    assert len(both.first) == 0


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_have_no_pair(count):
    found = signatures(noise(2)[:count])
    assert len(near_duplicates(found).first) == len(near_duplicates(found, 0.5).first) == 0
    assert (
        groups(count, near_duplicates(found), [] if not count else [b"a"]).tolist() == [0] * count
    )


@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.98])
def test_all_pairs_are_found_as_by_comparing_each_with_each(threshold):
    found = signatures(digits())
    mirrored = found.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    similarity = np.triu(np.maximum(found @ found.T, found @ mirrored.T), 1)
    certain = set(zip(*np.nonzero(similarity > threshold + 1e-5), strict=True))
    possible = set(zip(*np.nonzero(similarity > threshold - 1e-5), strict=True))
    pairs = near_duplicates(found, threshold)
    listed = list(zip(pairs.first, pairs.second, strict=True))
    assert len(set(listed)) == len(listed) > 30
    assert certain <= set(listed) <= possible
    assert np.allclose(pairs.similarity, similarity[pairs.first, pairs.second], atol=1e-5)
    assert (np.diff(pairs.similarity) <= 0).all()


def test_too_many_pairs_are_thinned_and_link_the_same_groups(monkeypatch):
    found = signatures(digits())
    whole = near_duplicates(found, 0.95)
    monkeypatch.setattr(module, "MOST_PAIRS", 100)
    few = near_duplicates(found, 0.95)
    assert len(few.first) < len(found) + 100 < len(whole.first)
    assert np.array_equal(groups(len(found), few), groups(len(found), whole))


def test_groups_are_linked_by_pairs_and_by_equal_digests():
    pairs = module.Pairs(np.array([1, 2]), np.array([2, 5]), np.array([1, 1], np.float32))
    digests = [b"a", b"b", b"c", b"d", b"a", b"e", b"d", b"f"]
    assert groups(8, pairs).tolist() == [0, 1, 1, 3, 4, 1, 6, 7]
    assert groups(8, digests=digests).tolist() == [0, 1, 2, 3, 0, 5, 3, 7]
    digests[5] = b"a"
    assert groups(8, pairs, digests).tolist() == [0, 0, 0, 3, 0, 0, 3, 7]


def test_groups_are_those_of_a_graph():
    draw = np.random.default_rng(3)
    for links in (0, 10, 40, 100, 400):
        first, second = draw.integers(0, 100, (2, links))
        found = groups(100, module.Pairs(first, second, np.ones(links, np.float32)))
        labels = list(range(100))
        for a, b in zip(first, second, strict=True):
            low, high = sorted((labels[a], labels[b]))
            labels = [low if label == high else label for label in labels]
        assert found.tolist() == labels
