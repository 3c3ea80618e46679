"""docs/hub_check.py: against a Hub on this machine, with small files of all its kinds."""

from __future__ import annotations

import re
from dataclasses import replace

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch

from docs import hub_check
from docs.refresh import ROOT
from spectrakit.checkpoints import hub_http
from tests.conftest import CHECKPOINTS
from tests.support import shapes, state_dicts
from tests.support.hub import HubServer
from tests.support.mamba_ssm_files import write_mamba_ssm

MODELS = {model.name: model for model in hub_check.MODELS}


def rwkv4(layers=2, width=8, tokens=11):
    """Every tensor of an RWKV-4 file, as its project's models have them."""
    torch.manual_seed(0)
    shapes = {"emb.weight": (tokens, width), "head.weight": (tokens, width)}
    norms = ["ln_out", "blocks.0.ln0"]
    for n in range(layers):
        norms += [f"blocks.{n}.ln1", f"blocks.{n}.ln2"]
        att, ffn = f"blocks.{n}.att.", f"blocks.{n}.ffn."
        shapes |= {att + name: (width,) for name in ("time_decay", "time_first")}
        mixes = [*(f"{att}time_mix_{x}" for x in "kvr"), *(f"{ffn}time_mix_{x}" for x in "kr")]
        shapes |= dict.fromkeys(mixes, (1, 1, width))
        square = [f"{att}{x}.weight" for x in ("key", "value", "receptance", "output")]
        shapes |= dict.fromkeys([*square, f"{ffn}receptance.weight"], (width, width))
        shapes |= {f"{ffn}key.weight": (4 * width, width), f"{ffn}value.weight": (width, 4 * width)}
    shapes |= {f"{norm}.{kind}": (width,) for norm in norms for kind in ("weight", "bias")}
    return {name: torch.randn(shape).bfloat16() for name, shape in shapes.items()}


def count(tensors):
    return sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Small files of every kind, by the repository's name: what is served, and what is expected."""
    base = tmp_path_factory.mktemp("models")
    made = {}

    def put(name, folder, **expected):
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        model = MODELS[name]
        if model.file_bytes is not None:
            (weights,) = (p for n, p in files.items() if n.endswith((".bin", ".pth", ".pt")))
            expected["file_bytes"] = weights.stat().st_size
        made[name] = files, replace(model, **expected)

    tiny = CHECKPOINTS / "tiny-mamba"
    folder = write_mamba_ssm(tiny, base / "zip")
    put("state-spaces/mamba-130m", folder, layers=3, parameters=229440)
    put("state-spaces/mamba-130m-hf", tiny, layers=3, parameters=229440)
    put("EleutherAI/pythia-70m", CHECKPOINTS / "tiny-llama", layers=3, parameters=301728)

    (base / "rwkv").mkdir()
    tensors = rwkv4()
    name = "BlinkDL/rwkv-4-pile-169m/RWKV-4-Pile-169M-20220807-8023.pth"
    torch.save(tensors, base / "rwkv" / "RWKV-4-Pile-169M-20220807-8023.pth")
    put(name, base / "rwkv", layers=2, parameters=count(tensors))

    shape = shapes.Shape(layers=4, width=64, vocabulary=64, state=8)
    tensors = shapes.mamba(shape, original=False)
    config = shapes.mamba_config(shape, original=False)
    shapes.write(base / "shards", config, tensors, form="safetensors", shards=3)
    put("tiiuae/falcon-mamba-7b", base / "shards", layers=4, parameters=count(tensors))

    (base / "s4" / "checkpoints").mkdir(parents=True)
    make = lambda: state_dicts.version_4(systems=1, low_rank=True)  # noqa: E731
    tensors = state_dicts.layers(make, prefix="model.c_layers.{}.layer.")
    torch.save({"state_dict": tensors}, base / "s4" / "checkpoints" / "sashimi_sc09_v4.pt")
    name = "krandiash/sashimi-release/checkpoints/sashimi_sc09_v4.pt"
    put(name, base / "s4", layers=2, parameters=count(tensors))
    assert made.keys() == MODELS.keys()
    return made


@pytest.fixture
def hub(folders, monkeypatch, tmp_path):
    """All of them are served, and nothing waits."""
    with HubServer(cdn=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(hub_http, "pause", lambda given_up, wait: None)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        for name, (files, _) in folders.items():
            repo = "/".join(name.split("/")[:2])
            server.add_repo(repo, files, card={"license": "apache-2.0"})
        monkeypatch.setattr(hub_check, "MODELS", tuple(model for _, model in folders.values()))
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def run(tmp_path, capsys):
    """`run(...)`: the exit code, what was printed, and the report."""

    def run(*arguments):
        out = tmp_path / "report" / "hub-check.md"
        code = hub_check.main(["--out", str(out), *arguments])
        return code, capsys.readouterr().out, out.read_text() if out.exists() else None

    return run


def test_all_is_as_expected(hub, run, folders):
    code, printed, report = run()
    assert code == 0, printed
    assert printed.count("ok ") == len(folders)
    assert "All is as expected." in report
    assert "**" not in report
    for name, (_, model) in folders.items():
        sha = hub.repos["/".join(name.split("/")[:2])].sha
        section = report.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert f"| commit | {sha} |" in section
        assert f"| layers | {model.layers} | {model.layers} | ok |" in section
        assert re.search(r"\| fingerprint of the headers \| headers-[0-9a-f]{12} \|", section)
        assert ("|eigenvalues" in section.replace("\\", "")) == model.in_weights
        assert all(page in section for page in model.pages)


def test_some_can_be_chosen(hub, run):
    code, printed, report = run("mamba-130m-hf", "sashimi")
    assert code == 0, printed
    assert len(re.findall("^## ", report, re.MULTILINE)) == 2
    assert not any("pythia" in seen.path for seen in hub.seen)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"layers": 23}, "layers: 3, expected 23"),
        ({"kinds": ("mamba2",)}, "kinds of layers: mamba, expected mamba2"),
        ({"parameters": 300_000}, "parameters: 229,440, expected 300,000, within 5 %"),
        ({"file_bytes": 1}, "expected 1"),
        ({"files": 2}, "weight files: 1, expected 2"),
        ({"in_weights": False}, "spectrum from weights: yes, expected no"),
    ],
)
def test_what_is_not_as_expected_is_told(hub, run, monkeypatch, folders, changed, told):
    _, model = folders["state-spaces/mamba-130m"]
    others = [each for _, each in folders.values() if each is not model]
    monkeypatch.setattr(hub_check, "MODELS", (replace(model, **changed), *others))
    code, printed, report = run()
    assert code == 5
    assert "NOT SO  state-spaces/mamba-130m\n" in printed
    assert told in printed
    assert printed.count("ok ") == len(others)  # the rest goes on
    assert "Not all is as expected." in report
    assert report.count("**not so**") == 1


def test_a_repository_that_is_gone_or_damaged(hub, run, folders):
    del hub.repos["EleutherAI/pythia-70m"]
    files, _ = folders["state-spaces/mamba-130m-hf"]
    broken = files["model.safetensors"].read_bytes()[:1000]
    hub.add_repo("state-spaces/mamba-130m-hf", files | {"model.safetensors": broken})
    code, printed, report = run()
    assert code == 5
    assert "there is no model EleutherAI/pythia-70m" in printed
    assert report.count("**ended early:**") == 2
    assert printed.count("ok ") == 4


def test_a_gated_repository(hub, run, folders):
    files, _ = folders["state-spaces/mamba-130m-hf"]
    hub.add_repo("state-spaces/mamba-130m-hf", files, gated=True)
    code, printed, report = run("mamba-130m-hf")
    assert code == 5
    assert "gated: yes, expected no" in printed
    assert "gated repository" in report


def test_parameters_that_are_no_numbers_are_told(hub, run, tmp_path):
    name = "BlinkDL/rwkv-4-pile-169m/RWKV-4-Pile-169M-20220807-8023.pth"
    tensors = rwkv4()
    tensors["blocks.0.att.time_decay"][:] = float("nan")
    path = tmp_path / name.rpartition("/")[2]
    torch.save(tensors, path)
    hub.add_repo("BlinkDL/rwkv-4-pile-169m", {path.name: path})
    code, _, report = run("BlinkDL")
    assert code == 5
    assert "NaN" in report


def test_no_hub(run, monkeypatch):
    monkeypatch.setattr(hub_http, "pause", lambda given_up, wait: None)
    code, printed, report = run()
    assert (code, printed, report) == (6, "", None)


def test_a_token_is_not_in_the_report(hub, run, monkeypatch):
    token = "hf_" + "x" * 34
    hub.tokens.add(token)
    monkeypatch.setenv("HF_TOKEN", token)
    code, printed, report = run("pythia")
    assert code == 0
    assert any(seen.authorization for seen in hub.seen)
    assert token not in printed + report


# ---- what it expects of the published models ---------------------------------------------------


@pytest.mark.parametrize("model", hub_check.MODELS, ids=lambda model: model.name)
def test_what_is_expected_is_of_public_pages(model):
    assert model.address.startswith("hf://")
    assert model.pages
    assert all(page.startswith("https://") for page in model.pages)


def test_they_are_of_different_kinds():
    kinds = [model.kind for model in hub_check.MODELS]
    assert len(set(kinds)) == len(kinds) >= 5


@pytest.mark.parametrize(("name", "of_values"), [("state-spaces/mamba-130m", 4), ("BlinkDL/", 2)])
def test_sizes_of_files_are_those_of_their_parameters(name, of_values):
    (model,) = (m for m in hub_check.MODELS if m.name.startswith(name) and m.file_bytes)
    values = of_values * model.parameters
    assert values < model.file_bytes < values + 200_000  # names, and a directory


def mamba(layers, width, state, rank, tokens, tied):
    """Parameters of a Mamba, from the sizes of its config."""
    inner = 2 * width
    mixer = width * 2 * inner + inner * (4 + 1) + inner * (rank + 2 * state)
    mixer += rank * inner + inner + inner * state + inner + inner * width
    return layers * (mixer + width) + width + tokens * width * (1 if tied else 2)


def test_parameters_are_those_of_the_published_sizes():
    expected = {model.name: model.parameters for model in hub_check.MODELS}
    assert expected["state-spaces/mamba-130m"] == mamba(24, 768, 16, 48, 50280, True)
    assert expected["state-spaces/mamba-130m-hf"] == mamba(24, 768, 16, 48, 50280, True)
    assert expected["tiiuae/falcon-mamba-7b"] == mamba(64, 4096, 16, 256, 65024, False)
    attention = 4 * 512 * 512 + 4 * 512 + 8 * 512 * 512 + 5 * 512 + 4 * 512
    pythia = 6 * attention + 2 * 512 + 2 * 50304 * 512
    assert expected["EleutherAI/pythia-70m"] == pythia
    (rwkv,) = (n for name, n in expected.items() if name.startswith("BlinkDL/"))
    with torch.device("meta"):
        assert rwkv == count(rwkv4(12, 768, 50277))


def sashimi(width=64, layers=8, states=64, codes=256):
    """Parameters of a SaShiMi of two levels, from the sizes of its config."""

    def level(h):
        # C, the step and D of every channel; A, B and P, which all channels share.
        kernel = h * states + h + h + 3 * states
        s4 = kernel + 2 * h * h + 2 * h
        return layers * (s4 + (4 * h * h + 3 * h) + 2 * 2 * h)

    def pools(h):
        return (4 * h * 2 * h + 2 * h) + (2 * h * 4 * h + 4 * h)

    body = level(width) + level(2 * width) + level(4 * width) + pools(width) + pools(2 * width)
    return body + 2 * codes * width + codes + 2 * width


def test_parameters_of_sashimi():
    (model,) = (model for model in hub_check.MODELS if "sashimi" in model.name)
    assert model.parameters == sashimi()


def test_the_task_runs_it():
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"^hub-check: .*\n\t\$\(bin\)/python docs/hub_check\.py", text, re.MULTILINE)
