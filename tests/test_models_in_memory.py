"""`from_model` and `from_state_dict`: what `open_checkpoint` gives, of what is in memory."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import AnalysisError, MalformedError, UnsupportedError, UsageError
from spectrakit.extraction import extract
from spectrakit.inspection import bad_tensors, inspect_model
from spectrakit.progress import Silent
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from tests.conftest import CHECKPOINTS
from tests.support.live import left_as_it_was

TOKENS = torch.arange(48).view(2, 24) + 40


def loaded(name="tiny-mamba", **kwargs):
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(CHECKPOINTS / name, **kwargs)


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


def spectrum(model):
    return sk.analyze(model).table("spectrum").drop_columns(["model_id", "revision"])


def observed(model):
    """The outputs of every layer's mixer, as one pass shows them."""
    seen = []
    model.load().run(TOKENS, lambda _, observation: seen.append(observation.outputs.clone()))
    return seen


def assert_observes(model, other):
    for own, theirs in zip(observed(model), observed(other), strict=True):
        assert torch.equal(own, theirs)


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


def config_of(name):
    return json.loads((CHECKPOINTS / name / "config.json").read_text())


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
