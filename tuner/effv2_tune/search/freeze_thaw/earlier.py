"""Expects of configs what their curves came to in an earlier study, as its model predicts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.search.freeze_thaw.curves import curve_data
from effv2_tune.search.freeze_thaw.fitting import fit
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.kernel import Points

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.history import History
    from effv2_tune.search.freeze_thaw.kernel import Floats

#: Observations of an earlier study that its model is conditioned on.
_MOST = 120
#: Quality as the models see it has a standard deviation of about 1.
_LARGEST = 2.5


@dataclass(frozen=True)
class EarlierEnds:
    """An expectation: see `expectations`. 0 where the earlier study says nothing."""

    posterior: Posterior

    @classmethod
    def of(cls, history: History) -> EarlierEnds:
        """By a model of the curves of the earlier study, of one observation at least."""
        data = curve_data(history.trials, history.observations, _MOST)
        hyper = fit(data.points, data.values, data.noise, seed=0)
        return cls(Posterior.given(hyper, data.points, data.values, data.noise))

    def at(self, configs: Floats) -> Floats:
        """The mean at the ends of configs [m, d]: [m], on the earlier study's own scale.

        Further coordinates than those of the earlier study are ignored.
        """
        known = configs[:, : self.posterior.points.configs.shape[1]]
        mean, _ = self.posterior.predict(Points.ends(known))
        return np.clip(mean, -_LARGEST, _LARGEST)
