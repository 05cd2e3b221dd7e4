"""A damaged record costs no history: it is rebuilt from the results, and nothing is done again.

The record of each stage is removed, emptied, cut after every eighth byte, and every eighth of its
bytes is changed; then the stage is started. That no damage is overlooked is for `damage` to prove.
"""

from pathlib import Path

from prove import Result, some, tried, warm
from prove.account import Account, account_of, differences, is_passing
from prove.scenes import CHECKPOINT, NEXT, RUN, Prepared, prepared

Case = tuple[Prepared, str, bytes | None]


def prove(full: bool) -> Result:
    cases = [case for scene in prepared(NEXT, RUN, CHECKPOINT) for case in _cases(scene)]
    cases = some(cases, full, 12)
    figure = "{tried} damaged records, {broken} times something lost or done again"
    return tried(_violation, cases, figure, warm.each)


def _cases(scene: Prepared) -> list[Case]:
    """What is left of the record; None for nothing."""
    content = scene.scene.record(scene.folder / "undisturbed").read_bytes()
    places = range(0, len(content), 8)
    return [
        (scene, "removed", None),
        *((scene, f"cut after {place} bytes", content[:place]) for place in places),
        *((scene, f"byte {place} changed", _changed(content, place)) for place in places),
    ]


def _changed(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def _violation(case: Case) -> str | None:
    scene, what, left = case
    with scene.copy(of="undisturbed") as folder:
        record = scene.scene.record(folder)
        record.unlink()
        if left is not None:
            record.write_bytes(left)
        before = _files(folder)
        problems = [] if scene.scene.run(folder) == scene.scene.status else ["it ended badly"]
        problems += [
            f"{path} was made again" for path in before if _files(folder)[path] != before[path]
        ]
        found = warm.call(account_of, folder)
        aside = {name for name in found if ".damaged-" in name}
        if len(aside) != (left is not None):
            problems.append(f"{len(aside)} damaged records were kept")
        found = {name: found[name] for name in found if name not in aside}
        problems += differences(found, _without_gone_folders(scene, folder))
    return f"{scene.scene.name}, record {what}: {'; '.join(problems)}" if problems else None


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Which file is under each result's name: one that was written anew is another."""
    results = (folder / "data").glob("*/*")
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in results
        if path.is_file() and not is_passing(path)
    }


def _without_gone_folders(scene: Prepared, folder: Path) -> Account:
    """What is expected: nobody can tell any more how a folder looked that is gone, nor has to."""
    name = scene.scene.record(folder).name
    entries = {
        key: entry
        for key, entry in scene.account[name].items()
        if not key.startswith("folder ") or (folder / "data" / key.partition(" /")[2]).exists()
    }
    return scene.account | {name: entries}
