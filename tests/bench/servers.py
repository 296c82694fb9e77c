"""Kafka and the ClickHouse front, for the measurements."""

import json
import os
import subprocess
import urllib.parse
import urllib.request

from program import CACHE, RELEASE, ROOT

SUPPORT = os.path.join(ROOT, "tests", "support")
PYTHON = os.path.join(CACHE, "venv", "bin", "python")
PARTITIONS = 6
CREATE_TOPIC = """
import sys
from confluent_kafka.admin import AdminClient, NewTopic
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
for future in admin.create_topics([NewTopic(sys.argv[2], int(sys.argv[3]), 1)]).values():
    future.result()
"""


class Servers:
    """Started with `with`, ended at its end."""

    def __enter__(self):
        self.kafka, facts = self._start("kafka_broker.py")
        self.bootstrap = facts["bootstrap"]
        self.clickhouse, facts = self._start("clickhouse_front.py")
        self.url, self._control = facts["url"], facts["control"]
        return self

    def __exit__(self, *_):
        for child in (self.kafka, self.clickhouse):
            child.stdin.close()
            child.wait()

    @staticmethod
    def _start(script):
        child = subprocess.Popen([PYTHON, os.path.join(SUPPORT, script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return child, json.loads(child.stdout.readline())

    def sql(self, text):
        """Runs SQL, returns the answer's text. A refusal is raised with the engine's words."""
        try:
            body = urllib.request.urlopen(self.url + "/?" + urllib.parse.urlencode({"query": text}), data=b"").read()
        except urllib.error.HTTPError as error:
            error.msg = error.read().decode(errors="replace").strip()
            raise
        return body.decode().strip()

    def discard(self, inserts):
        """Whether inserts are thrown away: a null sink that still answers questions about tables."""
        order = json.dumps({"mode": "discard" if inserts else "ok"}).encode()
        urllib.request.urlopen(self._control + "/_control", data=order).read()

    def insert_bytes(self):
        """Bytes of all inserts so far, as they came over the wire."""
        return json.load(urllib.request.urlopen(self._control + "/_stats"))["insert_bytes"]

    def engine_cpu(self):
        """CPU seconds of the engine's own threads so far: without the HTTP server in front of it, which also decompresses."""
        events = "event IN ('UserTimeMicroseconds', 'SystemTimeMicroseconds')"
        return int(self.sql(f"SELECT sum(value) FROM system.events WHERE {events} FORMAT TSV")) / 1e6

    def stop_merges(self, table):
        """Stops the merges of a table; returns whether there is such a table. The engine accepts the order without one, too."""
        if self.sql(f"EXISTS TABLE {table}") != "1":
            return False
        self.sql(f"SYSTEM STOP MERGES {table}")
        return True

    def topic(self, name):
        """Creates a topic."""
        subprocess.run([PYTHON, "-c", CREATE_TOPIC, self.bootstrap, name, str(PARTITIONS)], check=True)

    def fill(self, topic, segments):
        """Creates a topic with so many generated segments; returns their number and bytes."""
        self.topic(topic)
        wrote = subprocess.run(self._producer(topic, segments), check=True, stdout=subprocess.PIPE)
        return json.loads(wrote.stdout)

    def produce(self, topic, segments, rate=None):
        """Writes so many generated segments as they end, at `rate` a second or as fast as it goes; returns the running producer."""
        paced = [rate] if rate else []
        return subprocess.Popen(self._producer(topic, segments, *paced), stdout=subprocess.DEVNULL)

    def _producer(self, topic, *numbers):
        """The command that writes generated segments: how many, and how many a second unless as fast as it goes."""
        produce = os.path.join(RELEASE, "produce_segments")
        return [produce, self.bootstrap, topic, str(PARTITIONS), *map(str, numbers)]
