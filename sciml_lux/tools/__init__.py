"""What looks at models, takes them apart, or brings them from elsewhere: display, debugging, editing, porting, foreign modules."""

from .debugging import Debug as Debug
from .debugging import debug as debug
from .display import LayerSummary as LayerSummary
from .display import Summary as Summary
from .display import summary as summary
from .editing import carry_over as carry_over
from .editing import freeze as freeze
from .editing import insert_layer as insert_layer
from .editing import layer_map as layer_map
from .editing import remove_layer as remove_layer
from .editing import replace_layer as replace_layer
from .editing import share_parameters as share_parameters
from .editing import unfreeze as unfreeze
from .foreign import from_equinox as from_equinox
from .foreign import from_flax as from_flax
from .foreign import from_pytree as from_pytree
from .porting import from_torch as from_torch
from .porting import to_torch as to_torch
