"""``python -m effv2_tune``: the command line."""

from effv2_tune.cli import main

if __name__ == "__main__":
    main()
