"""GGUF, the format of llama.cpp: read under the names and with the values of transformers.

`header.py` reads what a file says, `files.py` its tensors, `families/` what llama.cpp's converter
made of a model's names and values, and how that is undone. The package `gguf` is needed for values
that are quantised, and for nothing else.
"""
