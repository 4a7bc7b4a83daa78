"""Figures as tables for analysis: Arrow always, pandas where it is installed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from flue_bench.errors import FlueBenchError

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Tabular(ABC):
    """Something that can be shown as a table of figures."""

    @abstractmethod
    def to_arrow(self) -> pyarrow.Table:
        """Return the figures as an Arrow table."""

    def to_pandas(self) -> pandas.DataFrame:
        """Return the figures of ``to_arrow`` as a pandas data frame.

        Raises:
            FlueBenchError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401  # pyarrow's own message does not say what to do
        except ImportError:
            raise FlueBenchError(
                "A data frame needs pandas, which is not installed: pip install pandas, or take to_arrow()."
            ) from None
        return self.to_arrow().to_pandas()
