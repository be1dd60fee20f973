# The commands of development; `just` alone is what to run before a commit.
# `just` is in the dependency group dev (PyPI: rust-just).

default: lint fast

# Format, lint, types, import contracts, spelling
lint:
    ruff format --check .
    ruff check .
    mypy
    lint-imports
    codespell

# Tests without training
fast *arguments:
    pytest -m "not slow" {{ arguments }}

# Every test but the longest, in two processes: each takes up to 4 GB
test *arguments:
    pytest -n 2 --dist worksteal -m "not long" {{ arguments }}

# The longest: other backends and more cases of what shorter tests hold
long *arguments:
    pytest -n 2 --dist worksteal -m long {{ arguments }}
    KERAS_BACKEND=jax pytest -n 2 tests/training/test_folds.py

# Every test, with the coverage of this process (what workers run in processes of their own is not counted)
coverage:
    pytest -n 2 --dist loadfile --durations=40 --cov=effv2_tune --cov-report=term:skip-covered --cov-fail-under=88

# The documentation, into site/ (after a change of commands or keys: python docs/generate.py)
docs:
    python docs/build_site.py
    zensical build --clean --strict

# A search on the digits: about eight minutes on two cores
demo:
    effv2-tune run quickstart
