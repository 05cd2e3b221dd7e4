"""Each promise in prove/, tried on a few cases; `make prove` tries them all."""

import ast
import importlib
import operator
import subprocess
import sys
import types
from collections import Counter

import pytest

import constants
from prove import PROOFS, Missing, Result, crashes, mutate, scenes, some, system_calls
from prove.__main__ import NOT_TRIED, main
from prove.mutants import MUTANTS, Mutant
from testkit.processes import unmeasured

NEED_ROOT = ("disk_full", "lost_events")


@pytest.mark.prove
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.root] * (name in NEED_ROOT)) for name in PROOFS],
)
def test_the_promise_holds_in_a_few_cases(name):
    command = [sys.executable, "-m", "prove", "--few", name]
    ended = subprocess.run(
        command, cwd=constants.ROOT, env=unmeasured(), capture_output=True, text=True
    )
    if ended.returncode == NOT_TRIED:
        pytest.skip(ended.stdout.split("not tried: ")[1].split(" |")[0])
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr[-2000:]}"


def changing_calls(log, folder):
    """What each process changes in `folder`, in its order."""
    calls = [call for call in system_calls.calls_in(log, folder / "data") if call.changes]
    return sorted(
        [
            (call.name, [path.removeprefix(str(folder)) for path in call.paths])
            for call in calls
            if call.process == process
        ]
        for process in {call.process for call in calls}
    )


@pytest.mark.prove
def test_warm_processes_make_the_system_calls_of_the_scripts(tmp_path):
    try:
        system_calls.need_strace()
    except Missing as missing:
        pytest.skip(str(missing))
    [prepared] = scenes.prepared(scenes.RUN)
    with prepared.copy() as folder:
        options = system_calls.record(tmp_path / "log")
        script = [sys.executable, f"{prepared.scene.script}.py", *prepared.scene.options(folder)]
        strace = ["strace", "-f", "--seccomp-bpf", *options, *script, "--once"]
        subprocess.run(
            strace, cwd=constants.ROOT, env=unmeasured(), check=True, capture_output=True
        )
        cold = changing_calls(tmp_path / "log", folder)
    warm = changing_calls(prepared.folder / "log", prepared.folder / "undisturbed")
    assert cold == warm
    assert len(warm) == 2


@pytest.fixture
def proof(monkeypatch):
    """Makes a proof by the name of "fuzz" that has a given result."""

    def make(result):
        def prove(full):
            assert full
            if isinstance(result, Exception):
                raise result
            return result

        proof = types.SimpleNamespace(prove=prove, __doc__="Seven\nof seven.\n\nAll.")
        monkeypatch.setitem(sys.modules, "prove.fuzz", proof)

    return make


def test_a_kept_promise_is_a_row_and_exit_status_0(proof, capsys):
    proof(Result(7, 7, "7 tries"))
    assert main(["fuzz"]) == 0
    assert capsys.readouterr().out == "| fuzz: Seven of seven | 7 | 7 | 7 tries | 0 |\n"


@pytest.mark.parametrize(
    ("result", "said", "status"),
    [
        (Result(7, 6, "7 tries", ["the third"]), "broken: the third", 1),
        (Result(0, 0, "no tries"), "no tries", 1),
        (Missing("strace is not here."), "not tried: strace is not here.", NOT_TRIED),
    ],
)
def test_a_broken_or_untried_promise_is_told_by_the_exit_status(
    proof, capsys, result, said, status
):
    proof(result)
    assert main(["fuzz"]) == status
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_several_promises_are_a_table(capfd):
    assert main(["--few", "outside", "any_csv"]) == 0
    table = capfd.readouterr().out.splitlines()
    assert table[0] == "| promise | tried | held | figure | seconds |"
    assert [row.split(":")[0] for row in table[2:]] == ["| outside", "| any_csv"]


def test_an_unknown_proof_is_a_sentence(capsys):
    with pytest.raises(SystemExit):
        main(["none"])
    assert "invalid choice: 'none' (choose from 'half_copies'" in capsys.readouterr().err


def test_a_sample_is_spread_evenly():
    assert [case // 25 for case in some(range(100), False, 4)] == [0, 1, 2, 3]
    assert list(some(range(3), False, 4)) == [0, 1, 2]
    assert list(some(range(100), True, 4)) == list(range(100))


def test_a_sample_is_the_same_each_time_and_has_no_rhythm():
    assert some(range(1000), False, 50) == some(range(1000), False, 50)
    assert len({case % 20 for case in some(range(1000), False, 50)}) > 10


# The proofs are proven: without a guard, one turns red.


def test_each_proof_has_a_mutant_and_each_mutant_a_proof():
    assert {proof for mutant in MUTANTS for proof in mutant.proofs} == set(PROOFS)
    assert all(mutant.proofs for mutant in MUTANTS)
    assert set(Counter(mutant.guard for mutant in MUTANTS).values()) == {1}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_a_mutant_fits_the_code(mutant):
    before = (constants.ROOT / mutant.file).read_text()
    after = mutate.mutated(mutant, before)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))


@pytest.mark.parametrize("text", ["", "a guard, and a guard"])
def test_a_mutant_that_does_not_fit_is_a_sentence(text):
    mutant = Mutant("it is guarded", "helper.py", "a guard", "", ("kill",))
    with pytest.raises(
        mutate.Unfit, match=r'"it is guarded": its old text is [02] times in helper'
    ):
        mutate.mutated(mutant, text)


def test_no_proof_is_tried_while_a_mutant_does_not_fit(monkeypatch, capsys):
    unfit = Mutant("it is guarded", "helper.py", "no such guard", "", ("outside",))
    monkeypatch.setattr(mutate, "MUTANTS", [GUARDED, unfit])
    assert mutate.main(["outside"]) == 1
    [said] = capsys.readouterr().out.splitlines()
    assert said.startswith(
        'prove/mutants.py, "it is guarded": its old text is 0 times in helper.py, '
    )
    assert said.endswith(" Make the mutant fit the code: 'no such guard'")


GUARDED = Mutant(
    "a link ends inside",
    "pipeline/raw_data/folder_scan.py",
    "if stat.S_ISREG(status.st_mode) and target.startswith(self.allowed):",
    "if stat.S_ISREG(status.st_mode):",
    ("outside",),
)
HARMLESS = Mutant("nothing", "constants.py", 'VERSION = "', 'VERSION = "1', ("outside",))
BROKEN = Mutant(
    "it compiles",
    "pipeline/raw_data/raw_dataset.py",
    "import hashlib",
    "import hushlib",
    ("outside",),
)


@pytest.mark.slow
def test_a_proof_that_stays_green_or_fails_is_exit_status_1(monkeypatch, capsys):
    monkeypatch.setattr(mutate, "MUTANTS", [GUARDED])
    assert mutate.main(["outside"]) == 0
    [_, _, row, _, total] = capsys.readouterr().out.splitlines()
    assert row.startswith("| a link ends inside | `pipeline/raw_data/folder_scan.py` | outside | ")
    assert row.endswith(" of 84 |")
    assert total.startswith("1 mutants, 0 proofs that did not notice, ")
    monkeypatch.setattr(mutate, "MUTANTS", [HARMLESS, BROKEN])
    assert mutate.main(["outside"]) == 1
    said = capsys.readouterr().out
    assert "| nothing | `constants.py` | outside | **nothing: it stays green** |" in said
    assert "| **not judged: ModuleNotFoundError: No module named 'hushlib'** |" in said
    assert "2 mutants, 2 proofs that did not notice, " in said


@pytest.mark.parametrize("part", [*crashes.INGESTION_PARTS, *crashes.ANALYSIS_PARTS])
def test_each_part_that_a_fault_is_raised_in_is_there(part):
    module, name = part.split(":")
    assert callable(operator.attrgetter(name)(importlib.import_module(module)))
