//! Running: one lane a file, each with its own task.
//!
//! Reading and decoding happen on blocking threads, a batch at a time; nothing is read ahead, so memory stays
//! at one batch a file. Batches carry no ack: a file keeps its lines, and there is no position to commit.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weir_component::{
    Context, Lane, LaneClosed, LaneMessage, LaneSet, LaneSpec, LogLimit, Receiver, ReceiverError,
    ReceiverHost, Rejects, Watermark,
};
use weir_pdata::{Ack, EventBatch, Origin, SharedProjection};

use crate::batches::{Batches, Reader};
use crate::config::FileConfig;
use crate::input_file::{FileRead, InputFile};
use crate::lines::Chunk;
use crate::rejects::FileRejects;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);
/// How long a lane is idle before it says so, and how often it says so again.
const IDLE_REPORT: Duration = Duration::from_secs(1);

/// Reads files.
pub(crate) struct FileReceiver {
    config: FileConfig,
    context: Context,
}

impl FileReceiver {
    /// A receiver with checked settings.
    pub(crate) fn new(config: FileConfig, context: Context) -> FileReceiver {
        FileReceiver { config, context }
    }
}

#[async_trait]
impl Receiver for FileReceiver {
    fn transport(&self) -> Option<&'static str> {
        Some("file")
    }

    fn brings_windows(&self) -> bool {
        true
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let FileReceiver { config, context } = *self;
        // Opening a named pipe waits for its writer.
        let opening = tokio::task::spawn_blocking({
            let config = config.clone();
            move || open_all(&config)
        });
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            opened = opening => opened.map_err(|error| abnormal(&context, error))?,
        };
        let opened = opened.map_err(|problems| {
            let message = format!("receiver {}: {problems}", context.id);
            ReceiverError::new(message)
        })?;
        // All lanes open before the first line is read: none may run ahead of one that is not there yet. And
        // they end together, so that none lets a window fire without what another had when it was stopped.
        let set = LaneSet::default();
        let stop = stop.child_token();
        let files: Vec<FileLane> = config
            .path
            .0
            .iter()
            .zip(opened)
            .map(|(path, file)| FileLane::open(path, file, &config, &context, &host, set.clone(), &stop))
            .collect();
        host.ready();
        let mut tasks = JoinSet::new();
        for file in files {
            tasks.spawn(file.run());
        }
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(abnormal(&context, error)));
            if ended.is_err() && result.is_ok() {
                result = ended;
                stop.cancel(); // the others drain
            }
        }
        result
    }
}

/// Opens every file. The error names all that cannot be opened.
fn open_all(config: &FileConfig) -> Result<Vec<InputFile>, String> {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for path in &config.path.0 {
        match InputFile::open(path, config.follow, config.max_batch_rows, config.max_line_bytes.as_usize()) {
            Ok(file) => files.push(file),
            Err(error) => problems.push(format!("cannot open the file `{}`: {error}", path.display())),
        }
    }
    if problems.is_empty() {
        return Ok(files);
    }
    let folder = std::env::current_dir().unwrap_or_default();
    problems.push(format!(
        "check `path` and that this user may read it; relative paths begin at {}, patterns (`*`) are not expanded",
        folder.display()
    ));
    Err(problems.join("; "))
}

fn abnormal(context: &Context, error: tokio::task::JoinError) -> ReceiverError {
    ReceiverError {
        message: format!("receiver {}: reading ended abnormally; please report this", context.id),
        source: Some(Box::new(error)),
    }
}

/// One file on its way down one lane.
struct FileLane {
    file: Arc<str>,
    origin: Arc<str>,
    lane: Lane,
    /// `None` only while a blocking thread reads.
    input: Option<Input>,
    rejects: Arc<FileRejects>,
    context: Context,
    follow: bool,
    max_line: usize,
    stop: CancellationToken,
}

/// The needs of a blocking thread that makes batches.
struct Input {
    source: InputFile,
    reader: Reader,
    projection: SharedProjection,
}

/// The result of a blocking thread.
enum FileBatches {
    /// The lines and what they hold; whether the file is at its end.
    Read { chunk: Chunk, batches: Batches, ended: bool },
    /// A followed file has nothing new.
    NothingNew,
}

/// Why a lane ends.
enum End {
    /// The file is read to its end.
    Complete,
    /// The program stops.
    Stopped,
}

impl FileLane {
    fn open(
        path: &Path,
        source: InputFile,
        config: &FileConfig,
        context: &Context,
        host: &ReceiverHost,
        set: LaneSet,
        stop: &CancellationToken,
    ) -> FileLane {
        let file: Arc<str> = path.display().to_string().into();
        let rejects = Arc::new(FileRejects::new(context, Arc::clone(&file)));
        FileLane {
            origin: format!("{}/{file}", context.id).into(),
            lane: host.open_lane(LaneSpec {
                name: Arc::clone(&file),
                rejects: rejects.clone(),
                ledger: None,
                set,
                signal: None,
            }),
            file,
            input: Some(Input { source, reader: Reader::default(), projection: host.projection.clone() }),
            rejects,
            context: context.clone(),
            follow: config.follow,
            max_line: config.max_line_bytes.as_usize(),
            stop: stop.clone(),
        }
    }

    async fn run(mut self) -> Result<(), ReceiverError> {
        let ended = match self.read_to_end().await {
            Ok(Ok(end)) => Ok(end),
            // The pipeline has stopped: nothing more can be sent, not even an end.
            Ok(Err(LaneClosed)) => return Ok(()),
            Err(error) => Err(error),
        };
        if matches!(ended, Ok(End::Complete))
            && self.lane.send(LaneMessage::Watermark(Watermark::MAX)).await.is_err()
        {
            return Ok(());
        }
        // Nothing is left to do when the lane is closed.
        let _ = self.lane.send(LaneMessage::Drain).await;
        ended.map(drop)
    }

    async fn read_to_end(&mut self) -> Result<Result<End, LaneClosed>, ReceiverError> {
        let log = LogLimit::every_ms(10_000);
        let mut silence: Option<Silence> = None;
        loop {
            let Some(made) = self.make().await? else { return Ok(Ok(End::Stopped)) };
            match made {
                Ok(FileBatches::Read { chunk, batches, ended }) => {
                    silence = None;
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return Ok(Ok(End::Stopped)),
                        () = self.lane.ready() => {}
                    }
                    if self.send(&chunk, batches).await.is_err() {
                        return Ok(Err(LaneClosed));
                    }
                    if ended {
                        return Ok(Ok(End::Complete));
                    }
                    continue;
                }
                Ok(FileBatches::NothingNew) => {
                    if let Some(idle) = silence.get_or_insert_with(Silence::begin).due()
                        && self.lane.send(LaneMessage::Idle(idle)).await.is_err()
                    {
                        return Ok(Err(LaneClosed));
                    }
                }
                Err(error) if self.follow => {
                    if let Some(suppressed) = log.allow(self.context.clock.now_ms()) {
                        let (receiver, file) = (&self.context.id, &self.file);
                        tracing::warn!(%receiver, %file, %error, suppressed, "cannot read the file, trying again");
                    }
                }
                Err(error) => {
                    let message = format!(
                        "receiver {}: cannot read the file `{}` to its end: {error}; start again when it can be read",
                        self.context.id, self.file
                    );
                    return Err(ReceiverError { message, source: Some(Box::new(error)) });
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Ok(End::Stopped)),
                () = sleep(POLL) => {}
            }
        }
    }

    /// Reads and decodes on a blocking thread. `None`: the program stops.
    async fn make(&mut self) -> Result<Option<io::Result<FileBatches>>, ReceiverError> {
        let Some(mut input) = self.input.take().filter(|_| !self.stop.is_cancelled()) else {
            return Ok(None);
        };
        let making = tokio::task::spawn_blocking(move || {
            let made = input.make();
            (input, made)
        });
        tokio::select! {
            biased;
            // A read that waits (a named pipe) is left behind.
            () = self.stop.cancelled() => Ok(None),
            made = making => {
                let (input, made) = made.map_err(|error| abnormal(&self.context, error))?;
                self.input = Some(input);
                Ok(Some(made))
            }
        }
    }

    async fn send(&mut self, chunk: &Chunk, batches: Batches) -> Result<(), LaneClosed> {
        self.rejects.read(chunk.len() + chunk.too_long.len());
        self.rejects.empty(batches.empty);
        self.rejects.backwards(batches.backwards);
        for (index, reason) in &batches.rejected {
            self.rejects.reject(chunk.number(*index), chunk.line(*index), reason);
        }
        for line in &chunk.too_long {
            self.rejects.reject_too_long(line, self.max_line);
        }
        for (signal, columns, positions) in batches.batches {
            let origin = Origin::lane(Arc::clone(&self.origin), positions);
            let batch = EventBatch::columns(signal, columns, origin, Ack::none());
            self.lane.send(LaneMessage::Batch(batch)).await?;
        }
        Ok(())
    }
}

impl Input {
    fn make(&mut self) -> io::Result<FileBatches> {
        let (chunk, ended) = match self.source.read()? {
            FileRead::Lines(chunk) => (chunk, false),
            FileRead::End(chunk) => (chunk, true),
            FileRead::NothingNew => return Ok(FileBatches::NothingNew),
        };
        let batches = self.reader.read(&chunk, &self.projection.load());
        Ok(FileBatches::Read { chunk, batches, ended })
    }
}

/// How long a followed file has had nothing new.
struct Silence {
    since: Instant,
    said: Duration,
}

impl Silence {
    fn begin() -> Silence {
        Silence { since: Instant::now(), said: Duration::ZERO }
    }

    /// The length of the silence, about once a second.
    fn due(&mut self) -> Option<Duration> {
        let idle = self.since.elapsed();
        if idle < self.said + IDLE_REPORT {
            return None;
        }
        self.said = idle;
        Some(idle)
    }
}

#[cfg(test)]
mod tests;
