"""Parameters by name: by their whole path, or by the end of it that only one of them has."""

from collections.abc import Iterable

from .._errors import ParameterError, unknown_name


def resolve(name: str, paths: Iterable[str], what: str) -> str:
    """The path that `name` means. **Errors:** `ParameterError`, which begins with `what`, for a name of none or of several."""
    paths = list(paths)
    if name in paths:
        return name
    found = [path for path in paths if path.endswith(f".{name}")]
    if len(found) > 1:
        raise ParameterError(
            f"{what}: {name} is the name of several parameters, {', '.join(found)}; write the whole path of one"
        )
    if not found:
        raise ParameterError(f"{what}: {unknown_name('parameter', name, paths)}")
    return found[0]
