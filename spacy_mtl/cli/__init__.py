"""`python -m spacy mtl ...`. Found through an entry point whenever spaCy's command line runs, so imports stay light."""

import typer
from spacy.cli._util import app as spacy_app

app = typer.Typer(
    name="mtl",
    help="Multi-task learning: look at corpora before training, and at what sharing gained.",
    no_args_is_help=True,
)


@app.callback()
def main() -> None:
    """Multi-task learning."""


from . import debug, report, transfer  # noqa: E402, F401  (they register their commands)

spacy_app.add_typer(app)
