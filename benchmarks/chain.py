"""How long from a dropped folder to the last picture, everything running? Beside other chains.

python benchmarks/chain.py        some minutes; with QUICK=1: one round
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from processes import ROOT, Script, python, run, wait_until_idle
from tables import NOT_INSTALLED, QUICK, alternating, installed, markdown, ratio, spread

PEERS = Path(__file__).resolve().parent / "peers" / "chain"
ROUNDS = 1 if QUICK else 2
OURS = "this project, three stages running"
LOOP = "a shell loop of three scripts"
LIMIT = "limit: the same work, nothing to start"
PICTURES = 3
STEPS = (
    ("ingest.py", "raw", "dataset.npz"),
    ("train.py", "dataset.npz", "model.keras", "history.json"),
    ("analyze.py", "dataset.npz", "model.keras", "history.json", "pictures"),
)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        peers = {"dvc": bench.dvc, "snakemake": bench.snakemake}
        contestants = {
            OURS: bench.stages,
            LOOP: bench.loop,
            **{name: peer for name, peer in peers.items() if installed(name)},
            LIMIT: bench.in_one_process,
        }
        with Stages(bench.data) as bench.running:
            times = alternating(contestants, ROUNDS)
    rows = [[name, spread(some), f"{ratio(some, times[OURS]):.2f}"] for name, some in times.items()]
    missing = [[name, NOT_INSTALLED, ""] for name in peers if name not in times]
    print("## From a dropped folder to its last picture\n")
    print(markdown(["", "seconds", "this project / it"], rows + missing))
    print(f"""
1,797 digits with `cnn` and the set `quick`, from the rename of the folder to the last of three pictures;
median (least-most) of {ROUNDS}, taking turns. Most of the difference is that the others start Python
and import TensorFlow anew for each step, which here the running stages have done; the limit is their
three scripts in one process that has imported everything, without the checks, the records, the second
that a folder has to settle for and the leaderboard that this project's time has in it.""")
    return 0


class Stages:
    """The three stages, ready: TensorFlow is imported."""

    def __init__(self, data: Path):
        self.data = data

    def __enter__(self) -> "Stages":
        only = "--models", "cnn", "--hyperparameters", "quick"
        options = {"data_ingestion.py": (), "model_training.py": only, "model_analysis.py": ()}
        self.scripts = [Script(name, "--data", self.data, *more) for name, more in options.items()]
        for script in self.scripts:
            script.wait_for("watching")
        wait_until_idle(self.scripts)
        return self

    def __exit__(self, *_: object) -> None:
        for script in self.scripts:
            script.stop()


class Bench:
    """Each contestant's time for a new dataset in seconds."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        self.drops = 0
        self.running: Stages

    def new_raw_dataset(self) -> Path:
        """Digits, split anew: for this project the same content would be nothing new."""
        self.drops += 1
        raw = self.folder / f"raw {self.drops}"
        python(ROOT / "generate_raw_dataset.py", "--seed", self.drops, "--output", raw)
        return raw

    def stages(self) -> float:
        raw = self.new_raw_dataset()
        results = self.data / "model_analysis_results"
        began = time.time()
        raw.rename(self.data / "raw_dataset" / raw.name)
        *_, analysis = self.running.scripts
        analysis.wait_for(": analyzed")
        board = results / "leaderboard.csv"
        newest = max((self.data / "dataset").glob("*.pkl")).stem
        while not board.exists() or f"{newest}__" not in board.read_text():
            time.sleep(0.01)
        took = time.time() - began
        wait_until_idle(self.running.scripts)  # each model is tested on the other datasets, too
        return took

    def loop(self) -> float:
        return self._peer(*(["python", *step] for step in STEPS))

    def dvc(self) -> float:
        return self._peer(["dvc", "repro", "--quiet"])

    def snakemake(self) -> float:
        return self._peer(["snakemake", "--cores", "2", "--quiet", "all"])

    def in_one_process(self) -> float:
        files = "raw", "dataset.npz", "model.keras", "history.json", "pictures"
        place = self._workplace()
        return float(run(["python", "in_one_process.py", *files], place))

    def _peer(self, *commands: list[str]) -> float:
        place = self._workplace()
        began = time.time()
        for command in commands:
            run(command, place)
        took = time.time() - began
        if len(list((place / "pictures").glob("*.png"))) != PICTURES:
            raise RuntimeError(f"{commands} made no pictures")
        return took

    def _workplace(self) -> Path:
        """A folder with the scripts, which the new images were just dropped into. A repository, too."""
        raw = self.new_raw_dataset()
        place = self.folder / f"peer {self.drops}"
        shutil.copytree(PEERS, place)
        if installed("dvc"):
            for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
                run(command, place)
        raw.rename(place / "raw")
        return place


if __name__ == "__main__":
    sys.exit(main())
