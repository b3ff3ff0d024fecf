//! Why a guard refuses a request: a closed set of labels, each with a text for the log.

/// A refusal whose reason is a label of `maxconf.auth.results`.
pub trait Reason {
    /// In `snake_case`.
    fn reason(&self) -> &'static str;
}

/// Defines an enum of reasons: each variant with its label and with the text for the log.
macro_rules! reasons {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal, $text:literal;)+ }) => {
        $crate::domain::named_enum! {
            $(#[$about])*
            #[derive(thiserror::Error)]
            pub enum $name {
                $($(#[$doc])* #[error($text)] $variant = $label,)+
            }
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];
        }

        impl $crate::auth::Reason for $name {
            fn reason(&self) -> &'static str {
                self.as_str()
            }
        }
    };
}

pub(super) use reasons;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::auth::{EntraRefusal, GenesysRefusal, InvalidCredentials, PermissionFault, TokenFault, UserFault};
    use crate::telemetry::metrics::ALL;

    #[test]
    fn the_metric_lists_exactly_the_reasons_of_the_guards() {
        let refusals = [
            GenesysRefusal::Invalid,
            GenesysRefusal::Inactive(String::new()),
            GenesysRefusal::OtherDivision(String::new()),
            GenesysRefusal::Unavailable(String::new(), Duration::ZERO),
            GenesysRefusal::Busy(Duration::ZERO),
            GenesysRefusal::Unreadable(String::new()),
            GenesysRefusal::TooManyLookups(Duration::ZERO),
        ];
        let mut reasons =
            BTreeSet::from(["ok", EntraRefusal::NoKeys.reason(), EntraRefusal::KeyToCome(Duration::ZERO).reason()]);
        reasons.extend(InvalidCredentials::ALL.iter().map(Reason::reason));
        reasons.extend(TokenFault::ALL.iter().map(Reason::reason));
        reasons.extend(PermissionFault::ALL.iter().map(Reason::reason));
        reasons.extend(UserFault::ALL.iter().map(Reason::reason));
        reasons.extend(refusals.iter().map(Reason::reason));

        let metric = ALL.iter().find(|about| about.name == "maxconf.auth.results").expect("the metric");
        let listed = metric.labels.iter().find(|label| label.name == "reason").expect("the label").values;
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), reasons);
        assert_eq!(listed.len(), reasons.len(), "each once");
    }
}
