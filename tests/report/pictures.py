"""What a chart holds, and what a drawn one says."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET


def rows_of(chart):
    """The rows of each data set in a chart."""
    return {name: json.loads(rows) for name, rows in chart.to_dict()["datasets"].items()}


def words(svg):
    """The lines of text in a picture; several lines of one text are parts of it."""
    space = "{http://www.w3.org/2000/svg}"
    root = ET.fromstring(svg)
    return [part.text for tag in ("text", "tspan") for part in root.iter(space + tag) if part.text]
