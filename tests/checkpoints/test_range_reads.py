"""Of a file that is nearly all other weights, weights mode reads next to nothing, in each form."""

from __future__ import annotations

import json
import math
import shutil
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

import spectrakit as sk
from tests.support import shapes

SHAPE = shapes.Shape(layers=4, width=256, vocabulary=2048, state=32)
MIXER = "backbone.layers.{}.mixer."
ENDINGS = {"safetensors": ".safetensors", "pth": ".pth", "ckpt": ".ckpt", "model": ".model"}


@pytest.fixture(scope="module")
def tensors():
    """8.7 MB, of which 384 bytes are the A, the step and the D of its layers."""
    return shapes.mamba2(SHAPE, original=False)


def write(folder, form, tensors):
    folder.mkdir()
    if form == "dcp":
        optimizer = {"state": {"w": torch.ones(3)}}
        dcp.save({"model": tensors, "optim": optimizer}, checkpoint_id=str(folder))
    elif form == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    elif form == "ckpt":
        wrapped = {f"net.{name}": tensor for name, tensor in tensors.items()}
        torch.save({"epoch": 3, "state_dict": wrapped}, folder / "last.ckpt")
    else:
        torch.save(tensors, folder / f"weights{ENDINGS[form]}")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module", params=["safetensors", "pth", "ckpt", "model", "dcp"])
def files(request, tensors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files") / request.param
    with warnings.catch_warnings(action="ignore"):  # that nothing is distributed
        written = write(folder, request.param, tensors)
    yield request.param, written
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["top", "subfolder"])
def test_at_most_one_percent_is_read(files, hub_with_cdn, tensors, place):
    form, content = files
    hub = hub_with_cdn
    config = {"config.json": json.dumps(shapes.mamba2_config(SHAPE, original=False)).encode()}
    served = (
        content if place == "top" else {f"steps/{name}": path for name, path in content.items()}
    )
    hub.add_repo("org/model", config | served)
    part = {} if place == "top" else {"subfolder": "steps"}
    if form == "model":  # a name that promises nothing
        part = {"file": next(iter(served))}
    run = sk.analyze("org/model", **part)
    size = sum(path.stat().st_size for path in content.values())
    assert size > 8_000_000
    assert hub.bytes_sent <= 0.01 * size
    assert hub.requests <= 30
    for layer in range(SHAPE.layers):
        prefix = MIXER.format(layer)
        rates = zip(tensors[f"{prefix}A_log"].tolist(), tensors[f"{prefix}dt_bias"].tolist(),
                    strict=True)  # fmt: skip
        expected = [math.log1p(math.exp(bias)) * math.exp(a_log) for a_log, bias in rates]
        rows = run.table("spectrum").to_pylist()
        found = [row["decay_rate"] for row in rows if row["layer"] == layer]
        assert sorted(found) == pytest.approx(sorted(expected), rel=1e-6)
