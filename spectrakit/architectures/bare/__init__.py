"""Sequence layers in anyone's own model, recognised by the names and shapes of their parameters.

`family` is the architecture, `parts` what a recogniser is given and gives; the others know the
layers of a kind each, and `language_model` when a whole model that can be run is there.
"""
