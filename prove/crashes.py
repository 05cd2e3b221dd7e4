"""A crash in one place stops nothing else: the inputs before and after it are dealt with.

An exception is raised for one input in each part of a stage that is given an input, and in the
handler of events; models end their process in every way there is.
"""

import shutil
from collections.abc import Iterator, Sequence
from itertools import cycle, product
from pathlib import Path

import constants
from prove import Result
from prove.drops import content_of, contents, make
from prove.running import (
    ANALYSIS,
    LONGEST,
    TRAINING,
    broken,
    drop,
    ingesting,
    running,
    work_folder,
)

BAD = "marked"  # the input it is raised for; "before" and "later" are the others
RAISED = "the fault was raised"
FAULT = """
import functools, importlib
place = importlib.import_module("{module}")
*owner, name = "{part}".split(".")
place = getattr(place, owner[0]) if owner else place
whole = getattr(place, name)
@functools.wraps(whole)
def failing(*arguments, **keywords):
    if "{bad}" in repr(arguments):
        print("{raised}", flush=True)
        raise {error}
    return whole(*arguments, **keywords)
setattr(place, name, failing)
"""
ERRORS = ('RuntimeError("a fault")', 'OSError(5, "a fault")', "RecursionError()", "MemoryError()")
INGESTION_PARTS = (
    "pipeline.stage.folder_watch:_Waker.on_any_event",
    "pipeline.raw_data.ingestion:scan",
    "pipeline.raw_data.ingestion:recognize",
    "pipeline.raw_data.ingestion:read",
    "pipeline.raw_data.ingestion:Ingestion._is_recorded",
    "pipeline.raw_data.ingestion:DatasetMaker._ingest",
    "pipeline.raw_data.dataset_writer:DatasetWriter.publish",
    "pipeline.raw_data.dataset_writer:describe",
    "pipeline.raw_data.groundtruth:_rows_of",
    "pipeline.images.reader_processes:read_images",
)
ANALYSIS_PARTS = (
    "pipeline.analysis.evaluation:Evaluator.prepare",
    "pipeline.analysis.evaluation:Evaluator.evaluate",
    "pipeline.analysis.checkpoint_analysis:Analysis._examine",
    "pipeline.analysis.checkpoint_analysis:results_of",
    "pipeline.analysis.run_results:draw",
)
MODEL = """
import ctypes, os, signal, sys
from keras import Input, Sequential, layers

def again():
    return again()

def build_model(input_shape, num_classes):
    {crash}
    return Sequential([Input(input_shape), layers.Flatten(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""
CRASHES = (
    'raise RuntimeError("a fault")',
    "raise MemoryError",
    "raise KeyboardInterrupt",
    "again()",
    "sys.exit(0)",
    "os._exit(0)",
    "os.kill(os.getpid(), signal.SIGKILL)",
    "ctypes.string_at(0)",
)
SEEDS = [5, 0]
SET = 'epochs = 1\nearly_stopping_patience = 0\nvalidation_split = 0.0\nprecision = "float32"\n'


def prove(full: bool) -> Result:
    faults = list(product(INGESTION_PARTS, ERRORS))
    if not full:  # each part, and each error
        faults = list(zip(INGESTION_PARTS, cycle(ERRORS), strict=False))
    found = [(f"{part}, {error}", _in_ingestion(part, error)) for part, error in faults]
    found += (
        _in_later_stages(CRASHES, ANALYSIS_PARTS) if full else _in_later_stages(CRASHES[5:7], ())
    )
    violations = [f"{what}: {problem}" for what, problem in found if problem]
    figure = f"crashes after which something else was not done: {len(violations)} of {len(found)}"
    return Result(len(found), len(found) - len(violations), figure, violations)


def _in_ingestion(part: str, error: str) -> str | None:
    with work_folder() as work:
        drop(work, "before", 0)
        expected = [content_of(make(work / "expected" / str(seed), seed)) for seed in (0, 2)]

        def attempt() -> str | None:
            with ingesting(work, first=_fault(part, error)) as stage:
                stage.wait_for("before: ingested as", LONGEST)
                drop(work, BAD, 1)
                stage.wait_for(RAISED, LONGEST)
                drop(work, "later", 2)
                stage.wait_for("later: ingested as", LONGEST)
            # An event that a handler has spoilt is made good by a look.
            found = [one for one in contents(work / "data") if one in expected]
            return None if found == expected else f"{len(found)} of 2 others ingested"

        return broken(attempt)


def _fault(part: str, error: str) -> str:
    module, name = part.split(":")
    return FAULT.format(module=module, part=name, bad=BAD, raised=RAISED, error=error)


def _in_later_stages(
    crashes: Sequence[str], parts: Sequence[str]
) -> Iterator[tuple[str, str | None]]:
    """Models that crash among one that does not; then faults in the analysis of what one has made."""
    with work_folder() as work:
        drop(work, "before", 0)
        with ingesting(work) as stage:
            stage.wait_for("ingested as", LONGEST)
        for folder in ("models", "sets"):
            (work / folder).mkdir()
        (work / "sets" / "one.toml").write_text(SET + f"seeds = {SEEDS}\n")
        named = {f"crash_{number}": crash for number, crash in enumerate(crashes)}
        for name, crash in {**named, BAD: "pass  # one", "later": "pass  # two"}.items():
            (work / "models" / f"{name}.py").write_text(MODEL.format(crash=crash))
        said = _said(TRAINING, work, "--models-folder", work / "models",
                     "--hyperparameters-folder", work / "sets")  # fmt: skip
        for name, crash in named.items():
            fell = all(f"__{name}__one__seed{seed}: failed" in said for seed in SEEDS)
            yield crash, None if fell else "not said to have failed with each seed"
        for name in (BAD, "later"):
            ended = all(f"__{name}__one__seed{seed}: trained in" in said for seed in SEEDS)
            yield name, None if ended else "not trained with each seed"
        for part in parts:
            shutil.rmtree(work / "data" / constants.RESULTS)
            (work / "data" / constants.ANALYSIS_RECORD).unlink(missing_ok=True)
            said = _said(ANALYSIS, work, first=_fault(part, ERRORS[0]))
            both = RAISED in said and f"__later__one__seed{SEEDS[0]}: analyzed in" in said
            yield part, None if both else f"not raised or the other not analyzed: {said[-600:]}"


def _said(script: str, work: Path, *options: object, first: str = "") -> str:
    with running(script, work, "--once", *options, first=first) as stage:
        stage.end(seconds=300)
    return "\n".join(stage.lines)
