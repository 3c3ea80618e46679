"""`from_model` and `from_state_dict`: what `open_checkpoint` gives, of what is in memory."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import MalformedError, UnsupportedError, UsageError
from spectrakit.extraction import extract
from spectrakit.inspection import bad_tensors, inspect_model
from spectrakit.progress import Silent
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from tests.conftest import CHECKPOINTS
from tests.in_memory.held import TOKENS, assert_observes, config_of, loaded, observed, spectrum
from tests.support.live import left_as_it_was

# ---- what it is called, and which one it was ------------------------------------------------


def test_it_is_called_what_its_config_was_loaded_from(mamba):
    assert sk.from_model(mamba).checkpoint.model_id == "tiny-mamba"
    assert sk.from_model(mamba, name="step 3").checkpoint.model_id == "step 3"
    fresh = type(mamba)(mamba.config.__class__(**{**mamba.config.to_dict(), "_name_or_path": ""}))
    assert sk.from_model(fresh).checkpoint.model_id == "MambaForCausalLM"


def test_its_revision_is_of_its_weights_as_they_are(mamba):
    module = copy.deepcopy(mamba)
    model = sk.from_model(module)
    before = model.revision("data")
    assert before.startswith("memory-")
    assert len(before) == len("memory-") + 12
    assert model.revision("weights") == before  # a small model is hashed whole
    assert sk.from_model(copy.deepcopy(module)).revision("data") == before
    with torch.no_grad():
        module.backbone.layers[0].mixer.out_proj.weight[0, 0] += 1
    assert model.revision("data") != before


def test_the_revision_of_weights_mode_hashes_no_more_than_it_reads():
    tensors = {name: t.clone() for name, t in loaded().state_dict().items()}
    tensors["padding"] = torch.zeros(5 << 20)
    model = sk.from_state_dict(tensors, config=config_of("tiny-mamba"))
    part, whole = model.revision("weights"), model.revision("data")
    assert part.startswith("memory-part-")
    tensors["padding"][0] = 1
    assert model.revision("weights") == part
    assert model.revision("data") != whole
    tensors["backbone.layers.1.mixer.A_log"][0, 0] += 1
    assert model.revision("weights") != part


def test_the_manifest_says_that_it_was_in_memory(mamba, tmp_path, ids):
    run = sk.analyze(sk.from_model(mamba), mode="data", source=ids, out=tmp_path / "run")
    manifest = sk.read_run(tmp_path / "run").manifest
    assert (manifest.source, manifest.device, manifest.dtype) == ("memory", "cpu", "float32")
    assert manifest.revision == run.manifest.revision == sk.from_model(mamba).revision("data")


# ---- it is what files are -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-mamba2", "tiny-llama"])
def test_all_of_it_is_as_from_its_folder(name, ids):
    module = loaded(name)
    model = sk.from_model(module)
    with sk.open_checkpoint(name) as files:
        assert model.layers == files.layers
        assert model.architecture is files.architecture
        assert model.checkpoint.config.items() <= files.checkpoint.config.items()
        assert_observes(model, files)
        own, theirs = (
            extract(
                opened, None, RunSpec(model=name, mode="data", source=ids, device="cpu")
            ).tensors
            for opened in (model, files)
        )
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[key], theirs[key]) for key in own)
        inspections = [inspect_model(opened) for opened in (model, files)]
        assert inspections[0].layers == inspections[1].layers
        assert inspections[0].parameters == inspections[1].parameters


def test_hidden_states_scores_and_driven_mixers_are_those_of_files(llama):
    places = torch.tensor([[3, 23], [0, 7]])
    found = []
    with sk.open_checkpoint("tiny-llama") as files:
        for model in (sk.from_model(llama), files):
            runnable, states = model.load(), []
            runnable.run(TOKENS, on_states=lambda _, seen, states=states: states.append(seen + 0))
            outputs = []
            runnable.run_mixers(
                TOKENS, lambda *_: None, lambda _, out, outputs=outputs: outputs.append(out + 0)
            )
            scores = runnable.logits(TOKENS, places)
            found.append([*states, *outputs, scores, torch.tensor(runnable.most_tokens)])
    assert len(found[0]) == len(found[1]) > 6
    assert all(torch.equal(own, theirs) for own, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForSequenceClassification"])
def test_a_model_without_a_language_head_is_run_as_it_is(kind):
    import transformers

    with quiet_transformers():
        module = getattr(transformers, kind).from_pretrained(CHECKPOINTS / "tiny-llama")
    model = sk.from_model(module)
    for layer in model.layers:
        assert isinstance(module.get_submodule(layer.path), nn.Module)
    with left_as_it_was(module), sk.open_checkpoint("tiny-llama") as files:
        assert_observes(model, files)
    assert model.load().logits(TOKENS, torch.zeros(2, 1, dtype=torch.long)) is None


def test_the_language_model_beside_a_vision_tower_is_read(tmp_path):
    from transformers import AutoConfig, Gemma3ForConditionalGeneration

    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 99}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision)
    with quiet_transformers():
        module = Gemma3ForConditionalGeneration(config).train()
        module.save_pretrained(tmp_path)
    model = sk.from_model(module)
    with left_as_it_was(module):
        found = observed(model)
    with sk.open_checkpoint(str(tmp_path)) as files:
        assert all(map(torch.equal, found, observed(files)))
        places = torch.tensor([[1], [9]])
        scores = [opened.load().logits(TOKENS, places) for opened in (model, files)]
    assert torch.equal(*scores)


def test_an_encoder_in_memory_shows_its_hidden_states(tmp_path):
    from transformers import AutoConfig, BertForMaskedLM

    config = AutoConfig.for_model(
        "bert", num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=24,
        vocab_size=99,
    )  # fmt: skip
    with quiet_transformers():
        module = BertForMaskedLM(config).train()
        module.save_pretrained(tmp_path)
    valid = torch.ones_like(TOKENS, dtype=torch.bool)
    valid[0, 12:] = False

    def states_of(model):
        states = []
        model.load().run(TOKENS, None, valid, lambda _, seen: states.append(seen))
        return states

    with left_as_it_was(module):
        found = states_of(sk.from_model(module))
    assert len(found) == 3
    with sk.open_checkpoint(str(tmp_path)) as files:
        assert all(map(torch.equal, found, states_of(files)))


def test_every_analysis_runs_on_it_and_leaves_it_as_it_was(llama):
    llama.train()
    source = TokenOptions(tokenizer="bytes", batch_size=2, seq_len=24, max_tokens=48)
    with left_as_it_was(llama):
        run = sk.analyze(sk.from_model(llama), analyses=["all", "empirical_memory"], source=source)
    assert {"similarity", "propagation", "lyapunov", "empirical_memory"} <= set(run.tables)


# ---- other modules, and tensors without one -------------------------------------------------


@dataclasses.dataclass
class LibraryConfig:
    """As the mamba_ssm library has it."""

    d_model: int = 32
    n_layer: int = 2
    vocab_size: int = 99
    ssm_cfg: dict = dataclasses.field(default_factory=lambda: {"layer": "Mamba2", "headdim": 16})


def library_model():
    """Names and shapes of a model of mamba_ssm, which is not installed."""
    from spectrakit.mixers import Mamba2

    torch.manual_seed(0)
    mixer = Mamba2(32, heads=4, head_width=16, state_size=128, groups=1, convolution_width=4)
    names = {"A_log": "A_log", "D": "D", "input_projection": "in_proj.weight",
             "convolution": "conv1d.weight", "convolution_bias": "conv1d.bias",
             "output_projection": "out_proj.weight", "step_bias": "dt_bias",
             "norm": "norm.weight"}  # fmt: skip
    module = nn.Module()
    module.config = LibraryConfig()
    module.backbone = nn.Module()
    module.backbone.embedding = nn.Embedding(104, 32)
    module.backbone.norm_f = nn.RMSNorm(32)
    module.backbone.layers = nn.ModuleList()
    for _ in range(2):
        block = nn.Module()
        block.norm, block.mixer = nn.RMSNorm(32), nn.Module()
        for role, shape in mixer.shapes().items():
            if role in names:
                *path, last = names[role].split(".")
                holder = block.mixer
                if path:
                    holder = getattr(block.mixer, path[0], None) or nn.Module()
                    setattr(block.mixer, path[0], holder)
                setattr(holder, last, nn.Parameter(torch.rand(shape)))
        module.backbone.layers.append(block)
    return module


def test_a_module_of_another_library_is_read_by_its_own_config(tmp_path):
    module = library_model()
    with left_as_it_was(module):
        model = sk.from_model(module)
        assert model.architecture.name == "mamba-ssm"
        assert [layer.kind for layer in model.layers] == ["mamba2", "mamba2"]
        assert model.checkpoint.model_id == "Module"
        model.recurrence(1)
        assert len(observed(model)) == 2  # by equations, from the module's own weights
    tensors = {name: own.numpy() for name, own in module.state_dict().items()}
    other = sk.from_state_dict(tensors, config=LibraryConfig())
    assert spectrum(other).equals(spectrum(model))


def test_a_module_without_a_config_is_read_with_one(mamba):
    module = nn.Module()
    module.backbone = mamba.backbone
    with pytest.raises(UnsupportedError) as told:
        sk.from_model(nn.Linear(2, 2))
    assert "config={'model_type'" in told.value.hint
    model = sk.from_model(module, config=config_of("tiny-mamba"))
    assert spectrum(model).equals(spectrum(sk.from_model(mamba)))
    assert observed(model)


def test_the_model_inside_a_trainers_module_is_pointed_at(mamba):
    holder = nn.Module()
    holder.student = mamba
    with pytest.raises(UnsupportedError) as told:
        sk.from_model(holder)
    assert told.value.hint == "sk.from_model(module.student)"


def test_keys_of_a_config_are_put_over_the_modules_own(mamba):
    model = sk.from_model(mamba, config={"mixer_rms_eps": 1e-3})
    assert model.checkpoint.config["mixer_rms_eps"] == 1e-3
    assert model.revision("weights").startswith("config-")
    with pytest.raises(UsageError, match="nothing reads colour"):
        sk.from_model(mamba, config={"colour": 3})


def test_tensors_without_a_config_say_what_they_are_by_their_names():
    from tests.support.state_dicts import layers, minimal_s4d

    tensors = layers(minimal_s4d)
    arrays = {name: own.numpy() for name, own in tensors.items()}
    for given in (tensors, arrays, {"params": arrays}):
        model = sk.from_state_dict(given, name="mine")
        assert model.checkpoint.model_id == "mine"
        assert [layer.kind for layer in model.layers] == ["s4d", "s4d"]
        model.recurrence(1)
    assert model.checkpoint.read(model.checkpoint.tensors)


def test_arrays_that_may_not_be_written_into_are_read_where_they_are():
    array = np.arange(4.0)
    array.flags.writeable = False
    from spectrakit.checkpoints.in_memory import as_tensor

    assert as_tensor("x", array).data_ptr() == array.ctypes.data
    with pytest.raises(UnsupportedError, match="x is an array of"):
        as_tensor("x", np.array(["a"]))


# ---- tokenizers -----------------------------------------------------------------------------


def test_a_tokenizer_is_given_and_never_guessed(mamba):
    source = TokenOptions(seq_len=16, max_tokens=32)
    with pytest.raises(UsageError) as told:
        sk.analyze(sk.from_model(mamba), source=source)
    assert "tokenizer=" in told.value.hint
    expected = sk.analyze("tiny-mamba", source=source).table("spectrum_summary")
    folder = CHECKPOINTS / "tiny-mamba"
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast = PreTrainedTokenizerFast(tokenizer_object=own)
    for tokenizer in (str(folder), own, fast):
        with sk.from_model(mamba, tokenizer=tokenizer) as model:
            run = sk.analyze(model, source=source)
            assert run.manifest.contents["tokenizer"] is not None
        found = run.table("spectrum_summary")
        dropped = ["model_id", "revision"]
        assert found.drop_columns(dropped).equals(expected.drop_columns(dropped))


def test_bytes_are_a_tokenizer_too(llama):
    source = TokenOptions(seq_len=16, max_tokens=32)
    runs = [
        sk.analyze(sk.from_model(llama, tokenizer=given), source=options).table("spectrum_summary")
        for given, options in (("bytes", source), (None, bytes_of(source)))
    ]
    assert runs[0].equals(runs[1])


def bytes_of(source):
    return dataclasses.replace(source, tokenizer="bytes")


# ---- what is refused ------------------------------------------------------------------------


def test_it_runs_where_and_in_what_it_is(mamba, ids, caplog):
    model = sk.from_model(mamba)
    for device in ("auto", "cpu"):
        sk.analyze(model, mode="data", source=ids, device=device)
    with pytest.raises(UsageError, match="is on cpu and runs there, not on cuda"):
        sk.analyze(model, mode="data", source=ids, device="cuda")
    with pytest.raises(UsageError, match="is in float32 and runs in it, not in bfloat16"):
        sk.analyze(model, mode="data", source=ids, dtype="bfloat16")
    half = sk.from_model(copy.deepcopy(mamba).bfloat16())
    run = sk.analyze(half, mode="data", source=ids)
    assert run.manifest.dtype == "bfloat16"
    assert "is in bfloat16 and runs in it" in caplog.text
    assert sk.analyze(half, mode="data", source=ids, dtype="bfloat16").manifest.dtype == "bfloat16"
    double = sk.from_model(copy.deepcopy(mamba).double())
    assert len(observed(double)) == 3
    with pytest.raises(UsageError, match="is in float64, and forward passes are in float32"):
        sk.analyze(double, mode="data", source=ids)


def test_a_module_on_the_meta_device_has_no_values(ids):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(CHECKPOINTS / "tiny-mamba")
    with torch.device("meta"), quiet_transformers():
        module = AutoModelForCausalLM.from_config(config)
    model = sk.from_model(module, name="empty")
    assert model.layers[0].channels == 192
    with pytest.raises(UnsupportedError, match="is on the meta device: it has a shape and no"):
        model.recurrence(0)
    with pytest.raises(UnsupportedError, match=r"empty cannot be run as it is: .* meta device"):
        model.load()


def test_a_quantised_module_is_not_run(llama):
    module = copy.deepcopy(llama)
    module.config.quantization_config = {"quant_method": "bitsandbytes"}
    with pytest.raises(UnsupportedError, match=r"is quantised \(bitsandbytes\)"):
        sk.from_model(module).load()


def test_nan_in_a_parameter_is_named(mamba):
    module = copy.deepcopy(mamba)
    with torch.no_grad():
        module.backbone.layers[1].mixer.A_log[0, 3] = torch.nan
    model = sk.from_model(module)
    told = r"layer 1: backbone\.layers\.1\.mixer\.A_log holds 1 NaN .*in memory"
    for read in (lambda: model.recurrence(1), model.load, lambda: sk.analyze(model)):
        with pytest.raises(MalformedError, match=told):
            read()
    assert [bad.name for bad in bad_tensors(model.checkpoint, Silent())] == [
        "backbone.layers.1.mixer.A_log"
    ]


def test_pieces_of_parameters_are_not_read(mamba):
    class FullyShardedDataParallel(nn.Module):
        pass

    wrapped = FullyShardedDataParallel()
    wrapped.own = mamba
    with pytest.raises(UnsupportedError, match="in the pieces of FullyShardedDataParallel"):
        sk.from_model(wrapped)
    module = copy.deepcopy(mamba)
    module.backbone.norm_f.weight.ds_id = 3
    with pytest.raises(UnsupportedError, match="in the pieces of DeepSpeed"):
        sk.from_model(module)


def test_what_is_no_module_or_tensors_is_refused(mamba):
    with pytest.raises(UsageError, match="from_model takes a torch module, not str"):
        sk.from_model("tiny-mamba")
    with pytest.raises(UsageError, match="from_state_dict takes tensors by name, not Mamba"):
        sk.from_state_dict(mamba)
    with pytest.raises(UnsupportedError, match="holds no state dict of tensors"):
        sk.from_state_dict({"step": 3})
    with pytest.raises(UsageError, match="a config is a mapping"):
        sk.from_model(mamba, config=3)


def test_tensors_of_another_config_are_told_apart(mamba):
    config = config_of("tiny-mamba") | {"num_hidden_layers": 5}
    model = sk.from_state_dict(mamba.state_dict(), config=config)
    with pytest.raises(MalformedError) as told:
        assert model.layers
    assert told.value.hint.startswith("is the config the one of these tensors?")
