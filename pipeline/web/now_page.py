"""Now: which stages live, what each does, what waits, what is wrong."""

from collections import Counter
from datetime import datetime

from fastapi import FastAPI
from nicegui import ui

from helper import printable
from pipeline.artifacts.dataset import display_name
from pipeline.artifacts.metadata import RunState
from pipeline.stage.status import Task
from pipeline.stage.text import count
from pipeline.training.health import Health
from pipeline.training.run_table import TO_COME, Row, in_words
from pipeline.training.time_left import clock
from pipeline.web.frame import TITLE, frame, page_at
from pipeline.web.live import Snapshot
from pipeline.web.parts import StateMark, SteadyList, heading
from pipeline.web.web_site import Site

REFRESH = 0.5  # seconds
MEANINGS = {
    "ingestion": "checks images and makes datasets",
    "training": "trains each model on each dataset",
    "analysis": "tests what was trained",
    "prediction": "classifies new images",
}
NOTHING_WRONG = "Nothing is wrong with anything that was put in."


def register(app: FastAPI, site: Site) -> None:
    @page_at(app, "/")
    def now_page() -> None:
        with frame("Now", site):
            NowPage(site)


class NowPage:
    """The page as one browser shows it."""

    def __init__(self, site: Site):
        self.site, self.shown, self.title = site, -1, ""
        self.queue = ui.label().classes("lead").props('role="status"')
        with ui.link(target="/put-in").classes("button") as self.next:
            ui.label("Put pictures in")
        heading("Stages")
        with ui.element("div").classes("cards"):
            self.stages = {stage: StageCard(stage) for stage in MEANINGS}
        heading("Needs attention")
        self.nothing = ui.label(NOTHING_WRONG).classes("quiet")
        self.problems: SteadyList[str] = SteadyList(Note, "Needs attention")
        heading("Last errors")
        self.no_errors = ui.label("None.").classes("quiet")
        self.errors: SteadyList[str] = SteadyList(Note, "Last errors")
        self.update()
        ui.timer(REFRESH, self.update)

    def update(self) -> None:
        """Bring up to date what is different now, and touch nothing else."""
        seen = self.site.live.wanted()
        if seen.number == self.shown or not seen.number:
            return
        self._show_queue(seen.rows)
        names = {row.name: name_of(row) for row in seen.rows if row.state is RunState.RUNNING}
        lists = [self.stages[health.stage].show(health, names) for health in seen.stages]
        problems = problems_of(seen)
        errors = {one.stage: (one.stage, one.last_error) for one in seen.stages if one.last_error}
        lists += [self.problems.show(problems), self.errors.show(errors)]
        self.nothing.set_visibility(not problems)
        self.no_errors.set_visibility(not errors)
        self.shown = seen.number if all(lists) else -1

    def _show_queue(self, rows: tuple[Row, ...]) -> None:
        self.queue.text = queue_in_words(rows, datetime.now())
        self.next.set_visibility(not rows)
        to_come = sum(row.state in TO_COME for row in rows)
        title = f"({to_come}) Now" if to_come else "Now"
        if title != self.title:
            self.title = title
            ui.page_title(f"{title} · {TITLE}")


class StageCard:
    """One stage: whether it lives, what it does, and a bar for each of its tasks."""

    def __init__(self, stage: str):
        with ui.element("section").classes("card"):
            with ui.element("div").classes("row"):
                ui.label(stage.capitalize()).classes("name")
                self.state = StateMark()
            ui.label(MEANINGS[stage]).classes("quiet")
            self.doing = ui.label().classes("doing")
            self.tasks: SteadyList[str] = SteadyList(TaskBar, f"Tasks of {stage}")

    def show(self, health: Health, names: dict[str, str]) -> bool:
        self.state.show(health.state)
        self.doing.text = doing_in_words(health)
        self.doing.set_visibility(not health.tasks)  # which say the same
        return self.tasks.show(
            {task.run: (names.get(task.run, task.run), task) for task in health.tasks}
        )


class TaskBar:
    """How far one task is."""

    def __init__(self) -> None:
        with ui.element("div").classes("task") as self.box:
            self.name = ui.label().classes("task-name")
            self.bar = ui.element("progress").props('max="1"')
            self.left = ui.label().classes("quiet")

    def show(self, named: tuple[str, Task]) -> None:
        name, task = printable(named[0]), named[1]
        self.name.text = name
        self.left.text = task_in_words(task)
        done = done_of(task)
        if done is None:
            self.bar.props(remove="value")
        else:
            self.bar.props["value"] = f"{done:.3f}"
        self.bar.props["aria-label"] = name
        self.bar.update()

    def delete(self) -> None:
        self.box.delete()


class Note:
    """A sentence about something, by its name."""

    def __init__(self) -> None:
        with ui.element("div").classes("note") as self.box:
            self.name = ui.label().classes("name")
            self.text = ui.label()

    def show(self, thing: tuple[str, str]) -> None:
        self.name.text, self.text.text = map(printable, thing)

    def delete(self) -> None:
        self.box.delete()


def name_of(row: Row) -> str:
    dataset = display_name(row.dataset, row.dataset_name)
    return f"{dataset}, {row.model}, {row.hyperparameter_set}"


def problems_of(seen: Snapshot) -> dict[str, tuple[str, str]]:
    """Each input that cannot be used, with its reason and cure, by its name."""
    said = dict(seen.refused)
    for health in seen.stages:
        said |= health.problems
    return {name: (name, text) for name, text in said.items()}


def queue_in_words(rows: tuple[Row, ...], now: datetime) -> str:
    """The whole queue in one line: `2 running, 14 waiting, done about 15:40`."""
    if not rows:
        return (
            "Nothing is here yet. Put in a folder of pictures, with a folder in it for each class."
        )
    states = Counter(row.state for row in rows)
    to_come = [row.eta for row in rows if row.state in TO_COME]
    if not to_come:
        failed = f", {states[RunState.FAILED]:,} of them failed" if states[RunState.FAILED] else ""
        return f"Nothing waits: {count(len(rows), 'run')} done{failed}."
    said = [f"{states[state]:,} {state}" for state in reversed(TO_COME) if states[state]]
    known = [eta for eta in to_come if eta is not None]
    if len(known) == len(to_come):
        said.append(f"done about {clock(now, max(known))}")
    return ", ".join(said)


def doing_in_words(health: Health) -> str:
    doing = printable(health.doing)
    if health.state == "stuck":
        return f"{doing}: no sign of life for {in_words(health.quiet or 0)}"
    since = health.since.rpartition(" ")[2] if health.state == "live" and health.doing else ""
    return f"{doing}, since {since}" if since else doing


def task_in_words(task: Task) -> str:
    """`epoch 3 of 10, 12 s left`, as far as it is known."""
    said = []
    if task.epoch and task.epochs:
        said.append(f"epoch {task.epoch:,} of {task.epochs:,}")
    elif task.step is not None and task.steps:
        said.append(f"{task.step:,} of {task.steps:,}")
    if task.eta is not None:
        said.append(f"{in_words(task.eta)} left")
    return ", ".join(said)


def done_of(task: Task) -> float | None:
    """The part of a task that is done; None where that is not known."""
    if task.step is not None and task.steps:
        return min(1.0, task.step / task.steps)
    return (task.epoch - 1) / task.epochs if task.epoch and task.epochs else None
