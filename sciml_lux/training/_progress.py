"""The progress bar of a fit, drawn by the host between chunks of steps."""

from types import TracebackType
from typing import Any


class Progress:
    """A bar with the number of steps, the rate and the loss, or whatever else is lowered; nothing at all if it is not wanted.

    **Errors:** `ImportError`, naming the extra, if it is wanted and tqdm is not installed.
    """

    def __init__(self, wanted: bool, title: str, steps: int | None, of: str = "loss") -> None:
        self._bar: Any = None
        self._of = of
        if wanted:
            try:
                from tqdm.auto import tqdm  # an extra
            except ImportError as error:
                raise ImportError("progress=True draws with tqdm; write pip install 'sciml-lux[progress]'") from error
            self._bar = tqdm(total=steps, desc=title, unit="step", dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, steps: int, loss: float) -> None:
        """Draws `steps` more steps, the last with this loss."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._of} {loss:.4g}", refresh=False)
            self._bar.update(steps)
