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


def groups(monkeypatch, tmp_path, own, limits):
    """Pretend that /proc says `own` of this process, and that the control groups have these limits."""
    for name, limit in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{limit}\n")
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(devices, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(devices, "OWN_GROUPS", tmp_path / "own")


NO_LIMIT = 2**63 - 4096  # as version 1 says it
MIB = 2**20


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ("0::/\n", {"memory.max": 64 * MIB}),
        ("0::/a.slice/b\n", {"a.slice/b/memory.max": "max", "a.slice/memory.max": 64 * MIB}),
        ("0::/a/b\n", {"a/b/memory.max": 64 * MIB, "a/memory.max": 99 * MIB, "memory.max": "max"}),
        ("2:cpu:/\n1:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": 64 * MIB}),
        # In a container: the path is the host's.
        ("1:cpu,memory:/docker/f00\n", {"memory/memory.limit_in_bytes": 64 * MIB}),
    ],
    ids=["container", "service", "nested", "version 1", "container, version 1"],
)
def test_a_limit_of_memory_counts(monkeypatch, tmp_path, own, limits):
    groups(monkeypatch, tmp_path, own, limits)
    assert devices.memory() == 64 * MIB


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ("0::/a\n", {"a/memory.max": "max"}),
        ("0::/gone\n", {}),
        ("1:memory:/\n", {"memory/memory.limit_in_bytes": NO_LIMIT}),
        ("1:name=systemd:/\n", {"memory.max": 64 * MIB}),
    ],
)
def test_without_a_limit_it_is_the_memory_of_the_machine(monkeypatch, tmp_path, own, limits):
    groups(monkeypatch, tmp_path, own, limits)
    limited = devices.memory()
    monkeypatch.setattr(devices, "OWN_GROUPS", tmp_path / "not there")
    assert limited == devices.memory() > GIB / 4


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
