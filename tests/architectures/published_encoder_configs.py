"""As `published_configs`: encoders."""

_BERT = {
    "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": False, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 384, "initializer_range": 0.02,
    "intermediate_size": 1536, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
    "num_attention_heads": 12, "num_hidden_layers": 6, "pad_token_id": 0, "type_vocab_size": 2,
    "position_embedding_type": "absolute", "use_cache": True, "vocab_size": 30522,
}  # fmt: skip

ENCODER_CONFIGS = {
    "sentence-transformers/all-MiniLM-L6-v2": _BERT | {
        "_name_or_path": "nreimers/MiniLM-L6-H384-uncased", "architectures": ["BertModel"],
        "model_type": "bert", "transformers_version": "4.8.2",
    },
    "google-bert/bert-base-multilingual-cased": _BERT | {
        "architectures": ["BertForMaskedLM"], "directionality": "bidi", "model_type": "bert",
        "pooler_fc_size": 768, "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3,
        "pooler_size_per_head": 128, "pooler_type": "first_token_transform",
    },
    "FacebookAI/roberta-base": _BERT | {"model_type": "roberta", "type_vocab_size": 1},
    "sentence-transformers/all-mpnet-base-v2": _BERT | {
        "model_type": "mpnet", "relative_attention_num_buckets": 32,
    },
    "google/electra-small-discriminator": _BERT | {
        "model_type": "electra", "embedding_size": 128, "summary_activation": "gelu",
        "summary_last_dropout": 0.1, "summary_type": "first", "summary_use_proj": True,
    },
    "distilbert/distilbert-base-uncased": {
        "activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.1,
        "dim": 768, "dropout": 0.1, "hidden_dim": 3072, "initializer_range": 0.02,
        "max_position_embeddings": 512, "model_type": "distilbert", "n_heads": 12, "n_layers": 6,
        "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2, "sinusoidal_pos_embds":
        False, "tie_weights_": True, "vocab_size": 30522,
    },
}  # fmt: skip
