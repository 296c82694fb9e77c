package weir.bench;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.Value;

/**
 * A SkyWalking `SegmentObject`: the record's bytes, and where in them its fields lie. Nothing is copied but numbers, and one
 * object is used for all records of a reader.
 *
 * <p>Texts are ranges that begin with their length: a text of protobuf is written as a text of RowBinary is.
 */
public final class Segment extends Wire implements Value {
    /** Ranges with their length; 0, 0 when absent. */
    int traceFrom, traceTo, idFrom, idTo, serviceFrom, serviceTo, instanceFrom, instanceTo;
    boolean sizeLimited;
    Span[] spans = new Span[0];
    int spanCount;
    /** The latest end of a span. */
    long lastEnd;

    /** A span of the segment. `tags`, `refs` and `logs` are pairs of bounds of their messages. */
    static final class Span {
        int from, to;
        int id, parent, type, layer, component;
        long start, end;
        boolean error, skipAnalysis;
        int operationFrom, operationTo, peerFrom, peerTo;
        int[] tags = new int[16], refs = new int[2], logs = new int[2];
        int tagBounds, refBounds, logBounds;

        private void clear() {
            id = parent = type = layer = component = 0;
            start = end = 0;
            error = skipAnalysis = false;
            operationFrom = operationTo = peerFrom = peerTo = 0;
            tagBounds = refBounds = logBounds = 0;
        }
    }

    /** Takes over a record. Throws an unchecked exception when it is no segment. */
    void read(byte[] record) {
        bytes = record;
        at = 0;
        spanCount = 0;
        lastEnd = Long.MIN_VALUE;
        traceFrom = traceTo = idFrom = idTo = serviceFrom = serviceTo = instanceFrom = instanceTo = 0;
        sizeLimited = false;
        while (at < record.length) {
            int tag = (int) varint();
            switch (tag) {
                case 1 << 3 | 2 -> { traceFrom = at; traceTo = skipText(); }
                case 2 << 3 | 2 -> { idFrom = at; idTo = skipText(); }
                case 3 << 3 | 2 -> readSpan();
                case 4 << 3 | 2 -> { serviceFrom = at; serviceTo = skipText(); }
                case 5 << 3 | 2 -> { instanceFrom = at; instanceTo = skipText(); }
                case 6 << 3 -> sizeLimited = varint() != 0;
                default -> skip(tag);
            }
        }
    }

    private void readSpan() {
        int size = (int) varint();
        int end = checked(at + size);
        if (spanCount == spans.length) {
            spans = Arrays.copyOf(spans, Math.max(16, 2 * spanCount));
        }
        Span span = spans[spanCount];
        if (span == null) {
            span = spans[spanCount] = new Span();
        }
        spanCount++;
        span.clear();
        span.from = at;
        span.to = end;
        while (at < end) {
            int tag = (int) varint();
            switch (tag) {
                case 1 << 3 -> span.id = (int) varint();
                case 2 << 3 -> span.parent = (int) varint();
                case 3 << 3 -> span.start = varint();
                case 4 << 3 -> span.end = varint();
                case 5 << 3 | 2 -> { span.refs = message(span.refs, span.refBounds); span.refBounds += 2; }
                case 6 << 3 | 2 -> { span.operationFrom = at; span.operationTo = skipText(); }
                case 7 << 3 | 2 -> { span.peerFrom = at; span.peerTo = skipText(); }
                case 8 << 3 -> span.type = (int) varint();
                case 9 << 3 -> span.layer = (int) varint();
                case 10 << 3 -> span.component = (int) varint();
                case 11 << 3 -> span.error = varint() != 0;
                case 12 << 3 | 2 -> { span.tags = message(span.tags, span.tagBounds); span.tagBounds += 2; }
                case 13 << 3 | 2 -> { span.logs = message(span.logs, span.logBounds); span.logBounds += 2; }
                case 14 << 3 -> span.skipAnalysis = varint() != 0;
                default -> skip(tag);
            }
        }
        if (at != end) {
            throw new IllegalArgumentException("a span's field reaches beyond it");
        }
        lastEnd = Math.max(lastEnd, span.end);
    }

    /** Notes the bounds of the message here, and goes behind it. */
    private int[] message(int[] bounds, int count) {
        int[] room = count == bounds.length ? Arrays.copyOf(bounds, 2 * count) : bounds;
        int size = (int) varint();
        room[count] = at;
        room[count + 1] = at = checked(at + size);
        return room;
    }

    /** As it would travel if it left the chain of its reader, which it never does. */
    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    @Override
    public void read(DataInputView in) throws IOException {
        byte[] record = new byte[in.readInt()];
        in.readFully(record);
        read(record);
    }
}
