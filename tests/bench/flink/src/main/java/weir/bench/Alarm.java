package weir.bench;

import java.nio.charset.StandardCharsets;

/** The beginning or the end of an alarm. Times are milliseconds. */
public final class Alarm {
    public String rule = "", operator = "", service = "", operation = "";
    public boolean firing;
    public double value, threshold;
    public long windowStart, windowEnd, startsAt;

    /** FNV-1a (64 bits) of the rule, the labels and the severity, as 16 hex digits: the same in every run. */
    String fingerprint() {
        StringBuilder series = new StringBuilder();
        part(series, rule);
        part(series, operator);
        if (!operation.isEmpty()) {
            part(series, "operation");
            part(series, operation);
        }
        part(series, "service");
        part(series, service);
        long hash = 0xcbf29ce484222325L;
        for (byte one : series.toString().getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ one & 0xff) * 0x100000001b3L;
        }
        hash = (hash ^ 0xff) * 0x100000001b3L;
        for (byte one : "high".getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ one) * 0x100000001b3L;
        }
        return String.format("%016x", hash);
    }

    private static void part(StringBuilder series, String text) {
        series.append(text.getBytes(StandardCharsets.UTF_8).length).append(':').append(text);
    }

    String message() {
        return (firing ? "" : "resolved: ") + rule + ": " + service + " " + operation + ": p99_duration_ns "
                + value + " over " + threshold;
    }
}
