"""Import all that a stage needs, once: the processes of the proofs are forked from the one that did.

No operation of TensorFlow may run here: a fork after the first one hangs.
"""

import os

# The models are tiny: more threads only make each system call slower to follow.
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")

from pipeline.artifacts.keras_import import import_keras

import_keras()

import data_ingestion  # noqa: E402, F401
import model_analysis  # noqa: E402, F401
import model_training  # noqa: E402, F401
from pipeline.training import worker  # noqa: E402, F401
