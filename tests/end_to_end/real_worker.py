"""A worker as it is shipped, but for one thing: it writes a checkpoint after every epoch."""

from __future__ import annotations

import os

from effv2_tune.training import trainer, worker

if __name__ == "__main__":
    trainer.CHECKPOINT_SECONDS = 0.0
    os._exit(worker.main())
