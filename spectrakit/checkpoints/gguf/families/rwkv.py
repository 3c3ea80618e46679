"""RWKV-6 and 7, under the names of the RWKV project's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.checkpoints.gguf.naming import GGUFFamily, Naming, Part
from spectrakit.checkpoints.turns import Reshaped, Scaled, Slice, Transposed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.checkpoints.gguf.metadata import Metadata

_OUTSIDE = {"token_embd": "emb", "output_norm": "ln_out", "output": "head"}
_INSIDE = {
    "attn_norm": "ln1",
    "attn_norm_2": "ln2",
    "time_mix_key": "att.key",
    "time_mix_value": "att.value",
    "time_mix_receptance": "att.receptance",
    "time_mix_gate": "att.gate",
    "time_mix_output": "att.output",
    "time_mix_ln": "att.ln_x",
    "channel_mix_key": "ffn.key",
    "channel_mix_value": "ffn.value",
    "channel_mix_receptance": "ffn.receptance",
}
_ROW = (1, 1, -1)
#: What the tokens are mixed for, in the order in which GGUF has the weights one after the other.
_MIXED_6, _MIXED_7 = "wkvrg", "rwkvag"


def _vector(name: str, stored: str) -> Part:
    return Part(name, (f"{stored}.weight",), Reshaped(_ROW))


def _turned(name: str, stored: str) -> Part:
    return Part(name, (f"{stored}.weight",), Transposed())


def _norm(metadata: Metadata) -> Iterator[Part]:  # noqa: ARG001
    for end in ("weight", "bias"):
        yield Part(f"blocks.0.ln0.{end}", (f"token_embd_norm.{end}",))


def _six(metadata: Metadata, index: int) -> Iterator[Part]:
    yield _vector("att.time_decay", "time_mix_decay")
    yield _turned("att.time_decay_w1", "time_mix_decay_w1")
    yield _turned("att.time_decay_w2", "time_mix_decay_w2")
    yield _turned("att.time_maa_w1", "time_mix_w1")
    yield _turned("att.time_maa_w2", "time_mix_w2")
    yield Part("att.time_faaaa", ("time_mix_first.weight",))
    yield _vector("att.time_maa_x", "time_mix_lerp_x")
    for place, letter in enumerate(_MIXED_6):
        fused = ("time_mix_lerp_fused.weight",)
        yield Part(f"att.time_maa_{letter}", fused, Slice(place, len(_MIXED_6), _ROW))
        yield _vector(f"att.time_maa_{letter}", f"time_mix_lerp_{letter}")
    for letter in "kr":
        yield _vector(f"ffn.time_maa_{letter}", f"channel_mix_lerp_{letter}")
    every = metadata.count("rescale_every_n_layers", 0)
    if every:  # so that half floats do not overflow; the hidden states are halved as often
        for name, stored in (("att.output", "time_mix_output"), ("ffn.value", "channel_mix_value")):
            yield Part(f"{name}.weight", (f"{stored}.weight",), Scaled(2.0 ** (index // every)))


def _seven(metadata: Metadata, index: int) -> Iterator[Part]:  # noqa: ARG001
    for letter in "wav":
        yield _vector(f"att.{letter}0", f"time_mix_{letter}0")
    for letter in "wavg":
        for number in "12":
            yield _turned(f"att.{letter}{number}", f"time_mix_{letter}{number}")
    for name in ("k_k", "k_a"):
        yield _vector(f"att.{name}", f"time_mix_{name}")
    width = metadata.count("wkv.head_size")
    yield Part("att.r_k", ("time_mix_r_k.weight",), Reshaped((-1, width)))
    fused = ("time_mix_lerp_fused.weight",)
    for place, letter in enumerate(_MIXED_7):
        yield Part(f"att.x_{letter}", fused, Slice(place, len(_MIXED_7), _ROW))
    yield _vector("ffn.x_k", "channel_mix_lerp_k")


RWKV = (
    GGUFFamily(
        ("rwkv6",), lambda _: {}, lambda _: Naming("blocks.", _OUTSIDE, _INSIDE, _six, _norm)
    ),
    GGUFFamily(
        ("rwkv7",), lambda _: {}, lambda _: Naming("blocks.", _OUTSIDE, _INSIDE, _seven, _norm)
    ),
)
