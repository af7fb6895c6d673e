"""MaChAmp's tags, names and classes on a local encoder: made with its own training command, nothing is downloaded.

One epoch over a few sentences with invented labels: enough for the files to exist. The layers (linear ones, a CRF for
names) cost the same untrained.
"""

import json
import subprocess
from pathlib import Path

from corpus import Source

WORDS = 20  # in a sentence


def make_model(
    python: str, checkout: str, source: Source, encoder: str, labels: dict[str, int], folder: Path
) -> Path:
    """Train in MaChAmp's environment. Returns the path of the model; if it is there it stays.

    checkout: of its repository, since it is no package. labels: task -> how many.
    """
    folder = folder.resolve()
    model = folder / "model" / "model.pt"
    if model.exists():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    words = [word.strip() for word in source.words if word.strip()]
    n_sentences = max(labels["textcat"], 2 * labels["tagger"] // WORDS) * 2
    sentences = [words[i * WORDS :][:WORDS] for i in range(n_sentences)]
    text = "".join(invent(i, sentence, labels) for i, sentence in enumerate(sentences))
    for split in ("train", "dev"):
        (folder / f"{split}.conll").write_text(text, "utf8")
    tasks = {
        "tag": {"task_type": "seq", "column_idx": 1},
        "ner": {"task_type": "seq_bio", "column_idx": 2},
        "cat": {"task_type": "classification", "column_idx": -1},
    }
    paths = {f"{split}_data_path": str(folder / f"{split}.conll") for split in ("train", "dev")}
    data = {"three": {**paths, "word_idx": 0, "tasks": tasks}}
    (folder / "data.json").write_text(json.dumps(data), "utf8")
    settings = (Path(checkout) / "configs" / "params.json").read_text("utf8")
    settings = settings.replace("bert-base-multilingual-cased", encoder)
    settings = settings.replace('"num_epochs": 20', '"num_epochs": 1')
    (folder / "params.json").write_text(settings, "utf8")
    command = [python, "train.py", "--device", "-1", "--model_dir", str(model.parent)]
    command += ["--dataset_configs", str(folder / "data.json")]
    command += ["--parameters_config", str(folder / "params.json")]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode or not model.exists():
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr}")
    return model


def invent(number: int, words: list[str], labels: dict[str, int]) -> str:
    """A sentence in columns: word, tag, name; its class stands above."""
    lines = [f"# cat: C{number % labels['textcat']}"]
    for i, word in enumerate(words, number * len(words)):
        name = f"B-L{number % labels['ner']}" if i % WORDS == 3 else "O"
        name = f"I-L{number % labels['ner']}" if i % WORDS == 4 else name
        lines.append(f"{word}\tT{i % labels['tagger']}\t{name}")
    return "\n".join(lines) + "\n\n"
