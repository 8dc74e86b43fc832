//! Addresses of masters, and how parts of a URL are written.

use ureq::http::Uri;

use super::ClientError;

/// The port of a master.
const PORT: u16 = 5678;

/// Turns what people call a master into the URL of its API: `host`, `host:port` or a URL.
///
/// # Errors
///
/// When it is no address, is not spoken to by HTTP, or holds a password.
pub fn normalize(address: &str) -> Result<String, ClientError> {
    let wrong = |reason: &str| ClientError::BadAddress {
        // A password must not be printed.
        address: address.rsplit('@').next().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
    };
    let trimmed = address.trim().trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
    let is_bare = !trimmed.contains("://");
    let url = if is_bare { format!("http://{trimmed}") } else { trimmed.to_owned() };
    let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("only http and https are spoken"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("names and passwords in addresses are not supported"));
    }
    if uri.host().is_none_or(str::is_empty) || authority.as_str().ends_with(':') {
        return Err(wrong("it has no host"));
    }
    if uri.query().is_some() {
        return Err(wrong("it has a query"));
    }
    let needs_port = is_bare && authority.port().is_none() && uri.path() == "/";
    Ok(if needs_port { format!("{url}:{PORT}") } else { url })
}

/// Appends text to a URL so that it stays one segment of a path, or one part of a query.
pub(super) fn append(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b',' | b':' | b'*') {
            url.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            url.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hosts_and_urls() {
        let cases = [
            ("localhost", "http://localhost:5678"),
            ("10.0.0.1:80", "http://10.0.0.1:80"),
            ("[::1]", "http://[::1]:5678"),
            ("http://a.b", "http://a.b"),
            ("https://a.b:1/", "https://a.b:1"),
            ("https://a.b/teraslice/v1/", "https://a.b/teraslice"),
            (" host ", "http://host:5678"),
        ];
        for (address, url) in cases {
            assert_eq!(normalize(address).unwrap(), url);
        }
    }

    #[test]
    fn refuses_what_is_no_address_without_showing_a_password() {
        for address in ["", "http://", "ftp://a", "a b", "http://a?x=1", "http://:1"] {
            assert!(normalize(address).is_err(), "{address}");
        }
        let error = normalize("http://me:secret@host").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }

    #[test]
    fn keeps_a_segment_a_segment() {
        let mut url = String::new();
        append(&mut url, "../a b?c=é&,:*");
        assert_eq!(url, "..%2Fa%20b%3Fc%3D%C3%A9%26,:*");
    }
}
