"""The progress bar of `fit`, which is optional."""

from typing import Any


class _Silent:
    def update(self, steps: int = 1) -> None:
        pass

    def set_postfix(self, **values: Any) -> None:
        pass

    def close(self) -> None:
        pass


def progress_bar(progress: bool | None, total: int) -> Any:
    """A tqdm bar over epochs, or something silent with its methods.

    Args:
        progress: True for a bar, False for none, None for one if tqdm is installed.
        total: number of epochs.

    Returns:
        An object with `update`, `set_postfix` and `close`.

    Raises:
        ImportError: if `progress` is True and tqdm is not installed.
    """
    if progress is False:
        return _Silent()
    try:
        from tqdm import tqdm
    except ImportError as error:
        if progress is None:
            return _Silent()
        raise ImportError(
            "progress=True needs tqdm: pip install 'fixproj[nn]' or progress=False."
        ) from error
    return tqdm(total=total, unit="epoch")
