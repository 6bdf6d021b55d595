"""Convolutions and their derivatives, of every order, as XLA's CPU backend is fast with them."""

from ._correlate import correlate as correlate
from ._correlate import spread as spread
from ._window import Padding as Padding
from ._window import Pairs as Pairs
from ._window import PerAxis as PerAxis
from ._window import Sizes as Sizes
from ._window import Window as Window
from ._window import explicit_padding as explicit_padding
from ._window import one_batch_axis as one_batch_axis
from ._window import per_axis as per_axis
from ._window import unpadded as unpadded
from ._window import window_over as window_over
