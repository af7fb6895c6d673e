"""What `memory.py` runs in processes of their own: one job each, its result as the last line of the output, in JSON.

The peak is that since the pipelines were loaded: on Linux it is set back then. Elsewhere it is the whole process's.
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 64


def peak_mb() -> float:
    """The most memory that this process has held since `forget_peak`."""
    return _status("VmHWM")


def rss_mb() -> float:
    """The memory that it holds now; where there is no /proc, the peak."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Set the peak back to what is held now, where that is possible."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return float(fields[name].split()[0]) / 1024


def prepare(
    folder: str, source: str | None, encoder: str, teach: int, seed: int, precision: str
) -> dict[str, Any]:
    """Save the pipelines: ours, spacy-transformers', and one for each task with spacy-transformers.

    precision: of our encoder; those of spacy-transformers compute in fp32.
    """
    from corpus import TASKS, read
    from systems import build, copy_heads, our_name, peer_config, trained

    text = read(None if source is None else Path(source), seed=seed)
    out = Path(folder)
    heads = trained(text, encoder=encoder, precision=precision, cache=out / "trained", words=teach)
    for name, tasks in {"peer": TASKS, **{f"single-{task}": (task,) for task in TASKS}}.items():
        nlp = build(peer_config(encoder, tasks=tasks), text)
        copy_heads(heads, nlp)
        nlp.to_disk(out / name)
    heads.to_disk(out / "ours")
    kept = {"name": text.name, "words": text.words, "precision": precision}
    kept["ours"] = our_name(precision=precision)
    (out / "words.json").write_text(json.dumps(kept), "utf8")
    return {"name": text.name}


def documents(folder: str, *, length: int, total: int, seed: int) -> list[str]:
    """Texts of the source that `prepare` has read."""
    from corpus import Source, texts

    kept = json.loads((Path(folder) / "words.json").read_text("utf8"))
    return texts(Source(kept["name"], kept["words"], {}), length=length, total=total, seed=seed)


def load(folder: str, names: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Load pipelines. Returns them, and seconds and memory."""
    start = time.process_time()
    import spacy

    spacy.blank("en")  # entry points are imported now
    imported = time.process_time()
    before = rss_mb()
    pipelines = [spacy.load(Path(folder) / name) for name in names]
    for nlp in pipelines:
        nlp.max_length = 10**8
    loaded = time.process_time()
    result = {
        "import_s": imported - start,
        "load_s": loaded - imported,
        "before_mb": before,
        "loaded_mb": rss_mb(),
        "load_peak_mb": peak_mb(),
    }
    forget_peak()
    return pipelines, result


def predict(
    folder: str, names: list[str], length: int, count: int, seed: int, rounds: int = 1
) -> dict[str, Any]:
    """Peak of prediction, over a stream that is not kept."""
    pipelines, result = load(folder, names)
    stretch = documents(folder, length=length, total=length * count, seed=seed)
    for _ in range(rounds):
        for nlp in pipelines:
            for _ in nlp.pipe(iter(stretch), batch_size=BATCH):
                pass
    return {**result, "peak_mb": peak_mb(), "after_mb": rss_mb()}


def train(
    folder: str, names: list[str], length: int, words: int, steps: int, seed: int
) -> dict[str, Any]:
    """Peak of training all heads and the encoder with batches of so many words."""
    from spacy.tokens import Doc
    from spacy.training import Example
    from thinc.api import Adam
    from training import finish_update

    (nlp,), result = load(folder, names)
    teacher = nlp.pipe(documents(folder, length=length, total=words, seed=seed), batch_size=BATCH)
    golds = list(teacher)  # its own annotation is as good as any for memory
    for gold in golds:
        best = max(gold.cats, key=gold.cats.__getitem__)
        gold.cats = {label: float(label == best) for label in gold.cats}
    optimizer = Adam(2e-4)
    for _ in range(steps):
        batch = []
        for gold in golds:
            spaces = [bool(token.whitespace_) for token in gold]
            plain = Doc(nlp.vocab, words=[token.text for token in gold], spaces=spaces)
            batch.append(Example(plain, gold))
        nlp.update(batch, drop=0.1, sgd=False)
        finish_update(nlp, optimizer)
    return {**result, "peak_mb": peak_mb(), "after_mb": rss_mb()}


def grow(folder: str, names: list[str], total: int, seed: int) -> dict[str, Any]:
    """Words per second and memory while one stream of tweets and paragraphs goes on: at 1,000, 10,000, ... words."""
    (nlp,), result = load(folder, names)
    stretch = documents(folder, length=60, total=total, seed=seed)
    marks, words, mark = [], 0, 1_000
    start, at_start = time.process_time(), 0
    for i, doc in enumerate(nlp.pipe(iter(stretch), batch_size=BATCH), 1):
        words += len(doc)
        if words >= mark or i == len(stretch):  # the last ones may be a few words less than `total`
            now = time.process_time()
            speed = (words - at_start) / (now - start)
            marks.append({"words": words, "words_per_s": round(speed), "rss_mb": rss_mb()})
            start, at_start = now, words
            mark *= 10
    return {**result, "marks": marks, "peak_mb": peak_mb(), "strings": len(nlp.vocab.strings)}


def big(folder: str, names: list[str], tweets: int, length: int, seed: int) -> dict[str, Any]:
    """Tweets alone, among them one long document, and alone again."""
    (nlp,), result = load(folder, names)
    short = documents(folder, length=15, total=tweets, seed=seed)
    long = documents(folder, length=length, total=length, seed=seed)[0]
    for _ in nlp.pipe(short[:BATCH], batch_size=BATCH):
        pass
    before = _others(nlp, short, None)
    peak = peak_mb()
    place = len(short) // 2
    among = _others(nlp, [*short[:place], long, *short[place:]], place)
    after = _others(nlp, short, None)
    alone = (before["words_per_s"] + after["words_per_s"]) / 2
    return {
        **result,
        "peak_without_mb": peak,
        "peak_with_mb": peak_mb(),
        "rss_after_mb": rss_mb(),
        "tweets_per_s_ratio": among["words_per_s"] / alone,
        "tweets_again": after["words_per_s"] / before["words_per_s"],
        "words_per_s_alone": round(alone),
        "words_per_s_of_its_batch": round(among["own_words"] / among["own_s"]),
        "words": among["own_words"],
    }


def _others(nlp: Any, stream: list[str], place: int | None) -> dict[str, Any]:
    """Speed over all batches but the one in which a document stands."""
    own = None if place is None else place // BATCH
    words = own_words = 0
    spent = own_s = 0.0
    last = time.process_time()
    for i, doc in enumerate(nlp.pipe(stream, batch_size=BATCH)):
        now = time.process_time()
        if i // BATCH == own:
            own_words, own_s = own_words + len(doc), own_s + now - last
        else:
            words, spent = words + len(doc), spent + now - last
        last = now
    return {"words_per_s": words / spent, "own_words": own_words, "own_s": own_s}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare,
    "load": lambda folder, names: load(folder, names)[1],
    "predict": predict,
    "train": train,
    "grow": grow,
    "big": big,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](**json.loads(sys.argv[2]))))
