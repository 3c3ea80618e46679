"""The token at which a layer stopped being numbers is named."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit import catalog
from spectrakit.analyses.adding import adding
from spectrakit.analyses.broken_tokens import first_broken_token
from spectrakit.architectures import Layer
from spectrakit.dynamics import (
    Contraction,
    DeltaRule,
    DiagonalDecay,
    OuterProduct,
    Recurrence,
    ScalarDecay,
)
from spectrakit.dynamics.maps import ScaledInput
from spectrakit.errors import AnalysisError
from spectrakit.token_options import TokenOptions

BATCH, TOKENS, HEADS, STATES = 2, 6, 3, 4
EVERY = torch.ones(BATCH, TOKENS, dtype=torch.bool)


def values(*shape, at=None, value=math.nan):
    """Ones (B, T, ...), but for one of them."""
    made = torch.ones(BATCH, TOKENS, *shape, dtype=torch.float64)
    if at is not None:
        made[at].view(-1)[-1] = value
    return made


def recurrence(operator, **maps):
    return Recurrence(
        operator, mode="data", gauge="unnormalised", head_axis="head", width=1, **maps
    )


FINE = ScalarDecay(-values(HEADS), STATES)
KEYS = values(HEADS, STATES, at=(1, 3))


@pytest.mark.parametrize(
    "broken",
    [
        recurrence(ScalarDecay(values(HEADS, at=(1, 3)), STATES)),
        recurrence(DiagonalDecay(-values(HEADS, STATES), values(HEADS, STATES, at=(1, 3)))),
        recurrence(DeltaRule(-values(HEADS), values(HEADS), KEYS)),
        recurrence(FINE, input_map=OuterProduct(KEYS)),
        recurrence(FINE, input_map=OuterProduct(torch.complex(KEYS, KEYS))),
        recurrence(FINE, input_map=OuterProduct(values(HEADS, STATES, at=(1, 3), value=math.inf))),
        recurrence(
            FINE,
            input_map=ScaledInput(OuterProduct(values(HEADS, STATES)), values(HEADS, at=(1, 3))),
        ),
        recurrence(FINE, output_map=Contraction(KEYS)),
    ],
    ids=["decay", "phase", "delta rule", "key", "complex", "infinite", "scale", "query"],
)
def test_it_is_found_in_every_part(broken):
    assert first_broken_token(broken, EVERY) == (1, 3)


def test_the_first_of_several_is_named():
    decay = values(HEADS, at=(1, 2))
    decay[0, 5] = math.nan
    assert first_broken_token(recurrence(ScalarDecay(decay, STATES)), EVERY) == (0, 5)


def test_what_is_padding_or_zero_is_not_broken():
    valid = EVERY.clone()
    valid[1, 3:] = False
    broken = recurrence(FINE, input_map=OuterProduct(KEYS))
    assert first_broken_token(broken, valid) is None
    gone = recurrence(ScalarDecay(values(HEADS, at=(1, 3), value=-math.inf), STATES))
    assert first_broken_token(gone, EVERY) is None


@pytest.fixture(scope="module")
def with_a_broken_letter(tmp_path_factory):
    """tiny-mamba2 whose embedding of "q" is NaN, and a text with one."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(catalog.folder() / "checkpoints" / "tiny-mamba2", folder / "m")
    weights = load_file(folder / "m" / "model.safetensors")
    weights["backbone.embeddings.weight"][ord("q")] = math.nan
    save_file(weights, folder / "m" / "model.safetensors", metadata={"format": "pt"})
    (folder / "t.txt").write_text("a quiet place")
    return folder


@pytest.mark.parametrize("analysis", ["spectrum", "lyapunov", "kernel", "memory"])
def test_every_analysis_names_layer_and_token(with_a_broken_letter, analysis):
    source = TokenOptions(text=str(with_a_broken_letter / "t.txt"))
    said = r"^layer 0 \(backbone\.layers\.0\.mixer\): .*: sequence 0 of its batch, token 2\n"
    with pytest.raises(AnalysisError, match=said):
        sk.analyze(str(with_a_broken_letter / "m"), analyses=analysis, source=source, mode="data")


@pytest.mark.parametrize(
    ("drive", "vectors"),
    [("model", "the residual stream"), ("mixers", "what the mixer of layer 0 is handed")],
)
def test_a_black_box_that_is_handed_no_numbers_names_the_token(
    with_a_broken_letter, drive, vectors
):
    source = TokenOptions(text=str(with_a_broken_letter / "t.txt"), max_tokens=8, seq_len=8)
    with pytest.raises(AnalysisError, match=rf"^{vectors} is NaN.*: sequence 0, token 2\n"):
        sk.analyze(
            str(with_a_broken_letter / "m"), analyses="empirical_memory", source=source,
            mode="data", drive=drive,
        )  # fmt: skip


def test_as_many_heads_as_tokens_are_no_attention():
    """Sequence and token are told from head and width by the layer, not by its shapes."""
    valid = torch.ones(2, 6, dtype=torch.bool)
    decay = torch.zeros(2, 6, 6, STATES)
    decay[1, 3, 5] = math.nan
    broken = recurrence(DiagonalDecay(decay))
    assert first_broken_token(broken, valid) == (1, 3)


def test_a_matrix_that_cannot_be_decomposed_names_the_layer():
    with (
        pytest.raises(AnalysisError, match=r"layer 3 \(a\): Matrix is not positive definite"),
        adding(Layer(3, "a", "mamba"), recurrence(FINE), None),
    ):
        np.linalg.cholesky(-np.eye(2))
