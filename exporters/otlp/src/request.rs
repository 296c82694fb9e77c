//! The bytes of a request, from batches of one signal.
//!
//! A request is a list of resources. So requests one after the other are one request, and what came from
//! several clients is sent as one without being read.

use bytes::Bytes;
use weir_component::Outgoing;
use weir_pdata::{EventBatch, Format, Payload, Signal, otlp};

/// A batch as the bytes of a request.
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
}

/// The batch as bytes, if it has columns; any other stays as it came.
pub(crate) fn prepare(batch: EventBatch) -> Outgoing {
    let Payload::Columns(columns) = &batch.payload else { return batch.into() };
    let mut bytes = Vec::new();
    match otlp::encode(batch.signal, columns, &mut bytes) {
        Ok(()) => {
            bytes.shrink_to_fit();
            let size = bytes.capacity();
            Outgoing::prepared(batch, Encoded { bytes: bytes.into() }, size)
        }
        // The export says why.
        Err(_) => batch.into(),
    }
}

/// The rows of a prepared batch.
pub(crate) fn restore(batch: &Outgoing) -> Result<EventBatch, String> {
    let Some(Encoded { bytes }) = batch.content::<Encoded>() else {
        return batch.events().ok_or_else(|| "it was prepared by another exporter".to_owned());
    };
    let format = format(batch.signal).ok_or_else(|| format!("{} have no form in OTLP", batch.signal))?;
    let encoded = weir_pdata::Encoded::concat(format, [&**bytes]).map_err(|error| error.to_string())?;
    let decoded = weir_pdata::decode(&encoded, &weir_pdata::Projection::everything());
    let records = decoded.rejected.first().map(|rejected| &rejected.reason);
    let reason = records.or(decoded.rejected_items.first().map(|rejected| &rejected.reason));
    reason.map_or_else(|| Ok(batch.with_columns(decoded.columns.clone())), |reason| Err(reason.to_string()))
}

/// The request that holds all of these batches, and how many received requests are in it as they came.
pub(crate) fn assemble(batches: &[Outgoing]) -> Result<(Bytes, u64), String> {
    if let [only] = batches
        && let Some(Encoded { bytes }) = only.content::<Encoded>()
    {
        return Ok((bytes.clone(), 0));
    }
    let (mut request, mut forwarded) = (Vec::new(), 0);
    for batch in batches {
        if let Some(Encoded { bytes }) = batch.content::<Encoded>() {
            request.extend_from_slice(bytes);
            continue;
        }
        let Some(events) = batch.events() else {
            return Err("it was prepared by another exporter".to_owned());
        };
        match &events.payload {
            Payload::Columns(columns) => {
                otlp::encode(events.signal, columns, &mut request).map_err(|error| error.to_string())?;
            }
            Payload::Encoded(encoded) => {
                for range in encoded.records.iter() {
                    let (start, end) = (range.start as usize, range.end as usize);
                    request.extend_from_slice(encoded.arena.get(start..end).unwrap_or_default());
                    forwarded += 1;
                }
            }
        }
    }
    Ok((request.into(), forwarded))
}

/// How requests of a signal are encoded.
pub(crate) fn format(signal: Signal) -> Option<Format> {
    match signal {
        Signal::Traces => Some(Format::OtlpTraces),
        Signal::Logs => Some(Format::OtlpLogs),
        Signal::Metrics => Some(Format::OtlpMetrics),
        Signal::Windows | Signal::Alarms => None,
    }
}

/// A request in JSON.
pub(crate) fn to_json(signal: Signal, request: &[u8]) -> Result<Vec<u8>, String> {
    let format = format(signal).ok_or_else(|| format!("{signal} have no form in OTLP"))?;
    let mut json = Vec::with_capacity(request.len().saturating_mul(2));
    otlp::to_json(format, request, &mut json).map_err(|error| error.to_string())?;
    Ok(json)
}
