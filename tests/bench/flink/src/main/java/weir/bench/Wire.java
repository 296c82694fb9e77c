package weir.bench;

/** A place in protobuf bytes. Malformed bytes give an IllegalArgumentException or an IndexOutOfBoundsException. */
class Wire {
    byte[] bytes = new byte[0];
    int at;

    final long varint() {
        byte first = bytes[at++];
        if (first >= 0) {
            return first;
        }
        long value = first & 0x7f;
        for (int shift = 7; shift < 64; shift += 7) {
            byte next = bytes[at++];
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) {
                return value;
            }
        }
        throw new IllegalArgumentException("a varint is too long");
    }

    /** Goes behind the text or message here, whose length comes first; returns its end. */
    final int skipText() {
        int size = (int) varint();
        return at = checked(at + size);
    }

    /** Goes behind the field whose tag was just read. */
    final void skip(int tag) {
        switch (tag & 7) {
            case 0 -> varint();
            case 1 -> at = checked(at + 8);
            case 2 -> skipText();
            case 5 -> at = checked(at + 4);
            default -> throw new IllegalArgumentException("unknown wire type");
        }
    }

    final int checked(int end) {
        if (end < at || end > bytes.length) {
            throw new IllegalArgumentException("a field reaches beyond the record");
        }
        return end;
    }
}
