"""What this plugin is checked on.

python -m spectrakit_mamba3.examples FOLDER      writes the tiny checkpoints, to try the plugin on
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from spectrakit.testing import CheckpointExample, Example, MixerExample, random_parameters
from spectrakit_mamba3.files import NAMES
from spectrakit_mamba3.mimo import Mamba3MIMO
from spectrakit_mamba3.mixer import Mamba3
from spectrakit_mamba3.quadratic import quadratic_form

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Mixer

_WIDTH, _VOCABULARY = 12, 256  # bytes

# Sizes that all differ: 4 heads of width 6, a state of 10.
_one_rank = partial(Mamba3, model_width=_WIDTH, heads=4, head_width=6, state_size=10)
_ranks = partial(Mamba3MIMO, model_width=_WIDTH, heads=4, head_width=6, state_size=10, rank=3)

HEAVY_TAIL = _one_rank(pairs=2, a_form="heavy_tail", groups=2)
SOFTPLUS = _one_rank(pairs=5, a_form="softplus", output_norm=True, projection_bias=True)
POSITIVE_FLOOR = _one_rank(pairs=2, a_form="positive_floor", a_floor=0.01)
MIMO = _ranks(pairs=2, a_form="heavy_tail", groups=2)
MIMO_WITH_NORM = _ranks(pairs=2, a_form="softplus", groups=2, output_norm=True)

#: The attention of a hybrid, as `attn_cfg` says it, and its tensors.
_ATTENTION = {"causal": True, "num_heads": 3, "head_dim": 4, "rotary_emb_dim": 4}
_ATTENTION_SHAPES = {
    "in_proj.weight": (36, _WIDTH),
    "in_proj.bias": (36,),
    "out_proj.weight": (_WIDTH, 12),
    "out_proj.bias": (_WIDTH,),
}


def mamba_ssm_config(ssm: Mapping[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A config of the mamba_ssm library, with what its own does not say."""
    return {
        "d_model": _WIDTH,
        "n_layer": 2,
        "vocab_size": _VOCABULARY - 3,  # the size before padding
        "ssm_cfg": {"layer": "Mamba3", "d_state": 10, "headdim": 6, **ssm},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
        "tie_embeddings": True,
        "a_form": "softplus",
        **more,
    }


def write_mamba_ssm(config: Mapping[str, Any], mixer: Mixer, folder: Path) -> Path:
    """A model of the mamba_ssm library with random weights, in `folder`."""
    tensors = _around("embedding")
    inner = 128 if config.get("d_intermediate") else 0
    for index in range(config["n_layer"]):
        block = f"backbone.layers.{index}"
        attends = index in config.get("attn_layer_idx", ())
        own = _random(_ATTENTION_SHAPES, index) if attends else _named(mixer, index)
        tensors |= {f"{block}.mixer.{name}": value for name, value in own.items()}
        tensors |= _random({f"{block}.norm.weight": (_WIDTH,)}, index)
        if inner:
            mlp = {
                f"{block}.norm2.weight": (_WIDTH,),
                f"{block}.mlp.fc1.weight": (2 * inner, _WIDTH),
                f"{block}.mlp.fc2.weight": (_WIDTH, inner),
            }
            tensors |= _random(mlp, index)
    _write_config(folder, config)
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def fla_config(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A config of fla, with what its own does not say."""
    return {
        "model_type": "mamba3",
        "architectures": ["Mamba3ForCausalLM"],
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "vocab_size": _VOCABULARY,
        "head_dim": 6,
        "state_size": 10,
        "expand": 2,
        "norm_eps": 1e-4,
        "residual_in_fp32": True,
        "a_form": "heavy_tail",
        **more,
    }


def write_fla(config: Mapping[str, Any], mixer: Mixer, folder: Path) -> Path:
    """A model of fla with random weights, in `folder`."""
    tensors = _around("embeddings")
    for index in range(config["num_hidden_layers"]):
        block = f"backbone.layers.{index}"
        own = _named(mixer, index)
        tensors |= {f"{block}.mixer.{name}": value for name, value in own.items()}
        tensors |= _random({f"{block}.norm.weight": (_WIDTH,)}, index)
    _write_config(folder, config)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def parameters(mixer: Mixer, seed: int = 0) -> dict[str, Tensor]:
    """Random parameters by role, with steps as short as those of trained models and longer."""
    p = random_parameters(mixer, seed)
    p["step_bias"] -= 1
    return p


def _named(mixer: Mixer, seed: int) -> dict[str, Tensor]:
    return {NAMES[role]: value.float() for role, value in parameters(mixer, seed).items()}


def _around(embedding: str) -> dict[str, Tensor]:
    vocabulary = (_VOCABULARY, _WIDTH)
    shapes = {f"backbone.{embedding}.weight": vocabulary, "backbone.norm_f.weight": (_WIDTH,)}
    return _random({**shapes, "lm_head.weight": vocabulary}, 99)


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def _inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 20, _WIDTH, generator=generator, dtype=torch.float64)
    return hidden, torch.randint(_VOCABULARY, (2, 150), generator=generator)


def _mixer_example(name: str, mixer: Mamba3) -> MixerExample:
    reference = partial(quadratic_form, mixer)
    return MixerExample(name, mixer, parameters(mixer), HIDDEN, reference)


HIDDEN, TOKENS = _inputs()

#: By name: how it is written, the architecture that reads it, and the kinds of its layers.
CHECKPOINTS = {
    "mamba_ssm": (
        partial(write_mamba_ssm, mamba_ssm_config({"ngroups": 2}), HEAVY_TAIL),
        "mamba-ssm-mamba3",
        ("mamba3",) * 2,
    ),
    "mamba_ssm hybrid": (
        partial(
            write_mamba_ssm,
            mamba_ssm_config(
                {"ngroups": 2, "A_floor": 0.02},
                n_layer=3,
                attn_layer_idx=[1],
                attn_cfg=_ATTENTION,
                d_intermediate=100,
                a_form="heavy_tail",
            ),
            HEAVY_TAIL,
        ),
        "mamba-ssm-mamba3",
        ("mamba3", "softmax_attention", "mamba3"),
    ),
    "mamba_ssm MIMO": (
        partial(
            write_mamba_ssm,
            mamba_ssm_config({"ngroups": 2, "is_mimo": True, "mimo_rank": 3}),
            MIMO,
        ),
        "mamba-ssm-mamba3",
        ("mamba3_mimo",) * 2,
    ),
    "fla": (
        partial(
            write_fla, fla_config(rope_fraction=1.0, is_outproj_norm=True, use_bias=True), SOFTPLUS
        ),
        "fla-mamba3",
        ("mamba3",) * 2,
    ),
}

EXAMPLES: tuple[Example, ...] = (
    _mixer_example("heavy tail", HEAVY_TAIL),
    _mixer_example("softplus, all rotated", SOFTPLUS),
    _mixer_example("positive floor", POSITIVE_FLOOR),
    _mixer_example("MIMO", MIMO),
    *(
        CheckpointExample(name, architecture, kinds, write, TOKENS)
        for name, (write, architecture, kinds) in CHECKPOINTS.items()
    ),
)

if __name__ == "__main__":
    for example_name, (write_example, *_) in CHECKPOINTS.items():
        write_example(Path(sys.argv[1]) / example_name.replace(" ", "-"))
