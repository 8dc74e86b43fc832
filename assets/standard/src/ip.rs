//! Ranges of internet addresses.

use std::net::IpAddr;

/// A range of addresses in CIDR notation; a single address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    first: u128,
    last: u128,
    is_v4: bool,
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

impl Range {
    /// Reads `10.0.0.0/8`, `fd00::/8` or an address.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let (address, is_v4) = number(address.parse().ok()?);
        let width = if is_v4 { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse::<u32>).ok().filter(|bits| *bits <= width)?;
        let host = if bits == width { 0 } else { u128::MAX >> (128 - (width - bits)) };
        Some(Self { first: address & !host, last: address | host, is_v4 })
    }

    /// Makes the range between two addresses of one kind.
    pub(crate) fn between(first: &str, last: &str) -> Option<Self> {
        let ((first, is_v4), (last, last_is_v4)) = (number(first.parse().ok()?), number(last.parse().ok()?));
        (is_v4 == last_is_v4).then_some(Self { first, last, is_v4 })
    }

    /// Tells whether `text` is an address of the range.
    pub(crate) fn contains(self, text: &str) -> bool {
        let Ok(address) = text.parse() else { return false };
        let (address, is_v4) = number(address);
        is_v4 == self.is_v4 && (self.first..=self.last).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_should() {
        let cases = [
            ("10.0.0.0/8", "10.1.1.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3/8", "10.255.255.255", true),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4/32", "1.2.3.5", false),
            ("fd00::/8", "fdff::1", true),
            ("::/0", "1.2.3.4", false),
            ("10.0.0.0/8", "no address", false),
        ];
        for (range, address, is_inside) in cases {
            assert_eq!(Range::read(range).unwrap().contains(address), is_inside, "{range} {address}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "x/8", "fd00::/129"] {
            assert_eq!(Range::read(wrong), None, "{wrong}");
        }
        assert!(Range::between("1.0.0.1", "1.0.0.9").unwrap().contains("1.0.0.9"));
        assert_eq!(Range::between("1.0.0.1", "::1"), None);
    }
}
