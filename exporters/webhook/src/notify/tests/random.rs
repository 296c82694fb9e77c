//! Any order of alarms, restarts and times.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::{SECOND, at, firing, notifier, resolved, settings};
use crate::notify::notifier::Notifier;

/// Whatever comes when, with a restart after any step and alarms that come again: people hear of each alarm
/// in turns that it fires and that it is over, the last thing they hear is the truth, and a restart changes
/// nothing.
#[test]
fn people_hear_of_each_beginning_and_each_end_once() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let keys = json!({
            "group_by": if random.random_bool(0.5) { json!(["service"]) } else { json!([]) },
            "group_wait": "3s", "group_interval": "10s", "repeat_interval": "0s", "max_age": "0s"
        });
        let mut notifier = notifier(keys.clone());
        let mut steady = self::notifier(keys.clone());
        let mut truth: BTreeMap<String, bool> = BTreeMap::new();
        let (mut heard, mut heard_steady) = (Vec::new(), Vec::new());
        let mut now = 0;
        for _ in 0..60 {
            now += random.random_range(0..5);
            let name = format!("f{}", random.random_range(0..4));
            let fires = truth.entry(name.clone()).or_insert(false);
            *fires = !*fires;
            let alarm = if *fires { firing(&name, now) } else { resolved(&name, now) };
            let times = random.random_range(1..3);
            notifier.receive(vec![alarm.clone(); times], now * SECOND);
            steady.receive(vec![alarm], now * SECOND);
            if random.random_bool(0.5) {
                let bytes = serde_json::to_vec(notifier.state()).unwrap();
                notifier = Notifier::new(settings(keys.clone()), serde_json::from_slice(&bytes).unwrap());
            }
            heard.extend(at(&mut notifier, now));
            heard_steady.extend(at(&mut steady, now));
            now += 1;
        }
        for second in now..now + 60 {
            heard.extend(at(&mut notifier, second));
            heard_steady.extend(at(&mut steady, second));
        }
        assert_eq!(heard, heard_steady, "seed {seed}");
        let mut known: BTreeMap<&str, bool> = BTreeMap::new();
        for word in heard.iter().flat_map(|message| message.split(' ')) {
            let (sign, name) = word.split_at(1);
            let before = known.insert(name, sign == "+").unwrap_or(false);
            assert_ne!(before, sign == "+", "seed {seed}: {name} in {heard:?}");
        }
        for (name, fires) in &truth {
            assert_eq!(known.get(name.as_str()).copied().unwrap_or(false), *fires, "seed {seed}: {name}");
        }
    }
}
