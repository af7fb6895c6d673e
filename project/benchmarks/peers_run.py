"""One system of `peers.py`, in the Python environment that has it. Stands alone: no import from here at the start.

Usage: python peers_run.py SYSTEM FILE, with the texts, the encoder's folder and so on in FILE. Says when it is ready
and how many words it counts; then each line of the input is a round, answered by its seconds.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Runner = Callable[[list[str]], int]


def clock() -> float:
    """Processor time if one thread computes, else wall time, as in `rounds.py`."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def spacy_pipeline(given: dict[str, Any], name: str) -> Runner:
    """Pipelines that `peers.py` has saved."""
    import spacy

    nlp = spacy.load(Path(given["pipelines"]) / name)
    nlp.disable_pipes(
        *(name for name in ("tagger", "ner", "textcat") if name not in given["heads"])
    )
    return lambda texts: sum(len(doc) for doc in nlp.pipe(texts, batch_size=64))


def flair(given: dict[str, Any]) -> Runner:
    """Flair's MultitaskModel: linear heads on one transformer, read once since its vectors are kept in between.

    Nothing is trained; the bias of `ner` lets it predict no entity, which spares it making spans.
    """
    from flair.data import Dictionary, Sentence
    from flair.embeddings.transformer import TransformerEmbeddings
    from flair.models import MultitaskModel, SequenceTagger, TextClassifier

    shared = TransformerEmbeddings(
        model=given["encoder"],
        is_token_embedding=True,
        is_document_embedding=True,
        layers="-1",
        subtoken_pooling="mean",
        cls_pooling="mean",
        allow_long_sentences=True,
        fine_tune=True,
    )

    def labels(kind: str, *, spans: bool = False) -> Any:
        dictionary = Dictionary(add_unk=False)
        for i in range(given["labels"][kind]):
            dictionary.add_item(f"L{i}")
        if spans:
            dictionary.span_labels = True
        return dictionary

    plain = {"use_rnn": False, "use_crf": False, "reproject_embeddings": False}
    tagger = SequenceTagger(shared, labels("tagger"), "pos", **plain)
    ner = SequenceTagger(shared, labels("ner", spans=True), "ner", **plain)
    with torch.no_grad():
        ner.linear.bias[ner.label_dictionary.get_idx_for_item("O")] += 100.0
    textcat = TextClassifier(shared, label_type="cat", label_dictionary=labels("textcat"))
    model = MultitaskModel([tagger, ner, textcat]).eval()

    def run(texts: list[str]) -> int:
        sentences = [Sentence(text) for text in texts]
        model.predict(sentences, mini_batch_size=32, embedding_storage_mode="cpu")
        return sum(len(sentence) for sentence in sentences)

    return run


def edsnlp(given: dict[str, Any]) -> Runner:
    """edsnlp's `eds.ner_crf` on its `eds.transformer`; nothing is trained."""
    import edsnlp
    import edsnlp.pipes as eds

    nlp = edsnlp.blank("en")
    labels = [f"L{i}" for i in range(given["labels"]["ner"])]
    transformer = eds.transformer(model=given["encoder"], window=128, stride=96)
    head = eds.ner_crf(
        embedding=transformer, mode="joint", target_span_getter="gold", labels=labels, window=20
    )
    nlp.add_pipe(head, name="ner")
    nlp.post_init([])
    return lambda texts: sum(len(doc) for doc in nlp.pipe(texts).set_processing(batch_size=64))


def stanza(given: dict[str, Any]) -> Runner:
    """Stanza's tagger and NER; each reads the text with the encoder. Words end at white space."""
    import stanza

    folder = given["stanza"]
    nlp = stanza.Pipeline(
        "en",
        dir=folder,
        processors="tokenize,pos,ner",
        package=None,
        download_method=None,
        allow_unknown_language=True,
        tokenize_pretokenized=True,
        pos_model_path=f"{folder}/pos.pt",
        ner_model_path=f"{folder}/ner.pt",
        pos_forward_charlm_path=None,
        ner_forward_charlm_path=None,
        use_gpu=False,
        verbose=False,
    )

    def run(texts: list[str]) -> int:
        doc = nlp([text.split() for text in texts])
        return int(doc.num_words)

    return run


def machamp(given: dict[str, Any]) -> Runner:
    """MaChAmp reads a file of words, one a line, and writes one, as its own command does for each file."""
    sys.path.insert(0, given["checkout"])
    from machamp.predictor.predict import predict_with_paths

    model = torch.load(given["machamp"], map_location="cpu", weights_only=False)
    model.device = "cpu"
    for decoder in model.decoders.values():
        decoder.device = "cpu"
    folder = Path(given["machamp"]).parent

    def run(texts: list[str]) -> int:
        rows = [[f"{word}\tT0\tO" for word in text.split()] for text in texts]
        sentences = ["\n".join(["# cat: C0", *row]) for row in rows]
        (folder / "in.conll").write_text("\n\n".join(sentences) + "\n\n", "utf8")
        places = str(folder / "in.conll"), str(folder / "out.conll")
        predict_with_paths(model, *places, None, 32, False, "cpu")
        return sum(map(len, rows))

    return run


def main(system: str, file: str) -> None:
    """Answer rounds until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, and log, to what is stdout then
    given = json.loads(Path(file).read_text("utf8"))
    if system in ("ours", "peer"):
        run = spacy_pipeline(given, system)
    else:
        peers = {"flair": flair, "edsnlp": edsnlp, "stanza": stanza, "machamp": machamp}
        run = peers[system](given)
    words = run(given["texts"])
    answers.write(json.dumps({"words": words}) + "\n")
    answers.flush()
    for _ in sys.stdin:
        start = clock()
        run(given["texts"])
        answers.write(f"{clock() - start}\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
