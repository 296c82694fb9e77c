package weir.bench;

import java.util.Arrays;
import java.util.Map;

/** The names of SkyWalking's numbers in the stored rows, as RowBinary texts. */
final class Names {
    private static final byte[] NONE = Rows.text("");
    private static final byte[][] KINDS = texts("server", "client", "internal");
    private static final byte[][] MESSAGING = texts("consumer", "producer");
    private static final byte[][] STATUSES = texts("ok", "error");
    private static final byte[][] LAYERS = texts("", "database", "rpc_framework", "http", "mq", "cache", "faas");
    private static final byte[][] REF_TYPES = texts("cross_process", "cross_thread");
    private static final int MQ = 4;
    /** By number. */
    private static final byte[][] COMPONENTS = new byte[8192][];

    static {
        Map<Integer, String> names = Map.ofEntries(
                Map.entry(1, "Tomcat"), Map.entry(2, "HttpClient"), Map.entry(3, "Dubbo"), Map.entry(11, "Feign"),
                Map.entry(12, "OKHttp"), Map.entry(13, "SpringRestTemplate"), Map.entry(14, "SpringMVC"), Map.entry(23, "GRPC"),
                Map.entry(30, "Jedis"), Map.entry(32, "h2-jdbc-driver"), Map.entry(33, "mysql-connector-java"),
                Map.entry(37, "postgresql-jdbc-driver"), Map.entry(38, "rocketMQ-producer"), Map.entry(39, "rocketMQ-consumer"),
                Map.entry(40, "kafka-producer"), Map.entry(41, "kafka-consumer"), Map.entry(42, "mongodb-driver"),
                Map.entry(45, "activemq-producer"), Map.entry(46, "activemq-consumer"), Map.entry(47, "Elasticsearch"),
                Map.entry(52, "rabbitmq-producer"), Map.entry(53, "rabbitmq-consumer"), Map.entry(56, "Redisson"),
                Map.entry(57, "Lettuce"), Map.entry(61, "spring-cloud-gateway"), Map.entry(65, "SpringAsync"),
                Map.entry(66, "JdkHttp"), Map.entry(67, "spring-webflux"), Map.entry(73, "pulsar-producer"),
                Map.entry(74, "pulsar-consumer"), Map.entry(77, "rest-high-level-client"), Map.entry(78, "spring-tx"),
                Map.entry(80, "JdkThreading"), Map.entry(104, "mssql-jdbc-driver"), Map.entry(109, "MyBatis"),
                Map.entry(115, "AlibabaDruid"), Map.entry(116, "HikariCP"), Map.entry(119, "ClickHouse-jdbc-driver"),
                Map.entry(6000, "Nginx"), Map.entry(7000, "Python"), Map.entry(7001, "Flask"), Map.entry(7002, "Requests"));
        Arrays.fill(COMPONENTS, NONE);
        names.forEach((number, name) -> COMPONENTS[number] = Rows.text(name));
    }

    private Names() {}

    static boolean isServer(int type, int layer) {
        return type == 0 && layer != MQ;
    }

    static byte[] kind(int type, int layer) {
        return layer == MQ && (type == 0 || type == 1) ? MESSAGING[type] : of(KINDS, type);
    }

    static byte[] status(boolean error) {
        return STATUSES[error ? 1 : 0];
    }

    static byte[] layer(int number) {
        return of(LAYERS, number);
    }

    static byte[] refType(int number) {
        return of(REF_TYPES, number);
    }

    static byte[] component(int number) {
        return number >= 0 && number < COMPONENTS.length ? COMPONENTS[number] : NONE;
    }

    private static byte[] of(byte[][] known, int number) {
        return number >= 0 && number < known.length ? known[number] : Rows.text("unknown(" + number + ")");
    }

    private static byte[][] texts(String... names) {
        byte[][] texts = new byte[names.length][];
        for (int at = 0; at < names.length; at++) {
            texts[at] = Rows.text(names[at]);
        }
        return texts;
    }
}
