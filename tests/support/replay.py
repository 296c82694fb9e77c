"""Writes the recorded records of the real SkyWalking Java agent 9.4.0 into Kafka, to play with.

    python replay.py --bootstrap 127.0.0.1:9092

Each record goes to its topic and partition as it was recorded: topics need three partitions, event times are those of
the recording. Prints how many records each topic got.
"""

import argparse
import base64
import collections
import gzip
import json
import os

from confluent_kafka import Producer

RECORDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testdata", "skywalking-java-9.4.0.jsonl.gz")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    options = parser.parse_args()
    written, failed = collections.Counter(), []

    def delivered(error, message):
        if error:
            failed.append(f"{message.topic()}/{message.partition()}: {error}")
        else:
            written[message.topic()] += 1

    producer = Producer({"bootstrap.servers": options.bootstrap, "message.timeout.ms": 20000})
    with gzip.open(RECORDS, "rt") as lines:
        for record in map(json.loads, lines):
            producer.produce(record["topic"], base64.b64decode(record["value"]), key=record["key"],
                             partition=record["partition"], timestamp=record["timestamp_ms"], on_delivery=delivered)
    producer.flush()
    for topic, count in sorted(written.items()):
        print(f"{topic}: {count}")
    if failed:
        raise SystemExit(f"replay.py: {len(failed)} records were not written, the first: {failed[0]}")


if __name__ == "__main__":
    main()
