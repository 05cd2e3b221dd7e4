"""What each page needs to know: where the files are, and what the person who started it allows."""

from dataclasses import dataclass
from pathlib import Path

import constants
from pipeline.data_folder import DataFolder
from pipeline.web.live import Live


@dataclass(frozen=True)
class Site:
    """The folders that the page reads and puts things into, and what is going on in them."""

    data: DataFolder
    live: Live
    models: Path = constants.MODELS
    hyperparameters: Path = constants.HYPERPARAMETERS
    allow_model_upload: bool = False

    @classmethod
    def of(
        cls,
        data: Path,
        models: Path = constants.MODELS,
        hyperparameters: Path = constants.HYPERPARAMETERS,
        allow_model_upload: bool = False,
    ) -> "Site":
        live = Live(data, models, hyperparameters)
        return cls(DataFolder(data), live, models, hyperparameters, allow_model_upload)
