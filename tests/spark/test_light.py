"""The same annotations without Spark."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread, get_ident
from typing import Any

import pytest
import spacy
from spacy.language import Language

from spacy_mtl.errors import ConfigError, SparkError
from spacy_mtl.spark import Annotation, LightAnnotator

from .texts import make_texts, oracle, simplified


def test_a_text_and_a_list(pipeline_path: Path, nlp: Language) -> None:
    light = LightAnnotator(str(pipeline_path))
    texts = make_texts(60, seed=3)
    found = light(texts)
    assert found[:2] == [light(texts[0]), light(texts[1])]
    for row, text in zip(found, texts, strict=True):
        assert list(row)[-1] == "annotation_error"
        if text:
            expected = oracle(nlp(text))
            assert {kind: simplified(kind, row[kind]) for kind in expected} == expected
            assert row["annotation_error"] is None
    assert light(None)["token"] is None
    assert light("")["token"] == []


def test_threads_share_an_annotator_and_load_it_once(
    pipeline_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, calls = spacy.load, []
    monkeypatch.setattr(spacy, "load", lambda *a, **k: calls.append(a) or load(*a, **k))
    light = LightAnnotator(str(pipeline_path), ("token",), batch_size=2)
    texts = [f"word{i} other{i}" for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(light, [texts] * 4))
    assert len(calls) == 1
    for rows in found:
        assert [[a.result for a in row["token"]] for row in rows] == [t.split() for t in texts]
    assert pickle.loads(pickle.dumps(light))(texts) == found[0]


def test_each_thread_computes_on_the_gpu(
    pipeline_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[int] = set()
    monkeypatch.setattr(spacy, "require_gpu", lambda: used.add(get_ident()))
    light = LightAnnotator(str(pipeline_path), ("token",), gpu=True)
    light("Anna")
    thread = Thread(target=light, args=("Anna",))
    thread.start()
    thread.join()
    assert used == {get_ident(), thread.ident}


def test_names_plain_values_and_vectors(pipeline_path: Path) -> None:
    kinds = ("token", "entity", "embeddings")
    light = LightAnnotator(
        str(pipeline_path), kinds, columns=("t", "e", "v"), error_column="wrong", finish=True
    )
    found = light("London sells")
    assert list(found) == ["t", "e", "e_label", "e_begin", "e_end", "v", "wrong"]
    assert found["t"] == ["London", "sells"]
    assert [len(vector) for vector in found["v"]] == [32, 32]
    whole = LightAnnotator(str(pipeline_path), ("embeddings",))("London")
    [annotation] = whole["embeddings"]
    assert isinstance(annotation, Annotation)
    assert isinstance(annotation.embeddings, list)


def test_scores_are_of_all_labels_though_none_is_chosen(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    several: Any = nlp.add_pipe("textcat_multilabel", config={"threshold": 1.0})
    for label in ("sentence", "word"):
        several.add_label(label)
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    light = LightAnnotator(str(tmp_path / "pipeline"), ("category",), finish=True)
    found = light("London sells")
    assert found["category"] == []
    assert found["category_score"] == pytest.approx(nlp("London sells").cats)
    assert found["category_score"].keys() == {"sentence", "word"}
    assert light(None)["category_score"] is None
    assert light("")["category_score"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["nonsense"]}, "`kinds = 'nonsense'` is not supported. Set `kinds` to one of "),
        ({"kinds": "token"}, "`kinds = 'token'` cannot be used: it must be a list of names."),
        ({"kinds": []}, "`kinds = []` cannot be used: it must be a list with at least one name."),
        ({"kinds": ["tag"], "disable": ["tagger"]}, "`kinds` asks for `tag`, which no component of the pipeline"),
        ({"disable": "tagger"}, "`disable = 'tagger'` cannot be used: it must be a list of names."),
        ({"bad_text": "drop"}, "`bad_text = 'drop'` is not supported. Set `bad_text` to one of "),
        ({"offset_unit": "byte"}, "`offset_unit = 'byte'` is not supported. Set `offset_unit` to one of "),
        ({"batch_size": "8"}, "`batch_size = '8'` cannot be used: it must be a whole number, at least 1."),
        ({"max_length": 0}, "`max_length = 0` cannot be used: it must be a whole number, at least 1."),
        (
            {"kinds": ["token", "tag"], "columns": ["t"]},
            "`columns` has 1 names, and there must be one for each of `kinds`, in their order: `token`, `tag`. Set "
            "both, or leave `columns` out.",
        ),
        (
            {"kinds": ["token", "tag"], "columns": ["t", "T"]},
            "There would be several output columns called `T`, `t`. Set `columns` and `error_column` to names that "
            "differ.",
        ),
    ],
)  # fmt: skip
def test_it_refuses_what_the_stage_refuses(
    arguments: dict[str, Any], message: str, pipeline_path: Path
) -> None:
    with pytest.raises((ConfigError, SparkError)) as error:
        LightAnnotator(str(pipeline_path), **arguments)
    assert str(error.value).startswith(message)


def test_the_stage_s_light_refuses_what_was_set_another_way(pipeline_path: Path) -> None:
    pytest.importorskip("pyspark")
    from spacy_mtl.spark import SpacyAnnotator

    stage = SpacyAnnotator(model=str(pipeline_path))
    stage.set(stage.badText, "drop")
    with pytest.raises(ConfigError, match="`badText = 'drop'` is not supported"):
        stage.light()


def test_a_folder_without_a_saved_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(SparkError) as error:
        LightAnnotator.load(tmp_path)
    assert str(error.value) == (
        f"`{tmp_path}` holds 0 saved `SpacyAnnotator` stages, and it must be one. Name the folder of the stage, below "
        "`stages`."
    )


def test_the_class_in_saved_stages_is_the_stage_s() -> None:
    pytest.importorskip("pyspark")
    from spacy_mtl.spark import SpacyAnnotator
    from spacy_mtl.spark.light import STAGE_CLASS

    assert f"{SpacyAnnotator.__module__}.{SpacyAnnotator.__qualname__}" == STAGE_CLASS
