use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Shorter ones would be found where they are not.
const SHORTEST: usize = 8;

/// Texts that must not leave the program, in whatever form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

#[derive(Clone, Debug)]
struct Secret {
    what: String,
    /// What to look for, each with its name.
    forms: Vec<(&'static str, String)>,
}

impl Secrets {
    /// One more, with words that say what it is.
    pub(crate) fn plant(&mut self, what: impl Into<String>, secret: &str) {
        let what = what.into();
        assert!(secret.len() >= SHORTEST, "{what} is too short to be told from other texts: {secret}");
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

    /// What of it stands in `text`, and how; empty if all is well.
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

    /// Fails if any of it stands in what `whose` wrote.
    #[track_caller]
    pub(crate) fn assert_not_in(&self, whose: &str, text: &str) {
        assert!(!self.0.is_empty(), "there is something to look for");
        let found = self.found_in(text);
        assert!(found.is_empty(), "{whose} tells {found:?}: {text}");
    }
}

/// Quoted once or several times over, in JSON or by `Debug`, a text differs by its backslashes.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if text.contains('\\') { text.replace('\\', "").into() } else { text.into() }
}

/// Percent signs and plus signs as the query of a URL has them, wherever they stand.
fn url_decoded(text: &str) -> String {
    let one_value = format!("={}", text.replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(one_value.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The characters that stand in base64 for `bytes` wherever `shift` bytes, and any number of threes, precede them.
fn core_of_base64(alphabet: &Alphabet, bytes: &[u8], shift: usize) -> String {
    let shifted = [&[0; 2][..shift], bytes].concat();
    let text = GeneralPurpose::new(alphabet, NO_PAD).encode(&shifted);
    // The character at each end carries bits of the neighbours too.
    text[(8 * shift).div_ceil(6)..8 * shifted.len() / 6].to_owned()
}
