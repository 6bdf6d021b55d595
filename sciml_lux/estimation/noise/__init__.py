"""How measurements scatter around what a model predicts: the densities of noise, each a small class.

noise={"hare": 2.0}                              # normal, of a standard deviation that is known
noise={"hare": "sigma_hare"}                     # normal, of one that is estimated: the parameter of that name
noise={"hare": est.noise.LogNormal("sigma")}
noise={"hare": est.noise.Normal(lambda predicted, ps: ps.floor + ps.share * predicted)}
"""

from ._families import LogNormal as LogNormal
from ._families import NegativeBinomial as NegativeBinomial
from ._families import Normal as Normal
from ._families import Poisson as Poisson
from ._families import StudentT as StudentT
from ._families import as_noise as as_noise
from ._noise import AbstractNoise as AbstractNoise
