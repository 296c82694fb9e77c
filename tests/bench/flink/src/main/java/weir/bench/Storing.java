package weir.bench;

import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;

/**
 * An operator that inserts rows. A checkpoint waits until all rows before it are stored, so rows are stored at least once:
 * after a failure those since the last checkpoint come again.
 */
abstract class Storing<IN, OUT> extends AbstractStreamOperator<OUT> implements OneInputStreamOperator<IN, OUT> {
    private static final long TICK_MS = 200;
    private final String server, database, table, columns;
    private final LongCounter stored = new LongCounter();
    protected transient Inserts inserts;

    Storing(String server, String database, String table, String columns) {
        this.server = server;
        this.database = database;
        this.table = table;
        this.columns = columns;
    }

    @Override
    public void open() throws Exception {
        super.open();
        inserts = new Inserts(server, database, table, columns);
        getRuntimeContext().addAccumulator("stored in " + table, stored);
        getProcessingTimeService().scheduleWithFixedDelay(time -> inserts.tick(), TICK_MS, TICK_MS);
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        inserts.drain();
    }

    @Override
    public void finish() throws Exception {
        inserts.drain();
        stored.add(inserts.sent());
        super.finish();
    }

    @Override
    public void close() throws Exception {
        if (inserts != null) {
            inserts.close();
        }
        super.close();
    }
}
