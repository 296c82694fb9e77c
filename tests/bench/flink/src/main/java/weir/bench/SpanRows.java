package weir.bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** Writes a segment's spans as rows of `events`: every text is copied once, from the record to the row. */
final class SpanRows {
    /** The columns in the order in which they are written: those that all spans of a segment share come first. */
    static final String COLUMNS = "trace_id, segment_id, service, service_instance, size_limited, time, duration_ns, "
            + "segment_span_id, parent_segment_id, parent_segment_span_id, operation, kind, status, peer, component, component_id, layer, "
            + "skip_analysis, links, events, attributes";
    private static final int NANOS = 1_000_000;
    /** Bytes of a row that do not depend on the span's own. */
    private static final int FIXED = 512;
    private static final int EACH_LIST_ITEM = 96;
    private static final int KEY = 1 << 3 | 2, VALUE = 2 << 3 | 2;
    private static final byte[] EVENT = Rows.text("event");

    private final byte[][] constantKeys;
    private final byte[] constants;
    private final int constantCount;
    private final Wire cursor = new Wire();
    private byte[] shared = new byte[256];
    private int sharedSize;
    /** Of the text pair that was read last. */
    private int keyFrom, keyTo, valueFrom, valueTo;

    /** Adds these attributes to every row. They win over tags of the same name. */
    SpanRows(Map<String, String> enrichment) {
        Map<String, String> ordered = new LinkedHashMap<>(enrichment);
        constantKeys = ordered.keySet().stream().map(Rows::text).toArray(byte[][]::new);
        Rows rows = new Rows();
        rows.room(ordered.toString().getBytes(StandardCharsets.UTF_8).length + 20 * ordered.size() + 20);
        ordered.forEach((key, value) -> {
            rows.put(Rows.text(key));
            rows.put(Rows.text(value));
        });
        constants = Arrays.copyOf(rows.plain, rows.used);
        constantCount = ordered.size();
    }

    /** Begins a segment. */
    void begin(Segment segment) {
        cursor.bytes = segment.bytes;
        int most = segment.bytes.length + 8;
        if (shared.length < most) {
            shared = new byte[2 * most];
        }
        sharedSize = 0;
        share(segment.traceFrom, segment.traceTo);
        share(segment.idFrom, segment.idTo);
        share(segment.serviceFrom, segment.serviceTo);
        share(segment.instanceFrom, segment.instanceTo);
        shared[sharedSize++] = (byte) (segment.sizeLimited ? 1 : 0);
    }

    private void share(int from, int to) {
        if (from == to) {
            shared[sharedSize++] = 0;
            return;
        }
        System.arraycopy(cursor.bytes, from, shared, sharedSize, to - from);
        sharedSize += to - from;
    }

    /** Writes one span of the segment that was begun. */
    void write(Segment segment, Segment.Span span, Rows rows) {
        byte[] bytes = segment.bytes;
        rows.room(FIXED + sharedSize + constants.length + 4 * (span.to - span.from)
                + EACH_LIST_ITEM * (span.refBounds + span.logBounds));
        rows.put(shared, 0, sharedSize);
        rows.int64(span.start * NANOS);
        rows.int64((span.end - span.start) * NANOS);
        rows.int32(span.id);
        if (span.parent >= 0 || span.refBounds == 0) {
            rows.int8(0);
            rows.int32(span.parent);
        } else {
            otherParent(rows, span);
        }
        rows.textOf(bytes, span.operationFrom, span.operationTo);
        rows.put(Names.kind(span.type, span.layer));
        rows.put(Names.status(span.error));
        rows.textOf(bytes, span.peerFrom, span.peerTo);
        rows.put(Names.component(span.component));
        rows.int32(span.component);
        rows.put(Names.layer(span.layer));
        rows.int8(span.skipAnalysis ? 1 : 0);
        rows.varint(span.refBounds / 2);
        for (int at = 0; at < span.refBounds; at += 2) {
            link(rows, span.refs[at], span.refs[at + 1]);
        }
        rows.varint(span.logBounds / 2);
        for (int at = 0; at < span.logBounds; at += 2) {
            event(rows, span.logs[at], span.logs[at + 1]);
        }
        attributes(rows, span);
        rows.endRow();
    }

    /** `{segment}.{number}`. */
    private void id(Rows rows, int from, int to, int number) {
        if (from == to) {
            rows.int8(0);
            return;
        }
        cursor.at = from;
        int size = (int) cursor.varint();
        int digits = digits(number);
        rows.varint(size + 1 + digits);
        rows.put(cursor.bytes, cursor.at, to);
        rows.int8('.');
        long rest = Math.abs((long) number);
        int end = rows.used + digits;
        for (int at = end; at > rows.used + (number < 0 ? 1 : 0); rest /= 10) {
            rows.plain[--at] = (byte) ('0' + rest % 10);
        }
        if (number < 0) {
            rows.plain[rows.used] = '-';
        }
        rows.used = end;
    }

    private static int digits(int number) {
        int digits = number < 0 ? 2 : 1;
        for (long rest = Math.abs((long) number); rest >= 10; rest /= 10) {
            digits++;
        }
        return digits;
    }

    /** The parent in another segment, from the first reference. */
    private void otherParent(Rows rows, Segment.Span span) {
        cursor.at = span.refs[0];
        int from = 0, to = 0, number = 0;
        while (cursor.at < span.refs[1]) {
            int tag = (int) cursor.varint();
            switch (tag) {
                case 3 << 3 | 2 -> { from = cursor.at; to = cursor.skipText(); }
                case 4 << 3 -> number = (int) cursor.varint();
                default -> cursor.skip(tag);
            }
        }
        rows.textOf(cursor.bytes, from, to);
        rows.int32(from == to ? span.parent : number);
    }

    private void link(Rows rows, int begin, int end) {
        cursor.at = begin;
        int type = 0, number = 0;
        int traceFrom = 0, traceTo = 0, segmentFrom = 0, segmentTo = 0, serviceFrom = 0, serviceTo = 0;
        int instanceFrom = 0, instanceTo = 0, endpointFrom = 0, endpointTo = 0, addressFrom = 0, addressTo = 0;
        while (cursor.at < end) {
            int tag = (int) cursor.varint();
            switch (tag) {
                case 1 << 3 -> type = (int) cursor.varint();
                case 2 << 3 | 2 -> { traceFrom = cursor.at; traceTo = cursor.skipText(); }
                case 3 << 3 | 2 -> { segmentFrom = cursor.at; segmentTo = cursor.skipText(); }
                case 4 << 3 -> number = (int) cursor.varint();
                case 5 << 3 | 2 -> { serviceFrom = cursor.at; serviceTo = cursor.skipText(); }
                case 6 << 3 | 2 -> { instanceFrom = cursor.at; instanceTo = cursor.skipText(); }
                case 7 << 3 | 2 -> { endpointFrom = cursor.at; endpointTo = cursor.skipText(); }
                case 8 << 3 | 2 -> { addressFrom = cursor.at; addressTo = cursor.skipText(); }
                default -> cursor.skip(tag);
            }
        }
        byte[] bytes = cursor.bytes;
        rows.textOf(bytes, traceFrom, traceTo);
        id(rows, segmentFrom, segmentTo, number);
        rows.put(Names.refType(type));
        rows.textOf(bytes, serviceFrom, serviceTo);
        rows.textOf(bytes, instanceFrom, instanceTo);
        rows.textOf(bytes, endpointFrom, endpointTo);
        rows.textOf(bytes, addressFrom, addressTo);
    }

    /** A log: its time, the value of its first field `event`, all its fields. Two looks: the number of fields comes first. */
    private void event(Rows rows, int begin, int end) {
        long time = 0;
        int fields = 0, nameFrom = 0, nameTo = 0;
        boolean named = false;
        for (cursor.at = begin; cursor.at < end; ) {
            int tag = (int) cursor.varint();
            if (tag == 1 << 3) {
                time = cursor.varint();
            } else if (tag == (2 << 3 | 2)) {
                fields++;
                int size = (int) cursor.varint();
                int next = cursor.at + size;
                pair(cursor.at, next);
                cursor.at = next;
                if (!named && is(EVENT)) {
                    named = true;
                    nameFrom = valueFrom;
                    nameTo = valueTo;
                }
            } else {
                cursor.skip(tag);
            }
        }
        rows.int64(time * NANOS);
        rows.textOf(cursor.bytes, nameFrom, nameTo);
        rows.varint(fields);
        for (cursor.at = begin; cursor.at < end; ) {
            int tag = (int) cursor.varint();
            if (tag == (2 << 3 | 2)) {
                int size = (int) cursor.varint();
                int next = cursor.at + size;
                pair(cursor.at, next);
                cursor.at = next;
                copyPair(rows);
            } else {
                cursor.skip(tag);
            }
        }
    }

    private void attributes(Rows rows, Segment.Span span) {
        int most = span.tagBounds / 2 + constantCount;
        if (most >= 0x80) {
            manyAttributes(rows, span);
            return;
        }
        int place = rows.used++;
        int count = constantCount;
        for (int at = 0; at < span.tagBounds; at += 2) {
            pair(span.tags[at], span.tags[at + 1]);
            if (!isConstant()) {
                copyPair(rows);
                count++;
            }
        }
        rows.put(constants);
        rows.plain[place] = (byte) count;
    }

    /** Counts first: the number takes more than one byte. */
    private void manyAttributes(Rows rows, Segment.Span span) {
        int count = constantCount;
        for (int at = 0; at < span.tagBounds; at += 2) {
            pair(span.tags[at], span.tags[at + 1]);
            count += isConstant() ? 0 : 1;
        }
        rows.varint(count);
        for (int at = 0; at < span.tagBounds; at += 2) {
            pair(span.tags[at], span.tags[at + 1]);
            if (!isConstant()) {
                copyPair(rows);
            }
        }
        rows.put(constants);
    }

    private void copyPair(Rows rows) {
        rows.textOf(cursor.bytes, keyFrom, keyTo);
        rows.textOf(cursor.bytes, valueFrom, valueTo);
    }

    private boolean isConstant() {
        for (byte[] key : constantKeys) {
            if (is(key)) {
                return true;
            }
        }
        return false;
    }

    private boolean is(byte[] key) {
        return keyTo - keyFrom == key.length
                && Arrays.equals(cursor.bytes, keyFrom, keyTo, key, 0, key.length);
    }

    /** Reads a pair of texts. */
    private void pair(int begin, int end) {
        byte[] bytes = cursor.bytes;
        // As agents write it: a short key, then the value.
        if (end - begin >= 4 && bytes[begin] == KEY && bytes[begin + 1] >= 0) {
            int middle = begin + 2 + bytes[begin + 1];
            if (middle + 1 < end && bytes[middle] == VALUE && bytes[middle + 1] >= 0
                    && middle + 2 + bytes[middle + 1] == end) {
                keyFrom = begin + 1;
                keyTo = middle;
                valueFrom = middle + 1;
                valueTo = end;
                return;
            }
        }
        keyFrom = keyTo = valueFrom = valueTo = 0;
        int back = cursor.at;
        cursor.at = begin;
        while (cursor.at < end) {
            int tag = (int) cursor.varint();
            switch (tag) {
                case KEY -> { keyFrom = cursor.at; keyTo = cursor.skipText(); }
                case VALUE -> { valueFrom = cursor.at; valueTo = cursor.skipText(); }
                default -> cursor.skip(tag);
            }
        }
        cursor.at = back;
    }
}
