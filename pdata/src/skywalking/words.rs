//! Texts that Weir gives to rows beside those that were received, such as the names of attributes.
//!
//! They are laid behind the received bytes, so that keys and values are views of one buffer.

use arrow::buffer::Buffer;

use crate::columns::text::Text;
use crate::{Encoded, MAX_ARENA};

macro_rules! words {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// A text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Word { $($name),* }

        const TEXTS: &[&str] = &[$($text),*];
    };
}

words! {
    Layer = "layer",
    TaskId = "task_id",
    Sequence = "sequence",
    EventType = "event.type",
    EventUuid = "event.uuid",
    EndTime = "end_time",
    ReferenceType = "reference.type",
    InstanceProperties = "instance_properties",
    InstancePing = "instance_ping",
    ThreadSnapshot = "thread_snapshot",
    TextBody = "text",
    JsonBody = "json",
    YamlBody = "yaml",
    Normal = "normal",
    Error = "error",
    SkyWalking = "skywalking",
    Zipkin = "zipkin",
    GcName = "jvm.gc.name",
    MemoryType = "jvm.memory.type",
    PoolName = "jvm.memory.pool.name",
    ThreadState = "thread.state",
    Heap = "heap",
    NonHeap = "non_heap",
    GcNew = "NEW",
    GcOld = "OLD",
    GcNormal = "NORMAL",
    CodeCache = "CODE_CACHE_USAGE",
    NewGen = "NEWGEN_USAGE",
    OldGen = "OLDGEN_USAGE",
    Survivor = "SURVIVOR_USAGE",
    PermGen = "PERMGEN_USAGE",
    Metaspace = "METASPACE_USAGE",
    ZHeap = "ZHEAP_USAGE",
    CompressedClassSpace = "COMPRESSED_CLASS_SPACE_USAGE",
    CodeHeapNonNmethods = "CODEHEAP_NON_NMETHODS_USAGE",
    CodeHeapProfiled = "CODEHEAP_PROFILED_NMETHODS_USAGE",
    CodeHeapNonProfiled = "CODEHEAP_NON_PROFILED_NMETHODS_USAGE",
    Live = "live",
    Daemon = "daemon",
    Peak = "peak",
    Runnable = "runnable",
    Blocked = "blocked",
    Waiting = "waiting",
    TimedWaiting = "timed_waiting",
}

/// Where each word is in the arena of a batch.
#[derive(Debug)]
pub(super) struct Words(Vec<Text>);

impl Words {
    /// The batch with the words behind its bytes. `None`: they do not fit.
    pub(super) fn append(encoded: &Encoded) -> Option<(Encoded, Words)> {
        let more: usize = TEXTS.iter().map(|text| text.len()).sum();
        let mut arena = Vec::with_capacity(encoded.arena.len() + more);
        arena.extend_from_slice(encoded.arena.as_slice());
        let mut places = Vec::with_capacity(TEXTS.len());
        for text in TEXTS {
            let start = u32::try_from(arena.len()).ok()?;
            arena.extend_from_slice(text.as_bytes());
            places.push(Text { start, len: u32::try_from(text.len()).ok()? });
        }
        let fits = arena.len() <= MAX_ARENA;
        fits.then(|| (Encoded { arena: Buffer::from_vec(arena), ..encoded.clone() }, Words(places)))
    }

    /// A word.
    pub(super) fn text(&self, word: Word) -> Text {
        self.0.get(word as usize).copied().unwrap_or_default()
    }
}
