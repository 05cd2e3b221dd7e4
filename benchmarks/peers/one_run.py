"""Peer of product.py: the Keras script that a shell loop calls for each run.

python one_run.py images.npz model.py learning_rate output_folder
"""

import json
import sys
from pathlib import Path

from grid_task import arguments_of_fit, compiled, images_of

images_file, model_file, learning_rate, output = sys.argv[1:]
images = images_of(Path(images_file))
model = compiled(Path(model_file), float(learning_rate), images)
history = model.fit(**arguments_of_fit(images)).history
folder = Path(output)
folder.mkdir(parents=True)
model.save(folder / "model.keras")
(folder / "history.json").write_text(json.dumps(history))
