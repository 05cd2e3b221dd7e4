"""See the whole pipeline work once: start the three stages, drop a raw dataset, wait for its pictures."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import constants
from helper import shown
from pipeline.artifacts.metadata import DatasetDescription, Report, said_in
from pipeline.data_folder import DataFolder
from pipeline.stage.terminal import INTERRUPTED, run_script

STAGES = ("data_ingestion.py", "model_training.py", "model_analysis.py")
PREDICTED = 5  # images, at the end
PATIENCE = 600  # seconds

DATA = DataFolder(constants.DATA)


def main() -> int:
    seed = random.randrange(10**6)  # another train/test split each time
    raw = DATA.raw_datasets / f"digits-{seed}"
    stages = {name: start(name) for name in STAGES}
    try:
        subprocess.run(
            [sys.executable, "generate_raw_dataset.py", "--seed", str(seed), "--output", str(raw)],
            cwd=constants.ROOT,
            check=True,
        )
        report = wait_for_report(raw, stages)
    except KeyboardInterrupt:
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        return error.returncode
    finally:
        stop(stages)
    if not report:
        print("No result came. The lines above say why.", file=sys.stderr)
        return 1
    tell(raw, report)
    return predict(raw, report)


def start(name: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, name], cwd=constants.ROOT)


def wait_for_report(raw: Path, stages: dict[str, subprocess.Popen]) -> Report | None:
    """The analysis of what was made of `raw`; None if a stage ends or it takes too long."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        name = dataset_of(raw)
        report = Report.of(name, said_in(DATA.report(name))) if name else None
        if report and is_on_board(name):
            return report
        for stage, process in list(stages.items()):
            if process.poll() is not None:  # one that runs in another terminal does the work then
                print(
                    f"{stage} is not started here; if it runs in another terminal, that one works"
                )
                del stages[stage]
        time.sleep(0.2)
    return None


def dataset_of(raw: Path) -> str | None:
    for path in DATA.datasets.glob("*.json"):
        if DatasetDescription.beside(path).raw_dataset == shown(raw):
            return path.stem
    return None


def is_on_board(run: str) -> bool:
    """The leaderboard comes last."""
    try:
        table = (DATA.results / "leaderboard.csv").read_text()
    except OSError:
        return False
    return f",{run}," in table


def stop(stages: dict[str, subprocess.Popen]) -> None:
    for process in stages.values():
        process.send_signal(signal.SIGINT)
    for process in stages.values():
        process.wait()


def predict(raw: Path, report: Report) -> int:
    """Print the class of a few images, as anybody would ask for it."""
    images = [shown(path) for path in sorted((raw / "test").glob("*.png"))[:PREDICTED]]
    command = ["model_prediction.py", "--dataset", report.dataset, *images]
    print(
        "\nWhat the model says of",
        len(images),
        "of these images (model_prediction.py IMAGE ...):\n",
    )
    sys.stdout.flush()
    return subprocess.run([sys.executable, *command], cwd=constants.ROOT).returncode


def tell(raw: Path, report: Report) -> None:
    run, results = report.run, DATA.results
    checkpoints = DATA.checkpoints
    print(
        f"""
Right on {report.accuracy:.1%} of {report.test_images} test images that the model had never seen.

  raw dataset   {shown(raw)}
  dataset       {shown(DATA.dataset(report.dataset))}
  checkpoint    {shown(DATA.checkpoint(run))}
  curves        {shown(results / f"plot_model_{run}.pkl.png")}
  mistakes      {shown(results / f"visualize_errors_{run}.pkl.png")}
  confusions    {shown(results / f"confusion_matrix_{run}.pkl.png")}
  figures       {shown(DATA.report(run))}
  all runs      {shown(results / "leaderboard.png")}
  TensorBoard   .venv/bin/tensorboard --logdir {shown(checkpoints)}

Next: make run, which trains the other models and sets, and open the page at
http://{constants.WEB_HOST}:{constants.WEB_PORT}/ to put in a folder of your own; or drop one into
{shown(DATA.raw_datasets)}."""
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
