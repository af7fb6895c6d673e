"""Write three sample corpora, each annotated for one task only: the case that the plugin is for.

    reviews/{train,dev}.jsonl   product reviews with their sentiment
    news/{train,dev}.jsonl      short news with the named entities
    mails/{train,dev}.conllu    e-mails with part-of-speech tags

The texts come out of `grammar.py` and `lexicon.py`, so a project runs without a download and
without a licence to read. Every fifth word and template is kept for dev: a model has to cope with
words and sentences that training has never shown. The same seed gives the same bytes on any Python.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grammar
import lexicon
import typer

Value = str | Callable[[], str]

SIZES = {"reviews": (500, 120), "news": (400, 100), "mails": (300, 80)}
SENTIMENTS = ("positive", "negative", "neutral")
HELD_OUT_SHARE = 0.35  # of the draws for dev: enough that a fifth of dev's content words are new
SLOT = re.compile(r"\{([^{}]+)\}")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
AGREEMENT = re.compile(r"<([^<>|]*)\|([^<>|]*)>")
MARKUP = re.compile(r"@([A-Z]+)\(([^()]*)\)")
ARTICLE = re.compile(r"\b([Aa]) (?=(?:@[A-Z]+\()?(?:8|1[18]\b|(?!one|uni|use|eu)[aeiou]))", re.I)
SENTENCE_START = re.compile(r"(^|[.!?]\"? )((?:@[A-Z]+\()?\"?)([a-z])")


@dataclass
class Expander:
    """Turns templates into text with one stream of random numbers.

    Only `random()` is asked for numbers: how `choice` and `shuffle` use them depends on the Python.
    """

    rules: Mapping[str, Sequence[str]]
    seed: int
    dev: bool
    values: dict[str, Value] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def start(self) -> None:
        """Begin a document: nothing is fixed, and nothing has been said yet."""
        self.values, self.used = {}, set()

    def below(self, limit: int) -> int:
        return int(self.random.random() * limit)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[Any]) -> Any:
        return items[self.below(len(items))]

    def draw(self, items: Sequence[str], fits: Callable[[str], bool] = bool) -> str:
        """An item that the split may see and, if there is one, that the document has not used."""
        held_out = self.dev and self.chance(HELD_OUT_SHARE)
        seen = [item for i, item in enumerate(items) if not is_held_out(i, items) and fits(item)]
        kept = [item for i, item in enumerate(items) if is_held_out(i, items) and fits(item)]
        fresh = [item for item in (kept if held_out else seen) if item not in self.used]
        item: str = self.pick(fresh or [item for item in seen if item not in self.used] or seen)
        self.used.add(item)
        return item

    def expand(self, template: str) -> str:
        """Choose between alternatives, then fill the slots from left to right."""
        while CHOICE.search(template):
            template = CHOICE.sub(lambda match: self.pick(match[1].split("|")), template)
        return SLOT.sub(lambda match: self.fill(match[1]), template)

    def fill(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return self.expand(self.draw(self.rules[name]))
        return value if isinstance(value, str) else value()


def is_held_out(position: int, items: Sequence[str]) -> bool:
    """Whether an item is for dev only: every fifth, from lists long enough to spare one."""
    return len(items) >= 4 and position % 5 == 3


def tidy(text: str) -> str:
    """Capitals at sentence starts, `an` before vowels, one possessive s after plural names."""
    text = re.sub(r"s\)'s\b", "s)'", text)
    text = SENTENCE_START.sub(lambda match: match[1] + match[2] + match[3].upper(), text)
    return ARTICLE.sub(r"\1n ", text)


def spell(number: int) -> str:
    """Small numbers as words, as in print."""
    small = ("three", "four", "five", "six", "seven", "eight", "nine")
    return small[number - 3] if 3 <= number <= 9 else str(number)


def figures(maker: Expander) -> dict[str, Value]:
    """Numbers, drawn anew wherever a template asks for one."""
    return {
        "n": lambda: spell(maker.between(3, 17)),
        "digit": lambda: str(maker.between(2, 9)),
        "n_mid": lambda: str(maker.between(19, 96)),
        "n_big": lambda: f"{maker.between(11, 980) * 100 + maker.below(100):,}",
        "amount": lambda: f"{maker.between(3, 190) * 500:,}",
        "decimal": lambda: f"{maker.between(1, 48)}.{maker.between(1, 9)}",
        "dom": lambda: str(maker.between(1, 28)),
        "hour": lambda: str(maker.between(1, 12)),
        "year_num": lambda: str(maker.between(1958, 2024)),
        "grams": lambda: str(maker.between(12, 240) * 10),
    }


# ------------------------------------------------------------------------------------------ reviews

REVIEW_RULES: dict[str, Sequence[str]] = {
    **grammar.REVIEWS,
    "relative": lexicon.RELATIVES,
    "weekday": lexicon.WEEKDAYS,
}


def reviews(maker: Expander) -> Iterator[dict[str, Any]]:
    """Endless reviews, as many of each sentiment."""
    while True:
        for sentiment in SENTIMENTS:
            maker.start()
            bind_product(maker)
            text = tidy(maker.expand(maker.draw(maker.rules[sentiment])))
            yield {
                "text": roughen(maker, text),
                "cats": {label: float(label == sentiment) for label in SENTIMENTS},
            }


def bind_product(maker: Expander) -> None:
    """Fix what the review is about: a product, its pronouns, its price and its aspects."""
    name, kind, aspects = maker.draw(lexicon.PRODUCTS).split(" | ")
    plural = is_plural(name)
    price, currency = maker.pick((12, 15, 19, 25, 30, 35, 40, 49, 60, 80)), maker.pick("£££$€")
    maker.values = {
        **figures(maker),
        "product": name,
        "product_one": "pair" if plural else name,
        "product_plural": name if plural else pluralise(name),
        "a_product": f"a pair of {name}" if plural else f"a {name}",
        "one": "pair" if plural else "one",
        "one_too": "a pair" if plural else "one",
        "price": f"{currency}{price}",
        "price_more": f"{currency}{price * 2 - 1}",
        "purpose": lambda: maker.draw(lexicon.PURPOSES[kind]),
        **agreement(plural),
    }
    queue = aspects.split(", ")
    for rule in ("asp_pos", "asp_neg", "asp_mid", "c_pos", "c_neg"):
        maker.values[rule] = partial(about_aspect, maker, queue, rule)


def agreement(plural: bool) -> dict[str, Value]:
    """Pronouns and endings that depend on the product's number."""
    names = ("it", "them", "this", "is", "was", "has", "s", "es")
    singular = ("it", "it", "this", "is", "was", "has", "s", "es")
    plurals = ("they", "them", "these", "are", "were", "have", "", "")
    return dict(zip(names, plurals if plural else singular, strict=True))


def pluralise(noun: str) -> str:
    return noun + ("es" if noun.endswith("ch") else "s")


def is_plural(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith("ss")


def about_aspect(maker: Expander, queue: list[str], rule: str) -> str:
    """A sentence or clause about an aspect that the review has not spoken of yet."""
    aspect = queue.pop(maker.below(len(queue)))
    kind, _, noun = aspect.partition(" ")
    good, bad, predicates_good, predicates_bad = lexicon.ASPECTS[kind]
    maker.values |= {
        "noun": noun,
        "good": lambda: maker.draw(good),
        "bad": lambda: maker.draw(bad),
        "pred_good": lambda: maker.draw(predicates_good),
        "pred_bad": lambda: maker.draw(predicates_bad),
    }
    text = maker.expand(maker.draw(maker.rules[rule]))
    return AGREEMENT.sub(r"\2" if is_plural(noun) else r"\1", text)


def roughen(maker: Expander, text: str) -> str:
    """Some reviewers type carelessly."""
    style = maker.random.random()
    if style < 0.05:
        return text.lower()
    if style < 0.10:
        return text.replace("'", "")
    if style < 0.16 and text.endswith("."):
        return text[:-1] + maker.pick(("!", "!!", " :)", "...")) if ":" not in text else text
    if style < 0.32:
        return mistype(maker, text)
    return text


def mistype(maker: Expander, text: str) -> str:
    """Swap, drop or double one letter inside one word."""
    inner = [m.start() for m in re.finditer(r"(?<=[a-z]{2})[a-z](?=[a-z]{2})", text)]
    if not inner:
        return text
    i = maker.pick(inner)
    swapped, dropped, doubled = text[i + 1] + text[i], text[i + 1], text[i] * 2 + text[i + 1]
    return text[:i] + maker.pick((swapped, dropped, doubled)) + text[i + 2 :]


# --------------------------------------------------------------------------------------------- news

NEWS_RULES: dict[str, Sequence[str]] = {
    **grammar.NAMES,
    "town": lexicon.TOWNS,
    "place_start": lexicon.PLACE_STARTS,
    "place_end": lexicon.PLACE_ENDS,
    "surname": lexicon.SURNAMES,
    "first": lexicon.WOMEN + lexicon.MEN,
    "initial": lexicon.INITIALS,
    "particle": lexicon.PARTICLES,
    "emblem": lexicon.EMBLEMS,
    "field": lexicon.FIELDS,
    "month": lexicon.MONTHS,
    "weekday": lexicon.WEEKDAYS,
    "concert": lexicon.CONCERTS,
}
# said twice in a document, these mean the same thing
NEWS_TOPICS: dict[str, Sequence[str]] = {
    "role": lexicon.ROLES,
    "industry": lexicon.INDUSTRIES,
    "building": lexicon.BUILDINGS,
    "crime": lexicon.CRIMES,
    "goods": lexicon.GOODS,
    "finding": lexicon.FINDINGS,
    "faulty": lexicon.FAULTY,
    "hazard": lexicon.HAZARDS,
    "sport": lexicon.SPORTS,
    "art": lexicon.ARTS,
}


def news(maker: Expander) -> Iterator[dict[str, Any]]:
    """Endless news: a lead and one to three sentences that follow from it."""
    while True:
        for leads, details in grammar.NEWS.values():
            maker.start()
            parts = tell(maker, leads, details)
            yield unmark(tidy(" ".join(maker.expand(part) for part in parts)))


def tell(maker: Expander, leads: Sequence[str], details: Sequence[str]) -> list[str]:
    """Templates of a story in which nobody is called by surname before having been introduced."""
    parts = [maker.draw(leads)]
    bind_names(maker, "firm" if re.search("{industry}|{faulty}", parts[0]) else "co")
    for _ in range(maker.between(1, 3)):
        known = set(SLOT.findall(" ".join(parts)))
        parts.append(maker.draw(details, partial(follows, known)))
    return parts


def follows(known: set[str], detail: str) -> bool:
    """Whether each short name in a sentence refers back, and each new person is new."""
    names = set(SLOT.findall(detail))
    for i in "123":
        introduced = {f"p{i}"} & (known | names)
        if names & {f"s{i}", f"he{i}", f"his{i}", f"mr{i}"} and not introduced:
            return False
        if f"co{i}s" in names and f"co{i}" not in known | names:
            return False
    return not {"p2", "p3"} & names & known


def bind_names(maker: Expander, company: str) -> None:
    """Fix the people, places and organisations that the document may speak of."""
    maker.values = figures(maker)
    maker.values |= {name: maker.draw(items) for name, items in NEWS_TOPICS.items()}
    maker.values["l1"], maker.values["l2"] = place(maker), place(maker)
    maker.values["wider"] = mark("PLACE", maker.draw(lexicon.WIDER_PLACES))
    maker.values["street"] = mark("PLACE", maker.draw(lexicon.STREETS))
    for i in "123":
        bind_person(maker, i)
    for name, rule in (
        *(("co1", company), ("co2", "co"), ("co3", "bank"), ("club1", "club"), ("club2", "club")),
        *(("uni", "uni"), ("uni2", "uni"), ("council", "council"), ("charity", "charity")),
        *(("agency", "agency"), ("service", "service"), ("union", "union"), ("paper", "paper")),
    ):
        bind_organisation(maker, name, rule)


def place(maker: Expander) -> str:
    return mark("PLACE", maker.fill("place"))


def bind_person(maker: Expander, i: str) -> None:
    """Fix `p1` (the full name), `s1` (the surname) and the pronouns of a person."""
    woman = maker.chance(0.5)
    first, surname = maker.draw(lexicon.WOMEN if woman else lexicon.MEN), maker.fill("surname")
    parts = {"f": first, "a": surname, "b": maker.fill("surname")}
    full = with_parts(maker, "full", parts)
    maker.values[f"p{i}"] = mark("PERSON", full)
    # all that follows the first names: van der Berg, Walsh-Lincoln
    family = full[full.index(" ") + 1 :] if " " in full else full
    maker.values[f"s{i}"] = mark("PERSON", re.sub(r"^[A-Z]\. ", "", family))
    maker.values[f"mr{i}"] = maker.pick(("Ms", "Mrs")) if woman else "Mr"
    maker.values[f"he{i}"] = "she" if woman else "he"
    maker.values[f"his{i}"] = "her" if woman else "his"


def bind_organisation(maker: Expander, name: str, rule: str) -> None:
    """Fix an organisation's full name and, under `<name>s`, what it is called after that."""
    parts = {
        "a": maker.fill("surname"),
        "b": maker.fill("surname"),
        "c": maker.fill("surname"),
        "f": maker.draw(lexicon.WOMEN + lexicon.MEN),
        "l": maker.expand(maker.pick(("{town}", "{coined_town}"))),
        "m": maker.expand(maker.pick(("{town}", "{coined_town}"))),
        "z": maker.draw(lexicon.COINED_STARTS) + maker.draw(lexicon.COINED_ENDS),
        "acronym": maker.draw(lexicon.ACRONYMS),
        "sector": maker.draw(lexicon.SECTORS),
        "legal": maker.draw(lexicon.LEGAL_FORMS),
    }
    full, _, short = with_parts(maker, rule, parts).partition(" // ")
    maker.values[name] = mark("ORG", full)
    maker.values[f"{name}s"] = mark("ORG", short or full)


def with_parts(maker: Expander, rule: str, parts: Mapping[str, str]) -> str:
    """A name in which a part that occurs twice is the same both times."""
    before = maker.values
    maker.values = {**before, **parts}
    text = maker.expand(maker.draw(maker.rules[rule]))
    maker.values = before
    return text


def mark(label: str, name: str) -> str:
    """Markup for an entity; a leading article stays outside of it."""
    if name.startswith("the "):
        return f"the @{label}({name[4:]})"
    return f"@{label}({name})"


def unmark(text: str) -> dict[str, Any]:
    """The plain text, and the entities as character offsets in it."""
    plain, entities, end = "", [], 0
    for match in MARKUP.finditer(text):
        plain += text[end : match.start()]
        entities.append([len(plain), len(plain) + len(match[2]), match[1]])
        plain += match[2]
        end = match.end()
    return {"text": plain + text[end:], "entities": entities}


# -------------------------------------------------------------------------------------------- mails


@dataclass
class Token:
    form: str
    xpos: str
    upos: str
    space: bool = True


def tagged(items: Sequence[str], xpos: str) -> tuple[str, ...]:
    """Lexicon items as template tokens: `coffee/NN machine/NN`."""
    return tuple(" ".join(f"{word}/{xpos}" for word in item.split()) for item in items)


def verb_rules() -> dict[str, Sequence[str]]:
    """Rules such as `send.VBD`, from the table of verb forms."""
    rules: dict[str, Sequence[str]] = {}
    for name, rows in lexicon.VERBS.items():
        for column, xpos in enumerate(("VB", "VBZ", "VBD", "VBN", "VBG")):
            rules[f"{name}.{xpos}"] = tagged([row.split()[column] for row in rows], xpos)
        rules[f"{name}.VBP"] = tagged([row.split()[0] for row in rows], "VBP")
    return rules


MAIL_RULES: dict[str, Sequence[str]] = {
    **grammar.MAILS,
    **verb_rules(),
    "first": tagged(lexicon.WOMEN + lexicon.MEN, "NNP"),
    "other": tagged(lexicon.MEN + lexicon.WOMEN, "NNP"),
    "surname": tagged(lexicon.SURNAMES, "NNP"),
    "day": tagged(lexicon.WEEKDAYS, "NNP"),
    "month": tagged(lexicon.MONTHS, "NNP"),
    "town": tagged(lexicon.TOWNS, "NNP"),
    "docs": tagged(lexicon.DOCUMENT_PLURALS, "NNS"),
    "room": tagged(lexicon.ROOMS, "NN"),
    "team": tagged(lexicon.TEAMS, "NN"),
    "family": tagged(lexicon.FAMILY, "NN"),
    "food": tagged(lexicon.FOODS, "NN"),
    "adj": tagged(lexicon.ADJECTIVES, "JJ"),
    "feeling": tagged(lexicon.FEELINGS, "JJ"),
    "quality": tagged(lexicon.QUALITIES, "JJ"),
    "quality_long": tagged(lexicon.LONG_QUALITIES, "JJ"),
    "quality_short": tagged(lexicon.SHORT_QUALITIES, "JJ"),
    "quality_good": tagged(lexicon.GOOD_QUALITIES, "JJ"),
    "adv": tagged(lexicon.ADVERBS, "RB"),
    "manner": tagged(lexicon.MANNERS, "RB"),
}
MAIL_TOPICS: dict[str, Sequence[str]] = {
    "doc": tagged(lexicon.DOCUMENTS, "NN"),
    "meeting": tagged(lexicon.MEETINGS, "NN"),
    "device": tagged(lexicon.DEVICES, "NN"),
    "purchase": tagged(lexicon.PURCHASES, "NN"),
    "subject": tagged(lexicon.SUBJECTS, "NN"),
    "company": tagged(lexicon.COMPANY_NAMES, "NNP"),
}
CLOSED = {form.lower(): tag for tag, forms in grammar.CLOSED.items() for form in forms}
UPOS = {
    **dict.fromkeys(("NN", "NNS"), "NOUN"),
    **dict.fromkeys(("NNP", "NNPS", "ADD"), "PROPN"),
    **dict.fromkeys(("JJ", "JJR", "JJS"), "ADJ"),
    **dict.fromkeys(("RB", "RBR", "RBS", "WRB"), "ADV"),
    **dict.fromkeys(("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"), "VERB"),
    **dict.fromkeys(("PRP", "PRP$", "WP", "WDT", "EX"), "PRON"),
    **dict.fromkeys(("DT", "PDT"), "DET"),
    **dict.fromkeys(("IN", "RP"), "ADP"),
    **dict.fromkeys((".", ",", ":", "-LRB-", "-RRB-", "HYPH"), "PUNCT"),
    **{"CC": "CCONJ", "CD": "NUM", "MD": "AUX", "POS": "PART", "UH": "INTJ", "$": "SYM"},
}


def mails(maker: Expander) -> Iterator[list[list[Token]]]:
    """Endless mails as tagged sentences: greeting, two to five sentences on a topic, signature."""
    while True:
        for topic in grammar.TOPICS.values():
            maker.start()
            bind_writer(maker)
            parts = [maker.draw(maker.rules["greeting"])]
            if maker.chance(0.5):
                parts.append(maker.draw(maker.rules["opening"]))
            parts += [maker.draw(topic) for _ in range(maker.between(2, 5))]
            if maker.chance(0.4):
                parts.append(maker.draw(grammar.ASIDES))
            if maker.chance(0.6):
                parts.append(maker.draw(maker.rules["closing"]))
            parts.append(maker.draw(maker.rules["sign"]))
            yield [read_tokens(maker.expand(part)) for part in parts]


def bind_writer(maker: Expander) -> None:
    """Fix who writes to whom, and the things that the mail is about."""
    maker.values = figures(maker)
    maker.values |= {name: maker.draw(items) for name, items in MAIL_TOPICS.items()}
    maker.values |= {"you": maker.fill("first"), "me": maker.fill("first")}
    maker.values["my_surname"] = maker.fill("surname")
    name, company = (
        str(maker.values[key]).split("/")[0].lower() for key in ("my_surname", "company")
    )
    maker.values["address"] = f"{name}@{company}.example/ADD"


def read_tokens(text: str) -> list[Token]:
    """Tokens of a sentence; raises KeyError for a word that neither it nor CLOSED tags."""
    tokens: list[Token] = []
    for item in text.split():
        form, _, tag = item.partition("/")
        xpos, _, upos = (tag or CLOSED[form.lower()]).partition("/")
        tokens.append(Token(form, xpos, upos or UPOS[xpos]))
    for token, after in zip(tokens, [*tokens[1:], Token("", "", "")], strict=True):
        if token.form in ("a", "A") and re.match(r"[aeiou]|8|1[18]\b", after.form):
            token.form += "n"
        glued = after.form in (".", "?", "!", ",", ":", ";", ")") or is_clitic(after)
        token.space = not glued and token.form not in ("(", "£", "$", "€")
    tokens[0].form = tokens[0].form[0].upper() + tokens[0].form[1:]
    return tokens


def is_clitic(token: Token) -> bool:
    return token.form.startswith("'") or token.form == "n't"


def write_sentence(name: str, tokens: list[Token]) -> list[str]:
    """CoNLL-U lines; `don't` is a multiword token of `do` and `n't`, as in English treebanks."""
    text = "".join(token.form + " " * token.space for token in tokens).strip()
    result = [f"# sent_id = {name}", f"# text = {text}"]
    for i, token in enumerate(tokens):
        clitics = [is_clitic(after) for after in tokens[i + 1 :]]
        size = clitics.index(False) if False in clitics else len(clitics)
        last = tokens[i + size]
        if size and not is_clitic(token):
            surface = "".join(part.form for part in tokens[i : i + size + 1])
            ids = f"{i + 1}-{i + size + 1}"
            result.append("\t".join([ids, surface, *"_______", misc(last.space)]))
        inside = bool(size) or is_clitic(token)
        columns = [str(i + 1), token.form, "_", token.upos, token.xpos, *"____"]
        result.append("\t".join([*columns, misc(inside or token.space)]))
    return [*result, ""]


def misc(space: bool) -> str:
    return "_" if space else "SpaceAfter=No"


# -------------------------------------------------------------------------------------------- files


def take(source: Iterator[Any], count: int, seen: set[str], key: Callable[[Any], str]) -> list[Any]:
    """The next documents whose text no earlier one has, in this split or another."""
    result: list[Any] = []
    while len(result) < count:
        document = next(source)
        if key(document) not in seen:
            seen.add(key(document))
            result.append(document)
    return result


def json_lines(documents: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)


def conllu(documents: list[list[list[Token]]], split: str) -> str:
    result: list[str] = []
    for i, sentences in enumerate(documents, 1):
        name = f"mail-{split}-{i:04}"
        result.append(f"# newdoc id = {name}")
        for j, tokens in enumerate(sentences, 1):
            result += write_sentence(f"{name}-{j}", tokens)
    return "\n".join(result) + "\n"


def text_of(mail: list[list[Token]]) -> str:
    return " ".join(token.form for sentence in mail for token in sentence)


def corpora(seed: int) -> Iterator[tuple[str, int, str]]:
    """Yield (path, number of documents, content) of each file."""
    for source, (train, dev) in SIZES.items():
        seen: set[str] = set()
        for split, count in (("train", train), ("dev", dev)):
            number = 2 * seed + (split == "dev")
            if source == "reviews":
                stream = reviews(Expander(REVIEW_RULES, number, split == "dev"))
                items = take(stream, count, seen, lambda record: record["text"])
                yield f"reviews/{split}.jsonl", count, json_lines(items)
            elif source == "news":
                stream = news(Expander(NEWS_RULES, number, split == "dev"))
                items = take(stream, count, seen, lambda record: record["text"])
                yield f"news/{split}.jsonl", count, json_lines(items)
            else:
                mail_stream = mails(Expander(MAIL_RULES, number, split == "dev"))
                items = take(mail_stream, count, seen, text_of)
                yield f"mails/{split}.conllu", count, conllu(items, split)


def main(out_dir: Path, seed: int = 0) -> None:
    """Write the corpora and `manifest.json` (documents and SHA-256 of each file) to OUT_DIR."""
    files = {}
    for name, count, content in corpora(seed):
        data = content.encode("utf8")
        path = out_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[name] = {"documents": count, "sha256": hashlib.sha256(data).hexdigest()}
        typer.echo(f"{path}: {count} documents")
    manifest = json.dumps({"seed": seed, "files": files}, indent=2) + "\n"
    (out_dir / "manifest.json").write_bytes(manifest.encode("utf8"))


if __name__ == "__main__":
    typer.run(main)
