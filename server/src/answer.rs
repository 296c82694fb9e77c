//! Why a request is not taken, for both protocols.

use std::time::Duration;

use hyper::StatusCode;
use tonic::Code;

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason.
    pub reason: Reason,
    /// What happened, and what to do.
    pub message: String,
}

/// The kinds of reasons. Each has a status in both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read. It would be refused again.
    Malformed,
    /// It is not from whom it should be.
    Unauthenticated,
    /// It is larger than requests may be.
    TooLarge,
    /// There is no room now.
    Busy,
    /// It may not have been delivered.
    Unavailable,
    /// Its body did not come in time.
    Slow,
    /// The protocol, the encoding or the type of its body is not spoken here.
    Unsupported,
    /// There is nothing at its path.
    NotFound,
    /// It is no POST.
    Method,
}

/// How long clients should wait when there is no room.
const BUSY_WAIT: Duration = Duration::from_secs(1);

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::Malformed,
        Reason::Unauthenticated,
        Reason::TooLarge,
        Reason::Busy,
        Reason::Unavailable,
        Reason::Slow,
        Reason::Unsupported,
        Reason::NotFound,
        Reason::Method,
    ];

    /// As metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Unauthenticated => "unauthenticated",
            Reason::TooLarge => "too_large",
            Reason::Busy => "busy",
            Reason::Unavailable => "unavailable",
            Reason::Slow => "slow",
            Reason::Unsupported => "unsupported",
            Reason::NotFound => "not_found",
            Reason::Method => "method",
        }
    }

    /// As gRPC says it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Reason::Malformed => Code::InvalidArgument,
            Reason::Unauthenticated => Code::Unauthenticated,
            // Without `RetryInfo`, so that the client does not send it again.
            Reason::TooLarge | Reason::Busy => Code::ResourceExhausted,
            Reason::Unavailable => Code::Unavailable,
            Reason::Slow => Code::DeadlineExceeded,
            Reason::Unsupported | Reason::NotFound | Reason::Method => Code::Unimplemented,
        }
    }

    /// As HTTP says it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Reason::Malformed => StatusCode::BAD_REQUEST,
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Busy => StatusCode::TOO_MANY_REQUESTS,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Slow => StatusCode::REQUEST_TIMEOUT,
            Reason::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// After how long the client may send it again. `None`: never, or it chooses itself.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Reason::Busy => Some(BUSY_WAIT),
            _ => None,
        }
    }
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal { reason, message: message.into() }
    }

    /// The program ends.
    #[must_use]
    pub fn stopping() -> Refusal {
        Refusal::new(Reason::Unavailable, "Weir is shutting down: send it again")
    }

    /// As many bytes wait as may.
    #[must_use]
    pub fn full() -> Refusal {
        Refusal::new(Reason::Busy, "too many requests wait (queue.max_bytes): send it again later")
    }
}
