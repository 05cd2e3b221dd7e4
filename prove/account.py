"""What a person finds in a work folder: each file with what it says, whatever time or name it bears.

This is how every proof judges: the account after a fault and its repair must be that of a work
folder where nothing went wrong. A file that is lost, doubled, half-written or left over shows.
"""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import constants
from helper import sha256_of
from pipeline.artifacts import ledger, safe_pickle
from pipeline.data_folder import description_path
from pipeline.training import training_state

RECORDS = (constants.INGESTION_RECORD, constants.TRAINING_RECORD, constants.ANALYSIS_RECORD)
RESULTS = (constants.DATASETS, constants.CHECKPOINTS, constants.RESULTS)
# What is never the same twice, or follows from what is.
DIFFERENT_EACH_TIME = {"fingerprint", "seconds", "durations", "sha256", "checkpoint_sha256"}
PLACE = re.compile(r"/\S*/(template|undisturbed|work)/data")  # as prove.scenes names them
DAMAGED = "damaged: "

Account = dict[str, object]


def account_of(folder: Path) -> Account:
    """Each file in `folder`/data by its path there, and what it says."""
    data = folder / "data"
    paths = (path for path in sorted(data.rglob("*")) if path.is_file() and not is_passing(path))
    return {
        str(path.relative_to(data)): _said_by(path, path.relative_to(data).parts[0])
        for path in paths
    }


def is_passing(path: str | Path) -> bool:
    """Of no account: it is the kernel that locks, a log's last words may go with who says them, and
    a status is written anew twice a second."""
    path = Path(path)
    return path.suffix in (".lock", ".log") or constants.STATUS in (path.name, path.parent.name)


def differences(found: Account, expected: Account) -> list[str]:
    """A line for each file whose account is not the expected one."""
    absent = "nothing"
    return [
        f"{name}: {_short(found.get(name, absent))}, expected {_short(expected.get(name, absent))}"
        for name in sorted({**found, **expected})
        if found.get(name, absent) != expected.get(name, absent)
    ]


def torn(found: Account) -> set[str]:
    """A line for each result or record that is not whole, lacks what belongs to it or is recorded wrongly.

    None may come up at any moment, also between a fault and its repair.
    """
    damaged = {f"{name} is {what}" for name, what in found.items() if _is_damaged(what)}
    claimed, denied = _recorded(found)
    return {
        *damaged,
        *(
            f"{name} is not there, but what it belongs to"
            for name in _belonging(found) - set(found)
        ),
        *(f"{name} is recorded but not there" for name in claimed - set(found)),
        *(f"{name} is there but recorded as failed" for name in denied & set(found)),
    }


def _is_damaged(what: object) -> bool:
    return isinstance(what, str) and what.startswith(DAMAGED)


def _belonging(found: Account) -> set[str]:
    """What is to be there when the results are: a dataset's table of images, all that a report names."""
    datasets = [name for name in found if name.startswith(f"{constants.DATASETS}/")]
    tables = {name[:-4] + ".csv" for name in datasets if name.endswith(".pkl")}
    reports = [
        what
        for name, what in found.items()
        if Path(name).parent.name == constants.RESULTS and isinstance(what, dict)
    ]
    named = [
        part
        for report in reports
        for key in ("pictures", "predictions")
        for part in report.get(key, ())
    ]
    return tables | {f"{constants.RESULTS}/{name}" for name in named}


def _recorded(found: Account) -> tuple[set[str], set[str]]:
    """The results that the records say are there, and those that they say have failed."""
    claimed, denied = set(), set()
    records = [found.get(record, {}) for record in RECORDS]
    for entry in (e for record in records if isinstance(record, dict) for e in record.values()):
        if "dataset" in entry:
            claimed.add(f"{constants.DATASETS}/{entry['dataset']}.pkl")
        if "name" in entry:
            names = claimed if entry["state"] == "trained" else denied
            names.add(f"{constants.CHECKPOINTS}/{entry['name']}.pkl")
        if "run" in entry:
            names = claimed if entry["state"] == "analyzed" else denied
            names.add(f"{constants.RESULTS}/{entry['run']}.json")
    return claimed, denied


def _said_by(path: Path, top: str) -> object:
    try:
        return plain(_content(path, top))
    except Exception as error:  # whatever a reader says to a file that is not whole
        return plain(f"{DAMAGED}{type(error).__name__}: {error}")


def _content(path: Path, top: str) -> object:
    if path.name in RECORDS:
        return ledger._read(path)
    if path.name.startswith("events."):
        return _curves(path)
    if path.name == training_state.FILE:
        return training_state.load(path.parent, key_of(path))["history"]
    if top == constants.RAW_DATASETS:
        return [sha256_of(path), path.stat().st_mtime_ns]
    if top not in RESULTS or path.name.startswith("."):
        return sha256_of(path)
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    if path.suffix == ".png":
        return _pixels(path)
    if path.suffix == ".npz":
        return _arrays(path)
    return _pickle(path) if path.suffix == ".pkl" else path.read_text()


def key_of(state: Path) -> str:
    """The run that the state of a training is of."""
    return json.loads(state.read_bytes().split(b"\n")[1])["key"]


def _pickle(path: Path) -> object:
    description = json.loads(description_path(path).read_bytes())
    if description["sha256"] != sha256_of(path):
        raise ValueError("its SHA-256 is not the one in its description")
    content = safe_pickle.load(path, allow_model=True)
    if "model" not in content:
        return sha256_of(path)
    weights = hashlib.sha256(b"".join(part.tobytes() for part in content["model"].get_weights()))
    return {"weights": weights.hexdigest(), "history": content["history"]}


def _pixels(path: Path) -> str:
    with Image.open(path) as picture:
        return hashlib.sha256(np.asarray(picture).tobytes()).hexdigest()


def _arrays(path: Path) -> dict[str, str]:
    with np.load(path, allow_pickle=False) as arrays:
        return {
            name: f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
            for name, array in arrays.items()
        }


def _curves(path: Path) -> list:
    """The points in an event file: none lost, none doubled, none unreadable."""
    return [
        [event.step, value.tag, value.tensor.float_val[:] or value.tensor.tensor_content.hex()]
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def plain(value: object) -> object:
    """`value` without what passes and without the folder it lies in."""
    if isinstance(value, dict):
        return {
            plain(key): plain(one) for key, one in value.items() if key not in DIFFERENT_EACH_TIME
        }
    if isinstance(value, list):
        return [plain(one) for one in value]
    return PLACE.sub("", value) if isinstance(value, str) else value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 200 else f"{text[:200]}..."
