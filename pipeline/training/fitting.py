"""Fit a model, predict with it: what is Keras's work."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from helper import UserError
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.keras_import import import_keras
from pipeline.fitting import probabilities
from pipeline.fitting.batches import Batches, balanced_weights

keras = import_keras()


class Listener(Protocol):
    """Who is told how far a training is. Epochs and batches count from 0."""

    def batch_done(self, epoch: int, batch: int) -> None: ...

    def epoch_done(self, epoch: int, figures: dict[str, float], fit: "Fit") -> bool:
        """Returns whether to go on; if not, `fit.state()` is what to go on from later."""
        ...


def use_devices(threads: int, gpu: str) -> None:
    """Keep to so many threads (0: no limit), or to one GPU and there to the memory that is needed."""
    import tensorflow as tf

    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def prepare(precision: str, seed: int) -> str:
    """Seed everything and set the precision for the models to come; returns the Keras dtype policy."""
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


@dataclass(frozen=True)
class Phase:
    """The epochs from `begin` to before `end`, counted from 0, and their highest learning rate.

    patient: whether early stopping may end it.
    """

    begin: int
    end: int
    learning_rate: float
    patient: bool = True


def phases_of(settings: Settings, can_be_tuned: bool) -> list[Phase]:
    """One, or two where the frozen layers of a model are to be trained, too, after some epochs."""
    after, end = settings.fine_tune_after, settings.epochs
    if not can_be_tuned or not 0 < after < end:
        return [Phase(0, end, settings.learning_rate)]
    first = Phase(0, after, settings.learning_rate, patient=False)
    return [first, Phase(after, end, settings.fine_tune_learning_rate)]


class Fit(keras.callbacks.Callback):
    """A model's way through the epochs of a phase. It can be left after each one and gone on with later.

    The best epoch is that with the lowest loss on what was held out, or on all where nothing was.
    After so many epochs without a better one as the patience says, it is over.
    """

    def __init__(self, model: object, settings: Settings, images: int, phase: Phase | None = None):
        super().__init__()
        self.network, self.settings = model, settings
        self.phase = phase or phases_of(settings, False)[0]
        self.steps = -(-images // settings.batch_size)  # in an epoch
        self.history: dict[str, list[float]] = {}
        self.best_epoch, self.best_loss, self.best_weights = 0, np.inf, model.get_weights()
        self.left = self.broken = False
        _compile(model, settings, self.phase, self.steps)
        # If the first step made the optimizer's variables, TensorFlow would have to trace it twice.
        model.optimizer.build(model.trainable_variables)

    @property
    def epochs_done(self) -> int:
        return len(self.history.get("loss", []))

    @property
    def over(self) -> bool:
        patience = self.settings.early_stopping_patience or self.settings.epochs
        waited = self.epochs_done - max(self.best_epoch, self.phase.begin)
        return self.epochs_done >= self.phase.end or (self.phase.patient and waited >= patience)

    def run(
        self, split: dict, fitted: np.ndarray, held_out: np.ndarray, listener: Listener
    ) -> bool:
        """Go on to the end, on the indices `fitted` of `split`, validated on those in `held_out`.

        Returns:
            whether it came to the end; then the model has the weights of its best epoch.

        Raises:
            UserError: the loss became NaN or infinite.
        """
        self.listener = listener
        balanced = self.settings.class_weight == "balanced"
        weights = balanced_weights(split["class"][fitted]) if balanced else None
        self.batches = Batches(split, fitted, self.settings.batch_size, self.settings, weights)
        self.batches.begin(self.epochs_done)
        # Weighted alike: the epoch that is best for the largest class alone is not the best.
        validation = Batches(split, held_out, 512, weights=weights)
        if not self.over:
            self.network.fit(
                self.batches.to_read(),
                validation_data=validation.to_read() if len(held_out) else None,
                shuffle=False,  # the batches come in an order of their own
                initial_epoch=self.epochs_done,
                epochs=self.phase.end,
                verbose=0,
                callbacks=[keras.callbacks.TerminateOnNaN(), self],
            )
        if self.left:
            return False
        if self.broken or not self.best_epoch:
            raise UserError(
                "the loss became NaN or infinite. Use a smaller learning_rate,"
                ' or precision = "float32".'
            )
        self.take_best()
        return True

    def take_best(self) -> None:
        """Give the model the weights of its best epoch."""
        self.network.set_weights(self.best_weights)
        # A new optimizer has no state yet: a checkpoint is a third of the size, and still compiled.
        _compile(self.network, self.settings, self.phase, self.steps)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch
        self.batches.begin(epoch)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.listener.batch_done(self.epoch, batch)

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.listener.batch_done(self.epoch, self.steps - 1)  # a long validation gets on, too

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite([figures["loss"], figures.get("val_loss", 0)]).all():
            self.broken = self.network.stop_training = True
            return  # what is kept stays that of the last good epoch
        for name, value in figures.items():
            self.history.setdefault(name, []).append(value)
        loss = figures.get("val_loss", figures["loss"])
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch + 1, loss
            self.best_weights = self.network.get_weights()
        self.left = not self.listener.epoch_done(epoch, figures, self) and not self.over
        if self.left or self.over:
            self.network.stop_training = True

    def state(self) -> dict:
        """All that the epochs to come depend on, as plain values and arrays."""
        optimizer = self.network.optimizer
        return {
            "history": self.history,
            "best": [self.best_epoch, self.best_loss, _exact(self.best_weights)],
            # The variables of a model are its weights and the state of its random layers.
            "variables": _exact(variable.numpy() for variable in self.network.variables),
            "optimizer": _exact(variable.numpy() for variable in optimizer.variables),
        }

    def restore(self, state: dict) -> None:
        """Go back to where `state` was taken.

        Raises:
            ValueError, TypeError, KeyError: it is of another model.
        """
        _assign(self.network.variables, state["variables"])
        _assign(self.network.optimizer.variables, state["optimizer"])
        self.history = state["history"]
        self.best_epoch, self.best_loss, self.best_weights = state["best"]


def _exact(arrays) -> list[np.ndarray]:
    """Arrays in types that a pickle of this project holds; no value changes on the way and back."""
    return [
        array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        if array.dtype.kind in "iuV" or array.dtype.itemsize < 4
        else array
        for array in map(np.asarray, arrays)
    ]


def _assign(variables: list, arrays: list[np.ndarray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def predict(
    model: object, split: dict[str, np.ndarray], name: str, progress: Callable[[int], object]
) -> np.ndarray:
    """Class probabilities float32 (count, classes) for the images of `split`.

    `progress` is called with the number of images that are done since its last call.

    Raises:
        UserError: the model, which is called `name` there, and the split do not fit each other.
        MemoryError: there is not enough of it.
    """
    import tensorflow as tf

    expected = (None, *split["img"].shape[1:]), (None, split["class"].shape[1])
    if (model.input_shape, model.output_shape) != expected:
        raise UserError(
            f"{name} takes {model.input_shape} and gives {model.output_shape}; its dataset needs"
            f" {expected[0]} and {expected[1]}. Was it trained on another dataset?"
        )
    counting = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda _, logs: progress(len(logs["outputs"]))
    )
    batches = Batches(split, np.arange(len(split["img"])), _batch_size(split["img"])).to_read()
    try:
        found = model.predict(batches, verbose=0, callbacks=[counting])
    except tf.errors.ResourceExhaustedError:
        raise MemoryError from None
    if (fault := probabilities.fault_of(found)) == probabilities.NOT_FINITE:
        raise UserError(
            f"{name} predicts NaN or infinity. Train it again with a smaller learning rate."
        )
    if fault:
        raise UserError(
            f"{name} predicts {fault}, expected class probabilities: 0 or more, with a sum of 1 for"
            f" each image. {probabilities.ENDING}"
        )
    return np.asarray(found, np.float32)


def is_out_of_memory(error: Exception) -> bool:
    import tensorflow as tf

    return isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)


def outputs(model: object, images: np.ndarray) -> np.ndarray:
    """What `model` gives for `images`, without the graph that `predict` makes: that takes longer than a
    few hundred images do."""
    at_once = _batch_size(images)
    parts = [images[first : first + at_once] for first in range(0, len(images), at_once)]
    return np.concatenate([np.asarray(model(part, training=False), np.float32) for part in parts])


def features(model: object, images: np.ndarray) -> np.ndarray | None:
    """What the last layer with weights is given for `images`: float32 (count, features).

    None where a model has no such layer, or gives it more than that.
    """
    last = next((layer for layer in reversed(model.layers) if layer.weights), None)
    # Not by its input: a layer that is in two models has that of the first.
    graph = getattr(model, "_functional", None) or model
    by_depth = getattr(graph, "_nodes_by_depth", {}).values()
    calls = [node for nodes in by_depth for node in nodes if node.operation is last]
    if last is None or len(calls) != 1 or len(calls[0].input_tensors) != 1:
        return None
    found = outputs(keras.Model(graph.inputs[0], calls[0].input_tensors[0]), images)
    return found if found.ndim == 2 else found.mean(axis=tuple(range(1, found.ndim - 1)))


def _batch_size(images: np.ndarray) -> int:
    """As many images as do not make a layer's output larger than that of 512 images of 64 x 64."""
    return max(1, min(512, 512 * 64 * 64 // math.prod(images.shape[1:3])))


def _compile(model: object, settings: Settings, phase: Phase, steps_per_epoch: int) -> None:
    steps = steps_per_epoch * (phase.end - phase.begin)
    model.compile(
        optimizer=_optimizer(settings, _learning_rate(settings, phase.learning_rate, steps)),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
        # Not by its mere name, with which the first step would make its variables.
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )


def _optimizer(settings: Settings, rate: object) -> object:
    name = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop"}[
        settings.optimizer
    ]
    extras = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    decay = settings.weight_decay
    if decay or name == "AdamW":  # a decay of 0 would be computed at each step all the same
        extras["weight_decay"] = decay
    return getattr(keras.optimizers, name)(rate, **extras)


def _learning_rate(settings: Settings, rate: float, steps: int) -> object:
    """The rate itself, or, after a linear warm-up over a tenth of all steps, a cosine down to 0.

    Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017; the warm-up
    as in Goyal et al., "Accurate, Large Minibatch SGD", 2017.
    """
    if settings.learning_rate_schedule == "constant":
        return rate
    warm_up = steps // 10
    if not warm_up:  # a training of one step would be at the bottom of it
        return keras.optimizers.schedules.CosineDecay(rate, max(1, steps))
    return keras.optimizers.schedules.CosineDecay(
        rate / 100, max(1, steps - warm_up), warmup_target=rate, warmup_steps=warm_up
    )
