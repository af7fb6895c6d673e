"""Where our prediction spends its time: timers around components, and around the parts of the encoder's."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rounds import clock
from spacy import util
from spacy.language import Language

import spacy_mtl.encoder.transformer as encoder
import spacy_mtl.pipeline.shim as shim

# Functions inside the component, by stage
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "wordpieces": ((shim, "token_spans"), (shim, "split"), (shim, "gather")),
    "packing": ((shim, "make_windows"), (shim, "pack")),
    "forward": ((shim, "encode_layers"),),
    "pooling": ((encoder, "pool"),),
}


def measure(nlp: Language, texts: list[str], batch_size: int) -> dict[str, float]:
    """Seconds of each stage. Components run batch by batch, as they do in `nlp.pipe`."""
    spent: Counter[str] = Counter()
    with ExitStack() as stack:
        for stage, functions in PARTS.items():
            for module, name in functions:
                stack.enter_context(timed(module, name, stage, spent))
        for batch in util.minibatch(texts, batch_size):
            with timer("tokenizer", spent):
                docs = [nlp.make_doc(text) for text in batch]
            for name, pipe in nlp.pipeline:
                with timer(name, spent):
                    docs = list(pipe.pipe(docs, batch_size=batch_size))
    spent["forward"] -= spent["pooling"]  # it runs inside
    component = spent.pop("shared_transformer")
    spent["rest of the component"] = component - sum(spent[stage] for stage in PARTS)
    return dict(spent)


@contextmanager
def timer(stage: str, spent: Counter[str]) -> Iterator[None]:
    """Add the time inside to a stage."""
    start = clock()
    yield
    spent[stage] += clock() - start  # type: ignore[assignment]


@contextmanager
def timed(module: Any, name: str, stage: str, spent: Counter[str]) -> Iterator[None]:
    """Let a module's function add its time to a stage."""
    function: Callable[..., Any] = getattr(module, name)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        with timer(stage, spent):
            return function(*args, **kwargs)

    setattr(module, name, replacement)
    try:
        yield
    finally:
        setattr(module, name, function)
