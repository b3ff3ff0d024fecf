//! Random identifiers of the simulated systems.

use aws_lc_rs::rand;

/// A random GUID in lower case.
pub(crate) fn guid() -> String {
    hyphenated(guid_number())
}

/// A random 128-bit number with the version bits of a random GUID.
pub(crate) fn guid_number() -> u128 {
    let n = u128::from_be_bytes(random());
    n & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62)
}

/// A number in the form of a GUID.
pub(crate) fn hyphenated(n: u128) -> String {
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        n >> 96,
        (n >> 80) & 0xffff,
        (n >> 64) & 0xffff,
        (n >> 48) & 0xffff,
        n & 0xffff_ffff_ffff
    )
}

/// Cryptographically random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source works");
    bytes
}
