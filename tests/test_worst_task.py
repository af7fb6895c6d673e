"""The checkpoint whose worst task is best, relative to what each task has reached so far."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as training_loop
from spacy.vocab import Vocab

from spacy_mtl.worst_task import WorstTask, main_score, part_of

from .pipeline.conftest import encoder_path
from .pipeline.helpers import make_config, make_nlp, shared
from .pipeline.sentences import SENTENCES, make_doc
from .pipeline.test_spacy_train import filled, training

__all__ = ["encoder_path"]

scores = st.integers(0, 1000).map(lambda n: n / 1000)
histories = st.lists(st.tuples(scores, scores, scores), min_size=1, max_size=8)


def follow(history: list[tuple[float, ...]]) -> list[float]:
    """The value of each evaluation."""
    worst = WorstTask()
    return [[worst.add(f"t{i}", s) for i, s in enumerate(row)][-1] for row in history]


def parts(history: list[tuple[float, ...]]) -> list[float]:
    """Of each evaluation, the smallest part of a task's best score, by the definition."""
    best = [max(column) for column in zip(*history, strict=True)]
    return [min(s / b if b > 0 else 1.0 for s, b in zip(row, best, strict=True)) for row in history]


@given(histories)
def test_spacy_keeps_the_evaluation_that_is_best_as_all_look_then(
    history: list[tuple[float, ...]],
) -> None:
    values = follow(history)
    for n in range(1, len(history) + 1):
        *before, now = parts(history[:n])
        is_best = all(now > other for other in before)
        assert all(values[n - 1] > other for other in values[: n - 1]) == is_best
        n_best = round(values[n - 1] - now)
        assert values[n - 1] - n_best == pytest.approx(now, abs=1e-9)
        assert part_of(values[n - 1]) == pytest.approx(now, abs=1e-8)


def test_a_worked_example() -> None:
    values = follow([(0.5, 0.6), (0.8, 0.7), (0.99, 0.55), (0.9, 0.7)])
    assert values == [2.0, 3.0, pytest.approx(0.55 / 0.7), pytest.approx(3 + 0.9 / 0.99)]


@pytest.mark.parametrize("progress", ["worst task", "weighted sum"])
def test_spacy_train_keeps_the_checkpoint_with_the_best_worst_task(
    progress: str, encoder_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sentences.spacy"
    DocBin(docs=[make_doc(Vocab(), sentence) for sentence in SENTENCES]).to_disk(path)
    by_worst = {"worst_task": 1.0, "tag_acc": None, "ents_f": None}
    by_sum = {"tag_acc": 0.5, "ents_f": 0.5}
    others: dict[str, Any] = dict.fromkeys(("pos_acc", "ents_p", "ents_r", "ents_per_type"))
    weights = {**others, **(by_worst if progress == "worst task" else by_sum)}
    logger = {"@loggers": "spacy_mtl.TaskLogger.v1", "console_output": False}
    settings = training(path, max_steps=2, eval_frequency=1, score_weights=weights, logger=logger)
    nlp = init_nlp(filled(make_config(encoder_path, ("tagger", "ner")) | settings))
    told = {"tag_acc": iter([0.5, 0.8, 0.99]), "ents_f": iter([0.6, 0.7, 0.55])}
    for name, key in (("tagger", "tag_acc"), ("ner", "ents_f")):
        scorer: Any = nlp.get_pipe(name).scorer  # type: ignore[attr-defined]
        scorer.scorer = lambda examples, key=key, **_: {key: next(told[key])}
    training_loop(nlp, tmp_path)
    best = spacy.load(tmp_path / "model-best")
    steps = 2 if progress == "worst task" else 3
    assert shared(best).cfg["steps"] == steps
    assert spacy.load(tmp_path / "model-last").meta["best_steps"] == {
        "tagger": 2,
        "ner": 1,
    }
    if progress == "worst task":
        assert best.meta["performance"]["worst_task"] == 3.0


def test_each_head_has_a_main_score(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ("tagger", "morphologizer", "senter", "ner", "textcat", "spancat"))
    found = {
        "tag_acc": 0.1,
        "morph_acc": 0.2,
        "sents_f": 0.3,
        "ents_f": 0.4,
        "cats_score": 0.5,
        "spans_sc_f": 0.6,
    }
    mains = [main_score(nlp.get_pipe(name), found) for name in nlp.pipe_names[1:]]
    assert mains == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert main_score(nlp.get_pipe("ner"), {"ents_f": None, "tag_acc": 0.5}) is None

    class Own:
        """A head of another kind."""

    assert main_score(Own(), {"x_f": 0.2, "y_acc": 0.4, "z_p": 0.9}) == pytest.approx(0.3)
    assert main_score(Own(), {"z_p": 0.9}) is None
    own: Any = Own()
    own.main_score = "z_p"
    assert main_score(own, {"z_p": 0.9, "x_f": 0.2}) == 0.9
