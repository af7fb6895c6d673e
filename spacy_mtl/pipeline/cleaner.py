"""Frees the token vectors of documents that all heads have read (factory `vector_cleaner`)."""

import numpy as np
from spacy.tokens import Doc

from .layer_mix import EXTENSION

_KEPT_BY_DOCUMENTS = (EXTENSION, "trf_data")


def free_vectors(doc: Doc) -> Doc:
    """Leave a document as one that no encoder has read: `doc.tensor` is empty, `doc._.task_vectors` is not set.

    spaCy's `doc_cleaner` can set `doc.tensor` to None only, on which `doc.vector`, `doc.similarity`, `span.as_doc` and
    `Doc.from_docs` fail.
    """
    doc.tensor = np.zeros((0,), dtype="f")
    for name in _KEPT_BY_DOCUMENTS:
        doc.user_data.pop(("._.", name, None, None), None)
    return doc
