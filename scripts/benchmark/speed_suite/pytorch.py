"""PyTorch: eager or compiled, with a fused AdamW, on batches that are ready in memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from speed_suite.pytorch_models import BUILDERS, augment
from speed_suite.weights import Given
from speed_suite.workloads import COMPARED, Workload


def batches(workload: Workload, given: Given, mode: str, channels_last: bool = False) -> list[tuple[Any, Any]]:
    """The given batches as tensors; images as ``[B, C, H, W]``."""
    inputs, targets = (given.inputs, given.targets) if mode == "train" else given.batches(int(mode))
    if workload.kind == "image":
        inputs = inputs.transpose(0, 1, 4, 2, 3)
    found = []
    for x, y in zip(inputs, targets, strict=True):
        tensor = torch.from_numpy(np.ascontiguousarray(x))
        if channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        found.append((tensor, torch.from_numpy(y).long()))
    return found


def parameters(model: Any) -> int:
    """Numbers that are trained."""
    return sum(leaf.numel() for leaf in model.parameters() if leaf.requires_grad)


class Contestant:
    """A training loop, or a loop of forward passes."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload, self.mode, self.options, self.given = workload, mode, options, given
        if options.get("threads"):
            torch.set_num_threads(options["threads"])

    def prepare(self) -> dict[str, Any]:
        """See `speed_suite.protocol`."""
        given = Given(self.given)
        self.batches = batches(self.workload, given, self.mode, self.options["channels_last"])
        began = time.perf_counter()
        model = BUILDERS[self.workload.family](self.workload, given, self.options)
        given.check()
        if self.options["channels_last"]:
            model = model.to(memory_format=torch.channels_last)
        count = parameters(model)
        self.model = torch.compile(model) if self.options["compile"] else model
        if self.mode != "train":
            model.eval()
            self.run(1)
            first = time.perf_counter() - began
            with torch.inference_mode():
                gap = given.gap(model(batches(self.workload, given, "train")[0][0]).numpy())
            return {"parameters": count, "losses": None, "first_step_seconds": first, "epoch": 1, "gap": gap}
        leaves = [leaf for leaf in model.parameters() if leaf.requires_grad]
        self.rule = torch.optim.AdamW(leaves, lr=self.workload.learning_rate, weight_decay=0.01, fused=True)
        losses, first = [], 0.0
        for number in range(COMPARED):
            losses.append(float(self._update(number).detach()))
            first = first or time.perf_counter() - began
        return {"parameters": count, "losses": losses, "first_step_seconds": first, "epoch": 1}

    def _update(self, number: int) -> Any:
        x, y = self.batches[number % len(self.batches)]
        if self.workload.augmented:
            x = augment(x)
        loss = functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.rule.step()
        self.rule.zero_grad()
        return loss

    def run(self, updates: int) -> float:
        """Seconds that so many updates, or forward passes, take."""
        began = time.perf_counter()
        if self.mode == "train":
            for number in range(updates):
                self._update(number)
        else:
            with torch.inference_mode():
                for number in range(updates):
                    self.model(self.batches[number % len(self.batches)][0])
        return time.perf_counter() - began
