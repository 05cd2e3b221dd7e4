"""Carry out what a person asks of runs: each request once, whenever this process dies, or say why not.

One write of the record holds the effect of requests and that they were carried out; their files go after
it. So to die before it is to carry them out again, and to die after it is to remove the files again. What
is refused stays, as `<name>.refused`, with its reason in the record.
"""

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import constants
from helper import flush_folder, printable, shown
from pipeline.artifacts.metadata import RunState
from pipeline.data_folder import DataFolder, file_state
from pipeline.problem import first_few
from pipeline.requests.request import SUFFIX, Action, BadRequest, Request
from pipeline.requests.requested import FILE, NOTHING_ASKED, Requested, requested_ledger
from pipeline.stage.text import cannot_read, count

log = logging.getLogger(__name__)

REFUSED = ".refused"
MOST_NAMED = 3  # runs in a line of the log
CURES = {
    Action.CANCEL: "Only a run that waits or is trained can be cancelled.",
    Action.STOP: "Only a run that waits or is trained can be stopped.",
    Action.RETRY: "Only a run that failed in training or was cancelled can be tried again; to train it"
    " again, delete its checkpoint.",
}


@dataclass(frozen=True)
class KnownRun:
    """A run as the training stage knows it; `state` without what was asked of it. `title` is for people."""

    name: str
    title: str
    key: str
    dataset: str
    model: str
    hyperparameter_set: str
    state: RunState


class Requests:
    """The folder of requests, and the record of what was asked. For the training stage alone."""

    def __init__(self, data: DataFolder):
        self.folder, self.ledger = data.requests, requested_ledger(data)
        self.unreadable: dict[str, str] = {}  # for now, by file

    def of(self, key: str) -> Requested:
        """What was asked of the run with that key, and still counts."""
        return self.ledger.entries.get(key, NOTHING_ASKED)

    def end_over(self, key: str) -> None:
        self.ledger.record(key, **replace(self.of(key), end="").as_plain())

    def problems(self) -> dict[str, str]:
        """Why requests were not carried out, by file; until somebody takes the file away."""
        names = {
            key: key.removeprefix(FILE) for key, one in self.ledger.entries.items() if one.refused
        }
        files = {key: self.folder / (name + REFUSED) for key, name in names.items()}
        found = {
            shown(path): self.ledger.entries[key].refused
            for key, path in files.items()
            if os.path.lexists(path) or os.path.lexists(self.folder / names[key])
        }
        return found | self.unreadable

    def pending(self) -> list[Path]:
        """The files in the order in which they came."""
        try:
            with os.scandir(self.folder) as entries:
                files = [
                    (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
                    for entry in entries
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
                ]
        except FileNotFoundError:  # one went, or the folder
            return []
        return [self.folder / name for _, name in sorted(files)]

    def carry_out(
        self, files: list[Path], runs: Sequence[KnownRun], retry: Callable[[set[str]], None]
    ) -> None:
        """Carry out these `files` on `runs`; `retry` makes the runs with these keys wait that had failed."""
        batch = Batch(self.ledger.entries, runs)
        self.unreadable, handled = {}, {}
        for path in files:
            try:
                state = str(file_state(path.lstat()))
                before = self.of(FILE + path.name)
                if before.done == state:  # to remove it did not work, or was not reached
                    handled[path] = before
                elif (refused := self._carry_out_one(path, batch)) is not None:
                    handled[path] = Requested(done=state, refused=refused)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unreadable[shown(path)] = cannot_read(error)
        if batch.retried:
            retry(batch.retried)
        self._save(batch.changed, handled)
        for level, line in batch.lines:
            log.log(level, "%s", line)
        self._take_away(handled)

    def _carry_out_one(self, path: Path, batch: "Batch") -> str | None:
        """Returns why it is refused, "" if it is not, None where it may be half-written yet."""
        try:
            refused = batch.take(Request.in_file(path))
        except BadRequest as error:
            if 0 <= time.time() - path.lstat().st_mtime < constants.SETTLE:
                return None
            refused = str(error)
        if refused:
            batch.lines.append((logging.ERROR, f"{shown(path)}: {refused}"))
        return refused

    def _save(self, changed: dict[str, Requested], handled: dict[Path, Requested]) -> None:
        entries = self.ledger.entries
        new = changed | {FILE + path.name: entry for path, entry in handled.items()}
        for key, entry in new.items():
            if entries.get(key) != entry:
                self.ledger.note(key, **entry.as_plain())
        gone = [key for key in entries if key.startswith(FILE) and not self._is_there(key)]
        if gone and (changed or handled):
            self.ledger.forget(*gone)  # which writes what was noted, too
        self.ledger.save()

    def _is_there(self, key: str) -> bool:
        path = self.folder / key.removeprefix(FILE)
        return os.path.lexists(path) or os.path.lexists(f"{path}{REFUSED}")

    def _take_away(self, handled: dict[Path, Requested]) -> None:
        for path, entry in handled.items():
            try:
                if entry.refused:
                    path.rename(path.with_name(path.name + REFUSED))
                else:
                    path.unlink()
            except FileNotFoundError:
                pass
            except OSError as error:  # it is known to be done, so it does no harm
                self.unreadable[shown(path)] = (
                    f"it is done, but stays: {error.strerror}. Delete it."
                )
        if handled:
            flush_folder(self.folder)


class Batch:
    """What some requests, one after the other, make of what was asked: `changed`, by the key of a run."""

    def __init__(self, entries: dict[str, Requested], runs: Sequence[KnownRun]):
        self.entries, self.runs = entries, runs
        self.changed: dict[str, Requested] = {}
        self.retried: set[str] = set()  # of the runs that had failed
        self.lines: list[tuple[int, str]] = []  # for the log, once it is carried out
        self._named: defaultdict[str, list[KnownRun]] = defaultdict(list)
        for run in runs:
            for name in {run.name, run.key}:
                self._named[name].append(run)

    def take(self, request: Request) -> str:
        """Returns why it is refused, as a whole or for some runs; "" if it is not."""
        runs, faults = self._meant(request)
        done = []
        for run in runs:
            if fault := self._apply(request, run):
                faults.append(f"{run.title} is {fault}. {CURES[request.action]}")
            else:
                done.append(run)
        if done:
            self.lines.append((logging.INFO, f"{_all_of(done)}: {_in_words(request)}"))
        return " ".join(first_few(faults))

    def _meant(self, request: Request) -> tuple[list[KnownRun], list[str]]:
        """The runs that it names, and why not all of its names are one."""
        faults, runs = [], self.runs
        if request.runs is not None:
            unknown = [name for name in request.runs if name not in self._named]
            faults = [
                f'There is no run "{printable(name)[:200]}". run_queue.py --json says their names.'
                for name in unknown
            ]
            # Each once, however often it is named.
            named = (run for name in request.runs for run in self._named.get(name, ()))
            runs = list({run.key: run for run in named}.values())
        chosen = [
            run
            for run in runs
            if request.dataset in (None, run.dataset)
            and request.model in (None, run.model)
            and request.hyperparameter_set in (None, run.hyperparameter_set)
        ]
        if not chosen and not faults:
            faults.append(
                "No run is of that dataset, model and set. run_queue.py --json says which are."
            )
        return chosen, faults

    def _apply(self, request: Request, run: KnownRun) -> str:
        """Take down what is asked of `run`; returns the state for which that cannot be."""
        asked = self.changed.get(run.key) or self.entries.get(run.key, NOTHING_ASKED)
        match request.action:
            case Action.PRIORITY:
                asked = replace(asked, priority=request.priority)
            case Action.HIDE | Action.UNHIDE:
                asked = replace(asked, hidden=request.action is Action.HIDE)
            case Action.NOTE:
                asked = replace(asked, note=request.note)
            case Action.CANCEL | Action.STOP:
                to_come = run.state in (RunState.WAITING, RunState.RUNNING)
                if not to_come and run.key not in self.retried:
                    return run.state
                cancelled = Action.CANCEL in (request.action, asked.end)
                asked = replace(asked, end=Action.CANCEL if cancelled else Action.STOP)
            case Action.RETRY:
                if run.state is RunState.FAILED:
                    self.retried.add(run.key)
                elif run.state is not RunState.WAITING and not asked.end:
                    return run.state
                asked = replace(asked, end="")
        self.changed[run.key] = asked
        return ""


def _all_of(runs: Sequence[KnownRun]) -> str:
    if len(runs) > MOST_NAMED:
        return count(len(runs), "run")
    return ", ".join(run.title for run in runs)


def _in_words(request: Request) -> str:
    match request.action:
        case Action.PRIORITY:
            return f"priority {request.priority}, as asked"
        case Action.NOTE:
            return f'noted "{printable(request.note)}"' if request.note else "note taken away"
    done: dict[Action, str] = {
        Action.CANCEL: "cancelled, as asked",
        Action.STOP: "to stop, as asked",
        Action.RETRY: "to be tried again, as asked",
        Action.HIDE: "hidden, as asked",
        Action.UNHIDE: "shown again, as asked",
    }
    return done[request.action]
