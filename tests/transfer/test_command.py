"""What `transfer` advises and prints."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from wasabi import Printer

from spacy_mtl.balancing import Balancer, EqualProjection, NormEqual, UPGrad
from spacy_mtl.cli import app
from spacy_mtl.cli.transfer import make_report, print_report
from spacy_mtl.report import tables


def result(seed: int, cosine: float | None = None, **scores: float) -> dict[str, Any]:
    """Of one run; names of heads with `__` stand for such with a slash."""
    scores = {name.replace("__", "/"): score for name, score in scores.items()}
    pairs = {}
    if cosine is not None:
        heads = sorted(scores)
        pairs = {f"{a}/{b}": {"true_cosine": cosine} for a in heads for b in heads if a < b}
    own = {"share": 1 / len(scores), "gradient_per_unit": 1.0}
    return {
        "heads": list(scores),
        "seed": seed,
        "updates": 5,
        "scores": scores,
        "gradients": {"pairs": pairs, "tasks": dict.fromkeys(scores, own)},
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
    assert "Judged by what the pairs have shown, train a alone; b alone" in printed(report, capsys)


@pytest.mark.parametrize("n_seeds", [2, 3, 4])
def test_more_seeds_do_not_put_together_what_lost_in_each_of_them(
    n_seeds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """With three, Holm's correction for 16 tests leaves none of it shown; with four it is."""
    heads = ["a", "b", "c", "d"]
    results = []
    for seed, (lost, noise) in enumerate(
        [(8.0, 0.1), (5.0, -0.2), (6.5, 0.0), (6.0, 0.1)][:n_seeds]
    ):
        for group in ([h] for h in heads):
            results.append(result(seed, **dict.fromkeys(group, 0.5)))
        for group in [*combinations(heads, 2), heads]:
            scores = {h: 0.5 - lost / 100 if h == "a" else 0.5 + noise / 100 for h in group}
            results.append(result(seed, **scores))
    report = make_report(heads, results, seeds=n_seeds, equal="updates", steps=5)
    assert ["a"] in report["groups"]
    said = printed(report, capsys)
    assert ("✔" in said) == (n_seeds == 4)
    assert ("some losses are likely that are not proved" in said) == (n_seeds == 3)
    if n_seeds > 2:
        assert ["b", "c", "d"] in report["groups"]


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
    assert "ner/news tagger 0.79 +0.250" in printed(report, capsys)
    ways = tables.transfer(report)[-1]
    assert ways.header == ["Task", "Beside", "Own way", "Cosine"]
    assert ways.rows[0] == ["ner/news", "tagger", "0.79", "+0.250"]


def three_heads(gains: tuple[float, float, float], cosine: float | None = 0.3) -> dict[str, Any]:
    """The report on three heads, alone and together, that gained about so much, in points."""
    results = []
    for seed in range(3):
        together = {h: 0.5 + gain / 100 + seed / 1e4 for h, gain in zip("abc", gains, strict=True)}
        results += [result(seed, cosine, **together)]
        results += [result(seed, **{h: 0.5}) for h in "abc"]
    return make_report(["a", "b", "c"], results, seeds=3, equal="updates", steps=5)


def test_no_group_is_advised_in_which_a_task_was_shown_to_lose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = three_heads((2.0, -5.0, 1.0))
    assert len(report["groups"]) > 1
    assert "a + b + c" not in printed(report, capsys)
    assert "a + b + c" not in " ".join(tables.advice(report))


def test_what_was_shown_stands_above_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    report = three_heads((2.0, 0.0, 1.0), cosine=-0.5)
    assert (report["groups_from"], report["groups"]) == ("together", [["a", "b", "c"]])
    assert "✔ All together, tasks have gained" in printed(report, capsys)
    assert "train all together" in tables.advice(report)[-1]
    report = three_heads((0.0, 0.0, 0.0), cosine=-0.5)
    assert report["groups_from"] == "gradients"
    assert sorted(report["groups"]) == [["a"], ["b"], ["c"]]


def quick(
    pairs: dict[str, dict[str, float]],
    shares: tuple[float, float, float] = (0.3, 0.3, 0.3),
    balancer: Balancer | None = None,
) -> dict[str, Any]:
    """The report of one run with three heads, these cosines, and gradients of these lengths."""
    one = result(0, a=0.5, b=0.5, c=0.5)
    one["gradients"]["pairs"] = pairs
    one["gradients"]["tasks"] = {
        h: {"share": share, "gradient_per_unit": 7 * share}
        for h, share in zip("abc", shares, strict=True)
    }
    return make_report(["a", "b", "c"], [one], seeds=1, equal="updates", steps=5, balancer=balancer)


def test_cosines_are_those_of_all_tasks_together() -> None:
    runs = []
    for names in ("abc", "ab", "ac", "bc", "a", "b", "c"):
        one = result(0, **dict.fromkeys(names, 0.5))
        cosine = {"cosine": 0.8 if names == "abc" else -0.8}
        one["gradients"]["pairs"] = {f"{a}/{b}": cosine for a, b in combinations(names, 2)}
        runs.append(one)
    report = make_report(["a", "b", "c"], runs, seeds=1, equal="updates", steps=5)
    assert set(report["cosines"].values()) == {0.8}
    assert all(way == pytest.approx(0.9**0.5) for way in report["affinity"].values())


def test_pooled_cosines_stand_for_pairs_that_are_never_in_one_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pooled = {"a/b": {"cosine": -0.2}, "a/c": {"cosine": -0.6}, "b/c": {"cosine": 0.7}}
    audited = {"a/b": {"cosine": 0.1, "true_cosine": 0.4}}
    report = quick(pooled | audited)
    assert report["cosines_of"] == "pooled"
    assert report["cosines"]["a/b"] == 0.1  # not one of each kind
    assert sorted(report["groups"]) == [["a"], ["b", "c"]]
    said = printed(report, capsys)
    assert "cosines of pooled gradients" in said
    assert "pooled gradients" in tables.transfer(report)[-1].caption
    whole = {pair: {"cosine": -1.0, "true_cosine": 0.5} for pair in pooled}
    assert quick(whole)["cosines_of"] == "parameters"


def test_a_task_that_would_be_drowned_stays_alone(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = {pair: {"cosine": 0.1, "true_cosine": 0.1} for pair in ("a/b", "a/c", "b/c")}
    report = quick(pairs, shares=(0.5, 0.5, 0.001))
    assert sorted(report["groups"]) == [["a", "b"], ["c"]]
    assert report["affinity"]["c/a"] == pytest.approx(0.1, abs=0.01)
    assert report["affinity"]["a/c"] == pytest.approx(1.0, abs=0.01)
    assert report["affinity"]["a/b"] == pytest.approx(0.55**0.5)
    said = printed(report, capsys)
    assert "c a 0.10 +0.100" in said
    rows = tables.transfer(report)[-1].rows
    assert ["c", "a", "0.10", "+0.100"] in [list(row) for row in rows]


def test_weights_that_depend_on_who_is_there_are_those_of_the_pair() -> None:
    pairs = {pair: {"cosine": 0.1, "true_cosine": 0.1} for pair in ("a/b", "a/c", "b/c")}
    equal = quick(pairs, shares=(0.5, 0.5, 0.001), balancer=EqualProjection())["affinity"]
    for way in equal.values():
        assert way == pytest.approx(0.55**0.5)
    upgrad = quick(pairs, shares=(0.5, 0.5, 0.001), balancer=UPGrad())["affinity"]
    assert upgrad["c/a"] == pytest.approx(0.1, abs=0.01)
    overflowed = quick(pairs, shares=(0.5, 0.5, float("inf")), balancer=EqualProjection())
    assert overflowed["affinity"]["a/b"] == pytest.approx(0.55**0.5)
    of_run = quick(pairs, shares=(0.5, 0.5, 0.001), balancer=NormEqual())["affinity"]
    assert of_run == quick(pairs, shares=(0.5, 0.5, 0.001))["affinity"]


def test_an_audit_that_overflowed_says_nothing() -> None:
    pairs = {"a/b": {"cosine": 0.2, "true_cosine": None}, "a/c": {"cosine": 0.1}}
    assert quick(pairs)["cosines"] == {"a/b": 0.2, "a/c": 0.1}


def test_pairs_of_which_nothing_is_known_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    report = quick({"a/b": {"cosine": 0.2, "true_cosine": 0.2}})
    assert report["groups"] == []
    said = printed(report, capsys)
    assert "how `a` and `c` agree: no batch had gold for both" in said
    assert "`b` and `c`" in said
    assert "`a` and `b`" not in said


def test_quick_trains_no_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.cfg"
    path.write_text("[nlp]\n")
    done = CliRunner().invoke(app, ["transfer", str(path), "--quick", "--pairs"])
    assert done.exit_code == 2
    assert "leave out --pairs" in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == [path]  # nothing is made for it
