//! Which `aud` claims are accepted.

use super::parser::list;

/// Accepts a client's id as audience: client and API are one registration.
const OWN: &str = "own";

/// The `aud` values that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audiences {
    exact: Vec<String>,
    /// Whether a client's own id is accepted: client and API are one registration.
    pub own: bool,
}

impl Audiences {
    /// Whether the value is on the list, compared byte by byte.
    pub fn lists(&self, audience: &str) -> bool {
        self.exact.iter().any(|exact| exact == audience)
    }

    /// Whether the list holds `own` and the value is this client's id, as GUID or as `api://` URI. Case is ignored.
    pub fn is_own(&self, audience: &str, client: &str) -> bool {
        let scheme = "api://";
        let id = match audience.get(..scheme.len()) {
            Some(start) if start.eq_ignore_ascii_case(scheme) => &audience[scheme.len()..],
            _ => audience,
        };
        self.own && !client.is_empty() && id.eq_ignore_ascii_case(client)
    }

    /// Parses a list of values, of which one may be `own`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (own, exact): (Vec<_>, Vec<_>) = list(text)?.into_iter().partition(|entry| entry == OWN);
        Ok(Self { exact, own: !own.is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "11111111-2222-4333-8444-aaaaaaaaaaaa";

    #[test]
    fn own_is_the_clients_id_as_guid_or_as_uri() {
        let audiences = Audiences::parse("own, api://room-api").unwrap();
        for audience in [CLIENT.to_owned(), CLIENT.to_uppercase(), format!("api://{CLIENT}"), format!("API://{CLIENT}")]
        {
            assert!(audiences.is_own(&audience, CLIENT) && !audiences.lists(&audience), "{audience}");
        }
        for audience in
            ["", "own", "api://", "api:/", "é", &format!("api://{CLIENT}/"), &format!("api://api://{CLIENT}")]
        {
            assert!(!audiences.is_own(audience, CLIENT), "{audience}");
        }
        assert!(!audiences.is_own("", "") && !audiences.is_own("api://", ""));
        assert!(audiences.lists("api://room-api") && !audiences.lists("api://Room-API") && !audiences.lists("own"));
        assert!(!Audiences::parse(CLIENT).unwrap().is_own(CLIENT, CLIENT));
    }
}
