"""The vector by name: selection, partition, ties, transplants, labels."""

from ._compute_dtype import compute_dtype as compute_dtype
from ._partition import combine as combine
from ._partition import partition as partition
from ._selection import Selection as Selection
from ._selection import block as block
from ._selection import label_index as label_index
from ._selection import labels as labels
from ._selection import per_group as per_group
from ._selection import scalar_labels as scalar_labels
from ._selection import select as select
from ._tie import Transposed as Transposed
from ._tie import tie as tie
from ._transplant import TransplantReport as TransplantReport
from ._transplant import transplant as transplant
