package weir.bench;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.ParameterTool;

/**
 * The work of Weir's case 3 as a Flink job that is tuned by hand: SkyWalking segments from Kafka, every span enriched and
 * stored in ClickHouse, two aggregations in event-time windows, rules over their results, results and alarms stored.
 *
 * <p>What makes it fast: protobuf is read where it lies, by a cursor, once; a span's texts are copied once, from the record to
 * the row; reading, storing and pre-aggregation are one chain without a copy between its operators; only partial results are
 * serialised and shuffled, by serialisers of their own; blocks are compressed while they are in the cache; no object is made
 * for a span. Checkpoints align barriers (`EXACTLY_ONCE`) and hold window and alarm state and the offsets.
 *
 * <p>What it does not do, and Weir does: rows and results are stored at least once, for inserts carry no identity; texts are not
 * checked to be UTF-8; conditions and measures are compiled in, not configured; times far in the future are not kept out of the
 * windows; groups are not bounded; a record that cannot be read is logged and lost; nothing is measured while it runs.
 *
 * <p>The topic is read to its end at the start of the job. Then every window fires, and one line of JSON is printed: what was
 * counted, and with what settings.
 */
public final class Job {
    private Job() {}

    /** `--brokers --topic --group --server --database --rules --checkpoints [--parallelism 2]`. */
    public static void main(String[] arguments) throws Exception {
        ParameterTool given = ParameterTool.fromArgs(arguments);
        String server = given.getRequired("server"), database = given.getRequired("database");
        Map<String, String> settings = settings(given), consumer = consumer(given);
        List<Rule> rules = Rule.read(Path.of(given.getRequired("rules")));

        StreamExecutionEnvironment flink = StreamExecutionEnvironment.createLocalEnvironment(Configuration.fromMap(settings));
        Properties properties = new Properties();
        properties.putAll(consumer);
        KafkaSource<Segment> source = KafkaSource.<Segment>builder()
                .setBootstrapServers(given.getRequired("brokers"))
                .setTopics(given.getRequired("topic"))
                .setGroupId(given.getRequired("group"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setProperties(properties)
                .setDeserializer(new SegmentReader())
                .build();
        WatermarkStrategy<Segment> watermarks = WatermarkStrategy.<Segment>forBoundedOutOfOrderness(Duration.ofSeconds(10))
                .withTimestampAssigner((segment, ofRecord) -> segment.lastEnd);

        DataStream<Segment> segments = flink.fromSource(source, watermarks, "segments");
        TypeInformation<Partial> ofPartials = new ValueTypeInfo<>(Partial.class);
        DataStream<Partial> partials = segments.transform("store spans", ofPartials,
                new StoreSpans(server, database, enrichment()));
        SingleOutputStreamOperator<Partial> results = partials.keyBy(partial -> partial.key, Types.STRING)
                .window(new PartialWindows())
                .sideOutputLateData(CountLate.LATE)
                .aggregate(new SumPartials(), new Judge(rules), ofPartials, ofPartials, ofPartials);
        results.getSideOutput(CountLate.LATE).transform("count late", Types.VOID, new CountLate());
        results.transform("store windows", Types.VOID, new StoreWindows(server, database));
        results.getSideOutput(Judge.ALARMS).transform("store alarms", Types.VOID, new StoreAlarms(server, database));

        JobExecutionResult done = flink.execute("case 3");
        Map<String, Object> said = new LinkedHashMap<>(done.getAllAccumulatorResults());
        said.put("seconds", done.getNetRuntime() / 1000.0);
        String counts = said.entrySet().stream().map(one -> quoted(one.getKey()) + ": " + one.getValue())
                .collect(Collectors.joining(", "));
        settings.remove("execution.checkpointing.dir");
        System.out.println("{" + counts + ", \"flink\": " + json(settings) + ", \"consumer\": " + json(consumer) + "}");
    }

    private static Map<String, String> settings(ParameterTool given) {
        Map<String, String> settings = new TreeMap<>();
        settings.put("parallelism.default", given.get("parallelism", "2"));
        settings.put("pipeline.object-reuse", "true");
        settings.put("pipeline.generic-types", "false");
        settings.put("state.backend.type", "hashmap");
        settings.put("execution.checkpointing.interval", "10s");
        settings.put("execution.checkpointing.mode", "EXACTLY_ONCE");
        settings.put("execution.checkpointing.dir", given.getRequired("checkpoints"));
        // A job without end has no last checkpoint: not to wait for it is part of measuring a part of such a job.
        settings.put("execution.checkpointing.checkpoints-after-tasks-finish", "false");
        settings.put("restart-strategy.type", "none");
        settings.put("taskmanager.memory.network.min", "16mb");
        settings.put("taskmanager.memory.network.max", "16mb");
        return settings;
    }

    private static Map<String, String> consumer(ParameterTool given) {
        Map<String, String> consumer = new TreeMap<>();
        consumer.put("max.poll.records", given.get("max.poll.records", "1000"));
        consumer.put("max.partition.fetch.bytes", given.get("max.partition.fetch.bytes", "1048576"));
        // As in librdkafka.
        consumer.put("check.crcs", "false");
        return consumer;
    }

    /** What is added to every span: in Weir `tags` and `host` of the enrich processor. */
    private static Map<String, String> enrichment() throws Exception {
        Map<String, String> constants = new LinkedHashMap<>();
        constants.put("host.name", Files.readString(Path.of("/proc/sys/kernel/hostname")).strip());
        constants.put("os.type", "linux");
        constants.put("site", "bench");
        return constants;
    }

    private static String json(Map<String, String> texts) {
        return texts.entrySet().stream().map(one -> quoted(one.getKey()) + ": " + quoted(one.getValue()))
                .collect(Collectors.joining(", ", "{", "}"));
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }
}
