"""Registers the component with spaCy. Found through an entry point, so it imports torch only when used.

spaCy loads every entry point whenever a pipeline is made: this module has to be light, and may never fail.
"""

from typing import Any

from spacy.language import Language

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
