"""Wordpiece vectors to token vectors, for all tokens of a batch at once."""

import numpy as np
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..types import Ints, Pooling


def choose(links: Ints, lengths: Ints, pooling: Pooling) -> tuple[Ints, Ints]:
    """The links and lengths that `pool` is to see: of `first` and `last` one link for each token that has any.

    links: [L] rows of the encoder's output, token after token. lengths: [T] links of each token; they sum to L.
    """
    if pooling not in ("first", "last"):
        return links, lengths
    stops = np.cumsum(lengths)
    some = lengths > 0
    nth = stops - lengths if pooling == "first" else stops - 1
    return links[nth[some]], some.astype(lengths.dtype)


def pool(hidden: Tensor, links: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Pool each token's wordpieces to one vector; waits for no device.

    hidden: [N, width] the encoder's output rows. links, lengths: from `choose`. pooling: `mean`, `first`, `last` or
    `max`. Returns [T, width]; zeros for a token without wordpieces. Autograd gives its exact gradient (that of `max`
    goes to the wordpiece that won).
    """
    starts = lengths.cumsum(0) - lengths
    mode = "max" if pooling == "max" else "mean"
    return embedding_bag(links, hidden, starts, mode=mode)
