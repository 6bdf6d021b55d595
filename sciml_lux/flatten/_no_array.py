"""What parameters and state say where an array was expected: they hold arrays by name, and are none themselves."""

from typing import Any, ClassVar, NoReturn

import jax
import numpy as np

from .._errors import ParameterError

_OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "matmul": "@",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
}
# What people take parameters to be an operand of.
_OPERANDS = (int, float, complex, list, tuple, type(None), np.ndarray, np.generic, jax.Array)
_NO_NEW_VECTOR = ("<", "<=", ">", ">=", "@")
# What people look for in an array, for an error that says where it is.
ATTRIBUTES = frozenset(
    [
        "T",
        "at",
        "astype",
        "dtype",
        "flatten",
        "max",
        "mean",
        "min",
        "ndim",
        "ravel",
        "reshape",
        "shape",
        "size",
        "std",
        "sum",
    ]
)


class NotAnArray:
    """Refuses arithmetic, order, assignment and conversion to an array, with what to write instead.

    `_called`: a name for one; `_numbers`: how to write the arrays themselves; `_expression`: how to write an operation with them.
    """

    __slots__ = ()
    _called: ClassVar[str]
    _numbers: ClassVar[str]

    @staticmethod
    def _expression(symbol: str, other: Any = None, reflected: bool = False) -> str:
        """What to write instead of `self symbol other`, the other way round if reflected, or of `symbol self` for `-` and `abs`."""
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise ParameterError(
            f"np.{ufunc.__name__} takes arrays, got {type(self).__name__}, which holds arrays by name; write {self._numbers}"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ParameterError(f"{type(self).__name__} is no array, it holds arrays by name; write {self._numbers}")

    def __jax_array__(self) -> NoReturn:
        self.__array__()

    def __setitem__(self, name: Any, value: Any) -> NoReturn:
        name = repr(name) if isinstance(name, str) else "path"
        raise ParameterError(
            f"{type(self).__name__} is immutable; write {self._called}.set({name}, value), which returns a new one"
        )

    def __delitem__(self, name: Any) -> NoReturn:
        raise ParameterError(
            f"{type(self).__name__} is immutable, and has the names that its layer declares; take {name!r} out of the layer"
        )

    def __neg__(self) -> NoReturn:
        raise ParameterError(f"{type(self).__name__} is no array; write {self._expression('-')}")

    def __abs__(self) -> NoReturn:
        raise ParameterError(f"{type(self).__name__} is no array; write {self._expression('abs')}")


def operation(symbol: str, element: str, other: str | None, reflected: bool = False) -> str:
    """An operation in Python: `element * other`, `other * element`, or, without `other`, `-element`, `abs(element)`."""
    if other is None:
        return f"-{element}" if symbol == "-" else f"{symbol}({element})"
    return f"{other} {symbol} {element}" if reflected else f"{element} {symbol} {other}"


def _refusal(symbol: str, reflected: bool) -> Any:
    def refuse(self: Any, other: Any) -> Any:
        if not isinstance(other, (*_OPERANDS, NotAnArray)):
            return NotImplemented  # which may know how to take trees apart, as equinox's omega does
        what = type(self).__name__
        got = f"{type(other).__name__} {symbol} {what}" if reflected else f"{what} {symbol} {type(other).__name__}"
        raise ParameterError(f"{what} is no array, got {got}; write {self._expression(symbol, other, reflected)}")

    return refuse


for _name, _symbol in _OPERATORS.items():
    setattr(NotAnArray, f"__{_name}__", _refusal(_symbol, reflected=False))
    if _symbol not in _NO_NEW_VECTOR or _symbol == "@":
        setattr(NotAnArray, f"__r{_name}__", _refusal(_symbol, reflected=True))
