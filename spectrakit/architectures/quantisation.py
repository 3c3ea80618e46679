"""Which checkpoints are quantised: their forward pass is refused, their weights mode may go on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spectrakit.errors import UnsupportedError
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource

#: Names that quantisers give to packed weights and to what unpacks them: bitsandbytes, GPTQ and
#: AWQ, compressed-tensors, HQQ, and the scales of float8.
_PACKED = re.compile(
    r"\.(SCB|absmax|quant_map|quant_state|nested_\w+|qweight|qzeros|g_idx|weight_packed|W_q"
    r"|weight_scale|weight_scale_inv)(\.|$)"
)
_EIGHT_BITS = frozenset({"F8_E4M3", "F8_E5M2", "F8_E8M0", "F4"})
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def quantisation(checkpoint: TensorSource) -> str | None:
    """How the weights are quantised, in words; None where they are plain floats."""
    for config in (checkpoint.config, checkpoint.config.get("text_config")):
        found = config.get("quantization_config") if isinstance(config, dict) else None
        if isinstance(found, dict):
            return str(found.get("quant_method", "by its config"))
    for name, entry in checkpoint.tensors.items():
        if _PACKED.search(name):
            return f"it has {name}"
        packed = name.endswith(".weight") and entry.dtype not in _FLOATS
        if packed or entry.dtype in _EIGHT_BITS:
            return f"{name} is stored as {entry.dtype}"
    return None


def check_runnable(checkpoint: TensorSource) -> None:
    """Raise UnsupportedError where the weights are quantised."""
    if quantisation(checkpoint) is not None:
        raise not_runnable(checkpoint)


def not_runnable(checkpoint: TensorSource) -> UnsupportedError:
    """The error for a quantised checkpoint whose forward pass cannot be run."""
    message = (
        f"{checkpoint.model_id} is quantised ({quantisation(checkpoint)}); "
        "its forward pass cannot be run here"
    )
    weights = given(mode="weights")
    hint = f"analyse the checkpoint before quantisation, or what {weights} can read of it"
    return UnsupportedError(message, hint=hint)
