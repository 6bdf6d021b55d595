"""Cells with a carry, and what runs them over a sequence."""

from ._cell import AbstractRecurrentCell as AbstractRecurrentCell
from ._cells import GRUCell as GRUCell
from ._cells import LSTMCell as LSTMCell
from ._cells import RNNCell as RNNCell
from ._recurrence import Bidirectional as Bidirectional
from ._recurrence import Recurrence as Recurrence
from ._stateful_cell import StatefulRecurrentCell as StatefulRecurrentCell
