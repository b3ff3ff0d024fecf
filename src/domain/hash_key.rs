//! Keyed hashes that replace secrets in memory and in the audit trail.

use aws_lc_rs::hmac;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};

/// A key for HMAC-SHA-256. Without the key, a hashed value cannot be found by trying candidates.
#[derive(Clone, Debug)]
pub struct HashKey(hmac::Key);

impl HashKey {
    /// A key from the settings, so that processes with the same key make the same hashes.
    pub fn new(key: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes()))
    }

    /// A random key, which only this process has.
    pub fn random() -> Self {
        let mut random = [0; 32];
        SysRng.try_fill_bytes(&mut random).expect("a machine without a random source cannot keep secrets");
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random))
    }

    /// The hash of a value under this key.
    pub fn hash(&self, value: &[u8]) -> [u8; 32] {
        hmac::sign(&self.0, value).as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// The hash of several values for one purpose. Values are separated by their lengths, and `purpose` keeps hashes of
    /// the same values for different purposes apart.
    pub fn hash_for(&self, purpose: &str, values: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for value in [purpose.as_bytes()].iter().chain(values) {
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value);
        }
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_value_and_key() {
        let (one, other) = (HashKey::random(), HashKey::random());
        assert_eq!(one.hash(b"value"), one.hash(b"value"));
        assert_ne!(one.hash(b"value"), one.hash(b"another value"));
        assert_ne!(one.hash(b"value"), other.hash(b"value"), "each random key differs");
        let set = || HashKey::new(&"key".into());
        assert_eq!(set().hash(b"value"), set().hash(b"value"));
    }

    #[test]
    fn hashes_of_several_values_depend_on_their_borders_and_on_the_purpose() {
        let key = HashKey::random();
        assert_eq!(key.hash_for("name", &[b"a", b"bc"]), key.hash_for("name", &[b"a", b"bc"]));
        assert_ne!(key.hash_for("name", &[b"a", b"bc"]), key.hash_for("name", &[b"ab", b"c"]));
        assert_ne!(key.hash_for("name", &[b"a"]), key.hash_for("content", &[b"a"]));
    }

    #[test]
    fn a_printed_key_does_not_show_its_secret() {
        assert!(!format!("{:?}", HashKey::new(&"planted-secret".into())).contains("planted"));
    }
}
