//! Random values.
//!
//! Invariant: every character of a value has six bits from the operating system's generator.

use nuages_model::Secret;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::SecretsError;

/// Safe in a URL, in a shell and in a `.env` file, without quotes anywhere; 64 of them, so none is likelier than another.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) fn random_value(length: u16) -> Result<Secret<String>, SecretsError> {
    let mut bytes = vec![0_u8; usize::from(length)];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SecretsError::Random)?;
    Ok(Secret::new(
        bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte & 63)]))
            .collect(),
    ))
}

/// A token by which a repeated call is recognised: it becomes the version's id (Secrets Manager API reference,
/// `ClientRequestToken`: 32 to 64 characters).
pub(crate) fn request_token() -> Result<String, SecretsError> {
    Ok(random_value(40)?.into_exposed().replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn uses_the_whole_alphabet_and_never_repeats() {
        let all: String = (0..200).map(|_| random_value(50).unwrap().into_exposed()).collect();
        assert_eq!(all.len(), 10_000);
        // Ten thousand draws miss one of 64 with probability below 1e-65.
        assert_eq!(all.bytes().collect::<BTreeSet<_>>(), ALPHABET.iter().copied().collect());
        assert_ne!(random_value(50).unwrap(), random_value(50).unwrap());
        assert_eq!(random_value(17).unwrap().expose().len(), 17);
        assert!((32..=64).contains(&request_token().unwrap().len()));
    }
}
