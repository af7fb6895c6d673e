"""Any mix of documents: empty ones, blank ones, long ones, in any company (law 3)."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_mtl.errors import ListenerError

from .helpers import NAME, WIDTH, make_nlp, shared, train, weights
from .sentences import SENTENCES, TEXTS, annotations, make_examples

LONG = " ".join(TEXTS * 20)  # several windows
MIXED = [TEXTS[0], LONG, "", TEXTS[1], " \n ", "word", LONG + " " + TEXTS[2], TEXTS[3]]
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def blank_examples(vocab: Vocab) -> list[Example]:
    """An empty document, and one of nothing but spaces."""
    docs = [Doc(vocab), Doc(vocab, words=["  ", "\n"], spaces=[False, False])]
    return [Example.from_dict(doc, {"cats": {"NEWS": 1.0, "TALE": 0.0}}) for doc in docs]


@pytest.fixture(scope="module")
def trained(encoder_path: Path) -> Language:
    nlp = make_nlp(encoder_path, model={"window": 40, "max_batch_wordpieces": 200})
    train(nlp, 20)
    return nlp


def vectors(doc: Doc) -> NDArray[np.float32]:
    return np.asarray(doc.tensor).reshape(-1, WIDTH)


def assert_same(some: list[Doc], others: list[Doc]) -> None:
    """Of an empty document only the vectors: spaCy's textcat scores one as 0 if it is alone, by its bias otherwise."""
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(vectors(one), vectors(other), atol=1e-5, rtol=0)
        assert not len(one) or annotations(one) == annotations(other)


COMPANY: dict[str, Callable[[Language], list[Doc]]] = {
    "one batch": lambda nlp: list(nlp.pipe(MIXED, batch_size=len(MIXED))),
    "batches of two": lambda nlp: list(nlp.pipe(MIXED, batch_size=2)),
    "in reverse": lambda nlp: list(nlp.pipe(MIXED[::-1]))[::-1],
    "with their twins": lambda nlp: list(nlp.pipe(MIXED * 2))[len(MIXED) :],
}


@pytest.mark.parametrize("company", COMPANY)
def test_a_document_gets_the_same_vectors_and_annotation_in_any_company(
    company: str, trained: Language
) -> None:
    assert_same([trained(text) for text in MIXED], COMPANY[company](trained))


@FORKS
@pytest.mark.timeout(120)
def test_two_processes_give_the_result_of_one_after_the_parent_has_predicted(
    trained: Language,
) -> None:
    alone = [trained(text) for text in MIXED]
    assert_same(alone, list(trained.pipe(MIXED, n_process=2, batch_size=2)))


def test_documents_come_back_with_the_context_they_were_sent_with(trained: Language) -> None:
    pairs = [(text, i) for i, text in enumerate(MIXED)]
    for doc, i in trained.pipe(pairs, as_tuples=True, batch_size=3):
        assert doc.text == MIXED[i]
        assert_same([doc], [trained(MIXED[i])])


def test_every_token_but_whitespace_has_a_vector_however_long_the_document(
    trained: Language,
) -> None:
    doc = trained(LONG + " \n " + "x" * 500 + " end")
    assert doc.tensor.shape == (len(doc), WIDTH)
    for token, vector in zip(doc, doc.tensor, strict=True):
        assert vector.any() != token.is_space


def test_an_empty_document_has_no_vectors_and_passes_through_every_head(trained: Language) -> None:
    doc = trained("")
    assert doc.tensor.shape == (0, WIDTH)
    assert [len(doc) for doc in trained.pipe(["", ""])] == [0, 0]
    assert list(trained.pipe([])) == []


def test_a_blank_document_has_vectors_of_zeros(trained: Language) -> None:
    doc = trained("  \n")
    assert len(doc) == len(doc.tensor) > 0
    assert not doc.tensor.any()


def test_blank_documents_in_a_batch_do_not_keep_the_others_from_being_learned(
    encoder_path: Path,
) -> None:
    nlp = make_nlp(encoder_path)
    blanks = blank_examples(nlp.vocab)
    train(nlp, 80, examples=[blanks[0], *make_examples(nlp.vocab), blanks[1]])
    tags = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    assert tags == [sentence.tags.split() for sentence in SENTENCES]


@pytest.mark.parametrize("which", [[0, 0], [1], [0, 1]], ids=["empty", "blank", "both"])
def test_a_batch_of_nothing_but_blank_documents_changes_no_weight(
    which: list[int], encoder_path: Path
) -> None:
    nlp = make_nlp(encoder_path)
    train(nlp, 1)
    before = weights(nlp)
    blanks = blank_examples(nlp.vocab)
    train(nlp, 3, examples=[blanks[i] for i in which])
    after = weights(nlp)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    losses = train(nlp, 60)
    assert losses[-1]["tagger"] < 0.5 * losses[0]["tagger"]
    assert shared(nlp).cfg["steps"] >= 60


@pytest.mark.parametrize("cleaner", ["doc_cleaner", "vector_cleaner"])
def test_a_document_that_a_cleaner_has_freed_can_be_read_again_but_not_by_a_head_alone(
    encoder_path: Path, cleaner: str
) -> None:
    nlp = make_nlp(encoder_path)
    nlp.add_pipe(cleaner)
    train(nlp, 2)
    doc = nlp(TEXTS[0])
    first = annotations(doc)
    left = None if cleaner == "doc_cleaner" else (0,)
    assert getattr(doc.tensor, "shape", None) == left
    with pytest.raises(ListenerError, match="has not encoded"):
        nlp.get_pipe("tagger")(doc)  # type: ignore[operator]
    assert annotations(nlp(doc)) == first
    [(again, context)] = nlp.pipe([(doc, "context")], as_tuples=True)
    assert getattr(again.tensor, "shape", None) == left
    assert context == "context"
    examples = [Example(again, eg.reference) for eg in make_examples(nlp.vocab)[:1]]
    nlp.update(examples, sgd=nlp.resume_training())


def test_training_reads_what_it_has_read_before_as_prediction_does(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, model={"window": 40, "max_batch_wordpieces": 200})
    shim = shared(nlp).shim
    apart = Doc(
        nlp.vocab, words=["wo", "rd"], spaces=[False, False]
    )  # the text of another document
    spaced = Doc(nlp.vocab, words=["wo", "rd"], spaces=[True, False])
    docs = [*map(nlp.make_doc, MIXED), apart, spaced, apart]
    for some in (docs, docs[::-1], docs[3:] * 2):
        for _ in range(2):
            one, other = shim.prepare(some), shim.prepare(some, again=True)
            for mine, theirs in zip(one.micro_batches, other.micro_batches, strict=True):
                np.testing.assert_array_equal(mine.ids, theirs.ids)
            for name in ("links", "token_lengths", "doc_tokens"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_wordpieces_are_made_once_in_a_training(
    family: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_nlp(family_dir(family))
    shim = shared(nlp).shim
    docs = [nlp.make_doc(text) for text in TEXTS]
    read: list[str] = []
    tokenizer = shim.require().tokenizer

    class Counting:
        """The tokenizer, which is not Python's and cannot be patched."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def encode_batch(self, texts: list[str], **settings: Any) -> Any:
            read.extend(texts)
            return tokenizer.encode_batch(texts, **settings)

        encode_batch_fast = encode_batch

    monkeypatch.setattr(shim.require(), "tokenizer", Counting())
    if shim._chunks is not None:
        monkeypatch.setattr(shim._chunks, "tokenizer", Counting())
    shim.prepare(docs, again=True)
    assert read
    read.clear()
    for batch in (docs, docs[::-1], docs[:2]):
        shim.prepare(batch, again=True)
    assert read == []


def test_another_encoder_forgets_the_wordpieces_of_the_last(
    encoder_path: Path, family_dir: Callable[[str], Path]
) -> None:
    nlp = make_nlp(encoder_path)
    shim = shared(nlp).shim
    docs = [nlp.make_doc(text) for text in TEXTS]
    shim.prepare(docs, again=True)
    other = make_nlp(family_dir("roberta"))
    shim.from_files(shared(other).shim.to_files())
    expected = shared(other).shim.prepare(docs).micro_batches[0].ids
    np.testing.assert_array_equal(shim.prepare(docs, again=True).micro_batches[0].ids, expected)


@pytest.mark.parametrize("own", [True, False], ids=["an encoder's own optimizer", "thinc's"])
@pytest.mark.parametrize("annotates", [[], [NAME]], ids=["", "it annotates before it steps"])
def test_a_prediction_reads_the_weights_of_the_moment(
    annotates: list[str], own: bool, encoder_path: Path
) -> None:
    """A processor keeps a copy of them for short texts, and thinc writes to them behind torch's back."""
    settings = {"optimizer": {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.01}}
    nlp = make_nlp(encoder_path, **(settings if own else {}))
    optimizer = nlp.resume_training()
    shim = shared(nlp).shim

    def check() -> NDArray[np.float32]:
        found = vectors(nlp(TEXTS[0]))
        fresh = shim.copy()
        expected = fresh.predict(fresh.prepare([nlp.make_doc(TEXTS[0])]))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        return found

    seen = [check()]
    for _ in range(3):
        nlp.update(make_examples(nlp.vocab), sgd=optimizer, annotates=annotates)
        shared(nlp).finish_batch()
        seen.append(check())
    name = "encoder.layer.0.output.dense.weight"
    weight = dict(shim.require().model.named_parameters())[name]
    with shared(nlp).model.use_params({(shim.id, name): weight.detach().numpy() * 50}):
        seen.append(check())
    check()
    for one, other in itertools.pairwise((seen[0], seen[-2], seen[-1])):  # heads begin with zeros
        assert np.abs(one - other).max() > 1e-3


def test_a_document_that_a_vector_cleaner_has_freed_is_as_one_that_nobody_has_encoded(
    encoder_path: Path, tmp_path: Path
) -> None:
    """What spaCy offers for documents works on, which it does not where `doc.tensor` is None."""
    nlp = make_nlp(encoder_path)
    nlp.add_pipe("vector_cleaner")
    doc, other = nlp.pipe(TEXTS[:2])
    bare = nlp.make_doc(TEXTS[0])
    assert doc.tensor.shape == bare.tensor.shape
    assert doc.tensor.dtype == bare.tensor.dtype
    assert doc.has_vector == bare.has_vector
    assert doc[0].has_vector == bare[0].has_vector
    assert doc[:2].as_doc().text == bare[:2].as_doc().text
    assert Doc.from_docs([doc, other]).text.startswith(doc.text)
    assert Doc(nlp.vocab).from_bytes(doc.to_bytes()).text == doc.text
    assert np.array_equal(doc.vector, bare.vector)
    assert "task_vectors" not in str(doc.user_data)
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(TEXTS[0]).tensor.shape == (0,)
