"""Charts as files: drawn here, with fonts of their own, without a browser or a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from spectrakit.plain import plain

if TYPE_CHECKING:
    import altair as alt

Format = Literal["png", "svg"]

_SCALE = 2
"""Pixels of a PNG per pixel of the chart."""


def render(chart: alt.TopLevelMixin, format: Format) -> bytes:  # noqa: A002  (altair's own word)
    """`chart` as the bytes of a PNG or SVG file."""
    return render_all(chart, format)[format]


def _plain(value: Any) -> Any:  # noqa: ANN401  (a JSON value)
    """`value` with every text in it plain: SVG has no controls, and shows nothing invisible."""
    if isinstance(value, str):
        return plain(value, keep="\n")
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def render_all(chart: alt.TopLevelMixin, *formats: Format) -> dict[Format, bytes]:
    """`chart` in several formats, laid out once."""
    import altair as alt
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    svg = vl_convert.vegalite_to_svg(_plain(chart.to_dict()), vl_version=version)
    drawn: dict[Format, bytes] = {"svg": svg.encode()}
    if "png" in formats:
        drawn["png"] = vl_convert.svg_to_png(svg, scale=_SCALE)
    return {name: drawn[name] for name in formats}
