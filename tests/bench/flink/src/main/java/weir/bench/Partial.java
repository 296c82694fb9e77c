package weir.bench;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.CopyableValue;

/**
 * What is known of one group in one window: of some of its events on the way to the window, of all in its result.
 *
 * <p>Durations are counted in the buckets of an HDR histogram, 128 for each power of two (two digits, as Weir's): quantiles
 * are within 0.4 %. The array reaches to the largest bucket that was used.
 */
public final class Partial implements CopyableValue<Partial> {
    private static final int BITS = 7;
    private static final int PARTS = 1 << BITS;
    private static final int STEP = 512;

    /** Operator, service and operation, with {@link #SEPARATOR} between them. */
    String key = "";
    static final char SEPARATOR = '\0';
    long start, size;
    long count, errors, sum, min = Long.MAX_VALUE, max = Long.MIN_VALUE;
    private int[] buckets = {};

    /** Needed by Flink. */
    public Partial() {}

    Partial(String key, long start, long size) {
        this.key = key;
        this.start = start;
        this.size = size;
    }

    void add(long duration, boolean error) {
        count++;
        errors += error ? 1 : 0;
        sum += duration;
        min = Math.min(min, duration);
        max = Math.max(max, duration);
        int bucket = bucket(Math.max(0, duration));
        if (bucket >= buckets.length) {
            grow(bucket + 1);
        }
        buckets[bucket]++;
    }

    void add(Partial other) {
        count += other.count;
        errors += other.errors;
        sum += other.sum;
        min = Math.min(min, other.min);
        max = Math.max(max, other.max);
        if (other.buckets.length > buckets.length) {
            grow(other.buckets.length);
        }
        for (int at = 0; at < other.buckets.length; at++) {
            buckets[at] += other.buckets[at];
        }
    }

    /** The duration of nearest rank, for shares in percent that rise. Never outside of the least and the largest one. */
    long[] percentiles(int... percents) {
        long[] found = new long[percents.length];
        int at = -1;
        long below = 0;
        for (int one = 0; one < percents.length; one++) {
            long rank = Math.max(1, (count * percents[one] + 99) / 100);
            while (below < rank) {
                below += buckets[++at];
            }
            found[one] = Math.min(Math.max(middle(at), min), max);
        }
        return found;
    }

    private void grow(int least) {
        buckets = Arrays.copyOf(buckets, (least + STEP - 1) / STEP * STEP);
    }

    private static int bucket(long value) {
        int shift = Math.max(0, 64 - BITS - 1 - Long.numberOfLeadingZeros(value));
        return shift * PARTS + (int) (value >>> shift);
    }

    private static long middle(int bucket) {
        if (bucket < 2 * PARTS) {
            return bucket;
        }
        int shift = bucket / PARTS - 1;
        return ((long) (bucket % PARTS + PARTS) << shift) + (1L << (shift - 1));
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeUTF(key);
        for (long number : new long[] {start, size, count, errors, sum, min, max}) {
            out.writeLong(number);
        }
        out.writeInt(buckets.length);
        int used = 0;
        for (int values : buckets) {
            used += values == 0 ? 0 : 1;
        }
        out.writeInt(used);
        for (int at = 0; at < buckets.length; at++) {
            if (buckets[at] != 0) {
                out.writeShort(at);
                out.writeInt(buckets[at]);
            }
        }
    }

    @Override
    public void read(DataInputView in) throws IOException {
        key = in.readUTF();
        start = in.readLong();
        size = in.readLong();
        count = in.readLong();
        errors = in.readLong();
        sum = in.readLong();
        min = in.readLong();
        max = in.readLong();
        buckets = new int[in.readInt()];
        for (int left = in.readInt(); left > 0; left--) {
            buckets[in.readUnsignedShort()] = in.readInt();
        }
    }

    @Override
    public int getBinaryLength() {
        return -1;
    }

    @Override
    public void copyTo(Partial target) {
        target.key = key;
        target.start = start;
        target.size = size;
        target.count = count;
        target.errors = errors;
        target.sum = sum;
        target.min = min;
        target.max = max;
        target.buckets = buckets.clone();
    }

    @Override
    public Partial copy() {
        Partial copy = new Partial();
        copyTo(copy);
        return copy;
    }

    @Override
    public void copy(DataInputView from, DataOutputView to) throws IOException {
        Partial between = new Partial();
        between.read(from);
        between.write(to);
    }
}
