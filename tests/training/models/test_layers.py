"""Every mixer as a module: its parallel form is the recurrence that spectrakit reads from it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spectrakit as sk
from spectrakit.dynamics.eigenvalue_sets import EIGENVALUE_SETS
from spectrakit.errors import UsageError
from spectrakit.training.models import builders
from spectrakit.training.models.backbone import freeze, model_of
from spectrakit.training.models.config import SpectrakitConfig
from spectrakit.training.models.mixer_module import is_recurrence

#: Mixers with small sizes that differ, by a name for the test.
SMALL = {
    "softmax": ("softmax", {"heads": 2}),
    "softmax-grouped": ("softmax", {"heads": 4, "groups": 2}),
    "linear": ("linear", {"heads": 2, "key_width": 3}),
    "norm": ("norm", {"heads": 2, "key_width": 3, "norm_function": "elu"}),
    "s4": ("s4", {"state_size": 6}),
    "s4d": ("s4d", {"state_size": 6}),
    "s4d-real": ("s4d", {"state_size": 5, "real": True}),
    "dss": ("dss", {"state_size": 3}),
    "s5": ("s5", {"state_size": 6}),
    "s5-blocks": ("s5", {"state_size": 8, "blocks": 2}),
    "lru": ("lru", {"state_size": 5}),
    "mamba": ("mamba", {"state_size": 3, "step_rank": 2}),
    "mamba2": ("mamba2", {"state_size": 3, "heads": 2}),
    "pseudo-lti": ("mamba2", {"state_size": 3, "heads": 2, "pseudo_lti": True}),
    "dense": ("dense", {"state_size": 6}),
    "deltanet": ("deltanet", {"heads": 2, "key_width": 3, "negative": True}),
    "gated-deltanet": ("gated_deltanet", {"heads": 2, "key_width": 3}),
    "kda": ("kda", {"heads": 2, "key_width": 4, "decay_rank": 3, "negative": True}),
    "rwkv7": ("rwkv7", {"heads": 2, "rank": 3}),
    "mlstm": ("mlstm", {"heads": 2, "key_width": 3}),
}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def config(name, **changes):
    mixer, options = SMALL[name]
    given = {"hidden_size": 8, "mixer": mixer, "mixer_options": options, "mlp_width": 6,
             "max_position_embeddings": 80, "vocab_size": 11, "num_hidden_layers": 1}  # fmt: skip
    return SpectrakitConfig(**{**given, **changes})


def built(name, dtype=torch.float64, seed=0, **changes):
    torch.manual_seed(seed)
    return model_of(config(name, **changes)).to(dtype)


def mixer_of(model, block=0):
    return model.model.blocks[block].mixer


def relative(found, wanted):
    return float((found - wanted).detach().abs().max() / wanted.detach().abs().max().clamp(1e-12))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=6, deadline=None)
@given(tokens=st.integers(1, 80), seed=st.integers(0, 99))
def test_training_computes_the_recurrence_that_is_read(name, dtype, tokens, seed):
    module = mixer_of(built(name, dtype, seed))
    hidden = torch.randn(2, tokens, 8, dtype=dtype, requires_grad=True)
    outputs, grads = [], []
    for form in (module, lambda hidden: module.observe(hidden).output()):
        y = form(hidden)
        weight = torch.linspace(0, 20, y.numel(), dtype=dtype).sin().view(y.shape)
        wanted = [hidden, *module.parameters()]
        # The recurrence of attention is not differentiable: its log-normalisers come from a kernel.
        own = () if name.startswith("softmax") else wanted
        found = torch.autograd.grad((y * weight).sum(), own, allow_unused=True) if own else ()
        outputs.append(y)
        zeros = [torch.zeros_like(leaf) if g is None else g
                 for leaf, g in zip(wanted, found, strict=False)]  # fmt: skip
        grads.append(zeros)
    assert relative(outputs[0], outputs[1]) <= TOLERANCE[dtype]
    whole = [torch.cat([g.flatten() for g in each]) for each in grads if each]
    if whole:
        assert relative(*whole) <= 5 * TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["softmax", "softmax-grouped"])
@pytest.mark.parametrize("positions", ["none", "rope", "alibi"])
def test_attention_by_sdpa_has_the_gradients_of_attention_written_out(name, positions):
    module = mixer_of(built(name, positions=positions))
    hidden = torch.randn(2, 13, 8, dtype=torch.float64)
    q, k, v = module.mixer.queries_keys_values(hidden, module.roles())
    repeat = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(repeat, 2), v.repeat_interleave(repeat, 2)
    scores = torch.einsum("bthk,bshk->bhts", q, k) / q.shape[-1] ** 0.5
    distance = torch.arange(13).view(1, -1) - torch.arange(13).view(-1, 1)
    if positions == "alibi":
        slopes = 2.0 ** (-8 * torch.arange(1, q.shape[2] + 1) / q.shape[2])
        scores = scores + slopes.view(-1, 1, 1) * distance
    weights = scores.masked_fill(distance > 0, -torch.inf).softmax(-1)
    wanted = torch.einsum("bhts,bshp->bthp", weights, v).flatten(-2)
    wanted = wanted @ module.output_projection.T
    found = module(hidden)
    assert relative(found, wanted) < 1e-12
    parameters = list(module.parameters())
    one, other = (torch.autograd.grad(y.square().sum(), parameters) for y in (found, wanted))
    assert all(relative(a, b) < 1e-9 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_finite_at_the_beginning_and_reach_every_parameter(name):
    model = built(name, torch.float32)
    ids = torch.randint(11, (2, 40))
    model(ids, labels=ids).loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


#: What a set of eigenvalues becomes: of these mixers, with these sets.
STARTED = [
    *[("s4d", one) for one in ("s4d-lin", "s4d-inv", "s4d-quad", "lru")],
    *[("s4d-real", one) for one in ("s4d-real", "legs", "lin", "step", "random")],
    *[("dss", one) for one in ("s4d-lin", "s4d-inv", "s4d-quad", "lru")],
    *[("s5", one) for one in ("s4d-lin", "s4d-inv", "s4d-quad", "lru")],
    *[("lru", one) for one in ("s4d-lin", "lru", "lin")],
    *[("dense", one) for one in ("s4d-lin", "lru", "lin")],
    *[("mamba", one) for one in ("lin", "step", "s4d-real")],
    *[("mamba2", one) for one in ("lin", "s4d-real")],
    ("gated-deltanet", "lin"),
    *[("kda", one) for one in ("lin", "s4d-real")],
    ("rwkv7", "s4d-real"),
    *[("mlstm", one) for one in ("lin", "s4d-real")],
    *[("pseudo-lti", one) for one in ("lin", "step")],
]
_EVEN = {"s4d-real": {"state_size": 6}, "mamba": {"state_size": 4, "step_rank": 2},
         "lru": {"state_size": 3}}  # fmt: skip


@pytest.mark.parametrize(("name", "chosen"), STARTED)
def test_the_initial_eigenvalues_are_those_of_the_set(name, chosen):
    options = {**SMALL[name][1], **_EVEN.get(name, {})}
    if name in ("s4", "s4d", "s4d-real", "dss", "s5"):
        options |= {"dt_min": 0.05, "dt_max": 0.05}  # one step, to compare with the set itself
    model = built(name, torch.float32, mixer_options=options, initial_eigenvalues=chosen)
    read = sk.from_model(model).recurrence(0).eigenvalues()
    if chosen in ("lru", "random"):  # drawn at random
        radii = read.modulus
        assert (radii > 0).all()
        assert (radii < 1).all()
        if chosen == "lru":
            assert (radii > 0.9 - 1e-6).all()
        return
    states = {
        "mamba2": 2,
        "pseudo-lti": 2,
        "gated-deltanet": 2,
        "kda": 4,
        "rwkv7": 4,
        "mlstm": 2,
        "lru": 6,
        "dss": 6,
    }.get(name, options.get("state_size"))
    step = {"lru": 0.01, "dense": 0.01}.get(
        name, 0.05 if name in ("s4", "s4d", "s4d-real", "dss", "s5") else 0.01
    )
    of = EIGENVALUE_SETS[chosen]
    wanted = of.eigenvalues(states, None if of.discrete else step)
    moduli = wanted.modulus.flatten()
    if wanted.phase is not None and name in ("s4", "s4d", "s5", "dense"):
        moduli = torch.cat([moduli, moduli])  # conjugates stand beside them
    if name == "lru" and wanted.phase is None:
        moduli = moduli[:3]
    rows = read.modulus.reshape(-1, len(moduli)).double()
    assert torch.allclose(rows.sort().values, moduli.sort().values.expand_as(rows), atol=2e-6)


@pytest.mark.parametrize("name", ["softmax", "linear", "norm", "deltanet"])
def test_attention_has_no_eigenvalues_to_start_with(name):
    with pytest.raises(UsageError, match="has no eigenvalues of its own"):
        built(name, initial_eigenvalues="lin")


#: With two states, or heads, s4d-lin has a single pair, which is real.
FOUR = {
    "mamba": {"state_size": 4},
    "mamba2": {"heads": 4},
    "pseudo-lti": {"heads": 4},
    "gated-deltanet": {"heads": 4},
    "kda": {},
    "rwkv7": {},
    "mlstm": {"heads": 4},
}


def test_s4_starts_with_the_poles_of_the_set_and_with_legs():
    model = built("s4", torch.float32, initial_eigenvalues="s4d-lin")
    poles = sk.from_model(model).recurrence(0).generator
    wanted = EIGENVALUE_SETS["s4d-lin"].make(6, torch.Generator())
    wanted = torch.cat([wanted, wanted.conj()])
    for own in poles:
        assert min_distance(own, wanted) < 1e-4
    # HiPPO-LegS has the eigenvalues -1, ..., -N.
    for own in sk.from_model(built("s4", torch.float32)).recurrence(0).generator:
        assert min_distance(own, -torch.arange(1, 7).to(own)) < 1e-3


def min_distance(one, other):
    """The largest distance of a pole to the nearest of the others, either way."""
    apart = (one.unsqueeze(-1) - other).abs()
    return float(torch.maximum(apart.amin(0).max(), apart.amin(1).max()))


@pytest.mark.parametrize("name", sorted(FOUR))
def test_complex_eigenvalues_are_refused_by_mixers_of_real_ones(name):
    with pytest.raises(UsageError, match="has real eigenvalues") as error:
        built(name, initial_eigenvalues="s4d-lin",
              mixer_options={**SMALL[name][1], **FOUR[name]})  # fmt: skip
    assert "lin" in error.value.hint


def test_rwkv7_says_which_eigenvalues_it_cannot_have():
    with pytest.raises(UsageError, match=r"are above 0\.545, and 'lin' has 0\.2"):
        built("rwkv7", initial_eigenvalues="lin")


@pytest.mark.parametrize(("name", "chosen"), [("s4d", "legs"), ("s4d-real", "s4d-lin")])
def test_s4d_says_which_kind_of_set_it_takes(name, chosen):
    with pytest.raises(UsageError, match=r"the eigenvalues of .* are (real|complex)"):
        built(name, initial_eigenvalues=chosen, mixer_options={**SMALL[name][1], "state_size": 6})


@pytest.mark.parametrize("name", SMALL)
def test_recurrence_parameters_are_marked_and_what_is_frozen_is_among_them(name):
    model = built(name)
    marked = {n.rpartition(".")[2] for n, p in model.named_parameters() if is_recurrence(p)}
    module = mixer_of(model)
    assert marked == {r for r in module.recurrence_roles if hasattr(module, r)}
    if not module.eigenvalue_roles:
        with pytest.raises(UsageError, match="no parameters of its own"):
            freeze(model, ["eigenvalues"])
        return
    freeze(model, ["eigenvalues"])
    still = {n.rpartition(".")[2] for n, p in model.named_parameters() if not p.requires_grad}
    assert still == {r for r in module.eigenvalue_roles if hasattr(module, r)}
    assert set(module.mixer.weights_roles) & still


def test_every_mixer_that_can_be_named_is_tested():
    assert {mixer for mixer, _ in SMALL.values()} == set(builders.names())
