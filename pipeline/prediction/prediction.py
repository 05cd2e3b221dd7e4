"""Which inputs are due, and classifying the next one."""

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from helper import UserError, printable, remove_partials, shown
from pipeline.analysis.evaluation import Evaluator
from pipeline.artifacts.catalog import Catalog
from pipeline.artifacts.descriptions import Descriptions
from pipeline.data_folder import DataFolder
from pipeline.prediction import prediction_files as files
from pipeline.prediction.classification import Predictions, classify
from pipeline.prediction.model_choice import Model, NoModel, choose
from pipeline.prediction.new_images import Source, opened, sources_in, unlabelled_in
from pipeline.stage.process import Stage
from pipeline.stage.progress import counted
from pipeline.stage.text import cannot_read, count

log = logging.getLogger(__name__)

# Of what has no list of its files, nothing tells a half from a whole but time, as in ingestion.
SETTLES = 3  # times the settle time
SETTLES_DAMAGED = 10  # times, before an image that is damaged counts as one that stays so


@dataclass
class InputState:
    """An input as it was seen last. `done`: nothing to do until it, or the checkpoint, changes."""

    fingerprint: str = ""
    since: float = 0.0
    damaged: bool = False  # images are, and they may still be on their way
    done: bool = False
    problem: str = ""

    def settles_at(self, settle: float) -> float:
        return self.since + settle * (SETTLES_DAMAGED if self.damaged else SETTLES)


class Changed(Exception):
    """The input is no longer as it was when its reading began."""


class InputClassifier:
    """Classifies an input that is whole, and writes what came of it, or why nothing did."""

    def __init__(self, options: argparse.Namespace, evaluator: Evaluator, stage: Stage):
        self.settle, self.evaluator, self.stage = options.settle, evaluator, stage
        self.data = DataFolder(options.data)
        self.failed: dict[str, str] = {}  # checkpoints, by SHA-256, and why

    def classify(
        self, source: Source, state: InputState, described: files.Described | None, model: Model
    ) -> None:
        began, where = time.monotonic(), shown(source.path)
        self.stage.status.update(f"classifying {printable(source.name)}")
        try:
            _check_name(source)
            found = self._classified(source, model)
            if not found:
                return
            if found.damaged and not state.damaged and not self._is_old(state):
                state.damaged = True  # once more, when nothing has changed for longer
                return
            self._check(source, state)
            from pipeline.prediction.contact_sheet import contact_sheet  # matplotlib takes its time

            sheet = contact_sheet(source.name, found, model)
        except Changed:
            log.info("%s: changed while it was read; reading it again", where)
            return
        except UserError as error:
            self._refuse(source, state, str(error))
            return
        kept = files.are_there(self.data.predictions, source.name)
        same = (
            kept
            and described
            and (described.content, described.checkpoint_sha256)
            == (*(found.content, model.sha256),)
        )
        self.stage.retry(
            lambda: files.write_predictions(
                self._made(), source, state.fingerprint, model, found, sheet
            )
        )
        state.done = True
        if same:
            log.info("%s: same content as before, nothing new", where)
        else:
            log.info(
                "%s", _said_of(where, source, found, model, time.monotonic() - began, self.data)
            )

    def _classified(self, source: Source, model: Model) -> Predictions | None:
        """None where the checkpoint fails, which then does not count any more."""

        def unpacking(_: int) -> None:
            self.stage.status.heartbeat()

        with opened(source, self.data.unpacked_new, unpacking) as images:
            try:
                with counted(
                    *(len(images), "prediction | classifying", "images"),
                    *(self.stage.status, source.name),
                ) as progress:
                    return classify(images, model, self.evaluator, progress)
            except UserError as error:
                self.stage.raise_if_stopping()
                self.failed[model.sha256] = str(error)
                log.error("%s: cannot be used: %s", model.title, error)
                return None

    def _is_old(self, state: InputState) -> bool:
        return time.monotonic() >= state.since + self.settle * SETTLES_DAMAGED

    def _check(self, source: Source, state: InputState) -> None:
        if source.fingerprint() != state.fingerprint:
            raise Changed

    def _refuse(self, source: Source, state: InputState, problem: str) -> None:
        """Say why, once for this content, also where the stage is started again."""
        self.set_aside(source, state, problem)
        if len(_bytes(source.name)) <= files.MOST_IN_NAME:
            self.stage.retry(
                lambda: files.write_problem(self._made(), source, state.fingerprint, problem)
            )

    def set_aside(self, source: Source, state: InputState, problem: str) -> None:
        if state.problem != problem:
            log.error("%s: not classified: %s", shown(source.path), problem)
        state.problem, state.done = problem, True

    def _made(self) -> Path:
        self.data.predictions.mkdir(parents=True, exist_ok=True)
        return self.data.predictions


class Prediction:
    """Looks at what there is to classify, and classifies what is whole."""

    def __init__(self, options: argparse.Namespace, evaluator: Evaluator, stage: Stage):
        self.options, self.stage = options, stage
        self.classifier = InputClassifier(options, evaluator, stage)
        self.data = DataFolder(options.data)
        self.catalog = Catalog(options.data)
        self.states: dict[Source, InputState] = {}
        self.no_model = ""
        self._described = Descriptions(
            self.data.predictions, lambda _, said: files.Described.of(said)
        )
        self._said: set[str] = set()
        remove_partials(self.data.predictions)

    def look(self) -> float | None:
        """Look at everything and classify what is ready; returns when to look again without an event."""
        self.catalog.look()
        described = self._described.look()
        found = self._sources()
        self.states = {source: self.states.get(source, InputState()) for source in found}
        self.no_model = ""
        for source, state in self.states.items():
            self.stage.status.heartbeat()
            try:
                self._look_at(source, state, described.get(source.name))
            except NoModel as error:
                self.no_model = str(error)
                self._say_once(f"{count(len(self.states), 'input')} to classify, but {error}")
                break  # none for this one is none for the others
            except FileNotFoundError:
                state.fingerprint = ""  # it, or the checkpoint, went: the next look will tell
            except OSError as error:
                self.classifier.set_aside(source, state, cannot_read(error))
                state.fingerprint = ""
            except Exception as error:
                self.stage.raise_if_stopping()
                log.exception("%s: failed", shown(source.path))
                self.classifier.set_aside(
                    source, state, f"{type(error).__name__}: {printable(error)[:300]}"
                )
        self._tell_problems()
        waiting = [
            state.settles_at(self.options.settle) - time.monotonic() for state in self.unsettled()
        ]
        return max(0.0, min(waiting)) if waiting else None

    def unsettled(self) -> list[InputState]:
        """Those that wait for nothing but time."""
        return [] if self.no_model else [one for one in self.states.values() if not one.done]

    def all_well(self) -> bool:
        return not (
            self.no_model
            or self.classifier.failed
            or any(one.problem for one in self.states.values())
        )

    def _sources(self) -> list[Source]:
        try:
            found, stray = sources_in(self.data.new_images)
        except FileNotFoundError:
            return []  # the watch makes it again
        for path in stray:
            self._say_once(
                f"{shown(path)} is no image, folder or archive (.zip, .tar): left alone."
            )
        names = {source.name for source in found}
        return found + [one for one in unlabelled_in(self.catalog) if one.name not in names]

    def _look_at(
        self, source: Source, state: InputState, described: files.Described | None
    ) -> None:
        fingerprint = source.fingerprint()
        if fingerprint != state.fingerprint:
            state.fingerprint, state.since = fingerprint, time.monotonic()
            state.damaged = state.done = False
            state.problem = ""
        if described and described.problem and described.fingerprint == fingerprint:
            state.problem, state.done = described.problem, True
            return
        if state.done and state.problem:
            return
        model = self._model_for(source)
        state.done = self._is_done(source, fingerprint, described, model)
        if not state.done and time.monotonic() >= state.settles_at(self.options.settle):
            self.classifier.classify(source, state, described, model)

    def _model_for(self, source: Source) -> Model:
        """The best checkpoint that can be used; of a test part without labels, of its own dataset."""
        dataset = source.dataset or self.options.dataset
        return choose(
            self.catalog,
            "" if source.dataset else self.options.run,
            dataset,
            self.classifier.failed,
        )

    def _is_done(
        self, source: Source, fingerprint: str, described: files.Described | None, model: Model
    ) -> bool:
        return (
            described is not None
            and described.fingerprint == fingerprint
            and described.checkpoint_sha256 == model.sha256
            and files.are_there(self.data.predictions, source.name)
        )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)

    def _tell_problems(self) -> None:
        problems = {shown(one.path): state.problem for one, state in self.states.items()}
        if self.no_model:
            problems[shown(self.data.new_images)] = self.no_model
        self.stage.status.set_problems({name: text for name, text in problems.items() if text})


def _check_name(source: Source) -> None:
    length, most = len(_bytes(source.name)), files.MOST_IN_NAME
    if length > most:
        raise UserError(
            f"its name has {length} bytes, expected {most} at the most, as files are named after it."
            " Give it a shorter one."
        )


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _said_of(
    where: str, source: Source, found: Predictions, model: Model, seconds: float, data: DataFolder
) -> str:
    damaged = f", {len(found.damaged):,} of them damaged" if found.damaged else ""
    table = shown(files.table_path(data.predictions, source.name))
    images = count(len(found.rows), "image")
    return f"{where}: classified in {seconds:.1f} s by {model.title}: {images}{damaged}; {table}"
