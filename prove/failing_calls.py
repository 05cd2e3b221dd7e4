"""Any one system call may fail: the stage goes on, and in the end everything is done.

Each call of a stage on its data folder is made to fail once, with each error that a disk or a
system at its limits gives. A stage that could not even start says why in a sentence and is started
again; any other goes on by itself.
"""

import signal
import subprocess
import time
from pathlib import Path

from prove import Result, some, warm
from prove.scenes import CHECKPOINT, FIRST, RUN, Prepared, prepared
from prove.system_calls import Point, need_strace
from testkit.processes import patience

ERRORS = ("EIO", "ENOSPC", "EACCES", "EMFILE")
A_WHILE = 0.2  # for what a call that fails last leads to
SCENES = (FIRST, RUN, CHECKPOINT)
# How often a stage looks at a file anew depends on the clock, and so do the last of its calls.
NEVER, MOST_NEVER = "the call did not come", 0.02

Case = tuple[Prepared, Point, str]


def prove(full: bool) -> Result:
    need_strace()
    cases = [case for scene in prepared(*SCENES, reading=True) for case in _cases(scene)]
    cases = some(cases, full, 12)
    found = list(warm.each(_violation, cases))
    violations = [problem for problem in found if problem not in (None, NEVER)]
    never = found.count(NEVER)
    if never > max(1, len(cases) * MOST_NEVER):
        violations.append(f"{never} of the {len(cases)} calls did not come again")
    tried = len(cases) - never
    figure = f"{tried} failing system calls, {len(violations)} violations"
    if never:
        figure += f" ({never} calls, which depend on the clock, did not come again)"
    return Result(tried, tried - len(violations), figure, violations)


def _cases(scene: Prepared) -> list[Case]:
    """Each call with each error; one that only reads with one."""
    return [
        (scene, point, error)
        for call, point in scene.points()
        for error in (ERRORS if call.changes else ERRORS[:1])
    ]


def _violation(case: Case) -> str | None:
    scene, point, error = case
    with scene.copy() as folder:
        problems = _problems(scene, point, error, folder)
    if problems == [NEVER]:
        return NEVER
    return f"{scene.scene.name}, {point}: {error}: {'; '.join(problems)}" if problems else None


def _problems(scene: Prepared, point: Point, error: str, folder: Path) -> list[str]:
    log = folder / "log"
    strace = [*point.inject(folder, f"error={error}"), "-o", str(log)]
    problems = []
    stage = warm.Stage(
        scene.scene.script, scene.scene.options(folder), folder / "said", strace=strace
    )
    try:
        _until_done(stage, scene, folder, log)
        if stage.poll() is None:
            stage.send_signal(signal.SIGINT)
        elif "watching" in stage.text():
            problems.append("the stage ended")
        stage.wait()
    except (TimeoutError, subprocess.TimeoutExpired):
        problems.append(f"it hangs\n{stage.text()}")
    finally:
        stage.end()
    if "(INJECTED)" not in log.read_text():
        return [NEVER]
    if "Traceback" in stage.text():
        problems.append(f"a traceback:\n{stage.text()}")
    return problems + scene.torn_in(folder) + scene.ends_otherwise(folder)


def _until_done(stage: warm.Stage, scene: Prepared, folder: Path, log: Path) -> None:
    """Wait until the call has failed and everything is recorded, or the stage has ended."""
    until = time.monotonic() + patience(warm.LONGEST)
    failed = False
    while stage.poll() is None and not (failed and scene.is_done(folder)):
        if not failed and "(INJECTED)" in log.read_text():
            failed = True
            stage.tracer.kill()  # it has done its work, and only slows things down
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.02)
    time.sleep(A_WHILE)
