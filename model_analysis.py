"""Stage 3: analyze. Tests each new checkpoint on its dataset, writes its figures and pictures.

Reads   data/model_checkpoints/*.pkl and the datasets in data/dataset that they were trained on
Writes  data/model_analysis_results/: plot_model_<run>.pkl.png, visualize_errors_<run>.pkl.png,
        confusion_matrix_<run>.pkl.png, predictions_<run>.csv and .npz, and <run>.json; of all runs
        leaderboard.csv and .png and models_by_datasets.csv and .png

    python model_analysis.py            keep watching
    python model_analysis.py --once     analyze what is there, then stop
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import sys
import time
from functools import partial

import constants
from helper import shown
from pipeline.analysis.checkpoint_analysis import Analysis
from pipeline.analysis.cross_evaluation import CrossEvaluation
from pipeline.analysis.evaluation import Evaluator
from pipeline.analysis.leaderboard import Leaderboard
from pipeline.analysis.models_by_datasets import ModelsByDatasets
from pipeline.artifacts.catalog import Catalog
from pipeline.data_folder import DataFolder
from pipeline.stage.folder_watch import FolderWatch
from pipeline.stage.log_lines import log
from pipeline.stage.options import stage_parser
from pipeline.stage.process import Stage, run_stage
from pipeline.stage.terminal import run_script


def main(arguments: list[str] | None = None) -> int:
    options = stage_parser(__doc__).parse_args(arguments)
    return run_stage("analysis", options, constants.RESULTS, partial(analyze_what_comes, options))


def analyze_what_comes(options: argparse.Namespace, stage: Stage) -> bool:
    """Analyze checkpoint after checkpoint. Returns, with --once, whether each one could be."""
    data = DataFolder(options.data)
    folders = [data.checkpoints, data.datasets]
    with FolderWatch(folders, poll=options.poll) as watch, Evaluator(stage.status) as evaluator:
        catalog = Catalog(options.data)
        analysis = Analysis(catalog, evaluator, stage)
        leaderboard = Leaderboard(catalog, stage)
        cross_evaluation = CrossEvaluation(catalog, leaderboard, evaluator, stage)
        models_by_datasets = ModelsByDatasets(cross_evaluation)
        log.info("watching %s", shown(folders[0]))
        while True:
            began = time.thread_time()
            catalog.look()
            task = stage.retry(analysis.next_task)
            look = time.thread_time() - began
            leaderboard.update()
            if task:
                analysis.analyze(task)
            elif test := cross_evaluation.next_test():  # one, as a new checkpoint goes first
                stage.status.update(f"testing {test.report.run} on other datasets")
                cross_evaluation.do(test)
            else:
                models_by_datasets.update()
                if stage.once:
                    return analysis.all_well and cross_evaluation.all_well
                evaluator.warm_up()
                stage.status.update("waiting")
                watch.wait(look=look)


if __name__ == "__main__":
    sys.exit(run_script(main))
