"""Many models: what is run over them, and what their runs say together."""
