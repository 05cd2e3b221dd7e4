"""Load one checkpoint and predict with it, in a process of its own (see `evaluation.py`).

What happens goes to the stage through a pipe: JSON objects, and the class probabilities as bare
bytes, so that the stage unpickles nothing that this process wrote.
"""

import json
import math
import mmap
import os
import resource
import select
import shutil
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path

import numpy as np

from helper import UserError, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.checkpoint import known_in, load_checkpoint, run_in
from pipeline.stage import child_processes
from pipeline.statistics import novelty
from pipeline.training import fitting

Predict = Callable[[dict[str, np.ndarray], str, Callable[[int], object]], np.ndarray]


def main(
    checkpoint: Path,
    log_file: Path,
    memory: int,
    connection: Connection,
    made_of: Callable[[object], Predict] | None = None,
) -> int:
    """Load `checkpoint`, then predict for whatever images come; returns the exit status.

    It predicts as `fitting.predict` does with the model, or by what `made_of` makes of that.
    All that the model prints goes to `log_file`, temporary files into the folder of that; of memory
    there are `memory` bytes, and no more.
    """

    def report(**message: object) -> None:
        connection.send_bytes(json.dumps(message).encode())

    ending = [connection, log_file.parent]
    threading.Thread(target=_end_with_the_stage, args=ending, daemon=True).start()
    _keep_to(log_file, memory)
    fitting.use_devices(threads=0, gpu="")  # or TensorFlow would take all of a GPU's memory
    try:
        content = load_checkpoint(checkpoint)
        model = content["model"]
        predict = made_of(model) if made_of else partial(fitting.predict, model)
        report(event="loaded", history=content["history"], run=run_in(content))
        while True:
            _predict(content, predict, shown(checkpoint), connection, report)
    except EOFError:  # the stage is gone
        shutil.rmtree(log_file.parent, ignore_errors=True)
    except UserError as error:
        report(event="refused", reason=str(error))
    except MemoryError:
        report(
            event="failed", reason=f"its test needs more than {memory / 2**30:.1f} GiB of memory"
        )
    except OSError as error:
        if error.filename != str(checkpoint):
            raise
        report(event="unreadable", errno=error.errno, reason=error.strerror)
    except Exception as error:
        details = traceback.format_exc()[-10_000:]
        report(event="failed", reason=safe_pickle.in_short(error), details=details)
    return 0


def _end_with_the_stage(connection: Connection, folder: Path) -> None:
    """End this process when the pipe's other end closes, wherever the main thread hangs.

    The stage, which would remove this process's `folder`, has been killed.
    """
    hang_up = select.poll()
    hang_up.register(connection.fileno(), select.POLLHUP)  # not POLLIN: others read it
    hang_up.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _keep_to(log_file: Path, memory: int) -> None:
    child_processes.give_way_when_memory_is_short()
    tempfile.tempdir = str(log_file.parent)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    with suppress(ValueError, OSError):  # a lower limit is in force already
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_data_size() + memory, hard))


def _data_size() -> int:
    """Bytes that count for RLIMIT_DATA already; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[5]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _predict(
    content: dict,
    predict: Predict,
    name: str,
    connection: Connection,
    report: Callable[..., None],
) -> None:
    """Receive images and send the class probabilities for them, or why the model does not fit them.

    Raises:
        EOFError: the stage asks for nothing more.
    """
    request = json.loads(connection.recv_bytes())
    shape, classes = tuple(request["shape"]), request["classes"]
    memory = recv_handle(connection)
    try:
        room = mmap.mmap(memory, math.prod(shape), prot=mmap.PROT_READ)
    finally:
        os.close(memory)
    images = np.frombuffer(room, np.uint8).reshape(shape)
    split = {"img": images, "class": np.broadcast_to(np.float32(0), (len(images), classes))}
    try:
        probabilities = predict(split, name, lambda count: report(event="progress", count=count))
    except UserError as error:
        return report(event="refused", reason=str(error))
    report(event="predicted", unlike=_unlike(content, images) if request.get("unlike") else [])
    return connection.send_bytes(np.ascontiguousarray(probabilities))


def _unlike(content: dict, images: np.ndarray) -> list[bool]:
    """Of each image whether it is unlike all that the model was trained on; none where that is not known."""
    known = known_in(content)
    if known is None:
        return []
    features, usual = known
    found = fitting.features(content["model"], images)
    if found is None or found.shape[1] != features.shape[1]:
        return []
    return (novelty.distances(novelty.normalized(found), features) > usual).tolist()
