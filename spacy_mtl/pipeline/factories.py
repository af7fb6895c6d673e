"""Registers our components with spaCy. Found through an entry point, so it imports torch only when used.

spaCy loads every entry point whenever a pipeline is made: this module has to be light, and may never fail.
"""

from typing import Any

from spacy.language import Language
from spacy.pipeline.textcat import DEFAULT_SINGLE_TEXTCAT_MODEL

DEFAULTS: dict[str, Any] = {
    "optimizer": None,
    "balancer": None,
    "storage": "fp32",
    "save_optimizer": True,
}


@Language.factory("shared_transformer", assigns=["doc.tensor"], default_config=DEFAULTS)
def shared_transformer(
    nlp: Language,
    name: str,
    model: Any,
    optimizer: Any,
    balancer: Any,
    storage: str,
    save_optimizer: bool,
) -> Any:
    """See `spacy_mtl.pipeline.shared_transformer.make_shared_transformer`."""
    from .shared_transformer import make_shared_transformer

    return make_shared_transformer(
        nlp, name, model, optimizer, balancer, storage=storage, save_optimizer=save_optimizer
    )


@Language.factory(
    "masked_textcat",
    assigns=["doc.cats"],
    default_config={
        "threshold": 0.0,
        "model": DEFAULT_SINGLE_TEXTCAT_MODEL,
        "scorer": {"@scorers": "spacy_mtl.MaskedTextcatScorer.v1"},
    },
    default_score_weights={
        "cats_score": 1.0,
        "cats_score_desc": None,
        "cats_micro_p": None,
        "cats_micro_r": None,
        "cats_micro_f": None,
        "cats_macro_p": None,
        "cats_macro_r": None,
        "cats_macro_f": None,
        "cats_macro_auc": None,
        "cats_f_per_type": None,
    },
)
def masked_textcat(nlp: Language, name: str, model: Any, threshold: float, scorer: Any) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_textcat.MaskedTextCategorizer`."""
    from .heads.masked_textcat import make_masked_textcat

    return make_masked_textcat(nlp, name, model, threshold, scorer)
