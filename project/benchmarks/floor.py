"""The encoder alone: what no pipeline around it can be faster than, unless it computes fewer wordpieces."""

from collections.abc import Callable

import torch
from transformers import AutoModel, AutoTokenizer

from spacy_mtl.encoder.huggingface import resolve_name
from spacy_mtl.encoder.precision import autocast

ROW = 256  # most wordpieces of a row without special tokens, as in our windows, but without overlap
BUDGETS = {"cpu": (512, 1024, 2048, 4096), "cuda": (4096, 16384, 65536)}
Batch = tuple[torch.Tensor, torch.Tensor | None]


class BareEncoder:
    """A Hugging Face encoder and its tokenizer, without any pipeline. device: `cpu` or `cuda`."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        path = resolve_name(name)
        self.device = device
        self.model = AutoModel.from_pretrained(path, add_pooling_layer=False).eval().to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        # sentence encoders such as MiniLM cut and pad every text to 128 wordpieces
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        limit = self.model.config.max_position_embeddings - 2
        self.row = min(ROW, limit)

    def batches(self, texts: list[str], budget: int) -> list[Batch]:
        """All wordpieces of the texts in padded rows, sorted by length.

        budget: most wordpieces of a batch, padding counted. Returns (ids, mask), both [rows, longest]; no mask where
        it would hide nothing.
        """
        encoded = self.tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        start, stop = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows = [
            [start, *encoding.ids[i : i + self.row], stop]
            for encoding in encoded
            for i in range(0, len(encoding.ids), self.row)
        ]
        rows.sort(key=len)
        groups: list[list[list[int]]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row) > budget:
                groups.append([])
            groups[-1].append(row)
        return [self._pad(group) for group in groups]

    def _pad(self, rows: list[list[int]]) -> Batch:
        shape = (len(rows), len(rows[-1]))
        ids = torch.full(shape, self.tokenizer.pad_token_id or 0)
        mask = torch.zeros(shape, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return ids.to(self.device), None if mask.all() else mask.to(self.device)

    def forward(self, batches: list[Batch], dtype: torch.dtype) -> None:
        """Encode batches that are prepared."""
        with torch.inference_mode(), autocast(torch.device(self.device), dtype):
            for ids, mask in batches:
                self.model(input_ids=ids, attention_mask=mask)

    def best(self, texts: list[str], dtype: torch.dtype, seconds: Callable[..., float]) -> int:
        """The budget of a batch with which this is fastest, tried once each after a warm-up."""
        tried = {budget: self.batches(texts, budget) for budget in BUDGETS[self.device]}
        self.forward(next(iter(tried.values())), dtype)
        return min(tried, key=lambda b: seconds(lambda: self.forward(tried[b], dtype)))
