package weir.bench;

import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.OutputTag;

/** Counts the spans that came when their window had fired. They are stored all the same. */
public final class CountLate extends AbstractStreamOperator<Void> implements OneInputStreamOperator<Partial, Void> {
    /** Where late partials go. */
    public static final OutputTag<Partial> LATE = new OutputTag<>("late", new ValueTypeInfo<>(Partial.class));

    private final LongCounter endpoints = new LongCounter(), services = new LongCounter();

    @Override
    public void open() throws Exception {
        super.open();
        getRuntimeContext().addAccumulator("late for endpoint windows", endpoints);
        getRuntimeContext().addAccumulator("late for service windows", services);
    }

    @Override
    public void processElement(StreamRecord<Partial> element) {
        Partial late = element.getValue();
        (late.key.startsWith(Groups.SERVICE) ? services : endpoints).add(late.count);
    }
}
