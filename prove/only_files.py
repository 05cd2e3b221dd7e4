"""Only regular files are opened: whatever else has the name of a file, no stage waits or breaks.

In place of each file that a stage reads or writes comes a pipe, a device, a socket, a folder, a link
to nowhere, to itself, to a device; then the stage is started, and run_queue.py prints its tables.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from prove import Result, some, tried, warm
from prove.scenes import BEGUN, CHECKPOINT, FAULTS, NEXT, TRAINING, Prepared, prepared

Case = tuple[Prepared, str, Path, str]


def prove(full: bool) -> Result:
    scenes = prepared(NEXT, BEGUN, CHECKPOINT)
    cases = [case for scene in scenes for case in _cases(scene)]
    figure = "{tried} times something else in place of a file, {broken} hangs or tracebacks"
    return tried(_violation, some(cases, full, 12), figure, warm.each)


def _cases(scene: Prepared) -> list[Case]:
    """Before and after the stage did its work, each file that is there in the end, and each kind."""
    names = [name for name in _names(scene.folder / "undisturbed") if _is_read(name)]
    return [
        (scene, moment, name, kind)
        for name in names
        for kind in KINDS
        for moment in ("template", "undisturbed")
    ]


def _names(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _is_read(name: Path) -> bool:
    """Of the raw data, one image and one table stand for all."""
    return name.name != "said" and (
        "raw_dataset" not in name.parts or name.name in ("groundtruth.csv", "000003.png")
    )


def _violation(case: Case) -> str | None:
    scene, moment, name, kind = case
    with scene.copy(of=moment) as folder:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        KINDS[kind](path)
        (folder / "said").unlink(missing_ok=True)
        problems = _problems(scene.scene.script, scene.scene.run(folder), folder)
        for options in ([], ["--json"], ["--health"]):
            problems += _problems("run_queue", _print(scene, folder, options), folder)
    return (
        f"{scene.scene.name}, {moment}, {name} a {kind}: {'; '.join(problems)}"
        if problems
        else None
    )


def _print(scene: Prepared, folder: Path, options: list[str]) -> int | None:
    (folder / "said").unlink(missing_ok=True)
    given = scene.scene.options(folder) if scene.scene.script == TRAINING else []
    stage = warm.Stage(
        "run_queue", [*(given or ["--data", str(folder / "data")]), *options], folder / "said"
    )
    try:
        return stage.wait()
    except subprocess.TimeoutExpired:
        return None
    finally:
        stage.end()


def _problems(script: str, status: int | None, folder: Path) -> list[str]:
    said = (folder / "said").read_text(errors="replace")
    if status is None:
        return [f"{script} hangs: {said[-300:]}"]
    if status not in (0, 1) or any(fault in said for fault in FAULTS):
        return [f"{script} ended with {status}: {said[-1500:]}"]
    return []


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o644, Path("/dev/zero").stat().st_rdev)
    except PermissionError:  # only root makes devices
        path.symlink_to("/dev/zero")


def _full_folder(path: Path) -> None:
    path.mkdir()
    shutil.copy(__file__, path)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "device": _device,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o644),
    "folder": Path.mkdir,
    "full folder": _full_folder,
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}
