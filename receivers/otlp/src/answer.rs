//! What a client is told.

use weir_proto::otlp::{Partial, Refused};
use weir_server::{Outcome, Refusal};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All of it is taken.
    Taken,
    /// All but some items is taken. These would be refused again.
    Partly(Partial),
    /// Nothing of it is taken.
    Refused(Refusal),
}

impl Answer {
    /// As metrics count it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Answer::Taken => Outcome::Taken,
            Answer::Partly(_) => Outcome::Partly,
            Answer::Refused(refusal) => Outcome::Refused(refusal.reason),
        }
    }

    /// The items that are not taken, of a request that is.
    pub(crate) fn partial(&self) -> Option<&Partial> {
        match self {
            Answer::Partly(partial) => Some(partial),
            Answer::Taken | Answer::Refused(_) => None,
        }
    }
}

/// A refusal as OTLP writes it.
pub(crate) fn refused(refusal: &Refusal) -> Refused {
    Refused {
        code: i32::from(refusal.reason.code()),
        message: refusal.message.clone(),
        retry_after: refusal.reason.retry_after(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_server::Reason;

    #[test]
    fn only_a_full_server_tells_when_to_come_again() {
        for reason in Reason::ALL {
            let after = refused(&Refusal::new(reason, "why")).retry_after;
            assert_eq!(after, (reason == Reason::Busy).then_some(Duration::from_secs(1)), "{reason:?}");
        }
    }
}
