import pytest

from pipeline.stage import devices

GIB = 2**30


@pytest.fixture
def computer(monkeypatch):
    """Pretend to be a machine with so many cores, GPUs and so much memory."""

    def pretend(cores=2, gpus=(), memory=24 * GIB):
        monkeypatch.setattr(devices, "cores", lambda: cores)
        monkeypatch.setattr(devices, "memory", lambda: memory)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(gpus))

    return pretend


@pytest.mark.parametrize(
    ("setting", "found"), [("", []), ("-1", []), ("0", ["0"]), ("2, 5", ["2", "5"])]
)
def test_the_gpus_are_those_that_the_environment_allows(monkeypatch, setting, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert devices.gpus() == found


def test_there_is_a_core_and_memory():
    assert devices.cores() >= 1
    assert devices.memory() > GIB / 4


def test_auto_is_a_run_on_each_core_that_has_memory(computer):
    computer(cores=8, memory=64 * GIB)
    assert devices.worker_slots(None) == 8
    computer(cores=8, memory=7 * GIB)
    assert devices.worker_slots(None) == 3
    computer(cores=8, memory=GIB)
    assert devices.worker_slots(None) == 1


def test_auto_is_a_run_on_each_gpu_and_no_more_fit(computer):
    computer(cores=16, gpus=["0", "1", "2"])
    assert devices.worker_slots(None) == 3
    assert devices.worker_slots(2) == 2
    assert devices.worker_slots(5) == 3


def test_the_threads_are_shared_out(computer):
    computer(cores=8)
    assert devices.assign([], 1) == {"threads": 8}
    assert devices.assign([{"threads": 2}], 3) == {"threads": 2}
    assert devices.assign([], 20) == {"threads": 1}


def test_each_run_has_a_gpu_of_its_own(computer):
    computer(gpus=["3", "5"])
    assert devices.assign([], 2) == {"gpu": "3"}
    assert devices.assign([{"gpu": "3"}], 2) == {"gpu": "5"}
    assert devices.assign([{"gpu": "5"}], 2) == {"gpu": "3"}
