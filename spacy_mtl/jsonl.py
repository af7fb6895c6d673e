"""Files to which a training appends lines of JSON, and which an interruption may leave with half a line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import srsly

_BLOCK = 65_536


def append(path: Path, records: list[dict[str, Any]]) -> None:
    """Write one line for each record. What is no finite number becomes null."""
    with path.open("a", encoding="utf8") as stream:
        stream.writelines(srsly.json_dumps(_finite(record)) + "\n" for record in records)


def mend(path: Path) -> None:
    """Let the next record stand on a line of its own: drop half a record at the end, if there is one."""
    line = _unfinished(path) if path.exists() else b""
    if not line:
        return
    with path.open("r+b") as stream:
        if line.startswith(b"{") and not _is_json(line):
            stream.truncate(path.stat().st_size - len(line))
        else:  # a whole record, or nothing of ours
            stream.seek(0, 2)
            stream.write(b"\n")


def is_cut(path: Path) -> bool:
    """Whether the file ends within a line."""
    line = _unfinished(path)
    return bool(line.strip()) and not _is_json(line)


def _unfinished(path: Path) -> bytes:
    """What comes after the last line break."""
    with path.open("rb") as stream:
        position, found = stream.seek(0, 2), b""
        while position and b"\n" not in found:
            size = min(_BLOCK, position)
            position = stream.seek(position - size)
            found = stream.read(size) + found
    return found.rpartition(b"\n")[2]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf8"))
    except ValueError:
        return False
    return True


def _finite(value: Any) -> Any:
    """JSON has no number for what is not finite: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
