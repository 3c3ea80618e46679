"""Layers as the modules of their libraries write them, each with what log |A| is by its formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, softplus


@dataclass(frozen=True)
class BareLayer:
    """tensors: by their names in the module. log_decays: nominal, of each layer in the module."""

    kind: str
    tensors: dict
    log_decays: list
    state: int


_RANDOM = torch.Generator().manual_seed(0)
E, D, N, R, H, P, G = 8, 16, 4, 2, 3, 6, 2


def drawn(*shape):
    return torch.randn(*shape, generator=_RANDOM)


def _mamba(ending=""):
    return {
        f"D{ending}": drawn(D),
        f"conv1d{ending}.weight": drawn(D, 1, 4),
        f"conv1d{ending}.bias": drawn(D),
        f"x_proj{ending}.weight": drawn(R + 2 * N, D),
        f"dt_proj{ending}.weight": drawn(D, R),
        f"dt_proj{ending}.bias": drawn(D),
    }


def _by_channel(rate, bias):
    """log A of a diagonal A (D, N) and a step for every channel."""
    return -softplus(bias.double())[:, None] * rate.double().exp()


def mamba():
    around = {"in_proj.weight": drawn(2 * D, E), "out_proj.weight": drawn(E, D)}
    tensors = around | _mamba() | {"A_log": drawn(D, N)}
    return BareLayer("mamba", tensors, [_by_channel(tensors["A_log"], tensors["dt_proj.bias"])], N)


def vim():
    forward = mamba()
    tensors = forward.tensors | _mamba("_b") | {"A_b_log": drawn(D, N)}
    backward = _by_channel(tensors["A_b_log"], tensors["dt_proj_b.bias"])
    return BareLayer("mamba", tensors, [*forward.log_decays, backward], N)


def vmamba():
    tensors = {
        "in_proj.weight": drawn(2 * D, E),
        "conv2d.weight": drawn(D, 1, 3, 3),
        "x_proj_weight": drawn(4, R + 2 * N, D),
        "dt_projs_weight": drawn(4, D, R),
        "dt_projs_bias": drawn(4, D),
        "A_logs": drawn(4 * D, N),
        "Ds": drawn(4 * D),
        "out_proj.weight": drawn(E, D),
    }
    # As its forward pass: each scan k takes rows k D to (k + 1) D of A_logs.
    rates = tensors["A_logs"].reshape(4, D, N)
    scans = [_by_channel(rates[k], tensors["dt_projs_bias"][k]) for k in range(4)]
    return BareLayer("mamba", tensors, [torch.cat(scans)], N)


def mamba2():
    inner, convolved = H * P, H * P + 2 * G * N
    tensors = {
        "in_proj.weight": drawn(inner + convolved + H, E),
        "conv1d.weight": drawn(convolved, 1, 4),
        "conv1d.bias": drawn(convolved),
        "dt_bias": drawn(H),
        "A_log": drawn(H),
        "D": drawn(H),
        "norm.weight": drawn(inner),
        "out_proj.weight": drawn(E, inner),
    }
    return BareLayer("mamba2", tensors, [_by_head(tensors)], G * N)


def _by_head(tensors):
    return -softplus(tensors["dt_bias"].double()) * tensors["A_log"].double().exp()


def gated_deltanet_of_fla():
    tensors = {
        "q_proj.weight": drawn(H * P, E),
        "k_proj.weight": drawn(H * P, E),
        "v_proj.weight": drawn(H * P, E),
        "a_proj.weight": drawn(H, E),
        "b_proj.weight": drawn(H, E),
        "A_log": drawn(H),
        "dt_bias": drawn(H),
        "o_norm.weight": drawn(P),
        "o_proj.weight": drawn(E, H * P),
    }
    return BareLayer("gated_deltanet", tensors, [_by_head(tensors)], P)


def gated_deltanet_of_transformers():
    tensors = {
        "in_proj_qkvz.weight": drawn(2 * P + 2 * H * P, E),
        "in_proj_ba.weight": drawn(2 * H, E),
        "conv1d.weight": drawn(2 * P + H * P, 1, 4),
        "A_log": drawn(H),
        "dt_bias": drawn(H),
        "norm.weight": drawn(P),
        "out_proj.weight": drawn(E, H * P),
    }
    return BareLayer("gated_deltanet", tensors, [_by_head(tensors)], P)


def kda():
    tensors = {
        "q_proj.weight": drawn(H * N, E),
        "k_proj.weight": drawn(H * N, E),
        "v_proj.weight": drawn(H * P, E),
        "A_log": drawn(1, 1, H, 1),
        "dt_bias": drawn(H * N),
        "o_norm.weight": drawn(P),
    }
    rate = tensors["A_log"].double().exp().reshape(H, 1)
    return BareLayer(
        "kimi_delta", tensors, [-rate * softplus(tensors["dt_bias"].double().reshape(H, N))], N
    )


def rg_lru():
    tensors = {
        "recurrent_param": drawn(D),
        "recurrent_gate_weight": drawn(4, D // 4, D // 4),
        "recurrent_gate_bias": drawn(4, D // 4),
        "input_gate_weight": drawn(4, D // 4, D // 4),
        "input_gate_bias": drawn(4, D // 4),
    }
    gate = torch.sigmoid(tensors["recurrent_gate_bias"].double()).flatten()
    decay = -8 * softplus(tensors["recurrent_param"].double()) * gate
    return BareLayer("rg_lru", tensors, [decay], 1)


def rwkv4():
    tensors = {"time_decay": drawn(D), "time_first": drawn(D), "key.weight": drawn(D, E)}
    return BareLayer("rwkv4", tensors, [-tensors["time_decay"].double().exp()], 1)


def rwkv5():
    tensors = {"time_decay": drawn(H, N), "time_faaaa": drawn(H, N), "ln_x.weight": drawn(H * N)}
    return BareLayer("rwkv5", tensors, [-tensors["time_decay"].double().exp()], N)


def rwkv6():
    tensors = {
        "time_decay": drawn(1, 1, H * N),
        "time_decay_w1": drawn(H * N, 2),
        "time_faaaa": drawn(H, N),
        "ln_x.weight": drawn(H * N),
    }
    return BareLayer("rwkv6", tensors, [-tensors["time_decay"].double().exp()], N)


def rwkv7():
    tensors = {"w0": drawn(1, 1, H * N), "r_k": drawn(H, N)}
    decay = -math.exp(-0.5) * torch.sigmoid(tensors["w0"].double())
    return BareLayer("rwkv7", tensors, [decay], N)


def mlstm_of_xlstm_7b():
    tensors = {
        "q.weight": drawn(H * N, E),
        "k.weight": drawn(H * N, E),
        "v.weight": drawn(H * P, E),
        "fgate_preact.weight": drawn(H, E),
        "fgate_preact.bias": drawn(H),
        "igate_preact.bias": drawn(H),
    }
    forget = 15 * torch.tanh(tensors["fgate_preact.bias"].double() / 15)
    return BareLayer("mlstm", tensors, [logsigmoid(forget)], N)


def mlstm_of_xlstm():
    tensors = {
        "igate.weight": drawn(H, 3 * H * P),
        "igate.bias": drawn(H),
        "fgate.weight": drawn(H, 3 * H * P),
        "fgate.bias": drawn(H),
    }
    return BareLayer("mlstm", tensors, [logsigmoid(tensors["fgate.bias"].double())], P)


LAYERS = {
    "mamba": mamba(),
    "Vim": vim(),
    "VMamba": vmamba(),
    "mamba2": mamba2(),
    "gated deltanet of fla": gated_deltanet_of_fla(),
    "gated deltanet of transformers": gated_deltanet_of_transformers(),
    "kda": kda(),
    "rg_lru": rg_lru(),
    "rwkv4": rwkv4(),
    "rwkv5": rwkv5(),
    "rwkv6": rwkv6(),
    "rwkv7": rwkv7(),
    "mlstm of xlstm-7b": mlstm_of_xlstm_7b(),
    "mlstm of xlstm": mlstm_of_xlstm(),
}
