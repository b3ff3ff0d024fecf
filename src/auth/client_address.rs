//! The address that a request comes from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reqwest::header::{HeaderMap, HeaderName};

/// The address in this header, into which the gateway writes it. `None`, which all callers without an address share, if
/// there is not exactly one.
///
/// The peer address does not help: it is always the Functions host's. Nor does `X-Forwarded-For`: behind a gateway its
/// last entry is the gateway's address, and callers choose the entries before it. An IPv6 address is reduced to its
/// /64, because one caller usually has a whole /64.
pub fn client_address(headers: &HeaderMap, header: Option<&HeaderName>) -> Option<IpAddr> {
    let mut values = headers.get_all(header?).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?.trim();
    let address = text.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| text.parse()).ok()?;
    Some(match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("x-client-address");

    #[test]
    fn the_address_is_the_only_one_in_the_gateways_header() {
        for (values, expected) in [
            (&["203.0.113.7"][..], Some("203.0.113.7")),
            (&[" 203.0.113.7 "], Some("203.0.113.7")),
            (&["203.0.113.7:51234"], Some("203.0.113.7")),
            (&["2001:db8:1:2:3:4:5:6"], Some("2001:db8:1:2::")),
            (&["[2001:db8:1:2:3:4:5:6]:443"], Some("2001:db8:1:2::")),
            (&["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (&["198.51.100.1, 203.0.113.7:51234"], None),
            (&["203.0.113.7", "203.0.113.7"], None),
            (&["203.0.113.7,"], None),
            (&["203.0.113.7 203.0.113.8"], None),
            (&["203.0.113.7:"], None),
            (&["203.0.113.7:99999"], None),
            (&["203.0.113"], None),
            (&["unknown"], None),
            (&["\u{e9}"], None),
            (&[""], None),
            (&[], None),
        ] {
            let header = |value: &&str| (HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let headers = values.iter().map(header).collect();
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(client_address(&headers, Some(&HEADER)), expected, "{values:?}");
            assert_eq!(client_address(&headers, None), None, "{values:?}");
        }
    }
}
