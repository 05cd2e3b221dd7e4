"""How fast is a raw dataset ingested, beside what people write for that? How do time and memory grow?

python benchmarks/ingestion.py             five minutes
QUICK=1 python benchmarks/ingestion.py     a minute, with a tenth of the images

Draws benchmarks/ingestion.png. With pip install -r benchmarks/requirements.txt; whom it does not
find it leaves out.
"""

import pickle
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from ingestion_peers import CORES, PEERS
from peer_runs import PeerRun
from photographs import SPLITS, link_part, make_raw_dataset, sort_by_class
from processes import ROOT
from tables import NOT_INSTALLED, QUICK, alternating, installed, markdown, progress, ratio, spread

ROUNDS = 3
SMALL, LARGE = (6_000, 300) if QUICK else (60_000, 5_000)
SOME = LARGE // 10  # to make a large one takes longer than to read it
COUNTS = (
    (1_000, 3_000, 6_000, 20_000) if QUICK else (1_000, 5_000, 20_000, 60_000, 200_000, 500_000)
)
US = "this project"
SLOW = "Hugging Face, imagefolder"
PLOT = ROOT / "benchmarks" / "ingestion.png"


def main() -> int:
    print("## How fast is a raw dataset ingested?\n")
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small", Path(name) / "large"
        progress(f"making {SMALL:,} images of 32 x 32")
        make_raw_dataset(small / "raw_dataset" / "photographs", SMALL, 32)
        sort_by_class(small / "raw_dataset" / "photographs", small / "by_class")
        print(f"{SMALL:,} images of 32 x 32, cut from photographs, on {CORES} cores:\n")
        compare(small, SMALL, 32, list(PEERS), ROUNDS)
        print(METHOD)
        progress(f"making {SOME:,} images of 512 x 512")
        make_raw_dataset(large / "some", SOME, 512)
        link_part(large / "some", large / "raw_dataset" / "photographs", LARGE)
        print(
            f"\n{LARGE:,} images of 512 x 512, {SOME:,} and links to them, made 64 x 64, one round:\n"
        )
        compare(large, LARGE, 64, [US, "OpenCV, a loop in one thread"], 1)
        shutil.rmtree(large)
        print("\n## How do the time and the memory of an ingestion grow?\n")
        grow(small / "raw_dataset" / "photographs", Path(name))
    return 0


METHOD = f"""
All make a pickle of arrays from the same files, which lie in memory, with the same pixels in it. They
take turns, {ROUNDS} rounds ({SLOW}: one), each time as a new process whose imports do not count; medians
(least-most). Only this project checks every byte, looks for changes before and after, and flushes the
result to the disk; the second that it waits for changes (`--settle`) is left out. Ratio: how many times
as fast this project is. CPU seconds, of all cores, depend less on what else the machine does. Memory:
the most that all processes of one took, what they share counted in each."""


def compare(folder: Path, count: int, size: int, names: list[str], rounds: int) -> None:
    there = [name for name in names if not PEERS[name][1] or installed(PEERS[name][1])]
    runs: dict[str, list[Run]] = {name: [] for name in there}

    def measured(name: str) -> float:
        runs[name].append(Run(name, folder, size))
        return runs[name][-1].seconds

    turns = {name: partial(measured, name) for name in there}
    slow = {SLOW: turns.pop(SLOW)} if SLOW in turns else {}
    times = {**alternating(turns, rounds), **(alternating(slow, 1) if slow else {})}
    sums = {run.sum for some in runs.values() for run in some} - {None}
    if len(names) > 2 and len(sums) != 1:
        raise SystemExit(f"they do not agree on the pixels: their sums are {sums}")
    rows = [
        row(name, count, times[name], times[US], runs[name])
        if name in there
        else [name, NOT_INSTALLED]
        for name in names
    ]
    print(markdown(HEADER, [[*one, *[""] * (len(HEADER) - len(one))] for one in rows]))
    array = count * size**2 * 3 / 1e6
    print(f"\nThe images alone are {array:.0f} MB; wanted are at most {1.3 * array + 200:.0f} MB.")


HEADER = ["", "seconds", "images/s", "ratio", "wanted", "CPU seconds", "memory"]


def row(
    name: str, count: int, times: list[float], ours: list[float], runs: list["Run"]
) -> list[str]:
    wanted = PEERS[name][2]
    return [
        name,
        spread(times),
        spread([count / seconds for seconds in times], ",.0f"),
        f"{ratio(ours[: len(times)], times):.2f}",
        f"{wanted:.1f}" if wanted else "",
        spread([run.cpu for run in runs]),
        f"{max(run.peak for run in runs) / 1e6:.0f} MB",
    ]


class Run(PeerRun):
    """One of the peers at work, once, and the sum of its pixels."""

    def __init__(self, name: str, folder: Path, size: int):
        super().__init__("ingestion_peers.py", name, folder, size)
        self.sum = None
        if self.path:
            with open(self.path, "rb") as file:
                content = pickle.load(file)
            self.sum = sum(int(content[split]["img"].sum()) for split in SPLITS)
        shutil.rmtree(folder / "made", ignore_errors=True)


def grow(whole: Path, folder: Path) -> None:
    rows, best = [], {}
    for count in COUNTS:
        part = folder / str(count)
        progress(f"linking {count:,} images")
        link_part(whole, part / "raw_dataset" / "photographs", count)
        runs = [Run(US, part, 32) for _ in range(ROUNDS if count <= SMALL else 1)]
        shutil.rmtree(part)
        best[count] = min(runs, key=lambda run: run.seconds)
        rows.append(
            [
                f"{count:,}",
                spread([run.seconds for run in runs]),
                f"{best[count].seconds / count * 1e6:.0f}",
                f"{best[count].cpu / count * 1e6:.0f}",
                f"{best[count].peak / 1e6:,.0f} MB",
                f"{count * 3072 / 1e6:,.0f} MB",
            ]
        )
    heads = ["seconds", "us per image", "CPU us per image", "memory", "the images alone"]
    print(markdown(["images of 32 x 32", *heads], rows))
    print(
        f"\nUp to {SMALL:,} images: {ROUNDS} rounds, and by image the fastest of them (in the first, the"
        " system may have forgotten the files). More are links to the same files, ingested once."
    )
    if not QUICK:
        draw(best)


def draw(best: dict[int, Run]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    counts, runs = list(best), list(best.values())
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(counts, [run.cpu for run in runs], "s-", label="CPU seconds")
    left.plot(counts, [run.seconds for run in runs], "o-", label="seconds")
    even = [count * best[SMALL].cpu / SMALL for count in counts]
    left.plot(counts, even, "--", color="grey", label="CPU seconds, all images alike")
    left.set(title="Time to ingest", ylabel="seconds")
    right.plot(counts, [run.peak / 1e6 for run in runs], "o-", label="most that was taken")
    alone = [count * 3072 / 1e6 for count in counts]
    right.plot(counts, alone, "--", color="grey", label="the images alone")
    right.set(title="Memory", ylabel="MB")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="images of 32 x 32")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.legend(frameon=False, loc="lower right")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, dpi=90)
    progress(f"drawn: {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
