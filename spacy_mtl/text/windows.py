"""Documents of any length to overlapping windows of wordpieces.

A document that fits has one window. A longer one gets as few windows as the overlap allows, all of (almost)
the same length, so that none is short and padded:

    wordpieces   0 1 2 3 4 5 6 7 8 9           window = 6, stride = 4, so the overlap is 2
    window 0    [0 1 2 3 4 5]
    window 1            [4 5 6 7 8 9]
    served by    0 0 0 0 0 1 1 1 1 1           the window in which the wordpiece is most central
"""

import numpy as np

from ..types import Ints, Windows


def make_windows(doc_lengths: Ints, *, window: int, stride: int) -> Windows:
    """Cover each document with windows.

    doc_lengths: [D] wordpieces of each document.
    window: most wordpieces in a window, special tokens not counted.
    stride: window - stride is the least overlap of neighbouring windows.
    """
    if not (doc_lengths > window).any():  # as below, in a quarter of the time
        lengths = doc_lengths[doc_lengths > 0]
        return Windows(
            np.cumsum(lengths) - lengths, lengths, np.repeat(np.arange(len(lengths)), lengths)
        )
    overlap = window - stride
    n_windows = np.where(doc_lengths > window, -(-(doc_lengths - overlap) // stride), 1)
    n_windows = np.where(doc_lengths == 0, 0, n_windows)
    doc = np.repeat(np.arange(len(doc_lengths)), n_windows)
    nth = np.arange(len(doc)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    n, total = n_windows[doc], doc_lengths[doc]
    lengths = -(-(total + (n - 1) * overlap) // np.maximum(n, 1))
    within_doc = nth * (total - lengths) // np.maximum(n - 1, 1)
    starts = within_doc + (np.cumsum(doc_lengths) - doc_lengths)[doc]
    return Windows(starts, lengths, _most_central(starts, lengths, is_first=nth == 0))


def _most_central(starts: Ints, lengths: Ints, *, is_first: Ints) -> Ints:
    """Neighbours share their overlap half and half: that is where a wordpiece is equally far from both edges."""
    ends = starts + lengths
    before = np.concatenate([starts[:1], ends[:-1]])  # end of the window before
    serves_from = np.where(is_first, starts, (starts + before + 1) // 2)
    serves_to = np.concatenate([serves_from[1:], ends[-1:]])
    return np.repeat(np.arange(len(starts)), serves_to - serves_from)
