//! Variables that are misspelt settings.

use std::fmt;

use super::Setting;

/// Prefixes of our settings' names that no other program's variables have.
const OURS: [&str; 9] = ["ENTRA_", "GENESYS_", "INSTANT_", "PEXIP_", "POOL_", "PoolStorage", "ROOM_", "SWEEP_", "UUI_"];

/// Most wrong, missing, extra or swapped letters with which a name counts as a misspelt setting.
const MOST_MISTAKES: usize = 2;

/// A variable that is not a setting, although its name looks like one. It has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    pub name: String,
    /// The setting with the most similar name.
    pub meant: Option<&'static str>,
}

impl UnknownVariable {
    /// `None` for a setting, and for a variable of another program.
    pub(super) fn of(name: String, settings: impl Iterator<Item = &'static Setting>) -> Option<Self> {
        let mistakes =
            |setting: &Setting| strsim::damerau_levenshtein(&name.to_uppercase(), &setting.name.to_uppercase());
        let (nearest, mistakes) =
            settings.map(|setting| (setting.name, mistakes(setting))).min_by_key(|(_, mistakes)| *mistakes)?;
        let meant = (mistakes <= MOST_MISTAKES).then_some(nearest);
        let is_unknown = nearest != name && (meant.is_some() || OURS.iter().any(|prefix| name.starts_with(prefix)));
        is_unknown.then_some(Self { name, meant })
    }
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is no setting and has no effect", self.name)?;
        self.meant.map_or(Ok(()), |meant| write!(formatter, "; is {meant} meant?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn unknown(name: &str) -> Option<UnknownVariable> {
        UnknownVariable::of(name.to_owned(), Config::settings())
    }

    #[test]
    fn a_misspelt_setting_is_found_and_a_foreign_variable_is_not() {
        for (name, meant) in [
            ("POOL_TARGET_SIZ", Some("POOL_TARGET_SIZE")),
            ("POOL_TAGRET_SIZE", Some("POOL_TARGET_SIZE")),
            ("GENESYS_OAUTH_CLIENT_ID", Some("GENESYS_OAUTH_CLIENT_IDS")),
            ("pexip_username", Some("PEXIP_USERNAME")),
            ("LOGLEVEL", Some("LOG_LEVEL")),
            ("CORS_ALLOWED_ORIGIN", Some("CORS_ALLOWED_ORIGINS")),
            ("POOL_SIZE", None),
            ("PEXIP_VERIFY_TLS", None),
        ] {
            assert_eq!(unknown(name), Some(UnknownVariable { name: name.to_owned(), meant }));
        }
        let settings = Config::settings().map(|setting| setting.name);
        let foreign = [
            "PATH",
            "FUNCTIONS_WORKER_RUNTIME",
            "FUNCTIONS_HTTPWORKER_PORT",
            "AzureWebJobsStorage__blobServiceUri",
            "WEBSITE_SLOT_NAME",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "APPINSIGHTS_INSTRUMENTATIONKEY",
            "MAXCONF_URL",
            "SANDBOX_ENTRA_TOKEN",
            "SMOKE_ENTRA_TOKEN_URL",
            "SMOKE_GENESYS_TOKEN",
            "SSL_CERT_FILE",
        ];
        for name in settings.chain(foreign) {
            assert_eq!(unknown(name), None, "{name}");
        }
    }
}
