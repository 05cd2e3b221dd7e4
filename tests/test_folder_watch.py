import os
import shutil

import pytest

from pipeline.folder_watch import FolderWatch


@pytest.fixture
def watch(tmp_path):
    folder = tmp_path / "watched"
    folder.mkdir()
    with FolderWatch([folder], recursive=True) as watch:
        yield watch


def woken(watch, folder, action):
    """Whether `action` wakes the watch, which was quiet before."""
    watch.folder = folder
    while watch.wait(0.2):
        pass
    action()
    return watch.wait(5)


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
    assert woken(watch, folder, actions[what])


def test_it_wakes_for_what_happens_deep_in_a_folder_that_came_later(watch, tmp_path):
    folder = tmp_path / "watched"
    (folder / "a" / "b").mkdir(parents=True)
    assert woken(watch, folder, lambda: (folder / "a" / "b" / "file").write_text("x"))


def test_reading_does_not_wake_it(watch, tmp_path):
    folder = tmp_path / "watched"
    (folder / "file").write_text("x")
    while watch.wait(0.2):
        pass
    (folder / "file").read_text()
    list(folder.iterdir())
    assert not watch.wait(0.3)


def test_a_half_written_file_of_our_own_does_not_wake_it(watch, tmp_path):
    while watch.wait(0.2):
        pass
    (tmp_path / "watched" / ".x.pkl.partial").write_text("x")
    assert not watch.wait(0.3)


def test_without_a_change_it_returns_after_the_time(watch):
    while watch.wait(0.2):
        pass
    assert watch.wait(0.1) is False


def test_a_folder_that_was_removed_and_made_again_is_watched_again(watch, tmp_path):
    folder = tmp_path / "watched"
    shutil.rmtree(folder)
    folder.mkdir()
    watch.wait(0.3)  # notices and watches the new one
    assert woken(watch, folder, lambda: (folder / "new").write_text("x"))


def test_a_folder_that_was_removed_is_made_again(watch, tmp_path):
    shutil.rmtree(tmp_path / "watched")
    watch.wait(0.3)
    assert (tmp_path / "watched").is_dir()


def test_a_dead_observer_is_replaced(watch, tmp_path):
    watch._observer.stop()
    watch._observer.join(5)
    watch.wait(0.1)
    assert woken(
        watch, tmp_path / "watched", lambda: (tmp_path / "watched" / "new").write_text("x")
    )


def test_with_poll_there_is_no_observer(tmp_path):
    with FolderWatch([tmp_path], poll=True) as watch:
        assert watch._observer is None
        assert watch.wait(0.05) is False
