package weir.bench;

import java.nio.charset.StandardCharsets;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Inserts the results of windows. */
public final class StoreWindows extends Storing<Partial, Void> {
    private static final String COLUMNS = "operator, service, operation, window_start, window_end, window_size_ms, firing, count, "
            + "error_count, success_rate, avg_duration_ns, max_duration_ns, min_duration_ns, p50_duration_ns, p90_duration_ns, "
            + "p95_duration_ns, p99_duration_ns, traffic_rate";
    private static final long NANOS = 1_000_000;
    private static final int FIXED = 200;

    /** Into `window_results`. */
    public StoreWindows(String server, String database) {
        super(server, database, "window_results", COLUMNS);
    }

    @Override
    public void processElement(StreamRecord<Partial> element) throws Exception {
        Partial window = element.getValue();
        Rows rows = inserts.rows();
        rows.room(FIXED + 3 * window.key.length());
        for (String name : window.key.split(String.valueOf(Partial.SEPARATOR), -1)) {
            byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
            rows.varint(bytes.length);
            rows.put(bytes);
        }
        rows.int64(window.start * NANOS);
        rows.int64((window.start + window.size) * NANOS);
        rows.int64(window.size);
        rows.int32(0);
        rows.int64(window.count);
        rows.int64(window.errors);
        nullable(rows, 1 - (double) window.errors / window.count);
        nullable(rows, (double) window.sum / window.count);
        nullable(rows, window.max);
        nullable(rows, window.min);
        for (long percentile : window.percentiles(50, 90, 95, 99)) {
            nullable(rows, percentile);
        }
        nullable(rows, window.count / (window.size / 1000.0));
        rows.endRow();
        inserts.added();
    }

    private static void nullable(Rows rows, long value) {
        rows.int8(0);
        rows.int64(value);
    }

    private static void nullable(Rows rows, double value) {
        rows.int8(0);
        rows.float64(value);
    }
}
