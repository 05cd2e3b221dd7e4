"""reader_processes.py: images read in other processes are the same, whatever happens to these."""

import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from constants import ROOT
from pipeline.images import reader_processes
from pipeline.images.preparation import Preparation
from pipeline.images.reader_processes import ImageReaders, readers_for
from testkit.processes import patience

pytestmark = pytest.mark.slow

SIZE, COUNT = 5, 50
DAMAGED = {7: "is empty", 31: "cannot be read: No such file or directory"}


@pytest.fixture
def folder(tmp_path) -> Path:
    draw = np.random.default_rng(0)
    for name in names():
        Image.fromarray(draw.integers(0, 256, (9, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / names()[7]).write_bytes(b"")
    (tmp_path / names()[31]).unlink()
    return tmp_path


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(reader_processes.log, "propagate", True)
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def names() -> list[str]:
    """Some of them odd: of several lines, not UTF-8, long."""
    return [f"{n}\n'\" \udcff\u00e9{'long' * (n % 40)}.png" for n in range(COUNT)]


def read(readers: ImageReaders, folder: Path, after_each=lambda: None):
    reading = readers.read(folder, names())
    counts = []
    assert readers.finish(lambda count: (counts.append(count), after_each())) == {}
    assert sum(counts) == COUNT
    whole = [number for number in range(COUNT) if number not in reading.result.damaged]
    return reading.pixels[whole].tolist(), reading.result


def read_here(folder: Path):
    with ImageReaders(Preparation(SIZE), 0, COUNT) as readers:
        return read(readers, folder)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("at_once", [1, 3, COUNT, 1000])
def test_the_images_are_the_same_in_however_many_processes(folder, said, count, at_once):
    with ImageReaders(Preparation(SIZE), count, at_once) as readers:
        assert len(readers.processes) == count
        found = read(readers, folder)
    assert found == read_here(folder)
    assert found[1].damaged == DAMAGED
    assert said() == []


def test_the_folder_may_be_given_as_seen_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with ImageReaders(Preparation(SIZE), 2, 7) as readers:
        assert read(readers, Path(folder.name)) == read_here(folder)


def test_one_after_the_other_can_be_read(folder):
    with ImageReaders(Preparation(SIZE), 2, 7) as readers:
        assert read(readers, folder) == read(readers, folder) == read_here(folder)


@pytest.mark.parametrize("killed", [1, 2])
def test_what_a_killed_process_leaves_is_read_here(folder, said, killed):
    with ImageReaders(Preparation(SIZE), 2, 4) as readers:

        def kill():
            for one in readers.processes[:killed]:
                one.process.kill()

        assert read(readers, folder, after_each=kill) == read_here(folder)
        assert read(readers, folder) == read_here(folder)
    # A process says it when it is given work: one of the two may have got none any more.
    assert killed - 1 <= len(said()) <= killed
    assert set(said()) <= {
        "a process that reads images was ended by SIGKILL, often for want of memory; going on without it"
    }


def test_a_process_that_cannot_be_started_is_done_without(folder, said, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with ImageReaders(Preparation(SIZE), 2, 7) as readers:
        assert readers.processes == []
        assert read(readers, folder) == read_here(folder)
    assert said() == []


def test_a_process_that_ends_at_once_is_done_without(folder, said, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ImageReaders(Preparation(SIZE), 2, 7) as readers:
        assert read(readers, folder) == read_here(folder)
    assert set(said()) == {
        "a process that reads images ended with exit status 1; going on without it"
    }


def test_what_a_process_gives_half_is_read_here(folder, tmp_path_factory, said, monkeypatch):
    half = tmp_path_factory.mktemp("bin") / "python"
    half.write_text("""#!/bin/sh
read job
printf '{"digests": "'
""")
    half.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(half))
    with ImageReaders(Preparation(SIZE), 1, 7) as readers:
        assert read(readers, folder) == read_here(folder)
    assert said() == ["a process that reads images ended with exit status 0; going on without it"]


def test_too_many_open_files_end_the_reading_and_no_more(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ImageReaders(Preparation(SIZE), 0, 7) as readers:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                read(readers, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert read(readers, folder) == read_here(folder)


def left_open() -> tuple[list, list]:
    return threading.enumerate(), list(Path("/dev/fd").iterdir())


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ZeroDivisionError])
def test_no_process_thread_or_open_file_is_left(folder, error):
    read_here(folder)
    before = left_open()

    def stop():
        if error:
            raise error

    try:
        with ImageReaders(Preparation(SIZE), 2, 3) as readers:
            read(readers, folder, after_each=stop)
    except (KeyboardInterrupt, ZeroDivisionError):
        assert error
    assert [one.process.poll() for one in readers.processes] == [-signal.SIGKILL] * 2
    assert left_open() == before


FOR_EVER = """
import os
import sys
import threading
from pathlib import Path
from pipeline.images.preparation import Preparation
from pipeline.images.reader_processes import ImageReaders

folder = Path(sys.argv[1])
files = [path.name for path in folder.iterdir()]
try:
    with ImageReaders(Preparation(400), 2, 2) as readers:
        while True:
            readers.read(folder, files)
            readers.finish(lambda count: os.write(1, b"read\\n"))  # whole, whenever the signal comes
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.fixture
def reading(folder):
    """A process that has others read images until it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-c", FOR_EVER, folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    for _ in range(5):
        assert process.stdout.readline() == b"read\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_if_this_process_is_killed_the_others_end_without_a_word(reading, number):
    children = Path(f"/proc/{reading.pid}/task/{reading.pid}/children").read_text().split()
    others = [os.pidfd_open(int(child)) for child in children]
    assert len(others) == 2
    reading.send_signal(number)
    for other in others:
        assert select.select([other], [], [], patience())[0]  # readable once it has ended
        os.close(other)
    assert set(reading.stdout.read().splitlines()) <= {b"read"}
    assert reading.wait() == -number


def test_ctrl_c_in_the_terminal_is_heard_by_this_process_alone(reading):
    os.killpg(reading.pid, signal.SIGINT)
    *before, last = reading.stdout.read().splitlines()
    assert set(before) <= {b"read"}
    assert last == b"stopped"


def test_processes_are_started_where_they_pay(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    few, some, many, large = [2_000] * 1_000, [2_000] * 5_000, [2_000] * 60_000, [400_000] * 100
    for sizes, size, count, at_once in [
        ([], 32, 0, 256),
        (few, 32, 0, 256),
        (some, 32, 2, 256),
        (many, 32, 4, 256),
        (many, 128, 4, 21),
        (large, 32, 4, 2),
        (large, 4096, 4, 1),
    ]:
        with readers_for(sizes, Preparation(size)) as readers:
            assert (len(readers.processes), readers.at_once) == (count, at_once)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with readers_for(many, Preparation(32)) as readers:
        assert readers.processes == []
