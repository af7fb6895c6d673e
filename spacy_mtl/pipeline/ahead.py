"""Prepare the next batch of documents in a thread, while the device encodes the last one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from spacy.tokens import Doc

from ..types import EncoderInput


class PreparedDocs(list[Doc]):
    """Documents whose wordpieces are being made, or have been."""

    def __init__(self, docs: Iterable[Doc], inputs: "Future[EncoderInput]") -> None:
        super().__init__(docs)
        self.inputs = inputs


def prepared_ahead(
    batches: Iterable[list[Doc]], prepare: Callable[[list[Doc]], EncoderInput]
) -> Iterator[PreparedDocs]:
    """Batches of documents, each prepared while the caller works on the one before it.

    They are drawn in the caller's thread, one ahead. The tokenizer works without Python's lock. An error of whoever
    makes the documents is raised after the batches before it.
    """
    pool = ThreadPoolExecutor(1, "spacy_mtl-wordpieces")
    waiting: PreparedDocs | None = None
    try:
        try:
            for docs in batches:
                following = PreparedDocs(docs, pool.submit(prepare, docs))
                if waiting is not None:
                    yield waiting
                waiting = following
        except Exception:
            if waiting is not None:
                yield waiting
            raise
        if waiting is not None:
            yield waiting
    finally:  # a caller who stops early does not wait; Python may close the generator in the thread itself
        pool.shutdown(wait=False, cancel_futures=True)
