use std::fmt;

use super::Setting;

/// How the names of our settings begin that nobody else's do.
const OURS: [&str; 8] = ["ENTRA_", "GENESYS_", "PEXIP_", "POOL_", "PoolStorage", "ROOM_", "SWEEP_", "UUI_"];

/// Letters that are wrong, missing, too many or in the wrong order in a name that is taken for a misspelt one, at most.
const MOST_MISTAKES: usize = 2;

/// A variable that is no setting, although its name says that it was meant to be one. It has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name. Of its value nothing is known here.
    pub name: String,
    /// The setting whose name comes nearest.
    pub meant: Option<&'static str>,
}

impl UnknownVariable {
    /// Looks at the name of a variable that is set.
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
    fn a_misspelt_setting_is_told_from_a_foreign_variable() {
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
