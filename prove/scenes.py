"""Something for a stage to do: a small work folder with all that it needs, and the stage's script."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import constants
from pipeline.artifacts.ledger import entries_in
from pipeline.data_folder import description_path
from prove import warm
from prove.account import Account, account_of, differences, plain, torn
from prove.system_calls import Call, Point, calls_in, points, record
from testkit.raw_datasets import make_raw_dataset

INGESTION, TRAINING, ANALYSIS = "data_ingestion", "model_training", "model_analysis"
RECORDS = {
    INGESTION: constants.INGESTION_RECORD,
    TRAINING: constants.TRAINING_RECORD,
    ANALYSIS: constants.ANALYSIS_RECORD,
}
MODEL = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""
SET = 'epochs = 2\nearly_stopping_patience = 0\nvalidation_split = 0.25\nprecision = "float32"\n'
# What a stage says when something broke that should not.
FAULTS = ("Traceback", "fault of its own", "ended with exit status")
# The next dataset gets the name that follows, whatever the clock says.
EARLIER = "2999-01-01 00:00:00.000000"


@dataclass(frozen=True)
class Scene:
    name: str
    script: str
    prepare: Callable[[Path], None]
    status: int = 0  # what the script ends with, once all is done

    def options(self, folder: Path) -> list[str]:
        options = ["--data", str(folder / "data")]
        if self.script == INGESTION:
            return [*options, "--settle", "0", "--image-size", "8"]
        if self.script == TRAINING:
            models, sets = str(folder / "models"), str(folder / "sets")
            return [*options, "--models-folder", models, "--hyperparameters-folder", sets]
        return options

    def run(self, folder: Path, *options: str, **keywords: object) -> int | None:
        """Do what is waiting in `folder`; returns the exit status, or None if it hangs."""
        stage = warm.Stage(
            self.script, [*self.options(folder), "--once", *options], folder / "said", **keywords
        )
        try:
            return stage.wait()
        except subprocess.TimeoutExpired:
            return None
        finally:
            stage.end()

    def record(self, folder: Path) -> Path:
        return folder / "data" / RECORDS[self.script]


@dataclass(frozen=True)
class Prepared:
    """A scene in `folder`: as a stage finds it, and what came of it where nothing went wrong."""

    scene: Scene
    folder: Path
    account: Account
    torn: set[str]  # from the beginning

    def calls(self) -> list[Call]:
        """The system calls on the data folder where nothing went wrong."""
        return calls_in(self.folder / "log", self.folder / "undisturbed" / "data")

    def points(self) -> list[tuple[Call, Point]]:
        """These calls, each with where strace finds it again."""
        calls = self.calls()
        return list(zip(calls, points(calls, self.folder / "undisturbed"), strict=True))

    def torn_in(self, folder: Path) -> list[str]:
        """What a fault in `folder` has torn."""
        return sorted(torn(warm.call(account_of, folder)) - self.torn)

    def ends_otherwise(self, folder: Path, *options: str) -> list[str]:
        """The stage is started again in `folder`: what is different from where nothing went wrong."""
        status = self.scene.run(folder, *options)
        wrong = status != self.scene.status
        said = [f"exit status {status} after it\n{(folder / 'said').read_text()}"] if wrong else []
        return said + differences(warm.call(account_of, folder), self.account)

    def is_done(self, folder: Path) -> bool:
        """Whether all that there is to do is recorded, as done or as failed, and each file is there."""
        record = self.scene.record(folder)
        return plain(entries_in(record)).keys() == self.account[record.name].keys() and all(
            (folder / "data" / name).exists() for name in self.account
        )

    @contextmanager
    def copy(self, of: str = "template") -> Iterator[Path]:
        """A work folder of one's own, for a while."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield Path(shutil.copytree(self.folder / of, place / "work"))
        finally:
            shutil.rmtree(place)


@functools.cache
def prepared(*scenes: Scene, reading: bool = False) -> list[Prepared]:
    """The scenes, made once; `reading` says whether calls that only read are recorded as well."""
    work = Path(tempfile.mkdtemp(prefix="prove-")).resolve()
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    folders = [work / str(number) for number, _ in enumerate(scenes)]
    make = functools.partial(_prepare, reading=reading)
    return list(warm.each(make, zip(scenes, folders, strict=True)))


def _prepare(case: tuple[Scene, Path], reading: bool) -> Prepared:
    scene, folder = case
    template, undisturbed = folder / "template", folder / "undisturbed"
    template.mkdir(parents=True)
    scene.prepare(template)
    (template / "said").unlink(missing_ok=True)
    shutil.copytree(template, undisturbed)
    status = scene.run(undisturbed, strace=record(folder / "log", reading))
    if status != scene.status:
        raise RuntimeError(f"{scene.name}: {status}\n{(undisturbed / 'said').read_text()}")
    account = warm.call(account_of, undisturbed)
    return Prepared(scene, folder, account, torn(warm.call(account_of, template)))


def first_dataset(folder: Path) -> None:
    """A raw dataset, and a dataset that was there before."""
    earlier_dataset(folder)
    make_raw_dataset(folder / "data" / "raw_dataset" / "colours", train=12, test=6)


def earlier_dataset(folder: Path) -> None:
    raw = make_raw_dataset(folder / "data" / "raw_dataset" / "earlier", train=12, test=6, seed=1)
    FIRST.run(folder)
    for path in list((folder / "data" / "dataset").iterdir()):
        path.rename(path.with_stem(EARLIER))
    shutil.rmtree(raw)
    FIRST.record(folder).unlink()


def next_dataset(folder: Path) -> None:
    """Another raw dataset after one that is recorded."""
    first_dataset(folder)
    FIRST.run(folder)
    raw = folder / "data" / "raw_dataset"
    shutil.rmtree(raw / "colours")
    make_raw_dataset(raw / "others", train=12, test=6, seed=2)


def same_dataset(folder: Path) -> None:
    """The content of a dataset that is recorded, under another name."""
    first_dataset(folder)
    FIRST.run(folder)
    (folder / "data" / "raw_dataset" / "colours").rename(folder / "data" / "raw_dataset" / "again")


def bad_dataset(folder: Path) -> None:
    first_dataset(folder)
    image = folder / "data" / "raw_dataset" / "colours" / "train" / "000003.png"
    image.write_bytes(image.read_bytes()[:-9])


def damaged_record(folder: Path) -> None:
    next_dataset(folder)
    record = FIRST.record(folder)
    record.write_bytes(record.read_bytes()[:-9])


def waiting_run(folder: Path) -> None:
    """A dataset, a model and a set."""
    earlier_dataset(folder)
    for name, text in (("models/tiny.py", MODEL), ("sets/short.toml", SET)):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)


def next_run(folder: Path) -> None:
    """Another seed in the set of a run that is recorded: the record is not made from what there is."""
    waiting_run(folder)
    RUN.run(folder)
    (folder / "sets" / "short.toml").write_text(SET + "seeds = [0, 2]\n")


def begun_run(folder: Path) -> None:
    """A run that was killed while it kept the state after its second epoch."""
    waiting_run(folder)
    [dataset] = (folder / "data" / "dataset").glob("*.pkl")
    kept = f"data/model_checkpoints/{dataset.stem}__tiny__short/.resume.state.partial"
    kill = Point(1, "rename", kept, 2).inject(folder, "signal=KILL")
    RUN.run(folder, strace=kill, die_together=True)


def begun_run_without_state(folder: Path) -> None:
    """A run of which nothing was kept but the curves of its first epoch: it begins afresh."""
    begun_run(folder)
    for path in (folder / "data" / "model_checkpoints").rglob("*resume.state*"):
        path.unlink()


def bad_run(folder: Path) -> None:
    waiting_run(folder)
    (folder / "models" / "tiny.py").write_text("def build_model(shape, n): raise ValueError(n)\n")


def new_checkpoint(folder: Path) -> None:
    waiting_run(folder)
    RUN.run(folder)


def bad_checkpoint(folder: Path) -> None:
    new_checkpoint(folder)
    [checkpoint] = (folder / "data" / "model_checkpoints").glob("*.pkl")
    description_path(checkpoint).unlink()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])


FIRST = Scene("first dataset", INGESTION, first_dataset)
NEXT = Scene("next dataset", INGESTION, next_dataset)
RUN = Scene("run", TRAINING, waiting_run)
NEXT_RUN = Scene("next run", TRAINING, next_run)
BEGUN = Scene("begun run", TRAINING, begun_run)
CHECKPOINT = Scene("checkpoint", ANALYSIS, new_checkpoint)
SCENES = (
    FIRST,
    NEXT,
    Scene("same dataset", INGESTION, same_dataset),
    Scene("bad dataset", INGESTION, bad_dataset, status=1),
    Scene("damaged record", INGESTION, damaged_record),
    RUN,
    NEXT_RUN,
    BEGUN,
    Scene("begun run without its state", TRAINING, begun_run_without_state),
    Scene("bad run", TRAINING, bad_run, status=1),
    CHECKPOINT,
    Scene("bad checkpoint", ANALYSIS, bad_checkpoint, status=1),
)
