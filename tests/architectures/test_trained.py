"""What the conformance kit does not ask of models that the bundled trainer made."""

from __future__ import annotations

import pytest
import torch

import spectrakit as sk
from spectrakit.errors import UnsupportedError
from spectrakit.forward import padding_mask
from tests.training.models.test_layers import built

IDS = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))


def seen(model, ids, valid=None):
    outputs = []
    running = sk.from_model(model).load()
    running.run(ids, lambda _, observation: outputs.append(observation.output()), valid)
    return outputs


@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_behind_a_text_changes_nothing_in_what_is_seen(bidirectional):
    model = built("mamba2", num_hidden_layers=2, bidirectional=bidirectional).eval()
    valid = torch.ones_like(IDS, dtype=torch.bool)
    valid[1, 7:] = False
    mask = padding_mask(sk.from_model(model).load(), valid)
    assert (mask is not None) == bidirectional
    together, alone = seen(model, IDS, mask), seen(model, IDS[1:, :7])
    assert len(together) == len(alone) == (4 if bidirectional else 2)
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one[1, :7], other[0], atol=1e-10)


def test_padding_before_a_text_is_refused():
    valid = torch.ones_like(IDS, dtype=torch.bool)
    valid[0, 0] = False
    with pytest.raises(UnsupportedError, match="no padding before the text"):
        seen(built("s4d").eval(), IDS, valid)


def test_a_model_in_memory_is_run_itself_and_left_as_it_was():
    model = built("s4d", dropout=0.5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    running = sk.from_model(model).load()
    assert running.model is model
    (once,), (again,) = seen(model, IDS), seen(model, IDS)
    assert once.dtype == torch.float64
    assert torch.equal(once, again)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
