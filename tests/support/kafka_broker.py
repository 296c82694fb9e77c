"""One Apache Kafka broker (KRaft, broker and controller in one JVM) for tests.

    python kafka_broker.py [--port P] [--dir D] [--heap 512m] [--secure]

Ready means that the broker answered a Metadata request with the id of the cluster made here: a bare
connect would also succeed against somebody else's broker on a reused port. With `--dir` the data stay
there, and a second start on the same folder and port is a broker restart; without it they go to a
temporary folder, removed at the end. Prints {"bootstrap", "cluster_id", "dir", "pid"}; pid is the JVM's.

`--secure` adds a listener with TLS and SASL PLAIN (one user), and {"secure_bootstrap", "ca_file", "username",
"password"} to what is printed; the plain listener stays, for the tests themselves.
"""

import argparse
import base64
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import certificates
import lifetime

KAFKA_VERSION = "4.3.1"
READY_WITHIN_S = 60
HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("WEIR_CACHE") or os.path.expanduser("~/.cache/weir")
LIB = os.path.join(CACHE, f"kafka-{KAFKA_VERSION}", "lib")

# The short broker session lets a killed broker come back within seconds: until it ends, the controller takes
# the new one for a duplicate.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secure}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={dir}/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
message.max.bytes=67108864
replica.fetch.max.bytes=67108864
"""

USERNAME = "weir"
PASSWORD = "right-password"

# After PROPERTIES. Only the further listener is secure: the broker talks to itself in plain text.
SECURE = """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{username}="{password}";
ssl.keystore.type=PKCS12
ssl.keystore.location={dir}/server.p12
ssl.keystore.password={store_password}
ssl.key.password={store_password}
"""


class Broker:
    """A broker folder and the JVM on it."""

    def __init__(self, folder, port, heap, secure):
        self.dir = folder
        self.heap = heap
        self.secure = None
        self.process = None
        self.log = os.path.join(folder, "kafka.log")
        self.properties = os.path.join(folder, "server.properties")
        if os.path.exists(self.properties):
            self._read_settings(port)
        else:
            self._format(port, secure)
        self.bootstrap = f"127.0.0.1:{self.port}"

    def start(self):
        """Starts the JVM and returns when the broker answers for this cluster."""
        options = [f"-Xmx{self.heap}", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]
        self.process = lifetime.spawn(java(*options, "kafka.Kafka", self.properties), stdin=subprocess.DEVNULL,
                                      stdout=open(self.log, "ab"), stderr=subprocess.STDOUT)
        # A quiet client: refused connections are expected until the broker listens.
        client = AdminClient({"bootstrap.servers": self.bootstrap, "reconnect.backoff.ms": 50,
                              "reconnect.backoff.max.ms": 100, "log_level": 0}, logger=None)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"kafka_broker.py: the broker ended with {self.process.returncode}:\n{self._tail()}")
            try:
                found = client.list_topics(timeout=1).cluster_id
            except KafkaException:
                continue
            if found == self.cluster_id:
                return
            raise SystemExit(f"kafka_broker.py: port {self.port} answers for cluster {found}, not {self.cluster_id}")
        raise SystemExit(f"kafka_broker.py: the broker is not ready after {READY_WITHIN_S} s:\n{self._tail()}")

    def kill(self):
        """Ends the JVM at once; the log on disk is as after a crash."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def facts(self):
        """What to announce: addresses, and what a client needs."""
        facts = {"bootstrap": self.bootstrap, "cluster_id": self.cluster_id, "dir": self.dir, "pid": self.process.pid}
        if self.secure:
            facts.update(secure_bootstrap=f"127.0.0.1:{self.secure}", ca_file=os.path.join(self.dir, "ca.pem"),
                         username=USERNAME, password=PASSWORD)
        return facts

    def _format(self, port, secure):
        os.makedirs(self.dir, exist_ok=True)
        self.port = port or free_port()
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A leading dash would be read as an option by the format tool.
        self.cluster_id = "w" + self.cluster_id[1:]
        listener = ""
        if secure:
            certificates.make(self.dir)
            self.secure = free_port()
            listener = f",SASL_SSL://127.0.0.1:{self.secure}"
        text = PROPERTIES.format(port=self.port, controller=free_port(), secure=listener, dir=self.dir)
        if secure:
            text += SECURE.format(dir=self.dir, username=USERNAME, password=PASSWORD, store_password=certificates.PASSWORD)
        with open(self.properties, "w") as out:
            out.write(text)
        made = subprocess.run(java("-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", self.cluster_id,
                                   "-c", self.properties), capture_output=True, text=True)
        if made.returncode != 0:
            raise SystemExit(f"kafka_broker.py: cannot format {self.dir}:\n{made.stdout}{made.stderr}")

    def _read_settings(self, port):
        with open(self.properties) as lines:
            listeners = next(line for line in lines if line.startswith("listeners="))
        self.port = int(listeners.split(",")[0].rsplit(":", 1)[1])
        if port and port != self.port:
            raise SystemExit(f"kafka_broker.py: {self.dir} was made for port {self.port}, not {port}")
        secure = [listener for listener in listeners.split(",") if listener.startswith("SASL_SSL:")]
        self.secure = int(secure[0].rsplit(":", 1)[1]) if secure else None
        with open(os.path.join(self.dir, "log", "meta.properties")) as lines:
            self.cluster_id = next(line for line in lines if line.startswith("cluster.id=")).split("=", 1)[1].strip()

    def _tail(self):
        with open(self.log, errors="replace") as lines:
            return "".join(lines.readlines()[-20:])


def java(*arguments):
    """The command line of a JVM with Kafka's jars."""
    logging = os.path.join(HERE, "kafka", "log4j2.xml")
    return ["java", f"-Dlog4j2.configurationFile={logging}", "-cp", os.path.join(LIB, "*"), *arguments]


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--dir", help="default: a temporary folder, removed at the end")
    parser.add_argument("--heap", default="512m")
    parser.add_argument("--secure", action="store_true", help="a further listener with TLS and SASL PLAIN")
    options = parser.parse_args()
    if not os.path.isdir(LIB):
        raise SystemExit(f"kafka_broker.py: no Kafka in {LIB}; run scripts/setup test")
    folder = options.dir or tempfile.mkdtemp(prefix="weir-kafka-")
    broker = None
    try:
        broker = Broker(os.path.abspath(folder), options.port, options.heap, options.secure)
        broker.start()
        lifetime.announce(**broker.facts())
        lifetime.wait_for_end()
    finally:
        if broker:
            broker.kill()
        if not options.dir:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
