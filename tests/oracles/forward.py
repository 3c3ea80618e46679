"""Forward passes in float64 of the models that are bundled, one sequence at a time.

Each `run_*` takes a checkpoint and token ids (T,) and gives a `Pass`: the residual stream where it
enters the first block and behind every block, and of every mixer what its recurrence is made of.
`start` replaces the embedded tokens (T, E).

Mamba: Gu & Dao 2023 (arXiv 2312.00752), algorithm 2. Mamba-2: Dao & Gu 2024 (arXiv 2405.21060),
section 7. Llama: Touvron et al. 2023 (arXiv 2302.13971), rotary embeddings of Su et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logsumexp


@dataclass
class Pass:
    """streams: (T, E) at every depth. mixers: of every layer. logits: (T, V)."""

    streams: list[np.ndarray]
    mixers: list = field(default_factory=list)
    logits: np.ndarray | None = None


@dataclass
class Selective:
    """h_t = exp(-step_t rate) h_{t-1} + step_t key_t u_t;  y_t = query_t . h_t.

    Mamba: step (T, D), rate (D, N), key and query (T, N), u (T, D).
    Mamba-2: step (T, H), rate (H,), key and query (T, H, N), u (T, H, P).
    """

    step: np.ndarray
    rate: np.ndarray
    key: np.ndarray
    query: np.ndarray
    u: np.ndarray


@dataclass
class Attention:
    """query, key, value (H, T, K), after rotary embeddings; scores (H, T, T), scaled, causal.

    sinks: learned scores (H,) that every token reads besides, of no value.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    scores: np.ndarray
    sinks: np.ndarray | None = None

    @property
    def log_normaliser(self):
        """LSE over the keys, and the sink, that each token reads: (H, T)."""
        read = logsumexp(self.scores, axis=-1)
        return read if self.sinks is None else np.logaddexp(read, self.sinks[:, None])

    @property
    def weights(self):
        """The attention matrix (H, T, T): what each token reads of each."""
        return np.exp(self.scores - self.log_normaliser[..., None])

    @property
    def sink_share(self):
        """What each token reads of the sink: (H, T)."""
        if self.sinks is None:
            return np.zeros(self.scores.shape[:2])
        return np.exp(self.sinks[:, None] - self.log_normaliser)

    @property
    def log_retained(self):
        """log(1 - p_tt) of all tokens but the first: (H, T - 1).

        1 - p_tt is what a token reads of what was there before it; each way is right for some.
        """
        own = np.diagonal(self.weights, axis1=1, axis2=2)[:, 1:]
        before = (np.tril(self.weights, -1).sum(-1) + self.sink_share)[:, 1:]
        return np.where(own < 0.5, np.log1p(-np.minimum(own, 0.5)), np.log(before))


def run_model(model, ids, start=None):
    """The pass of a checkpoint of any of the three kinds."""
    kinds = {"mamba": run_mamba, "mamba2": run_mamba2, "llama": run_llama}
    return kinds[model.config["model_type"]](model, np.asarray(ids), start)


def silu(x):
    """x sigmoid(x)."""
    return x * expit(x)


def softplus(x):
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def rms_norm(x, weight, epsilon):
    """x over its root mean square, times the weight."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weight


def causal_convolution(x, weight, bias):
    """Of every channel by itself: x (T, D), weight (D, 1, width)."""
    width = weight.shape[-1]
    padded = np.concatenate([np.zeros((width - 1, x.shape[1])), x])
    taps = [padded[k : k + len(x)] * weight[:, 0, k] for k in range(width)]
    return sum(taps) + (0.0 if bias is None else bias)


def run_mamba(model, ids, start=None):
    """A stack of Mamba blocks."""
    c = model.config
    epsilon, states, rank = c["layer_norm_epsilon"], c["state_size"], c["time_step_rank"]
    h = model["backbone.embeddings.weight"][ids] if start is None else start
    found = Pass([h])
    for index in range(c["num_hidden_layers"]):
        block = f"backbone.layers.{index}"
        hidden = rms_norm(h, model[f"{block}.norm.weight"], epsilon)
        mixed, mixer = mamba_mixer(model, f"{block}.mixer", hidden, rank, states)
        h = h + mixed
        found.streams.append(h)
        found.mixers.append(mixer)
    last = rms_norm(h, model["backbone.norm_f.weight"], epsilon)
    found.logits = last @ model["backbone.embeddings.weight"].T
    return found


def mamba_mixer(model, at, hidden, rank, states):
    """The output of a Mamba mixer for what it is handed (T, E), and its recurrence."""
    x, z = np.split(hidden @ model[f"{at}.in_proj.weight"].T, 2, axis=-1)
    u = silu(causal_convolution(x, model[f"{at}.conv1d.weight"], model[f"{at}.conv1d.bias"]))
    selected = u @ model[f"{at}.x_proj.weight"].T
    low, key, query = np.split(selected, [rank, rank + states], axis=-1)
    step = softplus(low @ model[f"{at}.dt_proj.weight"].T + model[f"{at}.dt_proj.bias"])
    rate = np.exp(model[f"{at}.A_log"])
    state, y = np.zeros(rate.shape), np.empty(u.shape)
    for t in range(len(u)):
        written = step[t][:, None] * key[t] * u[t][:, None]
        state = np.exp(-step[t][:, None] * rate) * state + written
        y[t] = state @ query[t]
    y = (y + model[f"{at}.D"] * u) * silu(z)
    return y @ model[f"{at}.out_proj.weight"].T, Selective(step, rate, key, query, u)


def run_mamba2(model, ids, start=None):
    """A stack of Mamba-2 blocks."""
    c = model.config
    epsilon = c["layer_norm_epsilon"]
    h = model["backbone.embeddings.weight"][ids] if start is None else start
    found = Pass([h])
    for index in range(c["num_hidden_layers"]):
        block = f"backbone.layers.{index}"
        hidden = rms_norm(h, model[f"{block}.norm.weight"], epsilon)
        mixed, mixer = mamba2_mixer(model, f"{block}.mixer", hidden)
        h = h + mixed
        found.streams.append(h)
        found.mixers.append(mixer)
    last = rms_norm(h, model["backbone.norm_f.weight"], epsilon)
    found.logits = last @ model["backbone.embeddings.weight"].T
    return found


def mamba2_mixer(model, at, hidden):
    """The output of a Mamba-2 mixer for what it is handed (T, E), and its recurrence."""
    c = model.config
    heads, width, groups, states = c["num_heads"], c["head_dim"], c["n_groups"], c["state_size"]
    inner = heads * width
    parts = np.cumsum([inner, inner + 2 * groups * states])
    z, xbc, raw = np.split(hidden @ model[f"{at}.in_proj.weight"].T, parts, axis=-1)
    xbc = silu(causal_convolution(xbc, model[f"{at}.conv1d.weight"], model[f"{at}.conv1d.bias"]))
    x, key, query = np.split(xbc, [inner, inner + groups * states], axis=-1)
    u = x.reshape(-1, heads, width)
    key, query = (
        np.repeat(v.reshape(-1, groups, states), heads // groups, axis=1) for v in (key, query)
    )
    step = softplus(raw + model[f"{at}.dt_bias"])
    rate = np.exp(model[f"{at}.A_log"])
    state, y = np.zeros((heads, states, width)), np.empty(u.shape)
    for t in range(len(u)):
        written = step[t][:, None, None] * key[t][:, :, None] * u[t][:, None, :]
        state = np.exp(-step[t] * rate)[:, None, None] * state + written
        y[t] = np.einsum("hnp,hn->hp", state, query[t])
    y = (y + model[f"{at}.D"][:, None] * u).reshape(-1, inner) * silu(z)
    y = rms_norm(y, model[f"{at}.norm.weight"], c["layer_norm_epsilon"])
    return y @ model[f"{at}.out_proj.weight"].T, Selective(step, rate, key, query, u)


def run_llama(model, ids, start=None):
    """A decoder of the Llama kind."""
    c = model.config
    epsilon = c["rms_norm_eps"]
    h = model["model.embed_tokens.weight"][ids] if start is None else start
    found = Pass([h])
    for index in range(c["num_hidden_layers"]):
        block = f"model.layers.{index}"
        hidden = rms_norm(h, model[f"{block}.input_layernorm.weight"], epsilon)
        mixed, mixer = attention_mixer(model, f"{block}.self_attn", hidden)
        h = h + mixed
        hidden = rms_norm(h, model[f"{block}.post_attention_layernorm.weight"], epsilon)
        gate, up, down = (
            model[f"{block}.mlp.{name}_proj.weight"].T for name in ("gate", "up", "down")
        )
        h = h + (silu(hidden @ gate) * (hidden @ up)) @ down
        found.streams.append(h)
        found.mixers.append(mixer)
    last = rms_norm(h, model["model.norm.weight"], epsilon)
    found.logits = last @ model["model.embed_tokens.weight"].T
    return found


def attention_mixer(model, at, hidden):
    """The output of causal softmax attention, and what it is made of."""
    c = model.config
    heads, groups, width = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    theta = c["rope_parameters"]["rope_theta"]
    query, key, value = (
        (hidden @ model[f"{at}.{name}_proj.weight"].T).reshape(len(hidden), -1, width)
        for name in ("q", "k", "v")
    )
    query, key = rotated(query, theta), rotated(key, theta)
    key, value = (np.repeat(v, heads // groups, axis=1) for v in (key, value))
    query, key, value = (v.swapaxes(0, 1) for v in (query, key, value))
    scores = query @ key.swapaxes(1, 2) / np.sqrt(width)
    scores = np.where(np.tri(len(hidden), dtype=bool), scores, -np.inf)
    found = Attention(query, key, value, scores)
    read = (found.weights @ value).swapaxes(0, 1).reshape(len(hidden), -1)
    return read @ model[f"{at}.o_proj.weight"].T, found


def rotated(x, theta):
    """Rotary embeddings of x (T, H, K): entry i turns with entry i + K / 2."""
    tokens, _, width = x.shape
    angle = np.arange(tokens)[:, None] * theta ** (-np.arange(0, width, 2) / width)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    one, other = np.split(x, 2, axis=-1)
    return np.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)
