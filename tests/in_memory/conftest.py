"""Models that tests of this folder share; none of them changes one."""

from __future__ import annotations

import numpy as np
import pytest

from spectrakit.token_options import TokenOptions
from tests.in_memory.held import TOKENS, loaded


@pytest.fixture(scope="module")
def mamba():
    return loaded()


@pytest.fixture(scope="module")
def llama():
    return loaded("tiny-llama")


@pytest.fixture
def ids(tmp_path):
    np.save(tmp_path / "ids.npy", TOKENS.numpy())
    return TokenOptions(tokens=tmp_path / "ids.npy", batch_size=2, seq_len=24)
