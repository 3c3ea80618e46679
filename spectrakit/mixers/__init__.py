"""Mixers: one file per kind of sequence layer, from parameters or activations to a recurrence."""

from spectrakit.mixers.base import Mixer, Observation, Parameters
from spectrakit.mixers.dss import DSS
from spectrakit.mixers.fixed_decay import LightningAttention, Retention
from spectrakit.mixers.gated_delta import GatedDeltaNet
from spectrakit.mixers.kimi_delta import KimiDelta
from spectrakit.mixers.linear_attention import LinearAttention
from spectrakit.mixers.lru import LRU
from spectrakit.mixers.mamba import Mamba
from spectrakit.mixers.mamba2 import Mamba2
from spectrakit.mixers.mlstm import MLSTM
from spectrakit.mixers.norm_attention import NormAttention
from spectrakit.mixers.rg_lru import RGLRU
from spectrakit.mixers.rwkv4 import RWKV4
from spectrakit.mixers.rwkv6 import RWKV5, RWKV6
from spectrakit.mixers.rwkv7 import RWKV7
from spectrakit.mixers.s4 import S4
from spectrakit.mixers.s4d import S4D
from spectrakit.mixers.s5 import S5
from spectrakit.mixers.short_convolution import ShortConvolution
from spectrakit.mixers.softmax_attention import SoftmaxAttention

__all__ = [
    "DSS",
    "LRU",
    "MLSTM",
    "RGLRU",
    "RWKV4",
    "RWKV5",
    "RWKV6",
    "RWKV7",
    "S4",
    "S4D",
    "S5",
    "GatedDeltaNet",
    "KimiDelta",
    "LightningAttention",
    "LinearAttention",
    "Mamba",
    "Mamba2",
    "Mixer",
    "NormAttention",
    "Observation",
    "Parameters",
    "Retention",
    "ShortConvolution",
    "SoftmaxAttention",
]
