"""A full disk is clean: nothing half-written, and the stage goes on by itself once there is room.

Each stage works on small disks, from one with no room at all, page by page, to one with enough. Where
it does not suffice, there is more room later; the stage is not started again.
"""

import mmap
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prove import Missing, Result, some, warm
from prove.account import account_of, differences, torn
from prove.scenes import CHECKPOINT, FIRST, RUN, Prepared, prepared
from testkit.processes import patience

SCENES = (FIRST, RUN, CHECKPOINT)
PAGE = mmap.PAGESIZE  # a tmpfs gives room in pages
PLENTY = 2**26
FULL = "the disk is full"

Case = tuple[Prepared, int]


def prove(full: bool) -> Result:
    if os.geteuid():
        raise Missing("only root may mount small disks. Run it as root: sudo make prove.")
    cases = [
        (scene, room) for scene in prepared(*SCENES) for room in range(0, _need(scene) + 1, PAGE)
    ]
    cases = some(cases, full, 6)
    found = list(warm.each(_attempt, cases))
    violations = [violation for _, violation in found if violation]
    small = sum(was_full for was_full, _ in found)
    return Result(
        len(cases),
        len(cases) - len(violations),
        f"{len(cases)} disks, {small} of them too small, {len(violations)} violations",
        violations,
    )


def _need(scene: Prepared) -> int:
    """Surely enough room: for all that is written and, while it is, the largest file once more."""
    before, after = (_sizes(scene.folder / name) for name in ("template", "undisturbed"))
    return sum(after) - sum(before) + max(after)


def _sizes(folder: Path) -> list[int]:
    """Of each file, in whole pages."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [-(-path.stat().st_size // PAGE) * PAGE for path in files]


def _attempt(case: Case) -> tuple[bool, str | None]:
    """Whether the disk was too small, and what did not hold."""
    scene, room = case
    with scene.copy() as template, _disk() as folder:
        shutil.copytree(template, folder / "work")
        _resize(folder, _used(folder) + room)
        was_full, problems = _problems(scene, folder / "work", template / "said")
    what = f"{scene.scene.name} with {room // PAGE} pages: {'; '.join(problems)}"
    return was_full, what if problems else None


def _problems(scene: Prepared, folder: Path, said: Path) -> tuple[bool, list[str]]:
    problems = []
    stage = warm.Stage(scene.scene.script, scene.scene.options(folder), said)
    try:
        _wait(lambda: FULL in stage.text() or scene.is_done(folder), stage)
        if was_full := FULL in stage.text():
            problems += sorted(torn(warm.call(account_of, folder)))
            _wait(lambda: not list(folder.rglob("*.partial")), stage)
            _resize(folder.parent, PLENTY)
            _wait(lambda: scene.is_done(folder), stage)
        stage.send_signal(signal.SIGINT)
        stage.wait()
    except TimeoutError as error:
        return True, [*problems, f"{error}\n{stage.text()}"]
    finally:
        stage.end()
    return was_full, problems + differences(warm.call(account_of, folder), scene.account)


def _wait(condition: Callable[[], bool], stage: warm.Stage) -> None:
    until = time.monotonic() + patience(warm.LONGEST)
    while not condition():
        if stage.poll() is not None:
            raise TimeoutError("the stage ended")
        if time.monotonic() > until:
            raise TimeoutError("it hangs")
        time.sleep(0.02)


@contextmanager
def _disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


def _resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={max(size, PAGE)}", str(disk)], check=True)


def _used(disk: Path) -> int:
    room = os.statvfs(disk)
    return (room.f_blocks - room.f_bfree) * room.f_bsize
