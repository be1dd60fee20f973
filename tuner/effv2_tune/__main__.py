"""Runs the command line: ``effv2-tune`` and ``python -m effv2_tune``."""

from __future__ import annotations

from effv2_tune.interruption import signals_kill


def main() -> None:
    """Run the command line and exit with its code."""
    signals_kill()
    # Only now: Ctrl-C during these imports would be a traceback.
    from effv2_tune.cli import main as run

    run()


if __name__ == "__main__":
    main()
