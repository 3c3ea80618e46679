"""What is particular to the scan that numba compiles."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from spectrakit.scans import compiled

LN2 = math.log(2)


def decays(rates):
    """exp(rates) as the scan computes it: what is left of a state of one after a step of one."""
    channels = len(rates)
    step = torch.ones(1, channels, 2)
    u, key, query = (torch.tensor([[x]]) for x in ([1.0, 0.0], [1.0, 1.0], [1.0, 1.0]))
    y, _ = compiled.selective_scan(
        step, u.expand(1, channels, 2), rates.unsqueeze(1), key, query, skip=None
    )
    return y[0, :, 1]


def test_exponentials_over_the_whole_range():
    rates = torch.linspace(-87, 87, 30_011)
    # A log2(e) is rounded once more than A.
    bound = 3e-7 + rates.abs().double() * 2**-23
    error = (decays(rates).double() / rates.double().exp() - 1).abs()
    assert bool((error <= bound).all())


def test_extreme_exponentials():
    smallest = torch.finfo(torch.float32).tiny
    found = decays(torch.tensor([0.0, -88.0, -1e30, -math.inf, math.nan, LN2, 1e30]))
    assert found[0] == 1
    assert bool((found[1:4] == smallest).all())
    assert found[4].isnan()
    assert found[5] == pytest.approx(2, rel=1e-6)
    assert found[6] > 1e38


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(threads):
    torch.manual_seed(0)
    call = (torch.rand(2, 100, 9), torch.randn(2, 100, 9), -torch.rand(100, 5),
            torch.randn(2, 5, 9), torch.randn(2, 5, 9), torch.randn(100))  # fmt: skip
    expected = compiled.selective_scan(*call)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = compiled.selective_scan(*call)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, found, expected))


def test_where_nothing_can_be_cached_it_is_compiled_anyway(monkeypatch):
    def njit(*_, cache=False, **__):
        if cache:
            message = "cannot cache function '_scan_tile': no locator available"
            raise RuntimeError(message)
        return lambda function: function

    monkeypatch.setattr(compiled.numba, "njit", njit)
    assert compiled._compiled_scan_tile() is compiled._scan_tile


_IN_ANOTHER_PROCESS = (
    "import warnings; warnings.simplefilter('error')\n"
    "from spectrakit.scans import compiled\n"
    "print(sum(compiled._scan.stats.cache_hits.values()))"
)


@pytest.mark.slow
def test_a_second_process_does_not_compile_again(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", _IN_ANOTHER_PROCESS]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["0", "1"]
    assert [run.stderr for run in runs] == ["", ""]


def test_numba_is_imported_with_the_first_large_scan():
    code = (
        "import sys, torch, spectrakit.architectures, spectrakit.scans.substitutes as s\n"
        "scan = s.fast_scan('mamba_selective_scan', None)\n"
        "small = torch.rand(1, 2, 3)\n"
        "scan(small, small, small[0, :, :1], small[:, :1], small[:, :1])\n"
        "print('numba' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
