"""Writes the golden batches with kafka-python's own encoder. See README.md."""

import json
from pathlib import Path

from kafka.record import default_records
from kafka.record.default_records import DefaultRecordBatchBuilder

HERE = Path(__file__).parent
BASE = 1_700_000_000_000


def record(timestamp, key, value, headers=()):
    """A record as records.json spells it: texts are UTF-8, `hex` and `repeat` save space."""
    return {"timestamp": timestamp, "key": key, "value": value, "headers": list(headers)}


RECORDS = [
    record(BASE, "key", "value"),
    record(BASE + 1, None, "no key"),
    record(BASE + 1, "tombstone", None),
    record(BASE + 2, "", ""),
    record(BASE - 5_000, "earlier", "than the first record"),
    record(BASE + 3, "grüße", "世界 🌊 Ω"),
    record(BASE + 4, "headers", "several", [
        ["trace", "0af7"],
        ["trace", "again, same name"],
        ["null", None],
        ["empty", ""],
        ["", "a name without characters"],
        ["größe", "世界"],
    ]),
    record(BASE + 5, "bytes", {"hex": bytes(range(256)).hex()}),
    record(BASE + 86_400_000, "long", {"repeat": "highwater ", "times": 4000}),
    record(BASE + 6, None, None),
]

PLAIN = (-1, -1, -1)
IDEMPOTENT = (4711, 2, 17)
BATCHES = {
    "none": (0, PLAIN),
    "gzip": (1, PLAIN),
    "snappy": (2, PLAIN),
    "lz4": (3, PLAIN),
    "zstd": (4, PLAIN),
    "none-idempotent": (0, IDEMPOTENT),
    "snappy-raw": (2, PLAIN),
}


def content(value):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        return value["repeat"].encode() * value["times"]
    return None


def build(codec, producer):
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=False,
        producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2],
        batch_size=1 << 20)
    for offset, entry in enumerate(RECORDS):
        headers = [(name, content(value)) for name, value in entry["headers"]]
        key, value = content(entry["key"]), content(entry["value"])
        assert builder.append(offset, entry["timestamp"], key, value, headers)
    return bytes(builder.build())


def main():
    framed = default_records.snappy_encode
    for name, (codec, producer) in BATCHES.items():
        raw = name.endswith("-raw")
        default_records.snappy_encode = (
            (lambda data: framed(data, xerial_compatible=False)) if raw else framed)
        (HERE / f"{name}.bin").write_bytes(build(codec, producer))
    text = json.dumps(RECORDS, ensure_ascii=False, indent=1)
    (HERE / "records.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
