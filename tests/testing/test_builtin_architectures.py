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
from spectrakit.training.models.mixer_module import MixerModule
from tests.architectures.test_linear_families import LATER, RETNET, RWKV7, SHARED, blocks
from tests.architectures.test_s4_line import S4D_OPTIONS
from tests.conftest import CHECKPOINTS
from tests.families import FAMILIES
from tests.support import state_dicts
from tests.support.mamba_ssm_files import write_mamba_ssm
from tests.support.state_dicts import S5_OPTIONS, VERSION_4
from tests.training.models import test_layers

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


IMPORTS = {"claims_from_headers_alone": "a mixer's sizes are made by its module, which is of torch"}
BOTH_WAYS = dict.fromkeys(
    ("chunks_do_not_matter", "shows_the_residual_stream"),
    "a mixer that reads backwards sees the tokens behind",
)


def save_trained(config, folder):
    torch.manual_seed(0)
    model_of(config).save_pretrained(folder)
    return folder


def trained(name, label=None, expected=IMPORTS, **changes):
    """Two blocks of the bundled trainer's backbone, with a mixer of its tests."""
    config = test_layers.config(name, num_hidden_layers=2, **changes)
    mixers = [m.mixer.name for m in model_of(config).modules() if isinstance(m, MixerModule)]
    tokens = torch.randint(11, (2, 24), generator=torch.Generator().manual_seed(0))
    return CheckpointExample(
        f"trained-{label or name}", "spectrakit-trained", tuple(mixers),
        partial(save_trained, config), tokens, expected,
    )  # fmt: skip


LAYERS = {"num_hidden_layers": 2}
DECAY = "blocks__N__att__time_decay"
BERT = {"bert__encoder__layer__N__attention__self__query__weight": (8, 8)}

EXAMPLES = [
    state_dict("minimal-s4d", "s4d", state_dicts.minimal_s4d),
    state_dict("state-spaces-s4", "s4d", state_dicts.version_4, S4D_OPTIONS),
    state_dict("dss", "dss", state_dicts.dss, {"version": "exp"}),
    state_dict("s5", "s5", state_dicts.s5, S5_OPTIONS),
    state_dict("minimal-lru", "lru", state_dicts.lru),
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
    of_shapes("bert", "transformers-encoder", "attention", BERT,
              {**LAYERS, "model_type": "bert"}),
    *map(trained, test_layers.SMALL),
    trained("softmax", "rope", positions="rope"),
    trained("softmax", "alibi", positions="alibi"),
    trained("mamba2", "values", inputs="values", head="classifier", num_labels=3),
    trained("s4d", "both-ways", IMPORTS | BOTH_WAYS,
            bidirectional=True, head="classifier", num_labels=3),
]  # fmt: skip


@parametrize_with_checks(EXAMPLES)
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", sorted(plugins().register().architectures.things))
def test_every_architecture_is_checked(name):
    checked = {example.architecture for example in EXAMPLES}
    checked |= {family.example().architecture for family in FAMILIES}
    assert name in checked
