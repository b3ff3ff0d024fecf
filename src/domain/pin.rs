//! PINs of a room.

use rand::{Rng, RngExt};
use secrecy::{ExposeSecret, SecretString};

/// A PIN that Pexip accepts: 4–20 digits, of which the last may be `#`.
#[derive(Clone, Debug)]
pub struct Pin(SecretString);

/// Pexip does not accept the text as a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 4 to 20 digits; the last character may be #")]
pub struct InvalidPin;

impl Pin {
    pub fn parse(text: &str) -> Result<Self, InvalidPin> {
        let digits = text.strip_suffix('#').unwrap_or(text);
        if (4..=20).contains(&text.len()) && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPin)
        }
    }

    /// The digits, for Pexip and for answers to authorised callers.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn random(form: PinForm, rng: &mut impl Rng) -> Self {
        let mut text: String = (0..form.digits).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect();
        if form.hash {
            text.push('#');
        }
        Self(text.into())
    }

    fn form(&self) -> PinForm {
        let hash = self.expose().ends_with('#');
        PinForm { digits: self.expose().len() - usize::from(hash), hash }
    }
}

/// Length and ending of a PIN. Pexip requires both PINs of a room to have the same length, or both to end in `#`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PinForm {
    digits: usize,
    hash: bool,
}

/// How a new room gets its host PIN.
#[derive(Clone, Debug)]
pub enum HostPin {
    /// A random PIN for each room, with this many digits.
    PerRoom { length: usize },
    /// One PIN for all rooms, for widgets that have it in their own configuration.
    Fixed(Pin),
}

impl HostPin {
    /// Whether a room with these PINs may have been made by this setting.
    pub fn has_made(&self, host: &str, guest: &str) -> bool {
        let (Ok(host), Ok(guest)) = (Pin::parse(host), Pin::parse(guest)) else { return false };
        let is_host_pin = match self {
            Self::PerRoom { length } => host.form() == PinForm { digits: *length, hash: false },
            Self::Fixed(pin) => host.expose() == pin.expose(),
        };
        is_host_pin && guest.form() == host.form() && guest.expose() != host.expose()
    }
}

/// Host PIN and guest PIN of one room: different, of the same length.
#[derive(Clone, Debug)]
pub struct Pins {
    pub host: Pin,
    pub guest: Pin,
}

impl Pins {
    /// Whether Pexip accepts them for one room.
    pub fn fit(&self) -> bool {
        self.host.form() == self.guest.form() && self.host.expose() != self.guest.expose()
    }

    /// Draws the PINs of a new room. `rng` must be cryptographically secure.
    pub fn draw(host: &HostPin, rng: &mut impl Rng) -> Self {
        let host = match host {
            HostPin::PerRoom { length } => Pin::random(PinForm { digits: *length, hash: false }, rng),
            HostPin::Fixed(pin) => pin.clone(),
        };
        // Pexip refuses a room with equal PINs: a guest could join as host.
        loop {
            let guest = Pin::random(host.form(), rng);
            if guest.expose() != host.expose() {
                return Self { host, guest };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn host_and_guest_pin_differ_and_have_the_same_length() {
        let mut rng = StdRng::seed_from_u64(1);
        // PINs of four digits are equal about once in 10,000 draws.
        for _ in 0..40_000 {
            let pins = Pins::draw(&HostPin::PerRoom { length: 4 }, &mut rng);
            assert_ne!(pins.host.expose(), pins.guest.expose());
            assert_eq!(pins.host.expose().len(), pins.guest.expose().len());
        }
    }

    #[test]
    fn a_guest_pin_has_the_form_of_a_fixed_host_pin() {
        let host = HostPin::Fixed(Pin::parse("4711#").expect("a valid PIN"));
        let pins = Pins::draw(&host, &mut StdRng::seed_from_u64(1));
        assert_eq!(pins.host.expose(), "4711#");
        assert_eq!(pins.guest.expose().len(), 5);
        assert!(pins.guest.expose().ends_with('#'));
    }

    #[test]
    fn pins_that_were_drawn_are_known_from_others() {
        let fixed = HostPin::Fixed(Pin::parse("4711#").expect("a valid PIN"));
        let mut rng = StdRng::seed_from_u64(1);
        for setting in [HostPin::PerRoom { length: 6 }, fixed.clone()] {
            let Pins { host, guest } = Pins::draw(&setting, &mut rng);
            assert!(setting.has_made(host.expose(), guest.expose()));
            assert!(!setting.has_made(host.expose(), host.expose()));
            for (host, guest) in [(host.expose(), ""), ("", guest.expose()), (host.expose(), "123"), ("", "")] {
                assert!(!setting.has_made(host, guest));
            }
        }
        for (host, guest) in [("12345", "54321"), ("12345#", "54321#"), ("123456", "65432"), ("12345a", "654321")] {
            assert!(!HostPin::PerRoom { length: 6 }.has_made(host, guest), "{host} {guest}");
        }
        for (host, guest) in [("4712#", "1234#"), ("4711#", "12345"), ("4711#", "123#")] {
            assert!(!fixed.has_made(host, guest), "{host} {guest}");
        }
    }

    #[test]
    fn pins_that_pexip_refuses_are_refused() {
        for refused in ["", "123", "123456789012345678901", "12a4", "12#4", "####", "１２３４", " 1234"] {
            assert_eq!(Pin::parse(refused).err(), Some(InvalidPin), "{refused:?}");
        }
        for taken in ["1234", "12345678901234567890", "123#"] {
            assert!(Pin::parse(taken).is_ok(), "{taken:?}");
        }
    }

    #[test]
    fn debug_output_shows_no_digit() {
        let pins = Pins::draw(&HostPin::PerRoom { length: 6 }, &mut StdRng::seed_from_u64(1));
        let shown = format!("{pins:?}");
        assert!(!shown.bytes().any(|byte| byte.is_ascii_digit()), "{shown}");
    }
}
