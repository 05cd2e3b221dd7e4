"""Every path, default and limit in one place. Values only: importing this does nothing."""

from pathlib import Path

VERSION = "0.1.0"

# Folders. The data folder can be another one (--data); the names inside it stay.
ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"
MODELS = ROOT / "models"
HYPERPARAMETERS = ROOT / "hyperparameters"
RAW_DATASETS = "raw_dataset"
DATASETS = "dataset"
CHECKPOINTS = "model_checkpoints"
RESULTS = "model_analysis_results"
OTHER_DATASETS = "on_other_datasets"  # in the results
STATUS = "status"

# Files.
SPLITS = ("train", "test")
GROUNDTRUTH = "groundtruth.csv"
INGESTION_RECORD = "data_ingestion_settings.pkl"
TRAINING_RECORD = "model_training_settings.pkl"
ANALYSIS_RECORD = "model_validation_settings.pkl"
TIME_NAME = "%Y-%m-%d %H:%M:%S.%f"
# Bytes. A file's name has 255 at the most, and this one is made of a run's:
MOST_IN_NAME = 255 - len(".confusion_matrix_.pkl.png.partial")

# Bytes that a file may have, so that no reader of a dropped file runs out of memory. The largest that
# the project writes: a description with 10,000 long class names, a record of 100,000 runs.
MOST_JSON_BYTES = 2**25
MOST_RECORD_BYTES = 2**27
MOST_TABLE_BYTES = 2**30  # a groundtruth.csv of 10 million rows has a fifth of it
MOST_MODEL_BYTES = 2**18
MOST_SET_BYTES = 2**16
LAST_WORDS_BYTES = 2**14  # of the end of a training.log, which may be of any length
# In a line of a hyperparameter set: the memory that a key takes grows with the square of its dots.
MOST_DOTS = 64

# The pair whose runs keep the plain name of their dataset.
DEFAULT_MODEL = "cnn"
DEFAULT_HYPERPARAMETERS = "default"

# Waiting, in seconds.
SETTLE = 1.0  # a raw dataset must look the same for this long before it is read
LOOK_AGAIN = 5.0  # look without any event this often: lost events cost delay, never data
LOOK_SHARE = 0.001  # of the time, at the most; where a look takes long, it is done less often
LOOK_AT_LEAST = 110.0  # but this often all the same; a stage that looks never seems STUCK
POLL = 1.0  # with --poll there are no events, so look this often
RECORD = 1.0  # what was ingested is recorded at the latest after this
RETRY = 2.0  # after a write that the disk refused
SAY_AGAIN = 5.0  # at the most one line per raw dataset in this time while a copy goes on
STUCK = (
    120.0  # a stage that says nothing for so long is stuck; a model's first step may take a while
)
MOST_IN_STATUS, LONGEST_IN_STATUS = 1000, 2000  # inputs with a problem, and characters for each
STOP = 4.0  # a training process gets this long to stop before it is killed
EVALUATION_SILENCE = 300.0  # a checkpoint whose test makes no progress for so long has failed
RESTART = 1.0  # before a killed stage is started again; twice as long each time,
RESTART_MOST = 60.0  # but no longer than this,
RAN_WELL = 60.0  # and as at first once it ran for this long

EVALUATION_MEMORY = 0.5  # of the machine's memory, that the test of one checkpoint may take
RUN_MEMORY = 2 * 2**30  # bytes that a run on small images may need, TensorFlow included

# Images and labels.
DIGEST_BYTES = 16  # of an image's SHA-256, which is what the image is known by
RESIZE = "bilinear"  # as Pillow names its filters
IMAGE_SIZE = 32  # pixels, width and height of the images in a dataset
FIT = "crop"  # or "pad" or "squeeze": what becomes of an image that is not square
BACKGROUND = (255, 255, 255)  # red, green and blue behind a transparent image
# --image-size auto: of the images' median short side in pixels, at the most, the size. Larger ones
# are photographs.
IMAGE_SIZES = {40: 32, 64: 64, 99: 96}
PHOTOGRAPH_SIZE = 128
IMAGES_MEMORY = 0.25  # of the machine's memory, that the images of that size may take
SIZE_SAMPLE = 256  # images whose headers are looked at for it
MAX_IMAGE_SIZE = 4096
MAX_IMAGE_PIXELS = 64_000_000  # a larger image is refused before it is decoded
MAX_IMAGE_BYTES = 256 * 2**20
MAX_CLASSES = 10_000  # a stray label of 10**9 must not ask for a one-hot array of that width
FEW_IMAGES = 10  # a class with fewer training images than this is worth a warning
MOST_WRONG_ROWS = 10_000  # of a groundtruth.csv, and then no further row is looked at
MOST_PROBLEMS = 5  # how many problems of one raw dataset are named before "and N more"

# Pictures.
MOST_ERRORS = 25  # images in visualize_errors
CALIBRATION_BINS = 15
