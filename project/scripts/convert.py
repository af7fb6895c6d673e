"""Turn raw corpora into spaCy's binary format, keeping missing annotation missing.

A task that a source does not annotate must stay *unset* in its documents: spaCy reads an empty
list of entities as "there are none here", which would teach the entity recogniser to stay silent on
every document that somebody annotated for another task. So each annotation below is set only where
its source has it, and a news item without names gets an explicit "no entities".
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import spacy
import typer
from spacy.language import Language
from spacy.parts_of_speech import IDS as UPOS
from spacy.tokens import Doc, DocBin, Span
from spacy.util import filter_spans
from tqdm import tqdm

DROPPABLE = ("tag", "pos", "morph", "lemma", "dep", "sents", "ents", "cats")
SENTIMENTS = ("positive", "negative")
BRACKET = re.compile(r"\((?P<open>[^()]+)(?P<single>\))?|(?P<close>[^()]+)\)")

app = typer.Typer(add_completion=False, help=__doc__)


class InputError(ValueError):
    """An input line that cannot be read; names file and line, and says what was expected."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}, line {line}: {message}")


class Ner(str, Enum):
    """Which mentions of an `Entity=` annotation become entities."""

    none = "none"
    name = "name"
    full = "full"


class Cats(str, Enum):
    """What becomes the document's category."""

    none = "none"
    genre = "genre"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line without its end, and its number; a progress bar appears on a terminal."""
    with path.open("rb") as stream:
        for number, line in enumerate(
            tqdm(stream, desc=path.name, unit=" lines", delay=1, disable=None), 1
        ):
            try:
                yield number, line.decode("utf8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                message = f"expected UTF-8 text, got {error.reason} at byte {error.start + 1}"
                raise InputError(path, number, message) from None


# --------------------------------------------------------------------------------------- JSON lines


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each record with its line number, checked to hold a text and an annotation."""
    expected = 'expected a JSON object with "text" and with "cats" or "entities"'
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(path, number, f"{expected}, got invalid JSON ({error})") from None
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise InputError(path, number, f"{expected}, got `{line.strip()[:60]}`")
        if not {"cats", "entities"} & record.keys():
            raise InputError(path, number, f"{expected}, got keys {sorted(record)}")
        yield number, record


def check_entities(record: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Sorted (start, end, label) triples in characters; raises ValueError on anything else."""
    entities = record["entities"]
    if not isinstance(entities, list):
        raise ValueError("expected `entities` to be a list of [start, end, label]")
    triples: list[tuple[int, int, str]] = []
    for entity in entities:
        match entity:
            case [int(start), int(end), str(label)] if 0 <= start < end <= len(record["text"]):
                triples.append((start, end, label))
            case _:
                raise ValueError(f"expected [start, end, label] inside the text, got {entity}")
    triples.sort()
    for left, right in pairwise(triples):
        if right[0] < left[1]:
            raise ValueError(f"expected entities that do not overlap, got {left} and {right}")
    return triples


def set_entities(doc: Doc, triples: list[tuple[int, int, str]]) -> int:
    """Annotate the whole document; returns how many entities do not fit the tokens.

    The tokens that such an entity touches become missing: "no entity here" would be false.
    """
    spans, missing, misaligned = [], set(), 0
    for start, end, label in triples:
        span = doc.char_span(start, end, label=label, alignment_mode="strict")
        if span is not None:
            spans.append(span)
            continue
        misaligned += 1
        touched = doc.char_span(start, end, alignment_mode="expand")
        missing |= {token.i for token in touched or ()}
    missing -= {token.i for span in spans for token in span}
    unknown = [Span(doc, i, i + 1) for i in sorted(missing)]
    doc.set_ents(spans, missing=unknown, default="outside")
    return misaligned


def check_cats(record: dict[str, Any]) -> dict[str, float]:
    """Category scores; raises ValueError unless each is a number from 0 to 1."""
    cats = record["cats"]
    if not isinstance(cats, dict) or not cats:
        raise ValueError("expected a mapping from label to score")
    for label, score in cats.items():
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ValueError(f"expected a score from 0 to 1 for label `{label}`, got `{score}`")
    return {label: float(score) for label, score in cats.items()}


def jsonl_docs(path: Path, nlp: Language) -> tuple[list[Doc], int]:
    """Documents of a JSON lines file, and how many of its entities do not fit the tokens."""
    docs, misaligned = [], 0
    for number, record in read_jsonl(path):
        doc = nlp.make_doc(record["text"])
        try:
            if "cats" in record:
                doc.cats = check_cats(record)
            if "entities" in record:
                misaligned += set_entities(doc, check_entities(record))
        except ValueError as error:
            raise InputError(path, number, str(error)) from None
        docs.append(doc)
    return docs, misaligned


# -------------------------------------------------------------------------------------------- SST-2


def read_sst2(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (text, sentiment) of each line of a file in either form; its first line says which.

    `1 TEXT` or `0 TEXT` as in the released files, or TEXT, a tab and `positive` or `negative`.
    """
    tabbed: bool | None = None
    for number, line in read_lines(path):
        if not line.strip():
            continue
        tabbed = "\t" in line if tabbed is None else tabbed
        if tabbed:
            text, _, sentiment = line.rpartition("\t")
            expected = "a text, a tab and `positive` or `negative`"
        else:
            digit, _, text = line.partition(" ")
            sentiment = {"1": "positive", "0": "negative"}.get(digit, "")
            expected = "`0` or `1`, a space and a text, or a text, a tab and `positive`"
        if sentiment not in SENTIMENTS or not text.strip():
            raise InputError(path, number, f"expected {expected}, got `{line[:60]}`")
        yield text, sentiment
    if tabbed is None:
        raise InputError(path, 1, "expected lines with a text and a sentiment, got none")


def sst2_docs(path: Path, nlp: Language) -> list[Doc]:
    """Documents with categories and nothing else.

    The source's texts are tokens with a space between them, in lower case: `it does n't , -lrb- ... -rrb-`.
    They stay so, token for token. To join them again would be a guess, and scores could no longer be
    compared with what others report on SST-2.
    """
    docs = []
    for text, sentiment in read_sst2(path):
        # at spaces only: the source's no-break spaces are inside of tokens
        words = [word for word in text.split(" ") if word]
        doc = Doc(nlp.vocab, words=words, spaces=[True] * (len(words) - 1) + [False])
        doc.cats = {name: float(name == sentiment) for name in SENTIMENTS}
        docs.append(doc)
    return docs


# ------------------------------------------------------------------------------------------ CoNLL-U


@dataclass(slots=True)
class Word:
    """One syntactic word: the columns we use, and whether a space follows it in the text."""

    line: int
    form: str
    lemma: str
    upos: str
    xpos: str
    feats: str
    head: str
    deprel: str
    misc: str
    space: bool


@dataclass(slots=True)
class Sentence:
    """Words, with what the comments say about the document around them."""

    document: str = ""
    genre: str = ""
    entity_fields: tuple[str, ...] = ()
    line: int = 0
    words: list[Word] = field(default_factory=list)


def read_conllu(path: Path) -> list[Sentence]:
    """All sentences; raises InputError at the first line that is not CoNLL-U."""
    sentences: list[Sentence] = []
    block: list[tuple[int, str]] = []
    context = Sentence()
    for number, line in read_lines(path):
        if line.startswith("#"):
            context = read_comment(line, context)
        elif line:
            block.append((number, line))
        elif block:
            sentences.append(read_sentence(path, block, context))
            block = []
    if block:
        sentences.append(read_sentence(path, block, context))
    if not sentences:
        raise InputError(path, 1, "expected CoNLL-U sentences, got none")
    return sentences


def read_comment(line: str, context: Sentence) -> Sentence:
    """The document's properties after this comment."""
    name, _, value = (part.strip() for part in line.lstrip("#").partition("="))
    if name == "newdoc id" or name == "newdoc":
        # GUM's released files name the genre in the id as well: GUM_<genre>_<name>
        genre = value.split("_")[1] if re.fullmatch(r"GUM_[a-z]+_.+", value) else ""
        return Sentence(document=f"{value} {context.line}", genre=genre, line=context.line + 1)
    if name == "meta::genre":
        context.genre = value
    elif name == "global.Entity":
        context.entity_fields = tuple(value.split("-"))
    return context


def read_sentence(path: Path, block: list[tuple[int, str]], context: Sentence) -> Sentence:
    """Syntactic words of one sentence; a multiword token lends them its spacing, nothing else."""
    result = Sentence(context.document, context.genre, context.entity_fields, block[0][0])
    multiword: tuple[int, int, str, bool] | None = None
    for number, line in block:
        columns = line.split("\t")
        if len(columns) != 10:
            raise InputError(path, number, f"expected 10 tab-separated columns, got {len(columns)}")
        index, form, lemma, upos, xpos, feats, head, deprel, _, misc = columns
        space = "SpaceAfter=No" not in misc.split("|")
        if re.fullmatch(r"\d+\.\d+", index):  # an empty node of the enhanced graph: not in the text
            continue
        if span := re.fullmatch(r"(\d+)-(\d+)", index):
            multiword = (int(span[1]), int(span[2]), form, space)
            continue
        if index != str(len(result.words) + 1):
            raise InputError(path, number, f"expected ID {len(result.words) + 1}, got `{index}`")
        if not form or upos not in {*UPOS, "_"}:
            raise InputError(path, number, f"expected a form and a UPOS tag, got `{form}` `{upos}`")
        word = Word(number, form, lemma, upos, xpos, feats, head, deprel, misc, space)
        result.words.append(word)
        multiword = close_multiword(path, result.words, multiword)
    if not result.words or multiword:
        raise InputError(path, block[-1][0], "expected the words of the multiword token before it")
    check_heads(path, result.words)
    return result


def close_multiword(
    path: Path, words: list[Word], multiword: tuple[int, int, str, bool] | None
) -> tuple[int, int, str, bool] | None:
    """Give the parts read so far their spacing; returns None once the last part is there."""
    if multiword is None:
        return None
    start, end, form, space = multiword
    words[-1].space = space if len(words) == end else False
    if len(words) < end:
        return multiword
    parts = [word.form for word in words[start - 1 :]]
    if "".join(parts) != form:
        message = f"expected the multiword token `{form}` to be its parts {parts} joined"
        raise InputError(path, words[-1].line, message)
    return None


def check_heads(path: Path, words: list[Word]) -> None:
    for word in words:
        if word.head != "_" and not (word.head.isdecimal() and int(word.head) <= len(words)):
            message = f"expected a HEAD from 0 to {len(words)} or `_`, got `{word.head}`"
            raise InputError(path, word.line, message)


# ----------------------------------------------------------------------------------- GUM's entities


@dataclass(slots=True)
class Mention:
    """Words `start` to `end` (exclusive) of a sentence; `heads` counts from the mention's start."""

    group: str
    label: str
    heads: list[int]
    identity: str
    start: int
    end: int = -1


def read_mentions(path: Path, sentence: Sentence) -> list[Mention]:
    """All mentions of a sentence, inner before outer, from the `Entity=` brackets in MISC."""
    closed: list[Mention] = []
    pending: list[Mention] = []
    for i, word in enumerate(sentence.words):
        value = next((m[7:] for m in word.misc.split("|") if m.startswith("Entity=")), "")
        if BRACKET.sub("", value):
            raise InputError(path, word.line, f"expected brackets in Entity, got `{value}`")
        for match in BRACKET.finditer(value):
            if match["open"]:
                pending.append(open_mention(path, word, match["open"], sentence, i))
            group = match["close"] or (pending[-1].group if match["single"] else "")
            if group:
                found = [m for m in pending if m.group == group]
                if not found:
                    raise InputError(path, word.line, f"Entity `{group})` closes nothing")
                pending.remove(found[-1])
                found[-1].end = i + 1
                closed.append(found[-1])
    if pending:
        message = f"Entity `({pending[0].group}` is not closed within its sentence"
        raise InputError(path, sentence.words[pending[0].start].line, message)
    return closed


def open_mention(path: Path, word: Word, text: str, sentence: Sentence, start: int) -> Mention:
    """A mention's fields, in the order that the document's `# global.Entity` gives."""
    names = sentence.entity_fields
    # the identity comes last and may hold hyphens of its own
    fields = dict(zip(names, text.split("-", len(names) - 1), strict=False))
    heads = [int(head) - 1 for head in fields.get("minspan", "").split(",") if head.isdecimal()]
    if not heads or "GRP" not in fields or "etype" not in fields:
        message = f"expected Entity fields {'-'.join(names)}, got `{text}`"
        raise InputError(path, word.line, message)
    label, identity = fields["etype"].upper(), fields.get("identity", "")
    return Mention(fields["GRP"], label, heads, identity, start)


def entity_spans(path: Path, sentence: Sentence, ner: Ner) -> list[tuple[int, int, str]]:
    """(start, end, label) in words of the mentions that are linked to a Wikipedia article.

    The link alone also marks pronouns and whole phrases with relative clauses, so `name` wants a
    proper noun among the head words, and takes only the range of those.
    """
    spans: dict[tuple[int, int, str], str] = {}
    for mention in read_mentions(path, sentence):
        start, end = mention.start, mention.end
        if ner is Ner.name:
            heads = [mention.start + head for head in mention.heads]
            if all(sentence.words[head].upos != "PROPN" for head in heads):
                continue
            start, end = min(heads), max(heads) + 1
        if mention.identity:
            # the same words twice: one article is one name, typed by the outer mention; of two
            # articles the inner one is what the words themselves name, and it comes first here
            spans[start, end, mention.identity] = mention.label
    return [(start, end, label) for (start, end, _), label in spans.items()]


# ------------------------------------------------------------------------ CoNLL-U sentences to Docs


@dataclass(slots=True)
class Options:
    """What to set; `annotated` are the columns that the file fills at all."""

    n_sents: int
    ner: Ner
    labels: list[str]
    annotated: set[str]


def find_annotated(sentences: Iterable[Sentence]) -> set[str]:
    """Annotations with at least one value in the file: of these, `_` is a value; of others, a gap.

    Decided over the file: a short document of an annotated source may have, say, no features.
    """
    words = [word for sentence in sentences for word in sentence.words]
    filled = {
        "lemma": any(w.lemma != "_" and w.form != "_" for w in words),
        "pos": any(w.upos != "_" for w in words),
        "tag": any(w.xpos != "_" for w in words),
        "morph": any(w.feats != "_" for w in words),
        "dep": any(w.head != "_" for w in words),
    }
    return {name for name, present in filled.items() if present} | {"sents", "ents", "cats"}


def group_sentences(sentences: list[Sentence], n_sents: int) -> Iterator[list[Sentence]]:
    """Up to `n_sents` consecutive sentences of one document."""
    group: list[Sentence] = []
    for sentence in sentences:
        if group and (len(group) == n_sents or sentence.document != group[0].document):
            yield group
            group = []
        group.append(sentence)
    if group:
        yield group


def take_sentences(groups: list[list[Sentence]], limit: int, seed: int) -> list[list[Sentence]]:
    """Groups drawn at random, in the order of the file, which hold exactly `limit` sentences.

    Whole groups as long as one fits into what is missing; the last one is cut if none does.
    Raises ValueError if there are too few sentences.
    """
    if (found := sum(map(len, groups))) < limit:
        raise ValueError(f"expected at least {limit} sentences to take, got {found}")
    rng = random.Random(seed)
    draws = [rng.random() for _ in groups]
    taken: dict[int, list[Sentence]] = {}
    missing = limit
    for i in sorted(range(len(groups)), key=draws.__getitem__):
        if len(groups[i]) <= missing:
            taken[i] = groups[i]
            missing -= len(groups[i])
    if missing:
        i = min(set(range(len(groups))) - taken.keys(), key=draws.__getitem__)
        taken[i] = groups[i][:missing]
    return [taken[i] for i in sorted(taken)]


def make_doc(path: Path, group: list[Sentence], options: Options, nlp: Language) -> Doc:
    """One Doc with the annotations that the source has and the caller keeps."""
    words = [word for sentence in group for word in sentence.words]
    columns = options.annotated
    given: dict[str, Any] = {}
    if "tag" in columns:
        given["tags"] = ["" if w.xpos == "_" else w.xpos for w in words]
    if "pos" in columns:
        given["pos"] = ["" if w.upos == "_" else w.upos for w in words]
    if "morph" in columns:
        given["morphs"] = ["" if w.feats == "_" else w.feats for w in words]
    if "lemma" in columns:
        given["lemmas"] = ["" if w.lemma == "_" != w.form else w.lemma for w in words]
    given.update(syntax(group, columns))
    forms, spaces = [w.form for w in words], [w.space for w in words]
    doc = Doc(nlp.vocab, words=forms, spaces=spaces, **given)
    if options.ner is not Ner.none and "ents" in columns and group[0].entity_fields:
        set_mentions(path, doc, group, options.ner)
    if options.labels:
        doc.cats = one_hot(path, group[0], options.labels)
    return doc


def syntax(group: list[Sentence], columns: set[str]) -> dict[str, Any]:
    """Heads where each word has one. Without any, nobody has looked at the sentence ends either."""
    heads: list[int] = []
    deps: list[str] = []
    starts: list[int] = []
    for sentence in group:
        offset = len(heads)
        starts += [1] + [-1] * (len(sentence.words) - 1)
        for i, word in enumerate(sentence.words, offset):
            if word.head == "_" or word.deprel == "_":
                return {}
            heads.append(offset + int(word.head) - 1 if word.head != "0" else i)
            deps.append("ROOT" if word.deprel == "root" else word.deprel)
    if "dep" in columns:
        return {"heads": heads, "deps": deps}
    return {"sent_starts": starts} if "sents" in columns else {}


def set_mentions(path: Path, doc: Doc, group: list[Sentence], ner: Ner) -> None:
    """Entities from the mentions, the longest first where they overlap."""
    spans, offset = [], 0
    for sentence in group:
        for start, end, label in entity_spans(path, sentence, ner):
            spans.append(Span(doc, offset + start, offset + end, label=label))
        offset += len(sentence.words)
    doc.set_ents(filter_spans(spans), default="outside")


def one_hot(path: Path, sentence: Sentence, labels: list[str]) -> dict[str, float]:
    if sentence.genre not in labels:
        message = f"expected a genre out of {labels}, got `{sentence.genre}`"
        raise InputError(path, sentence.line, message)
    return {label: float(label == sentence.genre) for label in labels}


def conllu_docs(
    path: Path,
    nlp: Language,
    *,
    n_sents: int = 10,
    ner: Ner = Ner.name,
    cats: Cats = Cats.none,
    labels: Iterable[str] = (),
    drop: Iterable[str] = (),
    limit_sentences: int = 0,
    seed: int = 0,
) -> list[Doc]:
    """Documents of a CoNLL-U file; `labels` defaults to the genres that occur in it.

    With `limit_sentences`, documents drawn at random that hold so many sentences together.
    """
    sentences = read_conllu(path)
    dropped = set(drop)
    genres: list[str] = []
    if cats is Cats.genre and "cats" not in dropped:
        genres = sorted(set(labels) or {sentence.genre for sentence in sentences} - {""})
        if not genres:
            raise InputError(path, 1, "expected `# meta::genre` comments or GUM's document ids")
    annotated = find_annotated(sentences) - dropped
    options = Options(n_sents, ner, genres, annotated)
    groups = list(group_sentences(sentences, n_sents))
    if limit_sentences:
        try:
            groups = take_sentences(groups, limit_sentences, seed)
        except ValueError as error:
            raise InputError(path, sentences[-1].line, str(error)) from None
    progress = tqdm(groups, unit=" docs", delay=1, disable=None)
    return [make_doc(path, group, options, nlp) for group in progress]


# ----------------------------------------------------------------------------------------- commands


def split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def fail(message: str) -> NoReturn:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)


@contextmanager
def reporting(source: Path) -> Iterator[None]:
    """Print what is wrong with the input, without a traceback."""
    try:
        yield
    except OSError as error:
        fail(f"{source}: expected a readable file ({error.strerror})")
    except InputError as error:
        fail(str(error))


def blank(lang: str) -> Language:
    try:
        return spacy.blank(lang)
    except ImportError:
        fail(f"expected --lang to be a language code that spaCy knows, such as `en`, got `{lang}`")


def write(docs: list[Doc], output: Path) -> None:
    """Write the DocBin and say what is in it, so that an empty annotation is seen at once."""
    output.parent.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs).to_disk(output)
    typer.echo(f"{output}: {len(docs)} documents, {sum(map(len, docs))} tokens")
    entities = Counter(ent.label_ for doc in docs for ent in doc.ents)
    if entities:
        listed = ", ".join(f"{label} {n}" for label, n in entities.most_common())
        typer.echo(f"  {entities.total()} entities: {listed}")
    if docs and docs[0].cats:
        typer.echo(f"  labels: {','.join(docs[0].cats)}")


@app.command()
def jsonl(source: Path, output: Path, lang: str = "en") -> None:
    """Convert JSON lines with "text" and "cats" (scores) or "entities" ([start, end, label])."""
    with reporting(source):
        docs, misaligned = jsonl_docs(source, blank(lang))
    write(docs, output)
    if misaligned:
        typer.echo(f"  {misaligned} entities do not fit the tokens, which are set to missing there")


@app.command()
def sst2(source: Path, output: Path, lang: str = "en") -> None:
    """Convert SST-2: `1 TEXT` a line as released, or TEXT, a tab and the sentiment; to categories.

    The texts keep the source's tokens, with a space between any two.
    """
    with reporting(source):
        docs = sst2_docs(source, blank(lang))
    write(docs, output)


@app.command()
def conllu(
    source: Path,
    output: Path,
    lang: str = "en",
    n_sents: Annotated[int, typer.Option(min=1, help="Sentences per document, at most.")] = 10,
    ner: Annotated[Ner, typer.Option(help="Mentions to keep from `Entity=`.")] = Ner.name,
    cats: Annotated[Cats, typer.Option(help="What becomes the category.")] = Cats.none,
    labels: Annotated[str, typer.Option(help="All genres; default: those in the file.")] = "",
    drop: Annotated[str, typer.Option(help=f"To leave out: {', '.join(DROPPABLE)}.")] = "",
    limit_sentences: Annotated[
        int,
        typer.Option(min=0, help="Take so many sentences, in documents drawn at random; 0: all."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of that draw.")] = 0,
) -> None:
    """Convert CoNLL-U: XPOS to tag, UPOS to pos, FEATS, LEMMA, HEAD; GUM's entities and genres."""
    dropped = split_names(drop)
    if unknown := sorted(set(dropped) - set(DROPPABLE)):
        fail(f"expected --drop names out of {', '.join(DROPPABLE)}, got `{unknown[0]}`")
    if "sents" in dropped and "dep" not in dropped:
        fail("expected `dep` beside `sents` in --drop: dependencies imply the sentence ends")
    names, nlp = split_names(labels), blank(lang)
    with reporting(source):
        docs = conllu_docs(
            source,
            nlp,
            n_sents=n_sents,
            ner=ner,
            cats=cats,
            labels=names,
            drop=dropped,
            limit_sentences=limit_sentences,
            seed=seed,
        )
    write(docs, output)


if __name__ == "__main__":
    app()
