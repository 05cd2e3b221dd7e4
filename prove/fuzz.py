"""Whatever bytes they are given, the readers of dropped files return or refuse; they never crash.

The fuzzer atheris changes bytes where that makes a reader take a new way. Each reader has ten
minutes. Without atheris (requirements-prove.txt), or for a few tries, bytes are changed by chance.

    python -m prove.fuzz READER SECONDS     one of them
"""

import io
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import constants
from prove import Missing, Result
from testkit.images import variants
from testkit.processes import patience

SECONDS = 600  # for each reader
TRIES = 2000  # for each reader, where there is no time for more
LONGEST_INPUT = 4096
DONE = re.compile(r"(?:Done (\d+) runs|#(\d+)\s)")


def _csv(content: bytes) -> None:
    from pipeline.problem import RawDatasetError
    from pipeline.raw_data.groundtruth import number_labels, read_rows

    try:
        rows = read_rows(content, "train", {"a.png", "b.png"})
        names = [row.file for row in rows]
        assert len(set(names)) == len(names), "a file twice"
        assert not any(re.search(r"[/\\]", name) for name in names), "a path"
        number_labels({"train": rows, "test": rows})
    except RawDatasetError as error:
        _are_sentences(error.problems)
        assert error.problems


def _are_sentences(problems: list) -> None:
    assert all(str(problem).isprintable() for problem in problems), problems


def _table(content: bytes) -> None:
    from pipeline.problem import RawDatasetError
    from pipeline.tables.columns import Columns, find_columns
    from pipeline.tables.file_index import FileIndex
    from pipeline.tables.reader import read_table
    from pipeline.tables.rows import labelled_rows

    paths = {"a.png", "b.png", "train/a.png", "train/caf\u00e9.jpg", "test/b.gif"}
    for name in ("table.csv", "table.jsonl"):
        try:
            table = read_table(content, name)
            for index in (FileIndex(set(paths)), FileIndex(set(paths), ["other"])):
                columns = find_columns(table, index, "train")
                if not isinstance(columns, Columns):
                    _are_sentences(columns)
                    continue
                rows, problems, warnings = labelled_rows(table, columns, index, "train")
                files = [row.file for row in rows]
                assert set(files) <= paths, "a file that is not there"
                assert len(set(files)) == len(files), "a file twice"
                assert all(row.label for row in rows), "no label"
                assert rows or problems, "a table of nothing"
                _are_sentences([*problems, *warnings])
        except RawDatasetError as error:
            _are_sentences(error.problems)


def _png(content: bytes) -> None:
    from PIL import Image

    from pipeline.images.png_check import ImageError, validate_png, without_extras

    try:
        header, _ = validate_png(content)
    except ImageError:
        return
    size = header.width, header.height
    if header.size < 10**6:
        with Image.open(io.BytesIO(without_extras(content)), formats=["PNG"]) as image:
            try:
                image.load()
            except OSError:  # a filter that no PNG has: ingestion refuses the picture for it
                assert header.interlace, "a filter that was not noticed"
                return
            assert image.size == size, f"{image.size} is not {size}"


def _image(content: bytes) -> None:
    """All formats but PNG, whose checks end before there is anything to take apart."""
    from pipeline.images import formats, image_decoder
    from pipeline.images.png_check import SIGNATURE
    from pipeline.images.preparation import ImageError, Preparation

    preparation = Preparation(16, largest_image=10**6)
    if content.startswith(SIGNATURE):
        return
    try:
        header = formats.validate(content, preparation.largest_image)
        pixels = image_decoder.prepare(content, header, preparation, {}).pixels
        assert len(pixels) == 16 * 16 * 3, len(pixels)
    except ImageError as error:
        assert str(error).isprintable(), str(error)


def _toml(content: bytes) -> None:
    from pipeline.artifacts.hyperparameters import (
        SETTINGS,
        HyperparameterError,
        read_hyperparameters,
    )

    path = _scratch() / "set.toml"
    path.write_bytes(content)
    try:
        of_seeds = read_hyperparameters(path)
        assert 0 < len(of_seeds) <= constants.MOST_SEEDS, len(of_seeds)
        assert len({settings.seed for settings in of_seeds.values()}) == len(of_seeds)
        for settings in of_seeds.values():
            found = settings.as_plain()
            assert found.keys() == SETTINGS.keys()
            assert all(SETTINGS[key].accepts(value) for key, value in found.items()), found
    except HyperparameterError as error:
        assert str(error).isprintable(), str(error)


def _pickle(content: bytes) -> None:
    from pipeline.artifacts.safe_pickle import PickleError, loads

    try:
        loads(content, "x.pkl")
    except PickleError as error:
        assert str(error).startswith("x.pkl ") and str(error).isprintable(), str(error)


READERS: dict[str, Callable[[bytes], None]] = {
    "csv": _csv,
    "table": _table,
    "png": _png,
    "image": _image,
    "toml": _toml,
    "pickle": _pickle,
}


def prove(full: bool) -> Result:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each of atheris is a process of its own
        found = list(pool.map(_atheris if full else _by_chance, READERS))
    violations = [problem for _, problem in found if problem]
    tried = sum(tries for tries, _ in found)
    each = ", ".join(f"{name} {tries:,}" for name, (tries, _) in zip(READERS, found, strict=True))
    return Result(tried, tried - len(violations), f"inputs: {each}", violations)


def _by_chance(reader: str) -> tuple[int, str]:
    draw, seeds = random.Random(reader), _seeds()[reader]
    for number in range(TRIES):
        content = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(content) + 1)
            content[place : place + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
        if draw.random() < 0.1:
            del content[draw.randrange(len(content) + 1) :]
        try:
            READERS[reader](bytes(content))
        except Exception as error:
            return number + 1, f"{reader}: {type(error).__name__}: {error} from {bytes(content)!r}"
    return TRIES, ""


def _atheris(reader: str) -> tuple[int, str]:
    """How many inputs it tried, and the one that a reader crashed at."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        raise Missing("pip install -r requirements-prove.txt") from None
    ended = subprocess.run(
        [sys.executable, "-m", "prove.fuzz", reader, str(SECONDS)],
        capture_output=True,
        text=True,
        errors="replace",
    )
    numbers = [int(one or other) for one, other in DONE.findall(ended.stderr)]
    failed = ended.returncode or "Is the code instrumented" in ended.stderr
    problem = f"{reader}: {ended.stderr[-2000:]}" if failed else ""
    return max(numbers, default=0), problem


def _seeds() -> dict[str, list[bytes]]:
    """Honest files to begin with."""
    import numpy as np
    from PIL import Image

    picture = io.BytesIO()
    Image.new("P", (5, 4)).save(picture, "PNG")
    arrays = {"img": np.zeros((1, 2, 2, 3), np.uint8), "label": np.zeros(1, np.int64)}
    content = {"train": arrays, "numbers": [1, -2, 2.5, 10**30], "text": ("a", b"b", None, True)}
    return {
        "csv": [
            b"file,label\na.png,0\nb.png,1\n",
            b'\xef\xbb\xbf"train/a.png","cat"\r\nb.png,dog\r\n',
        ],
        "table": [
            b"file,label,split\na.png,0,train\ntrain/a,1,test\nx.png,1,val\n",
            "\ufeffid;Klasse\r\na;x y\r\ncafe\u0301;z\r\nb;z\r\n".encode("utf-16"),
            b"image\tcat\tdog\na.png\t1\t0\nb\t0.0\t1.0\n",
            b'{"file_name": "a.png", "label": 3}\n{"file_name": "b", "label": "x"}\n',
        ],
        "png": [picture.getvalue()],
        "image": [
            seed
            for name, seed in variants().items()
            if len(seed) <= LONGEST_INPUT and not name.startswith("PNG")
        ],
        "toml": [
            b"epochs = 2\nseeds = [0, 1, 23]\n",
            b"seeds = [ 4, 2147483647, ] # two\n[augmentation]\nshift = 0.1\n",
            *(path.read_bytes() for path in sorted(constants.HYPERPARAMETERS.glob("*.toml"))),
        ],
        "pickle": [pickle.dumps(content, protocol) for protocol in (3, 4, 5)],
    }


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="prove-"))


def main(reader: str, seconds: str) -> None:
    """Let atheris try it; ends this process."""
    import atheris

    # Only what is imported in this block is watched, and a reader imports what it needs.
    with atheris.instrument_imports(include=["pipeline", "csv", "tomllib", "pickle"]):
        READERS[reader](_seeds()[reader][0])
    with tempfile.TemporaryDirectory(prefix="prove-") as corpus:
        for number, seed in enumerate(_seeds()[reader]):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_INPUT}",
            f"-timeout={patience(30):.0f}",
        ]
        atheris.Setup(
            [sys.argv[0], *limits, f"-artifact_prefix={corpus}/", corpus], READERS[reader]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
