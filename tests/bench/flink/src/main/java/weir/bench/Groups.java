package weir.bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;

/** The groups of one reader, found by the bytes of their names, and what each has seen since the last {@link #flush}. */
final class Groups {
    static final String ENDPOINT = "aggregate/endpoint", SERVICE = "aggregate/service";
    private static final long ENDPOINT_MS = 7_000, SERVICE_MS = 1_000;
    private static final int NANOS = 1_000_000;

    private final Map<Slice, Service> services = new HashMap<>();
    private final Slice sought = new Slice();
    private Service service;

    /** Takes all spans of a segment: the service's window has each of them, the endpoint's only those of servers. */
    void add(Segment segment) {
        sought.look(segment.bytes, segment.serviceFrom, segment.serviceTo);
        if (service == null || !sought.equals(service.name)) {
            service = services.get(sought);
            if (service == null) {
                service = new Service(sought.copy());
                services.put(service.name, service);
            }
        }
        for (int at = 0; at < segment.spanCount; at++) {
            Segment.Span span = segment.spans[at];
            long duration = (span.end - span.start) * NANOS;
            service.all.at(span.end).add(duration, span.error);
            if (Names.isServer(span.type, span.layer)) {
                sought.look(segment.bytes, span.operationFrom, span.operationTo);
                service.endpoint(sought).at(span.end).add(duration, span.error);
            }
        }
    }

    /** Hands over what was seen, and begins anew. */
    void flush(Consumer<Partial> to) {
        for (Service one : services.values()) {
            one.all.flush(to);
            one.endpoints.values().forEach(group -> group.flush(to));
        }
    }

    private static final class Service {
        final Slice name;
        final Group all;
        final Map<Slice, Group> endpoints = new HashMap<>();

        Service(Slice name) {
            this.name = name;
            all = new Group(SERVICE + Partial.SEPARATOR + name + Partial.SEPARATOR, SERVICE_MS);
        }

        Group endpoint(Slice operation) {
            Group group = endpoints.get(operation);
            if (group == null) {
                group = new Group(ENDPOINT + Partial.SEPARATOR + name + Partial.SEPARATOR + operation, ENDPOINT_MS);
                endpoints.put(operation.copy(), group);
            }
            return group;
        }
    }

    private static final class Group {
        private final String key;
        private final long size;
        private final Map<Long, Partial> open = new HashMap<>();
        private Partial last;

        Group(String key, long size) {
            this.key = key;
            this.size = size;
        }

        /** Of the window that has this time. Most times are in the window of the one before. */
        Partial at(long time) {
            if (last == null || time < last.start || time >= last.start + size) {
                last = open.computeIfAbsent(time - Math.floorMod(time, size), start -> new Partial(key, start, size));
            }
            return last;
        }

        void flush(Consumer<Partial> to) {
            open.values().forEach(to);
            open.clear();
            last = null;
        }
    }

    /** Bytes as a key of a map. */
    private static final class Slice {
        private byte[] bytes;
        private int from, to, hash;

        /** A range that begins with its length. */
        void look(byte[] record, int begin, int end) {
            bytes = record;
            from = begin;
            to = end;
            hash = 1;
            for (int at = from; at < to; at++) {
                hash = 31 * hash + record[at];
            }
        }

        Slice copy() {
            Slice copy = new Slice();
            copy.look(Arrays.copyOfRange(bytes, from, to), 0, to - from);
            return copy;
        }

        @Override
        public int hashCode() {
            return hash;
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Slice slice && hash == slice.hash
                    && Arrays.equals(bytes, from, to, slice.bytes, slice.from, slice.to);
        }

        /** The text without its length. */
        @Override
        public String toString() {
            int start = from;
            while (start < to && bytes[start++] < 0) {}
            return new String(bytes, start, to - start, StandardCharsets.UTF_8);
        }
    }
}
