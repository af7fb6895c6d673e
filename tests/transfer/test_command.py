"""What `transfer` advises and prints."""

from typing import Any

import pytest
from wasabi import Printer

from spacy_mtl.cli.transfer import make_report, print_report
from spacy_mtl.report import tables


def result(seed: int, cosine: float | None = None, **scores: float) -> dict[str, Any]:
    """Of one run; names of heads with `__` stand for such with a slash."""
    scores = {name.replace("__", "/"): score for name, score in scores.items()}
    pairs = {}
    if cosine is not None:
        heads = sorted(scores)
        pairs = {f"{a}/{b}": {"true_cosine": cosine} for a in heads for b in heads if a < b}
    return {
        "heads": list(scores),
        "seed": seed,
        "updates": 5,
        "scores": scores,
        "gradients": {"pairs": pairs},
    }


def two_heads(gains: tuple[float, ...], others: tuple[float, ...]) -> dict[str, Any]:
    """The report on two heads that gained so much together, in points."""
    results = []
    for seed, (a, b) in enumerate(zip(gains, others, strict=True)):
        together = {"a": 0.5 + a / 100, "b": 0.5 + b / 100}
        results += [result(seed, **together), result(seed, a=0.5), result(seed, b=0.5)]
    return make_report(["a", "b"], results, seeds=len(gains), equal="updates", steps=5)


def printed(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    print_report(report, Printer())
    return " ".join(capsys.readouterr().out.split())


def test_losses_that_are_not_shown_do_not_part_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    report = two_heads((-0.02, 0.02, -0.03), (0.01, -0.03, 0.0))
    assert report["groups"] == [["a", "b"]]
    said = printed(report, capsys)
    assert "no pair has shown a difference" in said
    assert "✔" not in said


def test_losses_that_are_shown_part_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    report = two_heads((-2.0, -2.1, -1.9), (0.01, -0.03, 0.0))
    assert sorted(report["groups"]) == [["a"], ["b"]]
    assert "Judged by what the pairs have shown, train together: a; b" in printed(report, capsys)


def test_advice_from_too_few_seeds_is_said_to_be_unproved(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = two_heads((-0.02, -0.03), (0.01, -0.03))
    assert sorted(report["groups"]) == [["a"], ["b"]]
    said = printed(report, capsys)
    assert "not proved" in said
    assert "too few seeds" in said
    assert "✔" not in said


def test_p_is_corrected_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report = two_heads((2.0, 2.1, 1.9), (2.0, 2.5, 1.5))
    first, second = report["differences"]
    assert first["p"] == pytest.approx(2 * first["p_uncorrected"])
    assert second["p"] == pytest.approx(second["p_uncorrected"])
    said = printed(report, capsys)
    assert f"{first['p']:.3f}" in said
    assert "all 2 differences" in said
    assert "Holm" in said


def test_names_with_a_slash_are_kept_whole(capsys: pytest.CaptureFixture[str]) -> None:
    results = [result(seed, cosine=0.25, ner__news=0.5, tagger=0.5) for seed in range(3)]
    report = make_report(["tagger", "ner/news"], results, seeds=3, equal="updates", steps=5)
    assert report["groups_from"] == "gradients"
    assert "ner/news and tagger +0.250" in printed(report, capsys)
    (cosines,) = [t for t in tables.transfer(report) if t.header == ["Tasks", "Cosine"]]
    assert cosines.rows == [["ner/news and tagger", "+0.250"]]
