"""Wordpieces of texts that are read again and again, as in the epochs of a training."""

from collections.abc import Callable, Hashable, Sequence

from .wordpieces import TextPieces

LIMIT = 4_000_000  # 20 bytes each, with what a word has
_SHORT = "int32"


class WordpieceCache:
    """Keeps the wordpieces of texts, up to a number of them. Once it is full it takes no more, and drops none.

    So of a corpus that does not fit, a part is found in every epoch, whatever the order.

    limit: most wordpieces. A text without any counts as one.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.size = 0
        self._known: dict[Hashable, TextPieces] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(
        self, keys: Sequence[Hashable], split: Callable[[list[int]], Sequence[TextPieces]]
    ) -> list[TextPieces]:
        """The wordpieces of each text.

        keys: what tells the texts, and their tokens, apart. split: makes the wordpieces of the texts with these places
        in `keys`; it is called once, or not at all.
        """
        found = [self._known.get(key) for key in keys]
        missing = [i for i, text in enumerate(found) if text is None]
        new = dict(zip(missing, split(missing), strict=True)) if missing else {}
        for i, text in new.items():
            self._add(keys[i], text)
        return [new[i] if text is None else text for i, text in enumerate(found)]

    def _add(self, key: Hashable, text: TextPieces) -> None:
        size = max(len(text.ids), 1)
        if key not in self._known and self.size + size <= self.limit:
            arrays = (text.ids, text.firsts, text.lengths)
            self._known[key] = TextPieces(*(array.astype(_SHORT) for array in arrays))
            self.size += size
