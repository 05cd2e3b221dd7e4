"""What ingestion will say of what was put in: its own code looks at it, before it has its name."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.problem import RawDatasetError
from pipeline.raw_data.archives import unpack
from pipeline.raw_data.folder_scan import scan
from pipeline.raw_data.layouts import recognize
from pipeline.uploads.incoming import Upload

MOST_CLASSES = 200  # that are named


def checked(upload: Upload) -> dict[str, Any]:
    """For JSON: how a raw dataset was understood, and its problems and warnings as records."""
    folder, unpacked = upload.content, upload.folder / "unpacked"
    try:
        if not upload.is_folder:
            shutil.rmtree(unpacked, ignore_errors=True)
            unpack(upload.content, unpacked)
            folder = unpacked
        return understood(folder)
    except RawDatasetError as error:
        return {"problems": [problem.as_plain() for problem in error.problems], "warnings": []}
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def understood(folder: Path) -> dict[str, Any]:
    """
    Raises:
        RawDatasetError: no layout fits, or something is missing.
    """
    layout = recognize(folder, scan(folder))
    classes = Counter(str(row.label) for rows in layout.rows.values() for row in rows)
    return {
        "layout": layout.name,
        "images": layout.images,
        "parts": {part: len(rows) for part, rows in layout.rows.items()},
        # Pairs: what a person calls a class is a value, never a key.
        "classes": [list(pair) for pair in classes.most_common(MOST_CLASSES)],
        "class_count": len(classes),
        "problems": [],
        "warnings": [problem.as_plain() for problem in layout.warnings],
    }
