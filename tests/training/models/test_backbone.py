"""The backbone: saved and read back, generating, padded, dropped out; and what makes no model."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.training.models.backbone import model_of
from spectrakit.training.models.blocks import flipped
from spectrakit.training.models.config import SpectrakitConfig
from spectrakit.training.models.described import DEFAULTS
from spectrakit.training.models.losses import hits, summed_loss
from tests.training.models.test_layers import SMALL, built, config


@pytest.mark.parametrize("name", SMALL)
def test_it_is_saved_and_read_back_as_it_was(name, tmp_path):
    model = built(name, torch.float32, conv=3, gate=True, positions="absolute")
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is type(model)
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    ids = torch.randint(11, (2, 9))
    assert torch.equal(model.eval()(ids).logits, again.eval()(ids).logits)


def test_a_classifier_is_read_back_too(tmp_path):
    torch.manual_seed(0)
    model = model_of(config("lru", head="classifier", num_labels=3, inputs="values"))
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids = torch.randint(11, (2, 9))
    assert again(ids).logits.shape == (2, 3)
    assert torch.equal(model.eval()(ids).logits, again.eval()(ids).logits)


def test_recurrences_stay_in_float32_where_the_rest_is_half(tmp_path):
    built("s4d", torch.float32).save_pretrained(tmp_path)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, parameter in half.named_parameters():
        own = name.rpartition(".")[2] in ("A_real", "A_imag", "step")
        assert parameter.dtype == (torch.float32 if own else torch.bfloat16), name
    assert half(torch.randint(11, (1, 9))).logits.isfinite().all()


def test_bfloat16_autocast_leaves_finite_gradients_in_float32():
    for name in SMALL:
        model = built(name, torch.float32)
        ids = torch.randint(11, (2, 30))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        for parameter in model.parameters():
            assert parameter.grad.dtype == torch.float32
            assert parameter.grad.isfinite().all()


def test_it_generates_what_its_own_scores_say():
    model = built("mamba2", torch.float32).eval()
    ids = torch.randint(11, (1, 5))
    found = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    wanted = ids
    for _ in range(4):
        wanted = torch.cat([wanted, model(wanted).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("name", ["mamba", "s4d", "softmax"])
def test_padding_changes_nothing(name, bidirectional, pooling):
    torch.manual_seed(0)
    given = {"head": "classifier", "pooling": pooling, "bidirectional": bidirectional}
    model = model_of(config(name, **given)).double().eval()
    long, short = torch.randint(11, (1, 12)), torch.randint(11, (1, 7))
    padded = torch.cat([short, torch.randint(11, (1, 5))], 1)
    ids = torch.cat([long, padded])
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    together = model(ids, attention_mask=mask).logits
    assert torch.allclose(together[0], model(long).logits[0], atol=1e-10)
    assert torch.allclose(together[1], model(short).logits[0], atol=1e-10)


def test_padding_before_a_text_is_refused():
    mask = torch.ones(2, 5, dtype=torch.long)
    mask[0, 0] = 0
    with pytest.raises(UnsupportedError, match="padding before or within"):
        built("s4d")(torch.randint(11, (2, 5)), attention_mask=mask)


def test_reversing_stays_within_each_sequence():
    x = torch.arange(10).view(2, 5, 1)
    assert flipped(x, torch.tensor([5, 3]))[:, :, 0].tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9]]
    assert flipped(x, None)[:, :, 0].tolist() == [[4, 3, 2, 1, 0], [9, 8, 7, 6, 5]]


def test_a_model_that_reads_both_ways_is_symmetric_in_time_where_its_mixers_are_alike():
    torch.manual_seed(0)
    model = model_of(config("lru", head="classifier", bidirectional=True)).double()
    block = model.model.blocks[0]
    block.mixer_reverse.load_state_dict(block.mixer.state_dict())
    ids = torch.randint(11, (2, 9))
    assert torch.allclose(model(ids).logits, model(ids.flip(1)).logits, atol=1e-10)


def test_dropout_is_a_function_of_the_key_alone():
    model = built("s4d", dropout=0.5).train()
    ids, keys = torch.randint(11, (4, 9)), torch.tensor([3, 1, 4, 1 << 40])
    whole = model(ids, example_keys=keys).logits
    assert torch.allclose(whole[2:], model(ids[2:], example_keys=keys[2:]).logits, atol=1e-12)
    assert not torch.allclose(whole, model(ids, example_keys=keys + 1).logits)
    assert torch.equal(whole, model(ids, example_keys=keys).logits)
    model.eval()
    assert torch.equal(model(ids).logits, model(ids, example_keys=keys).logits)


def test_dropout_drops_as_often_as_it_says_and_keeps_the_mean():
    from spectrakit.training.models.dropout import KeyedDropout

    dropout = KeyedDropout(0.3, site=1).train()
    out = dropout(torch.ones(64, 50, 20), torch.arange(64))
    assert abs(float((out == 0).float().mean()) - 0.3) < 0.01
    assert abs(float(out.mean()) - 1) < 0.02
    other = KeyedDropout(0.3, site=2).train()(torch.ones(64, 50, 20), torch.arange(64))
    assert abs(float(((out == 0) & (other == 0)).float().mean()) - 0.09) < 0.01


def test_the_loss_is_cross_entropy_over_what_is_asked_for():
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    targets = torch.tensor([[1, -100, 4], [-100, -100, 0]])
    total, count = summed_loss(logits, targets)
    asked = [(0, 0, 1), (0, 2, 4), (1, 2, 0)]
    wanted = -sum(logits.log_softmax(-1)[place] for place in asked)
    assert int(count) == 3
    assert torch.allclose(total, wanted)
    logits[0, 0, 1] = logits[1, 2, 0] = 99
    logits[0, 2, 3] = 99
    assert int(hits(logits, targets)) == 2


def test_the_defaults_are_those_of_the_config():
    fresh = SpectrakitConfig()
    assert {key: getattr(fresh, key) for key in DEFAULTS} == dict(DEFAULTS)
    assert AutoConfig.for_model("spectrakit").model_type == "spectrakit"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mixer": "mambo"}, "unknown mixer 'mambo'"),
        ({"positions": "rope"}, "softmax attention"),
        ({"positions": "ropes"}, "one of: none, absolute, rope, alibi"),
        ({"mlp": "big"}, "one of: none, mlp, glu"),
        ({"hidden_size": 0}, "hidden_size = 0 is no size"),
        ({"num_hidden_layers": 1 << 30}, "is no size"),
        ({"dropout": 1.0}, "not a share below 1"),
        ({"mixer_options": {"states": 3}}, "option 'states' of mixer s4d"),
        ({"mixer_options": {"state_size": -1}}, "option 'state_size' of mixer s4d"),
        ({"mixer": "softmax", "mixer_options": {"heads": 3}}, "3 heads do not divide a width of 8"),
        ({"mixer": "lru", "mixer_options": {"r_min": 0.9, "r_max": 0.5}}, "a ring from r_min"),
        ({"frozen": ["everything"]}, "unknown group of parameters"),
    ],
)
def test_what_makes_no_model(changes, says):
    with pytest.raises(UsageError, match=says):
        model_of(config("s4d", **changes))


def test_sequences_beyond_learned_positions_or_kernels_are_refused():
    ids = torch.randint(11, (1, 81))
    with pytest.raises(UsageError, match="81 tokens"):
        built("s4")(ids)
    with pytest.raises(UsageError, match="81 tokens"):
        built("s4d", positions="absolute")(ids)
    assert copy.deepcopy(built("s4d"))(ids).logits.shape == (1, 81, 11)
