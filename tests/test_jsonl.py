"""A file that an interruption has cut within a line neither stops the next training nor swallows its first record."""

from pathlib import Path

import pytest

from spacy_mtl import jsonl

ROWS = [{"step": 1, "loss": float("inf")}, {"step": 2, "text": "ä" * 100_000}]
WHOLE = '{"step":1,"loss":null}\n'


@pytest.mark.parametrize("n_cut", [1, 2, 150_000, 200_020])
def test_half_a_line_goes_and_the_next_record_has_its_own(n_cut: int, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    jsonl.append(path, ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-n_cut])
    is_whole = n_cut == 1  # but for its line break
    assert jsonl.is_cut(path) == (not is_whole)
    jsonl.mend(path)
    assert path.read_bytes() == (whole if is_whole else WHOLE.encode())
    assert not jsonl.is_cut(path)
    jsonl.append(path, ROWS[:1])
    assert path.read_text().endswith("\n" + WHOLE)


@pytest.mark.parametrize("text", ["", "\n", WHOLE, WHOLE + "\n"])
def test_what_is_whole_stays_as_it_is(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    assert not jsonl.is_cut(path)
    jsonl.mend(path)
    assert path.read_text() == text


def test_what_is_no_record_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes")
    jsonl.mend(path)
    assert path.read_text() == "my notes\n"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    jsonl.mend(tmp_path / "log.jsonl")
    assert not (tmp_path / "log.jsonl").exists()
