//! Finds the ends of JSON strings and values, sixteen bytes at a step.
//!
//! All functions take the whole buffer that a record lies in, so that they may look beyond its end; what they return is to be
//! checked against the end of the record. The text is expected to be valid JSON and never trusted to be.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod block {
    //! Sixteen bytes in one vector.

    use core::arch::wasm32::{
        i8x16_splat, u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_splat, u64x2, v128, v128_or,
    };

    fn load(bytes: &[u8; 16]) -> v128 {
        let (low, high) = bytes.split_at(8);
        let word = |half: &[u8]| half.try_into().map_or(0, u64::from_le_bytes);
        u64x2(word(low), word(high))
    }

    fn first(matches: v128) -> usize {
        (u32::from(u8x16_bitmask(matches)) | 0x1_0000).trailing_zeros() as usize
    }

    /// Returns the first place of a quote or backslash, or 16.
    pub(super) fn quote(bytes: &[u8; 16]) -> usize {
        let block = load(bytes);
        first(v128_or(u8x16_eq(block, u8x16_splat(b'"')), u8x16_eq(block, u8x16_splat(b'\\'))))
    }

    /// Returns the first place of a comma, closing bracket or white space, or 16.
    pub(super) fn delimiter(bytes: &[u8; 16]) -> usize {
        let block = load(bytes);
        let closing = u8x16_eq(v128_or(block, i8x16_splat(0x20)), u8x16_splat(b'}'));
        let other = v128_or(u8x16_eq(block, u8x16_splat(b',')), u8x16_le(block, u8x16_splat(b' ')));
        first(v128_or(closing, other))
    }

    /// Returns the first place of a quote or bracket, or 16.
    pub(super) fn bracket(bytes: &[u8; 16]) -> usize {
        let block = load(bytes);
        let lower = v128_or(block, i8x16_splat(0x20));
        let brackets = v128_or(u8x16_eq(lower, u8x16_splat(b'{')), u8x16_eq(lower, u8x16_splat(b'}')));
        first(v128_or(brackets, u8x16_eq(block, u8x16_splat(b'"'))))
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod block {
    //! Sixteen bytes one by one; the compiler makes vectors of it where there are some.

    fn first(bytes: &[u8; 16], test: impl Fn(u8) -> bool) -> usize {
        bytes.iter().position(|byte| test(*byte)).unwrap_or(16)
    }

    /// Returns the first place of a quote or backslash, or 16.
    pub(super) fn quote(bytes: &[u8; 16]) -> usize {
        first(bytes, |byte| byte == b'"' || byte == b'\\')
    }

    /// Returns the first place of a comma, closing bracket or white space, or 16.
    pub(super) fn delimiter(bytes: &[u8; 16]) -> usize {
        first(bytes, super::is_delimiter)
    }

    /// Returns the first place of a quote or bracket, or 16.
    pub(super) fn bracket(bytes: &[u8; 16]) -> usize {
        first(bytes, super::is_bracket)
    }
}

/// Returns the byte at `at`; 0, which JSON does not know, behind the end.
#[inline]
pub(crate) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Returns the first place at or after `at` that is no white space.
#[inline]
pub(crate) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while is_space(byte(bytes, at)) {
        at += 1;
    }
    at
}

/// Returns the place of the quote that closes the string whose text begins at `at`, and whether the text holds an escape.
#[inline]
pub(crate) fn string_end(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let end = find(bytes, at, block::quote, |byte| byte == b'"' || byte == b'\\')?;
    if byte(bytes, end) == b'"' { Some((end, false)) } else { escaped_end(bytes, end) }
}

#[cold]
fn escaped_end(bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
    while byte(bytes, at) == b'\\' {
        at = find(bytes, at + 2, block::quote, |byte| byte == b'"' || byte == b'\\')?;
    }
    Some((at, true))
}

/// Returns the place behind the value that begins at `at`.
#[inline]
pub(crate) fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match byte(bytes, at) {
        b'"' => string_end(bytes, at + 1).map(|(end, _)| end + 1),
        b'{' | b'[' => nested_end(bytes, at + 1),
        first if is_delimiter(first) || first == b':' => None,
        _ => Some(find(bytes, at, block::delimiter, is_delimiter).unwrap_or(bytes.len())),
    }
}

/// Returns the place behind the bracket that closes the one before `at`.
fn nested_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 1_usize;
    loop {
        at = find(bytes, at, block::bracket, is_bracket)?;
        match byte(bytes, at) {
            b'"' => at = string_end(bytes, at + 1)?.0,
            b'{' | b'[' => depth += 1,
            _ => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
        }
        at += 1;
    }
}

/// Returns the first place at or after `at` that `test` accepts; `block` tests sixteen bytes at once.
#[inline]
fn find(
    bytes: &[u8],
    mut at: usize,
    block: impl Fn(&[u8; 16]) -> usize,
    test: impl Fn(u8) -> bool,
) -> Option<usize> {
    while let Some(next) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let found = block(next);
        at += found;
        if found < 16 {
            return Some(at);
        }
    }
    bytes.get(at..)?.iter().position(|byte| test(*byte)).map(|found| at + found)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The vector test knows no cheaper way than "at most a space", and takes the bracket that looks like one.
const fn is_delimiter(byte: u8) -> bool {
    byte <= b' ' || byte == b',' || byte | 0x20 == b'}'
}

const fn is_bracket(byte: u8) -> bool {
    byte == b'"' || byte | 0x20 == b'{' || byte | 0x20 == b'}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_every_kind_of_value() {
        let cases: [(&str, Option<usize>); 16] = [
            ("12,", Some(2)),
            ("12", Some(2)),
            ("-1.5e300000000000000000000}", Some(26)),
            ("null]", Some(4)),
            ("true ,", Some(4)),
            ("\"\",", Some(2)),
            (r#""a\"b","#, Some(6)),
            (r#""a\\","#, Some(5)),
            (r#""seventeen bytes and more \u0041 x""#, Some(35)),
            (r#"{"a":"}]","b":[1,[2]]},"#, Some(22)),
            ("[]", Some(2)),
            (r#""open"#, None),
            (r#""open\"#, None),
            ("[[1]", None),
            ("", None),
            (",", None),
        ];
        for (text, end) in cases {
            assert_eq!(value_end(text.as_bytes(), 0), end, "{text}");
            let padded = format!("{text}                                        ");
            if end.is_some() {
                assert_eq!(value_end(padded.as_bytes(), 0), end, "{padded}");
            }
        }
    }

    #[test]
    fn tells_whether_a_string_holds_an_escape() {
        assert_eq!(string_end(br#"plain" "#, 0), Some((5, false)));
        assert_eq!(string_end(br#"a\nb" "#, 0), Some((4, true)));
    }
}
