"""The decoder against all valid sequences of tags, one by one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spacy_mtl.pipeline.heads import biluo_decoding
from spacy_mtl.pipeline.heads.biluo_decoding import decode


def is_valid(tags, *, last, blank, fixed):
    """BILUO's own rules, and those of the three masks, written out."""
    inside = None
    for tag, is_last, is_blank, is_fixed in zip(tags, last, blank, fixed, strict=True):
        kind, label = ("O", None) if tag == 0 else ("BILU"[(tag - 1) % 4], (tag - 1) // 4)
        if inside is None and kind in "IL":
            return False
        if inside is not None and (kind not in "IL" or label != inside):
            return False
        if is_fixed and kind != "O":
            return False
        if is_blank and kind in "BLU":
            return False
        inside = label if kind in "BI" else None
        if inside is not None and is_last:
            return False
    return True


def total(scores, tags):
    return float(scores[np.arange(len(tags)), tags].sum())


def best_total(scores, **masks):
    every = product(range(scores.shape[1]), repeat=len(scores))
    return max(total(scores, list(tags)) for tags in every if is_valid(tags, **masks))


def masks_of(n, last=(), blank=(), fixed=()):
    masks = {name: np.zeros(n, dtype=bool) for name in ("last", "blank", "fixed")}
    for name, places in (("last", [*last, n - 1]), ("blank", blank), ("fixed", fixed)):
        masks[name][list(places)] = True
    return masks


@st.composite
def problems(draw):
    n_tokens, n_labels = draw(st.sampled_from([(1, 2), (2, 3), (3, 2), (4, 1), (5, 1), (4, 2)]))
    width = 1 + 4 * n_labels
    numbers = st.integers(-40, 40).map(lambda x: x / 4)  # exact in fp32, with many ties
    scores = draw(arrays(np.float32, (n_tokens, width), elements=numbers))
    masks = {name: draw(arrays(bool, n_tokens)) for name in ("last", "blank", "fixed")}
    masks["last"][-1] = True
    return scores, masks


@pytest.fixture(
    params=[0, biluo_decoding._FEW], ids=["side by side", "one after the other"], scope="module"
)
def few_stretches(request):
    """How many stretches there may be to take them one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(biluo_decoding, "_FEW", request.param)
        yield


@settings(max_examples=120, deadline=None)
@given(problems())
@pytest.mark.usefixtures("few_stretches")
def test_no_valid_sequence_has_a_higher_score(problem):
    scores, masks = problem
    tags = decode(scores.copy(), **masks)
    assert is_valid(tags, **masks)
    assert total(scores, tags) == pytest.approx(best_total(scores, **masks))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
@pytest.mark.usefixtures("few_stretches")
def test_confident_scores_with_long_entities_are_decoded_exactly(seed):
    rng = np.random.default_rng(seed)
    n = 6
    scores = rng.normal(size=(n, 5)).astype(np.float32)
    scores[np.arange(n), rng.integers(0, 5, n)] += 6  # as of a trained head, but not always valid
    masks = masks_of(n)
    tags = decode(scores.copy(), **masks)
    assert is_valid(tags, **masks)
    assert total(scores, tags) == pytest.approx(best_total(scores, **masks), rel=1e-5)


def test_documents_in_a_batch_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    lengths = [5, 1, 17, 9, 40]
    scores = rng.normal(size=(sum(lengths), 9)).astype(np.float32)
    stops = np.cumsum(lengths)
    together = decode(scores.copy(), **masks_of(len(scores), last=stops - 1))
    alone = [
        decode(scores[stop - n : stop].copy(), **masks_of(n))
        for n, stop in zip(lengths, stops, strict=True)
    ]
    assert together.tolist() == np.concatenate(alone).tolist()


def test_a_head_that_knows_nothing_yet_gives_valid_tags():
    masks = masks_of(300, last=[99, 199])
    tags = decode(np.zeros((300, 9), dtype=np.float32), **masks)
    assert is_valid(tags, **masks)


@pytest.mark.parametrize("shape", [(0, 5), (3, 1)])
def test_without_tokens_or_labels_there_is_nothing_to_find(shape):
    n = shape[0]
    masks = {name: np.ones(n, dtype=bool) for name in ("last", "blank", "fixed")}
    assert decode(np.ones(shape, dtype=np.float32), **masks).tolist() == [0] * n


def test_an_entity_is_cut_at_a_sentence_boundary():
    scores = np.zeros((4, 5), dtype=np.float32)
    scores[[0, 1, 2, 3], [1, 2, 2, 3]] = 5.0  # B I I L
    assert decode(scores.copy(), **masks_of(4)).tolist() == [1, 2, 2, 3]
    assert decode(scores.copy(), **masks_of(4, last=[1])).tolist() == [1, 3, 1, 3]


def test_most_tokens_of_confident_scores_need_no_step(monkeypatch):
    seen = []
    viterbi = biluo_decoding._viterbi
    monkeypatch.setattr(
        biluo_decoding, "_viterbi", lambda *args: (seen.append(args[-1]), viterbi(*args))
    )
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1000, 21)).astype(np.float32)
    scores[:, 0] += 12
    for start in range(0, 1000, 50):
        scores[[start, start + 1, start + 2], [1, 2, 3]] += 24
    tags = decode(scores, **masks_of(1000))
    assert np.count_nonzero(tags) == 60
    (lengths,) = seen
    assert lengths.tolist() == [3] * 20
