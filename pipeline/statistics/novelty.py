"""Whether something is unlike all that is known, told by its distance to what is nearest.

Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022: features of length 1, and the
distance to the k-th nearest of those that were trained on.
"""

import numpy as np

NEIGHBOUR = 5  # the k of the paper, which needs larger ones for millions of images
USUAL = 0.99  # of images that were not trained on, but are of the same kind, so many are no further away
MOST_KNOWN = 1000  # a checkpoint holds them
MOST_VALUES = 2**20  # of these, 4 MB
FEWEST = 20  # held-out images that can tell what is usual


def normalized(features: np.ndarray) -> np.ndarray:
    """float32 (count, features), each of length 1."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(length, 1e-12)).astype(np.float32)


def kept(known: np.ndarray) -> np.ndarray:
    """As many of them as a checkpoint has room for, from all over."""
    most = MOST_VALUES // known.shape[1]
    return known[:: -(-len(known) // most)] if most else known[:0]


def distances(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of each to its k-th nearest in `known`; both are normalized."""
    k = min(NEIGHBOUR, len(known)) - 1
    nearness = np.partition(features @ known.T, -k - 1, axis=1)[:, -k - 1]
    return np.sqrt(np.maximum(0, 2 - 2 * nearness))


def usual_distance(held_out: np.ndarray, known: np.ndarray) -> float | None:
    """What only one in a hundred of those held out exceeds; None where they are too few to tell."""
    if min(len(held_out), len(known)) < FEWEST:
        return None
    return float(np.quantile(distances(held_out, known), USUAL, method="higher"))
