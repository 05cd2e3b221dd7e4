"""Peer of product.py: KerasTuner, one process, one grid search for each dataset and model.

python keras_tuner_grid.py output_folder learning_rate,... images.npz,... model.py,...
"""

import sys
from itertools import product
from pathlib import Path

import keras_tuner
from grid_task import arguments_of_fit, compiled, images_of

output, learning_rates, images_files, model_files = (
    argument.split(",") for argument in sys.argv[1:]
)
for images_file, model_file in product(images_files, model_files):
    images = images_of(Path(images_file))

    def build(choice, images=images, model_file=model_file):
        rate = choice.Choice("learning_rate", [float(rate) for rate in learning_rates])
        return compiled(Path(model_file), rate, images)

    tuner = keras_tuner.GridSearch(
        build,
        objective="val_accuracy",
        directory=output[0],
        project_name=f"{Path(images_file).stem}-{Path(model_file).stem}",
    )
    tuner.search(**arguments_of_fit(images))
    if len(tuner.oracle.trials) != len(learning_rates):
        sys.exit(f"{len(tuner.oracle.trials)} trials, expected {len(learning_rates)}")
