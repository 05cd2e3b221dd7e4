"""The parts that the scripts at the top are put together from.

Importing them takes a moment; Ctrl-C in that moment is no error, so it gets no traceback.
"""

import sys


def _show(kind: type[BaseException], error: BaseException, trace: object) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _show
