"""A listener that learns its own mix of the encoder's layers."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from thinc.api import SGD

from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.errors import ConfigError, ListenerError
from spacy_mtl.pipeline.diagnostics import GradientLog
from spacy_mtl.pipeline.listener import SharedTransformerListener
from spacy_mtl.pipeline.shim import EncoderShim
from spacy_mtl.pipeline.statistics import TaskStatistics

from .helpers import LISTENER, NAME, Settings, head, make_nlp, shared, train, weights
from .sentences import TEXTS, annotations, make_examples

MIX: Settings = {**LISTENER, "layers": "mix"}


def make(path: Path, *mixing: str, **settings: Any) -> Language:
    heads = {n: head(n, MIX if n in mixing else LISTENER) for n in ("tagger", "ner", "textcat")}
    return make_nlp(path, heads, **settings)


def listener(nlp: Language, name: str) -> SharedTransformerListener:
    (found,) = shared(nlp).listener_map[name]
    assert isinstance(found, SharedTransformerListener)
    return found


def set_mix(nlp: Language, name: str, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    node = listener(nlp, name)
    for param, shape in (("mix", node.get_param("mix").shape), ("scale", (1,))):
        node.set_param(param, rng.normal(size=shape).astype("f"))


def test_it_begins_with_the_mean_of_embeddings_and_layers(encoder_path: Path) -> None:
    nlp = make(encoder_path, "tagger")
    docs = [nlp.make_doc(text) for text in TEXTS]
    shared(nlp).set_annotations(docs, shared(nlp).predict(docs))
    shim = shared(nlp).shim
    inputs = shim.prepare(docs)
    with torch.no_grad():
        layers = encode_layers(
            shim.require().model, inputs, pooling="mean", dtype=torch.float32, every=True
        )
    assert len(layers) == shim.n_layers == 3
    mean = torch.stack(layers).mean(0).numpy()
    found = np.concatenate([doc._.task_vectors["tagger"] for doc in docs])
    np.testing.assert_allclose(found, mean, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([doc.tensor for doc in docs]), layers[-1], atol=1e-6)
    assert set(docs[0]._.task_vectors) == {"tagger"}


def test_gradients_are_those_of_autograd(encoder_path: Path) -> None:
    nlp = make(encoder_path, "tagger", "ner")
    set_mix(nlp, "tagger", 1)
    set_mix(nlp, "ner", 2)
    docs = [nlp.make_doc(text) for text in TEXTS]
    rng = np.random.default_rng(0)
    wanted = {
        task: [rng.normal(size=(len(doc), 32)).astype("f") for doc in docs]
        for task in ("tagger", "ner", "textcat")
    }
    pipe = shared(nlp)
    pipe.update(make_examples(nlp.vocab)[: len(docs)])
    batch = pipe._batch
    assert batch is not None
    for task, gradient in wanted.items():
        vectors, backprop = listener(nlp, task)(batch.docs, is_train=True)
        assert [v.shape for v in vectors] == [g.shape for g in gradient]
        backprop(gradient)
    pipe._close_batch()
    model = pipe.shim.require().model
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    pipe.shim.drop_gradients()

    inputs = pipe.shim.prepare(docs)
    layers = encode_layers(model, inputs, pooling="mean", dtype=torch.float32, every=True)
    total, params = torch.zeros(()), {}
    for task in wanted:
        gradient = torch.from_numpy(np.concatenate(wanted[task]))
        vectors_of = layers[-1]
        if task != "textcat":
            node = listener(nlp, task)
            mix, scale = (
                torch.tensor(node.get_param(p), requires_grad=True) for p in ("mix", "scale")
            )
            params[task] = {"mix": mix, "scale": scale}
            shares = torch.softmax(mix, 0)
            vectors_of = scale * sum(s * h for s, h in zip(shares, layers, strict=True))
        total = total + (vectors_of * gradient).sum()
    total.backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)
    for task, own in params.items():
        for name, value in own.items():
            ours = listener(nlp, task).get_grad(name)
            np.testing.assert_allclose(ours, value.grad, rtol=1e-4, atol=1e-4)


def test_training_moves_the_mix_and_prediction_uses_it(encoder_path: Path) -> None:
    nlp = make(encoder_path, "tagger", "textcat")
    history = train(nlp, 40)
    assert history[-1]["tagger"] < history[0]["tagger"] / 2
    for name in ("tagger", "textcat"):
        assert np.ptp(listener(nlp, name).get_param("mix")) > 0
        assert listener(nlp, name).get_param("scale")[0] != 1.0
    before = [annotations(doc) for doc in nlp.pipe(TEXTS)]
    node = listener(nlp, "tagger")
    node.set_param("scale", node.get_param("scale") * -3.0)
    after = [annotations(doc) for doc in nlp.pipe(TEXTS)]
    assert [a["tags"] for a in before] != [a["tags"] for a in after]
    assert [a["cats"] for a in before] == [a["cats"] for a in after]


@pytest.mark.parametrize("way", ["disk", "bytes", "pickle", "two processes", "source"])
def test_round_trips(way: str, encoder_path: Path, tmp_path: Path) -> None:
    nlp = make(encoder_path, "tagger")
    train(nlp, 10)
    expected = [annotations(doc) for doc in nlp.pipe(TEXTS)]
    other, n_process = nlp, 1
    if way == "disk":
        nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    elif way == "bytes":
        nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path).from_bytes(nlp.to_bytes())
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(nlp))
    elif way == "source":
        nlp.to_disk(tmp_path)
        loaded = spacy.load(tmp_path)
        other = spacy.blank("en")
        for name in loaded.pipe_names:
            other.add_pipe(name, source=loaded)
    else:
        n_process = 2
    assert [annotations(doc) for doc in other.pipe(TEXTS, n_process=n_process)] == expected


@pytest.mark.parametrize(
    "frozen", [{"freeze_layers": 1, "freeze_embeddings": True}, {"freeze_layers": "all"}]
)
def test_frozen_layers_are_left_alone_and_mixed_all_the_same(
    frozen: dict[str, Any], encoder_path: Path
) -> None:
    nlp = make(encoder_path, "tagger", model=frozen)
    before = weights(nlp)
    train(nlp, 5)
    moved = {n for n, w in weights(nlp).items() if not np.array_equal(before[n], w)}
    assert not any("embeddings" in name or "layer.0" in name for name in moved)
    assert bool(moved) == (frozen["freeze_layers"] != "all")
    assert np.ptp(listener(nlp, "tagger").get_param("mix")) > 0


CLEANERS = {
    "doc_cleaner": {"attrs": {"tensor": None, "_.task_vectors": None}},
    "vector_cleaner": {},
}


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_a_cleaner_frees_the_mixes(encoder_path: Path, cleaner: str) -> None:
    nlp = make(encoder_path, "tagger")
    nlp.add_pipe(cleaner, config=CLEANERS[cleaner])
    train(nlp, 1)
    doc = nlp(TEXTS[0])
    assert doc._.task_vectors is None
    assert not any("task_vectors" in key and value for key, value in doc.user_data.items())
    assert doc.has_annotation("TAG")


def test_balancing_and_audit_go_through_the_layers(encoder_path: Path) -> None:
    nlp = make(encoder_path, "tagger", balancer={"@balancers": "spacy_mtl.UPGrad.v1"})
    shared(nlp).statistics = statistics = TaskStatistics.of(nlp)
    statistics.gradients = GradientLog(audit_every=1)
    train(nlp, 4, SGD(0.1))
    shared(nlp).model  # noqa: B018
    *_, last = statistics.gradients.take()
    assert set(last.tasks) == {"tagger", "ner", "textcat"}
    assert len(last.audit) == 3


def test_wrong_use_is_named(encoder_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tok2vec\.layers = 'all'.*`last`, `mix`"):
        make_nlp(encoder_path, {"tagger": head("tagger", {**LISTENER, "layers": "all"})})
    nlp = make(encoder_path, "tagger")
    with pytest.raises(ConfigError, match=r"cannot be replaced"):
        nlp.replace_listeners(NAME, "tagger", ["model.tok2vec"])
    extra = SharedTransformerListener()
    with pytest.raises(ConfigError, match="several listeners"):
        shared(nlp).add_listener(extra, "tagger")
    with pytest.raises(ConfigError, match=r"does not take part.*freeze_layers"):
        nlp.update(make_examples(nlp.vocab), exclude=[NAME], annotates=[NAME])
    with pytest.raises(ListenerError, match="has not encoded"):
        nlp.get_pipe("tagger")(nlp.make_doc("It runs"))  # type: ignore[operator]


def test_threads_do_not_get_each_other_s_layers(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make(encoder_path, "tagger")
    set_mix(nlp, "tagger")
    expected = {text: nlp(text)._.task_vectors["tagger"] for text in TEXTS[:2]}
    both = threading.Barrier(2, timeout=20)
    take = EncoderShim.take_layers

    def take_late(self: EncoderShim) -> Any:
        both.wait()  # the other has encoded too
        return take(self)

    monkeypatch.setattr(EncoderShim, "take_layers", take_late)
    with ThreadPoolExecutor(2) as pool:
        for doc in pool.map(nlp, TEXTS[:2]):
            np.testing.assert_allclose(doc._.task_vectors["tagger"], expected[doc.text], atol=1e-6)
