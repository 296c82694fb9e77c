"""The real SkyWalking Python agent over gRPC. Reads {"backend", "token", "service", "segments"} from standard
input, makes so many segments of two spans with a log each, and prints what it made when it has sent all of it.
"""

import json
import logging
import os
import sys
import time


def main():
    options = json.load(sys.stdin)
    os.environ.update({
        "SW_AGENT_PROTOCOL": "grpc",
        "SW_AGENT_COLLECTOR_BACKEND_SERVICES": options["backend"],
        "SW_AGENT_AUTHENTICATION": options["token"],
        "SW_AGENT_NAME": options["service"],
        "SW_AGENT_INSTANCE_NAME": "grpc-1",
        "SW_AGENT_LOGGING_LEVEL": "ERROR",
        "SW_AGENT_COLLECTOR_HEARTBEAT_PERIOD": "1",
        "SW_AGENT_METER_REPORTER_PERIOD": "1",
    })
    from skywalking import Component, Layer
    from skywalking.agent import agent
    from skywalking.trace.context import get_context
    from skywalking.trace.tags import Tag

    class Number(Tag):
        key = "number"

    # The agent's own complaints would be there.
    complaints = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())
    logging.getLogger("skywalking").addHandler(handler)

    agent.start()
    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    for number in range(options["segments"]):
        context = get_context()
        with context.new_entry_span(op=f"/order/{number}") as entry:
            entry.layer = Layer.Http
            entry.component = Component.Flask
            entry.tag(Number(str(number)))
            with context.new_exit_span(op="/stock", peer="stock:80", component=Component.Requests) as leave:
                leave.layer = Layer.Http
            log.warning("order %d für Zoë", number)
    # A heartbeat, meters, and what waits.
    time.sleep(4)
    agent.stop()
    print(json.dumps({"segments": options["segments"], "complaints": complaints}))


if __name__ == "__main__":
    main()
