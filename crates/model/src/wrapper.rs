//! Links of a chain of causes that tell nobody anything.
//!
//! Invariant: only what has a cause of its own is left out: the last link always stays.

use std::error::Error;

/// Whether an error only names the layer of an HTTP client that handed on its cause, such as `client error (Connect)`
/// above `tcp connect error: Connection refused`. Whoever tells a chain of causes leaves it out.
///
/// ```
/// #[derive(Debug, thiserror::Error)]
/// #[error("{0}")]
/// struct Link(&'static str, #[source] Option<Box<Link>>);
///
/// let refused = || Some(Box::new(Link("Connection refused", None)));
/// assert!(nuages_model::is_wrapper(&Link("client error (Connect)", refused())));
/// assert!(!nuages_model::is_wrapper(&Link("failed to ask the registry", refused())));
/// assert!(!nuages_model::is_wrapper(&Link("client error (Connect)", None)), "nothing else is known");
/// ```
pub fn is_wrapper(error: &(dyn Error + 'static)) -> bool {
    error.source().is_some() && names_a_wrapper(&error.to_string())
}

fn names_a_wrapper(text: &str) -> bool {
    // bollard's words around those of hyper-util.
    let text = text.strip_prefix("Error in the hyper legacy client: ").unwrap_or(text);
    let kind = text
        .strip_prefix("client error (")
        .and_then(|rest| rest.strip_suffix(')'));
    // The SDK's word for a connection that failed.
    text == "io error" || kind.is_some_and(|kind| kind.chars().all(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::names_a_wrapper;

    #[test]
    fn only_what_is_nothing_but_a_wrapper() {
        for wrapper in [
            "Error in the hyper legacy client: client error (Connect)",
            "client error (SendRequest)",
            "io error",
        ] {
            assert!(names_a_wrapper(wrapper), "{wrapper}");
        }
        for cause in [
            "client error (Connect) while the image was read",
            "tcp connect error",
            "client error",
            "io error: no space left on device",
            "",
        ] {
            assert!(!names_a_wrapper(cause), "{cause}");
        }
    }
}
