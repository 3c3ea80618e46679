"""Keys of fla's configs: what is asked for is declared, and what is not known is named."""

from __future__ import annotations

import json

import pytest
from spectrakit_fla.examples import EXAMPLES
from spectrakit_fla.keys import KEYS

import spectrakit as sk
from spectrakit.architectures.config_keys import OF_ANY_CONFIG
from spectrakit.errors import UsageError
from spectrakit.testing import CheckpointExample

MODELS = [example for example in EXAMPLES if isinstance(example, CheckpointExample)]


class Recording(dict):
    """A config that keeps the keys that were asked for."""

    def __init__(self, config):
        super().__init__(config)
        self.asked = set()

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        self.asked.add(key)
        return super().__contains__(key)


@pytest.mark.parametrize("example", MODELS, ids=lambda example: example.name)
def test_what_is_asked_for_is_declared_and_no_more_is_there(example, tmp_path):
    folder = example.write(tmp_path)
    with sk.open_checkpoint(str(folder)) as model:
        assert model.unknown_keys == ()
        model.checkpoint.config = config = Recording(model.checkpoint.config)
        model.load()
        assert config.asked <= KEYS.reads | OF_ANY_CONFIG.reads | OF_ANY_CONFIG.left


def test_a_strange_key_is_named_and_a_given_one_that_nothing_reads_refused(tmp_path):
    folder = MODELS[0].write(tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decay_floor": 0.1}))
    with sk.open_checkpoint(str(folder)) as model:
        assert model.unknown_keys == ("decay_floor",)
    with pytest.raises(UsageError, match="nothing reads normeps") as error:
        sk.open_checkpoint(str(folder), config={"normeps": 1e-5})
    assert "did you mean norm_eps?" in error.value.hint
