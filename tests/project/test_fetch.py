"""Fetching the corpora: from a server, whose files are checked, or from a folder."""

import functools
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .scripts import DATA, convert, fetch, needs, run_fetch

NAMES = sorted(fetch.CORPORA)
CONTENT = {
    "ewt": {"train": b"# newdoc id = answers-a\n\n", "dev": b"# newdoc id = answers-b\n\n"},
    "gum": {"train": b"# newdoc id = GUM_news_a\n\n", "dev": b"# newdoc id = GUM_bio_b\n\n"},
    "sst2": {"train": b"1 good , is n't it\n0 bad\n", "dev": b"0 meh .\n"},
}


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder. Of a file named `short`, half a file arrives under the whole length."""

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2] if "/short/" in self.path else data)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def release(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Tiny releases in the place of the real ones, each in a folder of its name."""
    tiny = {}
    for name, corpus in fetch.CORPORA.items():
        folder = server[0] / name
        folder.mkdir()
        releases = {}
        for split, data in CONTENT[name].items():
            file = corpus.releases[split].name
            (folder / file).write_bytes(data)
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            digests = {"sha256": hashlib.sha256(data).hexdigest(), "git-blob": blob}
            releases[split] = fetch.Release(file, digests)
        base_url = f"{server[1]}/{name}"
        tiny[name] = corpus._replace(releases=releases, base_url=base_url)
    monkeypatch.setattr(fetch, "CORPORA", tiny)
    return server


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_address_names_a_whole_commit_and_every_file_a_digest() -> None:
    for corpus in fetch.CORPORA.values():
        assert re.search(r"https://.+/[0-9a-f]{40}(/data)?$", corpus.base_url)
        assert list(corpus.releases) == ["train", "dev"]
        for file in corpus.releases.values():
            sizes = {"sha256": 64, "git-blob": 40}
            assert file.digests
            assert all(len(value) == sizes[kind] for kind, value in file.digests.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_download_with_the_right_hash_is_kept(
    release: tuple[Path, str], tmp_path: Path, name: str
) -> None:
    result = run_fetch(name, tmp_path / "out", "--from-folder", "")
    assert result.exit_code == 0, result.output
    assert f"Licence of {name}: {fetch.CORPORA[name].licence}" in result.output
    suffix = "txt" if name == "sst2" else "conllu"
    assert written(tmp_path / "out") == {f"{s}.{suffix}": d for s, d in CONTENT[name].items()}


def test_another_address_may_be_given(release: tuple[Path, str], tmp_path: Path) -> None:
    (release[0] / "gum").rename(release[0] / "mirror")
    result = run_fetch("gum", tmp_path / "out", "--base-url", f"{release[1]}/mirror/")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("kind", ["sha256", "git-blob"])
@pytest.mark.parametrize("name", NAMES)
def test_a_download_with_a_wrong_hash_fails_and_leaves_nothing(
    release: tuple[Path, str], tmp_path: Path, name: str, kind: str
) -> None:
    file = fetch.CORPORA[name].releases["train"]
    path = release[0] / name / file.name
    expected = file.digests[kind]
    file.digests.clear()
    file.digests[kind] = expected
    path.write_bytes(path.read_bytes() + b"1 more\n")
    result = run_fetch(name, tmp_path / "out")
    assert result.exit_code == 1
    found = fetch.digest(path, kind)
    assert f"{path.name}: expected {kind} {expected}, found {found}" in result.output
    assert written(tmp_path / "out") == {}


def test_a_truncated_download_fails_and_leaves_nothing(
    release: tuple[Path, str], tmp_path: Path
) -> None:
    (release[0] / "sst2").rename(release[0] / "short")
    result = run_fetch("sst2", tmp_path / "out", "--base-url", f"{release[1]}/short")
    assert result.exit_code == 1
    size = len(CONTENT["sst2"]["train"])
    assert f"stsa.binary.train: expected {size} bytes, got {size // 2}" in result.output
    assert written(tmp_path / "out") == {}


def test_a_failed_download_leaves_the_earlier_file(
    release: tuple[Path, str], tmp_path: Path
) -> None:
    assert run_fetch("ewt", tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "train.conllu").write_bytes(b"mine")
    before = written(tmp_path / "out")
    (release[0] / "ewt" / "en_ewt-ud-train.conllu").write_bytes(b"changed")
    assert run_fetch("ewt", tmp_path / "out").exit_code == 1
    assert written(tmp_path / "out") == before


def test_what_was_downloaded_is_not_downloaded_again(
    release: tuple[Path, str], tmp_path: Path
) -> None:
    assert run_fetch("ewt", tmp_path / "out").exit_code == 0
    before = written(tmp_path / "out")
    (release[0] / "ewt" / "en_ewt-ud-train.conllu").unlink()
    (tmp_path / "out" / "dev.conllu").write_bytes(b"cut off")
    result = run_fetch("ewt", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.output.count("it was there already") == 1
    assert written(tmp_path / "out") == before


def test_a_file_that_is_not_there_is_named(release: tuple[Path, str], tmp_path: Path) -> None:
    (release[0] / "gum" / "en_gum-ud-dev.conllu").unlink()
    result = run_fetch("gum", tmp_path / "out")
    assert result.exit_code == 1
    assert "en_gum-ud-dev.conllu: could not be read from http://127.0.0.1" in result.output
    assert "404" in result.output
    assert list(written(tmp_path / "out")) == ["train.conllu"]


def test_an_unknown_corpus_is_named(tmp_path: Path) -> None:
    result = run_fetch("sst", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected a corpus out of ewt, gum, sst2, got `sst`" in result.output


@pytest.mark.parametrize(
    ("name", "pattern", "content"),
    [
        ("gum", "{}.conllu", CONTENT["gum"]),
        ("gum", "en_gum-ud-{}.conllu", CONTENT["gum"]),
        ("ewt", "{}.conllu", CONTENT["ewt"]),
        ("ewt", "en_ewt-ud-{}.conllu", CONTENT["ewt"]),
        ("sst2", "stsa.binary.{}", CONTENT["sst2"]),
        ("sst2", "{}.tsv", {"train": b"good\tpositive\n", "dev": b"bad\tnegative\n"}),
    ],
)
def test_a_folder_may_use_either_name(
    tmp_path: Path, name: str, pattern: str, content: dict[str, bytes]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for split, data in content.items():
        (folder / pattern.format(split)).write_bytes(data)
    result = run_fetch(name, tmp_path / "out", "--from-folder", folder)
    assert result.exit_code == 0, result.output
    assert "not byte-identical with the release" in result.output
    suffix = fetch.CORPORA[name].suffix
    assert written(tmp_path / "out") == {f"{split}{suffix}": d for split, d in content.items()}


def test_a_folder_with_the_released_file_is_recognised(
    release: tuple[Path, str], tmp_path: Path
) -> None:
    result = run_fetch("sst2", tmp_path / "out", "--from-folder", release[0] / "sst2")
    assert "(stsa.binary.dev, identical with the release)" in result.output


@pytest.mark.parametrize(
    ("name", "file", "other", "looks"),
    [
        ("ewt", "en_ewt-ud-train.conllu", "train.conllu", "CoNLL-U with `# newdoc id`"),
        ("gum", "en_gum-ud-train.conllu", "train.conllu", "CoNLL-U with `# newdoc id`"),
        ("sst2", "stsa.binary.train", "train.tsv", "lines `1 TEXT`, or TEXT, a tab and `positive`"),
    ],
)
def test_a_folder_without_the_corpus_is_named(
    tmp_path: Path, name: str, file: str, other: str, looks: str
) -> None:
    result = run_fetch(name, tmp_path / "out", "--from-folder", tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path}: expected `{file}` or `{other}` in this folder" in result.output
    (tmp_path / other).write_text("hello", "utf8")
    result = run_fetch(name, tmp_path / "out", "--from-folder", tmp_path)
    assert result.exit_code == 1
    assert f"expected {looks} in its first lines" in result.output
    assert not (tmp_path / "out").exists()
    for wrong, said in ((tmp_path / "no", "there is no such folder"), (tmp_path / other, "a file")):
        result = run_fetch(name, tmp_path / "out", "--from-folder", wrong)
        assert result.exit_code == 1
        assert f"{wrong}: " in result.output
        assert said in result.output


def test_a_folder_without_one_file_leaves_the_earlier_ones(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"{split}.conllu").write_bytes(CONTENT["gum"][split])
    assert run_fetch("gum", tmp_path / "out", "--from-folder", folder).exit_code == 0
    before = written(tmp_path / "out")
    (folder / "train.conllu").write_bytes(CONTENT["gum"]["train"] + b"# more")
    (folder / "dev.conllu").unlink()
    assert run_fetch("gum", tmp_path / "out", "--from-folder", folder).exit_code == 1
    assert written(tmp_path / "out") == before


@needs("sst2")
def test_both_forms_of_the_real_sst2_hold_the_same_lines(tmp_path: Path) -> None:
    """The tab-separated file, written back in the form of the release, has the release's hash."""
    digit = {"positive": "1", "negative": "0"}
    for split, file in fetch.CORPORA["sst2"].releases.items():
        rows = (DATA / "sst2" / f"{split}.tsv").read_text("utf8").strip("\n").split("\n")
        pairs = [row.split("\t") for row in rows]
        path = tmp_path / file.name
        lines = (f"{digit[label]} {text}\n" for text, label in pairs)
        path.write_text("".join(lines), "utf8", newline="\n")
        fetch.check(path, file)
        assert list(convert.read_sst2(path)) == [(text, label) for text, label in pairs]
        tabbed = DATA / "sst2" / f"{split}.tsv"
        assert list(convert.read_sst2(tabbed)) == list(convert.read_sst2(path))
