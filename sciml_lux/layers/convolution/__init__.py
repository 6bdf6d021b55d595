"""Convolutions, pooling and resampling of series, images and volumes, with the channels last."""

from ._conv import Conv as Conv
from ._conv import ConvTranspose as ConvTranspose
from ._pad import Pad as Pad
from ._pixel_shuffle import PixelShuffle as PixelShuffle
from ._pixel_shuffle import PixelUnshuffle as PixelUnshuffle
from ._pool import LpPool as LpPool
from ._pool import MaxPool as MaxPool
from ._pool import MeanPool as MeanPool
from ._pool_to_size import AdaptiveLpPool as AdaptiveLpPool
from ._pool_to_size import AdaptiveMaxPool as AdaptiveMaxPool
from ._pool_to_size import AdaptiveMeanPool as AdaptiveMeanPool
from ._pool_to_size import GlobalLpPool as GlobalLpPool
from ._pool_to_size import GlobalMaxPool as GlobalMaxPool
from ._pool_to_size import GlobalMeanPool as GlobalMeanPool
from ._upsample import Upsample as Upsample
