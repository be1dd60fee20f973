"""Lists the published optimizers that the comparisons of strategies have beside the project's own.

Each is a module of its own, imported only when it is asked for. NSGA-II and MO-ASHA need nothing
beyond the project's dependencies; the others are in requirements-peers.txt, for an environment of
their own: NePS allows no pandas 3 and one version of GPyTorch.

| strategy | method | stops early |
|---|---|---|
| `optuna_nsga2` | Optuna's NSGAIISampler with its population of 50 | no |
| `optuna_nsga2_10` | the same with a population of 10 | no |
| `moasha` | random configs and MO-ASHA, by promotion | yes |
| `primo` | PriMO of NePS, without priors: MO-ASHA, then a Gaussian process | at first |
| `primo_resampled` | the same with new weights of the objectives for each trial | at first |
| `smac` | SMAC3's random forest, ParEGO | no |
| `smac_hyperband` | the same with Hyperband | yes |

All are simulated by simulation.py, on one clock.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.study.space import Space
    from peers.base import Peer


class Entry(NamedTuple):
    """Where a peer is defined.

    Attributes:
        module: Of this package.
        function: Makes the peer from a space and a seed.
        label: On pages.
        colour: In figures.
        packages: What has to be installed beyond the project's dependencies.
    """

    module: str
    function: str
    label: str
    colour: str
    packages: tuple[str, ...] = ()


PEERS = {
    "optuna_nsga2": Entry("nsga2", "nsga2", "NSGA-II (Optuna)", "#b08900"),
    "optuna_nsga2_10": Entry("nsga2", "nsga2_small", "NSGA-II, population 10", "#d9b44a"),
    "moasha": Entry("moasha", "MoAsha", "random + MO-ASHA", "#3f3f46"),
    "primo": Entry("primo", "as_released", "PriMO (NePS)", "#d1477a", ("neps", "torch")),
    "primo_resampled": Entry(
        "primo", "resampled", "PriMO, resampled weights", "#e58fb0", ("neps", "torch")
    ),
    "smac": Entry("smac_parego", "full", "SMAC3, ParEGO", "#1593a5", ("smac", "ConfigSpace")),
    "smac_hyperband": Entry(
        "smac_parego", "hyperband", "SMAC3, ParEGO + Hyperband", "#74c3ce", ("smac", "ConfigSpace")
    ),
}
INSTALL = "pip install -r benchmarks/requirements-peers.txt"


def make_peer(name: str, space: Space, seed: int) -> Peer:
    """The peer of a name, which begins with no trial.

    Raises:
        SystemExit: A package that it needs is not installed.
    """
    entry = PEERS[name]
    try:
        module = importlib.import_module(f"peers.{entry.module}")
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in entry.packages:
            raise
        raise SystemExit(
            f"The strategy {name!r} needs the package {error.name!r}, which is not installed. In "
            f"an environment of its own, run: {INSTALL}"
        ) from error
    make: Callable[[Space, int], Peer] = getattr(module, entry.function)
    return make(space, seed)
