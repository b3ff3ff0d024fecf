//! `Idempotency-Key`: a caller's name for the one room that it wants.

/// Most characters of a key.
const LONGEST: usize = 64;

/// The key as the caller chose it. `Debug` does not show it: it is text of a caller.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The key does not have its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Idempotency-Key must be given once, as 1 to {LONGEST} characters of A-Z, a-z, 0-9, - and _")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// The pattern of the header's value.
    pub const PATTERN: &str = "^(\"[A-Za-z0-9_-]{1,64}\"|[A-Za-z0-9_-]{1,64})$";

    /// Parses the header's value. One pair of double quotes around it is not part of the key: the IETF draft writes it
    /// as a string of a structured field.
    pub fn parse(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let text = text.trim_matches([' ', '\t']);
        let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=LONGEST).contains(&key.len()) && key.bytes().all(is_allowed) {
            Ok(Self(key.to_owned()))
        } else {
            Err(InvalidIdempotencyKey)
        }
    }

    /// For the hash that names its record.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IdempotencyKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        let longest = "k".repeat(LONGEST);
        for (text, key) in [("k", "k"), ("\"k\"", "k"), (" A-z_09 ", "A-z_09"), (&longest, &longest)] {
            assert_eq!(IdempotencyKey::parse(text).ok().as_ref().map(IdempotencyKey::expose), Some(key), "{text:?}");
        }
        let too_long = "k".repeat(LONGEST + 1);
        for text in ["", "\"\"", "\"", "\"k", "k\"", "\"\"k\"\"", "a b", "a,b", "ä", "'k'", &too_long] {
            assert!(IdempotencyKey::parse(text).is_err(), "{text:?}");
        }
    }
}
