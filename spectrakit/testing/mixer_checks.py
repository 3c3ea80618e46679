"""The checks of a mixer: its equations alone, without a checkpoint."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, get_args

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import HeadAxis, Mode
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import Observation
from spectrakit.testing import observations, operator_checks
from spectrakit.testing.require import (
    FLOAT32,
    FLOAT64,
    CheckFailed,
    require,
    require_close,
    require_equal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from spectrakit.dynamics import Recurrence
    from spectrakit.testing.examples import MixerExample
else:
    torch = lazy_import("torch")


class MixerBench:
    """One example, run once and looked at by every check."""

    def __init__(self, example: MixerExample) -> None:
        self.example = example
        self.mixer = example.mixer
        self.batch, self.tokens = example.hidden.shape[:2]

    @cached_property
    def seen(self) -> Observation:
        """The layer on its whole input, in float64."""
        return self.observe(self.example.hidden)

    def observe(self, hidden: Tensor) -> Observation:
        """The layer on `hidden`, with the parameters in its dtype."""
        p = _in_dtype(self.example.parameters, hidden.dtype)
        from_input = getattr(self.mixer, "from_input", None)
        if from_input is None:  # a static layer: the recurrence from weights is all of it
            return Observation(self.mixer.from_weights(self._read_by_weights(p)), hidden)
        observation: Observation = from_input(hidden, p)
        return observation

    def from_weights(self, *dtypes: torch.dtype) -> Recurrence:
        """Weights mode, given the roles it says it reads, rounded to one dtype after the other."""
        p: Mapping[str, Tensor] = self.example.parameters
        for dtype in dtypes:
            p = _in_dtype(p, dtype)
        return self.mixer.from_weights(self._read_by_weights(p))

    def _read_by_weights(self, p: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {role: p[role] for role in self.mixer.weights_roles}


def _in_dtype(p: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters in `dtype`, but for those that count something."""
    return {role: v.to(dtype) if v.is_floating_point() else v for role, v in p.items()}


def describes_itself(bench: MixerBench) -> None:
    """Mode, head axis, roles and shapes are consistent, and the parameters are of these shapes."""
    mixer, shapes = bench.mixer, bench.mixer.shapes()
    require(mixer.weights_mode in (*get_args(Mode)[:2], None), f"mode {mixer.weights_mode!r}")
    require(mixer.head_axis in get_args(HeadAxis), f"head axis {mixer.head_axis!r}")
    unknown = sorted(set(mixer.weights_roles) - set(shapes))
    require(not unknown, f"weights_roles {unknown} are not in shapes()")
    found = {role: tuple(value.shape) for role, value in bench.example.parameters.items()}
    require_equal("shapes of the parameters", found, {role: tuple(s) for role, s in shapes.items()})


def weights_mode_is_as_it_says(bench: MixerBench) -> None:
    """`from_weights` gives its mode, and widens bfloat16 first; without a mode it refuses."""
    mixer = bench.mixer
    if mixer.weights_mode is None:
        try:
            bench.from_weights(torch.float64)
        except UnsupportedError:
            return
        raise CheckFailed("weights_mode is None, and from_weights does not raise UnsupportedError")
    recurrence = bench.from_weights(torch.float64)
    require_equal("mode", recurrence.mode, mixer.weights_mode)
    require_equal("head axis", recurrence.head_axis, mixer.head_axis)
    if mixer.weights_mode == "static":  # at its bias, A may have less structure than on tokens
        require_equal("operator", recurrence.operator.structure, mixer.operator)
    observations.has_eigenvalues(recurrence.operator, (mixer.heads,))
    halves, widened = (
        bench.from_weights(torch.bfloat16, then).operator.eigenvalues().modulus
        for then in (torch.bfloat16, torch.float64)
    )
    require_close("eigenvalues from bfloat16", halves.double(), widened.double(), FLOAT64)


def has_the_shapes_it_says(bench: MixerBench) -> None:
    """Operator, inputs and eigenvalues have the axes (B, T, H) and the N of the mixer."""
    observations.has_the_shapes(bench.mixer, bench.seen, bench.batch, bench.tokens)


def recurrence_gives_the_output_in_float64(bench: MixerBench) -> None:
    """Run on the layer's input, the recurrence gives the reference's output."""
    expected = bench.example.reference(bench.example.hidden, bench.example.parameters)
    require_close("output of the recurrence", bench.seen.output(), expected, FLOAT64)


def recurrence_gives_the_output_in_float32(bench: MixerBench) -> None:
    """The same in single precision, compared with the reference in double."""
    expected = bench.example.reference(bench.example.hidden, bench.example.parameters)
    found = bench.observe(bench.example.hidden.float()).output()
    require_close("output of the recurrence", found.double(), expected, FLOAT32)


def eigenvalues_are_those_of_the_matrices(bench: MixerBench) -> None:
    """Eigenvalues of A_t are those that a general solver finds of the matrices A_t applies."""
    for t in (bench.tokens // 2, bench.tokens - 1):
        observations.has_the_matrices_eigenvalues(bench.seen.recurrence, t, FLOAT64)
    if bench.mixer.weights_mode is not None:
        observations.has_the_matrices_eigenvalues(bench.from_weights(torch.float64), 0, FLOAT64)


def operators_agree_with_their_matrices(bench: MixerBench) -> None:
    """Rows times A_t, some of its heads, and products over tokens are those of its matrices."""
    for t in (bench.tokens // 2, bench.tokens - 1):
        operator_checks.agrees_with_its_matrices(bench.seen.recurrence, t, FLOAT64)
    if bench.mixer.weights_mode is not None:
        recurrence = bench.from_weights(torch.float64)
        operator_checks.agrees_with_its_matrices(recurrence, 0, FLOAT64)
        operator_checks.has_its_poles(recurrence.operator, FLOAT64)


def chunks_do_not_matter(bench: MixerBench) -> None:
    """The first tokens alone give the same, and so does the recurrence in two pieces."""
    cut = bench.tokens // 2 + 1
    first = bench.observe(bench.example.hidden[:, :cut])
    observations.same_beginning(first, bench.seen, cut, FLOAT64)
    observations.resumes(bench.seen.recurrence, bench.seen.inputs, cut, FLOAT64)


def batch_order_does_not_matter(bench: MixerBench) -> None:
    """A sequence gives the same wherever it stands in the batch."""
    turned = bench.observe(bench.example.hidden.flip(0)).output().flip(0)
    require_close("output in another order", turned, bench.seen.output(), FLOAT64)


def is_deterministic(bench: MixerBench) -> None:
    """Twice the same input gives twice the same, bit by bit."""
    again = bench.observe(bench.example.hidden).output()
    require(torch.equal(again, bench.seen.output()), "a second run gives another output")


def memory_is_linear_in_tokens(bench: MixerBench) -> None:
    """No table of T x T is kept."""
    half = bench.observe(bench.example.hidden[:, : bench.tokens // 2])
    observations.grows_linearly(half, bench.seen)


def is_trained_as_it_is_read(bench: MixerBench) -> None:
    """What `build` makes has the output and the gradients of the recurrence read from it."""
    build = getattr(bench.mixer, "build", None)
    if build is None:
        return
    from spectrakit.training.models.config import SpectrakitConfig

    width = 8
    config = SpectrakitConfig(hidden_size=width, num_hidden_layers=1, mixer=bench.mixer.name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build(config)
        module.reset_parameters()
        drawn = torch.randn(2, bench.tokens, width, dtype=torch.float64)
    for dtype, tolerance in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        module, hidden = module.to(dtype), drawn.to(dtype).requires_grad_()
        leaves = [hidden, *module.parameters()]
        weight = torch.linspace(0, 20, hidden.numel(), dtype=dtype).cos().view(hidden.shape)
        found = []
        for y in (module(hidden), module.observe(hidden).output()):
            gradients = torch.autograd.grad((y * weight).sum(), leaves, materialize_grads=True)
            found.append((y.detach(), torch.cat([g.flatten() for g in gradients])))
        for what, one, other in zip(("output", "gradients"), *found, strict=True):
            require_close(f"{what} of the module that `build` makes", one, other, tolerance)


#: In the order they are run.
MIXER_CHECKS = (
    describes_itself,
    weights_mode_is_as_it_says,
    has_the_shapes_it_says,
    recurrence_gives_the_output_in_float64,
    recurrence_gives_the_output_in_float32,
    eigenvalues_are_those_of_the_matrices,
    operators_agree_with_their_matrices,
    chunks_do_not_matter,
    batch_order_does_not_matter,
    is_deterministic,
    memory_is_linear_in_tokens,
    is_trained_as_it_is_read,
)
