//! The clock of the store, which may be wrong on purpose.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};

/// Shows the time of this machine, and how far it is off.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Milliseconds.
    offset: AtomicI64,
    /// The `Date` header of this second: written once for all its answers.
    date: Mutex<Option<(i64, HeaderValue)>>,
}

impl Clock {
    pub(super) fn set(&self, offset: SignedDuration) {
        let millis = i64::try_from(offset.as_millis()).unwrap_or_default();
        self.offset.store(millis, Ordering::Relaxed);
    }

    /// To the millisecond, as it is shown.
    pub(super) fn now(&self) -> Timestamp {
        let millis = Timestamp::now().as_millisecond() + self.offset.load(Ordering::Relaxed);
        Timestamp::from_millisecond(millis).unwrap_or_default()
    }

    pub(super) fn date(&self) -> HeaderValue {
        let now = self.now();
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((second, value)) = &*date
            && *second == now.as_second()
        {
            return value.clone();
        }
        let value = HeaderValue::from_str(&http_date(now)).unwrap_or(HeaderValue::from_static(""));
        *date = Some((now.as_second(), value.clone()));
        value
    }
}

/// As in headers.
pub(super) fn http_date(time: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

/// As in listings, with milliseconds.
pub(super) fn write_iso(time: Timestamp, out: &mut String) {
    // To a String nothing fails.
    let _ = write!(out, "{time:.3}");
}
