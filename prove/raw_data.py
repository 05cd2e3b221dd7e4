"""Raw data is never altered: not a byte, a date, a permission or a name, whatever the stages do.

Good and bad raw datasets, links and read-only files go through all three stages, twice, by `--once`
and while the stages watch. The time of a file's last change tells of any write, even one undone.
"""

from collections.abc import Iterator
from pathlib import Path

import constants
from helper import sha256_of
from prove import Result
from prove.bad_among_good import SPOILT
from prove.crashes import MODEL, SET
from prove.drops import OPTIONS, make
from prove.running import ANALYSIS, INGESTION, LONGEST, TRAINING, ingesting, running, work_folder

GOOD = 6
State = dict[str, tuple]


def prove(full: bool) -> Result:
    with work_folder() as work:
        raw = work / "data" / constants.RAW_DATASETS
        _fill(raw, work / "aside")
        before = _state(raw)
        done = list(_everything(work, full))
        after = _state(raw)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    figure = f"after {len(done)} passes of a stage, changed: {len(changed)} of {len(before)} files, folders"
    return Result(len(before), len(before) - len(changed), figure, changed)


def _fill(raw: Path, aside: Path) -> None:
    for number, spoil in enumerate(SPOILT):
        if number < GOOD:
            make(raw / f"good {number}", number)
        spoil(make(raw / f"bad {number}", 100 + number))
    (raw / "a link").symlink_to(make(aside, 200))
    (raw / "photos.zip").write_bytes(b"PK")
    for path in sorted((raw / "good 1").rglob("*"), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)


def _everything(work: Path, full: bool) -> Iterator[str]:
    """Each stage, as often as `full` says; the record of the first pass is gone in the second."""
    for folder, file, text in (
        ("models", "one.py", MODEL.format(crash="pass")),
        ("sets", "one.toml", SET),
    ):
        (work / folder).mkdir()
        (work / folder / file).write_text(text)
    for _ in range(1 + full):
        (work / "data" / constants.INGESTION_RECORD).unlink(missing_ok=True)
        yield _once(work, INGESTION, "--settle", "0.1", *OPTIONS)
        with ingesting(work) as stage:
            stage.wait_for("bad 0: not", LONGEST)
            yield INGESTION
        if full:
            yield _once(work, TRAINING, "--models-folder", work / "models",
                        "--hyperparameters-folder", work / "sets")  # fmt: skip
            yield _once(work, ANALYSIS)


def _once(work: Path, script: str, *options: object) -> str:
    with running(script, work, "--once", *options) as stage:
        status = stage.end(seconds=900)
    if status not in (0, 1):
        raise RuntimeError(f"{script} ended with {status}: {stage.lines[-9:]}")
    return script


def _state(folder: Path) -> State:
    """All that can be told of each file but when it was read."""
    return {
        str(path): _state_of(path)
        for path in [folder, *folder.rglob("*"), *(folder / "a link").resolve().rglob("*")]
    }


def _state_of(path: Path) -> tuple:
    status = path.lstat()
    content = ""
    if path.is_symlink():
        content = str(path.readlink())
    elif path.is_file():
        content = sha256_of(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_mode, status.st_uid, status.st_nlink, status.st_ino, *times, content
