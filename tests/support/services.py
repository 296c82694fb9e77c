"""The servers of the whole-system tests, for a developer at a terminal (`make services`).

Starts Kafka, the ClickHouse front and an alarm recorder, creates SkyWalking's topics and the rule topic,
prints their addresses as lines to export, shows every alarm that arrives, and stays until Ctrl-C.
Each takes its usual port if that is free, and any other if not. Nothing is kept afterwards.
"""

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from confluent_kafka.admin import AdminClient, NewTopic

import lifetime

HERE = os.path.dirname(os.path.abspath(__file__))
SKYWALKING_TOPICS = ("skywalking-segments", "skywalking-metrics", "skywalking-managements", "skywalking-meters",
                     "skywalking-logs", "skywalking-profilings", "skywalking-logs-json")
# Compacted: the newest rule of a key is kept for ever, older ones need not be.
RULE_TOPIC = NewTopic("alarm_rule_topic", 1, 1, config={"cleanup.policy": "compact"})


class AlarmRecorder(BaseHTTPRequestHandler):
    """Accepts any POST, and shows it on the terminal: Weir's alarms a line each, any other body as it is."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print("\n".join(readable(body)), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def readable(body):
    """The lines that show a request's body."""
    try:
        return ["alarm {state} {severity}, rule {rule}: {message}".format_map(alarm) for alarm in json.loads(body)["alarms"]]
    except (ValueError, KeyError, TypeError):
        return ["request: " + body.decode(errors="replace")]


def start(script, *arguments):
    """Starts a server of this folder and waits until it is ready; returns (process, what it announced)."""
    process = subprocess.Popen([sys.executable, os.path.join(HERE, script), *arguments],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"services: {script} did not start")
    return process, json.loads(line)


def usual_or_free(port):
    """This port, or 0 (any) if somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def create_topics(bootstrap, partitions):
    topics = [NewTopic(name, partitions, 1) for name in SKYWALKING_TOPICS] + [RULE_TOPIC]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics(topics).values():
        made.result()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka-port", type=int, default=9092)
    parser.add_argument("--clickhouse-port", type=int, default=8123)
    parser.add_argument("--alarms-port", type=int, default=8080)
    parser.add_argument("--partitions", type=int, default=3, help="of each SkyWalking topic (default 3)")
    options = parser.parse_args()

    children = []
    try:
        kafka, kafka_at = start("kafka_broker.py", "--port", str(usual_or_free(options.kafka_port)))
        children.append(kafka)
        clickhouse, clickhouse_at = start("clickhouse_front.py", "--port", str(usual_or_free(options.clickhouse_port)))
        children.append(clickhouse)
        create_topics(kafka_at["bootstrap"], options.partitions)
        alarms = ThreadingHTTPServer(("127.0.0.1", usual_or_free(options.alarms_port)), AlarmRecorder)
        threading.Thread(target=alarms.serve_forever, daemon=True).start()

        client = {name: shlex.join([sys.executable, os.path.join(HERE, f"{name}.py"), "--bootstrap", kafka_at["bootstrap"]])
                  for name in ("shop", "replay")}
        print(f"""\
# Kafka, ClickHouse and an alarm recorder are running; Ctrl-C ends them. In another terminal:
export KAFKA={kafka_at["bootstrap"]}
export CLICKHOUSE={clickhouse_at["url"]}
export ALARMS=http://127.0.0.1:{alarms.server_port}/alarms
# Topics: {", ".join(SKYWALKING_TOPICS)}; rules in {RULE_TOPIC.topic}.
# Faults of ClickHouse: curl -d '{{"mode": "delay", "delay_ms": 500}}' {clickhouse_at["control"]}/_control
# A shop with the SkyWalking agent, to send requests to: {client["shop"]}
# Recorded segments of the Java agent (start Weir first, it begins with what is new): {client["replay"]}
# Results: curl "$CLICKHOUSE" -d 'SELECT * FROM weir.window_results FORMAT Vertical'
""", flush=True)
        lifetime.wait_for_end(watch_stdin=False)
    finally:
        for child in children:
            child.stdin.close()
        for child in children:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()


if __name__ == "__main__":
    main()
