import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from watchdog.observers.inotify import InotifyEmitter, InotifyObserver
from watchdog.observers.inotify_c import InotifyFD
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

import constants
from constants import ROOT
from pipeline.stage.folder_watch import FolderWatch, _pause_after
from pipeline.stage.log_lines import log
from testkit.processes import patience


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """It watches a folder, and looks at nothing without an event."""
    monkeypatch.setattr(constants, "LOOK_AGAIN", 3600)
    folder = tmp_path / "watched"
    folder.mkdir()
    with FolderWatch([folder], recursive=True) as watch:
        yield watch


def changed_so_far(watch, folder):
    """What the events so far were about: up to that of a folder that is made now."""
    names, last = set(), f"made at {time.monotonic_ns()}"
    (folder / last).mkdir()
    while last not in names:
        assert watch.wait(patience()), f"no event of {last}"
        names |= watch.changed or set()
    return {name for name in names if not name.startswith("made at")}


def changed_by(watch, folder, action):
    changed_so_far(watch, folder)
    action()
    return changed_so_far(watch, folder)


@pytest.mark.parametrize(
    "what", ["write", "rename into place", "rename a folder into place", "delete", "make folder"]
)
def test_it_wakes_when_the_folder_changes(watch, tmp_path, what):
    folder = tmp_path / "watched"
    (folder / "old").write_text("x")
    (tmp_path / "built").mkdir()
    actions = {
        "write": lambda: (folder / "new").write_text("x"),
        "rename into place": lambda: os.replace(folder / "old", folder / "new"),
        "rename a folder into place": lambda: os.replace(tmp_path / "built", folder / "built"),
        "delete": lambda: (folder / "old").unlink(),
        "make folder": lambda: (folder / "made").mkdir(),
    }
    assert changed_by(watch, folder, actions[what])


def test_it_wakes_for_what_happens_deep_in_a_folder_that_came_later(watch, tmp_path):
    folder = tmp_path / "watched"
    (folder / "a" / "b").mkdir(parents=True)
    assert changed_by(watch, folder, lambda: (folder / "a" / "b" / "file").write_text("x"))


def test_it_says_in_which_of_what_is_there_something_changed(watch, tmp_path):
    folder = tmp_path / "watched"
    for name in ("one", "two", "three"):
        (folder / name / "below").mkdir(parents=True)

    assert changed_by(
        watch, folder, lambda: (folder / "two" / "below" / "file").write_text("x")
    ) == {"two"}
    assert changed_by(watch, folder, lambda: (folder / "three").rename(folder / "four")) == {
        "three",
        "four",
    }


def test_now_and_then_anything_may_have_changed(watch, monkeypatch):
    monkeypatch.setattr(constants, "LOOK_AGAIN", 0.1)
    assert watch.wait()
    assert watch.changed is None


def test_reading_does_not_wake_it(watch, tmp_path):
    folder = tmp_path / "watched"
    (folder / "file").write_text("x")
    changed_so_far(watch, folder)
    (folder / "file").read_text()
    list(folder.iterdir())
    assert not watch.wait(0.3)


def test_a_half_written_file_of_our_own_does_not_wake_it(watch, tmp_path):
    changed_so_far(watch, tmp_path / "watched")
    (tmp_path / "watched" / ".x.pkl.partial").write_text("x")
    assert not watch.wait(0.3)


def test_the_halves_of_a_rename_hardly_wait_for_one_another(watch):
    assert InotifyMoveEventGrouper()._queue.delay < 0.05


def test_without_a_change_it_returns_after_the_time(watch, tmp_path):
    changed_so_far(watch, tmp_path / "watched")
    assert watch.wait(0.1) is False


@pytest.fixture
def log_lines(caplog, monkeypatch):
    """The messages so far, by a function."""
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level("INFO", "pipeline")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_folder_that_was_removed_and_made_again_is_watched_again(watch, tmp_path, log_lines):
    folder = tmp_path / "watched"
    shutil.rmtree(folder)
    (tmp_path / "other").mkdir()  # or it might get the number of the one that was removed
    folder.mkdir()
    watch.wait(0.3)  # notices and watches the new one
    assert watch.changed is None
    assert log_lines() == [f"{folder} was replaced by another folder; watching that one"]
    assert changed_by(watch, folder, lambda: (folder / "new").write_text("x"))


@pytest.mark.parametrize("poll", [False, True])
def test_a_folder_that_was_removed_is_reported_and_made_again(tmp_path, log_lines, poll):
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    with FolderWatch([kept, gone], poll=poll) as watch:
        shutil.rmtree(gone)
        assert watch.wait(0.3)  # it is time to look
        assert gone.is_dir()
        assert log_lines() == [f"{gone} is gone; making it again, empty"]
        watch.wait(0)
        assert len(log_lines()) == 1


def test_a_folder_that_cannot_be_made_again_is_waited_for(tmp_path, log_lines):
    folder = tmp_path / "disk" / "watched"
    with FolderWatch([tmp_path / "one", folder, tmp_path / "two"]) as watch:
        shutil.rmtree(tmp_path / "disk")
        (tmp_path / "disk").write_text("not a folder")
        for _ in range(3):
            watch.wait(0)
        assert log_lines() == [
            f"{folder} is gone; making it again, empty",
            f"no events from {folder} (Not a directory); looking every 1 s instead",
        ]
        (tmp_path / "disk").unlink()
        watch.wait(0)
        assert changed_by(watch, folder, lambda: (folder / "new").write_text("x"))


@pytest.mark.parametrize("kind", [InotifyObserver, InotifyEmitter, InotifyFD])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_of_the_observer_is_reported_and_mended(
    watch, tmp_path, log_lines, monkeypatch, kind
):
    folder = tmp_path / "watched"
    [thread] = [one for one in threading.enumerate() if type(one) is kind]
    work = {
        InotifyObserver: "dispatch_events",
        InotifyEmitter: "build_and_queue_event",
        InotifyFD: "handle_event",
    }
    with monkeypatch.context() as patched:
        patched.setattr(kind, work[kind], lambda *_: 1 / 0)
        for number in range(2):  # the first may be under way already
            (folder / f"new {number}").write_text("x")
        thread.join(patience())
    assert watch.wait(0)
    assert log_lines() == [f"the watch on {folder} had died; watching again"]
    assert changed_by(watch, folder, lambda: (folder / "newer").write_text("x"))


def test_a_watch_that_died_is_mended_however_rarely_the_owner_looks(watch, tmp_path, monkeypatch):
    watch.wait(0)
    monkeypatch.setattr(constants, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(constants, "LOOK_AT_LEAST", 3600)
    watch._observer.stop()
    assert watch.wait(look=60)


@pytest.mark.parametrize(("look", "pause"), [(0, 5), (0.005, 5), (0.02, 20), (0.2, 110)])
def test_the_longer_a_look_takes_the_less_often_it_is_done(look, pause):
    assert _pause_after(look) == pytest.approx(pause)


def test_trying_to_watch_again_and_again_leaves_nothing_behind(tmp_path, log_lines, monkeypatch):
    def refused(*_):
        raise OSError(28, "inotify watch limit reached")

    threads = threading.active_count()
    with monkeypatch.context() as patched:
        patched.setattr(InotifyFD, "add_callback", refused)
        watch = FolderWatch([tmp_path])
        for _ in range(3):
            watch.wait(0)
        assert threading.active_count() == threads
    assert log_lines() == [
        f"no events from {tmp_path} (inotify watch limit reached); looking every 1 s instead"
    ]
    with watch:
        watch.wait(0)
        assert changed_by(watch, tmp_path, lambda: (tmp_path / "new").write_text("x"))


@pytest.mark.parametrize(
    "race",
    [
        """
        reader = InotifyFD.get_instance()
        for _ in range(2):
            reader.add_callback(b".", 1, None, 7)
        """,
        "InotifyEmitter(EventQueue(), ObservedWatch('.', recursive=False)).queue_events(1)",
    ],
)
def test_watchdogs_harmless_races_are_no_lines(tmp_path, race):
    program = """
        import warnings
        from watchdog.observers.api import EventQueue, ObservedWatch
        from watchdog.observers.inotify import InotifyEmitter
        from watchdog.observers.inotify_c import InotifyFD
        from pathlib import Path
        from pipeline.stage import folder_watch, log_lines
        log_lines.start_logging("ingestion")
        with folder_watch.FolderWatch([Path("watched")]):
            pass
        """
    program = textwrap.dedent(program) + textwrap.dedent(race)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,  # where nobody else comes by meanwhile, as other tests do in ROOT
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("", "")


def test_with_poll_too_a_look_that_takes_long_is_done_less_often(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "POLL", 0.01)
    with FolderWatch([tmp_path], poll=True) as watch:
        began = time.monotonic()
        assert watch.wait(look=0.1)
        assert time.monotonic() >= began + 0.2


def test_with_poll_there_is_no_observer(tmp_path):
    with FolderWatch([tmp_path], poll=True) as watch:
        assert watch._observer is None
        assert watch.wait(0.05) is False
