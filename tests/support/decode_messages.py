"""Decodes SkyWalking messages with the Python agent's own protobuf classes: the independent reading of the tests.

Reads one `NAME base64` a line from standard input, NAME being a message, and writes one JSON object a line:
protobuf's own names, enums by name, every field present.
"""

import base64
import json
import sys

from google.protobuf import json_format
from skywalking.protocol.language_agent.JVMMetric_pb2 import JVMMetricCollection
from skywalking.protocol.language_agent.Meter_pb2 import MeterDataCollection
from skywalking.protocol.language_agent.Tracing_pb2 import SegmentObject
from skywalking.protocol.logging.Logging_pb2 import LogData
from skywalking.protocol.management.Management_pb2 import InstancePingPkg, InstanceProperties
from skywalking.protocol.profile.Profile_pb2 import ThreadSnapshot

MESSAGES = [JVMMetricCollection, MeterDataCollection, SegmentObject, LogData, InstancePingPkg, InstanceProperties,
            ThreadSnapshot]


def main():
    known = {message.DESCRIPTOR.name: message for message in MESSAGES}
    for line in sys.stdin:
        name, _, value = line.partition(" ")
        message = known[name]()
        message.ParseFromString(base64.b64decode(value))
        read = json_format.MessageToDict(message, preserving_proto_field_name=True,
                                         always_print_fields_with_no_presence=True)
        print(json.dumps(read))


if __name__ == "__main__":
    main()
