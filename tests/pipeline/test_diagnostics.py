"""Cosines of gradients that have overflowed are unknown, not zero and not NaN."""

import numpy as np

from spacy_mtl.pipeline.diagnostics import cosines


def test_gradients_that_overflowed_have_no_cosine() -> None:
    inf, nan = np.inf, np.nan
    gramian = np.array(
        [[4.0, 2.0, nan, nan], [2.0, 4.0, nan, 1.0], [nan] * 4, [nan, 1.0, nan, inf]]
    )
    assert cosines(("a", "b", "c", "d"), gramian) == {("a", "b"): 0.5}
