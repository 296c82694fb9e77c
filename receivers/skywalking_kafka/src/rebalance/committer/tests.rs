use super::*;
use crate::partition::position::tests::ledger;

fn at(partition: i32) -> Place {
    Place { topic: 0, partition }
}

/// What there is to commit for these.
fn due(lanes: &[(Place, Ledger)]) -> Due<'_> {
    lanes.iter().map(|(place, ledger)| (*place, ledger, ledger.resumed().unwrap())).collect()
}

#[test]
fn a_request_for_partitions_that_have_gone_is_not_sent_and_while_one_is_sent_they_do_not_go() {
    let shared = Arc::new(Shared::default());
    let committer = Committer(Arc::clone(&shared), Lease::default());
    let lanes: Vec<(Place, Ledger)> = (0..2).map(|partition| (at(partition), ledger(5))).collect();
    lanes.iter().for_each(|(at, ledger)| committer.add(*at, ledger.clone(), Gauge::default()));
    let sending = shared.begin_sending(&due(&lanes)).expect("both are owned");
    committer.remove(at(1));
    assert!(
        committer.is_sending(&[at(1)])
            && committer.is_sending(&[at(0), at(7)])
            && !committer.is_sending(&[at(7)])
    );
    drop(sending);
    assert!(!committer.is_sending(&[at(0), at(1)]));
    assert!(shared.begin_sending(&due(&lanes)).is_none(), "one of them has gone");
    committer.add(at(1), ledger(5), Gauge::default());
    assert!(shared.begin_sending(&due(&lanes)).is_none(), "it has come back under another ownership");
    assert!(shared.begin_sending(&due(&lanes[..1])).is_some());
    committer.0.lock().ended = true;
    assert!(shared.begin_sending(&due(&lanes[..1])).is_none());
}

#[test]
fn what_a_length_is_tried_on_with_is_read_as_what_was_there() {
    let (shared, short, long) = (Shared::default(), ledger(5), ledger(7));
    let mut written = long.resumed().unwrap();
    written.metadata.windows.insert("main/aggregate".to_owned(), 99);
    let entry = CommittedLane { ledger: long.clone(), gauge: Gauge::default(), written: Some(written) };
    shared.lock().lanes.insert(at(1), entry);
    let lanes = [(at(0), short), (at(1), long)];
    let (partition, offset, text) = shared.shortest(&due(&lanes)).unwrap();
    assert_eq!((partition, offset), (at(0), 5), "what was there when the ownership began");
    let metadata = weir_component::delivery::Metadata::decode(&format!("{text:300}")).unwrap().unwrap();
    assert_eq!(metadata.encode(), text);
}
