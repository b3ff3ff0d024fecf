use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Shorter texts would occur by chance.
const SHORTEST: usize = 8;

/// Texts that must not occur in output, in any encoding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

#[derive(Clone, Debug)]
struct Secret {
    what: String,
    /// Each search text with its name.
    forms: Vec<(&'static str, String)>,
}

impl Secrets {
    /// Adds a secret, with a name for the failure message.
    pub(crate) fn plant(&mut self, what: impl Into<String>, secret: &str) {
        let what = what.into();
        assert!(secret.len() >= SHORTEST, "{what} is too short to be unique: {secret}");
        let bytes = secret.as_bytes();
        // As `Debug` writes bytes.
        let listed = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut forms = vec![
            ("as it is", without_escapes(secret).into_owned()),
            ("in hexadecimal", hex::encode(secret)),
            ("as a list of bytes", listed),
        ];
        for shift in 0..3 {
            forms.push(("in base64", core_of_base64(&STANDARD, bytes, shift)));
            forms.push(("in base64url", core_of_base64(&URL_SAFE, bytes, shift)));
        }
        self.0.push(Secret { what, forms });
    }

    /// The secrets in `text`, each with its encoding.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let unescaped = without_escapes(text);
        let decoded = without_escapes(&url_decoded(&unescaped)).into_owned();
        let views = [unescaped.to_ascii_lowercase(), decoded, unescaped.into_owned()];
        let stands = |form: &str| views.iter().any(|view| view.contains(form));
        let found = |secret: &Secret| {
            let form = secret.forms.iter().find(|(_, form)| stands(form));
            form.map(|(name, _)| format!("{} {name}", secret.what))
        };
        self.0.iter().filter_map(found).collect()
    }

    /// Fails if a secret is in the text that `whose` wrote.
    #[track_caller]
    pub(crate) fn assert_not_in(&self, whose: &str, text: &str) {
        assert!(!self.0.is_empty(), "there are secrets to search for");
        let found = self.found_in(text);
        assert!(found.is_empty(), "{whose} tells {found:?}: {text}");
    }
}

/// Removes the backslashes of nested quoting by JSON or `Debug`.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if text.contains('\\') { text.replace('\\', "").into() } else { text.into() }
}

/// Decodes percent and plus signs anywhere in the text.
fn url_decoded(text: &str) -> String {
    let one_value = format!("={}", text.replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(one_value.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The base64 characters that encode only `bytes` if `shift` bytes, modulo 3, precede them.
fn core_of_base64(alphabet: &Alphabet, bytes: &[u8], shift: usize) -> String {
    let shifted = [&[0; 2][..shift], bytes].concat();
    let text = GeneralPurpose::new(alphabet, NO_PAD).encode(&shifted);
    // The first and last characters also encode bits of the neighbours.
    text[(8 * shift).div_ceil(6)..8 * shifted.len() / 6].to_owned()
}
