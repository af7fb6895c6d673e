"""Wordpiece vectors to token vectors, for all tokens of a batch at once."""

from torch import Tensor
from torch.nn.functional import embedding_bag

from ..types import Pooling


def pool(hidden: Tensor, links: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Pool each token's wordpieces to one vector.

    hidden: [N, width] the encoder's output rows. links: [L] rows of `hidden`, token after token.
    lengths: [T] links of each token (they sum to L). pooling: `mean`, `first`, `last` or `max`.
    Returns [T, width]; zeros for a token without wordpieces. Autograd gives its exact gradient
    (that of `max` goes to the wordpiece that won).
    """
    stops = lengths.cumsum(0)
    starts = stops - lengths
    if pooling in ("first", "last"):
        some = (lengths > 0).long()
        nth = starts if pooling == "first" else stops - 1
        links, starts = links[nth[some.bool()]], some.cumsum(0) - some
    mode = "max" if pooling == "max" else "mean"
    return embedding_bag(links, hidden, starts, mode=mode)
