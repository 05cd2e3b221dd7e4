import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

import constants
from helper import UserError
from models import efficientnet_lite0
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.keras_import import import_keras
from pipeline.keras_models.model_file import build

pytestmark = pytest.mark.slow

keras = import_keras()
PALACE, DAISY = 698, 985  # of ImageNet's 1,000 classes


def photographs(size):
    """Scikit-learn's two photographs, a palace and a daisy: their squares in the middle."""
    pictures = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    squares = [
        ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC) for picture in pictures
    ]
    return np.stack(squares)


def test_with_the_weights_own_last_layer_it_knows_a_palace_and_a_daisy():
    pixels = keras.Input((224, 224, 3))
    features, tensors = efficientnet_lite0.build_backbone(pixels)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(features))
    points = model.predict(photographs(224), verbose=0) @ tensors["_fc.weight"].T
    assert (points + tensors["_fc.bias"]).argmax(1).tolist() == [PALACE, DAISY]


def test_its_checkpoint_predicts_as_it_does():
    model = build(constants.MODELS / "efficientnet_lite0.py", (64, 64, 3), 3)
    assert [variable.shape for variable in model.trainable_variables] == [(1280, 3), (3,)]
    again = safe_pickle.loads(pickle.dumps(model), "a checkpoint", allow_model=True)
    images = photographs(64)
    assert np.array_equal(again.predict(images, verbose=0), model.predict(images, verbose=0))


def test_other_weights_and_none_are_a_sentence():
    weights = efficientnet_lite0.WEIGHTS
    with pytest.raises(UserError, match=r"has the SHA-256 57934424\.\.\., expected 0000"):
        dataclasses.replace(weights, sha256="0" * 64).read()
    with pytest.raises(UserError, match="no-such-package is not installed"):
        dataclasses.replace(weights, package="no-such-package").read()
