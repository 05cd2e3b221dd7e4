"""`kill -9` at any moment loses nothing and repeats nothing.

Each stage is killed at each system call that changes something in its data folder; a trainer once
alone and once together with its stage. Then the stage is started again and ends as if undisturbed.
A run whose trainer alone is killed has failed, or it ends early with its best epoch: it is asked for again.
"""

import json
from pathlib import Path

from prove import Result, some, tried, warm
from prove.scenes import CHECKPOINT, FIRST, NEXT_RUN, SCENES, TRAINING, Prepared, prepared
from prove.system_calls import Point, need_strace

Case = tuple[Prepared, Point, bool]
NAMING = ("rename", "unlink")  # between two of these, no name comes, changes or goes


def prove(full: bool) -> Result:
    need_strace()
    scenes = SCENES if full else (FIRST, NEXT_RUN, CHECKPOINT)
    cases = [case for scene in prepared(*scenes) for case in _cases(scene)]
    if not full:  # each order of the names, and some of what is half-written
        others = [case for case in cases if case[1].name not in NAMING]
        cases = [case for case in cases if case[1].name in NAMING] + some(others, full, 12)
    figure = "kills at {tried} system calls, {broken} violations"
    return tried(_violation, cases, figure, warm.each)


def _cases(scene: Prepared) -> list[Case]:
    return [
        (scene, point, together)
        for call, point in scene.points()
        if call.changes
        for together in ([False, True] if point.process else [False])
    ]


def _violation(case: Case) -> str | None:
    scene, point, together = case
    with scene.copy() as folder:
        problems = _problems(scene, point, together, folder)
    what = "with its stage" if together else "alone"
    return (
        f"{scene.scene.name}, {point}, killed {what}: {'; '.join(problems)}" if problems else None
    )


def _problems(scene: Prepared, point: Point, together: bool, folder) -> list[str]:
    log = folder / "log"
    kill = [*point.inject(folder, "signal=KILL"), "-o", str(log)]
    scene.scene.run(folder, strace=kill, die_together=together)
    if "killed by SIGKILL" not in log.read_text():
        return ["it was not killed"]
    problems = scene.torn_in(folder)
    if scene.scene.script != TRAINING:
        return problems + scene.ends_otherwise(folder)
    for description in _ended_early(folder):
        description.with_suffix(".pkl").unlink(missing_ok=True)
        description.unlink()
    return problems + scene.ends_otherwise(folder, "--retry-failed")


def _ended_early(folder: Path) -> list[Path]:
    """The descriptions of the checkpoints that hold only the epochs before a failure."""
    found = (folder / "data" / "model_checkpoints").glob("*.json")
    return [
        path for path in found if "ended_early" in json.loads(path.read_text())["run"]["warnings"]
    ]
