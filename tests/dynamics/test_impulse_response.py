"""What a fixed recurrence makes of a signal is its response to an impulse, convolved with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrakit.dynamics import ConstantInput, ConstantOutput, DiagonalDecay, Recurrence
from spectrakit.dynamics.impulse_response import convolved, impulse_response


def fixed(heads, states, inputs, *, feedthrough=True):
    generator = torch.Generator().manual_seed(heads + 10 * states + 100 * inputs)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Recurrence(
        DiagonalDecay(-drawn(heads, states).abs(), drawn(heads, states)),
        mode="static",
        gauge="unnormalised",
        head_axis="head",
        width=1,
        input_map=ConstantInput(torch.complex(drawn(heads, states, inputs), drawn(1, 1, 1))),
        output_map=ConstantOutput(torch.complex(drawn(heads, inputs, states), drawn(1, 1, 1))),
        feedthrough=drawn(heads, inputs) if feedthrough else None,
    )


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
    tokens=st.integers(1, 12),
    feedthrough=st.booleans(),
)
def test_it_is_what_running_the_recurrence_gives(sizes, tokens, feedthrough):
    heads, _, inputs = sizes
    recurrence = fixed(*sizes, feedthrough=feedthrough)
    direction = torch.linspace(-1, 2, heads * inputs, dtype=torch.float64)
    signal = torch.randn(2, tokens, dtype=torch.float64)
    driven = (signal.unsqueeze(-1) * direction).unflatten(-1, (heads, inputs))
    expected = recurrence.run(driven).flatten(2)
    found = convolved(impulse_response(recurrence, direction, tokens), signal)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_a_recurrence_without_maps_is_refused():
    recurrence = Recurrence(
        DiagonalDecay(-torch.ones(1, 2)), "nominal", "unnormalised", "channel", 1
    )
    with pytest.raises(ValueError, match="no input and output maps"):
        impulse_response(recurrence, torch.ones(1), 4)
