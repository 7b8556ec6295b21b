"""Lightning around the same PyTorch models: ``Trainer.fit`` without log, checkpoints and progress bar."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from speed_suite.pytorch import batches, parameters
from speed_suite.pytorch_models import BUILDERS
from speed_suite.weights import Given
from speed_suite.workloads import COMPARED, Workload


class Module(lightning.LightningModule):
    """The model with its loss and its optimizer."""

    def __init__(self, model: Any, workload: Workload) -> None:
        super().__init__()
        self.model, self.workload = model, workload
        self.losses: list[float] = []

    def training_step(self, batch: Any, number: int) -> Any:
        """The loss of a batch."""
        x, y = batch
        loss = functional.cross_entropy(self.model(x), y)
        if len(self.losses) < COMPARED:
            self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.workload.learning_rate, weight_decay=0.01, fused=True)


class Repeated(torch.utils.data.IterableDataset):
    """Ready batches, over and over."""

    def __init__(self, ready: list[Any], count: int) -> None:
        self.ready, self.count = ready, count

    def __iter__(self) -> Any:
        return (self.ready[number % len(self.ready)] for number in range(self.count))


class Contestant:
    """``Trainer.fit`` over so many batches."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload, self.given = workload, given
        warnings.filterwarnings("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        if options.get("threads"):
            torch.set_num_threads(options["threads"])

    def prepare(self) -> dict[str, Any]:
        """See `speed_suite.protocol`."""
        given = Given(self.given)
        self.batches = batches(self.workload, given, "train")
        began = time.perf_counter()
        model = BUILDERS[self.workload.family](self.workload, given, {})
        given.check()
        self.module = Module(model, self.workload)
        self.run(1)
        first = time.perf_counter() - began
        # A training begins with a new optimizer, so the compared losses are those of one training.
        self.module = Module(BUILDERS[self.workload.family](self.workload, given, {}), self.workload)
        self.run(COMPARED)
        told = {"losses": self.module.losses, "first_step_seconds": first, "epoch": 1}
        return told | {"parameters": parameters(model)}

    def run(self, updates: int) -> float:
        """Seconds that so many updates take."""
        loader = torch.utils.data.DataLoader(Repeated(self.batches, updates), batch_size=None)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        began = time.perf_counter()
        trainer.fit(self.module, loader)
        return time.perf_counter() - began
