"""Decodes SkyWalking segments with the Python agent's own protobuf classes: the independent reading of the tests.

Reads one base64 SegmentObject a line from standard input, writes one JSON object a line: protobuf's own names,
enums by name, every field present.
"""

import base64
import json
import sys

from google.protobuf import json_format
from skywalking.protocol.language_agent.Tracing_pb2 import SegmentObject


def main():
    for line in sys.stdin:
        segment = SegmentObject()
        segment.ParseFromString(base64.b64decode(line))
        read = json_format.MessageToDict(segment, preserving_proto_field_name=True,
                                         always_print_fields_with_no_presence=True)
        print(json.dumps(read))


if __name__ == "__main__":
    main()
