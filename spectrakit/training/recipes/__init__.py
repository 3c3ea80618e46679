"""Recipes: what a training run is made of, as TOML."""
