"""Law 1: no gradient is lost and none is stale. The reference is plain torch autograd."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
from spacy import util
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam, Config, Model

from ..families import NO_DROPOUT, make_encoder

HEADS = ("tagger", "ner", "textcat")
LISTENER = "@architectures = 'spacy_mtl.SharedTransformerListener.v1'".replace("'", '"')
HEAD_CONFIG = {
    "tagger": f"""
[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"

[components.tagger.model.tok2vec]
{LISTENER}
""",
    "ner": f"""
[components.ner]
factory = "ner"

[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 16
maxout_pieces = 2
use_upper = false

[components.ner.model.tok2vec]
{LISTENER}
""",
    "textcat": f"""
[components.textcat]
factory = "textcat_multilabel"

[components.textcat.model]
@architectures = "spacy.TextCatReduce.v1"
exclusive_classes = false
use_reduce_first = false
use_reduce_last = false
use_reduce_max = false
use_reduce_mean = true

[components.textcat.model.tok2vec]
{LISTENER}
""",
}
TEXTS = [
    ("Anna Smith lives in Rome .", ["N", "N", "V", "P", "N", "."], [(0, 10, "PER")], {"a": 1.0}),
    ("It rained .", ["R", "V", "."], [], {"a": 0.0}),
    ("Bob likes the old town of Riga .", None, [(0, 3, "PER"), (26, 30, "LOC")], {"a": 1.0}),
    ("Nobody came to see it at all , not one .", None, [], {"a": 0.0}),
]


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_encoder("bert", tmp_path_factory.mktemp("bert"), **NO_DROPOUT["bert"]))


def make_pipeline(
    encoder_path: str, order: tuple[str, ...], extra: str = "", *, model: str = ""
) -> Language:
    config = (
        f"""
[nlp]
lang = "en"
pipeline = {["shared_transformer", *order]}

[components]

[components.shared_transformer]
factory = "shared_transformer"
balancer = null
{extra}

[components.shared_transformer.model]
@architectures = "spacy_mtl.TransformerEncoder.v1"
name = "{encoder_path}"
precision = "fp32"
window = 10
stride = 8
max_batch_wordpieces = 40
{model}
""".replace("'", '"')
        + "".join(HEAD_CONFIG[head] for head in order)
    )
    util.fix_random_seed(0)
    nlp = util.load_model_from_config(Config().from_str(config), auto_fill=True)
    nlp.initialize(lambda: make_examples(nlp, HEADS))
    return nlp


def make_examples(nlp: Language, gold: tuple[str, ...], *, repeat: int = 1) -> list[Example]:
    """Examples with the annotation of some heads only; the rest is missing, not empty."""
    examples = []
    for text, tags, entities, cats in TEXTS * repeat:
        values: dict[str, Any] = {}
        doc = nlp.make_doc(text)
        if "tagger" in gold:
            values["tags"] = tags or ["N"] * len(doc)
        if "ner" in gold:
            values["entities"] = entities
        if "textcat" in gold:
            values["cats"] = {**cats, "b": 1.0 - cats["a"]}
        examples.append(Example.from_dict(doc, values))
    return examples


class Recorder:
    """Stands in for thinc's optimizer: keeps the gradients, leaves the weights."""

    learn_rate = 0.1

    def __init__(self) -> None:
        self.gradients: dict[Any, np.ndarray] = {}
        self.steps = 0

    def __call__(self, key: Any, weights: Any, gradient: Any, lr_scale: float = 1.0) -> Any:
        self.gradients[key] = np.array(gradient)
        return weights, gradient


def encoder_gradient(nlp: Language, recorder: Recorder) -> dict[str, np.ndarray]:
    shim_id = nlp.get_pipe("shared_transformer").shim.id
    return {k[1]: g for k, g in recorder.gradients.items() if k[0] == shim_id}


def reference_gradient(
    nlp: Language, batches: list[list[Example]], heads: tuple[str, ...] = HEADS
) -> dict[str, np.ndarray]:
    """Autograd through Hugging Face's own forward pass, of the sum over heads and batches of <Y, dY>.

    Each head's dY comes from a copy of it that is fed with the token vectors directly.
    """
    shim = nlp.get_pipe("shared_transformer").shim
    model = copy.deepcopy(shim.encoder.model).train()
    for batch in batches:
        docs = [eg.predicted for eg in batch]
        Y = plain_token_vectors(model, shim, docs)
        vectors = [y.detach().numpy() for y in Y]
        objective = torch.zeros(())
        for head in heads:
            for y, dy in zip(Y, head_gradient(nlp, head, batch, vectors), strict=True):
                objective = objective + (y * torch.from_numpy(dy)).sum()
        if objective.requires_grad:
            objective.backward()
    return {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}


def plain_token_vectors(model: Any, shim: Any, docs: list[Any]) -> list[torch.Tensor]:
    """One document at a time, one window at a time, one token at a time."""
    tokenizer, affixes = shim.encoder.tokenizer, shim.encoder.affixes
    vectors = []
    for doc in docs:
        encoding = tokenizer.encode(doc.text, add_special_tokens=False)
        pieces = windowed_wordpieces(model, encoding.ids, affixes, shim.window, shim.stride)
        rows = []
        for token in doc:
            start, end = token.idx, token.idx + len(token)
            own = [i for i, (s, e) in enumerate(encoding.offsets) if s < end and e > start]
            rows.append(pieces[own].mean(0) if own else torch.zeros(pieces.shape[1]))
        vectors.append(torch.stack(rows))
    return vectors


def windowed_wordpieces(
    model: Any, ids: list[int], affixes: Any, window: int, stride: int
) -> torch.Tensor:
    overlap = window - stride
    n = 1 if len(ids) <= window else -(-(len(ids) - overlap) // stride)
    length = -(-(len(ids) + (n - 1) * overlap) // n)
    starts = [i * (len(ids) - length) // max(n - 1, 1) for i in range(n)]
    outputs = []
    for start in starts:
        row = [*affixes.prefix, *ids[start : start + length], *affixes.suffix]
        hidden = model(input_ids=torch.tensor([row])).last_hidden_state[0]
        outputs.append(hidden[len(affixes.prefix) :])
    best = []
    for p in range(len(ids)):
        inside = [i for i, s in enumerate(starts) if s <= p < s + length]
        central = max(inside, key=lambda i: min(p - starts[i], starts[i] + length - 1 - p))
        best.append(outputs[central][p - starts[central]])
    return torch.stack(best)


def head_gradient(
    nlp: Language, head: str, batch: list[Example], vectors: list[np.ndarray]
) -> list[np.ndarray]:
    gradients = [np.zeros_like(v) for v in vectors]

    def forward(model: Model, docs: Any, is_train: bool) -> tuple[Any, Callable[[Any], Any]]:
        def backprop(d_vectors: Any) -> Any:
            for total, part in zip(gradients, d_vectors, strict=True):
                total += part
            return []

        return vectors, backprop

    pipe = copy.deepcopy(nlp.get_pipe(head))
    listener = next(n for n in pipe.model.walk() if n.name == "shared-transformer-listener")
    feed = Model("feed", forward, dims={"nO": vectors[0].shape[1]})
    util.replace_model_node(pipe.model, listener, feed)
    pipe.update(batch)
    return gradients


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    if not any(g.any() for g in expected.values()):
        assert not any(g.any() for g in found.values())
        return
    scale = np.sqrt(sum(float((g.astype("d") ** 2).sum()) for g in expected.values()))
    assert scale > 1e-3
    difference = np.sqrt(
        sum(float(((found[n].astype("d") - g) ** 2).sum()) for n, g in expected.items())
    )
    assert difference / scale < 1e-5
    for name, g in expected.items():
        error = np.linalg.norm(found[name].astype("d") - g)
        assert error < 1e-5 * max(np.linalg.norm(g), 0.1 * scale), name


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for n in range(len(names) + 1):
        yield from combinations(names, n)


def run_spacy_train(nlp: Language, batches: list[list[Example]], recorder: Recorder) -> None:
    """As in `spacy train`: updates with `sgd=False`, then every component's `finish_update`."""
    for batch in batches:
        nlp.update(batch, sgd=False)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(recorder)


@pytest.fixture(scope="module")
def cached(encoder_path: str) -> Callable[[Any], Language]:
    """A pipeline with the heads in some order, made once: nothing here steps its weights."""
    return cache(lambda order: make_pipeline(encoder_path, order))


@pytest.mark.parametrize("gold", list(subsets(HEADS)), ids="+".join)
@pytest.mark.parametrize("order", list(permutations(HEADS)), ids="-".join)
def test_encoder_gradient_is_that_of_autograd(
    order: tuple[str, ...], gold: tuple[str, ...], cached: Callable[[Any], Language]
) -> None:
    nlp = cached(order)
    batch = make_examples(nlp, gold)
    expected = reference_gradient(nlp, [batch])
    recorder = Recorder()
    run_spacy_train(nlp, [batch], recorder)
    nlp.get_pipe("shared_transformer").to_bytes()  # whatever is owed has to be paid by now
    assert_same(encoder_gradient(nlp, recorder), expected)


@pytest.mark.parametrize("gold", list(subsets(HEADS)), ids="+".join)
@pytest.mark.parametrize("order", list(permutations(HEADS)), ids="-".join)
def test_accumulated_gradient_is_that_of_autograd(
    order: tuple[str, ...], gold: tuple[str, ...], cached: Callable[[Any], Language]
) -> None:
    nlp = cached(order)
    rest = tuple(head for head in HEADS if head not in gold)
    for batches in (
        [make_examples(nlp, gold), make_examples(nlp, rest)],
        [make_examples(nlp, gold)[:2], make_examples(nlp, gold)[2:]],
    ):
        expected = reference_gradient(nlp, batches)
        recorder = Recorder()
        run_spacy_train(nlp, batches, recorder)
        nlp.get_pipe("shared_transformer").to_bytes()
        assert_same(encoder_gradient(nlp, recorder), expected)


@pytest.mark.parametrize("gold", list(subsets(HEADS)), ids="+".join)
@pytest.mark.parametrize("order", list(permutations(HEADS)), ids="-".join)
def test_gradient_in_a_handwritten_loop_is_that_of_autograd(
    order: tuple[str, ...], gold: tuple[str, ...], cached: Callable[[Any], Language]
) -> None:
    nlp = cached(order)
    batches = [make_examples(nlp, gold), make_examples(nlp, HEADS[:1])[1:3]]
    recorders = []
    for batch in batches:
        recorders.append(Recorder())
        nlp.update(batch, sgd=recorders[-1])
    nlp.get_pipe("shared_transformer").to_bytes()
    for batch, recorder in zip(batches, recorders, strict=True):
        assert_same(encoder_gradient(nlp, recorder), reference_gradient(nlp, [batch]))


@pytest.mark.parametrize("silent", HEADS)
@pytest.mark.parametrize("how", ["excluded", "disabled"])
def test_a_head_that_does_not_run_takes_nothing_from_the_others(
    encoder_path: str, silent: str, how: str
) -> None:
    order = (*[h for h in HEADS if h != silent], silent)  # as the last one it would matter most
    nlp = make_pipeline(encoder_path, order)
    batch = make_examples(nlp, HEADS)
    expected = reference_gradient(nlp, [batch], tuple(h for h in HEADS if h != silent))
    recorder = Recorder()
    if how == "excluded":
        nlp.update(batch, sgd=False, exclude=[silent])
        nlp.get_pipe("shared_transformer").finish_update(recorder)
    else:
        with nlp.select_pipes(disable=[silent]):
            run_spacy_train(nlp, [batch], recorder)
    assert_same(encoder_gradient(nlp, recorder), expected)


def test_handwritten_loop_and_spacy_train_order_reach_the_same_weights(encoder_path: str) -> None:
    weights = []
    for handwritten in (True, False):
        nlp = make_pipeline(encoder_path, HEADS)
        optimizer = Adam(iter([0.01, 0.005, 0.002, 0.001, 0.0005]), use_averages=True)
        for gold in (HEADS, HEADS[:1], HEADS[1:], (), HEADS):
            batch = make_examples(nlp, gold)
            if handwritten:
                nlp.update(batch, sgd=optimizer)
            else:
                nlp.update(batch, sgd=False)
                for _, pipe in nlp.pipeline:
                    pipe.finish_update(optimizer)
            optimizer.step_schedules()
        nlp.get_pipe("shared_transformer").to_bytes()
        shim = nlp.get_pipe("shared_transformer").shim
        weights.append({n: p.detach().numpy() for n, p in shim.encoder.model.named_parameters()})
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name], err_msg=name)


def test_plain_sgd_takes_the_step_that_torch_takes(encoder_path: str) -> None:
    from thinc.api import SGD

    nlp = make_pipeline(encoder_path, HEADS)
    shim = nlp.get_pipe("shared_transformer").shim
    batch = make_examples(nlp, HEADS)
    gradient = reference_gradient(nlp, [batch])
    before = {n: p.detach().clone() for n, p in shim.encoder.model.named_parameters()}
    nlp.update(batch, sgd=SGD(1e-3, grad_clip=0.0, use_averages=False))
    nlp.get_pipe("shared_transformer").to_bytes()
    for name, parameter in shim.encoder.model.named_parameters():
        expected = before[name].numpy() - 1e-3 * gradient[name]
        found = parameter.detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_unannotated_documents_send_the_encoder_nothing(encoder_path: str) -> None:
    nlp = make_pipeline(encoder_path, HEADS)
    recorder = Recorder()
    run_spacy_train(nlp, [make_examples(nlp, ())], recorder)
    nlp.get_pipe("shared_transformer").to_bytes()
    gradient = encoder_gradient(nlp, recorder)
    assert all(not g.any() for g in gradient.values())


def test_half_a_backward_pass_gets_into_no_step(
    encoder_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_pipeline(encoder_path, HEADS)
    backward = torch.autograd.backward

    def fail(*args: Any, **kwargs: Any) -> None:
        backward(*args, **kwargs)
        raise torch.OutOfMemoryError("no more memory")

    monkeypatch.setattr(torch.autograd, "backward", fail)
    encoder = nlp.get_pipe("shared_transformer")
    examples = make_examples(nlp, HEADS)
    encoder.update(examples)  # type: ignore[attr-defined]
    for head in HEADS:
        nlp.get_pipe(head).update(examples)  # type: ignore[attr-defined]
    with (
        pytest.warns(UserWarning, match="ran out of memory"),  # it is tried with fewer activations
        pytest.raises(torch.OutOfMemoryError),
    ):
        encoder.finish_update(Adam(0.1))  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.autograd, "backward", backward)
    assert all(p.grad is None for p in encoder.shim.require().model.parameters())  # type: ignore[attr-defined]
    assert encoder._batch is None  # type: ignore[attr-defined]


def test_predicting_between_two_updates_uses_the_updated_weights(encoder_path: str) -> None:
    nlp = make_pipeline(encoder_path, HEADS)
    before = nlp.make_doc("Anna Smith")
    nlp.get_pipe("shared_transformer")(before)
    nlp.update(make_examples(nlp, HEADS), sgd=Adam(0.01))
    after = nlp.make_doc("Anna Smith")
    nlp.get_pipe("shared_transformer")(after)
    assert abs(after.tensor - before.tensor).max() > 1e-3
    again = nlp.make_doc("Anna Smith")
    nlp.get_pipe("shared_transformer")(again)
    np.testing.assert_array_equal(after.tensor, again.tensor)


def test_annotating_the_encoder_in_a_handwritten_loop_does_not_disturb_its_step(
    encoder_path: str,
) -> None:
    nlp = make_pipeline(encoder_path, HEADS)
    batch = make_examples(nlp, HEADS)
    expected = reference_gradient(nlp, [batch])
    recorder = Recorder()
    nlp.update(batch, sgd=recorder, annotates=["shared_transformer", "tagger"])
    nlp.get_pipe("shared_transformer").to_bytes()
    assert_same(encoder_gradient(nlp, recorder), expected)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_annotating_the_encoder_disturbs_no_dropout(
    checkpointing: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Layers that are computed again drop what they have dropped, though the encoder has predicted in between."""
    path = str(make_encoder("bert", tmp_path_factory.mktemp("dropping")))
    model = f"gradient_checkpointing = {str(checkpointing).lower()}"
    found = []
    for annotates in ([], ["shared_transformer"]):
        util.fix_random_seed(0)
        nlp = make_pipeline(path, HEADS, model=model)
        recorder = Recorder()
        util.fix_random_seed(0)
        nlp.update(make_examples(nlp, HEADS), sgd=recorder, annotates=annotates)
        nlp.get_pipe("shared_transformer").to_bytes()
        found.append(encoder_gradient(nlp, recorder))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_grad_factor_scales_one_heads_gradient(encoder_path: str, factor: float) -> None:
    nlp = make_pipeline(encoder_path, ("tagger", "ner"))
    batch = make_examples(nlp, HEADS)
    shim = nlp.get_pipe("shared_transformer").shim
    parts = {h: reference_gradient(nlp, [batch], (h,)) for h in ("tagger", "ner")}
    for listener in nlp.get_pipe("shared_transformer").listener_map["ner"]:
        listener.grad_factor = type(listener.grad_factor)(factor)
    recorder = Recorder()
    run_spacy_train(nlp, [batch], recorder)
    expected = {n: parts["tagger"][n] + factor * parts["ner"][n] for n in parts["tagger"]}
    assert shim.encoder is not None
    assert_same(encoder_gradient(nlp, recorder), expected)


def test_a_schedule_as_grad_factor_follows_the_optimizer_steps(encoder_path: str) -> None:
    nlp = make_pipeline(encoder_path, ("tagger",))
    [listener] = nlp.get_pipe("shared_transformer").listeners
    listener.grad_factor = type(listener.grad_factor)(iter([1.0, 0.5, 0.25]))
    batch = make_examples(nlp, HEADS)
    expected = reference_gradient(nlp, [batch], ("tagger",))
    for factor in (1.0, 0.5, 0.25, 0.25):
        recorder = Recorder()
        run_spacy_train(nlp, [batch], recorder)
        scaled = {n: factor * g for n, g in expected.items()}
        assert_same(encoder_gradient(nlp, recorder), scaled)
