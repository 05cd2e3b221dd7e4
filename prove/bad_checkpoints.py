"""A checkpoint that hangs, crashes, starves or changes its process harms no other checkpoint.

While the first of two checkpoints is loaded, its process does what a hostile one might do. The stage
says why that one failed, in one sentence, and analyzes the other one as if nothing had been.
"""

import importlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import constants
from pipeline.artifacts.metadata import read_json
from prove import Result, some, tried, warm
from prove.scenes import ANALYSIS, RUN, SET, waiting_run

SILENCE = 10.0  # seconds, instead of minutes
HANGS = "made no progress for 10 s"
SENT_NO_RESULTS = "sent no results"
# What the process does, and what is said of it; None where that does not matter.
DEEDS = {
    "while True: pass": HANGS,
    "time.sleep(10**6)": HANGS,
    "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(10**6)": HANGS,
    "json.dumps = lambda *_, **__: time.sleep(10**6)": HANGS,
    "os._exit(0)": "ended with exit status 0 and no result",
    "os._exit(3)": "ended with exit status 3 and no result",
    "os.kill(os.getpid(), signal.SIGKILL)": "was ended by SIGKILL",
    "os.abort()": "was ended by SIGABRT",
    "ctypes.string_at(0)": "was ended by SIGSEGV",
    "sys.exit(5)": "ended with exit status 5 and no result",
    "raise ZeroDivisionError('a fault')": "ZeroDivisionError: a fault",
    "raise KeyboardInterrupt": "ended with exit status 1",
    "raise MemoryError": "GiB of memory",
    "kept = [bytearray(2**28) for _ in range(10**4)]": "GiB of memory",
    "numpy.ones(2**40)": "GiB of memory",
    "connection.send_bytes(b'no JSON')": SENT_NO_RESULTS,
    "connection.send_bytes(b'[' * 10**5)": SENT_NO_RESULTS,
    "connection.send_bytes(b'{}')": SENT_NO_RESULTS,
    "connection.send_bytes(json.dumps({'event': 'predicted'}).encode())": SENT_NO_RESULTS,
    "connection.send_bytes(pickle.dumps(Canary()))": SENT_NO_RESULTS,
    "connection.send_bytes(bytes(2**27))": "the process that tests it",
    "connection.close(); time.sleep(10**6)": HANGS,
    "os.closerange(3, 1000); time.sleep(10**6)": "was ended by SIGKILL",
    "os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x' * 10**6)": None,
    "keras.config.set_floatx('float16')": None,
    "keras.config.set_backend('jax')": None,
    "keras.config.set_image_data_format('channels_first')": None,
    "keras.config.set_dtype_policy('mixed_bfloat16')": None,
    "keras.saving.get_custom_objects()['Dense'] = int": None,
    "keras.layers.Dense.call = None": None,
    "keras.ops.softmax = keras.activations.softmax = None": None,
    "numpy.argmax = numpy.frombuffer = None": None,
    "sys.modules.clear()": None,
    "os.environ.clear(); os.chdir('/')": None,
    "numpy.random.seed(7); keras.utils.set_random_seed(7)": None,
}


MODULES = ("ctypes", "json", "keras", "numpy", "os", "pickle", "signal", "sys", "time")

Case = tuple[str, Path, dict]


class Canary:
    """Whoever unpickles it makes a file."""

    def __reduce__(self) -> tuple:
        return open, ("canary", "w")


def prove(full: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="prove-") as name:
        template = Path(name).resolve() / "template"
        [expected] = warm.each(_prepare, [template])
        cases = [(deed, template, expected) for deed in some(list(DEEDS), full, 8)]
        figure = "{tried} deeds of a checkpoint's process, {broken} harmed another checkpoint"
        return tried(_violation, cases, figure, warm.each)


def _prepare(template: Path) -> dict:
    """Two checkpoints to be analyzed, "bad" first; returns the figures of "good"."""
    template.mkdir()
    waiting_run(template)
    (template / "sets" / "short.toml").unlink()
    (template / "sets" / "bad.toml").write_text(SET + "priority = 9\n")
    (template / "sets" / "good.toml").write_text(SET + "seed = 2\n")
    RUN.run(template)
    undisturbed = shutil.copytree(template, template.with_name("undisturbed"))
    said = _analyze(undisturbed, "pass")
    if said.count("analyzed in") != 2:
        raise RuntimeError(said)
    return _figures(undisturbed)


def _figures(folder: Path) -> dict:
    [report] = (folder / "data" / constants.RESULTS).glob("*__good.json")
    return {key: value for key, value in read_json(report).items() if key != "checkpoint_sha256"}


def _violation(case: Case) -> str | None:
    deed, template, expected = case
    with tempfile.TemporaryDirectory(dir=template.parent) as name:
        folder = Path(shutil.copytree(template, Path(name) / "work"))
        said = _analyze(folder, deed)
        problems = list(_problems(deed, folder, said, expected))
    return f"{deed}: {'; '.join(problems)}" if problems else None


def _problems(deed: str, folder: Path, said: str, expected: dict):
    if "__good: analyzed in" not in said:
        yield f"the other one was not analyzed: {said[-1000:]}"
    elif _figures(folder) != expected:
        yield "the other one got other figures"
    reason = DEEDS[deed]
    if reason and ("__bad: failed: " not in said or reason not in said):
        yield f'not said: "{reason}", but {said[-1000:]}'
    if (folder / "canary").exists():
        yield "the stage unpickled what the process sent"


def _analyze(folder: Path, deed: str) -> str:
    """What the stage says, while the process of the bad checkpoint does its deed."""
    said = folder / "said"

    def work() -> int:
        os.chdir(folder)
        warm.talk_to(said)
        constants.EVALUATION_SILENCE = SILENCE
        constants.EVALUATION_MEMORY = 0.1
        _let_misbehave(deed)
        return warm.run_script(ANALYSIS, ["--data", str(folder / "data"), "--once"])

    stage = warm.Forked(work)
    try:
        stage.wait(10 * warm.LONGEST)
    except subprocess.TimeoutExpired:
        pass  # the other one is not analyzed, then
    finally:
        stage.kill()
        stage.wait()
    return said.read_text(errors="replace")


def _let_misbehave(deed: str) -> None:
    from pipeline.analysis import evaluation_worker

    main = evaluation_worker.main

    def misbehave(checkpoint: Path, log_file: Path, memory: int, connection: object) -> int:
        load = evaluation_worker.load_checkpoint

        def do_the_deed(path: Path) -> dict:
            if path.stem.endswith("__bad"):
                names = {name: importlib.import_module(name) for name in MODULES}
                exec(deed, names | {"connection": connection, "Canary": Canary})
            return load(path)

        evaluation_worker.load_checkpoint = do_the_deed
        return main(checkpoint, log_file, memory, connection)

    evaluation_worker.main = misbehave
