"""Batches by wordpieces: the budget holds, nothing is lost, and sampling is done anew in every epoch."""

import random
import re
from collections import Counter
from itertools import chain, islice, pairwise, repeat
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_mtl.corpora.batchers import BatchByWordpieces
from spacy_mtl.corpora.readers import MultiCorpus
from spacy_mtl.errors import ConfigError

from ..pipeline.helpers import shared, train
from ..pipeline.sentences import SENTENCES, make_examples
from .helpers import make_pipeline, write_docbin

N = len(SENTENCES)


@pytest.fixture(scope="module")
def nlp(encoder_path: Path) -> Language:
    return make_pipeline(encoder_path)


@pytest.fixture
def blocks(tmp_path: Path, nlp: Language) -> dict[str, Any]:
    return {
        "small": {"path": write_docbin(tmp_path / "s.spacy", nlp), "tasks": ["tagger"]},
        "large": {"path": write_docbin(tmp_path / "l.spacy", nlp, repeat=9), "tasks": ["ner"]},
    }


def lengths(nlp: Language, batch: list[Example]) -> list[int]:
    return shared(nlp).shim.count_wordpieces([eg.text for eg in batch])


def names(batches: list[list[Any]]) -> list[tuple[str, int]]:
    return [(eg.source, eg.index) for batch in batches for eg in batch]


def test_batches_are_full_but_never_above_the_budget(nlp: Language) -> None:
    examples = make_examples(nlp.vocab, SENTENCES * 20)
    random.Random(0).shuffle(examples)
    batches = list(BatchByWordpieces(50)(examples))
    assert [eg for batch in batches for eg in batch] == examples
    totals = [sum(lengths(nlp, batch)) for batch in batches]
    assert max(totals) <= 50
    for (total, _), (_, batch) in pairwise(zip(totals, batches, strict=True)):
        assert total + lengths(nlp, batch)[0] > 50


def test_a_long_document_makes_a_batch_of_its_own_or_is_discarded(nlp: Language) -> None:
    short, long = (Example.from_dict(nlp.make_doc("so it is" * repeat), {}) for repeat in (1, 200))
    assert list(BatchByWordpieces(50)([short, long, short])) == [[short], [long], [short]]
    assert list(BatchByWordpieces(50, discard_oversize=True)([short, long, short])) == [
        [short, short]
    ]


def test_the_budget_may_be_a_schedule(nlp: Language) -> None:
    examples = make_examples(nlp.vocab, SENTENCES[:1] * 12)
    (length,) = lengths(nlp, examples[:1])
    sizes = [length, 2 * length, 3 * length]
    batches = list(BatchByWordpieces(sizes)(examples))
    assert [len(batch) for batch in batches] == [1, 2, 3, 3, 3]


def test_nothing_makes_no_batches() -> None:
    assert list(BatchByWordpieces(50)([])) == []


def test_an_epoch_holds_every_example_once(nlp: Language, blocks: dict[str, Any]) -> None:
    examples = list(MultiCorpus(blocks)(nlp))
    batcher = BatchByWordpieces(60)
    for _ in range(2):
        found = names(list(batcher(examples)))
        assert Counter(found) == Counter((eg.source, eg.index) for eg in examples)


def test_sources_are_drawn_anew_in_every_epoch(nlp: Language, blocks: dict[str, Any]) -> None:
    examples = list(MultiCorpus(blocks, sampling="uniform", seed=0)(nlp))
    batcher = BatchByWordpieces(60)
    found = [names(list(batcher(examples))) for _ in range(10)]
    share = sum(source == "small" for epoch in found for source, _ in epoch) / (100 * N)
    assert 0.4 < share < 0.6
    assert len({draw for epoch in found for draw in epoch}) == 10 * N  # the large source in full
    assert found[0] != found[1]


def test_batches_may_keep_to_one_source(nlp: Language, blocks: dict[str, Any]) -> None:
    examples = list(MultiCorpus(blocks)(nlp))
    mixed, apart = (list(BatchByWordpieces(60, mix=mix)(examples)) for mix in (True, False))
    assert any(len({eg.source for eg in batch}) > 1 for batch in mixed)
    assert all(len({eg.source for eg in batch}) == 1 for batch in apart)
    assert Counter(names(mixed)) == Counter(names(apart))


def test_spacys_shuffling_does_not_change_our_order(nlp: Language, blocks: dict[str, Any]) -> None:
    def epoch(shuffle: int) -> list[tuple[str, int]]:
        examples = list(MultiCorpus(blocks, seed=3)(nlp))
        random.Random(shuffle).shuffle(examples)
        return names(list(BatchByWordpieces(60)(examples)))

    assert epoch(1) == epoch(2)


@pytest.mark.parametrize("mix", [True, False])
@pytest.mark.parametrize("n_batches", [0, 3, 9])
def test_training_resumes_in_the_middle_of_an_epoch(
    nlp: Language, blocks: dict[str, Any], n_batches: int, mix: bool
) -> None:
    def make() -> MultiCorpus:
        return MultiCorpus(blocks, sampling="temperature", seed=1)

    batcher = BatchByWordpieces(60, mix=mix)
    whole = [names([batch]) for batch in batcher(list(make()(nlp)))]
    corpus = make()
    iterator = batcher(list(corpus(nlp)))
    first = [names([next(iterator)]) for _ in range(n_batches)]
    resumed = make()
    resumed.load_state_dict(corpus.state_dict())
    rest = [names([batch]) for batch in batcher(list(resumed(nlp)))]
    assert first + rest == whole


def test_an_epoch_that_was_left_early_does_not_shorten_the_next(
    nlp: Language, blocks: dict[str, Any]
) -> None:
    examples = list(MultiCorpus(blocks)(nlp))
    batcher = BatchByWordpieces(60)
    next(iter(batcher(examples)))
    assert len(names(list(batcher(examples)))) == len(examples)


def test_a_part_of_the_examples_can_be_batched(nlp: Language, blocks: dict[str, Any]) -> None:
    corpus = MultiCorpus(blocks)
    part = list(corpus(nlp))[:3]
    assert len(names(list(BatchByWordpieces(60)(part)))) == 3
    assert len(list(corpus(nlp))) == 10 * N


def read(corpus: MultiCorpus, nlp: Language, part: str) -> list[Any]:
    """Some of a corpus's examples."""
    if part == "the first":
        return list(islice(corpus(nlp), 7 * N))
    if part == "read twice":
        examples = list(corpus(nlp))
        list(corpus(nlp))
        return examples
    return [eg for eg in corpus(nlp) if eg.index]


@pytest.mark.parametrize("part", ["the first", "read twice", "without one of each"])
def test_training_on_a_part_resumes(nlp: Language, blocks: dict[str, Any], part: str) -> None:
    def make() -> MultiCorpus:
        return MultiCorpus(blocks, sampling="temperature", seed=1)

    batcher = BatchByWordpieces(60)
    whole = [names([batch]) for batch in batcher(read(make(), nlp, part))]
    corpus = make()
    first = [names([batch]) for batch in islice(batcher(read(corpus, nlp, part)), 3)]
    assert corpus.state_dict()["position"] == sum(map(len, first))
    resumed = make()
    resumed.load_state_dict(corpus.state_dict())
    assert first + [names([batch]) for batch in batcher(read(resumed, nlp, part))] == whole


def test_other_examples_cannot_be_resumed_with(nlp: Language, blocks: dict[str, Any]) -> None:
    corpus = MultiCorpus(blocks, seed=1)
    next(BatchByWordpieces(60)(list(corpus(nlp))))
    resumed = MultiCorpus(blocks, seed=1)
    resumed.load_state_dict(corpus.state_dict())
    sizes = re.escape(f"had [{N}, {9 * N}] examples and have [{N - 1}, ")
    with pytest.raises(ConfigError, match=sizes):
        list(BatchByWordpieces(60)(read(resumed, nlp, "without one of each")))


def test_a_part_that_is_read_anew_is_drawn_evenly(nlp: Language, blocks: dict[str, Any]) -> None:
    corpus = MultiCorpus({"small": blocks["small"], "other": blocks["small"]}, sampling="uniform")
    found: Counter[tuple[str, int]] = Counter()
    for epoch in range(1, 6):
        part = list(islice(corpus(nlp), 2 * N - 1))
        found.update(names(list(BatchByWordpieces(60)(part))))
        assert sum(found.values()) == epoch * (2 * N - 1)
    for source in ("small", "other"):
        own = [n for (name, _), n in found.items() if name == source]
        assert max(own) - min(own) <= 1


def test_a_schedule_that_begins_anew_repeats_nothing(nlp: Language, blocks: dict[str, Any]) -> None:
    sizes = [30, 40, 50, 60, 80, 100]
    corpus = MultiCorpus(blocks, seed=1)
    goes_on: Any = chain(sizes, repeat(100))  # as thinc's schedules do
    batcher, examples = BatchByWordpieces(goes_on), list(corpus(nlp))
    list(batcher(examples))
    first = names(list(islice(batcher(examples), 2)))
    resumed = MultiCorpus(blocks, seed=1)
    resumed.load_state_dict(corpus.state_dict())
    rest = names(list(BatchByWordpieces(sizes)(list(resumed(nlp)))))
    assert Counter(first + rest) == Counter((eg.source, eg.index) for eg in examples)


@pytest.mark.parametrize("mix", [True, False])
def test_a_stream_resumes_where_its_batches_stand(
    nlp: Language, blocks: dict[str, Any], mix: bool
) -> None:
    def make() -> MultiCorpus:
        return MultiCorpus(blocks, stream=True, seed=1, shuffle_buffer=5)

    batcher = BatchByWordpieces(60, mix=mix)
    corpus = make()
    first = list(islice(batcher(corpus(nlp)), 4))
    resumed = make()
    resumed.load_state_dict(corpus.state_dict())
    rest = list(batcher(resumed(nlp)))
    found = Counter(names(first) + names(rest))
    assert set(found) == set(names(list(batcher(make()(nlp)))))
    assert (max(found.values()) == 1) or not mix


def test_examples_of_two_readers_are_refused(nlp: Language, blocks: dict[str, Any]) -> None:
    one, other = (list(MultiCorpus({name: block})(nlp)) for name, block in blocks.items())
    plain = make_examples(nlp.vocab)
    for mixed in (one + other, one + plain):
        with pytest.raises(ConfigError, match="examples of several readers"):
            list(BatchByWordpieces(60)(mixed))


def test_an_example_may_stand_in_a_batch_twice(nlp: Language, blocks: dict[str, Any]) -> None:
    examples = list(MultiCorpus(blocks)(nlp))
    train(nlp, 1, examples=[examples[0], examples[0], examples[-1]])


def test_without_an_encoder_there_is_nothing_to_count_with() -> None:
    nlp = spacy.blank("en")
    with pytest.raises(ConfigError, match="the pipeline has none"):
        list(BatchByWordpieces(50)([Example.from_dict(nlp.make_doc("so it is"), {})]))


@pytest.mark.parametrize("size", [0, -5, []])
def test_a_budget_of_nothing_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"`batcher.size = {size}`")):
        BatchByWordpieces(size)
