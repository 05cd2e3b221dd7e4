"""Peer of product.py: nothing but the fits, in one process that has imported Keras: prints its seconds.

python fits_alone.py output_folder learning_rate,... images.npz,... model.py,...
"""

import sys
import time
from itertools import product
from pathlib import Path

from grid_task import arguments_of_fit, compiled, images_of

_, learning_rates, images_files, model_files = (argument.split(",") for argument in sys.argv[1:])
began = time.perf_counter()
for images_file, model_file, rate in product(images_files, model_files, learning_rates):
    images = images_of(Path(images_file))
    compiled(Path(model_file), float(rate), images).fit(**arguments_of_fit(images))
print(time.perf_counter() - began)
