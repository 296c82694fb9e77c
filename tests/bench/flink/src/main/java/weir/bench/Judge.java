package weir.bench;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;

/** Judges each window's result by the rules and hands it on. Alarms are told when they begin and when they end. */
public final class Judge extends ProcessWindowFunction<Partial, Partial, String, TimeWindow> {
    /** Where alarms go. */
    public static final OutputTag<Alarm> ALARMS = new OutputTag<>("alarms", Types.POJO(Alarm.class));
    /** By the name of the rule, when its alarm began. */
    private static final MapStateDescriptor<String, Long> FIRING = new MapStateDescriptor<>("firing", Types.STRING, Types.LONG);

    private final Rule[] rules;
    private final LongCounter inEndpoints = new LongCounter(), inServices = new LongCounter();
    private transient Map<String, List<Rule>> ofService;

    /** Judges by these rules. */
    public Judge(List<Rule> rules) {
        this.rules = rules.toArray(Rule[]::new);
    }

    @Override
    public void open(OpenContext context) {
        ofService = new HashMap<>();
        getRuntimeContext().addAccumulator("spans in endpoint windows", inEndpoints);
        getRuntimeContext().addAccumulator("spans in service windows", inServices);
    }

    @Override
    public void process(String key, Context context, Iterable<Partial> results, Collector<Partial> out) throws Exception {
        String[] names = key.split(String.valueOf(Partial.SEPARATOR), -1);
        for (Partial result : results) {
            (names[0].equals(Groups.SERVICE) ? inServices : inEndpoints).add(result.count);
            out.collect(result);
            List<Rule> matching = ofService.computeIfAbsent(names[1], this::matching);
            if (!matching.isEmpty()) {
                judge(names, result, matching, context);
            }
        }
    }

    private List<Rule> matching(String service) {
        return Arrays.stream(rules).filter(rule -> rule.matches(service)).toList();
    }

    private void judge(String[] names, Partial result, List<Rule> matching, Context context) throws Exception {
        long p99 = result.percentiles(99)[0];
        MapState<String, Long> firing = context.globalState().getMapState(FIRING);
        for (Rule rule : matching) {
            Long since = firing.get(rule.name());
            boolean holds = p99 > rule.threshold();
            if (holds == (since != null)) {
                continue;
            }
            Alarm alarm = new Alarm();
            alarm.rule = rule.name();
            alarm.operator = names[0];
            alarm.service = names[1];
            alarm.operation = names[2];
            alarm.firing = holds;
            alarm.value = p99;
            alarm.threshold = rule.threshold();
            alarm.windowStart = result.start;
            alarm.windowEnd = result.start + result.size;
            alarm.startsAt = holds ? alarm.windowEnd : since;
            if (holds) {
                firing.put(rule.name(), alarm.windowEnd);
            } else {
                firing.remove(rule.name());
            }
            context.output(ALARMS, alarm);
        }
    }
}
