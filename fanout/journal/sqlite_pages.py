"""The rows of a damaged SQLite file, read page by page without SQLite (https://www.sqlite.org/fileformat2.html).

SQL cannot read beyond a damaged inner page, and needs the file's header. This module finds a row if its own page is
intact, whatever happened to the others; the caller decides whether its checksum is right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, pairwise
from pathlib import Path
from struct import unpack_from
from typing import BinaryIO

Value = int | float | str | bytes | None
IsWhole = Callable[[Sequence[Value]], bool]
Widths = tuple[int, int, int]
"""The number of columns of a row without a checksum, with one, and of the current version."""

_HEADER = 100  # octets of the file's header, in its first page
_PAGE_BYTES = 4096  # SQLite's default, for a file whose header is damaged
_PAGE_SIZES = tuple(2**power for power in range(9, 16))
_TABLE_LEAF = 0x0D
_BTREE = (0x02, 0x05, 0x0A, _TABLE_LEAF)
_POINTER_BYTES = 5  # octets of a page's entry in a pointer map: its kind and its parent
_ROOT, _FREE, _INNER = 1, 2, 5  # kinds
_INTEGERS = (1, 2, 3, 4, 6, 8)  # octets, by the serial type minus 1
_FIRST_BLOB = 12  # serial type; odd types from 13 on are texts


class _Unreadable(Exception):
    """The octets are not a page, or not a row."""


class SqlitePages:
    """The rows of a file, read without SQLite, page by page (https://www.sqlite.org/fileformat2.html).

    Pages that SQLite has freed are left out, because they may contain dropped rows. The pointer maps, which every file
    with ``auto_vacuum`` has, and the list of free pages name them.

    :ivar unreadable_rows: how many rows have wrong octets or a wrong checksum.
    :ivar unreadable_pages: how many pages in use are not a page of a table or an index.
    """

    def __init__(self, main: BinaryIO, wal: bytes) -> None:
        """
        :param main: the file.
        :param wal: its write-ahead log, whose pages replace those of the file.
        """
        self._main = main
        size = int.from_bytes(main.read(18)[16:], "big")
        self._size = size if size in _PAGE_SIZES else _PAGE_BYTES
        self._newer = dict(_logged_pages(wal, self._size))
        self._count = max([-(-main.seek(0, os.SEEK_END) // self._size), *self._newer])
        self._maps: dict[int, bytes] = {}
        self.unreadable_rows = self.unreadable_pages = 0

    def rows(self, checksum_at: int, columns: int, is_whole: IsWhole) -> Iterator[tuple[Value, ...]]:
        """The rows of the table, each with its checksum.

        :param checksum_at: index of the checksum among the columns; rows of the first version end before it.
        :param columns: number of columns of the table; rows of older versions end before or after the checksum.
        :param is_whole: whether the checksum of a row is right.
        """
        free, widths = self._free(), (checksum_at, checksum_at + 1, columns)
        for number in range(1, self._count + 1):
            if number in free:
                continue
            page, begin = self._page(number), _HEADER if number == 1 else 0
            kind = page[begin] if len(page) > begin else 0
            if kind == _TABLE_LEAF:
                yield from self._rows_of(page, begin, widths, is_whole)
            elif kind not in _BTREE and self._kind(number) in (_ROOT, _INNER):
                self.unreadable_pages += 1

    def _rows_of(self, page: bytes, begin: int, widths: Widths, is_whole: IsWhole) -> Iterator[tuple[Value, ...]]:
        count = int.from_bytes(page[begin + 3 : begin + 5], "big")
        for place in range(begin + 8, min(begin + 8 + 2 * count, len(page) - 1), 2):
            try:
                row = self._row(page, int.from_bytes(page[place : place + 2], "big"), widths)
            except (_Unreadable, IndexError, UnicodeDecodeError):
                self.unreadable_rows += 1
                continue
            if row is not None and not is_whole(row):
                self.unreadable_rows += 1
            elif row is not None:
                yield row

    def _row(self, page: bytes, at: int, widths: Widths) -> tuple[Value, ...] | None:
        """:return: None for a row of another table, which belongs to SQLite itself."""
        length, at = _variable(page, at)
        number, at = _variable(page, at)
        values = _values(self._payload(page, at, length))
        if len(values) not in widths:
            if len(values) in _OWN_COLUMNS:
                return None
            raise _Unreadable
        without_checksum, with_checksum, columns = widths
        checksum = (None,) if len(values) == without_checksum else ()
        return (number, *values[1:], *checksum, *("",) * (columns - max(with_checksum, len(values))))

    def _payload(self, page: bytes, at: int, length: int) -> bytes:
        """The octets of a row. The page contains the first ones; the others are in further pages."""
        if length <= self._size - 35:
            return page[at : at + length]
        least, most = (self._size - 12) * 32 // 255 - 23, self._size - 35
        here = least + (length - least) % (self._size - 4)
        here = here if here <= most else least
        pieces, left, following = [page[at : at + here]], length - here, page[at + here : at + here + 4]
        while left > 0:
            number = int.from_bytes(following, "big")
            if not 0 < number <= self._count:
                raise _Unreadable
            overflow = self._page(number)
            pieces.append(overflow[4 : 4 + left])
            left, following = left - (self._size - 4), overflow[:4]
        return b"".join(pieces)

    def _page(self, number: int) -> bytes:
        newer = self._newer.get(number)
        return newer or os.pread(self._main.fileno(), self._size, (number - 1) * self._size)

    def _kind(self, number: int) -> int:
        """The kind of a page according to its pointer map; 0 if the map cannot be read."""
        if number == 1:
            return _ROOT
        each = self._size // _POINTER_BYTES + 1
        position = (number - 2) % each
        if not position:
            return 0  # This page is a pointer map itself.
        place, found = (position - 1) * _POINTER_BYTES, number - position
        page = self._maps[found] = self._maps.get(found) or self._page(found)
        return page[place] if place < len(page) else 0

    def _free(self) -> set[int]:
        """The numbers of the free pages."""
        found = {number for number in range(3, self._count + 1) if self._kind(number) == _FREE}
        trunk = int.from_bytes(self._page(1)[32:36], "big")
        trunks: set[int] = set()
        while 1 < trunk <= self._count and trunk not in trunks and self._kind(trunk) in (0, _FREE):
            trunks.add(trunk)
            page = self._page(trunk)
            count = min(int.from_bytes(page[4:8], "big"), self._size // 4 - 2)
            leaves = (int.from_bytes(page[8 + 4 * each : 12 + 4 * each], "big") for each in range(count))
            found.update(leaf for leaf in leaves if self._kind(leaf) in (0, _FREE))
            trunk = int.from_bytes(page[:4], "big")
        return found | trunks


_OWN_COLUMNS = (2, 5)  # columns of sqlite_sequence and sqlite_schema


@contextmanager
def pages_of(path: str) -> Iterator[SqlitePages]:
    log_file = Path(path + "-wal")
    wal = log_file.read_bytes() if log_file.exists() else b""
    with Path(path).open("rb") as main:
        yield SqlitePages(main, wal)


def _variable(octets: bytes, at: int) -> tuple[int, int]:
    """An integer of 1 to 9 octets, and the position after it."""
    found = 0
    for each in range(8):
        octet = octets[at + each]
        found = found << 7 | octet & 0x7F
        if octet < 0x80:
            return found, at + each + 1
    found = found << 8 | octets[at + 8]
    return (found - 2**64 if found >= 2**63 else found), at + 9


def _values(payload: bytes) -> list[Value]:
    """The values of a row.

    :raises _Unreadable: the octets are not a row.
    """
    end, at = _variable(payload, 0)
    kinds = []
    while at < end:
        kind, at = _variable(payload, at)
        kinds.append(kind)
    bounds = list(accumulate(chain([end], map(_octets, kinds))))
    if at != end or bounds[-1] != len(payload):
        raise _Unreadable
    return [_value(kind, payload[begin:stop]) for kind, (begin, stop) in zip(kinds, pairwise(bounds), strict=True)]


def _octets(kind: int) -> int:
    """The octets that a value of a serial type has. Our rows do not contain numbers with a fraction."""
    if kind >= _FIRST_BLOB:
        return (kind - _FIRST_BLOB) // 2
    if 0 < kind <= len(_INTEGERS):
        return _INTEGERS[kind - 1]
    if kind in (0, 8, 9):
        return 0
    raise _Unreadable


def _value(kind: int, octets: bytes) -> Value:
    if kind >= _FIRST_BLOB:
        return octets.decode() if kind % 2 else octets
    if kind == 0:
        return None
    return kind - 8 if kind in (8, 9) else int.from_bytes(octets, "big", signed=True)


_WAL_HEADER, _FRAME_HEADER = 32, 24
_WAL_BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}


def _logged_pages(wal: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """The pages of the transactions in a write-ahead log, in order, up to the first damaged one."""
    order = _WAL_BYTE_ORDERS.get(int.from_bytes(wal[:4], "big"))
    if order is None or len(wal) < _WAL_HEADER:
        return
    sums = _add((0, 0), wal[:24], order)
    waiting: list[tuple[int, bytes]] = []
    for at in range(_WAL_HEADER, len(wal) - size - _FRAME_HEADER + 1, size + _FRAME_HEADER):
        page = wal[at + _FRAME_HEADER : at + _FRAME_HEADER + size]
        sums = _add(_add(sums, wal[at : at + 8], order), page, order)
        number, commit, *rest = unpack_from(">6I", wal, at)
        if rest[:2] != [*unpack_from(">2I", wal, 16)] or tuple(rest[2:]) != sums:
            return
        waiting.append((number, page))
        if commit:
            yield from waiting
            waiting.clear()


def _add(sums: tuple[int, int], octets: bytes, order: str) -> tuple[int, int]:
    """SQLite's checksum of a write-ahead log, continued."""
    first, second = sums
    words: Iterable[int] = iter(unpack_from(f"{order}{len(octets) // 4}I", octets))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
