//! A moment as people read it.

use jiff::Timestamp;

/// In UTC, to the second: the one form in every list and sentence.
///
/// ```
/// assert_eq!(nuages_saga::moment(jiff::Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00Z");
/// ```
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
