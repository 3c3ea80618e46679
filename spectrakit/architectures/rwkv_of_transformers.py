"""The names of RWKV-5 and 6 as the RWKV organisation publishes them for transformers.

Their classes are code beside the weights (`trust_remote_code`), which is not run here; the
parameters are the project's own, under other names:

    rwkv.embeddings.weight                        emb.weight
    rwkv.blocks.0.pre_ln.*                        blocks.0.ln0.*
    rwkv.blocks.N.attention.*                     blocks.N.att.*
    rwkv.blocks.N.feed_forward.*                  blocks.N.ffn.*
    ....time_mix_{key,value,receptance,gate}      ....time_mix_{k,v,r,g}, of RWKV-5
    rwkv.ln_out.*, head.weight                    ln_out.*, head.weight

Decays are stored as the project does: A = exp(-exp(time_decay)).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from spectrakit.architectures.config_keys import ConfigKeys, words

MODEL_TYPES = ("rwkv5", "rwkv6")

_FIRST = re.compile(r"(?:.+\.)?blocks\.0\.(attention|att)\.time_decay")
_CHANGES = (
    (r"(^|\.)rwkv\.(?=(?:embeddings|pre_ln|blocks|ln_out)\.)", r"\1"),
    (r"(^|\.)embeddings\.(?=weight$)", r"\1emb."),
    (r"(^|\.)(?:blocks\.0\.)?pre_ln\.", r"\1blocks.0.ln0."),
    (r"(^|\.)(blocks\.\d+)\.attention\.", r"\1\2.att."),
    (r"(^|\.)(blocks\.\d+)\.feed_forward\.", r"\1\2.ffn."),
    (r"\.time_mix_(k|v|r|g)(?:ey|alue|eceptance|ate)$", r".time_mix_\1"),
)

#: Sizes are those of the tensors; the rescaling is for half precision, and the project's own files
#: know no other norms.
KEYS = ConfigKeys(
    irrelevant=words(
        """
        attention_hidden_size context_length head_size hidden_size intermediate_size
        max_context_length model_version num_attention_heads num_hidden_layers rescale_every
        """
    ),
    fixed={"head_size_divisor": 8, "layer_norm_epsilon": 1e-5},
)


def is_of_the_project(names: Iterable[str]) -> bool:
    """Whether tensors are called as in those models, or as in the project's own files."""
    return _first(names) is not None


def has_its_names(names: Iterable[str]) -> bool:
    """Whether tensors are called as in those models."""
    return _first(names) == "attention"


def _first(names: Iterable[str]) -> str | None:
    """What the time mixing of the first block is called; None where there is none."""
    return next((match[1] for name in names if (match := _FIRST.fullmatch(name))), None)


def project_name(name: str) -> str:
    """What the RWKV project's own files call a tensor of such a model."""
    for pattern, change in _CHANGES:
        name = re.sub(pattern, change, name)
    return name
