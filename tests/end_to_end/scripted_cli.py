"""The real command line, whose workers speak the protocol and train nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from effv2_tune.cli import main
from effv2_tune.search.supervisor import OpenStudy

WORKER = Path(__file__).resolve().with_name("scripted_worker.py")

if __name__ == "__main__":
    assert OpenStudy.run.__kwdefaults__ is not None
    OpenStudy.run.__kwdefaults__["worker_command"] = (sys.executable, str(WORKER))
    main()
