"""What this machine trains with: cores or GPUs, and how many runs side by side suit them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import constants

# How Linux limits the memory of a container or a service.
CONTROL_GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The numbers of the NVIDIA GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def memory() -> int:
    """Bytes of memory that this process may use: those of the machine, or fewer in a container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_memory_limits()])


def _memory_limits() -> Iterator[int]:
    """The limits of this process's control groups and of those that they are in, if there are any."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":  # version 2
            root, name = CONTROL_GROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CONTROL_GROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's, and only its root is to be seen: the own group.
        folder = root / group.lstrip("/")
        for around in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # ValueError: "max", so there is no limit
                yield int((around / name).read_text())
            if around == root:
                break


def worker_slots(workers: int | None) -> int:
    """How many runs to train side by side; `workers` is what was asked for, None for the most
    images per second.

    One run on one GPU. Without a GPU one run on one core, as far as there is memory: small models
    leave a second thread idle for much of each step.
    """
    if found := gpus():
        return min(workers or len(found), len(found))
    return workers or max(1, min(cores(), memory() // constants.RUN_MEMORY))


def assign(running: list[dict], slots: int) -> dict:
    """What the next run gets, where the `running` ones have theirs: a GPU that is free, or threads."""
    if found := gpus():
        taken = {process.get("gpu") for process in running}
        return {"gpu": next(name for name in found if name not in taken)}
    return {"threads": max(1, cores() // slots)}
