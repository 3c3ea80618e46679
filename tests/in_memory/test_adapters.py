"""Models with adapters of PEFT in memory: what their layers compute with is what is read."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import spectrakit as sk
from spectrakit.architectures.random_weights import randomize
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import UnsupportedError
from tests.conftest import CHECKPOINTS
from tests.families import FAMILIES
from tests.in_memory.held import observed
from tests.support.live import left_as_it_was, live

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def llama():
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(CHECKPOINTS / "tiny-llama").train()


@pytest.fixture
def lfm(tmp_path):
    """A model whose weights mode reads a tensor that is a layer's weight."""
    return live(next(f for f in FAMILIES if f.model_type == "lfm2"), tmp_path)


# ---- a stand-in of the library's structure, which need not be installed ---------------------


class LoraLayer(nn.Module):
    """As `peft.tuners.lora.Linear` holds a layer and its adapters."""

    adapter_layer_names = ("lora_A", "lora_B")
    disable_adapters = False
    merged = False

    def __init__(self, base_layer, variant=None):
        super().__init__()
        self.base_layer = base_layer
        width, height = base_layer.weight.shape[1], base_layer.weight.shape[0]
        self.lora_A = nn.ModuleDict({"default": nn.Linear(width, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, height, bias=False)})
        self.lora_variant = {} if variant is None else {"default": variant}
        self.active_adapters = ["default"]

    @property
    def weight(self):
        return self.base_layer.weight

    def get_delta_weight(self, adapter):
        return self.lora_B[adapter].weight @ self.lora_A[adapter].weight

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class PeftModel(nn.Module):
    """As the library has it, around a model whose layers it has changed."""

    def __init__(self, model, is_prompt_learning=False):
        super().__init__()
        self.base_model = nn.Module()
        self.base_model.model = model
        self.peft_config = {}
        self.active_peft_config = type("Config", (), {"is_prompt_learning": is_prompt_learning})

    def get_base_model(self):
        return self.base_model.model


def with_stand_in(llama, **kwargs):
    torch.manual_seed(0)
    for layer in llama.model.layers:
        layer.self_attn.q_proj = LoraLayer(layer.self_attn.q_proj, **kwargs)
    return PeftModel(llama)


NAME = "model.layers.0.self_attn.q_proj.weight"


def test_the_weight_that_results_is_read_and_nothing_is_changed(llama):
    names = set(llama.state_dict())
    wrapped = with_stand_in(llama)
    layer = llama.model.layers[0].self_attn.q_proj
    expected = layer.base_layer.weight + layer.get_delta_weight("default")
    with left_as_it_was(wrapped):
        model = sk.from_model(wrapped)
        assert set(model.checkpoint.tensors) == names
        assert torch.equal(model.checkpoint.read([NAME])[NAME], expected)
        found = observed(model)
    for block in llama.model.layers:
        adapter = block.self_attn.q_proj
        adapter.base_layer.weight.data += adapter.get_delta_weight("default")
        block.self_attn.q_proj = adapter.base_layer
    for own, merged in zip(found, observed(sk.from_model(llama)), strict=True):
        torch.testing.assert_close(own, merged)


@pytest.mark.parametrize("state", ["merged", "disable_adapters", "none active"])
def test_an_adapter_that_is_out_of_use_adds_nothing(llama, state):
    wrapped = with_stand_in(llama)
    layer = llama.model.layers[0].self_attn.q_proj
    if state == "none active":
        layer.active_adapters = []
    else:
        setattr(layer, state, True)
    model = sk.from_model(wrapped)
    assert torch.equal(model.checkpoint.read([NAME])[NAME], layer.base_layer.weight)


def test_an_adapter_that_adds_no_matrix_is_refused_where_it_is_read(llama):
    model = sk.from_model(with_stand_in(llama, variant="dora"))
    with pytest.raises(UnsupportedError, match=r"an adapter \(LoraLayer\) changes model\.layers"):
        model.checkpoint.read([NAME])


def test_a_learned_prompt_is_not_run(llama):
    model = sk.from_model(PeftModel(llama, is_prompt_learning=True))
    with pytest.raises(UnsupportedError, match="puts a learned prompt before the tokens"):
        model.load()


def test_adapters_are_not_drawn_anew(llama):
    wrapped = with_stand_in(llama)
    model = sk.from_model(wrapped)
    with left_as_it_was(wrapped):
        runnable = model.load(to_change=True)
        with pytest.raises(UnsupportedError, match=r"is not made with .*q_proj\.base_layer"):
            randomize(runnable, model.layers, "all")


# ---- the library itself, where it is installed ----------------------------------------------


@pytest.fixture
def peft():
    return pytest.importorskip("peft")


def initialised(wrapped):
    torch.manual_seed(0)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return wrapped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_is_what_it_is_merged(peft, llama, dtype):
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["norm"])
    wrapped = initialised(peft.get_peft_model(llama.to(dtype), config)).to(dtype)
    with left_as_it_was(wrapped):
        model = sk.from_model(wrapped)
        found = observed(model)
        stored = model.checkpoint.read(model.checkpoint.tensors)
    merged = copy.deepcopy(wrapped).merge_and_unload()
    expected = merged.state_dict()
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], expected[name]) for name in stored)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for own, theirs in zip(found, observed(sk.from_model(merged)), strict=True):
        torch.testing.assert_close(own, theirs, rtol=tolerance, atol=tolerance)


def test_lora_of_a_layer_that_weights_mode_reads(peft, lfm):
    config = peft.LoraConfig(target_modules=["in_proj"])
    wrapped = initialised(peft.get_peft_model(lfm, config))
    with left_as_it_was(wrapped):
        model = sk.from_model(wrapped)
        for layer in model.layers:
            if layer.in_weights:
                model.recurrence(layer.index)


@pytest.mark.parametrize("options", [{"use_dora": True}, {}])
def test_other_adapters_run_and_are_not_added_up(peft, llama, options):
    kind = peft.LoraConfig if options else peft.IA3Config
    more = {} if options else {"feedforward_modules": []}
    wrapped = peft.get_peft_model(llama, kind(target_modules=["q_proj"], **options, **more))
    with left_as_it_was(wrapped):
        model = sk.from_model(wrapped)
        assert len(observed(model)) == 3
        with pytest.raises(UnsupportedError, match="changes model.layers.0"):
            model.checkpoint.read([NAME])


def test_prompt_tuning_has_weights_mode_alone(peft, llama):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = sk.from_model(peft.get_peft_model(llama, config))
    assert len(model.layers) == 3
    with pytest.raises(UnsupportedError, match="learned prompt"):
        model.load()
