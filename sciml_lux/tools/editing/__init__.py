"""Walking over a model and changing a part of it. Everything is named by path, as in `encoder.layer_0`."""

from ._carry import carry_over as carry_over
from ._map import layer_map as layer_map
from ._storage import freeze as freeze
from ._storage import share_parameters as share_parameters
from ._storage import unfreeze as unfreeze
from ._structure import insert_layer as insert_layer
from ._structure import remove_layer as remove_layer
from ._structure import replace_layer as replace_layer
