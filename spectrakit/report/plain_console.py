"""A console that shows what comes from files as it is: neither markup nor codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment

from spectrakit.plain import plain

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType
    from rich.text import Text

#: Columns of a page that is no terminal.
_WIDTH = 110


class PlainConsole(Console):
    """Strings, cells of tables among them, are made plain before they are laid out.

    So what is spelt out has its place; what else reaches the terminal is made plain at the last.
    """

    def on_broken_pipe(self) -> None:
        """Let the application end quietly; rich would end it with an error."""
        raise BrokenPipeError

    def render_str(self, text: str, **how: Any) -> Text:  # noqa: ANN401  (rich's own words)
        """See rich."""
        return super().render_str(plain(text, keep="\n"), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain(text, keep="\n"), style, control)


def as_html(renderable: RenderableType) -> str:
    """What the terminal shows, as a piece of HTML with every special character escaped."""
    import io

    console = PlainConsole(
        file=io.StringIO(),
        record=True,
        width=_WIDTH,
        markup=False,
        emoji=False,
        force_terminal=True,
    )
    console.print(renderable)
    return console.export_html(inline_styles=True, code_format=_HTML)


#: Dim text takes the page's own colour, light or dark.
_HTML = '<pre style="line-height: normal; font-family: monospace; color: inherit">{code}</pre>'
