"""Writes test/files/golden/*.parquet: the same five rows under four codecs, in row groups of two.

Usage: pip install pyarrow, then python scripts/golden/parquet.py
"""
import datetime
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

TARGET = pathlib.Path(__file__).resolve().parents[2] / "test" / "files" / "golden"


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    table = pa.table({
        "size": pa.array([1.5, None, -2.0, 4.0, 5.0]),
        "count": pa.array([1, 2, 3, 4, 2**40], pa.int64()),
        "name": ["a", "b", None, "d", "é"],
        "ok": [True, False, True, None, True],
        "at": pa.array([datetime.datetime(2026, 1, 1 + day) for day in range(5)], pa.timestamp("ms")),
        "vector": pa.array([[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0], [7.0, 8.0]]),
    })
    for codec in ("none", "snappy", "gzip", "zstd"):
        pq.write_table(table, TARGET / f"five-rows-{codec}.parquet", compression=codec, row_group_size=2)


main()
