"""The architectures that ship with spectrakit, but for transformers' own, which are families."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from spectrakit.plugins import plugins
from spectrakit.testing import CheckpointExample, parametrize_with_checks
from spectrakit.training.models.backbone import model_of
from spectrakit.training.models.config import SpectrakitConfig
from tests.architectures.test_linear_families import LATER, RETNET, RWKV7, SHARED, blocks
from tests.architectures.test_s4_line import S4D_OPTIONS
from tests.conftest import CHECKPOINTS
from tests.families import FAMILIES
from tests.support import bare, encoder_decoders, remote_code, state_dicts
from tests.support.mamba_ssm_files import write_mamba_ssm
from tests.support.state_dicts import S5_OPTIONS, VERSION_4

NO_SHAPE = {"wrong_shapes_are_refused": "A's parameter is the only one, and says how many channels"}


def saved(tensors, config, folder):
    """A folder with these tensors and this config."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    save_file(tensors(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def state_dict(architecture, kind, make, config=None):
    """Two layers of the S4 line."""
    tensors = partial(state_dicts.layers, make)
    return CheckpointExample(
        architecture, architecture, (kind,) * 2, partial(saved, tensors, config or {})
    )


#: Where no config says another.
NO_CONFIG = {"wrong_shapes_are_refused": "the sizes are those that A_log has"}


def two_bare():
    """Two layers of Mamba in a state dict of somebody's own."""
    return {
        f"encoder.stage{place}.ssm.{name}": tensor.clone()
        for place in range(2)
        for name, tensor in bare.LAYERS["mamba"].tensors.items()
    }


def of_shapes(name, architecture, kind, shapes, config=None, **options):
    """Two layers whose tensors have these shapes."""

    def tensors():
        return {tensor: torch.randn(shape) for tensor, shape in blocks(2, **shapes).items()}

    write = partial(saved, tensors, config or {})
    return CheckpointExample(name, architecture, (kind,) * 2, write, **options)


def mamba_ssm(tiny):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(200, (2, 24), generator=generator)
    write = partial(write_mamba_ssm, CHECKPOINTS / f"tiny-{tiny}")
    return CheckpointExample(f"mamba-ssm-{tiny}", "mamba-ssm", (tiny,) * 3, write, tokens)


def trained(mixer, kinds, changes):
    """A model of the bundled trainer, of two blocks."""

    def write(folder):
        torch.manual_seed(0)
        options = dict(changes)
        own = options.pop("mixer_options", None)
        config = SpectrakitConfig(
            hidden_size=8, mlp_width=6, vocab_size=40, max_position_embeddings=64, mixer=mixer,
            mixer_options=own, **options,
        )  # fmt: skip
        model = model_of(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder)
        return folder

    tokens = torch.randint(40, (2, 24), generator=torch.Generator().manual_seed(0))
    name = "-".join(["trained", mixer, *changes])
    backwards = dict.fromkeys(
        ("chunks_do_not_matter", "shows_the_residual_stream"),
        "it reads backwards too: what comes later counts",
    )
    failures = backwards if changes.get("bidirectional") else {}
    return CheckpointExample(name, "spectrakit-trained", kinds, write, tokens, failures)


TRAINED = [
    ("s4d", ("s4d",) * 2, {"mixer_options": {"state_size": 6}}),
    ("s4", ("s4",) * 2, {"mixer_options": {"state_size": 6}}),
    ("dss", ("dss",) * 2, {"mixer_options": {"state_size": 3}}),
    ("s5", ("s5",) * 2, {"mixer_options": {"state_size": 6}}),
    ("lru", ("lru",) * 4, {"mixer_options": {"state_size": 5}, "bidirectional": True}),
    ("dense", ("dense",) * 2, {"mixer_options": {"state_size": 5}, "conv": 3}),
    ("deltanet", ("deltanet",) * 2, {"mixer_options": {"heads": 2, "negative": True}}),
    ("gated_deltanet", ("gated_deltanet",) * 2, {"mixer_options": {"heads": 2, "key_width": 5}}),
    ("kda", ("kimi_delta",) * 2, {"mixer_options": {"heads": 2, "key_width": 5, "decay_rank": 3}}),
    ("rwkv7", ("rwkv7",) * 2, {"mixer_options": {"heads": 2, "rank": 3}}),
    ("mlstm", ("mlstm",) * 4,
     {"mixer_options": {"heads": 2, "key_width": 3}, "bidirectional": True}),
    ("mamba", ("mamba",) * 2, {"gate": True}),
    ("mamba2", ("mamba2",) * 2, {"mixer_options": {"heads": 2, "state_size": 5}}),
    ("mamba2", ("mamba2_pseudo_lti",) * 2,
     {"mixer_options": {"heads": 2, "state_size": 5, "pseudo_lti": True}, "mlp": "none"}),
    ("softmax", ("softmax_attention",) * 2,
     {"mixer_options": {"heads": 2}, "positions": "rope", "mlp": "mlp"}),
    ("softmax", ("softmax_attention",) * 2, {"mixer_options": {"heads": 2}, "positions": "alibi"}),
    ("mamba2", ("mamba2",) * 2, {"inputs": "values", "head": "classifier", "num_labels": 3}),
    ("linear", ("linear_attention",) * 2,
     {"mixer_options": {"heads": 2}, "positions": "absolute", "norm": "rms"}),
    ("norm", ("norm_attention",) * 2, {"mixer_options": {"heads": 2}}),
]  # fmt: skip
LAYERS = {"num_hidden_layers": 2}
DECAY = "blocks__N__att__time_decay"
BERT = {"bert__encoder__layer__N__attention__self__query__weight": (8, 8)}
#: Its encoder is given the whole text, and so every token of its decoder depends on all of them.
READS_AHEAD = {
    "chunks_do_not_matter": "the decoder reads an encoder that was given the whole text",
    "memory_is_linear_in_tokens": "its attention is seen at the softmax, over T x T scores",
}

EXAMPLES = [
    state_dict("minimal-s4d", "s4d", state_dicts.minimal_s4d),
    state_dict("state-spaces-s4", "s4d", state_dicts.version_4, S4D_OPTIONS),
    state_dict("dss", "dss", state_dicts.dss, {"version": "exp"}),
    state_dict("s5", "s5", state_dicts.s5, S5_OPTIONS),
    state_dict("minimal-lru", "lru", state_dicts.lru),
    CheckpointExample("s5-pytorch", "s5", ("s5",) * 2,
                      partial(saved, partial(state_dicts.layers, state_dicts.s5_pytorch), {})),
    CheckpointExample("lru-pytorch", "minimal-lru", ("lru",) * 2,
                      partial(saved, partial(state_dicts.layers, state_dicts.lru_pytorch), {})),
    CheckpointExample(
        "state-spaces-s4-nplr", "state-spaces-s4", ("s4",) * 2,
        partial(saved, partial(state_dicts.layers, partial(state_dicts.version_4, low_rank=True)),
                VERSION_4),
    ),
    mamba_ssm("mamba"),
    mamba_ssm("mamba2"),
    of_shapes("retnet", "fla-linear-attention", "retention", RETNET,
              {**LAYERS, "model_type": "retnet", "hidden_size": 8, "num_heads": 2}),
    of_shapes("rwkv4", "rwkv-files", "rwkv4", {**SHARED, DECAY: (12,)}, expected_failures=NO_SHAPE),
    of_shapes("rwkv5", "rwkv-files", "rwkv5", {**LATER, DECAY: (3, 4)}),
    of_shapes("rwkv6", "rwkv-files", "rwkv6",
              {**LATER, DECAY: (1, 1, 12), "blocks__N__att__time_decay_w1": (12, 2),
               "blocks__N__att__time_faaaa": (3, 4)}),
    of_shapes("rwkv7", "rwkv-files", "rwkv7", RWKV7),
    *[CheckpointExample(f"rwkv{version}-for-transformers", "rwkv-files", (f"rwkv{version}",) * 2,
                        partial(remote_code.write_rwkv_decays, version))
      for version in (5, 6)],
    *[CheckpointExample(f"{kind}-in-llama", "mamba-in-llama",
                        (kind, "softmax_attention") * 2,
                        partial(remote_code.write_mamba_in_llama, generation))
      for generation, kind in ((1, "mamba"), (2, "mamba2"))],
    CheckpointExample("remote-code", "bare-modules", ("mamba",) * 2,
                      remote_code.write_unknown_model, expected_failures=NO_CONFIG),
    *[trained(mixer, kinds, changes) for mixer, kinds, changes in TRAINED],
    CheckpointExample("bare-modules", "bare-modules", ("mamba",) * 2, partial(saved, two_bare, {}),
                      expected_failures=NO_CONFIG),
    *[CheckpointExample(kind, "transformers-encoder-decoder", ("softmax_attention",) * 2,
                        partial(encoder_decoders.write, kind), encoder_decoders.TOKENS,
                        expected_failures=READS_AHEAD)
      for kind in ("bart", "t5")],
    of_shapes("bert", "transformers-encoder", "attention", BERT,
              {**LAYERS, "model_type": "bert"}),
]  # fmt: skip


@parametrize_with_checks(EXAMPLES)
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", sorted(plugins().register().architectures.things))
def test_every_architecture_is_checked(name):
    checked = {example.architecture for example in EXAMPLES}
    checked |= {family.example().architecture for family in FAMILIES}
    assert name in checked
