package weir.bench;

import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Records to segments, always the same object. A record that is no segment is logged and left out. */
public final class SegmentReader implements KafkaRecordDeserializationSchema<Segment> {
    private static final Logger LOG = LoggerFactory.getLogger(SegmentReader.class);
    private transient Segment segment;

    @Override
    public void open(DeserializationSchema.InitializationContext context) {
        segment = new Segment();
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Segment> out) {
        try {
            segment.read(record.value());
        } catch (IllegalArgumentException | IndexOutOfBoundsException error) {
            LOG.error("partition {} offset {} is no segment: {}", record.partition(), record.offset(), error.getMessage());
            return;
        }
        if (segment.spanCount > 0) {
            out.collect(segment);
        }
    }

    @Override
    public TypeInformation<Segment> getProducedType() {
        return new ValueTypeInfo<>(Segment.class);
    }
}
