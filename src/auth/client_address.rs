//! The address that a request comes from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reqwest::header::{HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The last address in `X-Forwarded-For`, which the hop before this process added. The caller controls the ones before it.
///
/// The peer address is useless: it is always the Functions host's. Behind a gateway all callers have the gateway's
/// address. An IPv6 address is reduced to its /64, because one caller usually has a whole /64.
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
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_address_is_the_last_one_in_the_header() {
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
