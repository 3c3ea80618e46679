"""GPUs, told without torch and handed out one a model."""

from __future__ import annotations

import pytest

from spectrakit.spec import RunSpec
from spectrakit.zoo import gpus
from spectrakit.zoo.gpus import free_gpu, uses_gpu, visible_gpus


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """A machine with three of them."""
    for name in ("nvidia10", "nvidia2", "nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, ("0", "2", "10")),
        ("1,3", ("1", "3")),
        ("", ()),
        ("-1", ()),
        ("GPU-ab, 2", ("GPU-ab", "2")),
    ],
)
def test_those_that_cuda_would_see(monkeypatch, given, found):
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == found


@pytest.mark.usefixtures("devices")
def test_one_model_has_one(monkeypatch):
    spec = RunSpec(model="m", mode="data").record()
    assert free_gpu(spec, []) == "0"
    assert free_gpu(spec, ["0", "2"]) == "10"
    assert free_gpu(spec, ["0", "2", "10"]) is None
    assert free_gpu({**spec, "device": "cuda:1"}, ["0", "2", "10"]) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert free_gpu({**spec, "device": "cuda"}, []) == ""


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("settings", "uses"),
    [
        ({"mode": "data"}, True),
        ({"mode": "auto"}, True),
        ({"mode": "weights"}, False),
        ({"device": "cpu"}, False),
        ({"device": "cuda:1"}, True),
    ],
)
def test_what_runs_on_one(settings, uses):
    assert uses_gpu(RunSpec(model="m", **settings).record()) == uses


def test_a_machine_without(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not uses_gpu(RunSpec(model="m", mode="data").record())
    assert uses_gpu(RunSpec(model="m", device="cuda").record())


def test_models_wait_for_a_gpu(monkeypatch, tmp_path):
    """Three models and two GPUs, which nobody has: each process is shown one, none shared."""
    from concurrent.futures import ThreadPoolExecutor

    from spectrakit.zoo.children import Children
    from spectrakit.zoo.job import Job

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,9")
    children = Children(1, ["torch"])
    spec = RunSpec(model="tiny-mamba", mode="weights").record()
    jobs = [Job(str(i), spec, str(tmp_path / str(i)), "k", own=True) for i in range(3)]
    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(children.run, jobs))
    children.close()
    assert all(outcome.finished for outcome in outcomes), outcomes
