"""Loss functions: `loss(predictions, targets, *, agg="mean", weights=None, mask=None, ...)`, each a plain function.

    def loss(ps, st, batch):
        x, y = batch
        predictions, st = model(x, ps, st)
        return lux.losses.squared_error(predictions, y), st

**Arguments** of all of them: `predictions` and `targets` of equal shape, except where classes are given as labels; nothing is
broadcast. `agg`: `"mean"`, `"sum"` or `"none"`. `weights`: numbers, 0 or more, and `mask`: booleans, True for what counts; both have the
shape of the losses, which is what `agg="none"` returns: that of the predictions, without the axis of classes where there is one.

- `"none"`: each loss times its weight; 0 where masked.
- `"sum"`: their sum.
- `"mean"`: their sum divided by the sum of the weights that are not masked; without weights, by the number of elements that are
  not masked. Where that is 0 (all masked, no elements), the mean is 0, and so is its gradient.

A masked element is as if it were not there: prediction, target and weight may be NaN or infinite, without harm to the value or the
gradient. So is one whose weight is 0, except that the gradient of this weight is what more of it would add (0 where the loss is not
finite).

Derivatives of any order are finite wherever those of the formula are: at probabilities of 0 and 1, at infinite logits, where the
prediction is the target. At a kink they lie between those on its sides.

**Returns** the dtype of the predictions, to which targets and weights are converted; 16-bit numbers are computed with in 32 bits.

**Errors:** `ShapeError` for shapes that differ; `LayerError` for an option out of its range and for dtypes that make no sense.
"""

from ._classification import binary_cross_entropy as binary_cross_entropy
from ._classification import binary_focal as binary_focal
from ._classification import cross_entropy as cross_entropy
from ._classification import dice as dice
from ._classification import focal as focal
from ._classification import hinge as hinge
from ._classification import squared_hinge as squared_hinge
from ._divergence import kl_divergence as kl_divergence
from ._divergence import siamese_contrastive as siamese_contrastive
from ._regression import absolute_error as absolute_error
from ._regression import gaussian_nll as gaussian_nll
from ._regression import huber as huber
from ._regression import log_cosh as log_cosh
from ._regression import poisson as poisson
from ._regression import quantile as quantile
from ._regression import smooth_l1 as smooth_l1
from ._regression import squared_error as squared_error
from ._regression import squared_logarithmic_error as squared_logarithmic_error
