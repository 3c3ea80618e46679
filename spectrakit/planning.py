"""What will be done, decided before anything is read: the mode, the analyses, every layer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spectrakit.analyses.running import chosen_kinds
from spectrakit.checkpoints import name_of
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.options import Setting, settings
from spectrakit.plain import path_part
from spectrakit.plugins import plugins
from spectrakit.wording import given, named

if TYPE_CHECKING:
    from spectrakit.analyses.kind import AnalysisKind
    from spectrakit.architectures import Layer
    from spectrakit.model import Model
    from spectrakit.settings import AskedMode, Randomized, Source
    from spectrakit.spec import RunSpec


@dataclass(frozen=True)
class LayerPlan:
    """What will be done about one layer: analysed, needs-data or unsupported, and why."""

    layer: Layer
    status: Literal["analysed", "needs-data", "unsupported"]
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """Where the recurrences come from, and what that means for each layer."""

    source: Source
    layers: tuple[LayerPlan, ...]

    @property
    def analysed(self) -> tuple[Layer, ...]:
        """The layers that will be analysed."""
        return tuple(plan.layer for plan in self.layers if plan.status == "analysed")


def can_run(model: Model) -> bool:
    """Whether data mode can show any layer of `model`, or its hidden states.

    A bare state dict cannot be run.
    """
    readable = (layer for layer in model.layers if layer.mixer is not None)
    return any(layer.runs for layer in readable) or shows_states_alone(model)


def shows_states_alone(model: Model) -> bool:
    """Whether none of its layers is read, but it runs and has hidden states, as encoders do."""
    if any(layer.mixer is not None for layer in model.layers):
        return False
    shows = getattr(model.architecture, "shows_states", None)
    return shows is not None and bool(shows(model.checkpoint))


def plan_layers(
    model: Model,
    mode: AskedMode,
    *,
    data_asked: bool = False,
    kinds: Sequence[AnalysisKind] = (),
) -> Plan:
    """Decide for every layer whether it will be analysed, or why not.

    data_asked: whether there is a text to run the model on. kinds: of the analyses; those that look
    at hidden states need a forward pass, and those that run the model again get one where it runs.

    Raises UnsupportedError where none can be, UsageError for a mode that does not have what an
    analysis looks at.
    """
    forward = [kind.name for kind in kinds if kind.needs_forward]
    readable = [layer for layer in model.layers if layer.mixer is not None]
    in_weights = [layer for layer in readable if layer.in_weights]
    if mode == "auto":
        wanted = bool(forward) or any("reruns" in kind.sees for kind in kinds)
        enough = in_weights and not data_asked and not (wanted and can_run(model))
        mode = "weights" if enough else "data"
    if mode == "weights":
        _check_weights_suffice(model, forward, data_asked=data_asked)
    analysed = in_weights if mode == "weights" else readable
    name = model.checkpoint.model_id
    if not analysed and not (forward and mode == "data" and shows_states_alone(model)):
        if readable:
            message = f"the weights of {name} alone determine no spectrum"
            raise UnsupportedError(message, hint=given(mode="data"))
        reasons = sorted({layer.reason for layer in model.layers if layer.reason})
        message = f"no layer of {name} can be analysed: {'; '.join(reasons)}"
        hint = f"spectrakit inspect {name}"
        if shows_states_alone(model):
            hint = f"its hidden states can: {given(analyses=('similarity', 'propagation'))}"
        raise UnsupportedError(message, hint=hint)
    return Plan(mode, tuple(_plan_layer(layer, layer in analysed) for layer in model.layers))


def _check_weights_suffice(model: Model, forward: Sequence[str], *, data_asked: bool) -> None:
    """Raise UsageError where a text, or the analyses `forward`, need the model to run."""
    runs = can_run(model)
    if data_asked:
        hint = "leave the text out"
        hint = f"{given(mode='data')}, or {hint}" if runs else hint
        raise UsageError("weights mode reads no text", hint=hint)
    if forward and runs:
        message = f"{forward[0]} looks at hidden states, which weights mode does not have"
        raise UsageError(message, hint=given(mode="data"))
    if forward:
        name = model.checkpoint.model_id
        message = f"{forward[0]} looks at hidden states, and {name} cannot be run here"
        raise UsageError(message, hint=f"leave {' and '.join(forward)} out")


def _mode_if_random(model: Model, mode: AskedMode, randomize: Randomized | None) -> AskedMode:
    """`mode`; where weights that are drawn anew leave it open, data mode of a model that runs.

    Raises UsageError for weights mode where it reads nothing that is drawn anew.
    """
    if randomize is None:
        return mode
    if mode == "auto":
        mode = "data" if can_run(model) else "weights"
    if mode == "weights" and randomize == "mlps":
        message = "weights mode reads the layers that mix tokens alone, and no MLP"
        hint = given(mode="data") if can_run(model) else given(randomize="mixers")
        raise UsageError(message, hint=hint)
    return mode


def randomized_revision(revision: str, what: Randomized, seed: int) -> str:
    """The revision of such a model: its tables are not those of the trained one."""
    return f"random-{what}-{seed}-{revision}"


def _plan_layer(layer: Layer, analysed: bool) -> LayerPlan:
    if analysed:
        return LayerPlan(layer, "analysed")
    if layer.mixer is None:
        return LayerPlan(layer, "unsupported", layer.reason)
    return LayerPlan(layer, "needs-data", "A needs tokens: --mode data")


@dataclass(frozen=True)
class Resolved:
    """A spec as it will be run.

    spec: its mode is weights or data, its analyses are named one by one, and all the options that
    they follow are there. kinds: of the analyses. plan: for every layer.
    """

    spec: RunSpec
    kinds: tuple[AnalysisKind, ...]
    plan: Plan


def resolve(model: Model, spec: RunSpec, keywords: Collection[str] = ()) -> Resolved:
    """Decide what `spec` leaves open, for this model; keywords: see `check_named`.

    Raises what `plan_layers` does, and UsageError for an analysis that there is not and for a
    setting that nothing in this run follows.
    """
    mode = _mode_if_random(model, spec.mode, spec.randomize)
    kinds = chosen_kinds(
        plugins().analysis_kinds(),
        spec.all_analyses,
        forward=mode == "data" or (mode == "auto" and can_run(model)),
        recurrences=not shows_states_alone(model),
    )
    check_followed(spec, kinds, keywords)
    plan = plan_reading(model, replace(spec, mode=mode), kinds, keywords)
    groups = dict.fromkeys(group for kind in kinds for group in kind.options)
    checkpoint = model.checkpoint
    resolved = replace(
        spec,
        model=_found_again(name_of(checkpoint.source)),
        revision=checkpoint.commit,
        file=checkpoint.part.file,
        subfolder=checkpoint.part.subfolder,
        config=dict(checkpoint.given),
        key=checkpoint.key,
        mode=plan.source,
        analyses=tuple(kind.name for kind in kinds),
        options=tuple(spec.options_of(group) for group in groups),
    )
    return Resolved(resolved, kinds, plan)


def plan_reading(
    model: Model,
    spec: RunSpec,
    kinds: Sequence[AnalysisKind] = (),
    keywords: Collection[str] = (),
) -> Plan:
    """See `plan_layers`; a setting that weights mode does not follow is refused there.

    keywords: see `check_named`.

    Raises UsageError for it, and what `plan_layers` does.
    """
    plan = plan_layers(model, spec.mode, data_asked=spec.source.asked, kinds=kinds)
    if plan.source == "weights" and (idle := next(_of_data_mode(spec, keywords), None)) is not None:
        name = named(idle.keyword)
        hint = f"leave {name} out"
        if can_run(model):
            hint = f"{given(mode='data')}, or {given(text='FILE')}"
        raise UsageError(f"{name} is for data mode", hint=hint)
    return plan


def check_named(spec: RunSpec, keywords: Collection[str] = ()) -> None:
    """What `resolve` can tell of a spec without its model: analyses that there are not, and such.

    keywords: settings that were named, which are refused where nothing follows them even at their
    defaults.

    Raises UsageError.
    """
    registry = plugins().analysis_kinds()
    kinds = chosen_kinds(registry, spec.all_analyses, forward=spec.mode != "weights")
    check_followed(spec, kinds, keywords)


def check_followed(
    spec: RunSpec, kinds: Sequence[AnalysisKind], keywords: Collection[str] = ()
) -> None:
    """Raise UsageError where options were given whose analysis is not run; see `check_named`."""
    followed = {group.group for kind in kinds for group in kind.options}
    for options in spec.options:
        changed = options.changed()
        idle = [s for s in settings(type(options)) if s in changed or s.keyword in keywords]
        if options.group in followed or not idle:
            continue
        registry = plugins().analysis_kinds()
        follow = [
            name for name in registry.things
            if options.group in {group.group for group in registry[name].options}
        ]  # fmt: skip
        kind = "analysis" if len(follow) == 1 else "analyses"
        message = f"{named(idle[0].keyword)} is for the {kind} {' and '.join(follow)}"
        raise UsageError(message, hint=given(analyses=follow))


def _of_data_mode(spec: RunSpec, keywords: Collection[str]) -> Iterator[Setting]:
    """The settings that were given and that only data mode follows."""
    for _, setting, value in spec.settings():
        given_one = value != setting.default or setting.keyword in keywords
        if setting.rule.data_mode and given_one:
            yield setting


def as_it_can_follow(model: Model, spec: RunSpec) -> RunSpec:
    """`spec`, which was meant for many models, as `model` can follow it.

    In weights mode, asked for or found by `auto`, settings of data mode are back at their defaults;
    a text asks `auto` for data mode where the model can be run.
    """
    if spec.mode == "data" or (spec.source.asked and (spec.mode == "weights" or can_run(model))):
        return spec
    plain = _without_data_mode(spec)
    return plain if resolve(model, plain).plan.source == "weights" else spec


def check_for_many(spec: RunSpec, keywords: Collection[str] = ()) -> None:
    """See `check_named`; and what was asked for of all models must not be refused for each.

    Raises UsageError.
    """
    check_named(spec, keywords)
    idle = next(_of_data_mode(spec, keywords), None) if spec.mode == "weights" else None
    if idle is not None:
        name = named(idle.keyword)
        raise UsageError(f"{name} is for data mode", hint=f"leave {name} out")


def _without_data_mode(spec: RunSpec) -> RunSpec:
    """Every setting that only data mode follows at its default."""

    def idle(holder: object) -> dict[str, Any]:
        return {s.name: s.default for s in settings(type(holder)) if s.rule.data_mode}

    options = tuple(replace(each, **idle(each)) for each in spec.options)
    source = replace(spec.source, **idle(spec.source))
    return replace(spec, **idle(spec), source=source, options=options)


def _found_again(name: str) -> str:
    """A model's name, or its path as it is found from anywhere."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def run_folder(model: Model, resolved: Resolved, contents: Mapping[str, str | None]) -> Path:
    """Where a run of `model` goes, below a folder of runs: MODEL/SHA/MODE.

    Where settings are not at their defaults, eight digits of their hash follow: runs that differ do
    not overwrite each other. contents: of the files that are read, see `RunSpec.digest`.
    """
    spec, source = resolved.spec, resolved.plan.source
    kind, dash, digest = model.revision(source).rpartition("-")
    folder: str = source
    if spec.changed():
        folder += f"-{spec.digest(contents)[:8]}"
    parts = [path_part(part) for part in model.checkpoint.model_id.split("/")]
    shown = f"{kind}{dash}{digest[:12]}"
    return Path(*parts, path_part(shown), folder)
