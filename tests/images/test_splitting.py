"""Held-out parts: by content, of each class, and with equal and near-equal images on one side."""

import hashlib

import numpy as np
import pytest

from pipeline.images.splitting import alike, held_out, hold_out, stratified_order


def digest(number):
    return hashlib.sha256(b"image %d" % number).digest()


class Cases:
    """Seeded random datasets: images with digests, classes and groups, of which some are tiny."""

    def __init__(self, seed):
        draw = self.draw = np.random.default_rng(seed)
        count = int(draw.integers(2, 300))
        classes = int(draw.integers(1, 12))
        weights = draw.dirichlet(np.full(classes, 0.7))
        group_of = draw.integers(0, max(1, int(count * draw.uniform(0.3, 3))), count)
        self.groups = np.unique(group_of, return_index=True)[1][
            np.unique(group_of, return_inverse=True)[1]
        ]
        of_group = draw.choice(classes, count, p=weights)
        self.labels = of_group[self.groups]
        self.digests = [digest(number) for number in range(count)]
        self.share = float(draw.choice([0.1, 0.2, 0.5]))

    def sides(self, kept=None):
        """By digest, whether an image is in the test part, of the images `kept`, in their order."""
        kept = np.arange(len(self.labels)) if kept is None else kept
        digests = [self.digests[number] for number in kept]
        test = held_out(digests, self.labels[kept], self.groups[kept], self.share)
        return dict(zip(digests, test.tolist(), strict=True))

    def lowest(self, numbers):
        """By group, the lowest digest of those of the images `numbers` that are in it."""
        found = {}
        for number in numbers:
            digest = self.digests[number]
            found[self.groups[number]] = min(found.get(self.groups[number], digest), digest)
        return found


def groups_per_class(labels, groups):
    return {label: len(set(groups[labels == label])) for label in set(labels.tolist())}


@pytest.mark.parametrize("seed", range(100))
def test_each_class_is_in_both_parts_and_no_group_is(seed):
    case = Cases(seed)
    test = np.array(list(case.sides().values()))
    for group in set(case.groups):
        assert len(set(test[case.groups == group])) == 1
    for label, count in groups_per_class(case.labels, case.groups).items():
        expected = {False} if count == 1 else {False, True}
        assert set(test[case.labels == label]) == expected


@pytest.mark.parametrize("seed", range(100))
def test_no_image_of_a_class_that_is_not_tiny_changes_sides(seed):
    """Images are removed, which is the same as to add them, and shuffled; all but the exceptions stay."""
    case = Cases(seed)
    before = case.sides()
    kept = case.draw.permutation(len(case.labels))[: case.draw.integers(1, len(case.labels) + 1)]
    after = case.sides(kept)
    all_lowest, lowest = case.lowest(np.arange(len(case.labels))), case.lowest(kept)
    changed = [
        number
        for number in kept
        if before[case.digests[number]] != after[case.digests[number]]
        and lowest[case.groups[number]] == all_lowest[case.groups[number]]
    ]
    for number in changed:
        label = case.labels[number]
        hashed = [
            {
                _hashed(some[case.groups[other]], case.share)
                for other in of
                if case.labels[other] == label
            }
            for some, of in ((all_lowest, range(len(case.labels))), (lowest, kept))
        ]
        assert any(len(sides) == 1 for sides in hashed), "a class that the hashes alone would split"
    moved = {}
    for number in changed:
        moved.setdefault(case.labels[number], set()).add(case.groups[number])
    assert all(len(groups) <= 2 for groups in moved.values())


def _hashed(lowest, share):
    """The side that the hash says, as `held_out` says it where each class is large."""
    many = [lowest, *(digest(-number) for number in range(1, 100))]
    return bool(held_out(many, np.zeros(100, int), np.arange(100), share)[0])


def test_in_classes_of_100_no_image_changes_sides_at_all():
    draw = np.random.default_rng(0)
    labels, digests = np.arange(1000) % 10, [digest(number) for number in range(1000)]
    before = held_out(digests, labels, np.arange(1000), 0.2)
    assert 150 < before.sum() < 250
    for _ in range(50):
        kept = draw.permutation(1000)[: draw.integers(500, 1001)]
        after = held_out(
            [digests[number] for number in kept], labels[kept], np.arange(len(kept)), 0.2
        )
        assert np.array_equal(after, before[kept])


def test_other_labels_leave_the_sides_as_they_are():
    digests = [digest(number) for number in range(1000)]
    sides = [held_out(digests, np.arange(1000) % k, np.arange(1000), 0.2) for k in (1, 2, 5)]
    assert np.array_equal(sides[0], sides[1])
    assert np.array_equal(sides[0], sides[2])


def test_a_group_stays_when_it_gets_members_with_higher_digests():
    digests = sorted(digest(number) for number in range(300))
    groups = np.arange(300) % 100
    one = held_out(digests[:100], np.zeros(100, int), groups[:100], 0.2)
    many = held_out(digests, np.zeros(300, int), groups, 0.2)
    assert np.array_equal(many, np.tile(one, 3))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_is_that_of_chance(share):
    digests = [digest(number) for number in range(10_000)]
    test = held_out(digests, np.zeros(10_000, int), np.arange(10_000), share)
    assert abs(test.mean() - share) < 0.02


def test_groups_are_held_out_as_often_as_single_images():
    digests = [digest(number) for number in range(10_000)]
    test = held_out(digests, np.zeros(10_000, int), np.arange(10_000) % 1000, 0.2)
    assert 0.15 < test.mean() < 0.25


def test_none_is_held_out_of_none_and_with_a_share_of_0():
    assert held_out([], np.zeros(0, int), np.zeros(0, int), 0.2).tolist() == []
    digests = [digest(number) for number in range(50)]
    assert not held_out(digests, np.arange(50) % 5, np.arange(50), 0.0).any()


def test_a_group_of_two_classes_robs_none_of_its_only_images():
    for seed in range(200):
        digests = [digest(seed * 10 + number) for number in range(4)]
        # Class 0: groups 0 and 1. Class 1: groups 1 and 2. The images 1 and 2 are in group 1.
        test = held_out(digests, np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 0.2)
        assert test[1] == test[2]
        assert {0, 1} == set(np.array([0, 0, 1, 1])[~test])


# hold_out


LABELS = np.random.default_rng(4).permutation(np.repeat([0, 1, 2, 7], [100, 50, 10, 1]))


@pytest.mark.parametrize("fraction", [0, 0.1, 0.25, 0.5, 0.9])
def test_each_image_is_either_fitted_or_held_out(fraction):
    fitted, held = hold_out(LABELS, fraction, seed=0)
    assert sorted([*fitted, *held]) == list(range(len(LABELS)))
    assert (np.diff(fitted) > 0).all()
    assert (np.diff(held) > 0).all()


def test_each_class_gives_the_same_fraction_and_a_single_image_is_fitted():
    fitted, held = hold_out(LABELS, 0.2, seed=0)
    assert np.bincount(LABELS[held], minlength=8).tolist() == [20, 10, 2, 0, 0, 0, 0, 0]
    assert np.bincount(LABELS[fitted], minlength=8).tolist() == [80, 40, 8, 0, 0, 0, 0, 1]


def test_every_class_keeps_an_image_to_fit_at_any_fraction():
    for fraction in (0.5, 0.8, 0.9, 0.99):
        for count in range(1, 6):
            fitted, _ = hold_out(np.repeat([0, 1], [count, 1]), fraction, seed=1)
            assert set(np.repeat([0, 1], [count, 1])[fitted]) == {0, 1}


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("each", [2, 3, 5, 17])
def test_each_class_of_two_or_more_is_validated_and_the_size_is_exact(fraction, each):
    labels = np.repeat(np.arange(30), each)
    fitted, held = hold_out(labels, fraction, seed=0)
    assert set(labels[held]) == set(labels[fitted]) == set(range(30))
    assert len(held) == max(30, round(fraction * len(labels)))


@pytest.mark.parametrize("seed", range(100))
def test_groups_are_on_one_side_and_the_size_is_exact_to_the_smallest_left(seed):
    case = Cases(seed)
    fitted, held = hold_out(case.labels, case.share, seed, case.groups)
    assert not set(case.groups[fitted]) & set(case.groups[held])
    counts = groups_per_class(case.labels, case.groups)
    assert set(case.labels[fitted]) == set(counts)
    assert set(case.labels[held]) == {label for label, count in counts.items() if count > 1}
    wanted = round(case.share * len(case.labels))
    sizes = np.bincount(case.groups)
    if len(held) < wanted:
        left = [sizes[group] for group in set(case.groups[fitted])]
        free = sum(count - 1 for count in counts.values()) - len(set(case.groups[held]))
        assert not free or sorted(left)[min(len(counts), len(left) - 1)] > wanted - len(held)


def test_twelve_images_ten_times_are_fitted_or_held_out_as_wholes():
    labels, groups = np.tile(np.arange(12) % 3, 10), np.tile(np.arange(12), 10)
    fitted, held = hold_out(labels, 0.25, 0, groups)
    assert (len(fitted), len(held)) == (90, 30)
    assert not set(groups[fitted]) & set(groups[held])


def test_a_group_that_is_half_of_its_class_is_fitted():
    groups = np.append(np.zeros(50, int), np.arange(1, 51))
    for seed in range(20):
        _, held = hold_out(np.zeros(100, int), 0.1, seed, groups)
        assert len(held) == 10


def test_images_of_two_classes_in_one_group_count_for_the_rarest():
    labels, groups = np.array([0] * 20 + [1] * 2), np.array([*range(20), 0, 21])
    for seed in range(20):
        fitted, held = hold_out(labels, 0.1, seed, groups)
        assert set(labels[fitted]) == set(labels[held]) == {0, 1}


def test_a_fraction_of_zero_holds_nothing_out():
    fitted, held = hold_out(LABELS, 0.0, seed=0)
    assert fitted.tolist() == list(range(len(LABELS)))
    assert held.tolist() == []
    assert LABELS[held].shape == (0,)


def test_the_same_seed_draws_the_same_images_and_another_one_others():
    draws = [hold_out(LABELS, 0.2, seed)[1].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_the_draw_is_not_the_first_images_of_each_class():
    _, held = hold_out(np.repeat([0, 1], 50), 0.2, seed=0)
    assert held.tolist() != [*range(10), *range(50, 60)]


# stratified_order


def test_a_part_may_leave_fewer_over_than_there_are_classes():
    labels = np.array([0] * 5 + [1] * 5 + [2] * 5)
    order = stratified_order(labels, 0)
    assert sorted(order) == list(range(15))
    assert sorted(np.bincount(labels[order[:14]])) == [4, 5, 5]


def test_a_rare_class_is_in_the_smallest_part():
    labels = np.array([0] * 1000 + [1])
    assert set(labels[stratified_order(labels, 3)[:2]]) == {0, 1}


def test_a_label_may_be_a_name():
    assert sorted(stratified_order(np.array(["b", "a", "b"]), 0)) == [0, 1, 2]


# alike


def test_equal_and_near_equal_images_are_alike_and_so_are_constant_ones_of_one_colour():
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    images[3], images[4], images[5] = images[0], images[1, :, ::-1], images[2] // 16 * 16
    images[6:] = np.array([[10], [200], [10]])[:, :, None, None]
    assert alike(images).tolist() == [0, 1, 2, 0, 1, 2, 6, 7, 6]
    assert alike(images[:0]).tolist() == []
