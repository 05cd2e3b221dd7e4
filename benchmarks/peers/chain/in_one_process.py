"""Peer of chain.py: the three scripts' work without their starts: prints its seconds.

python in_one_process.py raw_folder dataset.npz model.keras history.json pictures_folder
"""

import sys
import time

import analyze
import ingest
import train

raw, dataset, model, history, pictures = sys.argv[1:]
began = time.perf_counter()
ingest.main(raw, dataset)
train.main(dataset, model, history)
analyze.main(dataset, model, history, pictures)
print(time.perf_counter() - began)
