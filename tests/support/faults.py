"""The fault that the ClickHouse front is told to show, and to which requests.

An order is a JSON object: `mode`, and optionally
`times`        how many requests it hits before it ends by itself (default: until the next order)
`match`        a regular expression; only requests with a match in their SQL text are hit
`delay_ms`     for delay (default 1000)
`code`         ClickHouse error code for http500 and exception_in_200 (default 252, TOO_MANY_PARTS)
`message`      its text
`status`       for page (default 413)
`larger_than`  for page: only bodies of more bytes than this are refused (default 0)
`after_bytes`  for cut: at least so much of an insert's body is read before the reset (default 0)

Modes: `ok`; `delay` answers late; `refuse` closes the listener and every connection (connection refused) until the
next order; `cut` resets the connection, nothing takes effect; `http500` status 500 with `code`, nothing takes effect;
`exception_in_200` the error as a block in an answer of status 200, nothing takes effect; `lost_answer` the request
takes effect, then the connection is reset without an answer; `discard` reads inserts, answers as if they had taken
effect, and keeps nothing (a null sink, for measurements); `page` answers with a page of HTML, as a proxy in front of the
server does, nothing takes effect.
"""

import re
import threading
from dataclasses import dataclass

MODES = ("ok", "delay", "refuse", "cut", "http500", "exception_in_200", "lost_answer", "discard", "page")
NAMES = {16: "NO_SUCH_COLUMN_IN_TABLE", 33: "CANNOT_READ_ALL_DATA", 60: "UNKNOWN_TABLE", 81: "UNKNOWN_DATABASE",
         117: "INCORRECT_DATA", 159: "TIMEOUT_EXCEEDED", 202: "TOO_MANY_SIMULTANEOUS_QUERIES", 209: "SOCKET_TIMEOUT",
         210: "NETWORK_ERROR", 241: "MEMORY_LIMIT_EXCEEDED", 242: "TABLE_IS_READ_ONLY", 252: "TOO_MANY_PARTS",
         319: "UNKNOWN_STATUS_OF_INSERT", 999: "KEEPER_EXCEPTION"}


@dataclass
class Fault:
    """One order, checked."""

    mode: str
    times: int | None = None
    match: str = ""
    delay_ms: int = 1000
    code: int = 252
    message: str = "made by the test"
    after_bytes: int = 0
    status: int = 413
    larger_than: int = 0

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; known: {', '.join(MODES)}")
        self.pattern = re.compile(self.match)

    def text(self):
        """The error as ClickHouse words it, without the version."""
        return f"Code: {self.code}. DB::Exception: {self.message}. ({NAMES.get(self.code, 'UNKNOWN_EXCEPTION')})"


class Faults:
    """The current fault; safe to use from every connection's thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._fault = Fault("ok")

    @property
    def refusing(self):
        return self._fault.mode == "refuse"

    def set(self, order):
        """Replaces the fault; raises TypeError or ValueError on an order it does not understand."""
        fault = Fault(**order)
        with self._lock:
            self._fault = fault

    def take(self, query):
        """The fault that this request must show, or None. Counts it."""
        with self._lock:
            fault = self._fault
            if fault.mode in ("ok", "refuse") or fault.times == 0 or not fault.pattern.search(query):
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault
