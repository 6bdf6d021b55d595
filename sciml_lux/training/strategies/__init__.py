"""Training on hard data: long, oscillating, chaotic, short or full of holes. Functions over any adapter of a differential equation.

An adapter is a layer with `solve(y0, ps, st, ts=..., t0=...)`, which returns `(solution, st)` with the states at `ts` in
`solution.ys`. A strategy is a loss, or data, for `lux.fit`:

    whole = lux.training.strategies.series(ts, ys)                       # NaN where nothing was observed
    loss = lux.training.strategies.TrajectoryLoss(node)
    lux.fit(loss, ps, st, optax.adam(1e-2), data=growing_horizon(whole, ...))
"""

from ._augmented_lagrangian import fit_augmented_lagrangian as fit_augmented_lagrangian
from ._collocate import Collocation as Collocation
from ._collocate import collocate_kernel as collocate_kernel
from ._collocate import collocate_spline as collocate_spline
from ._collocation_loss import CollocationLoss as CollocationLoss
from ._ensemble import FittedEnsemble as FittedEnsemble
from ._ensemble import fit_ensemble as fit_ensemble
from ._horizon import growing_horizon as growing_horizon
from ._multiple_shooting import MultipleShooting as MultipleShooting
from ._multiple_shooting import ShootingLoss as ShootingLoss
from ._series import Series as Series
from ._series import series as series
from ._series import stack_series as stack_series
from ._trajectory import TrajectoryLoss as TrajectoryLoss
from ._windows import minibatches as minibatches
from ._windows import windows as windows
