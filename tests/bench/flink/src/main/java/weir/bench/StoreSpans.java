package weir.bench;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Inserts every span, and adds it up for its windows: what goes on to them is one partial for each group and window that was
 * seen since the last watermark.
 */
public final class StoreSpans extends Storing<Segment, Partial> {
    private final LinkedHashMap<String, String> enrichment;
    private final LongCounter segments = new LongCounter(), checkpoints = new LongCounter();
    private transient SpanRows spans;
    private transient Groups groups;
    private transient StreamRecord<Partial> record;

    /** Adds these attributes to every span. */
    public StoreSpans(String server, String database, Map<String, String> enrichment) {
        super(server, database, "events", SpanRows.COLUMNS);
        this.enrichment = new LinkedHashMap<>(enrichment);
    }

    @Override
    public void open() throws Exception {
        super.open();
        spans = new SpanRows(enrichment);
        groups = new Groups();
        record = new StreamRecord<>(null);
        getRuntimeContext().addAccumulator("segments", segments);
        getRuntimeContext().addAccumulator("checkpoints", checkpoints);
    }

    @Override
    public void processElement(StreamRecord<Segment> element) throws Exception {
        Segment segment = element.getValue();
        segments.add(1);
        spans.begin(segment);
        for (int at = 0; at < segment.spanCount; at++) {
            spans.write(segment, segment.spans[at], inserts.rows());
            inserts.added();
        }
        groups.add(segment);
    }

    /** Before a watermark goes on, so that nothing that was in time becomes late here. */
    @Override
    public void processWatermark(Watermark mark) throws Exception {
        flush();
        super.processWatermark(mark);
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
        flush();
        super.prepareSnapshotPreBarrier(checkpoint);
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) throws Exception {
        super.notifyCheckpointComplete(checkpoint);
        if (getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0) {
            checkpoints.add(1);
        }
    }

    @Override
    public void finish() throws Exception {
        flush();
        super.finish();
    }

    private void flush() {
        groups.flush(partial -> output.collect(record.replace(partial, partial.start)));
    }
}
