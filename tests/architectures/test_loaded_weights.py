"""What transformers makes of a file's weights is what is in the file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import spectrakit as sk
from tests.architectures.test_layers import changed


@pytest.mark.parametrize("rescaled", [False, True])
def test_an_option_of_initialisation_changes_no_loaded_weight(rescaled, tiny_folder, tmp_path):
    folder = changed(tiny_folder, tmp_path, {"rescale_prenorm_residual": rescaled})
    written = load_file(f"{folder}/model.safetensors")
    with sk.open_checkpoint(folder) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
    assert runnable.model.config.rescale_prenorm_residual is rescaled
    loaded = runnable.model.state_dict()
    assert written.keys() <= loaded.keys()
    for name, value in written.items():
        assert torch.equal(loaded[name], value), name
