"""Get the GUM corpus: from a folder that you have, or from its repository, at one commit.

The digests are checked here and not by `spacy project assets`, whose failed checksum prints a cross
and exits with 0: the next command would train on whatever has arrived.

GUM is CC BY-NC-SA 4.0 as a whole (see its LICENSE.txt): not for commercial use, nor for a package.
"""

import hashlib
import os
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

COMMIT = "afb41ee9bca57991125814fa04d96a0e61470c8b"
BASE_URL = f"https://raw.githubusercontent.com/UniversalDependencies/UD_English-GUM/{COMMIT}"
BLOCK = 1 << 16
TIMEOUT_S = 60


class Release(NamedTuple):
    """A released file and its digests, as {name of the digest: hexadecimal value}."""

    name: str
    digests: dict[str, str]


# A git-blob digest is the name that the commit above gives to the file's content. For train it is
# the only one that could be read where this table was made.
RELEASES = {
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


def copy_from(folder: Path, split: str, release: Release, target: Path) -> str:
    """Copy a file that the user answers for; returns whether it is the released one."""
    found = [path for path in (folder / release.name, folder / f"{split}.conllu") if path.is_file()]
    if not found:
        raise FetchError(f"{folder}: expected `{release.name}` or `{split}.conllu` in this folder")
    with complete(target) as part:
        shutil.copyfile(found[0], part)
        if not looks_like_conllu(part):
            raise FetchError(f"{found[0]}: expected CoNLL-U with `# newdoc id` in its first lines")
    try:
        check(target, release)
    except FetchError:
        return f"{found[0].name}, not byte-identical with the release"
    return f"{found[0].name}, identical with the release"


def looks_like_conllu(path: Path) -> bool:
    with path.open(encoding="utf8", errors="replace") as stream:
        return "# newdoc id" in "".join(next(stream, "") for _ in range(20))


def fail(message: str) -> NoReturn:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)


def main(
    out_dir: Path,
    from_folder: Annotated[
        str,
        typer.Option(help="Copy train.conllu and dev.conllu, or the released names, from here."),
    ] = "",
    base_url: Annotated[str, typer.Option(help="Where the released files lie.")] = BASE_URL,
) -> None:
    """Write OUT_DIR/train.conllu and OUT_DIR/dev.conllu."""
    for split, release in RELEASES.items():
        target = out_dir / f"{split}.conllu"
        try:
            if from_folder:  # a project's empty variable means: download
                origin = copy_from(Path(from_folder), split, release, target)
            else:
                download(release, base_url, target)
                origin = base_url
        except FetchError as error:
            fail(str(error))
        except OSError as error:
            fail(f"{target}: {error.strerror}")
        typer.echo(f"{target}: sha256 {digest(target, 'sha256')} ({origin})")


if __name__ == "__main__":
    typer.run(main)
