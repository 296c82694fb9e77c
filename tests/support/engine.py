"""The ClickHouse engine in this process, used as a server uses it: many queries at once, each with its own settings.

chDB keeps settings and the current database on a connection and serialises the queries of one. So each
running query borrows a connection from a pool, sets what it needs, and puts it back as new.
"""

import contextlib
import os
import re
import tempfile
import threading

import chdb
from chdb import session

# Older releases have another one, of which the errors of queries are not.
ChdbError = getattr(chdb, "ChdbError", RuntimeError)

# Inserted data go through a file: inline binary data would be cut at their first empty line.
SPOOL = "/dev/shm" if os.path.isdir("/dev/shm") else None
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)
VALUES = re.compile(r"\bVALUES\s*$", re.IGNORECASE)
BAD_REQUEST = {6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 321, 376, 427, 675, 676}
NOT_FOUND = {46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 511}
OTHER_STATUS = {48: 501, 76: 503, 159: 408, 164: 500, 209: 503, 439: 503, 497: 403, 516: 403}


class QueryError(Exception):
    """A refusal of the engine: its ClickHouse error code and its text, from `Code: …` to the code's name."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = text

    def status(self):
        """The HTTP status that ClickHouse answers with for this code."""
        if self.code in BAD_REQUEST:
            return 400
        return 404 if self.code in NOT_FOUND else OTHER_STATUS.get(self.code, 500)


class OldConnection:
    """Releases of chDB before 2 have no connections: each query is one of its own, with what was set before it, and one runs at a time."""

    def __init__(self, folder):
        self._session = session.Session(folder)
        self._session.query("CREATE DATABASE IF NOT EXISTS default")
        self._lock = threading.RLock()
        self._before = []

    def __enter__(self):
        self._lock.acquire()
        self._before = []

    def __exit__(self, *_):
        self._lock.release()

    def query(self, text, default_format="CSV"):
        if isinstance(text, bytes):
            text = text.decode()
        if text.startswith(("USE ", "SET ")):
            self._before.append(text)
            return None
        return self._session.query(";\n".join([*self._before, text]), default_format)


class Engine:
    """One data folder. chDB allows one a process."""

    def __init__(self, folder):
        self._folder = folder
        # One, which all share, or none.
        self._only = None if hasattr(chdb, "connect") else OldConnection(folder)
        self._idle = [] if self._only else [chdb.connect(folder)]
        self._lock = threading.Lock()
        with self._connection(None, {}) as connection:
            self.version = connection.query("SELECT version()", "TabSeparatedRaw").bytes().decode().strip()

    def query(self, text, database, settings, default_format):
        """Runs a query; returns the answer's bytes, in its FORMAT or else the default one."""
        with self._connection(database, settings) as connection:
            return connection.query(text, default_format).bytes()

    def insert(self, statement, data, database, settings):
        """Runs `INSERT … FORMAT x` with the data apart, or a whole insert given as data with an empty statement."""
        named = FORMAT.search(statement)
        if not statement or VALUES.search(statement) or not named:
            # Text that the engine can read inline: VALUES, SELECT, or a format with its rows after it.
            with self._connection(database, settings) as connection:
                return connection.query((statement + " ").encode() + data if statement else data).bytes()
        with tempfile.NamedTemporaryFile(dir=SPOOL, prefix="weir-insert-") as spool:
            spool.write(data)
            spool.flush()
            # Said with the statement: a query for each setting would cost the engine more than the insert.
            said = ", ".join(f"{_setting(name)} = {_literal(value)}" for name, value in settings.items())
            source = f"FROM INFILE '{spool.name}' COMPRESSION 'none' {'SETTINGS ' + said if said else ''}"
            with self._connection(database, {}) as connection:
                return connection.query(f"{statement[:named.start()]} {source} FORMAT {named[1]}").bytes()

    @contextlib.contextmanager
    def _connection(self, database, settings):
        if self._only:
            with self._only, self._prepared(self._only, database, settings):
                yield self._only
            return
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = chdb.connect(self._folder)
        try:
            with self._prepared(connection, database, settings):
                yield connection
        finally:
            if "readonly" in settings:
                # It cannot be taken back: a connection that only reads stays so.
                connection.close()
            else:
                with self._lock:
                    self._idle.append(connection)

    @contextlib.contextmanager
    def _prepared(self, connection, database, settings):
        applied = []
        try:
            connection.query(f"USE {_identifier(database or 'default')}")
            for name, value in settings.items():
                connection.query(f"SET {_setting(name)} = {_literal(value)}")
                applied.append(name)
            yield
        except (ChdbError, RuntimeError) as error:
            text = str(error).strip()
            code = re.search(r"Code: (\d+)", text)
            raise QueryError(int(code[1]) if code else 1001, text[code.start():] if code else f"Code: 1001. {text}") from error
        finally:
            for name in applied:
                if not name.startswith("param_") and "readonly" not in applied:
                    connection.query(f"SET {name} = DEFAULT")


def _setting(name):
    if not re.fullmatch(r"\w+", name):
        raise QueryError(115, f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)")
    return name


def _identifier(name):
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(value):
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
