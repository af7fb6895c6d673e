"""Listeners of spaCy and of spacy-transformers, served with the shared token vectors.

Configs that use them move over by changing the factory of the component that they listen to.
"""

import sys
from collections.abc import Sequence
from typing import Any

from spacy.pipeline.entity_linker import EntityLinker
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model

from ..types import Array
from .batch import SharedBatch
from .listener import SharedTransformerListener


def is_listener(node: Model) -> bool:
    """True for our listener and for those that we serve as well."""
    return isinstance(node, (SharedTransformerListener, Tok2VecListener)) or is_trf_listener(node)


def is_trf_listener(node: Model) -> bool:
    """True for a listener of spacy-transformers, which is not imported unless a config has done so."""
    module = sys.modules.get("spacy_transformers.layers.listener")
    return module is not None and isinstance(node, module.TransformerListener)


def receive(listener: Model, batch: SharedBatch, task: str) -> None:
    """Hand a training batch to any listener."""
    if isinstance(listener, SharedTransformerListener):
        listener.receive(batch)
        return
    every_doc = range(len(batch.docs))
    batch_id = listener.get_batch_id(batch.docs)
    if isinstance(listener, Tok2VecListener):

        def take_arrays(d_vectors: Sequence[Array]) -> list[Any]:
            batch.add_gradient(task, d_vectors, every_doc)
            return []

        listener.receive(batch_id, batch.vectors, take_arrays)
        return

    def take_trf_data(d_data: Sequence[Any]) -> list[Any]:
        width = batch.buffer.width
        d_vectors = [d.model_output.last_hidden_state.reshape(-1, width) for d in d_data]
        # spacy-transformers returns no gradient for an empty document
        batch.add_gradient(task, d_vectors, [i for i in every_doc if len(batch.vectors[i])])
        return []

    outputs = [trf_data(doc, v) for doc, v in zip(batch.docs, batch.vectors, strict=True)]
    listener.receive(batch_id, outputs, take_trf_data)


def forget(listener: Model) -> None:
    """Let a listener drop the batch that it holds. Ours keeps it, closed, to tell a head that comes too late."""
    if not isinstance(listener, SharedTransformerListener):
        listener.receive(None, None, None)


def trf_data(doc: Doc, vectors: Array) -> Any:
    """Token vectors as spacy-transformers' data: one wordpiece for each token, so that pooling changes nothing."""
    from spacy_transformers.data_classes import TransformerData, WordpieceBatch

    if not len(doc):  # no `last_hidden_state`: spacy-transformers' mark of an empty document
        return TransformerData.empty()
    data = TransformerData.zeros(len(doc), vectors.shape[1])
    data.model_output.last_hidden_state = vectors.reshape(1, *vectors.shape)
    data.wordpieces = WordpieceBatch.zeros([len(doc)])
    data.wordpieces.strings = [[token.text for token in doc]]
    return data


def set_linker_width(head: Any, listener: Model) -> None:
    """Give the layer in the middle of spaCy's entity linker the width of the token vectors.

    spaCy does so while it builds the model, when ours are not known yet. Left open, thinc takes it from the knowledge
    base, and the layer does not fit what it is added to.
    """
    if isinstance(head, EntityLinker) and head.model.get_ref("tok2vec") is listener:
        added_to = [node for node in head.model.walk() if node.name.startswith("residual(")]
        for node in (inner for outer in added_to for inner in outer.walk()):
            if node.has_dim("nO") is None:
                node.set_dim("nO", listener.get_dim("nO"))


def install_trf_data() -> None:
    """Register `doc._.trf_data`, which the listeners of spacy-transformers read even while they are initialized."""
    from spacy_transformers.pipeline_component import install_extensions

    install_extensions()


def set_trf_data(docs: Sequence[Doc], vectors: Sequence[Array]) -> None:
    """Fill `doc._.trf_data`, where the listeners of spacy-transformers look during prediction."""
    install_trf_data()
    for doc, v in zip(docs, vectors, strict=True):
        doc._.trf_data = trf_data(doc, v)
