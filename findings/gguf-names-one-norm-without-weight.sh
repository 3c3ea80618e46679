#!/usr/bin/env bash
# Every weight in GGUF ends in .weight, but one: the package gguf, whose names llama.cpp's converter
# takes, calls the norm before the feed-forward part of Falcon-H1 `blk.N.ffn_norm`. The table of names
# has the model's tensor with its ending as a whole, so that the ending is not put on again. The same
# tensor of Jamba becomes `blk.N.ffn_norm.weight`. A reader that takes endings for granted finds no
# norm in files of Falcon-H1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet gguf==0.19.0 numpy==2.3.5

cat > finding.py <<'P'
from importlib.metadata import version

import gguf

print("gguf", version("gguf"))
tensor = "model.layers.0.pre_ff_layernorm.weight"
found = {}
for name in ("FALCON_H1", "JAMBA"):
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[name], 1)
    found[name] = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
    print(f"{name}: {tensor} is called {found[name]}")
assert found == {"FALCON_H1": "blk.0.ffn_norm", "JAMBA": "blk.0.ffn_norm.weight"}
print("as found: Falcon-H1's norm has no ending")
P
venv/bin/python finding.py
