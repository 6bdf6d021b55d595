"""What XLA needs told: where an operation is computed otherwise than it reads. Knows arrays, and nothing of layers."""

from ._affine import affine as affine
from ._affine import affine_on_columns as affine_on_columns
from ._backend import compiled_apart as compiled_apart
from ._backend import on_cpu as on_cpu
from ._batching_rule import with_batching_rule as with_batching_rule
from ._fast_forms import may_stand_in as may_stand_in
from ._fast_forms import stands_for as stands_for
from ._fused_attention import fused_applies as fused_applies
from ._fused_attention import fused_attention as fused_attention
from ._hidden_scan import scan_inputs as scan_inputs
from ._hidden_scan import split_gates as split_gates
from ._known import is_compiling as is_compiling
from ._known import is_traced as is_traced
from ._known import known as known
from ._masked import where as where
from ._placement import carried as carried
from ._placement import check_off_mesh as check_off_mesh
from ._placement import may_specialize as may_specialize
from ._placement import scan as scan
from ._placement import within_shard_map as within_shard_map
from ._product import product as product
from ._segments import concatenate as concatenate
from ._segments import split as split
from ._units import inverse_unit as inverse_unit
from ._widened import widened as widened
