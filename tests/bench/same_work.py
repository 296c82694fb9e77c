"""Whether Weir and the Flink job do the same work: both store one topic in the real engine, and what they stored is compared."""

import sys
import time

import flink_job
from program import Weir
from run import gateway

TOPIC = "peers_check"
# Where the Flink job stores, in tables such as Weir makes. They stay, empty.
FLINK = "by_flink"
TABLES = ("events", "window_results", "alarms")
BURSTS = 6
BURST = 5_000
# So far apart that windows close: they are kept open for 10 s.
PAUSE = 4
# Rules that fire and resolve, of some services and of all.
RULES = [(f"{prefix or 'any'}-{ms}", prefix, ms * 1_000_000) for prefix in ("", "pay", "gateway") for ms in range(25, 600, 25)]
EVENTS = """
    SELECT count(), sum(sipHash64(time, end_time, duration_ns, trace_id, span_id, parent_span_id, segment_id, segment_span_id,
        service, service_instance, operation, kind, status, peer, component, component_id, layer, skip_analysis, size_limited,
        toString(links), toString(events), toString(attributes)))
    FROM {database}.events"""
# The end of the stream closes every window in Flink; Weir leaves those open that the next segment could still
# be in.
WINDOWS = """
    SELECT operator, window_start, window_end, service, operation, firing, count, error_count, success_rate, avg_duration_ns,
        max_duration_ns, min_duration_ns, p50_duration_ns, p90_duration_ns, p95_duration_ns, p99_duration_ns, traffic_rate
    FROM {database}.window_results FINAL
    WHERE (operator, window_end) IN (SELECT operator, window_end FROM {weir}.window_results) ORDER BY ALL"""
ALARMS = """
    SELECT time, rule, severity, state, service, operation, toString(labels), measure, value, threshold, window_start, window_end,
        fingerprint, starts_at, ends_at, rule_epoch
    FROM {database}.alarms
    WHERE (length(labels), time) IN (SELECT if(operator LIKE '%endpoint', 2, 1), window_end FROM {weir}.window_results) ORDER BY ALL"""


def check(servers):
    """Ends the measurement when anything differs; returns what was compared, as a sentence."""
    servers.discard(False)
    servers.topic(TOPIC)
    for burst in range(BURSTS):
        time.sleep(PAUSE if burst else 0)
        if servers.produce(TOPIC, BURST).wait() != 0:
            sys.exit("produce_segments failed")
    segments = BURSTS * BURST
    by_weir(servers, segments)
    servers.sql(f"CREATE DATABASE {FLINK}")
    for table in TABLES:
        servers.sql(f"CREATE TABLE {FLINK}.{table} AS by_weir.{table}")
    said = flink_job.run(servers, TOPIC, "check", FLINK, RULES).said
    flink_job.verify(said, segments)
    found = {}
    for name, query in (("spans", EVENTS), ("windows", WINDOWS), ("alarms", ALARMS)):
        weir, flink = (servers.sql(query.format(database=database, weir="by_weir") + " FORMAT TSV").splitlines()
                       for database in ("by_weir", FLINK))
        if weir != flink:
            differ = sorted(set(weir) ^ set(flink))[:10]
            sys.exit(f"Weir and Flink stored different {name} ({len(weir)} and {len(flink)} lines), such as:\n" + "\n".join(differ))
        found[name] = weir
    if found["spans"][0].split("\t")[0] != str(16 * segments) or not found["windows"] or not found["alarms"]:
        sys.exit(f"the check compared too little: {found['spans']}, {len(found['windows'])} windows, {len(found['alarms'])} alarms")
    servers.sql("DROP DATABASE by_weir")
    for table in TABLES:
        servers.sql(f"TRUNCATE TABLE {FLINK}.{table}")
    return (f"Before the measurement both stored one topic of {segments:,} segments in the engine: {16 * segments:,} spans, "
            f"{len(found['windows'])} results of windows and {len(found['alarms'])} alarms (of {len(RULES)} rules that fire), equal in "
            f"every column but the alarms' message.")


def by_weir(servers, segments):
    """Stores the topic, until the last span and the last window that closes."""
    servers.sql("CREATE DATABASE by_weir")
    weir = Weir(gateway(servers, TOPIC, "by_weir", "by_weir", RULES))
    sent, quiet = 0, 0
    while sent < 16 * segments or quiet < 4 or weir.metric("weir_exporter_queue_bytes") > 0:
        time.sleep(0.5)
        before, sent = sent, weir.metric("weir_exporter_sent_rows_total")
        quiet = quiet + 1 if sent == before else 0
    weir.stop()
