"""PEFT adapters over their base model: in PEFT's layout, and by PEFT where it is installed."""

from __future__ import annotations

import json
import logging
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, NetworkError, UnsupportedError, UsageError
from tests.support import shapes
from tests.support.peft_adapters import ALPHA, RANK, lora, of_module, write_adapter

SHAPE = shapes.SMALL_MAMBA
MIXER = "backbone.layers.1.mixer"


@pytest.fixture
def base(tmp_path):
    config = shapes.mamba_config(SHAPE, original=False)
    tensors = shapes.mamba(SHAPE, original=False)
    return shapes.write(tmp_path / "base", config, tensors, form="safetensors")


def read(folder):
    with open_checkpoint(str(folder)) as checkpoint:
        return checkpoint.read(checkpoint.tensors)


def original(base):
    return load_file(base / "model.safetensors")


def only_changes(read, before, name, expected):
    torch.testing.assert_close(read[name], expected, rtol=1e-5, atol=1e-6)
    assert read.keys() == before.keys()
    assert all(torch.equal(read[own], before[own]) for own in before if own != name)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, ALPHA / RANK),
        ({"use_rslora": True}, ALPHA / math.sqrt(RANK)),
        ({"alpha_pattern": {"in_proj": 10}}, 10 / RANK),
        ({"alpha_pattern": {"x_proj": 10, r"layers\.0\..*in_proj": 10}}, ALPHA / RANK),
    ],
)
def test_lora(tmp_path, base, config, scale):
    before, name = original(base), f"{MIXER}.in_proj"
    a, b = lora(before[f"{name}.weight"])
    folder = write_adapter(tmp_path / "adapter", base, of_module(name, a, b), **config)
    merged = before[f"{name}.weight"].double() + scale * b.double() @ a.double()
    only_changes(read(folder), before, f"{name}.weight", merged.float())


def test_dora(tmp_path, base):
    before, name = original(base), f"{MIXER}.x_proj"
    a, b = lora(before[f"{name}.weight"])
    magnitude = 1 + torch.rand(b.shape[0])
    tensors = of_module(name, a, b) | {f"{name}.lora_magnitude_vector": magnitude}
    folder = write_adapter(tmp_path / "adapter", base, tensors, use_dora=True)
    direction = before[f"{name}.weight"] + ALPHA / RANK * b @ a
    rows = [
        m * row / math.sqrt(sum(v * v for v in row.tolist()))
        for m, row in zip(magnitude, direction, strict=True)
    ]
    only_changes(read(folder), before, f"{name}.weight", torch.stack(rows))


def test_an_embedding(tmp_path, base):
    before, name = original(base), "backbone.embeddings"
    b, a = lora(before[f"{name}.weight"])  # (r, width), (tokens, r)
    tensors = {
        f"{name}.lora_embedding_A": a.T.contiguous(),
        f"{name}.lora_embedding_B": b.T.contiguous(),
    }
    folder = write_adapter(tmp_path / "adapter", base, tensors)
    merged = before[f"{name}.weight"] + ALPHA / RANK * a @ b
    only_changes(read(folder), before, f"{name}.weight", merged)


def test_weights_of_in_and_out(tmp_path):
    """As GPT-2 has them."""
    weight = torch.randn(6, 10)
    base = tmp_path / "base"
    shapes.write(base, {"model_type": "x"}, {"h.0.c_attn.weight": weight}, form="safetensors")
    a, b = torch.randn(RANK, 6), torch.randn(10, RANK)
    tensors = of_module("transformer.h.0.c_attn", a, b)
    folder = write_adapter(tmp_path / "adapter", base, tensors, fan_in_fan_out=True)
    only_changes(
        read(folder), {"h.0.c_attn.weight": weight}, "h.0.c_attn.weight",
        weight + ALPHA / RANK * (b @ a).T,
    )  # fmt: skip


def test_a_tensor_of_its_own_and_a_half_precision_base(tmp_path):
    config = shapes.mamba_config(SHAPE, original=False)
    tensors = {n: t.bfloat16() for n, t in shapes.mamba(SHAPE, original=False).items()}
    base = shapes.write(tmp_path / "base", config, tensors, form="safetensors")
    name = f"{MIXER}.dt_proj.bias"
    folder = write_adapter(tmp_path / "adapter", base, {name: tensors[name].float() + 1})
    only_changes(read(folder), tensors, name, (tensors[name].float() + 1).bfloat16())


def notes(folder, caplog):
    caplog.clear()
    with caplog.at_level(logging.INFO, "spectrakit"), sk.open_checkpoint(str(folder)):
        return caplog.text


def test_what_is_said_of_a(tmp_path, base, caplog):
    before = original(base)
    a, b = lora(before[f"{MIXER}.in_proj.weight"])
    plain = write_adapter(tmp_path / "in", base, of_module(f"{MIXER}.in_proj", a, b))
    said = notes(plain, caplog)
    assert "merged into its base, base" in said
    assert "changes no A and no step at its bias" in said
    assert "dt_proj" not in said

    a, b = lora(before[f"{MIXER}.dt_proj.weight"])
    of_steps = write_adapter(tmp_path / "dt", base, of_module(f"{MIXER}.dt_proj", a, b))
    assert "in PEFT's unmerged forward pass of Mamba it has no effect" in notes(of_steps, caplog)

    name = f"{MIXER}.A_log"
    moved = write_adapter(tmp_path / "a", base, {name: 1.25 * before[name]})
    assert f"in 1 of {SHAPE.layers} layers, the most {name}, by 25 %" in notes(moved, caplog)


def test_eigenvalues_and_the_run(tmp_path, base):
    """Those of the base where A is left alone; those of the merged model where it is not."""
    before, name = original(base), f"{MIXER}.A_log"
    a, b = lora(before[f"{MIXER}.in_proj.weight"])
    tensors = of_module(f"{MIXER}.in_proj", a, b)
    folders = {
        "base": base,
        "same": write_adapter(tmp_path / "same", base, tensors),
        "moved": write_adapter(tmp_path / "moved", base, tensors | {name: 1.25 * before[name]}),
    }
    config = shapes.mamba_config(SHAPE, original=False)
    merged = before | {name: 1.25 * before[name]}
    folders["merged"] = shapes.write(tmp_path / "merged", config, merged, form="safetensors")
    runs = {
        key: sk.analyze(str(folder), mode="weights", out=tmp_path / "runs" / key)
        for key, folder in folders.items()
    }
    rates = {key: run.table("spectrum")["decay_rate"].to_pylist() for key, run in runs.items()}
    assert rates["same"] == rates["base"]
    assert rates["moved"] == rates["merged"] != rates["base"]
    revisions = {key: run.table("layers")["revision"][0].as_py() for key, run in runs.items()}
    assert len(set(revisions.values())) == 4


def test_the_base_cannot_be_had(tmp_path, hub):
    folder = write_adapter(tmp_path / "gone", tmp_path / "nowhere", {})
    with pytest.raises(UsageError, match="adapter of .*nowhere, which cannot be opened") as caught:
        open_checkpoint(str(folder))
    assert str(folder / "adapter_config.json") in str(caught.value.hint)
    far = write_adapter(tmp_path / "far", "me/base", {})
    with pytest.raises(NetworkError, match="PEFT adapter of me/base"):
        open_checkpoint(str(far), offline=True)
    nameless = write_adapter(tmp_path / "nameless", base=None, tensors={})
    config = json.loads((nameless / "adapter_config.json").read_text())
    (nameless / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": None})
    )
    with pytest.raises(UsageError, match="names no base model"):
        open_checkpoint(str(nameless))


def test_a_base_of_the_hub(tmp_path, base, hub):
    hub.add_repo("me/base", {path.name: path for path in base.iterdir()})
    before, name = original(base), f"{MIXER}.in_proj"
    a, b = lora(before[f"{name}.weight"])
    folder = write_adapter(tmp_path / "adapter", "me/base", of_module(name, a, b))
    merged = before[f"{name}.weight"] + ALPHA / RANK * b @ a
    only_changes(read(folder), before, f"{name}.weight", merged)
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.remote_files
        local = checkpoint.localize()
        only_changes(local.read(local.tensors), before, f"{name}.weight", merged)
        assert not local.remote_files


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_qalora": True}, "use_qalora"),
        ({"target_parameters": ["mixer.A_log"]}, "target_parameters"),
    ],
)
def test_other_kinds(tmp_path, base, config, said):
    folder = write_adapter(tmp_path / "adapter", base, {}, **config)
    with pytest.raises(UnsupportedError, match=f"not merged here \\({said}\\)"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "loftq", "what comes next"])
def test_a_start_that_changed_the_base(tmp_path, base, start):
    """Added to the base that it names, such an adapter would give weights that nobody had."""
    name = f"{MIXER}.in_proj"
    tensors = of_module(name, *lora(original(base)[f"{name}.weight"]))
    folder = write_adapter(tmp_path / "adapter", base, tensors, init_lora_weights=start)
    with pytest.raises(UnsupportedError, match=f"changed base weights .*{start}") as caught:
        open_checkpoint(str(folder))
    assert "merge_and_unload" in str(caught.value.hint)


def test_what_it_has_of_the_layer_that_it_wraps(tmp_path, base):
    """A bias, and a weight under A and B: PEFT keeps those of embeddings and heads."""
    before, name = original(base), f"{MIXER}.dt_proj"
    a, b = lora(before[f"{name}.weight"])
    own = {
        f"{name}.base_layer.bias": before[f"{name}.bias"] + 1,
        f"{name}.base_layer.weight": 2 * before[f"{name}.weight"],
    }
    found = read(write_adapter(tmp_path / "adapter", base, of_module(name, a, b) | own))
    assert torch.equal(found[f"{name}.bias"], before[f"{name}.bias"] + 1)
    merged = 2 * before[f"{name}.weight"] + ALPHA / RANK * b @ a
    torch.testing.assert_close(found[f"{name}.weight"], merged, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taps", [(3,), (3, 2), (1, 1)])
def test_a_convolution(tmp_path, taps):
    base = tmp_path / "base"
    weight = torch.randn(6, 5, *taps)
    shapes.write(base, {"model_type": "x"}, {"stem.weight": weight}, form="safetensors")
    ones = (1,) * len(taps)
    a, b = torch.randn(RANK, 5, *taps), torch.randn(6, RANK, *ones)
    folder = write_adapter(tmp_path / "adapter", base, of_module("stem", a, b))
    # As it acts: B's convolution after A's.
    added = torch.stack([sum(b[o, r].flatten() * a[r] for r in range(RANK)) for o in range(6)])
    only_changes(
        read(folder), {"stem.weight": weight}, "stem.weight", weight + ALPHA / RANK * added
    )


def test_a_convolution_of_groups_has_no_merged_form(tmp_path, base):
    """PEFT's A is a whole convolution: with it, no channel stays for itself."""
    name = f"{MIXER}.conv1d"
    channels = original(base)[f"{name}.weight"].shape[0]
    a, b = torch.randn(channels, channels, 4), torch.randn(channels, 1, 1)
    folder = write_adapter(tmp_path / "adapter", base, of_module(name, a, b))
    with pytest.raises(UnsupportedError, match="grouped convolution an adapter has no merged form"):
        open_checkpoint(str(folder))


def test_an_adapter_of_another_model(tmp_path, base):
    name = f"{MIXER}.in_proj"
    strange = write_adapter(tmp_path / "strange", base, of_module("h.9.q", *lora(torch.ones(3, 5))))
    with pytest.raises(UnsupportedError, match="changes nothing that the base model has"):
        open_checkpoint(str(strange))
    wide = write_adapter(tmp_path / "wide", base, of_module(name, *lora(torch.ones(3, 5))))
    with pytest.raises(UnsupportedError, match="do not fit backbone"):
        open_checkpoint(str(wide))
    conv = f"{MIXER}.conv1d"
    deep = write_adapter(tmp_path / "deep", base, of_module(conv, *lora(torch.ones(3, 5))))
    with pytest.raises(UnsupportedError, match="do not fit backbone"):
        open_checkpoint(str(deep))


def test_without_weights(tmp_path, base):
    folder = write_adapter(tmp_path / "adapter", base, {})
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UnsupportedError, match="adapter without weights"):
        open_checkpoint(str(folder))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("dora", [False, True])
def test_what_peft_merges(tmp_path, base, dora):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=4, target_modules=["in_proj", "x_proj"], use_dora=dora)
    adapted = peft.get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    expected = adapted.merge_and_unload().state_dict()
    for name, tensor in read(tmp_path / "adapter").items():
        torch.testing.assert_close(tensor, expected[name])


def test_an_adapter_of_itself_leads_nowhere(tmp_path):
    """What a file names is not followed in a circle."""
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1, "base_model_name_or_path": str(tmp_path)})
    )
    save_file({"base_model.model.x.lora_A.weight": torch.ones(1, 3)},
              tmp_path / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(UsageError, match="is a PEFT adapter itself"):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "shape", "says"),
    [({"lora_alpha": "much"}, (1, 3), "lora_alpha of x is 'much', not a number"),
     ({"alpha_pattern": {"x[": 2}}, (1, 3), "alpha_pattern 'x\\['"),
     ({"alpha_pattern": {"(x|y)+z": 2}}, (1, 3), "is not followed here"),
     ({"alpha_pattern": {"y" * 999: 2}}, (1, 3), "is not followed here"),
     ({}, (0, 3), "do not fit x.weight"),
     ({}, (3,), "do not fit x.weight")],
)  # fmt: skip
def test_damaged_adapters_are_named(tmp_path, config, shape, says):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    save_file({"x.weight": torch.ones(2, 3)}, base / "model.safetensors")
    told = {"peft_type": "LORA", "lora_alpha": 2, "base_model_name_or_path": str(base), **config}
    (adapter / "adapter_config.json").write_text(json.dumps(told))
    parts = {"lora_A": torch.ones(shape), "lora_B": torch.ones(2, shape[0])}
    save_file({f"base_model.model.x.{name}.weight": part for name, part in parts.items()},
              adapter / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises((MalformedError, UnsupportedError), match=says):
        open_checkpoint(str(adapter))


# --- on the Hub ---------------------------------------------------------------------------------


@pytest.fixture
def published(hub, base, tmp_path):
    """An adapter and its base on a Hub, whose branch main has another model."""
    before, name = original(base), f"{MIXER}.in_proj"
    a, b = lora(before[f"{name}.weight"])
    tensors = of_module(name, a, b)
    folder = write_adapter(tmp_path / "adapter", "org/base", tensors, revision="v1")
    hub.add_repo("org/base", {path.name: path for path in base.iterdir()}, revisions=("v1",))
    hub.add_repo("org/adapter", {path.name: path for path in folder.iterdir()})
    merged = before[f"{name}.weight"].double() + ALPHA / RANK * b.double() @ a.double()
    return before, f"{name}.weight", merged.float()


def test_one_of_the_hub_has_its_base_there(published, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "base").mkdir(parents=True)  # which is not meant
    with open_checkpoint("org/adapter") as checkpoint:
        assert (checkpoint.model_id, checkpoint.base.model_id) == ("org/adapter", "org/base")
        assert checkpoint.commit == hub.repos["org/adapter"].sha
        only_changes(checkpoint.read(checkpoint.tensors), *published)
        with checkpoint.localize() as local:
            only_changes(local.read(local.tensors), *published)


def test_one_of_the_hub_is_read_in_parts_and_repeated(published, hub, base, tmp_path):
    run = sk.analyze("org/adapter", out=tmp_path / "run")
    whole = (base / "model.safetensors").stat().st_size
    assert hub.bytes_sent < 0.5 * whole
    again = sk.analyze(sk.read_spec(tmp_path / "run" / "run.json"))
    assert again.manifest.revision == run.manifest.revision
    assert run.manifest.revision.startswith("hub-")
    assert again.manifest.spec["revision"] == hub.repos["org/adapter"].sha


def test_one_of_the_hub_offline(published, hub, monkeypatch):
    for name in ("org/adapter", "org/base@v1"):
        open_checkpoint(name, full_download=True).close()
    hub.forget()
    with open_checkpoint("org/adapter", offline=True) as checkpoint:
        only_changes(checkpoint.read(checkpoint.tensors), *published)
    assert hub.requests == 0


@pytest.mark.parametrize("name", ["/home/someone/base", "../base", "org/adapter"])
def test_a_base_that_the_hub_does_not_have(hub, base, tmp_path, name):
    folder = write_adapter(tmp_path / "adapter", name, {"x": torch.ones(1)})
    hub.add_repo("org/adapter", {path.name: path for path in folder.iterdir()})
    with pytest.raises(UsageError, match=f"is a PEFT adapter of {name}, which cannot be opened"):
        open_checkpoint("org/adapter")
