"""The real command line, whose workers speak the protocol and train nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from effv2_tune.cli import main
from effv2_tune.search.mirror.copying import Mirror
from effv2_tune.search.supervisor import OpenStudy

WORKER = Path(__file__).resolve().with_name("scripted_worker.py")

if __name__ == "__main__":
    assert OpenStudy.run.__kwdefaults__ is not None
    command: tuple[str, ...] = (sys.executable, str(WORKER))
    if "--ray" in sys.argv:
        # The nodes of a cluster have the environment that they were started with.
        command = ("/usr/bin/env", f"SCRIPT={os.environ.get('SCRIPT', '{}')}", *command)
    OpenStudy.run.__kwdefaults__["worker_command"] = command
    assert Mirror.__init__.__kwdefaults__ is not None
    if "MIRROR_SECONDS" in os.environ:
        Mirror.__init__.__kwdefaults__["interval_seconds"] = float(os.environ["MIRROR_SECONDS"])
    main()
