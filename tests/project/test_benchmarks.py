"""The benchmarks of speed and memory: their arithmetic, and each script end to end with a tiny encoder."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import Tokenizer

from .scripts import PROJECT

BENCHMARKS = PROJECT / "benchmarks"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports a module of the benchmarks; their short names are gone again afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before, path = set(sys.modules), list(sys.path)
    yield importlib.import_module
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name}.py").exists():
            del sys.modules[name]


def test_texts_have_the_words_that_were_asked_for(load: Load) -> None:
    corpus = load("corpus")
    source = corpus.Source("words", [f"w{i} " for i in range(500)], {})
    found = corpus.texts(source, length=20, total=2_000, seed=1)
    lengths = [len(text.split()) for text in found]
    assert sum(lengths) == 2_000
    assert 15 < sum(lengths) / len(lengths) < 25
    assert len(set(lengths)) > 10
    assert found == corpus.texts(source, length=20, total=2_000, seed=1)
    assert found != corpus.texts(source, length=20, total=2_000, seed=2)


def test_a_few_long_texts_have_the_length_exactly(load: Load) -> None:
    corpus = load("corpus")
    source = corpus.Source("words", ["a ", "b "], {})
    assert [len(t.split()) for t in corpus.texts(source, length=9, total=18, seed=0)] == [9, 9]


def record(system: str, seed: int, **points: float) -> dict[str, Any]:
    """Of a run of the mix, with these scores by task."""
    keys = {"tagger": "tag_acc", "ner": "ents_f", "textcat": "cats_micro_f"}
    return {
        "system": system,
        "seed": seed,
        "scores": {keys[task]: value / 100 for task, value in points.items()},
    }


def test_a_run_alone_is_done_when_all_of_its_tasks_are(load: Load) -> None:
    mix = load("mix_scores")
    alone = "alone, same epochs and batch size"
    assert mix.missing_tasks(alone, None, None) == ["tagger", "ner", "textcat"]
    assert mix.missing_tasks(alone, None, ["textcat", "tagger"]) == ["tagger", "textcat"]
    first = record(alone, 0, tagger=90, textcat=80)
    assert mix.missing_tasks(alone, first, ["tagger"]) == []
    assert mix.missing_tasks(alone, first, None) == ["ner"]
    both = mix.merged(first, record(alone, 0, ner=50))
    assert both == record(alone, 0, tagger=90, textcat=80, ner=50)
    assert mix.missing_tasks(alone, both, None) == []
    assert mix.merged(None, first) == first
    names = "alone, biluo_ner, same epochs and batch size"
    assert mix.missing_tasks(names, None, ["tagger"]) == []  # it has none
    assert mix.missing_tasks("spacy_mtl", None, ["ner"]) == ["tagger", "ner", "textcat"]


def test_balancers_stand_in_the_order_of_their_worst_task(load: Load) -> None:
    mix = load("mix_scores")
    alone, names = (
        "alone, same epochs and batch size",
        "alone, biluo_ner, same epochs and batch size",
    )
    results = [record(alone, seed, tagger=90, textcat=80) for seed in (0, 1)]
    results += [record(names, seed, ner=50) for seed in (0, 1)]
    results += [
        record("spacy_mtl, biluo_ner", 0, tagger=91, ner=49, textcat=80),
        record("spacy_mtl, biluo_ner", 1, tagger=91, ner=51, textcat=77),
        record("balanced: plain sum", 0, tagger=90.5, ner=52, textcat=79),
        record("balanced: plain sum", 2, tagger=10, ner=10, textcat=10),  # nothing to compare with
        record("balanced: GradNorm", 2, tagger=10, ner=10, textcat=10),
    ]
    table = mix.balancer_table(results, [], "fp32")
    lines = [line for line in table if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in cells] == ["balancer", "plain sum", "EqualProjection"]
    assert cells[1] == ["plain sum", "1", "0.50", "2.00", "-1.00", "-1.00", "-"]
    assert cells[2][1] == "2"
    assert cells[2][-2] == "-2.00 ± 1.41"  # -1 and -3
    assert mix.balancer_table(results[:4], [], "fp32") == []
    assert "for want of" not in "\n".join(table)


def test_a_pipeline_alone_that_bf16_lacks_is_that_of_fp32_and_the_table_says_so(load: Load) -> None:
    mix = load("mix_scores")
    alone, names = (
        "alone, same epochs and updates with gold",
        "alone, biluo_ner, same epochs and updates with gold",
    )
    same_epochs = [
        record("alone, same epochs and batch size", 0, tagger=90, textcat=80),
        record("alone, biluo_ner, same epochs and batch size", 0, ner=50),
    ]
    ours = record("spacy_mtl, biluo_ner", 0, tagger=91, ner=49, textcat=80)
    results = [*same_epochs, ours, record(names, 0, ner=47), record(alone, 0, textcat=77)]
    in_fp32 = [record(alone, 0, tagger=88, textcat=10), record(names, 0, ner=10)]
    table = mix.balancer_table(results, in_fp32, "bf16")
    cells = [cell.strip() for cell in table[-4].strip("|").split("|")]
    assert cells == ["EqualProjection", "1", "1.00", "-1.00", "0.00", "-1.00", "2.00"]
    assert f"for want of the same in bf16: {alone}: tagger, seeds [0]." in table[-1]


def test_a_table_names_the_machine_of_each_of_its_results(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = load("training")
    path = tmp_path / "scores.json"
    for n, machine in enumerate(["Versions: a\nProcessor: x", "Versions: a\nProcessor: y"]):
        monkeypatch.setattr(training, "describe", lambda machine=machine: machine)
        training.store_results(path, [*training.load_results(path), {"n": n}], "Scores", ["body"])
    machines = [result["machine"].split()[-1] for result in training.load_results(path)]
    assert machines == ["x", "y"]
    head = "# Scores\n\nVersions: a\nProcessor: x\nProcessor: y\n\nbody\n"
    assert path.with_suffix(".md").read_text() == head
    # what is written again without a new run keeps its head, what is run again does not
    training.store_results(path, training.load_results(path)[:1], "Scores", [])
    assert "Processor: x" in path.with_suffix(".md").read_text()
    training.store_results(path, [{"n": 0}], "Scores", [])
    assert "Processor: x" not in path.with_suffix(".md").read_text()


def test_systems_run_in_turn_and_the_warm_up_does_not_count(load: Load) -> None:
    calls: list[str] = []
    systems = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    times = load("rounds").alternate(systems, 2)
    assert "".join(calls) == "ab" + "ba" + "ab"
    assert {name: len(found) for name, found in times.items()} == {"a": 2, "b": 2}


def test_ratios_are_taken_within_rounds(load: Load) -> None:
    times = {"slow": [2.0, 20.0, 6.0], "fast": [1.0, 10.0, 2.0]}
    low, middle, high = load("rounds").ratios(times, "fast", "slow")
    assert (low, middle, high) == (2.0, 2.0, 2.5)
    assert load("rounds").show([low, middle, high]) == "2.00 (2.00 to 2.50)"


def test_a_rerun_replaces_its_rows_and_keeps_the_others(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    old = [{"length": "a", "v": 1}, {"length": "b", "v": 1}]
    load("training").store_results(path, old, "X", [])
    first, second = load("rounds").keep(path, [{"length": "a", "v": 2}], ("length",))
    assert (first["length"], first["v"]) == ("b", 1)
    assert second == {"length": "a", "v": 2}


@pytest.mark.parametrize("long", [False, True])
def test_the_peer_gets_the_settings_that_are_fastest(load: Load, long: bool) -> None:
    def seconds(settings: Any) -> float:
        good = (settings.max_batch_items == 512) + (settings.batch_size == 256)
        return 5.0 - good - (settings.window == 192)

    best = load("peer").tune(seconds, long=long)
    assert (best.max_batch_items, best.batch_size) == (512, 256)
    assert best.window == (192 if long else 128)


@pytest.mark.parametrize("has_bf16", [True, False])
def test_our_rows_name_the_precision_that_is_used(
    has_bf16: bool, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = load("systems")
    monkeypatch.setattr("spacy_mtl.encoder.precision.cpu_has_fast_bf16", lambda: has_bf16)
    assert systems.our_name() == ("spacy_mtl, bf16" if has_bf16 else "spacy_mtl")
    assert systems.our_name("biluo_ner", "bf16") == "spacy_mtl, biluo_ner, bf16"
    assert systems.our_name("biluo_ner", "fp32") == "spacy_mtl, biluo_ner"
    assert systems.our_name("biluo_ner", "int8") == "spacy_mtl, biluo_ner, int8"
    config = systems.make_config("e", precision="fp32")
    assert config["components"]["shared_transformer"]["model"]["precision"] == "fp32"


def test_a_run_draws_its_parts_one_after_the_other(load: Load) -> None:
    def batches(sources: list[str]) -> Iterator[tuple[int, list[str]]]:
        while True:
            yield 0, [*sources, *sources]

    module = load("lowresource_scores")
    drawn = list(module.draw(batches, [(["a"], 3), (["b", "c"], 4)]))
    assert drawn == [["a", "a"], ["a", "a"], ["b", "c", "b", "c"]]


def test_a_part_of_the_sources_is_all_that_is_read(load: Load) -> None:
    config = {"corpora": {"train": {"sources": {"a": 1, "b": 2, "c": 3}}}}
    kept = load("training").keep_sources(config, ["c", "a"])
    assert kept["corpora"]["train"]["sources"] == {"a": 1, "c": 3}
    assert len(config["corpora"]["train"]["sources"]) == 3


def test_the_bare_encoder_reads_every_wordpiece_once(
    load: Load, family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(family_dir("bert"), tmp_path / "bert")
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    texts = ["The quick brown fox. " * n for n in (1, 30, 3)]
    expected = sum(len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False))
    tokenizer.enable_truncation(16)  # as published sentence encoders do
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(file))
    bare = load("floor").BareEncoder(str(folder))
    for budget in (1, 512, 4096):
        batches = bare.batches(texts, budget)
        rows = sum(len(ids) for ids, _ in batches)
        sizes = (ids.numel() if mask is None else int(mask.sum()) for ids, mask in batches)
        assert sum(sizes) == expected + 2 * rows
        assert all(ids.shape[1] <= bare.model.config.max_position_embeddings for ids, _ in batches)


def test_gains_are_over_the_best_that_a_task_reached_alone_with_that_seed(load: Load) -> None:
    def run(variant: str, task: str | None, seed: int, *curve: dict[str, float]) -> dict[str, Any]:
        points = [{"passes": 6.0 * i, **scores} for i, scores in enumerate(curve, 1)]
        return {"variant": variant, "task": task, "seed": seed, "updates": 7, "curve": points}

    both = [
        run("together", None, 0, {"tag_acc": 0.5, "ents_f": 0.1}, {"tag_acc": 0.4, "ents_f": 0.3}),
        run("together", None, 1, {"tag_acc": 0.7, "ents_f": 0.2}),
        run("alone", "tagger", 0, {"tag_acc": 0.3}, {"tag_acc": 0.1}),
        run("alone", "tagger", 1, {"tag_acc": 0.6}),
        run("alone, two times the passes", "tagger", 0, {"tag_acc": 0.35}),
    ]
    module = load("lowresource_scores")
    assert module.best_alone(both, "tagger") == {0: 0.35, 1: 0.6}
    assert module.best_alone(both, "ner") == {}
    rows = module.table(both).splitlines()
    assert rows[2] == (
        "| together | 7 | 55.00 ± 21.21 | 2 | 12/6 | 7.50 ± 3.54 | 25.00 ± 7.07 | 2 | 12/6 | - "
        "| - | - | - | - |"
    )
    assert rows[3] == "| alone | 7 | 45.00 ± 21.21 | 2 | 6/6 |  | - | 0 |  |  | - |  |  |  |"
    assert (
        rows[4]
        == "| alone, two times the passes | 7 | 35.00 | 1 | 6 |  | - | 0 |  |  | - |  |  |  |"
    )
    both += [run("alone", "ner", 0, {"ents_f": 0.25}), run("alone", "ner", 1, {"ents_f": 0.15})]
    row = module.table(both).splitlines()[2]
    assert row.endswith("| 5.00 ± 0.00 | - | - | 5.00 ± 0.00 | - |")  # not tags' 7.5
    for point, sentiment in zip(both[0]["curve"], (0.9, 0.8), strict=True):
        point["cats_micro_f"] = sentiment
    both += [run("alone", "textcat", 0, {"cats_micro_f": 0.7}, {"cats_micro_f": 0.83})]
    rows = module.table(both).splitlines()
    assert rows[2].endswith("| 80.00 | -3.00 | 5.00 ± 0.00 | -3.00 |")  # of one seed
    assert rows[3].endswith("| 83.00 |  |  |  |")


def test_agreement_is_judged_beside_what_repeats(load: Load) -> None:
    gains = {("a", "b"): [3.0, 3.5], ("b", "a"): [2.0, 1.5], ("a", "c"): [-1.0, -2.0]}
    gains |= {("c", "a"): [-3.0, -4.0], ("b", "c"): [1.0, 0.5], ("c", "b"): [0.5, 0.75]}
    found = [
        {"task": task, "group": sorted((task, other)), "gains": values}
        for (task, other), values in gains.items()
    ]
    found.append({"task": "a", "group": ["a", "b", "c"], "gains": [7.0, 9.0]})
    own_ways = {pair: 0.9 if set(pair) == {"b", "c"} else 0.5 for pair in gains}
    report = {
        "heads": ["a", "b", "c"],
        "differences": found,
        "affinity": {"/".join(pair): value for pair, value in own_ways.items()},
        "cosines": {"a/b": -0.1, "a/c": 0.1, "b/c": -0.1},
        "agreement": 0.25,
        "runs": [
            {"heads": ["a"], "gradients": {"pairs": {}}},
            *(
                {
                    "heads": ["a", "b", "c"],
                    "gradients": {"audit": {"pooled_sign_right": part, "token_sign_right": 0.75}},
                }
                for part in (0.5, 0.75)
            ),
        ],
    }
    module = load("transfer_agreement")
    assert module.gains_of(report) == gains
    assert module.repeatable(gains) == pytest.approx(33 / 35)  # one of six ranks swapped
    text = "\n".join(module.show(report))
    assert "| a | b | 3.25 ± 0.35 | 0.50 | -0.100 |" in text
    assert "| b | a | 1.75 ± 0.35 | 0.50 | -0.100 |" in text
    assert "| a | 8.00 ± 1.41 |" in text
    assert "- what `--quick` judges by, own ways: 0.25" in text
    assert "- one seed's gains and the means of the other seeds': 0.94" in text
    assert "- by pairs: a + b; c: +5.00 points." in text
    assert "- by own ways: a; b + c: +1.38 points." in text
    assert "- by cosines: a + c; b: -5.00 points." in text
    assert "- pooled gradients: 62.50 ± 17.68%." in text
    assert "- token gradients: 75.00 ± 0.00%." in text


def test_balancers_are_ranked_by_the_worst_task_after_the_last_update(load: Load) -> None:
    module = load("lowresource_scores")

    def result(variant: str, task: str | None, seed: int, **ends: float) -> dict[str, Any]:
        end = {module.SCORES[name]: value for name, value in ends.items()}
        first = dict.fromkeys(end, 0.99)  # an early evaluation that does not count
        curve = [{**first, "passes": 3}, {**end, "passes": 12}]
        return {"variant": variant, "task": task, "seed": seed, "updates": 5, "curve": curve}

    results = []
    for seed in (0, 1):
        for task in module.SCORES:
            results.append(result("alone", task, seed, **{task: 0.5}))
        results.append(
            result("together", None, seed, tagger=0.5 + seed / 100, ner=0.6, textcat=0.52)
        )
        results.append(result("balanced: Static", None, seed, tagger=0.6, ner=0.49, textcat=0.6))
    _, _, alone, first, second = module.balancer_table(results)
    assert alone.startswith("| alone | 2 | 50.00 ± 0.00 |")
    assert first == (
        "| EqualProjection | 2 | 50.50 ± 0.71 | 0.50 ± 0.71 | 60.00 ± 0.00 | 10.00 ± 0.00 | 52.00 ± 0.00 | 2.00 ± 0.00 "
        "| 0.50 ± 0.71 |"
    )
    assert second.startswith("| Static | 2 |")
    assert second.endswith("| -1.00 ± 0.00 |")


def test_gains_of_one_seed_repeat_nothing(load: Load) -> None:
    assert load("transfer_agreement").repeatable({("a", "b"): [1.0], ("b", "a"): [2.0]}) is None


# ------------------------------------------------------------------------------- end to end, slowly


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script as a user runs it, on one thread."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *map(str, arguments)]
    path = os.pathsep.join([str(PROJECT.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


FP32 = ("--precision", "fp32")
SMALLEST: dict[str, tuple[object, ...]] = {
    "prediction": ("--length", "tweet", "--words", 150, "--batch-size", 64, "--teach", 200, *FP32),
    "latency": ("--length", "tweet", "--words", 60, "--teach", 200, *FP32),
    "training_speed": ("--words", 60, *FP32),
    "gpu": (
        *("--gpu", -1, "--length", "tweet", "--words", 150, "--batch-words", 60),
        *("--ner", "biluo_ner", "--teach", 200, *FP32),
    ),
    "packing": ("--wordpieces", 50, "--kind", "sentences", "--warm", 0, "--precision", "bf16"),
    "memory": (
        *("--smallest", "--words", 200, "--big", 400, "--tweets", 1_200),
        *("--teach", 200, "--system", "spacy_mtl", *FP32),
    ),
}
ROUNDS = {"prediction": 2, "gpu": 2, "training_speed": 2, "memory": 1, "packing": 2}
CLOCKS = {"memory": "Times are processor time, of all threads."}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", SMALLEST)
def test_a_script_writes_its_tables(
    script: str, family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    output = tmp_path / f"{script}.json"
    rounds = ("--rounds", ROUNDS[script]) if script in ROUNDS else ()
    encoder = ("--encoder", family_dir("bert"), "--output", output)
    done = run(script, *SMALLEST[script], *rounds, *encoder)
    assert done.returncode == 0, done.stdout + done.stderr
    stored = json.loads(output.read_text())
    text = output.with_suffix(".md").read_text()
    assert "Versions: Python" in text
    assert CLOCKS.get(script, "Threads: 1; time is processor time.") in text
    if script == "packing":
        assert {row["what"] for row in stored["results"]} == {"predict", "train"}
        assert "## train, bfloat16" in text
        return
    assert any(row["system"] == "spacy_mtl" for row in stored["results"])
    assert "| spacy_mtl |" in text
    if script == "prediction":
        assert "<svg" in output.with_suffix(".svg").read_text()
        assert "bare encoder, fp32" in text
        (ours,) = (row for row in stored["results"] if row["system"] == "spacy_mtl")
        stages = ours["stages"]
        assert all(stages[name] > 0 for name in ("wordpieces", "packing", "forward", "pooling"))
        assert ours["agreement"] > 0.8
    if script == "memory":
        assert {row["part"] for row in stored["results"]} == {
            *("load", "predict", "train", "grow", "big"),
        }


@pytest.mark.slow
@pytest.mark.parametrize("script", ["prediction", "latency", "training_speed"])
def test_a_ner_that_is_not_registered_is_skipped(script: str, tmp_path: Path) -> None:
    done = run(script, "--ner", "no_such_ner", "--output", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    assert "Skipped: no factory `no_such_ner` is registered" in done.stdout
    assert not any(tmp_path.iterdir())


def test_what_machamp_learns_from_has_as_many_labels_as_ours(load: Load) -> None:
    module = load("peers_machamp")
    labels = {"tagger": 45, "ner": 10, "textcat": 15}
    sentences = [
        module.invent(i, [f"w{j}" for j in range(module.WORDS)], labels).splitlines()
        for i in range(30)
    ]
    assert {head for head, *_ in sentences} == {f"# cat: C{i}" for i in range(15)}
    rows = [row.split("\t") for _, *body in sentences for row in body if row]
    assert {tag for _, tag, _ in rows} == {f"T{i}" for i in range(45)}
    names = {f"{letter}-L{i}" for letter in "BI" for i in range(10)}
    assert {name for *_, name in rows} == {"O"} | names


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_processes_beside_peers_answer_rounds(
    family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    """Flair and edsnlp need environments of their own; the same protocol runs ours."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    arguments: dict[str, Any] = {"folder": str(folder), "source": None, "teach": 200, "seed": 0}
    arguments |= {"encoder": str(family_dir("bert")), "precision": "fp32"}
    prepared = run("memory_run", "prepare", json.dumps(arguments))
    assert prepared.returncode == 0, prepared.stderr
    given = {"pipelines": str(folder), "heads": "ner", "texts": ["Anna likes Riga."] * 3}
    file = tmp_path / "given.json"
    file.write_text(json.dumps(given))
    command = [sys.executable, str(BENCHMARKS / "peers_run.py"), "ours", str(file)]
    done = subprocess.run(command, input="go\ngo\n", capture_output=True, text=True, check=True)
    first, *rounds = done.stdout.splitlines()
    assert json.loads(first) == {"words": 12}
    assert len(rounds) == 2
    assert all(float(seconds) > 0 for seconds in rounds)
