"""Prediction against Flair, edsnlp, Stanza and MaChAmp, same encoder weights, each in its own environment, in turn.

    python -m venv flair && flair/bin/pip install "torch==2.13.0" flair
    python -m venv edsnlp && edsnlp/bin/pip install "torch==2.13.0" "edsnlp[ml]"
    python -m venv stanza && stanza/bin/pip install "torch==2.13.0" stanza transformers peft
    git clone https://github.com/machamp-nlp/machamp
    python -m venv venv && venv/bin/pip install "torch==2.13.0" -r machamp/requirements.txt
    python benchmarks/peers.py --venv flair=flair --venv edsnlp=edsnlp --venv stanza=stanza --venv machamp=venv \
        --machamp machamp

Flair has all three heads (`MultitaskModel`), and MaChAmp (with a CRF for names); edsnlp `ner` only, Stanza tagger and
ner; ours and spacy-transformers run beside each with the heads that it has. Each system reads raw text with its own
tokenizer, Stanza and MaChAmp words between white space; speeds are by the words that ours counts. MaChAmp reads and
writes files, as its command does. The peers load the encoder from the local folder; nothing is fetched.
Ours computes in bf16 where the processor has it fast, unless `--precision fp32` is given. Writes
benchmarks/results/peers_{processor}.{json,md}, where processor is `amx`, `avx512_bf16` or `fp32`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from corpus import LENGTHS, read, texts
from environment import processor_kind
from memory import is_prepared, job
from peers_machamp import make_model
from peers_stanza import make_models
from rounds import conditions, keep, ratios, show, store, table
from systems import ENCODER

from spacy_mtl.encoder.huggingface import resolve_name

HERE = Path(__file__).parent
RESULTS = HERE / "results" / f"peers_{processor_kind()}.json"
HEADS = {
    "flair": "tagger, ner, textcat",
    "edsnlp": "ner",
    "stanza": "tagger, ner",
    "machamp": "tagger, ner, textcat",
}
NAMES = {
    "peer": "spacy-transformers",
    "flair": "Flair",
    "stanza": "Stanza",
    "machamp": "MaChAmp",
}
LABELS = {"tagger": 45, "ner": 10, "textcat": 15}


class Process:
    """A system that runs a round when it is asked to."""

    def __init__(self, system: str, python: str, given: dict[str, Any], folder: Path) -> None:
        file = folder / f"{system}-{given['heads'].replace(', ', '-')}.json"
        file.write_text(json.dumps(given), "utf8")
        self.errors = file.with_suffix(".log").open("w+")
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(HERE / "peers_run.py"), system, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.words: int = json.loads(self._answer())["words"]

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(self.errors.read()[-2000:])
        return line

    def round(self) -> float:
        """Seconds of one round."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.errors.close()


def version(python: str, package: str, checkout: str | None) -> str:
    """Of a package in an environment, or the commit of a checkout, and of torch."""

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    if checkout is None:
        own = said(python, "-c", code, package)
    else:
        own = said("git", "-C", checkout, "rev-parse", "--short", "HEAD")
    return f"{own}, torch {said(python, '-c', code, 'torch')}"


def measure(
    system: str, python: str, given: dict[str, Any], folder: Path, rounds: int
) -> list[dict[str, Any]]:
    """Rows of one peer beside ours and spacy-transformers, with the heads that it has."""
    given = {**given, "heads": HEADS[system]}
    checkout = given["checkout"] if system == "machamp" else None
    pythons = {"ours": sys.executable, "peer": sys.executable, system: python}
    processes = {name: Process(name, own, given, folder) for name, own in pythons.items()}
    times: dict[str, list[float]] = {name: [] for name in processes}
    for turn in range(rounds):
        for name in processes if turn % 2 else list(processes)[::-1]:
            times[name].append(processes[name].round())
    for process in processes.values():
        process.close()
    words = processes["ours"].words
    return [
        {
            "beside": system,
            "heads": HEADS[system],
            "system": NAMES.get(name, name),
            "version": version(python, system, checkout) if name == system else "",
            "words_per_s": round(words / statistics.median(times[name])),
            "ours_against_it": ratios(times, "ours", name),
            "own_words": processes[name].words,
            "words": words,
            "rounds": rounds,
            "conditions": conditions(),
        }
        for name in processes
    ]


def main(
    venv: Annotated[list[str], typer.Option(help=f"SYSTEM=FOLDER: {', '.join(HEADS)}.")],
    machamp: Annotated[Path | None, typer.Option(help="Checkout of its repository.")] = None,
    source: Annotated[Path | None, typer.Option(help="A .spacy or text file.")] = None,
    length: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(LENGTHS)}.")] = None,
    words: Annotated[int, typer.Option(help="Words a round.")] = 2_000,
    rounds: int = 5,
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    pipelines: Annotated[Path | None, typer.Option(help="Keeps our pipelines.")] = None,
    teach: Annotated[int, typer.Option(help="Words that each head learns from.")] = 15_000,
    precision: Annotated[str, typer.Option(help="Of our encoder.")] = "auto",
    output: Annotated[Path, typer.Option(help="The JSON.")] = RESULTS,
    seed: int = 0,
) -> None:
    """Measure and write the table."""
    pythons = {}
    for entry in venv:
        system, _, folder = entry.partition("=")
        python = Path(folder) / "bin" / "python"
        if system not in HEADS or not python.exists():
            raise typer.BadParameter(
                f"`{entry}` is not SYSTEM=FOLDER, a venv of {', '.join(HEADS)}."
            )
        pythons[system] = str(python)
    if "machamp" in pythons and (machamp is None or not (machamp / "train.py").exists()):
        raise typer.BadParameter("MaChAmp needs `--machamp FOLDER`, a checkout of its repository.")
    text = read(source, seed=seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = folder if pipelines is None else pipelines
        if not is_prepared(kept, precision):
            path = None if source is None else str(source)
            own = {"folder": str(kept), "source": path, "encoder": encoder, "teach": teach}
            job("prepare", **own, precision=precision, seed=seed)
        ours = json.loads((kept / "words.json").read_text("utf8"))["ours"]
        models = kept / "stanza"
        if "stanza" in pythons:
            make_models(pythons["stanza"], text, resolve_name(encoder), models)
        made, checkout = kept / "machamp", "" if machamp is None else str(machamp.resolve())
        if "machamp" in pythons:
            own_python = str(Path(pythons["machamp"]).absolute())
            made = make_model(own_python, checkout, text, resolve_name(encoder), LABELS, made)
        rows = []
        for chosen in length or ["tweet", "paragraph"]:
            given = {
                "texts": texts(text, length=LENGTHS[chosen], total=words, seed=seed),
                "encoder": resolve_name(encoder),
                "pipelines": str(kept),
                "stanza": str(models.resolve()),
                "machamp": str(made),
                "checkout": checkout,
                "labels": LABELS,
            }
            for system, python in pythons.items():
                found = measure(system, python, given, folder, rounds)
                found[0]["system"] = ours
                rows += [
                    {"source": text.name, "length": chosen, "seed": seed, **row} for row in found
                ]
                for row in found:
                    typer.echo(f"{chosen}, {row['system']}: ours {show(row['ours_against_it'])}")
    results = keep(output, rows, ("source", "length", "beside", "system"))
    keys = ("length", "heads", "system", "version", "words_per_s")
    cells = [[*(row[key] for key in keys), show(row["ours_against_it"])] for row in results]
    header = ["documents", "heads", "system", "version", "words/s", "ours is faster by"]
    note = "Rounds in turn; ratios within rounds: median and quartiles. Words are counted by our tokenizer."
    store(output, results, "Prediction against other packages", [note, "", *table(header, cells)])


if __name__ == "__main__":
    typer.run(main)
