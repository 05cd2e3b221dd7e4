"""Write the options of each script, as its --help says them, into docs/reference.md.

Reads   the output of `python SCRIPT --help`
Writes  docs/reference.md, between the lines BEGIN and END; the rest of the page is written by hand

    python docs/write_reference.py      or `make docs`
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
SCRIPTS = (
    "generate_raw_dataset.py",
    "data_ingestion.py",
    "model_training.py",
    "model_analysis.py",
    "model_prediction.py",
    "export_model.py",
    "run_queue.py",
    "web_ui.py",
)
BEGIN = "<!-- `make docs` writes what follows from --help. Change the text in the script. -->\n"
END = "<!-- Here ends what `make docs` writes. -->\n"


def main() -> int:
    PAGE.write_text(with_options(PAGE.read_text()))
    return 0


def with_options(page: str) -> str:
    """The page with the options that the scripts have now."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    sections = (section(script, help_of(script)) for script in SCRIPTS)
    return f"{before}{BEGIN}\n{''.join(sections)}{END}{after}"


def help_of(script: str) -> str:
    # The width and the colours of a terminal must not decide what the page says.
    environment = {**os.environ, "COLUMNS": "10000", "PYTHON_COLORS": "0"}
    ended = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


def section(script: str, text: str) -> str:
    """Markdown for one script: what it is, and a row for each option."""
    about, listed = text.split("\noptions:\n")
    about = about.split("\n\n", 1)[1].strip("\n")  # without the usage
    rows = "".join(f"| `{name}` | {_cell(what)} |\n" for name, what in options_in(listed))
    return f"### {script}\n\n```\n{about}\n```\n\n| option | |\n| --- | --- |\n{rows}\n"


def options_in(listed: str) -> list[tuple[str, str]]:
    """Each option with its metavar, and its text, which stands on the next line after a long name."""
    options: list[tuple[str, str]] = []
    for line in listed.splitlines():
        if line.startswith("  -"):
            name, *what = re.split(r"\s{2,}", line.strip(), maxsplit=1)
            options.append((name, "".join(what)))
        elif line.strip():
            name, what = options.pop()
            options.append((name, f"{what} {line.strip()}".strip()))
    return options


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
