//! The processor as a whole: what it reads, what comes out, and the rules for stages.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, Int64Array, RecordBatch, StringViewArray, UInt8Array,
};
use arrow::array::{DictionaryArray, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use tokio_util::sync::CancellationToken;
use weir_component::delivery::TrunkStart;
use weir_component::testkit::{check_stage, context};
use weir_component::{Context, LaneId, LaneMessage, Outlet, Processor, Settings, Stage};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::text::TextColumn;
use weir_pdata::{Ack, Demand, Encoded, EventBatch, Format, Origin, Payload, Projection, Signal, schema};

use crate::config::{self, Config};
use crate::processor::Enrich;

fn file(settings: &str) -> String {
    let lines: String = settings.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "receivers:\n  generator:\nprocessors:\n  enrich:\n{lines}exporters:\n  nop:\nservice:\n  pipelines:\n    main:\n      receivers: [generator]\n      processors: [enrich]\n      exporters: [nop]\n"
    )
}

fn read(text: &str) -> Result<Config, Diagnostics> {
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None)?;
    let topology = Topology::read(&document)?;
    config::read(Settings::new(&document, &topology.processors[0]), &context_of_test())
}

fn no_file(_: &str) -> Option<String> {
    None
}

fn context_of_test() -> Context {
    context("enrich", std::path::Path::new("/nonexistent"))
}

fn enrich_with(settings: &str, environment: &[(&str, &str)], context: Context) -> Enrich {
    let config = read(&file(settings)).unwrap_or_else(|why| panic!("{why}"));
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: Vec<_> = environment.iter().map(owned).collect();
    Enrich::new(&config, &environment, no_file, context)
}

fn enrich(settings: &str) -> Enrich {
    enrich_with(settings, &[], context_of_test())
}

type Row<'a> = &'a [(&'a str, &'a str)];

/// A batch with a time, these text columns, and these attribute lists.
fn batch(columns: &[(&str, &[Option<&str>])], lists: &[Row<'_>]) -> RecordBatch {
    let rows = lists.len() as i64;
    let mut fields = vec![Field::new("duration_ns", DataType::Int64, true)];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows))];
    for (name, values) in columns {
        let metadata = schema::attribute_metadata("span", crate::constants::attribute_key(name));
        fields.push(Field::new(*name, DataType::Utf8View, true).with_metadata(metadata));
        arrays.push(Arc::new(StringViewArray::from(values.to_vec())));
    }
    fields.push(Field::new("attributes", schema::attribute_list(), true));
    arrays.push(attribute_lists(lists));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn attribute_lists(lists: &[Row<'_>]) -> ArrayRef {
    let pairs: Vec<_> = lists.iter().flat_map(|row| row.iter().copied()).collect();
    let mut names: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
    names.sort_unstable();
    names.dedup();
    let number = |key: &str| names.iter().position(|name| *name == key).unwrap() as i32;
    let keys: Vec<i32> = pairs.iter().map(|(key, _)| number(key)).collect();
    let names: ArrayRef = Arc::new(StringViewArray::from(names.clone()));
    let keys = DictionaryArray::<Int32Type>::try_new(keys.into(), names).unwrap();
    let types = UInt8Array::from(vec![0; pairs.len()]);
    let values = BinaryViewArray::from_iter_values(pairs.iter().map(|(_, value)| value.as_bytes()));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(types), Arc::new(values)];
    let entries = StructArray::try_new(schema::attribute_entry(), columns, None).unwrap();
    let item = Arc::new(Field::new("item", DataType::Struct(schema::attribute_entry()), true));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|row| row.len()));
    Arc::new(ListArray::try_new(item, offsets, Arc::new(entries), None).unwrap())
}

fn event(columns: RecordBatch) -> EventBatch {
    EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none())
}

/// The batch after a stage of the processor.
fn run(processor: &Enrich, columns: RecordBatch) -> RecordBatch {
    let mut stage = processor.lane_stage(&LaneId(1).into()).unwrap();
    run_on(&mut *stage, columns)
}

fn run_on(stage: &mut dyn Stage<LaneMessage>, columns: RecordBatch) -> RecordBatch {
    let mut out = Outlet::default();
    stage.handle(LaneMessage::Batch(event(columns)), &mut out);
    let Some(LaneMessage::Batch(batch)) = out.take_forwarded().next() else { panic!("no batch came out") };
    batch.as_columns().unwrap().clone()
}

fn text(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let array = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let text = TextColumn::new(array).unwrap();
    (0..batch.num_rows()).map(|row| text.get(row).map(str::to_owned)).collect()
}

fn list(batch: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let column = AttributeColumn::new(batch.column_by_name("attributes").unwrap()).unwrap();
    column.row(row).map(|(key, value)| (key.to_owned(), value.to_string())).collect()
}

fn pairs(row: Row<'_>) -> Vec<(String, String)> {
    row.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn tags_are_dictionary_columns_with_one_value() {
    let out = run(&enrich("tags: {site: bj-1}"), batch(&[], &[&[], &[], &[]]));
    assert_eq!(text(&out, "site"), vec![Some("bj-1".to_owned()); 3]);
    let field = out.schema().field_with_name("site").unwrap().clone();
    assert_eq!(field.data_type(), &schema::dictionary());
    assert_eq!(field.metadata(), &schema::attribute_metadata("span", "site"));
    assert_eq!(out.column_by_name("site").unwrap().as_dictionary::<Int32Type>().values().len(), 1);
}

#[test]
fn what_an_event_brought_is_not_overwritten() {
    let processor = enrich("tags: {site: ours}");
    assert!(processor.demand().names.contains("site"), "so that an event's own value comes as a column");
    let lists: [Row<'_>; 4] =
        [&[("site", "again"), ("a", "1")], &[], &[("site", "in the list")], &[("b", "2")]];
    let input = batch(&[("site", &[Some("theirs"), None, None, Some("")])], &lists);
    let out = run(&processor, input);
    let expected = [Some("theirs"), Some("ours"), None, Some("")].map(|value| value.map(str::to_owned));
    assert_eq!(text(&out, "site"), expected);
    assert_eq!(list(&out, 0), pairs(lists[0]));
    assert_eq!(list(&out, 2), pairs(lists[2]), "the third event's own value");
    // Without a column of its own: only the list says what it brought.
    let out = run(&processor, batch(&[], &[&[("site", "theirs")], &[]]));
    assert_eq!(text(&out, "site"), [None, Some("ours".to_owned())]);
    assert_eq!(list(&out, 0), pairs(&[("site", "theirs")]));
}

#[test]
fn properties_of_instances_lie_below_what_an_event_brought_and_above_constants() {
    let processor = enrich("instances: {columns: {host.name: [hostname]}}\ntags: {host.name: gateway}");
    let demand = processor.demand();
    assert!(demand.attributes && demand.names.contains("host.name") && demand.names.contains("event_name"));
    let mut stage = processor.lane_stage(&LaneId(1).into()).unwrap();
    let of = [("service", &[Some("s"); 3][..]), ("service_instance", &[Some("a"), Some("a"), Some("b")][..])];
    let mut report = vec![("event_name", &[Some("instance_properties"), None, None][..])];
    report.extend(of);
    let logs = batch(&report, &[&[("hostname", "h1")], &[], &[]]);
    let logs = EventBatch::columns(Signal::Logs, logs, Origin::default(), Ack::none());
    let mut out = Outlet::default();
    stage.handle(LaneMessage::Batch(logs), &mut out);
    assert_eq!(out.take_forwarded().count(), 1, "reports go on");
    // Of the first event the list has the value.
    let events = batch(&of, &[&[("host.name", "theirs")], &[], &[]]);
    let out = run_on(&mut *stage, events);
    assert_eq!(text(&out, "host.name"), [None, Some("h1".to_owned()), Some("gateway".to_owned())]);
    assert_eq!(list(&out, 0), pairs(&[("host.name", "theirs")]));
}

#[test]
fn business_columns_have_the_first_value_and_never_replace_what_an_event_brought() {
    let settings = "rename: {order: order.id}\ntypes: {amount: int64}\n\
                    business: {id: [serial, order.id, amount], code: [biz.code]}";
    let processor = enrich(settings);
    let demand = processor.demand();
    let names = ["serial", "order.id", "biz.code", "business_id", "business_code"];
    assert!(names.iter().all(|name| demand.names.contains(*name)), "{:?}", demand.names);
    assert!(!demand.names.contains("business_scenario"));
    let columns: [(&str, &[Option<&str>]); 4] = [
        ("serial", &[Some("s1"), Some(""), None, None, Some("s5"), Some("s6")]),
        ("order", &[Some("o1"), Some("a long number of an order: 2"), None, None, None, None]),
        ("amount", &[Some("1"), Some("2"), Some("3"), None, None, None]),
        ("business_id", &[None, None, None, None, Some("own"), None]),
    ];
    let lists: [Row<'_>; 6] = [&[], &[], &[], &[], &[], &[("business_id", "listed")]];
    let out = run(&processor, batch(&columns, &lists));
    let expected = [Some("s1"), Some("a long number of an order: 2"), Some("3"), None, Some("own"), None];
    assert_eq!(text(&out, "business_id"), expected.map(|value| value.map(str::to_owned)));
    assert_eq!(list(&out, 5), pairs(lists[5]));
    assert!(out.column_by_name("business_code").is_none(), "no event has a value");
    // Only the list says what an event brought.
    let out = run(&processor, batch(&columns[..1], &lists));
    let expected = [Some("s1"), None, None, None, Some("s5"), None];
    assert_eq!(text(&out, "business_id"), expected.map(|value| value.map(str::to_owned)));
}

#[test]
fn attributes_that_are_gone_cannot_be_business_columns() {
    let settings =
        "rename: {old: new}\ndrop: [gone]\nbusiness: {id: [old, gone, business_id, \"\"], code: [new]}";
    let found = read(&file(settings)).unwrap_err().to_string();
    for told in ["write `new`", "remove it from `drop`", "is the column itself", "must not be empty"] {
        assert!(found.contains(told), "{told}: {found}");
    }
    assert_eq!(found.matches("error:").count(), 4, "{found}");
}

#[test]
fn a_number_that_an_event_brought_stays_a_number() {
    let input = batch(&[("n", &[Some("7"), None])], &[&[], &[]]);
    let typed = run(&enrich("types: {n: int64}"), input);
    let out = run(&enrich("tags: {n: ours}"), typed);
    let column = out.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    assert_eq!(column.iter().collect::<Vec<_>>(), [Some(7), None]);
}

#[test]
fn with_overwrite_a_constant_replaces_a_column_of_its_name_and_what_repeats_it() {
    let processor = enrich("overwrite: true\ntags: {site: ours}");
    assert!(processor.demand().names.contains("site"), "so that an event's own value comes as a column");
    let input = batch(&[("site", &[Some("theirs"), None])], &[&[("site", "again"), ("a", "1")], &[]]);
    let out = run(&processor, input);
    assert_eq!(text(&out, "site"), vec![Some("ours".to_owned()); 2]);
    assert_eq!(out.num_columns(), 3);
    assert_eq!(list(&out, 0), pairs(&[("a", "1")]));
}

#[test]
fn variables_of_this_process_are_below_env_and_never_those_of_the_application() {
    // A gateway, and an agent's event with the application's variables.
    let processor = enrich_with(
        "env: [HOSTNAME, POD_NAME]\nhost: true",
        &[("HOSTNAME", "gateway"), ("POD_NAME", "gw-0")],
        context_of_test(),
    );
    let columns: [(&str, &[Option<&str>]); 3] = [
        ("HOSTNAME", &[Some("app"), None]),
        ("env.HOSTNAME", &[Some("app"), None]),
        ("host.name", &[Some("app"), None]),
    ];
    let out = run(&processor, batch(&columns, &[&[], &[]]));
    let both = |one: Option<&str>, other: Option<&str>| [one, other].map(|text| text.map(str::to_owned));
    assert_eq!(text(&out, "HOSTNAME"), both(Some("app"), None), "no variable is a column of its bare name");
    assert_eq!(text(&out, "env.HOSTNAME"), both(Some("app"), Some("gateway")));
    assert_eq!(text(&out, "host.name"), both(Some("app"), Some("gateway")));
    assert_eq!(text(&out, "env.POD_NAME"), both(Some("gw-0"), Some("gw-0")));
}

#[test]
fn tags_win_over_variables_and_these_over_the_host() {
    let settings = "tags: {env.A: tag}\nenv: [A, B]\nhost: true";
    let environment = [("A", "variable"), ("B", "b"), ("C", "c"), ("HOSTNAME", "shell")];
    let out = run(&enrich_with(settings, &environment, context_of_test()), batch(&[], &[&[]]));
    let value = |name: &str| text(&out, name)[0].clone().unwrap();
    assert_eq!(
        (value("env.A"), value("env.B"), value("host.name")),
        ("tag".into(), "b".into(), "shell".into())
    );
    assert_eq!(value("os.type"), std::env::consts::OS.replace("macos", "darwin"));
    assert!(out.column_by_name("env.C").is_none() && out.column_by_name("container.id").is_none());
}

#[test]
fn a_value_that_does_not_fit_its_type_stays_in_the_list_and_is_counted() {
    let context = context_of_test();
    let telemetry = context.telemetry.clone();
    let processor = enrich_with("types: {customer.id: int64}", &[], context);
    let input =
        batch(&[("customer.id", &[Some("7"), Some("x"), None, Some("")])], &[&[], &[("a", "1")], &[], &[]]);
    let out = run(&processor, input);
    let column = out.column_by_name("customer.id").unwrap().as_primitive::<Int64Type>();
    assert_eq!(column.iter().collect::<Vec<_>>(), [Some(7), None, None, None]);
    let schema = out.schema();
    assert_eq!(
        schema.field_with_name("customer.id").unwrap().metadata(),
        &schema::attribute_metadata("span", "customer.id")
    );
    assert_eq!(list(&out, 1), pairs(&[("a", "1"), ("customer.id", "x")]));
    assert_eq!((list(&out, 0), list(&out, 2)), (vec![], vec![]));
    assert_eq!(list(&out, 3), pairs(&[("customer.id", "")]));
    let counted = "weir_enrich_uncast_values_total{processor=\"enrich\",attribute=\"customer.id\"} 2";
    assert!(telemetry.encode().contains(counted), "{}", telemetry.encode());
}

#[test]
fn without_a_list_a_value_that_does_not_fit_is_null() {
    let input = batch(&[("n", &[Some("x")])], &[&[]]).project(&[0, 1]).unwrap();
    let out = run(&enrich("types: {n: bool}"), input);
    assert_eq!((out.num_columns(), out.column_by_name("n").unwrap().null_count()), (2, 1));
}

#[test]
fn a_renamed_attribute_is_renamed_wherever_it_is() {
    let input = batch(&[("old", &[Some("1"), None])], &[&[("old", "2"), ("b", "3")], &[]]);
    let out = run(&enrich("rename: {old: new}"), input);
    assert_eq!(text(&out, "new"), [Some("1".to_owned()), None]);
    assert!(out.column_by_name("old").is_none());
    assert_eq!(list(&out, 0), pairs(&[("new", "2"), ("b", "3")]));
    let schema = out.schema();
    assert_eq!(schema.field_with_name("new").unwrap().metadata(), &schema::attribute_metadata("span", "new"));
}

#[test]
fn renaming_onto_a_key_that_is_there_loses_no_value() {
    let columns: [(&str, &[Option<&str>]); 2] =
        [("old", &[Some("1"), None, None, Some("4")]), ("new", &[None, Some("2"), None, Some("5")])];
    let out = run(&enrich("rename: {old: new}"), batch(&columns, &[&[], &[], &[], &[("a", "1")]]));
    let expected = [Some("1"), Some("2"), None, Some("4")].map(|value| value.map(str::to_owned));
    assert_eq!(text(&out, "new"), expected);
    assert_eq!(list(&out, 3), pairs(&[("a", "1"), ("new", "5")]));
    assert_eq!(out.num_columns(), 3);
}

#[test]
fn two_attributes_can_swap_their_names() {
    let columns: [(&str, &[Option<&str>]); 2] = [("a", &[Some("1")]), ("b", &[Some("2")])];
    let out = run(&enrich("rename: {a: b, b: a}"), batch(&columns, &[&[]]));
    assert_eq!((text(&out, "b"), text(&out, "a")), (vec![Some("1".to_owned())], vec![Some("2".to_owned())]));
}

#[test]
fn a_renamed_attribute_is_cast_under_its_new_name() {
    let out =
        run(&enrich("rename: {old: new}\ntypes: {new: int64}"), batch(&[("old", &[Some("x")])], &[&[]]));
    assert_eq!(out.column_by_name("new").unwrap().data_type(), &DataType::Int64);
    assert_eq!(list(&out, 0), pairs(&[("new", "x")]));
}

#[test]
fn a_dropped_attribute_is_nowhere() {
    let input = batch(
        &[("secret", &[Some("1"), None]), ("kept", &[Some("k"), None])],
        &[&[("secret", "2"), ("b", "3"), ("attr.peer", "4")], &[("peer", "5")]],
    );
    let out = run(&enrich("drop: [secret, attr.peer]"), input);
    assert!(out.column_by_name("secret").is_none());
    assert_eq!(list(&out, 0), pairs(&[("b", "3"), ("attr.peer", "4")]));
    assert_eq!(list(&out, 1), [], "`attr.peer` names the attribute `peer`");
    assert_eq!(text(&out, "kept"), [Some("k".to_owned()), None]);
}

#[test]
fn lists_that_need_no_change_are_not_rebuilt() {
    let input = batch(&[("n", &[Some("1")])], &[&[("a", "1"), ("b", "2")]]);
    let before = input.column_by_name("attributes").unwrap().clone();
    let out = run(&enrich("drop: [c]\nrename: {d: e}\ntypes: {n: int64}\ntags: {f: g}"), input);
    assert!(Arc::ptr_eq(out.column_by_name("attributes").unwrap(), &before));
}

#[test]
fn slices_of_batches_keep_their_own_rows() {
    let rows: [Row<'_>; 4] =
        [&[("a", "0"), ("x", "0")], &[("a", "1")], &[("x", "2"), ("a", "2")], &[("a", "3")]];
    let input = batch(&[("n", &[Some("0"), Some("x"), Some("2"), Some("y")])], &rows).slice(1, 3);
    let out = run(&enrich("drop: [x]\ntypes: {n: int64}\ntags: {t: v}"), input);
    assert_eq!(list(&out, 0), pairs(&[("a", "1"), ("n", "x")]));
    assert_eq!(list(&out, 1), pairs(&[("a", "2")]));
    assert_eq!(list(&out, 2), pairs(&[("a", "3"), ("n", "y")]));
}

#[test]
fn what_is_dropped_renamed_cast_or_replaced_is_asked_for_by_name() {
    let settings = "tags: {t: x}\nhost: true\nenv: [E, F]\ntypes: {customer.id: int64}\nrename: {old: new}\ndrop: [gone]";
    let demand = enrich_with(settings, &[("E", "1")], context_of_test()).demand();
    let names = ["env.E", "container.id", "customer.id", "gone", "host.name", "new", "old", "os.type", "t"];
    assert_eq!(demand, Demand::names(names));
}

#[test]
fn with_the_decoder_dropped_keys_leave_and_cast_keys_become_numbers() {
    use weir_pdata::decode;
    // One segment: a span with the tags customer.id = 42 and token = t, by hand.
    let pair = |key: &str, value: &str| {
        let field = |number: u8, text: &str| [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat();
        field(1, key).into_iter().chain(field(2, value)).collect::<Vec<u8>>()
    };
    let tag = |bytes: Vec<u8>| [&[12 << 3 | 2, bytes.len() as u8], &*bytes].concat();
    let span = [tag(pair("customer.id", "42")), tag(pair("token", "t")), tag(pair("token", "u"))].concat();
    let segment = [&[3 << 3 | 2, span.len() as u8], &*span].concat();
    let encoded = Encoded::concat(Format::SkyWalkingSegment, [&*segment]).unwrap();
    let processor = enrich("types: {customer.id: int64}\ndrop: [token]");
    let projection = Projection::of(&Demand::everything().and(processor.demand()));
    let out = run(&processor, decode(&encoded, &projection).columns);
    assert_eq!(out.column_by_name("customer.id").unwrap().as_primitive::<Int64Type>().value(0), 42);
    assert!(out.column_by_name("token").is_none());
    assert_eq!(list(&out, 0), []);
}

#[test]
fn the_stage_keeps_the_rules() {
    let processor = enrich("tags: {a: b}\ntypes: {n: int64}\nrename: {x: y}\ndrop: [z]");
    let one = |signal, columns| EventBatch::columns(signal, columns, Origin::default(), Ack::none());
    let some = batch(&[("n", &[Some("x")]), ("x", &[None]), ("z", &[None])], &[&[("z", "1")]]);
    let empty = some.slice(0, 0);
    let bare = some.project(&[]).unwrap();
    let batches = Signal::ALL
        .into_iter()
        .flat_map(|signal| [&some, &empty, &bare].map(|columns| one(signal, columns.clone())))
        .collect();
    let mut stage = processor.lane_stage(&LaneId(1).into()).unwrap();
    let passes = |signal| matches!(signal, Signal::Windows | Signal::Alarms);
    let (forwarded, to_trunk) = check_stage(&mut *stage, batches, passes);
    assert!(to_trunk.is_empty());
    for message in forwarded {
        let LaneMessage::Batch(batch) = message else { continue };
        let enriched = batch.as_columns().unwrap().column_by_name("a").is_some();
        assert_eq!(enriched, !passes(batch.signal), "{}", batch.signal);
    }
}

#[test]
fn what_is_not_decoded_passes() {
    let mut stage = enrich("tags: {a: b}").lane_stage(&LaneId(1).into()).unwrap();
    let encoded = Encoded::concat(Format::SkyWalkingSegment, [&b"\n\x01t"[..]]).unwrap();
    let payload = Payload::Encoded(encoded);
    let (origin, ack, permit) = (Origin::default(), Ack::none(), weir_pdata::MemoryPermit::default());
    let batch = EventBatch { signal: Signal::Traces, payload, origin, ack, permit };
    let mut out = Outlet::default();
    stage.handle(LaneMessage::Batch(batch), &mut out);
    assert!(matches!(out.take_forwarded().next(), Some(LaneMessage::Batch(batch)) if batch.len() == 1));
}

#[tokio::test]
async fn without_settings_there_is_no_stage() {
    let processor = enrich("");
    processor.start("main", CancellationToken::new()).await.unwrap();
    assert!(
        processor.lane_stage(&LaneId(1).into()).is_none()
            && processor.trunk_stage(&TrunkStart::default()).is_none()
    );
    assert_eq!(processor.demand(), Demand::nothing());
}

#[test]
fn the_messages_say_what_is_wrong_and_where() {
    let message = |settings: &str| {
        let found = read(&file(settings)).unwrap_err();
        found.iter().map(|one| format!("{}: {}", one.path, one.message)).collect::<Vec<_>>()
    };
    assert_eq!(
        message("rename: {http.url: operation}"),
        [
            "processors.enrich.rename.\"http.url\": `operation` is a fixed column, and `enrich` changes attributes only; \
             an attribute of that name is written `attr.operation`"
        ]
    );
    assert_eq!(
        message("types: {a: int64}\nrename: {a: b}\ndrop: [x, status]"),
        [
            "processors.enrich.drop[1]: `status` is a fixed column, and `enrich` changes attributes only; \
             an attribute of that name is written `attr.status`",
            "processors.enrich.types.a: `a` is renamed before it can be cast; write `b`"
        ]
    );
}
