"""What is kept to one thread has its threads back afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import threadpoolctl
import torch

from spectrakit._threads import one_blas_thread, one_thread


def blas_threads():
    np.linalg.qr(np.eye(3))
    libraries = threadpoolctl.threadpool_info()
    return [one["num_threads"] for one in libraries if one["user_api"] == "blas"]


def test_torch_has_one_thread_and_then_its_own_again():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_numpy_and_scipy_have_one_thread_and_then_theirs_again():
    with one_blas_thread():  # loads what there is
        pass
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas_threads() == before
    assert before
