"""Every family in memory is what it is in files, and is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.token_options import TokenOptions
from tests.families import FAMILIES
from tests.support.live import left_as_it_was, live

pytestmark = pytest.mark.filterwarnings("ignore:.*falling back to its reference:UserWarning")


def assert_same_recurrences(found, expected):
    for layer in expected.layers:
        if layer.in_weights:
            own = found.recurrence(layer.index).eigenvalues()
            theirs = expected.recurrence(layer.index).eigenvalues()
            assert torch.equal(own.log_modulus, theirs.log_modulus), layer.path


def rows(run, name):
    """A table without what says which model it is of."""
    table = run.table(name)
    kept = [column for column in table.column_names if column not in ("model_id", "revision")]
    if name == "layers":  # transformers may join in memory what are two tensors of a file
        kept.remove("bytes_read")
    return table.select(kept)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_module_is_read_as_its_files_are(family, tmp_path):
    module = live(family, tmp_path / "model")
    np.save(tmp_path / "ids.npy", family.token_ids().numpy())
    source = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=2, seq_len=family.tokens)

    def run(model):
        return sk.analyze(model, mode="data", source=source, device="cpu", analyses=("spectrum",))

    with left_as_it_was(module):
        found = sk.from_model(module)
        runs = [run(found)]
    with sk.open_checkpoint(str(tmp_path / "model")) as files:
        assert [layer.path for layer in found.layers] == [layer.path for layer in files.layers]
        with left_as_it_was(module):
            assert_same_recurrences(found, files)
        runs.append(run(files))
    for name in runs[1].tables:
        assert rows(runs[0], name).equals(rows(runs[1], name)), name


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_state_dict_is_read_as_its_files_are(family, tmp_path):
    module = live(family, tmp_path)
    with sk.open_checkpoint(str(tmp_path)) as files:
        names = list(files.checkpoint.tensors)
        stored = {name: tensor.clone() for name, tensor in files.checkpoint.read(names).items()}
        for tensors in (stored, module.state_dict()):
            before = {name: tensor.clone() for name, tensor in tensors.items()}
            found = sk.from_state_dict(tensors, config=module.config)
            assert_same_recurrences(found, files)
            seen = []
            found.load().run(family.token_ids(), lambda layer, _, seen=seen: seen.append(layer))
            readable = [layer for layer in files.layers if layer.mixer is not None]
            assert {layer.path for layer in seen} == {layer.path for layer in readable}
            assert all(torch.equal(tensors[name], before[name]) for name in before)
