"""spacy-transformers at its best: the settings with which it predicts fastest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spacy import util
from spacy.language import Language

WINDOWS = ((128, 96), (128, 128), (192, 192), (256, 224))
MAX_BATCH_ITEMS = (512, 1024, 4096)
BATCH_SIZES = (16, 64, 256)


@dataclass(frozen=True)
class PeerSettings:
    """What can be set for prediction. The defaults are those of its documentation and of our configs."""

    window: int = 128
    stride: int = 96
    max_batch_items: int = 4096
    batch_size: int = 64

    def apply(self, nlp: Language) -> None:
        """Let a pipeline with a `transformer` use them; the batch size goes to `nlp.pipe`."""
        transformer: Any = nlp.get_pipe("shared_transformer")
        transformer.cfg["max_batch_items"] = self.max_batch_items
        spans = util.registry.get("span_getters", "spacy-transformers.strided_spans.v1")
        transformer.model.attrs["get_spans"] = spans(window=self.window, stride=self.stride)

    def __str__(self) -> str:
        return (
            f"window {self.window}, stride {self.stride}, max_batch_items {self.max_batch_items}, "
            f"batch size {self.batch_size}"
        )


def tune(run: Callable[[PeerSettings], float], *, long: bool) -> PeerSettings:
    """Search one setting after the other. run: seconds with some settings. long: documents do not fit a window."""
    best = PeerSettings()
    run(best)
    least = run(best)
    trials: list[list[dict[str, int]]] = [
        [{"max_batch_items": n} for n in MAX_BATCH_ITEMS if n != best.max_batch_items],
        [{"batch_size": n} for n in BATCH_SIZES if n != best.batch_size],
    ]
    if long:
        trials.insert(0, [{"window": w, "stride": s} for w, s in WINDOWS[1:]])
    for changes in trials:
        base = best
        for change in changes:
            settings = PeerSettings(**{**vars(base), **change})
            taken = run(settings)
            if taken < least:
                best, least = settings, taken
    return best
