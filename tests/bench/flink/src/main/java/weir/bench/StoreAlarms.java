package weir.bench;

import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Inserts the beginnings and ends of alarms. */
public final class StoreAlarms extends Storing<Alarm, Void> {
    private static final String COLUMNS = "time, rule, severity, state, service, operation, labels, measure, value, threshold, "
            + "window_start, window_end, message, fingerprint, starts_at, ends_at, rule_epoch";
    private static final long NANOS = 1_000_000;
    /** Bytes of the numbers, more than there are. */
    private static final int NUMBERS = 128;

    /** Into `alarms`. */
    public StoreAlarms(String server, String database) {
        super(server, database, "alarms", COLUMNS);
    }

    @Override
    public void processElement(StreamRecord<Alarm> element) throws Exception {
        Alarm alarm = element.getValue();
        Rows rows = inserts.rows();
        rows.room(NUMBERS);
        rows.int64(alarm.windowEnd * NANOS);
        text(rows, alarm.rule);
        text(rows, "high");
        text(rows, alarm.firing ? "firing" : "resolved");
        text(rows, alarm.service);
        text(rows, alarm.operation);
        rows.varint(alarm.operation.isEmpty() ? 1 : 2);
        if (!alarm.operation.isEmpty()) {
            text(rows, "operation");
            text(rows, alarm.operation);
        }
        text(rows, "service");
        text(rows, alarm.service);
        text(rows, "p99_duration_ns");
        rows.int8(0);
        rows.float64(alarm.value);
        rows.int8(0);
        rows.float64(alarm.threshold);
        rows.int64(alarm.windowStart * NANOS);
        rows.int64(alarm.windowEnd * NANOS);
        text(rows, alarm.message());
        text(rows, alarm.fingerprint());
        rows.int64(alarm.startsAt * NANOS);
        rows.int8(alarm.firing ? 1 : 0);
        if (!alarm.firing) {
            rows.int64(alarm.windowEnd * NANOS);
        }
        rows.int64(1);
        rows.endRow();
        inserts.added();
    }

    /** A text, and room for the numbers behind it. */
    private static void text(Rows rows, String text) {
        byte[] bytes = Rows.text(text);
        rows.room(bytes.length + NUMBERS);
        rows.put(bytes);
    }
}
