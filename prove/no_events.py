"""Nothing depends on events: the whole chain passes its tests with events, by polling, and with an
observer that never says anything.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import constants
from prove import Result

CHAIN = "tests/test_chain.py"
ONE_STAGE = (
    "tests/test_data_ingestion.py::test_the_running_stage_ingests_what_is_renamed_into_place"
)
# Each is run as Python starts, in every process of the tests, and leaves a file when it takes effect.
SILENT = """
import watchdog.observers
class Silent(watchdog.observers.Observer):
    def dispatch_events(self, event_queue):
        event_queue.get()
        open({fired!r}, "w").close()
watchdog.observers.Observer = Silent
"""
POLLING = """
import sys
if sys.argv[0].endswith(("data_ingestion.py", "model_training.py", "model_analysis.py")):
    sys.argv.append("--poll")
    open({fired!r}, "w").close()
"""
WITH_EVENTS = "open({fired!r}, 'w').close()"
WAYS = {"events": WITH_EVENTS, "polling": POLLING, "a silent observer": SILENT}


def prove(full: bool) -> Result:
    tests, ways = (CHAIN, list(WAYS)) if full else (ONE_STAGE, ["a silent observer"])
    violations = [f"{way}: {problem}" for way in ways if (problem := _problem(WAYS[way], tests))]
    held = len(ways) - len(violations)
    figure = f"the chain's tests, {held} of {len(ways)} green"
    return Result(len(ways), held, figure, violations)


def _problem(before: str, tests: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        fired = Path(folder, "fired")
        Path(folder, "sitecustomize.py").write_text(before.format(fired=str(fired)))
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tests],
            cwd=constants.ROOT,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            return ended.stdout[-1500:]
        return None if fired.exists() else "the events were not changed"
