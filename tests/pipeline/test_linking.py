"""A head that spaCy did not see when it linked the components trains the encoder all the same, or says why not."""

import copy
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.lang.en import English
from spacy.language import Language
from thinc.api import Model

from spacy_mtl.errors import ConfigError, ListenerError
from spacy_mtl.pipeline.encoder_layer import is_encoder, shim_of

from .helpers import (
    LISTENER,
    NAME,
    head,
    make_config,
    make_nlp,
    make_optimizer,
    shared,
    tagger_model,
    train,
    weights,
)
from .sentences import SENTENCES, make_examples

TEXTS = [sentence.words for sentence in SENTENCES]
LAYERS = pytest.mark.parametrize("layers", ["last", "mix"])


def moved(nlp: Language, name: str = NAME, exclude: tuple[str, ...] = ()) -> bool:
    """Whether an update changes the encoder."""
    before = weights(nlp, name)
    nlp.update(make_examples(nlp.vocab), sgd=make_optimizer(0.01), exclude=exclude)
    after = weights(nlp, name)
    return any((before[key] != after[key]).any() for key in before)


def trained(path: Path, layers: str = "last") -> Language:
    tok2vec = {**LISTENER, "layers": layers}
    nlp = make_nlp(path, {name: head(name, tok2vec) for name in ("tagger", "biluo_ner")})
    train(nlp, 2, make_optimizer(0.01))
    return nlp


def loaded_disabled(nlp: Language, folder: Path) -> Language:
    nlp.to_disk(folder)
    nlp = spacy.load(folder, disable=["tagger", "biluo_ner"])
    for name in ("tagger", "biluo_ner"):
        nlp.enable_pipe(name)
    return nlp


def linked_again(nlp: Language, folder: Path) -> Language:
    with nlp.select_pipes(disable=["tagger", "biluo_ner"]):
        nlp.add_pipe("sentencizer")
    return nlp


def extended(nlp: Language, folder: Path) -> Language:
    nlp.add_pipe("masked_textcat", config={"model": head("textcat")["model"]})
    with nlp.select_pipes(enable=[NAME, "masked_textcat"]):
        nlp.initialize(lambda: make_examples(nlp.vocab))
    return nlp


@pytest.mark.parametrize("change", [loaded_disabled, linked_again, extended])
@LAYERS
def test_a_head_that_was_disabled_while_others_were_linked_trains_the_encoder(
    encoder_path: Path,
    tmp_path: Path,
    layers: str,
    change: Callable[[Language, Path], Language],
) -> None:
    nlp = change(trained(encoder_path, layers), tmp_path)
    others = tuple(name for name in nlp.pipe_names if name not in (NAME, "tagger"))
    assert moved(nlp, exclude=others)
    assert {"tagger", "biluo_ner"} <= set(shared(nlp).listening_components)


@LAYERS
def test_it_predicts_as_if_it_had_never_been_disabled(
    encoder_path: Path, tmp_path: Path, layers: str
) -> None:
    nlp = trained(encoder_path, layers)
    expected = [[token.tag_ for token in doc] for doc in nlp.pipe(TEXTS)]
    nlp = loaded_disabled(nlp, tmp_path)
    assert [[token.tag_ for token in doc] for doc in nlp.pipe(TEXTS)] == expected


def test_a_sourced_head_on_a_new_encoder_trains_it(encoder_path: Path) -> None:
    """As `init_nlp` does, which initializes the pipeline while sourced heads are disabled."""
    nlp = make_nlp(encoder_path, ["biluo_ner"], initialize=False)
    nlp.add_pipe("tagger", source=trained(encoder_path))
    with nlp.select_pipes(disable=["tagger"]):
        nlp.initialize(lambda: make_examples(nlp.vocab))
    assert moved(nlp, exclude=("biluo_ner",))


def shared_with_another(nlp: Language) -> Language:
    """Another pipeline that has the same encoder, and one of its heads."""
    other = spacy.blank("en")
    for name in (NAME, "biluo_ner"):
        other.add_pipe(name, source=nlp)
    return other


def test_a_head_that_another_pipeline_has_left_out_is_refused(encoder_path: Path) -> None:
    nlp = trained(encoder_path)
    other = shared_with_another(nlp)
    before = weights(nlp)
    with pytest.raises(ListenerError, match=r"`tagger` trains on a batch .* would be lost"):
        nlp.update(make_examples(nlp.vocab), sgd=make_optimizer(0.01))
    after = weights(nlp)
    assert all((before[key] == after[key]).all() for key in before)  # no half of a step
    assert moved(other)


def test_the_advice_that_it_gets_helps(encoder_path: Path) -> None:
    nlp = trained(encoder_path)
    other = shared_with_another(nlp)
    shared(nlp).find_listeners(nlp.get_pipe("tagger"))
    assert moved(nlp, exclude=("biluo_ner",))
    assert moved(other)


def test_a_head_that_listens_to_another_name_is_refused(encoder_path: Path, tmp_path: Path) -> None:
    nlp = make_nlp(encoder_path, {"tagger": head("tagger", {**LISTENER, "upstream": NAME})})
    nlp.rename_pipe(NAME, "trf")
    nlp.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    with pytest.raises(ListenerError, match=f"Correct its `upstream = '{NAME}'`"):
        moved(nlp, "trf")


def test_a_head_beside_two_encoders_is_refused_whichever_comes_first(encoder_path: Path) -> None:
    second = make_config(encoder_path)["components"][NAME]
    heads = {
        "tagger": head("tagger", {**LISTENER, "upstream": NAME}),
        "second": second,
        "biluo_ner": head("biluo_ner", {**LISTENER, "upstream": "second"}),
    }
    for _ in range(4):
        nlp = make_nlp(encoder_path, heads)
        train(nlp, 2, make_optimizer(0.01))
        for name in (NAME, "second"):
            shared(nlp, name)._listener_map.clear()
        with pytest.raises(ListenerError, match=f"`tagger` trains on a batch of `{NAME}`"):
            moved(nlp)


def test_a_listener_that_was_linked_by_hand_stays(encoder_path: Path) -> None:
    """Such as one of a model inside a component of the user's own."""
    nlp = make_nlp(encoder_path, ["biluo_ner"])
    inner = make_nlp(encoder_path, ["tagger"]).get_pipe("tagger")
    inner.name = "inner"
    shared(nlp).find_listeners(inner)
    examples = make_examples(nlp.vocab)
    for _ in range(2):
        with nlp.select_pipes(disable=["biluo_ner"]):
            nlp.update(examples)
            before = weights(nlp)
            shared(nlp).update(examples)
            inner.update(examples, sgd=make_optimizer(0.01))
            shared(nlp).finish_update(make_optimizer(0.01))
    assert "inner" in shared(nlp).listening_components
    assert any((before[key] != value).any() for key, value in weights(nlp).items())


def test_a_head_that_is_rehearsed_beside_the_encoder_s_update_is_not_refused(
    encoder_path: Path,
) -> None:
    nlp = trained(encoder_path)
    examples, tagger = make_examples(nlp.vocab), nlp.get_pipe("tagger")
    nlp.resume_training()
    shared(nlp).update(examples)
    tagger.rehearse(examples, sgd=make_optimizer(0.01))
    assert shared(nlp)._batch is not None
    assert shared(nlp)._batch.buffer


@pytest.mark.parametrize("way", [copy.deepcopy, lambda nlp: pickle.loads(pickle.dumps(nlp))])
@pytest.mark.parametrize("layers", ["last", "mix"])
@pytest.mark.parametrize("enabled", ["before", "after"])
def test_a_copy_finds_a_head_that_was_enabled_before_or_after_it_was_made(
    encoder_path: Path,
    tmp_path: Path,
    way: Callable[[Language], Language],
    layers: str,
    enabled: str,
) -> None:
    trained(encoder_path, layers).to_disk(tmp_path)
    expected = [t.tag_ for doc in spacy.load(tmp_path).pipe(TEXTS) for t in doc]
    nlp = spacy.load(tmp_path, disable=["tagger"])
    if enabled == "before":
        nlp.enable_pipe("tagger")
    nlp = way(nlp)
    if enabled == "after":
        nlp.enable_pipe("tagger")
    assert [t.tag_ for doc in nlp.pipe(TEXTS) for t in doc] == expected
    assert [t.tag_ for text in TEXTS for t in way(nlp)(text)] == expected
    assert moved(nlp, exclude=("biluo_ner",))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda nlp: pickle.loads(pickle.dumps(nlp))])
def test_a_copy_that_is_trained_first_finds_a_head_that_was_enabled(
    encoder_path: Path, tmp_path: Path, way: Callable[[Language], Language]
) -> None:
    trained(encoder_path).to_disk(tmp_path)
    nlp = way(spacy.load(tmp_path, disable=["tagger"]))
    nlp.enable_pipe("tagger")
    assert moved(nlp, exclude=("biluo_ner",))


def test_pipelines_are_made_in_threads_while_others_are_looked_through(encoder_path: Path) -> None:
    config = make_config(encoder_path, ["tagger"])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        kept = [English.from_config(config) for _ in range(40)]
        with ThreadPoolExecutor(4) as pool:
            kept += pool.map(lambda _: English.from_config(config), range(80))
    finally:
        sys.setswitchinterval(before)
    assert len({id(shared(nlp).worst_task) for nlp in kept}) == len(kept)


def test_a_width_that_does_not_fit_is_named_each_time(encoder_path: Path, tmp_path: Path) -> None:
    nlp = make_nlp(encoder_path, ["biluo_ner"])
    model = tagger_model({"@architectures": "spacy.Tok2VecListener.v1", "width": 64})
    with nlp.select_pipes(disable=[NAME]):
        nlp.add_pipe("tagger", config={"model": model})
    for _ in range(2):
        with pytest.raises(ConfigError, match="width"):
            list(nlp.pipe(TEXTS))
    assert "tagger" not in shared(nlp)._listener_map


def test_threads_wait_until_a_head_is_linked(encoder_path: Path, tmp_path: Path) -> None:
    trained(encoder_path, "mix").to_disk(tmp_path)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            nlp = spacy.load(tmp_path, disable=["tagger", "biluo_ner"])
            for name in ("tagger", "biluo_ner"):
                nlp.enable_pipe(name)
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(nlp, TEXTS[:1] * 8))
            assert len({tuple(token.tag_ for token in doc) for doc in found}) == 1
    finally:
        sys.setswitchinterval(before)


def test_listeners_are_replaced_right_after_a_head_was_enabled(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = loaded_disabled(trained(encoder_path), tmp_path)
    nlp.replace_listeners(NAME, "tagger", ["model.tok2vec"])
    assert shared(nlp).listening_components == ["biluo_ner"]


def test_an_encoder_that_another_pipeline_calls_otherwise_is_found(encoder_path: Path) -> None:
    nlp = trained(encoder_path)
    spacy.blank("en").add_pipe(NAME, name="trf", source=nlp)
    with nlp.select_pipes(disable=["tagger"]):
        assert len(list(nlp.pipe(TEXTS))) == len(TEXTS)


def test_another_pipeline_with_the_same_vocab_leaves_the_scores_names(
    encoder_path: Path, tmp_path: Path
) -> None:
    heads = {name: head("textcat_multilabel") for name in ("one", "two")}
    nlp = make_nlp(encoder_path, heads)
    make_nlp(encoder_path, ["tagger"]).to_disk(tmp_path)
    spacy.load(tmp_path, vocab=nlp.vocab)
    scores = nlp.evaluate(make_examples(nlp.vocab))
    assert {"cats_score/one", "cats_score/two"} <= scores.keys()


def test_heads_that_are_gone_do_not_change_the_names_of_scores(encoder_path: Path) -> None:
    old = make_nlp(encoder_path, ["ner", "textcat"])
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME, source=old)
    nlp.add_pipe("biluo_ner", config={"model": head("biluo_ner")["model"]})
    with nlp.select_pipes(enable=["biluo_ner"]):
        nlp.initialize(lambda: make_examples(nlp.vocab))
    assert list(shared(nlp).scored) == ["biluo_ner"]
    scores = nlp.evaluate(make_examples(nlp.vocab))
    assert scores["ents_f"] is not None
    assert not any("/" in key for key in scores)


@pytest.mark.parametrize("change", [lambda nlp: nlp.remove_pipe("ner"), lambda nlp: None])
def test_a_renamed_head_is_scored_and_served_once(
    encoder_path: Path, change: Callable[[Language], Any]
) -> None:
    nlp = make_nlp(encoder_path, ["ner", "biluo_ner"])
    change(nlp)
    nlp.rename_pipe("biluo_ner", "names")
    list(nlp.pipe(TEXTS))
    expected = [name for name in nlp.pipe_names if name != NAME]
    assert list(shared(nlp).scored) == expected
    assert shared(nlp).listening_components == expected
    train(nlp, 1, make_optimizer(0.01))
    assert set(shared(nlp)._heads) == set(expected)


def test_threads_wait_for_the_step_that_one_of_them_makes(encoder_path: Path) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    nlp = make_nlp(encoder_path, ["tagger"], model={"transformer_config": still})
    texts = TEXTS * 3
    for _ in range(6):
        train(nlp, 1, make_optimizer(0.05))
        with ThreadPoolExecutor(4) as pool:
            found = list(
                pool.map(lambda _: [doc.tensor.copy() for doc in nlp.pipe(texts)], range(4))
            )
        expected = [doc.tensor for doc in nlp.pipe(texts)]
        for vectors in found:
            for one, other in zip(vectors, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_step_of_one_pipeline_stops_no_other(encoder_path: Path) -> None:
    """Nor a forked child, in which the thread that makes the step is not."""
    one, other = (make_nlp(encoder_path, ["tagger"]) for _ in range(2))

    def predict() -> int:
        return len(list(other.pipe(TEXTS)))

    with ThreadPoolExecutor(2) as pool:
        begun, end = Event(), Event()

        def step() -> None:
            with shared(one)._lock:
                begun.set()
                end.wait(60)

        stepping = pool.submit(step)
        begun.wait(60)
        try:
            assert pool.submit(predict).result(60) == len(TEXTS)
            child = get_context("fork").Process(target=lambda: list(one.pipe(TEXTS)))
            child.start()
            child.join(60)
            assert child.exitcode == 0
        finally:
            end.set()
            stepping.result()


def test_an_encoder_of_its_own_keeps_no_layers_for_others(encoder_path: Path) -> None:
    nlp = make_nlp(
        encoder_path,
        {"tagger": head("tagger", {**LISTENER, "layers": "mix"}), "biluo_ner": head("biluo_ner")},
    )
    nlp.replace_listeners(NAME, "biluo_ner", ["model.tok2vec"])
    list(nlp.pipe(TEXTS))
    model: Model[Any, Any] = nlp.get_pipe("biluo_ner").model
    (own,) = [shim_of(node) for node in model.walk() if is_encoder(node)]
    assert not own.take_layers()
    assert shared(nlp).shim.every_layer
