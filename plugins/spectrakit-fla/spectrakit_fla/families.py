"""A family of fla: how its mixer follows from the config, and what the mixer's tensors are called.

    Family(
        "gla",
        mixer=gla,                    # (config, layer number) -> GLA(heads=..., ...)
        names=gla_names,              # (config) -> {"query_projection": "q_proj.weight", ...}
    )

`names` has a name for every role that a mixer of the family may have; which of them a layer has,
the mixer's `shapes()` say. A name is below `model.layers.N.attn.`, unless it begins with `model.`:
then it is a tensor of the whole model, such as `model.lower_bounds`, and given to every layer.

Options that all families share are checked elsewhere (`FlaModel.usual`, `hybrid`). A family checks
its own in `mixer`: one at a value that is not read is refused by `options.require_usual`, never
ignored. Defaults are those of fla's config classes, except where such a class does not have the
option: then it is the layer's own default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit_fla.initial import initial
from spectrakit_fla.model import FlaModel

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers.base import WrittenOutMixer


def always(names: Mapping[str, str]) -> Callable[[Configured], Mapping[str, str]]:
    """`names`, whatever the config says."""
    return lambda _: names


@dataclass(frozen=True)
class Family:
    """Models of one `model_type`.

    mixer: from the config and the layer's number. names: of the mixer's tensors, by role. precise:
    roles that stay in float32 at least. model: what is around the mixers. mark: a tensor that only
    its files have, where a `model_type` has had several layouts; such a family comes first.
    initial: what training starts from.
    """

    model_type: str
    mixer: Callable[[Configured, int], WrittenOutMixer]
    names: Callable[[Configured], Mapping[str, str]]
    precise: tuple[str, ...] = ()
    model: type[FlaModel] = FlaModel
    mark: str | None = None
    initial: Callable[[Configured], Initial] = initial

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`, and the mark if there is one."""
        if checkpoint.config.get("model_type") != self.model_type:
            return False
        return self.mark is None or self.mark in checkpoint.tensors
