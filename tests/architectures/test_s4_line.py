"""S4, S4D, DSS, S5 and LRU from files with their published names, to the tables."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spectrakit as sk
from spectrakit.errors import MalformedError, UnsupportedError, UsageError
from spectrakit.extraction import extract
from spectrakit.progress import Silent
from spectrakit.spec import RunSpec
from tests.mixers.test_mamba import assert_within
from tests.support import state_dicts
from tests.support.convolution import as_complex, convolved
from tests.support.state_dicts import S5_OPTIONS, VERSION_4, as_version_3

S4D_OPTIONS = VERSION_4 | {"disc": "zoh"}
VERSION_3 = {"real_type": "exp", "bandlimit": None}


def version_3_s4():
    return as_version_3(state_dicts.version_4(low_rank=True))


def version_3_s4d():
    return as_version_3(state_dicts.version_4())


def version_2_s4():
    tensors = version_3_s4()
    tensors["kernel.kernel.log_w_real"] = tensors.pop("kernel.kernel.inv_w_real")
    del tensors["kernel.kernel.L"]
    return tensors


#: A layer's maker, its config, the architecture, and kind, heads, channels and states.
FAMILIES = {
    "minimal S4D": (state_dicts.minimal_s4d, {}, "minimal-s4d", ("s4d", None, 3, 8)),
    "S4D": (state_dicts.version_4, S4D_OPTIONS, "state-spaces-s4", ("s4d", None, 4, 6)),
    "S4": (
        partial(state_dicts.version_4, low_rank=True),
        VERSION_4,
        "state-spaces-s4",
        ("s4", None, 4, 6),
    ),
    "S4D 3": (version_3_s4d, VERSION_3 | {"disc": "zoh"}, "state-spaces-s4", ("s4d", None, 4, 6)),
    "S4 3": (version_3_s4, VERSION_3, "state-spaces-s4", ("s4", None, 4, 6)),
    "S4 2": (version_2_s4, {"l_kernel": 16}, "state-spaces-s4", ("s4", None, 4, 6)),
    "DSS": (state_dicts.dss, {"version": "exp"}, "dss", ("dss", None, 3, 4)),
    "S5": (state_dicts.s5, S5_OPTIONS, "s5", ("s5", 1, None, 8)),
    "LRU": (state_dicts.lru, {}, "minimal-lru", ("lru", 1, None, 4)),
}
OPTIONS = {name: family for name, family in FAMILIES.items() if family[1]}


@pytest.fixture
def written(tmp_path):
    """`written(tensors)` saves them as a training program does, and gives the file's name."""

    def write(tensors, **beside):
        file = tmp_path / "ckpt.pth"
        torch.save({"model": tensors, "acc": 80.8, "epoch": 7, **beside}, file)
        return str(file)

    return write


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_with_the_published_names(family, written):
    make, config, architecture, sizes = FAMILIES[family]
    with sk.open_checkpoint(written(state_dicts.layers(make, 11)), config=config) as model:
        assert model.architecture.name == architecture
        assert [layer.index for layer in model.layers] == list(range(11))
        assert "layers.10." in model.layers[10].path  # after 9, not after 1
        for layer in model.layers:
            assert (layer.kind, layer.heads, layer.channels, layer.state_size) == sizes
            assert layer.reason is None
        run = sk.analyze(model, domain="both")
        assert model.recurrence(0).mode == "static"
    rows = [r for r in run.table("spectrum").to_pylist() if r["domain"] == "discrete"]
    _, heads, channels, states = sizes
    assert len(rows) == 11 * (heads or channels) * states
    assert {row["mode"] for row in rows} == {"static"}
    assert all(row["modulus"] < 1 for row in rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prefix", ["module.s4_layers.{}.", "params/encoder/layers_{}/"])
def test_what_is_around_a_layer_does_not_matter(family, prefix, tmp_path):
    make, config, architecture, _ = FAMILIES[family]
    tensors = state_dicts.layers(make, prefix=prefix)
    if "/" in prefix:
        tensors = {name.replace(".", "/"): tensor for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "any.safetensors")
    with sk.open_checkpoint(str(tmp_path / "any.safetensors"), config=config) as model:
        assert model.architecture.name == architecture
        assert len(model.layers) == 2
        inputs = torch.randn(1, 5, *_token_shape(model.layers[1]), dtype=torch.float64)
        assert model.recurrence(1).run(inputs).shape == inputs.shape


def _token_shape(layer):
    """(H, Q) of an input."""
    return (layer.channels, 1) if layer.heads is None else (1, layer.mixer.model_width)


@pytest.mark.parametrize("low_rank", [True, False], ids=["S4", "S4D"])
def test_versions_3_and_4_of_a_layer_are_the_same_layer(low_rank, written):
    make = partial(state_dicts.version_4, low_rank=low_rank)
    rule = {} if low_rank else {"disc": "bilinear"}
    new = opened(written(state_dicts.layers(make)), VERSION_4 | rule)
    old = opened(written(state_dicts.layers(lambda: as_version_3(make()))), VERSION_3 | rule)
    inputs = torch.randn(1, 9, 4, 1, dtype=torch.float64)
    assert_within(old.run(inputs), new.run(inputs), 1e-12)
    torch.testing.assert_close(old.eigenvalues().values, new.eigenvalues().values)


def opened(name, config=None, layer=1):
    with sk.open_checkpoint(name, config=config) as model:
        return model.recurrence(layer)


def test_one_file_may_hold_both_s4_and_s4d(written):
    tensors = state_dicts.layers(state_dicts.version_4)
    tensors |= state_dicts.layers(
        partial(state_dicts.version_4, low_rank=True), prefix="model.late.{}.layer."
    )
    with sk.open_checkpoint(written(tensors), config=S4D_OPTIONS) as model:
        assert [layer.kind for layer in model.layers] == ["s4", "s4", "s4d", "s4d"]


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", OPTIONS)
def test_options_that_the_weights_do_not_show_are_asked_for_by_name(family, written):
    make, config, *_ = OPTIONS[family]
    name = written(state_dicts.layers(make))
    with sk.open_checkpoint(name) as model, pytest.raises(UsageError) as caught:
        _ = model.layers
    for key in config:
        assert f"{key} (" in caught.value.message
        assert f"'{key}': " in caught.value.hint


@pytest.mark.parametrize("family", OPTIONS)
def test_each_option_is_needed_and_checked(family, written):
    make, config, *_ = OPTIONS[family]
    name = written(state_dicts.layers(make))
    for key in config:
        rest = {other: value for other, value in config.items() if other != key}
        with pytest.raises(UsageError, match=rf"do not show {key} \("):
            opened(name, rest)
        with pytest.raises(UsageError, match=rf"says {key} = 'wrong'") as caught:
            opened(name, config | {key: "wrong"})
        assert f"'{key}': " in caught.value.hint


@pytest.mark.parametrize("length", [-1, 16.5, True, None])
def test_a_kernel_length_is_a_whole_number(length, written):
    with pytest.raises(UsageError, match="l_kernel is LENGTH") as caught:
        opened(written(state_dicts.layers(version_2_s4)), {"l_kernel": length})
    assert f"says l_kernel = {length}" in caught.value.message


@pytest.mark.parametrize("length", [None, 0, -4, [32, 32], "12"])
def test_the_softmax_rule_without_a_length_has_its_spectrum(length, written):
    name = written(state_dicts.layers(state_dicts.version_4))
    config = VERSION_4 | {"disc": "dss", "l_max": length}
    assert opened(name, config).input_map is None
    assert opened(name, config | {"l_max": 12}).input_map is not None


def test_the_config_file_is_enough(written, tmp_path):
    name = written(state_dicts.layers(state_dicts.s5))
    (tmp_path / "config.json").write_text(
        '{"discretization": "bilinear", "conj_sym": false, "clip_eigs": true, "d_model": 3}'
    )
    with sk.open_checkpoint(name) as model:
        assert model.layers[0].mixer.discretisation == "bilinear"
        assert model.layers[0].state_size == 4
    with sk.open_checkpoint(name, config={"conj_sym": True}) as model:
        assert model.layers[0].state_size == 8
        assert model.layers[0].mixer.discretisation == "bilinear"


def test_options_change_what_the_weights_mean(written):
    name = written(state_dicts.layers(state_dicts.version_4))
    radii = [
        float(opened(name, S4D_OPTIONS | change).eigenvalues().spectral_radius.max())
        for change in ({}, {"real_transform": "softplus"}, {"dt_transform": "sigmoid"})
    ]
    assert len(set(radii)) == 3
    limited = opened(name, S4D_OPTIONS | {"bandlimit": 0.01})
    assert bool((limited.output_map.weight == 0).any())
    assert limited.eigenvalues().spectral_radius.max() == pytest.approx(radii[0])


@pytest.mark.parametrize("version", ["softmax", "clip", "clip-no-scale", "exp", "exp-no-scale"])
def test_every_version_of_dss(version, written):
    name = written(state_dicts.layers(partial(state_dicts.dss, version=version)))
    config = {"version": version, "max_real_Lambda": 1e-4, "l_max": 12}
    recurrence = opened(name, config)
    assert recurrence.run(torch.randn(1, 12, 3, 1).double()).isfinite().all()
    with sk.open_checkpoint(name) as model, pytest.raises(UsageError, match=version):
        _ = model.layers


def test_names_alone_decide_the_version_of_dss_with_two_logarithms(written):
    name = written(state_dicts.layers(partial(state_dicts.dss, version="exp-re-im")))
    assert opened(name).input_map is not None


# ---- what is not read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "config", "note"),
    [
        (partial(state_dicts.version_4, outputs=2, feedthroughs=1), S4D_OPTIONS, "bidirectional"),
        (
            partial(state_dicts.version_4, outputs=2, feedthroughs=1, low_rank=True),
            VERSION_4,
            "bidirectional",
        ),
        (partial(state_dicts.version_4, outputs=3), S4D_OPTIONS, "3 outputs per channel"),
        (partial(state_dicts.s5, directions=2), S5_OPTIONS, "bidirectional"),
    ],
)
def test_directions_share_a_and_are_noted(make, config, note, written):
    with sk.open_checkpoint(written(state_dicts.layers(make)), config=config) as model:
        assert all(note in layer.reason for layer in model.layers)
        assert model.recurrence(0).input_map is None
        rows = sk.analyze(model).table("layers").to_pylist()
    assert [row["status"] for row in rows] == ["analysed", "analysed"]


def test_tokens_cannot_be_run(written):
    name = written(state_dicts.layers(state_dicts.minimal_s4d))
    with pytest.raises(UnsupportedError, match="bare state dict") as caught:
        sk.analyze(name, mode="data")
    assert caught.value.hint.endswith("mode='weights'")


def test_a_real_s4_is_refused(written):
    make = partial(state_dicts.version_4, low_rank=True)
    tensors = state_dicts.layers(make)
    tensors = {name: t for name, t in tensors.items() if not name.endswith("A_imag")}
    with pytest.raises(UnsupportedError, match="real system"):
        opened(written(tensors), VERSION_4)


@pytest.mark.parametrize(
    "names",
    [
        ["h.0.kernel.C", "h.0.kernel.log_dt", "h.0.kernel.A_imag"],  # log_A_real is missing
        ["h.0.kernel.A_real", "h.0.kernel.B", "h.0.other.inv_dt", "h.0.kernel.C"],
        ["mixer.A_log", "mixer.D", "mixer.dt_bias"],
        ["nu_log", "theta_log"],
    ],
)
def test_names_that_only_resemble_a_layer_are_not_claimed(names, written):
    with pytest.raises(UnsupportedError, match="no architecture here reads"):
        sk.open_checkpoint(written({name: torch.zeros(2, 2) for name in names}))


def test_a_model_type_leaves_the_checkpoint_to_others(written, tmp_path):
    name = written(state_dicts.layers(state_dicts.minimal_s4d))
    (tmp_path / "config.json").write_text('{"model_type": "something_else"}')
    with pytest.raises(UnsupportedError, match="model_type 'something_else'"):
        sk.open_checkpoint(name)


# ---- damaged files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "tensor", "shape"),
    [
        ("minimal S4D", "kernel.log_dt", (5,)),
        ("minimal S4D", "kernel.C", (3, 4)),
        ("minimal S4D", "kernel.log_A_real", (3,)),
        ("minimal S4D", "D", (2, 3)),
        ("S4D", "kernel.C", (1, 3, 3, 2)),  # 3 channels for 2 systems
        ("S4D", "kernel.C", (4, 3, 2)),
        ("S4D", "kernel.inv_dt", (4, 2)),
        ("S4D", "kernel.B", (1, 4, 3, 2)),
        ("S4", "kernel.inv_dt", (4, 3)),
        ("S4", "kernel.P", (1, 2, 3)),
        ("S4", "kernel.P", (1, 2, 4, 2)),
        ("S4", "kernel.l_kernel", (1,)),
        ("DSS", "kernel.W", (3, 4, 2)),
        ("DSS", "kernel.log_dt", (3, 3)),
        ("DSS", "kernel.Lambda_im", (5,)),
        ("S5", "seq.B", (4, 3)),
        ("S5", "seq.C", (3, 5, 2)),
        ("S5", "seq.log_step", (4,)),
        ("LRU", "seq.B_re", (4,)),
        ("LRU", "seq.nu_log", (5,)),
        ("LRU", "seq.C_im", (4, 3)),
        ("LRU", "seq.nu_log", (0,)),
    ],
)
def test_shapes_that_contradict_each_other(family, tensor, shape, written):
    make, config, *_ = FAMILIES[family]
    tensors = state_dicts.layers(make)
    tensors[f"model.layers.1.layer.{tensor}"] = torch.zeros(shape)
    with pytest.raises(MalformedError, match=r"layers\.1\.layer\..* (has shape|has \d+ channels)"):
        opened(written(tensors), config)


@pytest.mark.parametrize("family", FAMILIES)
def test_nan_is_found_before_it_spreads(family, written):
    make, config, *_ = FAMILIES[family]
    tensors = state_dicts.layers(make)
    damaged = next(n for n in tensors if n.endswith(("_re", "_real", "neg_re", "nu_log")))
    tensors[damaged].view(-1)[0] = float("nan")
    with pytest.raises(MalformedError, match=r"holds 1 NaN of"):
        opened(written(tensors), config, layer=0)


def test_integers_are_not_parameters(written):
    tensors = state_dicts.layers(state_dicts.lru)
    tensors["model.layers.0.layer.seq.nu_log"] = torch.zeros(4, dtype=torch.int8)
    with pytest.raises(UnsupportedError, match="stored as I8"):
        opened(written(tensors))


# ---- out of the program -------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_extracted_matrices_are_the_recurrence(family, written):
    make, config, *_ = FAMILIES[family]
    with sk.open_checkpoint(written(state_dicts.layers(make)), config=config) as model:
        spec = RunSpec(model="x", mode="weights")
        found = extract(model, [1], spec, form="a-bar", progress=Silent()).tensors
        recurrence = model.recurrence(1)
        inputs = torch.randn(1, 6, *_token_shape(model.layers[1]), dtype=torch.float64)
    a, b, c = (torch.view_as_complex(found[f"layers.1.{name}"]) for name in ("A_bar", "B_bar", "C"))
    a = torch.diag_embed(a) if a.dim() == 2 else a
    state = torch.zeros(*a.shape[:-1], 1, dtype=a.dtype)
    outputs = []
    for t in range(6):
        state = a @ state + b @ inputs[0, t].to(a.dtype).unsqueeze(-1)
        outputs.append((c @ state).squeeze(-1).real)
    d = found["layers.1.D"].double().reshape(inputs.shape[2:])
    assert_within(torch.stack(outputs)[None] + d * inputs, recurrence.run(inputs), 1e-12)


def real_checkpoint():
    """The S4D that EskildAndersen/s4 trained on sequential CIFAR; skips where it is not at hand."""
    file = Path(os.environ.get("SPECTRAKIT_TEST_CHECKPOINTS", "")) / "s4d-scifar" / "ckpt.pth"
    if not file.is_file():
        pytest.skip("the trained S4D is not here; SPECTRAKIT_TEST_CHECKPOINTS names its folder")
    return str(file)


def test_a_trained_s4d_gives_its_convolution():
    with sk.open_checkpoint(real_checkpoint()) as model:
        assert [layer.channels for layer in model.layers] == [128] * 4
        for layer in model.layers:
            names = layer.parameters
            tensors = model.checkpoint.read(names.values())
            p = {role: tensors[name].double().numpy() for role, name in names.items()}
            a = -np.exp(p["A_real"]) + 1j * p["A_imag"]
            z = np.exp(p["step"])[:, None] * a
            weight = as_complex(p["C"]) * (np.exp(z) - 1) / a
            kernel = 2 * np.einsum("hn,hnl->hl", weight, np.exp(z[..., None] * np.arange(64))).real
            torch.manual_seed(layer.index)
            inputs = torch.randn(1, 64, 128, 1, dtype=torch.float64)
            expected = convolved(kernel, inputs) + torch.from_numpy(p["D"])[:, None] * inputs
            assert_within(model.recurrence(layer.index).run(inputs), expected, 2e-14)
        summary = sk.analyze(model).table("spectrum_summary").to_pylist()
    assert [row["count"] for row in summary] == [128 * 64] * 4
    assert all(row["spectral_radius"] < 1 for row in summary)
