"""Tiny random encoders, one for each family that we support, written as Hugging Face directories.

`make_encoder("bert", path)` needs no network and no stored file. The vocabulary is learned here in
plain Python (ties broken by text), so `tokenizer.json` never changes. The weights come from a
seeded generator: the same in each run, but not in each version of transformers, which may draw
them in another order. What a directory holds follows the published checkpoints of the family where
that matters to us: special tokens, normaliser, pre-tokeniser, post-processor, `tokenizer_class`,
and the settings that change the forward pass.
"""

from __future__ import annotations

import json
import math
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_POSITIONS = 128

TEXT = """
The quick brown fox jumps over the lazy dog, and the dog doesn't mind. Hello world! It was the
best of times, it was the worst of times. She sells sea shells by the sea shore; the shells she
sells are surely sea shells. In 1984 the company moved its headquarters from New York to Berlin,
where Dr. Anna Smith and her colleagues worked on the first version of the machine. They said
that it would never be finished, but in the end it was. Apple is looking at buying a U.K.
startup for $1 billion. Who is Shaka Khan? I like London and Berlin, don't you? The rain in
Spain stays mainly in the plain. A patient (aged 67) was treated with 25 mg of aspirin twice
daily. Language models read a great deal of text, and learning from several tasks at once may
help or hurt each of them. When one task pulls against another, their gradients point in
different directions and someone has to decide. "Where are you going?" asked the teacher.
"Nowhere," he replied, walking slowly towards the river-bank. Results: 3.14 > 2.72, e-mail
me@example.org, see https://example.org/path?x=1&y=2 #hashtag @user 50% off! Every good boy
deserves favour; time flies like an arrow, fruit flies like a banana. We were there yesterday.
naïve café résumé Zürich Łódź señor Ångström façade Привет мир Москва это хорошо 東京 日本語 中文
北京 😀 🎉 … — “ ”
"""


class Family(NamedTuple):
    """A family: the class names to use, its config, and how to build its tokenizer."""

    architecture: str
    config: dict[str, Any]
    tokenizer_class: str
    tokenizer: Callable[[], Tokenizer]
    tokens: dict[str, str]  # the role of a special token ("cls_token") -> its text
    tokenizer_config: Mapping[str, Any] = MappingProxyType({})


def make_encoder(family: str, path: Path, *, seed: int = 0, **config_overrides: Any) -> Path:
    """Write config, weights and fast tokenizer of a tiny encoder (width 32) to `path`; return it.

    `config_overrides` replace values of the config under the family's own names for them;
    `NO_DROPOUT[family]` switches dropout off. `architectures=["T5Model"]` saves the weights of
    another model class, under its names. The global random state is left as it was.
    """
    import torch
    import transformers

    spec = _FAMILIES[family]
    text = _tokenizer_json(family)
    added = {token["content"]: token for token in json.loads(text)["added_tokens"]}
    ids = {
        f"{role}_id": added[token]["id"]
        for role, token in spec.tokens.items()
        if role in _ROLES_WITH_ID
    }
    settings = {
        "architectures": [spec.architecture],
        "vocab_size": _vocab_size(text),
        **ids,
        **spec.config,
    }
    settings.update(config_overrides)
    model_class = getattr(transformers, settings["architectures"][0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(model_class.config_class(**settings))
    path.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(path, safe_serialization=True)

    tokenizer_config = {
        "tokenizer_class": spec.tokenizer_class,
        "model_max_length": MAX_POSITIONS,
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in added.values()
        },
        **spec.tokens,
        **spec.tokenizer_config,
    }
    (path / "tokenizer.json").write_text(text, encoding="utf8")
    (path / "tokenizer_config.json").write_text(
        json.dumps(tokenizer_config, indent=2), encoding="utf8"
    )
    return path


@cache
def _tokenizer_json(family: str) -> str:
    """The content of `tokenizer.json`."""
    from tokenizers import AddedToken

    spec = _FAMILIES[family]
    tokenizer = spec.tokenizer()
    extra: list[str] = spec.tokenizer_config.get("additional_special_tokens", [])
    for token in [*dict.fromkeys(spec.tokens.values()), *extra]:
        # as in the published files: byte-level and XLM-R masks take the space before them
        lstrip = token in ("<mask>", "[MASK]") and spec.architecture in _MASK_TAKES_SPACE
        tokenizer.add_special_tokens(
            [AddedToken(token, lstrip=lstrip, normalized=False, special=True)]
        )
    text: str = tokenizer.to_str(pretty=True)
    return text


def _vocab_size(tokenizer_json: str) -> int:
    content = json.loads(tokenizer_json)
    sizes: list[int] = [token["id"] + 1 for token in content["added_tokens"]]
    size = max(len(content["model"]["vocab"]), *sizes)
    return math.ceil(size / 8) * 8  # padded, as many published embeddings are


# Vocabularies. One small learner serves all three kinds of tokenizer, so that nothing depends on
# hash order or on the version of the trainers in `tokenizers`.


def _learn_merges(words: Iterable[str], n_merges: int, prefix: str = "") -> list[tuple[str, str]]:
    """Byte-pair encoding: the `n_merges` most frequent merges, first to last.

    `prefix` marks every symbol that does not begin a word (`##` for WordPiece).
    """
    counts = Counter(words)
    symbols = {word: [word[0], *(prefix + char for char in word[1:])] for word in counts}
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in symbols.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append((left, right))
        for parts in symbols.values():
            for i in range(len(parts) - 2, -1, -1):
                if parts[i : i + 2] == [left, right]:
                    parts[i : i + 2] = [left + right[len(prefix) :]]
    return merges


def _words(tokenizer: Tokenizer) -> list[str]:
    """`TEXT` as the tokenizer's own normaliser and pre-tokeniser cut it."""
    text = TEXT if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(TEXT)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _unique(*groups: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(piece for group in groups for piece in group))


def _template(tokenizer: Tokenizer, single: str, pair: str) -> None:
    from tokenizers.processors import TemplateProcessing

    special = {part.split(":")[0] for part in pair.split() if not part.startswith("$")}
    tokens = [(token, tokenizer.token_to_id(token)) for token in sorted(special)]
    tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=tokens)


# Tokenizers


def _wordpiece(*, lowercase: bool) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    words = _words(tokenizer)
    chars = sorted(set("".join(words)))
    merged = [left + right[2:] for left, right in _learn_merges(words, 250, prefix="##")]
    pieces = _unique(
        _BERT_TOKENS.values(), chars, (f"##{char}" for char in chars if char.isalnum()), merged
    )
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocab, unk_token="[UNK]")
    _template(tokenizer, "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    return tokenizer


def _byte_bpe(first: Sequence[str], last: Sequence[str]) -> Tokenizer:
    """Byte-level BPE; the special tokens stand partly before, partly after the learned pieces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    merges = _learn_merges(_words(tokenizer), 250)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = _unique(first, alphabet, (left + right for left, right in merges), last)
    tokenizer.model = models.BPE({piece: i for i, piece in enumerate(pieces)}, merges)
    return tokenizer


def _roberta() -> Tokenizer:
    from tokenizers.processors import RobertaProcessing

    tokenizer = _byte_bpe(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
    tokenizer.post_processor = RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def _modernbert() -> Tokenizer:
    from tokenizers import normalizers

    tokenizer = _byte_bpe([], ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.normalizer = normalizers.NFC()
    _template(tokenizer, "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    return tokenizer


def _unigram(
    first: Sequence[str], last: Sequence[str], *, unk_token: str, deberta: bool = False
) -> Tokenizer:
    """A Unigram model whose scores favour long and early-learned pieces."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    if (
        deberta
    ):  # what transformers 5 makes of the published vocabulary; spaces are kept, several become one
        space = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
        strip = normalizers.Strip(left=False, right=True)
        tokenizer.normalizer = normalizers.Sequence([space, normalizers.NFC(), strip])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([metaspace])
    else:
        tokenizer.normalizer = normalizers.Precompiled(_charsmap())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), metaspace]
        )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    words = _words(tokenizer)
    merges = _learn_merges(words, 250)
    # exact in binary, because `tokenizers` reads other numbers back with an error in the last bit
    scores = {left + right: -4.0 - rank / 64 for rank, (left, right) in enumerate(merges)}
    chars = dict.fromkeys(sorted(set("".join(words))), -10.0)
    special = [(token, 0.0) for token in first]
    vocab = [*special, *(chars | scores).items(), *((token, 0.0) for token in last)]
    tokenizer.model = models.Unigram(
        vocab, unk_id=list(first).index(unk_token), byte_fallback=False
    )
    return tokenizer


def _xlm_roberta() -> Tokenizer:
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"], unk_token="<unk>")
    _template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")
    return tokenizer


def _deberta() -> Tokenizer:
    tokenizer = _unigram(
        ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"], unk_token="[UNK]", deberta=True
    )
    _template(tokenizer, "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    return tokenizer


def _t5() -> Tokenizer:
    tokenizer = _unigram(["<pad>", "</s>", "<unk>"], _SENTINELS[::-1], unk_token="<unk>")
    _template(tokenizer, "$A </s>", "$A </s> $B </s>")
    return tokenizer


@cache
def _charsmap() -> bytes:
    """A small part of SentencePiece's `nmt_nfkc` rules, compiled as its models store them.

    Layout: the size in bytes of a double-array trie (uint32), the trie (units of uint32), then the
    replacements, each ended by NUL. Ours is not packed: a block of 256 units for each inner node,
    then the leaves.
    """
    ranges = [(0xA0, 0x180), (0x2000, 0x2070), (0x2100, 0x2150), (0xFB00, 0xFB07), (0xFF01, 0xFF5F)]
    keys = [chr(code) for first, last in ranges for code in range(first, last)]
    keys += [
        letter + accent
        for letter in "aceinouACEINOU"
        for accent in "\u0300\u0301\u0302\u0303\u0308\u0327"
    ]
    rules = {key: unicodedata.normalize("NFKC", key) for key in keys}
    rules |= {
        chr(code): "" for code in [*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]
    }
    rules |= dict.fromkeys("\t\n\f\r\u1680\u200b\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd", " ")
    rules = {key: value for key, value in rules.items() if key != value}

    encoded = {key.encode(): value for key, value in sorted(rules.items())}
    blocks: dict[bytes, int] = {b"": 0}  # proper prefix of a key -> first unit of its children
    for key in encoded:
        for end in range(1, len(key)):
            blocks.setdefault(key[:end], 256 * len(blocks))
    leaf = 256 * len(blocks) + 1  # never at the start of a block: there a label would match
    units = [0] * 256 * (len(blocks) + len(encoded) // 255 + 1)
    replacements = b""
    for key, value in encoded.items():
        position = blocks[key[:-1]] ^ key[-1]
        units[position] = (position ^ leaf) << 10 | 1 << 8 | key[-1]  # offset, "has a leaf", label
        units[leaf] = 1 << 31 | len(replacements)
        replacements += value.encode() + b"\0"
        leaf += 2 if leaf % 256 == 255 else 1
    for prefix, block in blocks.items():
        if prefix:
            position = blocks[prefix[:-1]] ^ prefix[-1]
            units[position] = (position ^ block) << 10 | prefix[-1]
    units[0] = 0  # the root: offset 0
    return struct.pack(f"<{len(units) + 1}I", 4 * len(units), *units) + replacements


# The table

_ROLES_WITH_ID = ("bos_token", "eos_token", "pad_token", "cls_token", "sep_token")
_MASK_TAKES_SPACE = ("RobertaModel", "XLMRobertaModel", "ModernBertModel")
_SENTINELS = [f"<extra_id_{i}>" for i in range(8)]

_BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
_BERT_TOKENS_TWICE = {**_BERT_TOKENS, "bos_token": "[CLS]", "eos_token": "[SEP]"}
_T5_TOKENS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}

_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_POSITIONS,
}
# a position is counted from `pad_token_id + 1`, hence two more
_ROBERTA = {**_BERT, "max_position_embeddings": MAX_POSITIONS + 2, "type_vocab_size": 1}
_DEBERTA_V3 = {
    **_BERT,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "position_buckets": 16,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
}
_DEBERTA_V2 = {
    **_DEBERTA_V3,
    "pos_att_type": ["p2c", "c2p"],
    "conv_kernel_size": 3,
    "conv_act": "gelu",
}
_DISTILBERT = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": MAX_POSITIONS,
}
_MINILM = {**_BERT, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
_MODERNBERT = {
    **_BERT,
    "num_hidden_layers": 3,  # the first with global attention, then two with a local window
    "local_attention": 16,
    "embedding_dropout": 0.1,
    "mlp_dropout": 0.1,
    "attention_dropout": 0.1,
    "reference_compile": False,
}
_T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 16,
    "relative_attention_max_distance": 64,
    "decoder_start_token_id": 0,
}


def _uncased() -> Tokenizer:
    return _wordpiece(lowercase=True)


def _cased() -> Tokenizer:
    return _wordpiece(lowercase=False)


_CASED = {"do_lower_case": False}
_FAMILIES = {
    "bert": Family("BertModel", _BERT, "BertTokenizer", _uncased, _BERT_TOKENS),
    "roberta": Family("RobertaModel", _ROBERTA, "RobertaTokenizer", _roberta, _ROBERTA_TOKENS),
    "xlm-roberta": Family(
        "XLMRobertaModel", _ROBERTA, "XLMRobertaTokenizer", _xlm_roberta, _ROBERTA_TOKENS
    ),
    "electra": Family(
        "ElectraModel", {**_BERT, "embedding_size": 16}, "ElectraTokenizer", _uncased, _BERT_TOKENS
    ),
    "deberta-v2": Family(
        "DebertaV2Model", _DEBERTA_V2, "DebertaV2Tokenizer", _deberta, _BERT_TOKENS_TWICE
    ),
    "deberta-v3": Family(
        "DebertaV2Model", _DEBERTA_V3, "DebertaV2Tokenizer", _deberta, _BERT_TOKENS_TWICE
    ),
    "distilbert": Family(
        "DistilBertModel", _DISTILBERT, "DistilBertTokenizer", _cased, _BERT_TOKENS, _CASED
    ),
    "minilm": Family("BertModel", _MINILM, "BertTokenizer", _uncased, _BERT_TOKENS),
    "modernbert": Family(
        "ModernBertModel",
        _MODERNBERT,
        "PreTrainedTokenizerFast",
        _modernbert,
        _BERT_TOKENS_TWICE,
        {"model_input_names": ["input_ids", "attention_mask"]},
    ),
    "t5": Family(
        "T5EncoderModel",
        _T5,
        "T5Tokenizer",
        _t5,
        _T5_TOKENS,
        {"extra_ids": len(_SENTINELS), "additional_special_tokens": _SENTINELS},
    ),
}

FAMILIES: tuple[str, ...] = tuple(_FAMILIES)

_BERT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NO_DROPOUT: dict[str, dict[str, float]] = dict.fromkeys(FAMILIES, _BERT_DROPOUT) | {
    "distilbert": {"dropout": 0.0, "attention_dropout": 0.0},
    "modernbert": {"embedding_dropout": 0.0, "mlp_dropout": 0.0, "attention_dropout": 0.0},
    "t5": {"dropout_rate": 0.0},
}
