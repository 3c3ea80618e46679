"""State dicts of the S4 line with random weights, under the names that are published."""

from __future__ import annotations

import torch

#: What state-spaces/s4's version 4 was trained with; the weights do not show it.
VERSION_4 = {
    "real_transform": "exp",
    "imag_transform": "none",
    "dt_transform": "exp",
    "dt_fast": False,
    "bandlimit": None,
}
S5_OPTIONS = {"discretization": "zoh", "conj_sym": True, "clip_eigs": False}


def layers(make, count=2, prefix="model.layers.{}.layer."):
    """`count` layers that `make` makes, numbered, between the tensors of some model around them."""
    tensors = {"encoder.weight": torch.randn(5, 3), "decoder.weight": torch.randn(2, 5)}
    for index in range(count):
        torch.manual_seed(index)
        for name, tensor in make().items():
            tensors[prefix.format(index) + name] = tensor
    return tensors


def minimal_s4d(channels=3, states=4):
    return {
        "D": torch.randn(channels),
        "kernel.C": torch.randn(channels, states, 2),
        "kernel.log_dt": torch.rand(channels) * 3 - 5,
        "kernel.log_A_real": torch.rand(channels, states) - 1,
        "kernel.A_imag": torch.rand(channels, states) * 9,
        "output_linear.0.weight": torch.randn(2 * channels, channels, 1),
    }


def version_4(channels=4, states=3, systems=2, outputs=1, low_rank=False, feedthroughs=None):
    tensors = {
        "D": torch.randn(outputs if feedthroughs is None else feedthroughs, channels),
        "kernel.inv_dt": torch.rand(channels, 1) * 3 - 5,
        "kernel.A_real": torch.rand(systems, states) - 1,
        "kernel.A_imag": torch.rand(systems, states) * 9,
        "kernel.B": torch.randn(1, systems, states, 2),
        "kernel.C": torch.randn(outputs, channels, states, 2),
    }
    if low_rank:
        tensors["kernel.P"] = torch.randn(1, systems, states, 2)
        tensors["kernel.l_kernel"] = torch.tensor(16)
    return tensors


def as_version_3(tensors):
    """The same layer before the conversion: convert_v3_to_v4.py of state-spaces/s4, backwards."""
    s4 = "kernel.P" in tensors
    names = {"inv_dt": "log_dt", "l_kernel": "L"}
    names |= {"A_real": "inv_w_real", "A_imag": "w_imag"} if s4 else {"A_real": "inv_A_real"}
    old = {}
    for name, tensor in tensors.items():
        last = name.removeprefix("kernel.")
        if last == "A_imag":
            tensor = -tensor
        if last == "inv_dt":
            tensor = tensor.squeeze(-1)
        if last == "B" and not s4:
            tensor = tensor.squeeze(0)
        old[name if last == name else f"kernel.kernel.{names.get(last, last)}"] = tensor
    return old


def dss(channels=3, states=4, version="exp"):
    tensors = {
        "D": torch.randn(1, channels),
        "kernel.log_dt": torch.rand(channels, 2) * 3 - 5,
        "kernel.W": torch.randn(1, channels, states, 2),
    }
    if version in {"softmax", "clip", "clip-no-scale"}:
        tensors["kernel.Lambda"] = torch.randn(states, 2) - torch.tensor([2.0, 0.0])
    else:
        imaginary = "Lambda_log_im" if version == "exp-re-im" else "Lambda_im"
        tensors["kernel.Lambda_log_neg_re"] = torch.randn(states)
        tensors[f"kernel.{imaginary}"] = torch.randn(states)
    return tensors


def s5(width=3, states=4, directions=1):
    tensors = {
        "seq.Lambda_re": -torch.rand(states),
        "seq.Lambda_im": torch.randn(states) * 9,
        "seq.log_step": torch.rand(states, 1) * 3 - 5,
        "seq.B": torch.randn(states, width, 2),
        "seq.D": torch.randn(width),
        "seq.C": torch.randn(width, states, 2),
    }
    if directions == 2:
        del tensors["seq.C"]
        tensors |= {f"seq.C{n}": torch.randn(width, states, 2) for n in (1, 2)}
    return tensors


def lru(width=3, states=4):
    return {
        "seq.nu_log": torch.rand(states) * 3 - 4,
        "seq.theta_log": torch.rand(states) * 3 - 2,
        "seq.gamma_log": torch.randn(states),
        "seq.B_re": torch.randn(states, width),
        "seq.B_im": torch.randn(states, width),
        "seq.C_re": torch.randn(width, states),
        "seq.C_im": torch.randn(width, states),
        "seq.D": torch.randn(width),
    }


def s5_pytorch(width=3, states=4, directions=1):
    """The state dict of `s5.S5(width, states)` (s5-pytorch 0.2.1), complex parameters and all."""
    rate = torch.complex(-torch.rand(states), torch.randn(states) * 9)
    return {
        "seq.Lambda": rate,
        "seq.B": torch.randn(states, width, 2),
        "seq.C": torch.randn(width, directions * states, dtype=torch.complex64),
        "seq.D": torch.rand(width),
        "seq.log_step": torch.rand(states) * 3 - 5,
    }


def lru_pytorch(width=3, states=4, outputs=3):
    """The state dict of `LRU(width, outputs, states)` (lru-pytorch 0.1.3)."""
    return {
        "D": torch.randn(outputs, width),
        "nu_log": torch.rand(states) * 3 - 4,
        "theta_log": torch.rand(states) * 3 - 2,
        "gamma_log": torch.randn(states),
        "B": torch.randn(states, width, dtype=torch.complex64),
        "C": torch.randn(outputs, states, dtype=torch.complex64),
    }
