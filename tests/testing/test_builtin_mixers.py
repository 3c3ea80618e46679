"""The mixers that ship with spectrakit run through the checks that any plugin's do."""

from __future__ import annotations

import pytest
import torch

from spectrakit.mixers import DSS, LRU, RGLRU, S4, S4D, S5, LinearAttention, Mamba, Mamba2
from spectrakit.mixers.convolved_attention import ConvolvedAttention, Rotary
from spectrakit.mixers.delta_layer import DeltaNet
from spectrakit.mixers.dense import DenseRecurrence
from spectrakit.mixers.norm_attention import NormAttention
from spectrakit.mixers.pseudo_lti import PseudoLTIMamba2
from spectrakit.mixers.s4_parameters import S4Parameters
from spectrakit.mixers.short_convolution import ShortConvolution
from spectrakit.plugins import plugins
from spectrakit.testing import MixerExample, parametrize_with_checks, random_parameters
from tests.families import FAMILIES
from tests.mixers import (
    test_convolved_attention,
    test_delta_layer,
    test_dense,
    test_dss,
    test_linear_attention,
    test_lru,
    test_mamba,
    test_mamba2,
    test_pseudo_lti,
    test_rg_lru,
    test_s4,
    test_s4d,
    test_s5,
)
from tests.support.convolution import convolved
from tests.testing.test_builtin_architectures import EXAMPLES as FILES

TOKENS = 21


def written_out(mixer, width, reference, parameters=None):
    """A mixer with `from_input`, on inputs of `width`; `reference(mixer, hidden, p)`."""
    torch.manual_seed(3)
    return MixerExample(
        mixer.name,
        mixer,
        random_parameters(mixer) if parameters is None else parameters,
        torch.randn(2, TOKENS, width, dtype=torch.float64),
        lambda hidden, p: reference(mixer, hidden, p),
    )


def static(mixer, inputs, parameters, reference):
    """A mixer that is all in its weights, driven by `inputs` (H, P); `reference(inputs, p)`."""
    torch.manual_seed(3)
    widened = {
        role: value.double() if value.is_floating_point() else value
        for role, value in parameters.items()
    }
    hidden = torch.randn(2, TOKENS, *inputs, dtype=torch.float64)
    return MixerExample(mixer.name, mixer, widened, hidden, reference)


def short_convolution(mixer, hidden, p):
    b, c, x = (hidden @ p["input_projection"].T).chunk(3, -1)
    y = torch.zeros_like(x)
    for lag in range(mixer.width):
        weight = p["convolution"][:, 0, mixer.width - 1 - lag]
        y[:, lag:] += weight * (b * x)[:, : TOKENS - lag] if lag < len(hidden[0]) else 0
    return (c * y) @ p["output_projection"].T


def examples():
    mamba = Mamba(model_width=5, channels=8, state_size=3, step_rank=2)
    yield written_out(mamba, 5, test_mamba.quadratic_form, test_mamba.random_parameters(mamba, 0))
    mamba2 = Mamba2(model_width=5, heads=6, head_width=3, state_size=4, groups=2)
    yield written_out(
        mamba2, 5, test_mamba2.quadratic_form, test_mamba2.random_parameters(mamba2, 0)
    )
    linear = LinearAttention(model_width=5, heads=3, state_size=4, head_width=2)
    yield written_out(linear, 5, test_linear_attention.all_pairs)
    norm = NormAttention(model_width=5, heads=3, state_size=4, head_width=2)
    yield written_out(norm, 5, test_linear_attention.all_pairs_of_norm_attention)
    yield written_out(RGLRU(channels=6, blocks=2), 6, test_rg_lru.products_written_out)
    yield written_out(ShortConvolution(5, 3), 5, short_convolution)

    lru = LRU(4, 5)
    yield static(lru, (1, 4), test_lru.random_parameters(lru, 0), test_lru.convolution)
    s5 = S5(3, 4, "zoh", conjugate_symmetry=True, clipped=True)
    yield static(
        s5, (1, 3), test_s5.random_parameters(s5, 0),
        lambda inputs, p: test_s5.convolution(s5, inputs, p),
    )  # fmt: skip
    dss = DSS(3, 4, "exp", feedthroughs=0, separate_steps=False)
    yield static(
        dss, (3, 1), test_dss.random_parameters(dss, 0),
        lambda inputs, p: convolved(test_dss.kernel_of(dss, p, inputs.shape[1]), inputs),
    )  # fmt: skip
    shapes = {
        "A_real": (1, 3), "A_imag": (1, 3), "step": (4,), "B": (1, 1, 3, 2), "C": (1, 4, 3, 2),
        "D": (1, 4),
    }  # fmt: skip
    s4d = S4Parameters(shapes)
    yield static(
        S4D(s4d, "zoh"), (4, 1), test_s4d.random_parameters(s4d, 0),
        lambda inputs, p: test_s4d.plus_feedthrough(
            p, convolved(test_s4d.vandermonde(s4d, p, "zoh", inputs.shape[1]), inputs), inputs
        ),
    )  # fmt: skip
    s4 = S4Parameters(shapes | {"P": (1, 1, 3, 2)})
    parameters = test_s4.random_parameters(s4, 0, 0)
    del parameters["kernel_length"]  # the mixer is told
    yield static(
        S4(s4, kernel_length=0), (4, 1), parameters,
        lambda inputs, p: test_s4d.plus_feedthrough(
            p, convolved(test_s4.kernel_by_powers(s4, p, inputs.shape[1]), inputs), inputs
        ),
    )  # fmt: skip
    attention = ConvolvedAttention(
        heads=4, model_width=5, groups=2, head_width=6, convolution_width=3, rotary=Rotary(4, 100.0)
    )
    yield written_out(attention, 5, test_convolved_attention.naive_attention)
    dense = DenseRecurrence(4, 5)
    yield static(dense, (1, 4), test_dense.random_parameters(dense, 0), test_dense.convolution)
    delta = DeltaNet(heads=2, head_width=3, state_size=4, groups=2, model_width=5, negative=True)
    yield written_out(
        delta, 5, test_delta_layer.products, test_delta_layer.random_parameters(delta, 0)
    )
    fixed = PseudoLTIMamba2(model_width=5, heads=6, head_width=3, state_size=4, groups=2)
    yield written_out(
        fixed, 5, test_pseudo_lti.quadratic_form, test_pseudo_lti.random_parameters(fixed, 0)
    )


EXAMPLES = list(examples())


@parametrize_with_checks(EXAMPLES)
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", sorted(plugins().register().mixers.things))
def test_every_mixer_is_checked(name):
    checked = {example.mixer.name for example in EXAMPLES}
    checked |= {kind for family in (*FAMILIES, *FILES) for kind in family.kinds}
    assert name in checked
