"""Messages say "1 image", never "1 images"."""

import ast
import re
from pathlib import Path

from pipeline.stage.text import count

ROOT = Path(__file__).resolve().parent.parent

COUNTED = (
    "batches|bytes|characters|checkpoints|classes|columns|datasets|entries|epochs|files|folders|images"
    "|inputs|labels|members|models|numbers|pairs|pictures|problems|rows|runs|sets|steps|tables|warnings"
    "|workers"
)
BEFORE = "(?:(?:training|test|listed|more|other) )?"
AFTER_A_VALUE = re.compile(rf"^ {BEFORE}(?:{COUNTED})\b")
IN_A_FORMAT = re.compile(rf"%[sd] {BEFORE}(?:{COUNTED})\b")
# Of these there are always several, or no number is before the word.
SEVERAL = {
    " training images",  # of a limit
    " training images: ",
    " test images that the model had never seen.\n\n  raw dataset   ",  # of the demo
    " bytes, at most ",  # more than so many
    " bytes",  # of a limit, or of a file's header
    " bytes of pixels",  # of a whole image
    " columns, at most ",  # more than so many
    " files hold ",  # a name is before it
    " folders",  # the deepest there may be
    " images",  # of the batch that tries a model
    " labels:",
    " rows",  # "1 row" is another branch
    " rows, expected classes.",  # 20 or more
    " runs on one test part looks better than it is",  # of more than one run
    " tables name images and classes: ",
    " bytes, the most for an archive of its size",
    " bytes, expected ",  # a name that is too long
    " bytes.\n",
    " bytes.",  # of limits
    " bytes at the most.",
    " characters, at most ",  # too many
    " other runs",  # of more than one
}


def plurals_in(tree):
    """Each text that follows a value in an f-string, or holds one in a format, with such a word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                after = isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant)
                if after and AFTER_A_VALUE.match(text.value):
                    yield text.lineno, text.value
        elif isinstance(node, ast.Constant) and IN_A_FORMAT.search(str(node.value)):
            yield node.lineno, node.value


def test_no_message_counts_one_thing_as_several():
    found = [
        (path.name, line, text)
        for pattern in ("*.py", "pipeline/**/*.py", "models/*.py")
        for path in ROOT.glob(pattern)
        for line, text in plurals_in(ast.parse(path.read_text()))
        if text not in SEVERAL
    ]
    assert found == []


def test_it_sees_them():
    seen = 'f"{n} epochs"', 'f"{n:,} test images of"', 'log.info("%d epochs", n)', '"%s classes"'
    assert all(list(plurals_in(ast.parse(code))) for code in seen)
    fine = "f\"{count(n, 'image')} in\"", 'f"{n} of the images"', '"images: %d"'
    assert not any(list(plurals_in(ast.parse(code))) for code in fine)
    assert (count(1, "class", "classes"), count(1399, "image")) == ("1 class", "1,399 images")
