"""The layers of fla, each written out from its input to its output.

Layers whose recurrence spectrakit has already go by its name for them: retention is one kind.
"""

from spectrakit.mixers import Mixer
from spectrakit_fla.mixers.comba import Comba
from spectrakit_fla.mixers.delta_net import DeltaNet
from spectrakit_fla.mixers.deltaproduct import DeltaProductLayer, GatedDeltaProductLayer
from spectrakit_fla.mixers.forgetting_attention import ForgettingAttention
from spectrakit_fla.mixers.gla import GLA
from spectrakit_fla.mixers.hgrn import HGRN
from spectrakit_fla.mixers.hgrn2 import HGRN2

#: Those that spectrakit itself does not have.
NEW_KINDS: tuple[type[Mixer], ...] = (
    GLA,
    HGRN,
    HGRN2,
    ForgettingAttention,
    DeltaNet,
    DeltaProductLayer,
    GatedDeltaProductLayer,
    Comba,
)
