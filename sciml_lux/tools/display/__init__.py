"""Models as tables: what they are made of is what `print` shows; `summary` adds what they do with an input, and what it costs."""

from ._summary import LayerSummary as LayerSummary
from ._summary import Summary as Summary
from ._summary import summary as summary
