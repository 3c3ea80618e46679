"""A live module is read where it is, run as it is, and left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import AnalysisError, UnsupportedError
from tests.in_memory.held import TOKENS, config_of, loaded, observed
from tests.support.live import left_as_it_was

# ---- it is not copied ----------------------------------------------------------------------


def test_what_is_read_is_the_modules_own_memory(mamba):
    model = sk.from_model(mamba)
    for name, tensor in model.checkpoint.read(model.checkpoint.tensors).items():
        assert tensor.data_ptr() == mamba.state_dict()[name].data_ptr()
    runnable = model.load()
    assert runnable.model is mamba


def test_a_state_dict_is_shared_with_what_data_mode_runs():
    tensors = loaded().state_dict()
    model = sk.from_state_dict(tensors, config=config_of("tiny-mamba"))
    own = {tensor.data_ptr() for tensor in tensors.values()}
    assert {tensor.data_ptr() for tensor in model.load().model.parameters()} <= own


def test_a_middle_sized_module_is_read_in_little_memory():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=20_000, hidden_size=512, num_hidden_layers=4)
    with quiet_transformers():
        module = MambaForCausalLM(config)
    size = sum(p.numel() * 4 for p in module.parameters())
    before = allocated()
    model = sk.from_model(module)
    sk.analyze(model)
    assert allocated() - before < size / 4


def allocated():
    """The most memory that this process has had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_recurrence_stays_what_it_was_when_it_was_read(mamba):
    module = copy.deepcopy(mamba).double()
    recurrence = sk.from_model(module).recurrence(0)
    before = recurrence.eigenvalues().log_modulus.clone()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert torch.equal(recurrence.eigenvalues().log_modulus, before)
    assert not torch.equal(sk.from_model(module).recurrence(0).eigenvalues().log_modulus, before)


# ---- it is left as it was -------------------------------------------------------------------


class CallbackError(Exception):
    """What a user's own callback raises."""


@pytest.mark.parametrize("name", ["tiny-mamba2", "tiny-llama"])
def test_it_is_as_it_was_after_an_error_too(name):
    module = loaded(name).train()
    module.activation_checkpointing_enable()
    runnable = sk.from_model(module).load()

    def fail(*_):
        raise CallbackError

    places = torch.zeros(2, 1, dtype=torch.long)
    for broken in (
        lambda: runnable.run(TOKENS, fail),
        lambda: runnable.run(TOKENS, on_states=fail),
        lambda: runnable.run_mixers(TOKENS, fail, fail),
        lambda: runnable.run(TOKENS + 10_000),
        lambda: runnable.logits(TOKENS + 10_000, places),
    ):
        with left_as_it_was(module), pytest.raises((CallbackError, IndexError)):
            broken()


def test_it_runs_in_evaluation_whatever_is_around(llama):
    module = copy.deepcopy(llama).train()
    module.config.attention_dropout = 0.5
    for layer in module.model.layers:
        layer.self_attn.attention_dropout = 0.5
    module.activation_checkpointing_enable()
    calls = []
    module.model.layers[0].register_forward_hook(lambda *_: calls.append(module.training))
    expected = observed(sk.from_model(llama))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad(), left_as_it_was(module):
        found = observed(sk.from_model(module))
    assert all(map(torch.equal, found, expected))
    assert calls == [False]  # the user's hooks are part of the module


def with_dropout(own, _, output):
    return nn.functional.dropout(output, 0.5, training=own.training)


def test_training_goes_on_as_if_nothing_had_been(llama):
    losses = []
    for watched in (False, True):
        torch.manual_seed(0)
        module = copy.deepcopy(llama).train()
        module.model.layers[0].mlp.register_forward_hook(with_dropout)
        optimizer = torch.optim.AdamW(module.parameters())
        for _ in range(2):
            loss = module(input_ids=TOKENS, labels=TOKENS).loss
            if watched:
                sk.from_model(module).load().run(TOKENS, lambda *_: None)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == losses[1]


def test_a_pass_that_writes_into_weights_is_told(mamba):
    module = copy.deepcopy(mamba)

    def write(own, _):
        own.weight.mul_(1)

    module.backbone.norm_f.register_forward_pre_hook(write)
    with pytest.raises(AnalysisError, match=r"wrote into backbone\.norm_f\.weight"):
        sk.from_model(module).load().run(TOKENS)


def test_buffers_that_a_pass_writes_into_are_put_back(mamba):
    module = copy.deepcopy(mamba).train()
    norm = module.backbone.norm_f
    norm.register_buffer("seen", torch.zeros(3))

    def count(own, _):
        own.seen += 1
        own.passes = 1
        own.extra = nn.Linear(1, 1)

    norm.register_forward_pre_hook(count)
    with left_as_it_was(module):
        sk.from_model(module).load().run(TOKENS)
    assert not norm.seen.any()


def test_rwkv_is_run_whole_and_left_halved(tmp_path):
    from tests.families import FAMILIES
    from tests.support.live import live

    family = next(family for family in FAMILIES if family.model_type == "rwkv")
    module = live(family, tmp_path).eval()
    with sk.open_checkpoint(str(tmp_path)) as files:
        expected = observed_of(files, family)
    with left_as_it_was(module):
        whole = observed_of(sk.from_model(module), family)
    with torch.no_grad():
        module(input_ids=family.token_ids(), use_cache=False)
    assert module.rwkv.layers_are_rescaled
    with left_as_it_was(module):
        halved = observed_of(sk.from_model(module), family)
    assert all(map(torch.equal, whole, expected))
    assert all(map(torch.equal, halved, expected))


def observed_of(model, family):
    states = []
    model.load().run(family.token_ids(), on_states=lambda _, seen: states.append(seen.clone()))
    return states


# ---- weights drawn anew ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["weights", "data"])
def test_random_weights_are_those_of_a_copy(mamba, mode, ids):
    source = ids if mode == "data" else None

    def drawn(model):
        run = sk.analyze(model, mode=mode, source=source, randomize="all", seed=3)
        assert run.manifest.revision.startswith("random-all-3-")
        return run.table("spectrum_summary").drop_columns(["model_id", "revision"])

    with left_as_it_was(mamba):
        found = drawn(sk.from_model(mamba))
    assert found.equals(drawn("tiny-mamba"))


def test_random_weights_of_a_state_dict_leave_it_as_it_is(ids):
    tensors = loaded().state_dict()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    model = sk.from_state_dict(tensors, config=config_of("tiny-mamba"))
    sk.analyze(model, mode="data", source=ids, randomize="mixers")
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_a_module_that_cannot_be_copied_is_not_randomized(mamba, ids):
    module = copy.deepcopy(mamba)
    module.last = module.backbone.norm_f.weight * 2  # of a graph
    with left_as_it_was(module), pytest.raises(UnsupportedError, match="cannot be copied"):
        sk.analyze(sk.from_model(module), mode="data", source=ids, randomize="all")
