"""A small Flask shop watched by the real SkyWalking Python agent, which reports to Kafka.

    python shop.py --bootstrap 127.0.0.1:9092 [--service shop] [--instance shop-1] [--topic-prefix P]

GET /fast             answers at once
GET /slow             answers after the delay set by /control (milliseconds)
GET /fail             raises: status 500, a span with an error and a log of the exception
GET /pay?order=7      calls /stock over HTTP: an exit span here, an entry span with a reference there
GET /stock
GET /control?slow_ms=200   sets the delay; not traced
GET /flush            returns when Kafka has every span of the requests answered so far, with their numbers;
                      not traced

Every entry span but those carries the tags shop.route and shop.customer. Prints {"url", "service",
"instance"}. At the end the agent is flushed, so every span of an answered request reaches Kafka.
"""

import argparse
import logging
import os
import sys
import threading
import time

UNTRACED = ("/control", "/flush")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--service", default="shop")
    parser.add_argument("--instance", default="shop-1")
    parser.add_argument("--topic-prefix", default="", help="put before every topic name, as sites do")
    parser.add_argument("--slow-ms", type=int, default=0)
    return parser.parse_args()


def start_agent(options):
    """The agent reads its environment at import and patches Flask and requests at start: before both are used."""
    os.environ.update({
        "SW_AGENT_PROTOCOL": "kafka",
        "SW_KAFKA_BOOTSTRAP_SERVERS": options.bootstrap,
        "SW_AGENT_NAME": options.service,
        "SW_AGENT_INSTANCE_NAME": options.instance,
        "SW_AGENT_LOGGING_LEVEL": "ERROR",
        # Over Kafka there is no way to receive profile tasks.
        "SW_AGENT_PROFILE_ACTIVE": "false",
        "SW_AGENT_COLLECTOR_HEARTBEAT_PERIOD": "5",
        "SW_AGENT_METER_REPORTER_PERIOD": "5",
        "SW_AGENT_TRACE_IGNORE_PATH": ",".join(UNTRACED),
    })
    for kind in ("segment", "management", "log", "meter"):
        os.environ[f"SW_KAFKA_TOPIC_{kind.upper()}"] = f"{options.topic_prefix}skywalking-{kind}s"
    from skywalking.agent import agent
    agent.start()
    return Sent(agent)


class Sent:
    """Counts the traced requests, the segments that the agent made and those that it handed to Kafka. The
    agent has no flush of its own, ends a request's span after the answer is written, and its queue counts a
    segment as done before it is sent: so all three are counted here."""

    def __init__(self, agent):
        self._requests = 0
        self.segments = 0
        self.spans = 0
        self._handed = 0
        self._changed = threading.Condition()
        self._agent = agent
        # The agent's own names, in the one pinned version that the tests use.
        self._protocol = agent._SkyWalkingAgent__protocol
        self._producer = self._protocol.traces_reporter.producer
        archive, send = agent.archive_segment, self._producer.send

        def counting_archive(segment):
            with self._changed:
                self.segments += 1
                self.spans += len(segment.spans)
                self._changed.notify_all()
            archive(segment)

        def counting_send(*args, **kwargs):
            future = send(*args, **kwargs)
            with self._changed:
                self._handed += 1
                self._changed.notify_all()
            return future

        agent.archive_segment = counting_archive
        self._producer.send = counting_send

    def request_begins(self):
        """Counts a traced request, each of which makes one segment."""
        with self._changed:
            self._requests += 1

    def flush(self):
        """Returns when the segment of every request begun so far is acknowledged by Kafka; raises after
        10 s."""
        with self._changed:
            begun = self._requests
            if not self._changed.wait_for(lambda: begun <= self.segments <= self._handed, timeout=10):
                raise TimeoutError(f"{begun} requests: {self.segments} segments made, {self._handed} sent")
            made = {"segments": self.segments, "spans": self.spans}
        self._producer.flush(timeout=10)
        return made

    def close(self):
        """Flushes and closes everything. The agent's own exit handlers would give Kafka no time."""
        self.flush()
        self._agent.stop()
        for part in (self._protocol.traces_reporter, self._protocol.log_reporter,
                     self._protocol.meter_reporter, self._protocol.service_management):
            part.producer.close(timeout=5)


def make_app(sent, slow_ms):
    """The routes; `slow_ms` is the delay of /slow until /control changes it."""
    delay = [slow_ms]
    import requests
    from flask import Flask, request
    from skywalking.trace.context import get_context
    from skywalking.trace.tags import Tag

    class Route(Tag):
        key = "shop.route"

    class Customer(Tag):
        key = "shop.customer"

    app = Flask("shop")

    @app.before_request
    def tag_span():
        span = get_context().active_span
        if request.path not in UNTRACED:
            sent.request_begins()
        if span is not None:
            span.tag(Route(request.path.strip("/")))
            span.tag(Customer(request.args.get("customer", "anonymous")))

    @app.get("/fast")
    def fast():
        return {"ok": True}

    @app.get("/slow")
    def slow():
        time.sleep(delay[0] / 1000)
        return {"ok": True, "slow_ms": delay[0]}

    @app.get("/fail")
    def fail():
        raise RuntimeError("the warehouse is on fire")

    @app.get("/pay")
    def pay():
        stock = requests.get(f"http://{request.host}/stock", params=request.args, timeout=30)
        return {"ok": stock.ok, "order": request.args.get("order")}

    @app.get("/stock")
    def stock():
        return {"in_stock": 3}

    @app.get("/control")
    def control():
        delay[0] = int(request.args["slow_ms"])
        return {"slow_ms": delay[0]}

    @app.get("/flush")
    def flush():
        return sent.flush()

    return app


def main():
    options = parse()
    sent = start_agent(options)
    import lifetime
    from werkzeug.serving import WSGIRequestHandler, make_server

    # Flask logs a traceback for each /fail: it goes to the agent's log reporter, not to our stderr.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("shop").addHandler(logging.NullHandler())
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    server = make_server("127.0.0.1", 0, make_app(sent, options.slow_ms), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lifetime.announce(url=f"http://127.0.0.1:{server.port}", service=options.service, instance=options.instance)
    lifetime.wait_for_end()
    server.shutdown()
    sent.close()


if __name__ == "__main__":
    sys.exit(main())
