"""Modules under data parallelism, compilation, checkpointing and parametrization."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import spectrakit as sk
from spectrakit.errors import UnsupportedError
from tests.in_memory.held import assert_observes, config_of, loaded, observed, spectrum
from tests.support.live import left_as_it_was

# ---- wrappers -------------------------------------------------------------------------------


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        "gloo", rank=0, world_size=1, init_method=f"file://{tmp_path}/store"
    )
    yield
    torch.distributed.destroy_process_group()


def assert_is_tiny_mamba(model):
    with torch.random.fork_rng(), sk.open_checkpoint("tiny-mamba") as files:
        assert spectrum(model).equals(spectrum(files))
        assert_observes(model, files)


def test_under_data_parallelism(mamba, one_process):
    module = copy.deepcopy(mamba).train()
    wrapped = nn.parallel.DistributedDataParallel(module)
    with left_as_it_was(wrapped):
        model = sk.from_model(wrapped)
        assert model.checkpoint.tensors.keys() == module.state_dict().keys()
        assert_is_tiny_mamba(model)
    assert_observes(sk.from_model(nn.DataParallel(module)), sk.from_model(module))


def test_sharded_parameters_are_gathered_as_they_are_read_and_not_run(mamba, one_process):
    from torch.distributed.fsdp import fully_shard

    module = copy.deepcopy(mamba)
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    for layer in module.backbone.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    model = sk.from_model(module)
    assert spectrum(model).equals(spectrum(sk.from_model(mamba)))
    with pytest.raises(UnsupportedError, match="is sharded over several processes"):
        model.load()


@pytest.mark.parametrize("where", ["outside", "its body", "a block", "in place"])
def test_a_compiled_module_is_run_uncompiled_and_not_compiled_anew(mamba, where):
    module = copy.deepcopy(mamba).requires_grad_(False).eval()
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    run = module
    if where == "outside":
        run = torch.compile(module, backend=backend)
    elif where == "its body":
        module.backbone = torch.compile(module.backbone, backend=backend)
    elif where == "a block":
        layers = module.backbone.layers
        layers[0].norm = torch.compile(layers[0].norm, backend=backend)
    else:
        module.backbone.layers[0].norm.compile(backend=backend)
    torch._dynamo.reset()
    hidden = torch.randn(1, 3, module.config.hidden_size)
    inside = where in ("a block", "in place")
    call = (lambda: run.backbone.layers[0].norm(hidden)) if inside else None
    if call is not None:
        call()
        assert compiled
    count = len(compiled)
    with left_as_it_was(run):
        model = sk.from_model(run)
        assert model.checkpoint.tensors.keys() == mamba.state_dict().keys()
        assert model.checkpoint.module is module
        assert_is_tiny_mamba(model)
    if call is not None:
        call()
    assert len(compiled) == count


def test_checkpointed_blocks_are_looked_into(llama):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    module = copy.deepcopy(llama).train()
    module.model.layers[1] = checkpoint_wrapper(module.model.layers[1])
    model = sk.from_model(module)
    assert model.checkpoint.tensors.keys() == llama.state_dict().keys()
    with left_as_it_was(module):
        assert all(map(torch.equal, observed(model), observed(sk.from_model(llama))))


def test_names_of_wrappers_are_taken_off_a_state_dict():
    tensors = {f"module._orig_mod.{name}": own for name, own in loaded().state_dict().items()}
    model = sk.from_state_dict({"model": tensors, "step": 3}, config=config_of("tiny-mamba"))
    assert model.layers[0].parameters["A_log"] == "backbone.layers.0.mixer.A_log"
    with sk.open_checkpoint("tiny-mamba") as files:
        assert spectrum(model).equals(spectrum(files))


def test_a_weight_that_is_parametrized_is_what_the_layer_computes_with(mamba):
    class Doubled(nn.Module):
        def forward(self, bias):
            return 2 * bias

    module = copy.deepcopy(mamba)
    projection = module.backbone.layers[0].mixer.dt_proj
    nn.utils.parametrize.register_parametrization(projection, "bias", Doubled())
    name = "backbone.layers.0.mixer.dt_proj.bias"
    with left_as_it_was(module):
        model = sk.from_model(module)
        assert torch.equal(model.checkpoint.read([name])[name], projection.bias)
        assert model.checkpoint.tensors.keys() == mamba.state_dict().keys()
    assert not torch.equal(
        model.recurrence(0).eigenvalues().log_modulus,
        sk.from_model(mamba).recurrence(0).eigenvalues().log_modulus,
    )
