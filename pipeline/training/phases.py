"""Fit a model whose first layers may be frozen: at first without these, then, where a set says so, with."""

from collections.abc import Callable

import numpy as np

from pipeline.artifacts.hyperparameters import Settings
from pipeline.pretrained import frozen_layers
from pipeline.problem import Problem
from pipeline.training.fitting import Fit, Listener, phases_of

# The frozen part of a model and the rest, in; the split with what the one makes of its images, out.
Examples = Callable[[tuple], dict]


class PhasedFit:
    """A model's way through all of its epochs, with `fit` for the phase that it is in.

    What a frozen part makes of the images is computed once, and holds for the first phase alone.
    """

    def __init__(self, model: object, settings: Settings, images: int):
        self.model, self.settings, self.images = model, settings, images
        self.phases = phases_of(settings, frozen_layers.can_be_tuned(model))
        self.number, self.parts = 0, frozen_layers.parts(model)
        self.fit = self._fit()

    def _fit(self) -> Fit:
        network = self.parts[1] if self.parts else self.model
        return Fit(network, self.settings, self.images, self.phases[self.number])

    def _fine_tune(self) -> None:
        """Begin the second phase: all layers are trained, so nothing that the frozen ones gave holds."""
        frozen_layers.unfreeze(self.model)
        self.number, self.parts = 1, None
        self.fit = self._fit()

    def restore(self, state: dict) -> None:
        """Go back to where `state` was taken. What was taken at the end of a phase is of that one.

        Raises:
            ValueError, TypeError, KeyError: it is of another model.
        """
        if len(state["history"]["loss"]) > self.phases[0].end:
            self._fine_tune()
        self.fit.restore(state)

    def run(
        self,
        split: dict,
        examples_of: Examples,
        fitted: np.ndarray,
        held_out: np.ndarray,
        listener: Listener,
        go_on: Callable[[], bool],
    ) -> bool:
        """Go on to the end, as `Fit.run` does; between two phases it is left where `go_on` says so."""
        while True:
            with_features = self.parts and not self.fit.over
            examples = examples_of(self.parts) if with_features else split
            if not self.fit.run(examples, fitted, held_out, listener):
                return False
            if self.number + 1 == len(self.phases):
                return True
            if not go_on():
                return False
            earlier = self.fit
            self._fine_tune()  # from the best weights, which the model has now
            self.fit.history, self.fit.best_epoch = earlier.history, earlier.best_epoch
            self.fit.best_loss = earlier.best_loss
            del examples, earlier  # which hold features, and these may take much memory


def nothing_to_tune(model: object, settings: Settings) -> dict[str, dict]:
    """The warning that a set asks for fine-tuning that cannot be, by its kind."""
    if not settings.fine_tune_after:
        return {}
    if not frozen_layers.can_be_tuned(model):
        why = "no layer of the model is frozen"
    elif settings.fine_tune_after >= settings.epochs:
        why = f"epochs is {settings.epochs}"
    else:
        return {}
    text = f"fine_tune_after = {settings.fine_tune_after} does nothing: {why}."
    return {"nothing_to_tune": Problem("nothing_to_tune", text).as_plain()}
