import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import constants
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.keras_import import import_keras
from pipeline.artifacts.metadata import read_json
from pipeline.artifacts.safe_pickle import PickleError, digest, load, loads, publish
from testkit.pickles import (
    CLAIMS,
    EMPTY,
    FROMBUFFER,
    GETATTR,
    KERAS_ESCAPES,
    MEASURE,
    NDARRAY,
    RECONSTRUCT,
    SEQUENTIAL,
    array,
    built,
    called,
    changed,
    dtype,
    in_first_layer,
    lists_of_lists,
    model_pickle,
    named,
    old_array,
    pairs,
    raw,
    text,
    whole,
)

NEVER_WRITES = (
    "{} asks for {}, which this project never writes. Not loaded."
    " If you did not make this file, delete it."
)


def refusal(content: bytes, name: str = "x.pkl") -> str:
    with pytest.raises(PickleError) as refused:
        loads(content, name, allow_model=True)
    return str(refused.value)


def is_no_whole_pickle(content: bytes) -> bool:
    error = refusal(content)
    return (
        error.startswith("x.pkl is no whole pickle of this project (")
        and error.endswith("). Not loaded. Make it again or delete it.")
        and error.isprintable()
    )


def is_no_model_of_ours(content: bytes) -> bool:
    error = refusal(content)
    return (
        error.startswith("x.pkl holds a model with ")
        and error.endswith(
            ", which no checkpoint of this project needs. Not loaded."
            " If you did not make this file, delete it."
        )
        and error.isprintable()
    )


# Honest datasets


def split(count: int, order: str = "C") -> dict:
    draw = np.random.default_rng(count)
    labels = np.arange(count) % 3
    return {
        "img": np.asarray(draw.integers(0, 256, (count, 4, 5, 3), np.uint8), order=order),
        "label": labels.astype(np.int64),
        "class": np.asarray(np.eye(3, dtype=np.float32)[labels], order=order),
    }


def dataset(order: str = "C") -> dict:
    return {"test": split(2, order), "train": split(7, order)}


def assert_equal(found: object, expected: object):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype.newbyteorder("=")
        assert found.dtype.isnative
        assert found.shape == expected.shape
        assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
    else:
        assert found == expected


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "a.pkl"
    publish(path, dataset(), {"images": 9})
    return path


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_published_dataset_comes_back_equal(tmp_path, order):
    publish(tmp_path / "a.pkl", dataset(order), {})
    assert_equal(load(tmp_path / "a.pkl"), dataset(order))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_dataset_from_a_plain_pickle_dump_comes_back_equal(tmp_path, protocol, order):
    path = tmp_path / "by hand.pkl"
    with open(path, "wb") as file:
        pickle.dump(dataset(order), file, protocol=protocol)
    assert_equal(load(path), dataset(order))


ARRAYS = {
    f"{code} {name}": np.asarray(values).astype(code)
    for code in ("u1", "<i4", "<i8", ">i8", "<f4", ">f4", "<f8", "?")
    for name, values in {
        "rows": np.arange(24).reshape(2, 3, 4),
        "F": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        "strided": np.arange(48).reshape(4, 3, 4)[::2, :, ::-1],
        "turned": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
        "channels last": np.arange(48).reshape(2, 2, 3, 4).transpose(0, 2, 3, 1),
        "empty": np.zeros((0, 32, 32, 3)),
        "empty flat": np.zeros(0),
        "one number": 1,
    }.items()
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_of_each_type_order_and_layout_come_back_equal(protocol):
    for name, values in ARRAYS.items():
        content = pickle.dumps({name: values, "read-only": _read_only(values)}, protocol)
        assert_equal(loads(content, "x"), {name: values, "read-only": values})


def _read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


def test_an_array_that_numpy_1_wrote_comes_back_equal():
    content = pickle.dumps(np.arange(6), 5).replace(b"numpy._core.numeric", b"numpy.core.numeric")
    content = content.replace(b"\x8c\x13numpy.core", b"\x8c\x12numpy.core")
    frame = 2 + 1 + 8
    content = content[:3] + (len(content) - frame).to_bytes(8, "little") + content[frame:]
    assert np.array_equal(loads(content, "x"), np.arange(6))


def test_plain_content_comes_back_equal():
    content = {
        "text": "猫\udc80",
        "numbers": [0, -1, 2**70, 1.5, True, None],
        "more": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "bytes": b"\x00" * 300,
        "long": "x" * 100_000,
        3: list(range(3000)),
    }
    for protocol in (0, 1, 2, 3, 4, 5):
        if protocol > 2:
            assert_equal(loads(pickle.dumps(content, protocol), "x"), content)
    assert_equal(loads(safe_pickle.dumps(content), "x"), content)


def test_one_dict_in_two_places_is_honest():
    part = split(3)
    twice = {"test": part, "train": part}
    assert_equal(loads(pickle.dumps(twice), "x"), twice)


def test_a_plain_pickle_load_with_numpy_alone_reads_what_was_published(published):
    script = (
        "import pickle, sys, json\n"
        "d = pickle.load(open(sys.argv[1], 'rb'))\n"
        "ours = {'pipeline', 'helper', 'constants', 'keras', 'tensorflow'} & set(sys.modules)\n"
        "print(json.dumps([{s: {k: [str(a.dtype), a.tolist()] for k, a in p.items()}"
        " for s, p in d.items()}, sorted(ours)]))"
    )
    printed = subprocess.run(
        [sys.executable, "-I", "-c", script, str(published)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    expected = {
        name: {key: [str(values.dtype), values.tolist()] for key, values in part.items()}
        for name, part in dataset().items()
    }
    assert json.loads(printed) == [expected, []]


# Damage


def test_the_description_says_what_it_was_given_and_the_sha_256(published):
    sha256 = hashlib.sha256(published.read_bytes()).hexdigest()
    assert read_json(published.with_suffix(".json")) == {"images": 9, "sha256": sha256}
    assert digest(published) == sha256


def test_whoever_sees_the_pickle_finds_it_described(tmp_path, monkeypatch):
    seen, replace = [], os.replace

    def recorded(source, target):
        replace(source, target)
        seen.append(sorted(path.name for path in tmp_path.iterdir() if path.name[0] != "."))

    monkeypatch.setattr(os, "replace", recorded)
    publish(tmp_path / "a.pkl", {}, {})
    assert seen == [["a.json"], ["a.json", "a.pkl"]]


def test_a_check_that_raises_lets_nothing_be_published(tmp_path):
    with pytest.raises(LookupError):
        publish(tmp_path / "a.pkl", dataset(), {}, check=lambda: {}["no such key"])
    assert list(tmp_path.iterdir()) == []


def test_every_single_bit_flip_of_a_published_dataset_is_noticed(tmp_path):
    path = tmp_path / "a.pkl"
    small = {"img": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), "label": np.arange(2)}
    publish(path, {"test": small, "train": small}, {})
    whole_content = path.read_bytes()
    undetected = 0
    with open(path, "r+b", buffering=0) as file:
        for bit in range(len(whole_content) * 8):
            place, flipped = bit // 8, whole_content[bit // 8] ^ 1 << bit % 8
            os.pwrite(file.fileno(), bytes([flipped]), place)
            try:
                load(path)
                undetected += 1
            except PickleError as error:
                assert "a.pkl is damaged: its SHA-256 is not the one in a.json." in str(error)
            os.pwrite(file.fileno(), whole_content[place : place + 1], place)
    assert undetected == 0
    load(path)


def test_a_damaged_pickle_is_named_with_its_cure(published):
    content = bytearray(published.read_bytes())
    content[-200] ^= 1
    published.write_bytes(content)
    with pytest.raises(PickleError) as refused:
        load(published)
    assert str(refused.value) == (
        f"{published} is damaged: its SHA-256 is not the one in a.json. Not loaded. Restore the"
        " file; if you replaced it on purpose, delete the .json beside it."
    )


@pytest.mark.parametrize("said", [1, ["a"], {"a": 1}, "0" * 64, True])
def test_a_description_with_another_digest_is_noticed(published, said):
    published.with_suffix(".json").write_text(json.dumps({"sha256": said}))
    with pytest.raises(PickleError, match="is damaged: its SHA-256 is not the one in a"):
        load(published)


def test_a_pickle_without_its_description_still_loads(published):
    published.with_suffix(".json").unlink()
    assert_equal(load(published), dataset())
    assert digest(published) == hashlib.sha256(published.read_bytes()).hexdigest()


def test_the_digest_of_a_pickle_without_description_follows_its_content(tmp_path):
    path = tmp_path / "a.pkl"
    digests = []
    for content in (b"one", b"other", b"third"):
        path.write_bytes(content)
        digests.append(digest(path))
    assert digests == [hashlib.sha256(c).hexdigest() for c in (b"one", b"other", b"third")]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_every_prefix_of_a_dataset_is_refused(protocol):
    content = pickle.dumps(dataset(), protocol)
    for length in range(len(content)):
        assert "Not loaded." in refusal(content[:length])


def test_bytes_after_the_end_are_refused():
    for content in (whole(b"N"), pickle.dumps(dataset())):
        for more in (b"\0", b".", content):
            assert refusal(content + more) == (
                "x.pkl goes on after its end. Not loaded. If you did not make this file, delete it."
            )


def test_bytes_hidden_in_a_frame_after_the_end_are_refused():
    hidden = b"\x80\x05\x95" + (10).to_bytes(8, "little") + b"N." + b"12345678"
    assert "goes on after its end" in refusal(hidden)


def test_no_file_is_no_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.pkl")


# Hostile pickles: nothing is executed, and the sentence says what was asked for.

WATCHED = ("os.", "subprocess.", "ctypes.", "socket.", "shutil.", "pty.", "webbrowser.")
UNWATCHED = ("os.listdir", "os.scandir", "os.remove", "os.putenv")  # pytest's and tempfile's own
_heard: list[str] | None = None


def _listen(event: str, arguments: tuple) -> None:
    if _heard is None:
        return
    if (event == "import" and arguments[0].startswith("canary")) or (
        event == "open" and "canary" in str(arguments[0])
    ):
        _heard.append(f"{event} {arguments[0]}")
    elif event.startswith(WATCHED) and event not in UNWATCHED:
        _heard.append(event)


@pytest.fixture(scope="session")
def _audit_hook():
    sys.addaudithook(_listen)  # it cannot be removed again, only told not to listen


@pytest.fixture
def heard(_audit_hook, tmp_path, monkeypatch):
    """What was run, imported or opened while the test ran, as the interpreter itself reports it."""
    global _heard
    (tmp_path / "canary.py").write_text(
        "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\nrun = print\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    _heard = []
    yield _heard
    _heard = None
    sys.modules.pop("canary", None)


def test_the_ear_hears_what_pickle_load_would_do(heard, tmp_path):
    pickle.loads(whole(called(named("os", "system"), text("true"))))
    pickle.loads(whole(called(named("subprocess", "Popen"), text("true")))).wait()
    pickle.loads(whole(named("canary", "run")))
    pickle.loads(whole(called(named("io", "open_code"), text(str(tmp_path / "canary.py"))))).close()
    assert [heard.count(event) for event in ("os.system", "subprocess.Popen")] == [1, 1]
    assert "import canary" in heard
    assert f"open {tmp_path}/canary.py" in heard
    assert (tmp_path / "ran").exists()


def ending_in(name: str, *arguments: bytes) -> tuple[str, bytes]:
    module, _, attribute = name.rpartition(".")
    return name, whole(called(named(module, attribute), *arguments))


ASKED = [
    ending_in("os.system", text("touch canary")),
    ending_in("posix.system", text("touch canary")),
    ending_in("subprocess.Popen", text("true")),
    ending_in("builtins.eval", text("__import__('canary')")),
    ending_in("builtins.exec", text("import canary")),
    ending_in("builtins.compile", text("1"), text("a"), text("eval")),
    ending_in("builtins.open", text("canary"), text("w")),
    ending_in("builtins.__import__", text("canary")),
    ending_in("builtins.breakpoint"),
    ending_in("io.open", text("canary"), text("w")),
    ending_in("_io.open", text("canary"), text("w")),
    ending_in("_io.FileIO", text("canary"), text("w")),
    ending_in("io.BytesIO"),
    ending_in("importlib.import_module", text("canary")),
    ending_in("canary.run"),
    ending_in("runpy.run_path", text("canary.py")),
    ending_in("webbrowser.open", text("canary")),
    ending_in("pickle.loads", raw(b"cos\nsystem\n(S'true'\ntR.")),
    ending_in("functools.partial", text("a")),
    ending_in("operator.attrgetter", text("system")),
    ending_in("numpy.load", text("canary")),
    ending_in("numpy.fromfile", text("canary")),
    ending_in("numpy.memmap", text("canary")),
    ending_in("numpy.loadtxt", text("canary")),
    ending_in("numpy._core.multiarray.scalar"),
    ending_in("numpy._core.numeric.fromfile", text("canary")),
    ending_in("numpy.testing.runstring", text("import canary"), b"}"),
    ending_in("keras.src.saving.saving_lib.load_model", text("canary")),
    ending_in("keras.src.models.model.Model"),
    ending_in("models.mine.Mine"),
    ending_in("keras.src.layers.core.lambda_layer.Lambda"),
    ending_in("keras.config.enable_unsafe_deserialization"),
    ending_in("pipeline.artifacts.safe_pickle._load"),
    ending_in("pipeline.artifacts.safe_pickle._Function"),
    ending_in("copyreg._reconstructor"),
    ending_in("builtins.getattr.__class__"),
    ending_in("builtins.object"),
    ending_in("builtins.type"),
    ("builtins.getattr.__class__", whole(named("builtins", "getattr.__class__"))),
    ("numpy.dtype.__init__.__globals__", whole(named("numpy", "dtype.__init__.__globals__"))),
    ("_io.BytesIO.__init__", whole(named("_io", "BytesIO.__init__"))),
    ("os.system", whole(b"cos\nsystem\n")),
    ("os.system", whole(b"(ios\nsystem\n")),
    ("os.system", whole(b"(X\x04\x00\x00\x00trueios\nsystem\n")),
    ("os.system", whole(b"(cos\nsystem\nX\x04\x00\x00\x00trueo")),
    ("os.system", whole(named("os", "system") + b")\x81")),
    ("os.system", whole(named("os", "system") + b")}\x92")),
    (r"os\n\x1b[2J\u202e.system", whole(named("os\n\x1b[2J\u202e", "system"))),
    ("the attribute system", whole(called(GETATTR, named("numpy", "ndarray"), text("system")))),
    ("the attribute __init__", whole(called(GETATTR, SEQUENTIAL, text("__init__")))),
    ("the attribute from_config", whole(called(GETATTR, SEQUENTIAL, text("from_config")))),
    ("the attribute __class__", whole(called(GETATTR, GETATTR, text("__class__")))),
    ("the attribute _unpickle_model", whole(called(GETATTR, GETATTR, text("_unpickle_model")))),
    ("the attribute tofile", whole(called(GETATTR, EMPTY, text("tofile")))),
    ("the attribute __globals__", whole(called(GETATTR, FROMBUFFER, text("__globals__")))),
    ("os.system", whole(called(GETATTR, called(GETATTR, named("os", "system"), text("a"))))),
    ("the attribute a", whole(called(GETATTR, called(GETATTR, SEQUENTIAL, text("a")), text("b")))),
    ("the attribute 7", whole(called(GETATTR, SEQUENTIAL, b"K\x07"))),
    ("arrays of type O8", pickle.dumps(np.array([{}, None], object), 5)),
    ("arrays of type O8", pickle.dumps(np.array([{}, None], object), 4)),
    ("arrays of type V5", pickle.dumps(np.zeros(2, [("a", "u1"), ("b", "f4")]), 5)),
    ("arrays of type U3", pickle.dumps(np.array(["cat"]), 5)),
    ("arrays of type M8", pickle.dumps(np.array(["2022-06-08"], "M8[s]"), 5)),
    ("arrays of type O", whole(array(raw(b"12345678"), "O", b"K\x01"))),
    ("arrays of type |O", whole(dtype("|O"))),
    ("arrays of type u1,O", whole(dtype("u1,O"))),
]


@pytest.mark.parametrize(
    ("asked", "content"), ASKED, ids=[f"{i}-{asked[:30]}" for i, (asked, _) in enumerate(ASKED)]
)
def test_a_pickle_that_asks_for_anything_else_is_refused_and_runs_nothing(
    heard, tmp_path, asked, content
):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(PickleError) as refused:
        load(path)
    assert str(refused.value) == NEVER_WRITES.format(path, asked)
    assert heard == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary.py", "x.pkl"]


MISUSED = {
    "extension code, 1 byte": b"\x82\x01",
    "extension code, 2 bytes": b"\x83\x01\x01",
    "extension code, 4 bytes": b"\x84\x01\x01\x00\x00",
    "persistent id": b"Pa\n",
    "persistent id from the stack": text("a") + b"Q",
    "buffer outside the pickle": b"\x97",
    "unknown opcode": b"\xff",
    "nothing on the stack": b"",
    "too much taken from the stack": b"0",
    "memo place never filled": b"h\x05",
    "getattr without arguments": called(GETATTR),
    "getattr with a default": called(GETATTR, SEQUENTIAL, text("a"), b"N"),
    "a model class called": called(SEQUENTIAL),
    "a model class made": SEQUENTIAL + b")\x81",
    "ndarray called": called(NDARRAY, b"K\x05\x85"),
    "ndarray made": NDARRAY + b"K\x05\x85\x81",
    "text called": called(text("a")),
    "dtype without a code": called(named("numpy", "dtype")),
    "dtype with an unknown byte order": dtype("i8", "?"),
    "frombuffer without arguments": called(FROMBUFFER),
    "array of a list": array(b"]", "u1", b"K\x00"),
    "array of text": array(text("abc"), "u1", b"K\x03"),
    "array of an array": array(array(raw(b"abc"), "u1", b"K\x03"), "u1", b"K\x03"),
    "array with a dtype that is text": called(
        FROMBUFFER, raw(b"a"), text("O"), b"K\x01\x85", text("C")
    ),
    "array with fewer bytes than its shape": array(raw(b"abc"), "u1", b"K\x04"),
    "array with more bytes than its shape": array(raw(b"abc"), "u1", b"K\x02"),
    "array with half a number": array(raw(b"abc"), "i8", b"K\x01"),
    "array that leaves its shape open": array(raw(b"abcd"), "u1", b"J\xff\xff\xff\xff"),
    "array with a shape that overflows": array(raw(b""), "u1", b"K\x00", b"I" + b"9" * 30 + b"\n"),
    "array with a shape of text": array(raw(b"abc"), "u1", text("3")),
    "array with an unknown order": array(raw(b"abc"), "u1", b"K\x03", order="X"),
    "old array with fewer bytes": old_array(raw(b"abc"), "u1", b"K\x04"),
    "old array that leaves its shape open": old_array(raw(b"ab"), "u1", b"J\xff\xff\xff\xff"),
    "old array of objects in a list": old_array(b"]", "u1", b"K\x00"),
    "old array with a short state": built(EMPTY, b"K\x01"),
    "old array with a dict as state": EMPTY + b"}b",
    "array given a new state": array(raw(b"abc"), "u1", b"K\x03")
    + b"(K\x01K\x03\x85"
    + dtype("u1")
    + b"\x89"
    + raw(b"abc")
    + b"tb",
    "archive of a billion zeros": called(
        called(GETATTR, SEQUENTIAL, text("_unpickle_model")),
        built(named("_io", "BytesIO") + b")\x81", b"J\x00\xca\x9a\x3b"),
    ),
    "archive that is no archive": called(
        called(GETATTR, SEQUENTIAL, text("_unpickle_model")), text("canary")
    ),
    "dict as a key": b"}" + b"}" + b"Ns",
    "state for a text": text("a") + b"}" + text("b") + b"Nsb",
}


@pytest.mark.parametrize("what", MISUSED)
def test_a_pickle_that_misuses_what_is_allowed_is_refused_and_runs_nothing(heard, what):
    if what == "archive that is no archive":
        import_keras()
        heard.clear()
    assert is_no_whole_pickle(whole(MISUSED[what]))
    assert heard == []


HANDED_OUT = [GETATTR, FROMBUFFER, RECONSTRUCT, SEQUENTIAL, NDARRAY]
HANDED_OUT += [named("numpy", "dtype"), named("_io", "BytesIO")]
STATES = [
    b"}" + text("_Function__call") + text("a") + b"s",
    b"}" + text("__class__") + NDARRAY + b"s",
    b"}" + text("__setstate__") + NDARRAY + b"s",
    b"N}" + text("_Function__call") + GETATTR + b"s\x86",
    b"N",
]


def test_a_pickle_cannot_change_what_is_handed_out_to_later_ones():
    before = {name: repr(vars(value)) for name, value in vars(safe_pickle).items() if _has(value)}
    for function in HANDED_OUT:
        for state in STATES:
            assert is_no_whole_pickle(whole(function + state + b"b"))
    for function in HANDED_OUT:
        for change in (text("a") + b"Ns", b"Na", b"(Ne"):
            assert is_no_whole_pickle(whole(function + change))
    after = {name: repr(vars(value)) for name, value in vars(safe_pickle).items() if _has(value)}
    assert after == before
    for protocol in (3, 4, 5):
        assert_equal(loads(pickle.dumps(dataset(), protocol), "x"), dataset())


def _has(value: object) -> bool:
    return isinstance(value, type) and value.__module__ == safe_pickle.__name__


def test_random_opcodes_run_nothing(heard):
    draw = random.Random(7)
    pieces = [bytes([opcode]) for opcode in range(256)]
    pieces += [GETATTR, SEQUENTIAL, FROMBUFFER, RECONSTRUCT, NDARRAY, EMPTY, dtype("u1")]
    pieces += [text("os"), text("system"), text("_unpickle_model"), raw(b"abc"), b"(", b"t", b"R"]
    pieces += [b"cos\nsystem\n", b"\x85", b"\x86", b"b", b"\x81", b"}", b"]", b"K\x01", b"\x94"] * 3
    loaded = 0
    for _ in range(5000):
        content = whole(b"".join(draw.choices(pieces, k=draw.randint(1, 12))))
        try:
            loads(content, "x.pkl")
            loaded += 1
        except PickleError as error:
            assert str(error).startswith("x.pkl ")
    assert heard == []
    assert loaded > 0


def test_random_changes_to_a_dataset_without_a_description_run_nothing(heard):
    draw = random.Random(8)
    for protocol in (3, 4, 5):
        honest = pickle.dumps({"test": split(1), "train": split(1)}, protocol)
        for _ in range(1000):
            content = bytearray(honest)
            for _ in range(draw.randint(1, 3)):
                content[draw.randrange(len(content))] = draw.randrange(256)
            try:
                loads(bytes(content), "x.pkl")
            except PickleError as error:
                assert str(error).startswith("x.pkl ")
    assert heard == []


# Absurd sizes


@pytest.mark.slow
def test_content_nested_too_deep_is_refused():
    for opening, closing in ((b"]", b"a"), (b"(", b"l"), (b"(", b"t"), (b"", b"\x85")):
        content = b"N" if not opening else b""
        content += opening * 100_000 + closing * (100_000 - (opening == b"]"))
        assert is_no_whole_pickle(whole(content))


def test_a_list_that_holds_itself_is_refused():
    assert is_no_whole_pickle(whole(b"]\x94h\x00a"))


def test_lists_that_hold_one_list_twice_are_refused_before_they_grow():
    for levels in (12, 100):
        assert "the same value in too many places" in refusal(lists_of_lists(levels))


@pytest.mark.parametrize(
    ("start", "end", "what"),
    [
        (b"}", text("value") + b"s", "a dict with a tuple as a key"),
        (b"}(", text("value") + b"u", "a dict with a tuple as a key"),
        (b"(", text("value") + b"d", "a dict with a tuple as a key"),
        (b"\x8f(", b"\x90", "a set"),
        (b"(", b"\x91", "a set"),
    ],
)
def test_tuples_that_hold_one_tuple_twice_are_refused_before_they_are_hashed(start, end, what):
    assert f"(ValueError: {what})" in refusal(whole(start + pairs(60) + end))


HARMLESS = {
    "FRAME": b"\x95" + (2**40).to_bytes(8, "little") + b"N",
    "LONG_BINPUT": b"Nr" + (2**27).to_bytes(4, "little"),
    "PUT": b"Np134217728\n",
}


@pytest.mark.linux
def test_a_pickle_that_claims_absurd_sizes_takes_next_to_no_memory():
    pickles = [whole(content) for content in (*CLAIMS.values(), *HARMLESS.values())]
    pickles.append(lists_of_lists(100))
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input="\n".join(content.hex() for content in pickles),
        cwd=constants.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    outcomes = [line.split()[0] for line in printed]
    megabytes = [int(line.split()[1]) for line in printed]
    assert outcomes == ["refused"] * len(CLAIMS) + ["loaded"] * len(HARMLESS) + ["refused"]
    assert max(megabytes) < 50, megabytes


def test_a_large_array_is_read_whole():
    values = np.random.default_rng(0).integers(0, 256, 40_000_000, np.uint8)
    assert np.array_equal(loads(pickle.dumps(values, 5), "x"), values)


# Keras models


@pytest.fixture(scope="module")
def keras():
    return import_keras()


@pytest.fixture(scope="module")
def sequential(keras):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((4, 4, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(2, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def functional(keras):
    pixels = keras.Input((4, 4, 3))
    left = keras.layers.Conv2D(2, 3, padding="same")(pixels)
    joined = keras.layers.Concatenate()([pixels, left])
    pooled = keras.layers.GlobalAveragePooling2D()(joined)
    return keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(pooled))


@pytest.fixture(scope="module")
def archive(keras, sequential, tmp_path_factory):
    """The bytes of an honest .keras file."""
    path = tmp_path_factory.mktemp("archive") / "model.keras"
    sequential.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["sequential", "functional"])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_an_honest_model_comes_back_with_equal_predictions(request, tmp_path, kind, protocol):
    model = request.getfixturevalue(kind)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.float32)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": model, "history": {"loss": [0.5, 0.25]}}, protocol))
    found = load(path, allow_model=True)
    assert found["history"] == {"loss": [0.5, 0.25]}
    assert np.array_equal(found["model"](images), model(images))


def test_a_published_model_is_loaded_by_us_and_by_a_plain_pickle_load(tmp_path, sequential):
    images = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3)).astype(np.float32)
    path = tmp_path / "model.pkl"
    publish(path, {"model": sequential}, {})
    with open(path, "rb") as file:
        plain = pickle.load(file)["model"]
    expected = np.asarray(sequential(images))
    assert np.array_equal(load(path, allow_model=True)["model"](images), expected)
    assert np.array_equal(plain(images), expected)


def test_the_pickle_written_by_hand_is_an_honest_model(archive, sequential):
    model = loads(model_pickle(archive), "x", allow_model=True)
    assert model.count_params() == sequential.count_params()


def test_a_lambda_layer_is_refused_and_does_not_run(keras, heard, tmp_path):
    secret = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Lambda(lambda x: [Path("canary-ran").touch(), x][1]),
        ]
    )
    content = pickle.dumps({"model": secret})
    (tmp_path / "canary-ran").unlink()
    heard.clear()
    assert "x.pkl holds a model with keras.layers.Lambda, which" in refusal(content)
    assert heard == []
    assert not (tmp_path / "canary-ran").exists()


@pytest.mark.parametrize("what", KERAS_ESCAPES)
def test_a_model_archive_that_reaches_outside_is_refused_and_runs_nothing(
    keras, archive, heard, tmp_path, what
):
    content = model_pickle(changed(archive, KERAS_ESCAPES[what]))
    heard.clear()
    assert is_no_model_of_ours(content)
    assert heard == []
    assert not (tmp_path / "ran").exists()


def test_a_class_that_is_registered_in_this_process_is_not_handed_out(keras, archive, tmp_path):
    @keras.saving.register_keras_serializable(package="mine")
    class Layer(keras.layers.Layer):
        def __init__(self, **_):
            (tmp_path / "ran").touch()

    names = {"module": "mine", "class_name": "Layer", "registered_name": "mine>Layer"}
    try:
        for names_it in (in_first_layer(**names), lambda config: config.update(names)):
            assert is_no_model_of_ours(model_pickle(changed(archive, names_it)))
        assert not (tmp_path / "ran").exists()
        assert keras.saving.get_registered_object("mine>Layer") is Layer
    finally:
        keras.saving.get_custom_objects().pop("mine>Layer")


def test_a_model_is_loaded_only_after_the_pickle_was_read_to_its_end(keras, archive, monkeypatch):
    loaded = []
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: loaded.append(1))
    loads(model_pickle(archive), "x.pkl", allow_model=True)
    assert loaded == [1]
    assert "goes on after its end" in refusal(model_pickle(archive) + b".")
    assert is_no_whole_pickle(model_pickle(archive)[:-1])
    assert "os.system" in refusal(model_pickle(archive, after=named("os", "system")))
    assert loaded == [1]


def test_a_pickle_cannot_change_a_model(archive):
    for state in STATES:
        assert is_no_whole_pickle(model_pickle(archive, after=state + b"b"))
    assert is_no_whole_pickle(model_pickle(archive, after=b"K\x01\x85R"))


def test_a_damaged_archive_is_refused(archive):
    flipped = bytearray(archive)
    flipped[len(archive) // 2] ^= 1
    for damaged in (b"", archive[:1000], archive[:-30], bytes(flipped)):
        assert is_no_whole_pickle(model_pickle(damaged))


def test_a_long_complaint_of_keras_is_cut(archive):
    error = refusal(model_pickle(changed(archive, lambda config: config.update(module="x" * 9999))))
    assert len(error) < 400
