"""The gradient on eigenvalues is what finite differences of the loss in their coordinates say."""

from __future__ import annotations

import pytest
import torch

from spectrakit.training.tracking.gradients import (
    EigenvalueGradients,
    NoGradients,
    eigenvalue_gradients,
    gradients_of,
)
from tests.training.models.test_layers import built, mixer_of

_H = 1e-6


def seen(name):
    """A mixer's module with the gradients of a loss, and that loss as a function of parameters."""
    model = built(name, torch.float64)
    module = mixer_of(model)
    hidden = torch.randn(2, 20, 8, dtype=torch.float64)

    def loss():
        return module(hidden).sin().sum()

    loss().backward()
    grads = {role: p.grad for role, p in module.named_parameters() if p.grad is not None}
    return module, loss, grads


def moved(parameter, entry, by, loss):
    """How the loss changes with one entry of a parameter, by central differences."""
    flat = parameter.data.view(-1)
    before = float(flat[entry])
    found = []
    for sign in (1, -1):
        flat[entry] = before + sign * by * _H
        found.append(float(loss().detach()))
    flat[entry] = before
    return (found[0] - found[1]) / (2 * _H)


#: What a change of log|lambda| and of the phase by one is, as one of the stored parameters.
def s4d(p, place):
    step = p["step"].exp().unsqueeze(-1).expand_as(p["A_real"]).reshape(-1)[place]
    rate = p["A_real"].exp().reshape(-1)[place]
    return {"A_real": -1 / (step * rate), "A_imag": 1 / step}


def lru(p, place):
    return {"nu_log": -1 / p["nu_log"].exp()[place], "theta_log": 1 / p["theta_log"].exp()[place]}


def s5(p, place):
    step = p["log_step"].exp().flatten()[place]
    return {"Lambda_re": 1 / step, "Lambda_im": 1 / step}


def mamba(p, place):
    return {"A_log": torch.tensor(1.0)}


def pseudo(p, place):
    return {"A": -1 / p["A"].sigmoid()[place]}


RULES = {"s4d": s4d, "s4d-real": s4d, "s5": s5, "lru": lru, "mamba": mamba, "mamba2": mamba,
         "pseudo-lti": pseudo}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_it_is_the_finite_difference(name):
    module, loss, grads = seen(name)
    found = gradients_of(module.mixer, module.roles(), grads)
    assert isinstance(found, EigenvalueGradients)
    sizes = found.size.flatten()
    assert found.decay_rate.shape == found.size.shape
    for place in range(0, len(sizes), max(1, len(sizes) // 5)):
        p = {role: x.detach() for role, x in module.roles().items()}
        changes = RULES[name](p, place)
        parts = [
            moved(getattr(module, role), place, float(by), loss)
            for role, by in changes.items()
            if hasattr(module, role)
        ]
        wanted = float(torch.tensor(parts, dtype=torch.float64).norm())
        assert float(sizes[place]) == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_of_a_dense_matrix_it_moves_one_eigenvalue_or_a_pair():
    module, loss, grads = seen("dense")
    found = gradients_of(module.mixer, module.roles(), grads)
    values, vectors = torch.linalg.eig(module.A.detach())
    upper = [i for i in range(len(values)) if values[i].imag >= 0]
    start = module.A.detach().clone()
    for place, i in enumerate(upper):
        parts = []
        for direction in (1, 1j):
            change = torch.zeros(len(values), dtype=torch.complex128)
            change[i] = direction * values[i]
            if values[i].imag > 0:  # its conjugate moves with it
                j = int((values - values[i].conj()).abs().argmin())
                change[j] = change[i].conj()
            matrix = (vectors @ torch.diag(change) @ torch.linalg.inv(vectors)).real
            losses = []
            for sign in (1, -1):
                module.A.data = start + sign * _H * matrix
                losses.append(float(loss().detach()))
            parts.append((losses[0] - losses[1]) / (2 * _H))
            module.A.data = start
        size = float(found.size[0, place])
        if values[i].imag > 0:  # both of a pair are in the difference, one in the number
            assert float(torch.tensor(parts).norm()) == pytest.approx(2 * size, rel=1e-5)
        else:
            assert abs(parts[0]) == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize("name", ["s4", "softmax"])
def test_a_mixer_without_a_rule_says_so(name):
    module, _, grads = seen(name)
    found = gradients_of(module.mixer, module.roles(), grads)
    assert isinstance(found, NoGradients)
    assert "has no rule" in found.reason


def test_frozen_eigenvalues_have_none():
    module, _, grads = seen("s4d")
    found = gradients_of(module.mixer, module.roles(), {"C": grads["C"]})
    assert isinstance(found, NoGradients)
    assert "not trained" in found.reason
    assert isinstance(eigenvalue_gradients(object(), {}, {}), NoGradients)
