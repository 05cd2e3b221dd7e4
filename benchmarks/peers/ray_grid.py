"""Peer of product.py: Ray Tune, one grid of all runs, two trials side by side on one CPU each.

Its workers are kept from trial to trial, so TensorFlow is imported once in each.

python ray_grid.py output_folder learning_rate,... images.npz,... model.py,...
"""

import os
import sys
from pathlib import Path

import ray
from ray import tune

HERE = str(Path(__file__).resolve().parent)


def train(config: dict) -> None:
    import tensorflow as tf

    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(1)  # its share of the processor
        tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras
    from grid_task import arguments_of_fit, compiled, images_of

    keras.utils.clear_session()
    images = images_of(Path(config["images"]))
    model = compiled(Path(config["model"]), config["learning_rate"], images)
    history = model.fit(**arguments_of_fit(images)).history
    model.save(Path(tune.get_context().get_trial_dir()) / "model.keras")
    tune.report({name: values[-1] for name, values in history.items()})


output, learning_rates, images_files, model_files = (
    argument.split(",") for argument in sys.argv[1:]
)
paths = os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])
ray.init(
    num_cpus=2,
    include_dashboard=False,
    logging_level="ERROR",
    runtime_env={"env_vars": {"PYTHONPATH": paths}},
)
grid = {
    "learning_rate": tune.grid_search([float(rate) for rate in learning_rates]),
    "images": tune.grid_search(images_files),
    "model": tune.grid_search(model_files),
}
found = tune.Tuner(
    tune.with_resources(train, {"cpu": 1}),
    param_space=grid,
    tune_config=tune.TuneConfig(
        metric="val_accuracy", mode="max", max_concurrent_trials=2, reuse_actors=True
    ),
    run_config=tune.RunConfig(storage_path=output[0], name="grid", verbose=0),
).fit()
runs = len(learning_rates) * len(images_files) * len(model_files)
if found.errors or len(found) != runs:
    sys.exit(f"{len(found)} trials, {len(found.errors)} failed, expected {runs}")
