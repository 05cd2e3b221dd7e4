"""`kill -9` at any moment loses nothing and repeats nothing.

Each stage is killed at each system call that changes something in its data folder; a trainer once
alone and once together with its stage. Then the stage is started again and ends as if undisturbed.
"""

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
    # A trainer that is killed alone is a run that failed: for want of memory, say.
    retry = ["--retry-failed"] if scene.scene.script == TRAINING else []
    return problems + scene.ends_otherwise(folder, *retry)
