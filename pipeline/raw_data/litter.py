"""Which files and folders are none of a dataset's own: systems, tools and authors leave them beside it."""

import re

LITTER = {"__macosx", "thumbs.db", "desktop.ini", "@eadir"}
# Not whatever begins so: license_plate_7.jpg is an image, readme_labels.csv a table.
DOCUMENT = re.compile(
    r"(readme|licen[cs]e)(-[a-z]+|.*\.(txt|md|markdown|rst|html?|pdf|rtf|docx?))?", re.DOTALL
)


def is_litter(name: str, folder: bool = False) -> bool:
    """Whether `name`, one part of a path, is that of such a file, or of such a `folder`."""
    if name.startswith("."):
        return True
    lower = name.lower()
    return lower in LITTER or (not folder and DOCUMENT.fullmatch(lower) is not None)
