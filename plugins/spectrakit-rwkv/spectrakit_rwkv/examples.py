"""What this plugin is checked on: every version, as a layer and as a file of the project's.

python -m spectrakit_rwkv.examples FOLDER      writes the tiny files, to try the plugin on
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from safetensors.torch import save_file

from spectrakit.mixers.rwkv7_layer import RWKV7Layer
from spectrakit.testing import CheckpointExample, MixerExample, random_parameters
from spectrakit_rwkv import names, references
from spectrakit_rwkv.channel_mixing import CHANNEL_MIXINGS
from spectrakit_rwkv.time_mixing4 import TimeMixing4
from spectrakit_rwkv.time_mixing5 import TimeMixing5
from spectrakit_rwkv.time_mixing6 import TimeMixing6

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Mixer, Observation, Parameters
    from spectrakit.testing import Example

WIDTH, VOCABULARY, INNER = 10, 256, 14  # bytes
_BATCH, _TOKENS = 2, 13

RWKV4 = TimeMixing4(12, WIDTH)
RWKV5_0 = TimeMixing5(3, 4, shared=True, model_width=WIDTH, gated=False, log_bonus=True)
RWKV5_1 = TimeMixing5(3, 4, shared=True, model_width=WIDTH)
RWKV5_2 = TimeMixing5(3, 4, model_width=WIDTH)
RWKV6 = TimeMixing6(3, 4, model_width=WIDTH, shift_rank=2, decay_rank=5)
RWKV7_FIRST = RWKV7Layer(
    3, 4, model_width=WIDTH, decay_rank=5, rate_rank=2, gate_rank=6, value_rank=None
)
RWKV7 = RWKV7Layer(3, 4, model_width=WIDTH, decay_rank=5, rate_rank=2, gate_rank=6, value_rank=7)

_Names: TypeAlias = Mapping[str, str]
_TimeMixing: TypeAlias = TimeMixing4 | TimeMixing5 | TimeMixing6 | RWKV7Layer
_RWKV5: _Names = {**names.RWKV5_NAMES, **names.GATE_NAMES, "bonus": "time_faaaa"}
_RWKV7: _Names = {**names.RWKV7_NAMES, **names.RESIDUAL_NAMES}

#: The time mixings of two blocks, and what their parameters are called, by version.
VERSIONS: Mapping[str, Sequence[tuple[_TimeMixing, _Names]]] = {
    "4": [(RWKV4, names.RWKV4_NAMES)] * 2,
    "5.0": [(RWKV5_0, {**names.RWKV5_NAMES, "bonus": "time_first"})] * 2,
    "5.1": [(RWKV5_1, _RWKV5)] * 2,
    "5.2": [(RWKV5_2, _RWKV5)] * 2,
    "6": [(RWKV6, names.RWKV6_NAMES)] * 2,
    "7": [(RWKV7_FIRST, names.RWKV7_NAMES), (RWKV7, _RWKV7)],
}


def state_dict(version: str, width: int = WIDTH) -> dict[str, Tensor]:
    """Random weights of a model of two blocks, of this model width, in the project's names."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    tensors = {"emb.weight": normal(VOCABULARY, width), "head.weight": normal(VOCABULARY, width)}
    norms = ["blocks.0.ln0", "ln_out"]
    for index, (example, inside) in enumerate(VERSIONS[version]):
        mixer = replace(example, model_width=width)
        block = f"blocks.{index}"
        norms += [f"{block}.ln1", f"{block}.ln2"]
        for role, value in random_parameters(mixer, seed=index).items():
            tensors[f"{block}.att.{inside[role]}"] = value.float()
        for name, shape in CHANNEL_MIXINGS[mixer.name].shapes(width, INNER).items():
            tensors[f"{block}.ffn.{name}"] = normal(*shape) / shape[-1] ** 0.5
    for norm in norms:
        tensors |= {f"{norm}.weight": 1 + normal(width) / 4, f"{norm}.bias": normal(width) / 4}
    if version == "7":  # files have what their first block does not use
        shapes = replace(RWKV7, model_width=width).shapes()
        for role, name in names.RESIDUAL_NAMES.items():
            tensors[f"blocks.0.att.{name}"] = normal(*shapes[role])
    return tensors


def write(version: str, folder: Path) -> Path:
    """A file of this version in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rwkv-{version}.pth"
    torch.save(state_dict(version), path)
    return path


def write_for_transformers(version: str, folder: Path) -> Path:
    """The same model of RWKV-5 or 6 in `folder`, as published for transformers (remote code).

    Its names are those of the converters, `convert_rwkv{5,6}_checkpoint_to_hf.py`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = {"k": "key", "v": "value", "r": "receptance", "g": "gate"}
    tensors = {}
    for name, tensor in state_dict(version).items():
        new = name.replace("emb.", "embeddings.").replace("blocks.0.ln0", "blocks.0.pre_ln")
        new = new.replace(".att.", ".attention.").replace(".ffn.", ".feed_forward.")
        new = re.sub(r"time_mix_(\w)$", lambda found: f"time_mix_{words[found[1]]}", new)
        tensors[name if name == "head.weight" else f"rwkv.{new}"] = tensor.contiguous()
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": f"rwkv{version[0]}",
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "head_size": 4,
        "layer_norm_epsilon": 1e-5,
        "rescale_every": 6,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@dataclass(frozen=True, kw_only=True)
class GivenFirstValue(RWKV7Layer):
    """A later layer whose input has the first layer's values beside it, (B, T, E + A)."""

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer on the first E of them."""
        hidden, first_value = hidden.split([self.model_width, self.heads * self.state_size], -1)
        return super().from_input(hidden, {**p, "first_value": first_value})


def _reference_7(hidden: Tensor, p: Parameters) -> Tensor:
    return references.rwkv7(hidden[..., :WIDTH], p, hidden[..., WIDTH:])


def _layer(
    version: str,
    mixer: Mixer,
    reference: Callable[[Tensor, Parameters], Tensor],
    width: int = WIDTH,
) -> MixerExample:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(_BATCH, _TOKENS, width, generator=generator, dtype=torch.float64)
    parameters = random_parameters(mixer, seed=2)
    return MixerExample(f"RWKV-{version} layer", mixer, parameters, hidden, reference)


def _file(version: str, *, for_transformers: bool = False) -> CheckpointExample:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(VOCABULARY, (_BATCH, _TOKENS), generator=generator)
    kinds = tuple(mixer.name for mixer, _ in VERSIONS[version])
    name = f"RWKV-{version} {'for transformers' if for_transformers else 'file'}"
    written = partial(write_for_transformers if for_transformers else write, version)
    return CheckpointExample(name, "rwkv-files", kinds, written, tokens)


_LATER = GivenFirstValue(**vars(RWKV7))

EXAMPLES: tuple[Example, ...] = (
    _layer("4", RWKV4, references.rwkv4),
    _layer("5.0", RWKV5_0, partial(references.rwkv5, RWKV5_0)),
    _layer("5.1", RWKV5_1, partial(references.rwkv5, RWKV5_1)),
    _layer("5.2", RWKV5_2, partial(references.rwkv5, RWKV5_2)),
    _layer("6", RWKV6, references.rwkv6),
    _layer("7 first", RWKV7_FIRST, partial(references.rwkv7, first_value=None)),
    _layer("7 later", _LATER, _reference_7, WIDTH + _LATER.heads * _LATER.state_size),
    *(_file(version) for version in VERSIONS),
    *(_file(version, for_transformers=True) for version in ("5.0", "5.2", "6")),
)

if __name__ == "__main__":
    for each in VERSIONS:
        write(each, Path(sys.argv[1]))
