"""Every document of a batch is taken once, and the parts are about equally long."""

from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_mtl.distributed.sharding import digest, split

LENGTHS = st.lists(st.integers(0, 300), max_size=40)


@given(lengths=LENGTHS, n_ranks=st.integers(1, 9))
def test_no_document_is_lost_and_none_is_taken_twice(lengths: list[int], n_ranks: int) -> None:
    parts = split(lengths, n_ranks)
    assert len(parts) == n_ranks
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    assert all(part == sorted(part) for part in parts)


@given(lengths=LENGTHS, n_ranks=st.integers(1, 9))
def test_parts_differ_by_no_more_than_a_document(lengths: list[int], n_ranks: int) -> None:
    """An empty document counts as one token."""
    loads = [sum(max(lengths[place], 1) for place in part) for part in split(lengths, n_ranks)]
    assert max(loads) - min(loads) <= max([1, *lengths])


def test_a_digest_tells_other_words_another_order_and_other_borders() -> None:
    vocab = Vocab()
    a, b, ab = (Doc(vocab, words=words) for words in (["x"], ["y"], ["x", "y"]))
    found = {digest([a, b]), digest([b, a]), digest([ab]), digest([a]), digest([])}
    assert len(found) == 5
    assert digest([b], digest([a])) == digest([a, b])
