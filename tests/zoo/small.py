"""A list of ten small models, bundled and generated, in both modes: seconds to run."""

from __future__ import annotations

import numpy as np

from tests.families import FAMILIES

GENERATED = ("mamba", "qwen3_next", "rwkv", "gpt2")
COUNT = 10


def write_list(folder):
    """The list, with its generated models beside it."""
    families = {str(family): family for family in FAMILIES if str(family) in GENERATED}
    np.save(folder / "ids.npy", next(iter(families.values())).token_ids(4).numpy())
    text = "mode = 'data'\nsource = {max_tokens = 256, seq_len = 64}\n"
    told = ["[defaults]\nanalyses = ['spectrum', 'memory']\n"]
    for name in ("tiny-mamba", "tiny-mamba2"):
        told.append(f"[models.{name}-weights]\nmodel = '{name}'\nmode = 'weights'\n")
        told.append(f"[models.{name}-data]\nmodel = '{name}'\n{text}")
    for name, family in families.items():
        family.write(folder / name)
        tokens = "mode = 'data'\nsource.tokens = 'ids.npy'\n"
        told.append(f"[models.{name}]\nmodel = '{name}'\n{tokens}")
    told.append(f"[models.tiny-llama]\n{text}")
    told.append("[models.mamba-weights]\nmodel = 'mamba'\nmode = 'weights'\n")
    (folder / "zoo.toml").write_text("\n".join(told))
    return folder / "zoo.toml"
