"""Ten small models, bundled and generated, in both modes; and batches within this process."""

from __future__ import annotations

import numpy as np

from spectrakit.zoo.driver import Driver, Template
from spectrakit.zoo.executors import Local
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.job import Job
from spectrakit.zoo.sorting import sort_entries
from spectrakit.zoo.watch import Unwatched
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


class Kept(Local):
    """Threads of this process whose fork server stays, for the next batch; see `end_children`."""

    def close(self):
        self._executor.shutdown(wait=True)


def run(entries, folder, jobs=2, **how):
    """A batch of these entries by one driver of this process; see `Ended`. how: for the jobs."""
    made = BatchFolder(folder)
    made.make()
    driver = Driver(made, Template(Job("", {}, "", "", **how)), Kept(jobs), Unwatched())
    return driver.run(sort_entries(made, entries).todo, "", len(entries))
