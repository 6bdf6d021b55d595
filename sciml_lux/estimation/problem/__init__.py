"""What is fitted to what: experiments, the model that predicts them, how they scatter, and what is known beforehand."""

from ._arrays import Arrays as Arrays
from ._experiment import Data as Data
from ._experiment import Experiment as Experiment
from ._problem import Problem as Problem
from ._simulate import Predicted as Predicted
from ._terms import Terms as Terms
from ._terms import filled as filled
