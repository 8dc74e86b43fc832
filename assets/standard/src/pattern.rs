//! Regular expressions of JavaScript, `/pattern/flags`, put into the words of ours.

use regex::Regex;
use teraslice_guest_sdk::ConfigError;

/// What JavaScript takes for white space.
const SPACE: &str =
    r"\t\n\x0B\x0C\r \x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}";

/// Reads the setting `field`: `/pattern/flags`.
///
/// Every match is tried from the start of the text: the flag `g` makes no difference.
pub(crate) fn read(field: &str, text: &str) -> Result<Regex, ConfigError> {
    let error = |expected: &str| ConfigError::new(field, text, expected);
    let parts = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
    let (pattern, flags) = parts.ok_or_else(|| error("a regular expression: /PATTERN/FLAGS"))?;
    if flags.chars().any(|flag| !"dgimsuy".contains(flag)) {
        return Err(error("flags out of d, g, i, m, s, u, y"));
    }
    let has = |flag| flags.contains(flag);
    let translated =
        Translation { rest: pattern, out: String::new(), has_dot_all: has('s') }.run().map_err(error)?;
    let (case, lines) = (if has('i') { "(?i)" } else { "" }, if has('m') { "(?m)" } else { "" });
    let anchor = if has('y') { r"\A" } else { "" };
    Regex::new(&format!("{anchor}{case}{lines}(?:{translated})"))
        .map_err(|cause| error(&format!("a valid regular expression ({})", last_line(&cause.to_string()))))
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
    has_dot_all: bool,
}

type Refusal = &'static str;

impl Translation<'_> {
    fn run(mut self) -> Result<String, Refusal> {
        while let Some(char) = self.next() {
            match char {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '.' if self.has_dot_all => self.out += "(?s:.)",
                '.' => self.out += r"[^\n\r\x{2028}\x{2029}]",
                '(' if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.rest.starts_with(look)) => {
                    return Err("a regular expression without look-around, which is not supported");
                }
                other => self.out.push(other),
            }
        }
        Ok(self.out)
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next()?;
        self.rest = chars.as_str();
        Some(char)
    }

    fn class(&mut self) -> Result<(), Refusal> {
        if let Some(rest) = self.rest.strip_prefix("^]") {
            (self.rest, self.out) = (rest, std::mem::take(&mut self.out) + "(?s:.)");
            return Ok(());
        }
        if let Some(rest) = self.rest.strip_prefix(']') {
            (self.rest, self.out) = (rest, std::mem::take(&mut self.out) + "[a&&b]");
            return Ok(());
        }
        self.out.push('[');
        while let Some(char) = self.next() {
            match char {
                ']' => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' | '&' | '~' => self.out.extend(['\\', char]),
                '-' if self.rest.starts_with('-') => self.out += r"\-",
                other => self.out.push(other),
            }
        }
        Err("a regular expression whose brackets are closed")
    }

    fn escape(&mut self, is_in_class: bool) -> Result<(), Refusal> {
        let char = self.next().ok_or("a regular expression that does not end in a backslash")?;
        let class = match char {
            'd' | 'D' => "0-9",
            'w' | 'W' => "A-Za-z0-9_",
            's' | 'S' => SPACE,
            _ => return self.single(char, is_in_class),
        };
        let not = if char.is_ascii_uppercase() { "^" } else { "" };
        self.out += &format!("[{not}{class}]");
        Ok(())
    }

    fn single(&mut self, char: char, is_in_class: bool) -> Result<(), Refusal> {
        match char {
            'b' if is_in_class => self.out += r"\x08",
            'b' => self.out += r"(?-u:\b)",
            'B' | 'k' | '1'..='9' if !is_in_class => {
                return Err(r"a regular expression without \B and back references, which are not supported");
            }
            'n' | 't' | 'r' => self.out.extend(['\\', char]),
            'v' => self.out += r"\x0B",
            'f' => self.out += r"\x0C",
            '0' => self.out += r"\x00",
            'p' | 'P' => return Err(r"a regular expression without \p, which is not supported"),
            'x' => self.code(2),
            'u' => self.code(4),
            other => self.out += &regex::escape(other.encode_utf8(&mut [0; 4])),
        }
        Ok(())
    }

    /// Takes the digits of `\xHH`, `\uHHHH` or `\u{H}`.
    fn code(&mut self, len: usize) {
        let braced = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (braced, self.rest.split_at_checked(len)) {
            (Some((digits, rest)), _) if len == 4 && is_hex(digits) => self.take_code(digits, rest),
            (_, Some((digits, rest))) if is_hex(digits) => self.take_code(digits, rest),
            _ => self.out.push(if len == 2 { 'x' } else { 'u' }),
        }
    }

    fn take_code(&mut self, digits: &str, rest: &str) {
        self.out += &format!(r"\x{{{digits}}}");
        let at = self.rest.len() - rest.len();
        self.rest = &self.rest[at..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_javascript() {
        let cases = [
            (r"/^x/i", "Xy", true),
            (r"/^x/", "Xy", false),
            (r"/^\d+$/", "123", true),
            (r"/^\d+$/", "١", false),
            (r"/^\w$/", "é", false),
            (r"/^.$/", "é", true),
            (r"/^.$/", "\u{2028}", false),
            (r"/^.$/s", "\n", true),
            (r"/a\/b/", "a/b", true),
            (r"/\bword\b/g", "a word.", true),
            (r"/^[\w.-]+@[a-z[&]+$/", "x.y-z@a[&", true),
            (r"/^[^]$/", "\n", true),
            (r"/[]/", "a", false),
            (r"/^\u00e9\x41$/", "éA", true),
            (r"/^\u{1F600}$/u", "😀", true),
            (r"/^[\d\-]+$/", "1-2", true),
            (r"/b/y", "ab", false),
            (r"/^b/m", "a\nb", true),
            (r"/\s/", "\u{feff}", true),
            (r"/(?<year>\d{4})-/", "2020-", true),
        ];
        for (pattern, text, is_match) in cases {
            assert_eq!(read("value", pattern).unwrap().is_match(text), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let cases = [
            ("abc", "expected a regular expression: /PATTERN/FLAGS"),
            ("/a/q", "expected flags out of d, g, i, m, s, u, y"),
            ("/a(?=b)/", "without look-around"),
            (r"/(a)\1/", "without \\B and back references"),
            ("/[a/", "brackets are closed"),
            ("/a(/", "a valid regular expression (unclosed group)"),
        ];
        for (pattern, expected) in cases {
            let message = read("value", pattern).unwrap_err().message;
            assert!(message.contains(expected) && message.starts_with("value is "), "{pattern}: {message}");
        }
    }
}
