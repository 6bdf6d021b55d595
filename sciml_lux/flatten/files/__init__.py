"""Parameters as files, and within programs that are saved."""

from ._file import load as load
from ._file import save as save
from ._file import write_atomically as write_atomically
from ._serialize import register_flag as register_flag
from ._serialize import register_tree as register_tree
