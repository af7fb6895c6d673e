"""Load an installed pipeline by its name and print annotated text."""

from typing import Annotated

import spacy
import typer
from wasabi import color

TEXTS = [
    "Mira Kessler joined Halden Robotics in Lisbon on 4 March and sold her old company for $12 million.",
    "I wanted to love this kettle, but the lid broke on the second day and nobody answered my mails.",
    "Not bad at all! Setting it up took five minutes, and it has been running quietly ever since.",
    "Could you please send me the slides before Friday? Dr. Ono will present them in Riga.",
]


def main(
    name: Annotated[str, typer.Argument(help="Name of an installed pipeline, or its folder.")],
    text: Annotated[
        list[str] | None, typer.Option(help="Annotate this instead; repeatable.")
    ] = None,
) -> None:
    """Annotate texts with the pipeline NAME: token_TAG, [entity](LABEL), categories."""
    nlp = spacy.load(name)
    for doc in nlp.pipe(text or TEXTS):
        starts = {ent.start: ent for ent in doc.ents}
        ends = {ent.end - 1 for ent in doc.ents}
        words = []
        for token in doc:
            word = token.text + (color(f"_{token.tag_}", fg=8) if token.tag_ else "")
            if token.i in starts:
                word = color("[", fg="yellow") + word
            if token.i in ends:
                word += color(f"]({token.ent_type_})", fg="yellow")
            words.append(word)
        cats = sorted(doc.cats.items(), key=lambda item: -item[1])[:3]
        typer.echo(" ".join(words))
        typer.echo(
            color("  " + ", ".join(f"{label} {score:.2f}" for label, score in cats), fg="cyan")
        )


if __name__ == "__main__":
    typer.run(main)
