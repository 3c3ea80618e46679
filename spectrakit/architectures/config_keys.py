"""Keys of a config that decide what is computed, and those that nothing here knows.

A key that changes a model's equations and that nobody reads makes wrong numbers without a word. So
an architecture may declare the keys of its configs (`config_keys`): what is in a config besides is
named to the user, and a key given by `--config` that nothing reads is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.architectures.base import Architecture
    from spectrakit.checkpoints import TensorSource


def words(text: str) -> frozenset[str]:
    """The words of `text`, as a set of keys."""
    return frozenset(text.split())


@dataclass(frozen=True)
class ConfigKeys:
    """What is made of the keys of a family's configs.

    Keys of a section are SECTION.KEY: where any is listed so, a key of that section that is not
    listed is unknown; a section that is listed by its own name alone is known as a whole.

    reads: decide what is computed here. left: to the library that runs the model in data mode;
    weights mode does not depend on them. irrelevant: nothing that is computed depends on them.
    fixed: known at one value alone, that which is computed whatever the config says; of a list, at
    that value throughout. Those of any config (`OF_ANY_CONFIG`: names, token ids, dropout) need not
    be listed.
    """

    reads: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    irrelevant: frozenset[str] = frozenset()
    fixed: Mapping[str, object] = field(default_factory=dict)

    def __or__(self, other: ConfigKeys) -> ConfigKeys:
        """Those of both."""
        return ConfigKeys(
            self.reads | other.reads,
            self.left | other.left,
            self.irrelevant | other.irrelevant,
            {**self.fixed, **other.fixed},
        )

    def inside(self, section: str) -> ConfigKeys:
        """The same keys, in a section of a larger config."""
        reads, left, irrelevant = (
            frozenset(f"{section}.{key}" for key in keys)
            for keys in (self.reads, self.left, self.irrelevant)
        )
        fixed = {f"{section}.{key}": value for key, value in self.fixed.items()}
        return ConfigKeys(reads, left, irrelevant, fixed)

    def know(self, name: str, value: object) -> bool:
        """Whether what is computed is what the key says.

        Of a key that is not known, null, false or nothing at all is taken to switch nothing on:
        published configs are full of such.
        """
        if name in self.fixed:
            values = value if isinstance(value, list) else [value]
            return value is None or all(item == self.fixed[name] for item in values)
        known = name in self.reads or name in self.left or name in self.irrelevant
        return known or value is None or value is False or value in ([], {}, "")

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.reads | self.left | self.irrelevant | self.fixed.keys()


OF_ANY_CONFIG = ConfigKeys(
    reads=words("model_type quantization_config text_config"),
    left=words("vocab_size tie_word_embeddings pad_token_id bos_token_id eos_token_id"),
    irrelevant=words(
        """
        _attn_implementation _attn_implementation_autoset _commit_hash _flash_attn_2_enabled
        _name_or_path _num_labels add_cross_attention architectures attention_dropout
        attn_implementation attn_pdrop auto_map bad_words_ids begin_suppress_tokens
        classifier_dropout chunk_size_feed_forward cls_token_id cross_attention_hidden_size
        decoder_start_token_id
        diversity_penalty do_sample dropout dtype early_stopping embd_pdrop embedding_dropout
        embd_dropout encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task
        forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout
        hidden_dropout_prob attention_probs_dropout_prob id2label init_std initializer_range
        is_encoder_decoder keys_to_ignore_at_inference label2id length_penalty license
        mask_token_id max_length max_new_tokens min_length name no_repeat_ngram_size
        num_beam_groups num_beams num_labels num_logits_to_keep num_return_sequences
        output_attentions output_hidden_states output_past output_router_logits output_scores
        prefix pretraining_tp problem_type pruned_heads remove_invalid_values repetition_penalty
        resid_pdrop return_dict return_dict_in_generate router_aux_loss_coef router_jitter_noise
        sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
        tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript
        transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16
        use_cache use_flash_attn
        """
    ),
)


def config_keys(architecture: Architecture, checkpoint: TensorSource) -> ConfigKeys | None:
    """What `architecture` declares of the keys of this config, with those of any; or None."""
    declared: Callable[[TensorSource], ConfigKeys] | None
    declared = getattr(architecture, "config_keys", None)
    return None if declared is None else declared(checkpoint) | OF_ANY_CONFIG


def unknown_keys(keys: ConfigKeys, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of `config`, dotted, whose values nothing here may follow."""
    opened = keys.names
    return tuple(name for name, value in _flat(config, opened) if not keys.know(name, value))


def check_given(model_id: str, keys: ConfigKeys, given: Mapping[str, Any]) -> None:
    """Raise UsageError for a key that the user gave and nothing reads.

    given: as `Checkpoint.given`, whose keys may be dotted.
    """
    read = keys.reads | keys.left
    for name, _ in _flat(given, keys.names):
        if name in read:
            continue
        message = f"nothing reads {name} in the config of {model_id}"
        if name in keys.names:
            raise UsageError(f"{message}: it changes no number", hint="leave it out")
        close = difflib.get_close_matches(name, read, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        listed = ", ".join(sorted(keys.reads - OF_ANY_CONFIG.reads)) or "none"
        raise UsageError(message, hint=f"{meant}keys that decide what is read: {listed}")


def _flat(
    config: Mapping[str, Any], names: frozenset[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Keys and values; those of a section where any of `names` lies in it."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(other.startswith(f"{name}.") for other in names):
            yield from _flat(value, names, f"{name}.")
        else:
            yield name, value
