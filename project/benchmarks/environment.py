"""What a benchmark ran on: versions and processor, for the head of its table."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "spacy-mtl",
    "spacy",
    "thinc",
    "spacy-transformers",
    "transformers",
    "tokenizers",
    "torch",
    "numpy",
)


def describe() -> str:
    """Versions and processor, one line each."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} absent")
    return "\n".join(
        [f"Versions: Python {platform.python_version()}, {', '.join(versions)}", device()]
    )


def processor_kind() -> str:
    """For the name of a file of results: the fastest bf16 that the processor has, or fp32."""
    from spacy_mtl.encoder.precision import cpu_has_amx, cpu_has_fast_bf16

    return "amx" if cpu_has_amx() else "avx512_bf16" if cpu_has_fast_bf16() else "fp32"


def device() -> str:
    """The processor, its cores and what it has for bf16; the GPU if there is one."""
    import torch

    name, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            line.split(":", 1)
            for line in info.read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
        fields = {k.strip(): v.strip() for k, v in fields.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags.split()]
    line = f"Processor: {name}, {os.cpu_count()} cores, {' '.join(bf16) or 'no bf16 instructions'}"
    if torch.cuda.is_available():
        line += f"\nGPU: {torch.cuda.get_device_name()}"
    return line
