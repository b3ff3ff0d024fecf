//! Which PIN gives which role.

use std::fmt;

use crate::pexip::live::Role;
use crate::pexip::service::Service;

/// The PIN that guests send where only hosts have one.
const NO_PIN: &str = "none";

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No room has this alias, as far as this node knows.
    NotFound,
    /// The room requires a PIN.
    PinRequired {
        /// Whether guests have a PIN of their own. Otherwise they send `none`, where guests are allowed.
        of_guests: bool,
    },
    /// The PIN is neither the host's nor the guests'.
    InvalidPin,
    /// The call has been ended.
    Disconnected,
}

impl Service {
    /// The role that this PIN gives; `None` for a request without a PIN.
    pub(super) fn role_by(&self, pin: Option<&str>) -> Result<Role, Refused> {
        let guests_have_pins = !self.guest_pin.is_empty();
        match pin {
            _ if self.pin.is_empty() => Ok(Role::Chair),
            None => Err(Refused::PinRequired { of_guests: guests_have_pins }),
            Some(pin) if pin == self.pin => Ok(Role::Chair),
            Some(pin) if self.allow_guests && pin == if guests_have_pins { &self.guest_pin } else { NO_PIN } => {
                Ok(Role::Guest)
            }
            Some(_) => Err(Refused::InvalidPin),
        }
    }
}

/// The client API's texts, where it has one.
impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotFound => "Neither conference nor gateway found",
            Self::PinRequired { .. } => "PIN required",
            Self::InvalidPin => "Invalid PIN",
            Self::Disconnected => "Call disconnected",
        })
    }
}

impl std::error::Error for Refused {}
