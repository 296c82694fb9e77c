"""Compression of HTTP bodies as ClickHouse does it."""

import gzip
import struct

import lz4.block
import lz4.frame
import zstandard

from engine import QueryError

# A frame of `decompress=1`: 16 bytes checksum, then a 9-byte head (method, compressed size with the head,
# size).
_CHECKSUM = 16
_HEAD = struct.Struct("<BII")
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90


def decode(body, encoding, framed):
    """The plain bytes of a request body, sent with this Content-Encoding and, if `framed`, in native frames."""
    try:
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "lz4":
            body = lz4.frame.decompress(body)
        elif encoding == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        elif encoding not in (None, "", "identity"):
            raise QueryError(49, f"Code: 49. DB::Exception: Unknown HTTP content encoding: {encoding}. (LOGICAL_ERROR)")
        return b"".join(_unframe(body)) if framed else body
    except (OSError, RuntimeError, EOFError, ValueError, struct.error, zstandard.ZstdError) as error:
        raise QueryError(271, f"Code: 271. DB::Exception: Cannot decompress the request body: {error}. (CANNOT_DECOMPRESS)") from error


def encode(body, accepted):
    """The answer in the first encoding that the client accepts and we have: (encoding or None, bytes)."""
    for encoding in (item.split(";")[0].strip() for item in accepted.split(",")):
        if encoding == "lz4":
            return encoding, lz4.frame.compress(body)
        if encoding == "zstd":
            return encoding, zstandard.ZstdCompressor(level=1).compress(body)
        if encoding == "gzip":
            return encoding, gzip.compress(body, 1)
    return None, body


def _unframe(body):
    at = 0
    while at < len(body):
        method, packed, size = _HEAD.unpack_from(body, at + _CHECKSUM)
        start, end = at + _CHECKSUM + _HEAD.size, at + _CHECKSUM + packed
        if end > len(body) or packed < _HEAD.size:
            raise ValueError(f"frame at byte {at} is cut short")
        data = body[start:end]
        if method == _LZ4:
            yield lz4.block.decompress(data, uncompressed_size=size)
        elif method == _ZSTD:
            yield zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        elif method == _NONE:
            yield data
        else:
            raise ValueError(f"frame at byte {at} has unknown method {method:#x}")
        at = end
