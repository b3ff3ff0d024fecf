use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::HeaderName;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that the request came from, as the hop before this process saw it: the last one in `X-Forwarded-For`.
/// Whatever stands before it the caller may have written.
///
/// The connection itself always comes from the Functions host. Behind a gateway the address is the gateway's, the same
/// for all callers; without one it is the caller's own. An IPv6 address stands for its /64, which one caller has for
/// itself.
pub fn client_address(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim();
    let address = last.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| last.parse()).ok()?;
    Some(match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_address_is_the_one_that_the_last_hop_wrote() {
        for (values, expected) in [
            (&["203.0.113.7"][..], Some("203.0.113.7")),
            (&["203.0.113.7:51234"], Some("203.0.113.7")),
            (&["198.51.100.1, 203.0.113.7:51234"], Some("203.0.113.7")),
            (&["198.51.100.1", "203.0.113.7"], Some("203.0.113.7")),
            (&["2001:db8:1:2:3:4:5:6"], Some("2001:db8:1:2::")),
            (&["[2001:db8:1:2:3:4:5:6]:443"], Some("2001:db8:1:2::")),
            (&["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (&["203.0.113.7, unknown"], None),
            (&["203.0.113.7,"], None),
            (&["\u{e9}"], None),
            (&[""], None),
            (&[], None),
        ] {
            let header = |value: &&str| (FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let headers = values.iter().map(header).collect();
            assert_eq!(client_address(&headers), expected.map(|text| text.parse().unwrap()), "{values:?}");
        }
    }
}
