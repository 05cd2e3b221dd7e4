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
NEW_IMAGES = "new_images"
PREDICTIONS = "predictions"
EXPORTS = "exports"
OTHER_DATASETS = "on_other_datasets"  # in the results
STATUS = "status"
REQUESTS = "requests"
UNPACKED = ".unpacked"
FEATURES = ".features"  # what a frozen part of a model makes of images, where memory is short
UNPACKED_NEW = ".unpacked_new"  # of what prediction unpacks
INCOMING = ".incoming"  # what the page is given, until it is whole

# Files.
SPLITS = ("train", "test")
GROUNDTRUTH = "groundtruth.csv"
# What people call the parts of a dataset, and which each is.
PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
# By the ending, in lower case, a file counts as an image; its content then says of which format.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif"),
)
ARCHIVE_SUFFIXES = (
    *(".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"),
    *(".tgz", ".txz", ".tzst", ".tbz2", ".tbz"),
)
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
INGESTION_RECORD = "data_ingestion_settings.pkl"
TRAINING_RECORD = "model_training_settings.pkl"
ANALYSIS_RECORD = "model_validation_settings.pkl"
REQUESTS_RECORD = "model_training_requests.pkl"
TIME_NAME = "%Y-%m-%d %H:%M:%S.%f"
# Bytes. A file's name has 255 at the most, and this one is made of a run's:
MOST_IN_NAME = 255 - len(".confusion_matrix_.pkl.png.partial")

# Bytes that a file may have, so that no reader of a dropped file runs out of memory. The largest that
# the project writes: a description with 10,000 long class names, a record of 100,000 runs.
MOST_JSON_BYTES = 2**25
MOST_RECORD_BYTES = 2**27
MOST_TABLE_BYTES = 2**30  # a groundtruth.csv of 10 million rows has a fifth of it
MOST_MODEL_BYTES = 2**18
MOST_WEIGHTS_BYTES = 2**30  # of a pretrained model; the shipped one has 2**24
MOST_SET_BYTES = 2**16
MOST_REQUEST_BYTES = 2**22  # one that names 10,000 runs has a quarter of it
LAST_WORDS_BYTES = 2**14  # of the end of a training.log, which may be of any length
# In a line of a hyperparameter set: the memory that a key takes grows with the square of its dots.
MOST_DOTS = 64
MOST_SEEDS = 100  # of a hyperparameter set; each is a run with every model on every dataset

# What an archive may hold. The largest that is to fit in: ImageNet has 1.4 million files, 150 GB.
MOST_UNPACKED_BYTES = 2**39
MOST_UNPACKED_FILES = (
    2_000_000  # and folders; a name that was checked takes about 300 bytes of memory
)
MOST_DIRECTORY_BYTES = (
    2**28
)  # all names together, and the directory of a zip, which is read at once
# Drawings compress to a fiftieth, a bomb to a thousandth; what is small does no harm either way.
MOST_COMPRESSION, SMALL_ARCHIVE_BYTES = 200, 2**26
MOST_MEMBER_NAME_BYTES, DEEPEST_MEMBER = 1024, 32  # the kernel takes paths of 4,096 bytes
SPARE_DISK_BYTES = 2**28  # that unpacking leaves free, for what else the stages write
DISK_BLOCK_BYTES = 2**12  # of which a file takes whole ones
DECOMPRESSOR_MEMORY = 2**28  # bytes; xz -9 needs a quarter of it

# What a person may ask of a run.
MOST_PRIORITY = 10**6
LONGEST_NOTE = 200  # characters

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
KEEP_BEST = 600.0  # to make a checkpoint of the best epoch of a training that failed
EVALUATION_SILENCE = 300.0  # a checkpoint whose test makes no progress for so long has failed
EXPORT_SILENCE = 1800.0  # the same for its conversion, of which nothing is told until it ends
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
MOST_IMAGE_PIXELS = 2**30  # the most that --largest-image may say
MAX_IMAGE_BYTES = 256 * 2**20
TEST_SHARE = 0.2  # of the images, held out where there is no test part
MOST_LEFT_OUT = (
    0.05  # of a split's images, that may be damaged and left out where no table lists them
)
DEEPEST_FOLDER = 8  # in a raw dataset
MOST_EXAMPLES = 20  # files that a warning names for programs
MAX_CLASSES = 10_000  # a stray label of 10**9 must not ask for a one-hot array of that width
FEW_IMAGES = 10  # a class with fewer training images than this is worth a warning
UNEQUAL_CLASSES = 10  # times as many images as the smallest class has, is worth a warning
MOST_WRONG_ROWS = 10_000  # of a table, and then no further row is looked at
MOST_MISSING = 10**6  # of a table's files, and then no further row is looked at either
MOST_COLUMNS = 20_000  # of a table; one with a column for each class has the most
MOST_PROBLEMS = 5  # how many problems of one raw dataset are named before "and N more"

# A frozen part of a model is computed once for each image.
FEATURE_VIEWS = 2  # where images are augmented: each as it is, and augmented in one way
FEATURES_MEMORY = 2**30  # bytes; more than that lies on the disk meanwhile

# Pictures.
MOST_ERRORS = 25  # images in visualize_errors
MOST_ON_SHEET = 48  # images in a contact sheet of predictions
CALIBRATION_BINS = 15

# Predictions.
PREDICTED_BYTES = 2**28  # of pixels that are read before a model sees them

# The page.
WEB_HOST, WEB_PORT = "127.0.0.1", 8080
MOST_WEBSOCKET_BYTES = 2**20  # of a message, more than NiceGUI's own limit
INCOMING_KEPT = 7 * 86_400.0  # seconds, that an upload is kept that nobody goes on with
