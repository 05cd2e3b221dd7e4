"""The watched folder may vanish and come back, again and again, and what is dropped then is ingested.

It is deleted and made again, by hand or by the stage; moved away and back; replaced by another
folder, by a link to one, or for a while by a file; or the whole data folder goes and comes back.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import constants
from prove import Result
from prove.drops import content_of, contents, make
from prove.running import LONGEST, broken, ingesting, work_folder
from testkit.processes import patience

Change = Callable[[Path, Path], None]  # of the watched folder; the second one is free for use


def prove(full: bool) -> Result:
    seeds, rounds = (range(6), 2) if full else (range(1), 1)
    held, violations = 0, []
    for seed in seeds:
        ingested, problem = _attempt(seed, rounds, "--poll" if seed % 2 else "--verbose")
        held += ingested
        violations += [f"seed {seed}, {problem}"] * bool(problem)
    tried = len(seeds) * rounds * len(CHANGES)
    return Result(tried, held, f"drops after a change, ingested: {held} of {tried}", violations)


def _attempt(seed: int, rounds: int, option: str) -> tuple[int, str | None]:
    draw = random.Random(seed)
    changes = [change for _ in range(rounds) for change in draw.sample(CHANGES, len(CHANGES))]
    done, doing = 0, ""
    with work_folder() as work:
        watched = work / "data" / constants.RAW_DATASETS

        def attempt() -> str | None:
            nonlocal done, doing
            with ingesting(work, option) as stage:
                for number, change in enumerate(changes):
                    doing = change.__name__
                    change(watched, work / f"free {number}")
                    built = make(work / "built" / f"dropped {number}", number)
                    expected = content_of(built)
                    _move_in(built, watched)
                    stage.wait_for(f"dropped {number}: ingested as", LONGEST)
                    if expected not in contents(work / "data"):
                        return "another content"
                    done += 1
            return None

        problem = broken(attempt)
    return done, f"{option}, after {doing}: {problem}" if problem else None


def _move_in(built: Path, watched: Path) -> None:
    """As a person who finds the folder gone: until it is there, nothing can be dropped."""
    until = time.monotonic() + patience(LONGEST)
    while not watched.is_dir() and time.monotonic() < until:
        time.sleep(0.02)
    if not watched.is_dir():
        raise AssertionError("the folder was not made again")
    built.rename(watched / built.name)


def deleted(watched: Path, _: Path) -> None:
    _remove(watched)


def deleted_and_made_again(watched: Path, _: Path) -> None:
    _remove(watched)
    watched.mkdir(exist_ok=True)


def moved_away_and_back(watched: Path, free: Path) -> None:
    watched.rename(free)
    time.sleep(0.05)  # the stage makes it again, perhaps
    _put(watched, lambda: free.rename(watched))


def replaced(watched: Path, free: Path) -> None:
    free.mkdir()
    _remove(watched)
    _put(watched, lambda: free.rename(watched))


def replaced_by_a_link(watched: Path, free: Path) -> None:
    free.mkdir()
    _remove(watched)
    _put(watched, lambda: watched.symlink_to(free))


def a_file_for_a_while(watched: Path, free: Path) -> None:
    _remove(watched)
    _put(watched, lambda: watched.write_text("not a folder"))
    time.sleep(1)  # long enough to be seen
    watched.unlink()


def all_data_moved_away_and_back(watched: Path, free: Path) -> None:
    data = watched.parent
    data.rename(free)
    time.sleep(0.05)
    _put(data, lambda: free.rename(data))


def _put(place: Path, put: Callable[[], object]) -> None:
    """`put` something at `place`, where the stage may make a folder at the same moment."""
    until = time.monotonic() + patience(LONGEST)
    while time.monotonic() < until:
        shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):
            put()
            return


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        # In one step: the stage may make it again while what is in it goes.
        gone = folder.with_name(f"gone {time.monotonic_ns()}")
        os.replace(folder, gone)
        shutil.rmtree(gone)


CHANGES: tuple[Change, ...] = (
    deleted,
    deleted_and_made_again,
    moved_away_and_back,
    replaced,
    replaced_by_a_link,
    a_file_for_a_while,
    all_data_moved_away_and_back,
)
