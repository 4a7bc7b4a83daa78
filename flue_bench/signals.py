"""Ctrl-C and SIGTERM, handled for a while in a way of one's own and then again as before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Handled:
    """A context in which a handler receives Ctrl-C and SIGTERM; no effect in threads, which may set none."""

    def __init__(self, handler: Handler, ignored: bool = True) -> None:
        """Note who handles the signals now.

        Args:
            handler: as ``signal.signal`` takes it.
            ignored: whether to handle a signal too that is ignored now.
        """
        of_main = threading.current_thread() is threading.main_thread()
        now = {number: signal.getsignal(number) for number in STOPPING if of_main}
        left = {None} if ignored else {None, signal.SIG_IGN}  # None: set outside Python, which cannot give it back
        self._before = {number: before for number, before in now.items() if before not in left}
        self._handler = handler

    def __enter__(self) -> None:
        """Set the handler."""
        for number in self._before:
            signal.signal(number, self._handler)

    def restore(self) -> None:
        """Set the handlers of before, which a handler may do as well: the next signal is theirs."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def __exit__(self, *exception: object) -> None:
        """Set the handlers of before."""
        self.restore()
