"""Build a model, fit it, predict with it: what is Keras's work."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from helper import UserError, printable
from pipeline.quiet_keras import import_keras


class Listener(Protocol):
    """Who is told how far a training is. Epochs and batches count from 0."""

    def batch_done(self, epoch: int, batch: int) -> None: ...

    def epoch_done(self, epoch: int, figures: dict[str, float]) -> None: ...


def prepare(precision: str, seed: int) -> str:
    """Seed everything and set the precision for the models to come; returns the Keras dtype policy."""
    keras = import_keras()
    policy = choose_precision(precision)
    keras.mixed_precision.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    return policy


def choose_precision(asked: str) -> str:
    """The Keras dtype policy; for "auto" half precision where the hardware computes in it."""
    if asked != "auto":
        return asked
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        return (
            "mixed_bfloat16" if details.get("compute_capability", (0, 0)) >= (8, 0) else "float32"
        )
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    # Without these instructions bfloat16 is emulated, far slower than float32.
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def build(path: Path, input_shape: tuple[int, ...], num_classes: int) -> object:
    """The model that `build_model` in the file at `path` gives for these shapes.

    Raises:
        UserError: the file has no build_model, or it gives something else than class probabilities.
    """
    name = f"models/{printable(path.name)}"
    build_model = getattr(_import_file(path), "build_model", None)
    if not callable(build_model):
        raise UserError(
            f"{name} has no build_model(input_shape, num_classes). Copy the example in models/README.md."
        )
    model = build_model(input_shape, num_classes)
    shape = getattr(model, "output_shape", None)
    if shape != (None, num_classes):
        found = f"a model with output shape {shape}" if shape else f"a {type(model).__name__}"
        raise UserError(
            f"{name}: build_model gave {found}, expected a Keras model with output shape"
            f' {(None, num_classes)}. End it with Dense(num_classes, activation="softmax").'
        )
    return model


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"models.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def fit(
    model: object,
    split: dict[str, np.ndarray],
    fitted: np.ndarray,
    held_out: np.ndarray,
    settings: dict,
    listener: Listener,
) -> tuple[dict[str, list[float]], int]:
    """Train `model` on the places `fitted` of `split`, validated on those in `held_out`.

    It ends compiled and with the weights of its best epoch: that with the lowest loss on what was
    held out, or on all where nothing was.

    Returns:
        one list per metric with one entry per epoch, and the best epoch, counted from 1.

    Raises:
        UserError: the loss became NaN or infinite.
    """
    keras, size = import_keras(), settings["batch_size"]
    _compile(model, settings, len(fitted))
    best = keras.callbacks.EarlyStopping(
        monitor="val_loss" if len(held_out) else "loss",
        mode="min",
        patience=settings["early_stopping_patience"] or settings["epochs"],
        restore_best_weights=True,
    )
    history = model.fit(
        _batches(split, fitted, size, settings),
        validation_data=_batches(split, held_out, 512) if len(held_out) else None,
        epochs=settings["epochs"],
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN(), best, _telling(listener)],
    ).history
    if not np.isfinite(history["loss"]).all():
        raise UserError(
            "the loss became NaN or infinite. Use a smaller learning_rate,"
            ' or precision = "float32".'
        )
    # A new optimizer has no state yet: a checkpoint is a third of the size, and still compiled.
    _compile(model, settings, len(fitted))
    return {
        name: [float(value) for value in values] for name, values in history.items()
    }, best.best_epoch + 1


def predict(model: object, split: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Class probabilities float32 (count, classes) for the images of `split`.

    Raises:
        UserError: the model, which is called `name` there, and the split do not fit each other.
    """
    expected = (None, *split["img"].shape[1:]), (None, split["class"].shape[1])
    if (model.input_shape, model.output_shape) != expected:
        raise UserError(
            f"{name} takes {model.input_shape} and gives {model.output_shape}; its dataset needs"
            f" {expected[0]} and {expected[1]}. Was it trained on another dataset?"
        )
    probabilities = np.asarray(model.predict(split["img"], batch_size=512, verbose=0), np.float32)
    if not np.isfinite(probabilities).all():
        raise UserError(
            f"{name} predicts NaN or infinity. Train it again with a smaller learning rate."
        )
    return probabilities


def _compile(model: object, settings: dict, images: int) -> None:
    keras = import_keras()
    optimizers = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        "rmsprop": keras.optimizers.RMSprop,
    }
    steps = -(-images // settings["batch_size"]) * settings["epochs"]
    model.compile(
        optimizer=optimizers[settings["optimizer"]](_learning_rate(settings, steps)),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=settings["label_smoothing"]),
        metrics=["accuracy"],
    )


def _learning_rate(settings: dict, steps: int) -> object:
    """The rate itself, or, after a linear warm-up over a tenth of all steps, a cosine down to 0.

    Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017; the warm-up
    as in Goyal et al., "Accurate, Large Minibatch SGD", 2017.
    """
    rate = settings["learning_rate"]
    if settings["learning_rate_schedule"] == "constant":
        return rate
    warm_up = max(1, steps // 10)
    return import_keras().optimizers.schedules.CosineDecay(
        rate / 100, max(1, steps - warm_up), warmup_target=rate, warmup_steps=warm_up
    )


def _batches(
    split: dict[str, np.ndarray], places: np.ndarray, size: int, settings: dict | None = None
):
    """The images at `places` and their one-hot classes in batches.

    With settings, in a new order each epoch and augmented. What an epoch draws depends on the seed
    and on the epoch's number alone.
    """
    images, classes = split["img"], split["class"]

    class Batches(import_keras().utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.epoch = 0
            self._draw()

        def _draw(self) -> None:
            self.order, self.layers = places, []
            if settings:
                draw = np.random.default_rng([settings["seed"], self.epoch])
                self.order = draw.permutation(places)
                self.layers = _augmentation(settings, int(draw.integers(2**31)))

        def __len__(self) -> int:
            return -(-len(places) // size)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = self.order[index * size : (index + 1) * size]
            batch = images[chosen]
            for layer in self.layers:
                batch = layer(batch, training=True)
            return np.asarray(batch), classes[chosen]

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self._draw()

    return Batches()


def _augmentation(settings: dict, seed: int) -> list:
    """Keras's layers that flip and shift images at random."""
    layers = import_keras().layers
    flip, shift = settings["augmentation.flip"], settings["augmentation.shift"]
    exact = {"seed": seed, "dtype": "float32"}
    found = []
    if flip != "none":
        found.append(layers.RandomFlip(flip, **exact))
    if shift:
        found.append(layers.RandomTranslation(shift, shift, fill_mode="nearest", **exact))
    return found


def _telling(listener: Listener) -> object:
    class Telling(import_keras().callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            listener.batch_done(self.epoch, batch)

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            listener.epoch_done(epoch, {name: float(value) for name, value in (logs or {}).items()})

    return Telling()
