"""The layer contract: `y, st = layer(x, ps, st)`. Small; everything rests on it."""

from ._call import as_params as as_params
from ._call import as_state as as_state
from ._container import AbstractContainer as AbstractContainer
from ._container import child_key as child_key
from ._container import layer_paths as layer_paths
from ._container import with_fields as with_fields
from ._declared import declared_parameters as declared_parameters
from ._declared import declared_states as declared_states
from ._declared import layout as layout
from ._declared import parameter_length as parameter_length
from ._declared import state_length as state_length
from ._layer import AbstractLayer as AbstractLayer
from ._modes import differentiation_mode as differentiation_mode
from ._modes import failure_mode as failure_mode
from ._setup import check_layer as check_layer
from ._setup import output_shape as output_shape
from ._setup import setup as setup
from ._setup import setup_batch as setup_batch
from ._source import describe as describe
from ._state import State as State
from ._state import Training as Training
from ._state import test_mode as test_mode
from ._state import train_mode as train_mode
from ._state import update_state as update_state
