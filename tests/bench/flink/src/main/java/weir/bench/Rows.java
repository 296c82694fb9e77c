package weir.bench;

import com.clickhouse.data.ClickHouseCityHash;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import net.jpountz.lz4.LZ4Compressor;
import net.jpountz.lz4.LZ4Factory;

/**
 * The rows of one insert: RowBinary in ClickHouse's compressed blocks. A block is compressed as soon as it is full, while it is
 * in the cache, so only compressed bytes wait for their insert.
 *
 * <p>Who writes asks for {@link #room} first; the other methods do not check.
 */
final class Rows {
    /** Below 64 KiB LZ4 takes a table half as large. */
    private static final int BLOCK = 60 << 10;
    private static final int CHECKSUM = 16, HEAD = 9;
    private static final byte LZ4 = (byte) 0x82;
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final LZ4Compressor COMPRESSOR = LZ4Factory.fastestInstance().fastCompressor();

    /** The block that is being written. */
    byte[] plain = new byte[BLOCK + (8 << 10)];
    int used;
    /** The finished blocks. */
    byte[] packed = new byte[256 << 10];
    int size;
    int count;

    /** A text as RowBinary has it. */
    static byte[] text(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        Rows rows = new Rows();
        rows.room(bytes.length + 10);
        rows.varint(bytes.length);
        rows.put(bytes);
        return Arrays.copyOf(rows.plain, rows.used);
    }

    void room(int more) {
        if (plain.length - used < more) {
            plain = Arrays.copyOf(plain, Math.max(2 * plain.length, used + more));
        }
    }

    void put(byte[] bytes) {
        put(bytes, 0, bytes.length);
    }

    void put(byte[] bytes, int from, int to) {
        System.arraycopy(bytes, from, plain, used, to - from);
        used += to - from;
    }

    /** A range that begins with its length; the empty text when it is empty. */
    void textOf(byte[] bytes, int from, int to) {
        if (from == to) {
            plain[used++] = 0;
        } else {
            put(bytes, from, to);
        }
    }

    void int8(int value) {
        plain[used++] = (byte) value;
    }

    void int32(int value) {
        INT.set(plain, used, value);
        used += 4;
    }

    void int64(long value) {
        LONG.set(plain, used, value);
        used += 8;
    }

    void float64(double value) {
        int64(Double.doubleToRawLongBits(value));
    }

    void varint(int value) {
        int rest = value;
        while (rest >= 0x80) {
            plain[used++] = (byte) (rest | 0x80);
            rest >>>= 7;
        }
        plain[used++] = (byte) rest;
    }

    void endRow() {
        count++;
        if (used >= BLOCK) {
            pack();
        }
    }

    /** Finishes the last block. */
    void finish() {
        if (used > 0) {
            pack();
        }
    }

    void clear() {
        used = size = count = 0;
    }

    private void pack() {
        int most = COMPRESSOR.maxCompressedLength(used);
        if (packed.length - size < CHECKSUM + HEAD + most) {
            packed = Arrays.copyOf(packed, Math.max(2 * packed.length, size + CHECKSUM + HEAD + most));
        }
        int head = size + CHECKSUM;
        int length = HEAD + COMPRESSOR.compress(plain, 0, used, packed, head + HEAD, most);
        packed[head] = LZ4;
        INT.set(packed, head + 1, length);
        INT.set(packed, head + 5, used);
        long[] checksum = ClickHouseCityHash.cityHash128(packed, head, length);
        LONG.set(packed, size, checksum[0]);
        LONG.set(packed, size + 8, checksum[1]);
        size = head + length;
        used = 0;
    }
}
