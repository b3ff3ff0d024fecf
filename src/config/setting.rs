//! How a setting is declared, once, and how it is read from the environment.

use std::ffi::OsString;
use std::fmt;

use super::parser::optional;

/// One environment variable, as `--help` and the reference page show it.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub default: WhenUnset,
    /// Whether the value is a secret, which belongs in the vault.
    pub secret: bool,
    /// What it means, with its unit, for an operator.
    pub meaning: &'static str,
}

/// What holds when a variable is not set, or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnset {
    /// This value.
    Value(&'static str),
    /// This value in `local`. Everywhere else the setting is required, because the value suits a laptop only.
    LocalOnly(&'static str),
    /// No value; these words say what that means.
    Described(&'static str),
    /// The settings are faulty.
    Required,
}

impl fmt::Display for WhenUnset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) | Self::Described(text) => formatter.write_str(text),
            Self::LocalOnly(value) => write!(formatter, "required outside local; {value} in local"),
            Self::Required => formatter.write_str("required"),
        }
    }
}

/// A setting that cannot be used, and why. Never holds its value, which could be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultySetting {
    pub setting: &'static str,
    pub reason: String,
}

/// A setting, or a section with one, cannot be used. The [`Reader`] has recorded the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faulty;

/// Declares settings, each once.
///
/// ```ignore
/// settings! {
///     /// The management node.
///     PexipConfig, PexipDraft {
///         /// Ends in `/`.
///         url: Url = "PEXIP_MANAGEMENT_URL", Required, base_url, "https address of the management node.";
///         max_in_flight: usize = "PEXIP_MAX_IN_FLIGHT", Value("5"), whole_number(1, 100), "Concurrent calls.";
///     }
/// }
/// ```
///
/// A line is `field: type = [secret] "NAME", default, parser, "meaning";`. It becomes a field of the section
/// `PexipConfig`, a row of `PexipDraft::SETTINGS`, and its reading in `PexipDraft::read`. A draft has the result of
/// each setting, for the rules between settings; `complete` makes the section of it if no setting is faulty.
///
/// Settings that a function of their own reads are `NAME = [secret] "NAME", default, "meaning";`: each line becomes a
/// constant, and a row of the module's `SETTINGS`.
macro_rules! settings {
    (
        $(#[$about:meta])*
        $section:ident, $draft:ident {
            $($(#[$doc:meta])* $field:ident: $type:ty =
                $($secret:ident)? $name:literal, $default:expr, $parser:expr, $meaning:literal;)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $section {
            $($(#[$doc])* #[doc = concat!("From `", $name, "`.")] pub $field: $type,)+
        }

        pub(super) struct $draft {
            $(pub(super) $field: Result<$type, Faulty>,)+
        }

        impl $draft {
            pub(super) const SETTINGS: &[Setting] = &[$(settings!(@row $($secret)? $name, $default, $meaning)),+];

            pub(super) fn read(reader: &mut Reader<'_>) -> Self {
                Self { $($field: reader.read(&settings!(@row $($secret)? $name, $default, $meaning), $parser)),+ }
            }

            pub(super) fn complete(self) -> Result<$section, Faulty> {
                Ok($section { $($field: self.$field?),+ })
            }
        }
    };
    ($($constant:ident = $($secret:ident)? $name:literal, $default:expr, $meaning:literal;)+) => {
        $(const $constant: Setting = settings!(@row $($secret)? $name, $default, $meaning);)+

        pub(super) const SETTINGS: &[Setting] = &[$($constant),+];
    };
    (@row secret $name:literal, $default:expr, $meaning:literal) => {
        Setting { name: $name, default: $default, secret: true, meaning: $meaning }
    };
    (@row $name:literal, $default:expr, $meaning:literal) => {
        Setting { name: $name, default: $default, secret: false, meaning: $meaning }
    };
}

pub(super) use settings;

/// Reads settings and collects their faults, so that all are reported together.
pub(super) struct Reader<'a> {
    source: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) faults: Vec<FaultySetting>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { source, faults: Vec::new() }
    }

    /// Records a fault.
    pub(super) fn fault(&mut self, setting: &'static str, reason: impl Into<String>) -> Faulty {
        self.faults.push(FaultySetting { setting, reason: reason.into() });
        Faulty
    }

    /// Reads and parses a setting. The parser gets the empty text when [`WhenUnset::Described`] applies.
    pub(super) fn read<T>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Faulty> {
        let text = match (self.raw(setting.name)?, setting.default) {
            (Some(text), _) => text,
            (None, WhenUnset::Value(text) | WhenUnset::LocalOnly(text)) => text.to_owned(),
            (None, WhenUnset::Described(_)) => String::new(),
            (None, WhenUnset::Required) => return Err(self.fault(setting.name, "is not set")),
        };
        parse(&text).map_err(|reason| self.fault(setting.name, reason))
    }

    /// Reads two settings that are set together, or not at all.
    pub(super) fn pair<A, B>(
        &mut self,
        first: &Setting,
        parse_first: impl FnOnce(&str) -> Result<A, String>,
        second: &Setting,
        parse_second: impl FnOnce(&str) -> Result<B, String>,
    ) -> Result<Option<(A, B)>, Faulty> {
        let values: (Result<Option<A>, _>, Result<Option<B>, _>) =
            (self.read(first, optional(parse_first)), self.read(second, optional(parse_second)));
        let (missing, present) = match (values.0?, values.1?) {
            (Some(first), Some(second)) => return Ok(Some((first, second))),
            (None, None) => return Ok(None),
            (Some(_), None) => (second.name, first.name),
            (None, Some(_)) => (first.name, second.name),
        };
        Err(self.fault(missing, format!("is not set, but {present} is")))
    }

    /// An empty value counts as not set: that is how a portal and a pipeline leave a setting out.
    pub(super) fn is_set(&self, setting: &Setting) -> bool {
        (self.source)(setting.name).is_some_and(|value| !value.is_empty())
    }

    fn raw(&mut self, name: &'static str) -> Result<Option<String>, Faulty> {
        let Some(value) = (self.source)(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let text = value.into_string().map_err(|_| self.fault(name, "is not valid UTF-8"))?;
        // App Service leaves the literal reference in place when it could not read the secret behind it.
        if text.trim_start().starts_with("@Microsoft.KeyVault(") {
            let reason = "is a Key Vault reference that did not resolve; check the identity's access to the vault";
            return Err(self.fault(name, reason));
        }
        Ok(Some(text))
    }
}
