"""What is going on, read by one thread for all open pages, and only while one is open."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.training.health import STAGES, Health, health_of
from pipeline.training.run_queue import RunQueue
from pipeline.training.run_table import Row, RunTable

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between two looks at the files
LOOK_COST = 0.01  # of a core, at the most; where a look takes long, it is done less often
STAYS_WANTED = 5.0  # seconds after somebody asked


@dataclass(frozen=True)
class Snapshot:
    """All that was so at one moment. `number` is another one whenever something else is so.

    The rows are in the order in which they are trained. `refused` says by file why it takes no part.
    """

    number: int = 0
    stages: tuple[Health, ...] = ()
    rows: tuple[Row, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


class Live:
    """Looks at the files while somebody wants to know; `snapshot` is what was seen last."""

    def __init__(self, data: Path, models: Path, sets: Path):
        self.data, self.snapshot = data, Snapshot()
        self._queue, self._table = RunQueue(data, models, sets), RunTable(data)
        self._wanted = 0.0  # until when, by the monotonic clock

    def wanted(self) -> Snapshot:
        """What was seen last; somebody who looks at it goes on to want to know."""
        self._wanted = time.monotonic() + STAYS_WANTED
        return self.snapshot

    async def keep_looking(self) -> None:
        """Run until it is cancelled. The event loop only waits: a thread reads."""
        while True:
            took = 0.0
            if time.monotonic() < self._wanted or not self.snapshot.number:
                began = time.thread_time()
                try:
                    took = await asyncio.to_thread(_timed, self.look)
                except Exception:  # a fault of ours must not end what keeps all pages live
                    log.exception("cannot tell what is going on")
                    took = time.thread_time() - began
            await asyncio.sleep(max(LOOK, took / LOOK_COST))

    def look(self) -> Snapshot:
        """Look now. From one thread at a time."""
        stages = tuple(health_of(stage, self.data) for stage in STAGES)
        rows = tuple(self._table.refresh(self._queue.look()))
        seen = Snapshot(
            self.snapshot.number, stages, rows, tuple(sorted(self._queue.refused.items()))
        )
        if not self.snapshot.number or _lasting(seen) != _lasting(self.snapshot):
            self.snapshot = replace(seen, number=seen.number + 1)
        return self.snapshot


def _lasting(snapshot: Snapshot) -> Snapshot:
    """Without how long ago a stage said something, which is different each time."""
    return replace(snapshot, stages=tuple(replace(one, quiet=None) for one in snapshot.stages))


def _timed(action: Callable[[], object]) -> float:
    began = time.thread_time()
    action()
    return time.thread_time() - began
