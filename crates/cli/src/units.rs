//! Numbers as people read them.

use std::time::Duration;

/// Writes a number with commas between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes how many there are per second.
pub(crate) fn rate(number: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    let rate = number as f64 / seconds;
    if rate < 10.0 {
        return format!("{rate:.1}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative")]
    count(rate.round() as u64)
}

/// Writes a number of bytes with three digits.
pub(crate) fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return short(number, unit);
        }
        number /= 1024.0;
    }
    short(number, "TiB")
}

fn short(number: f64, unit: &str) -> String {
    if unit == "B" || number >= 99.95 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

/// Writes a time with its two largest units.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_commas_between_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn writes_rates_as_long_as_they_are_telling() {
        let second = Duration::from_secs(1);
        assert_eq!(rate(12_345, second), "12,345");
        assert_eq!(rate(1, Duration::from_secs(4)), "0.2");
        assert_eq!(rate(1, Duration::ZERO), "-");
    }

    #[test]
    fn writes_bytes_and_times_in_fitting_units() {
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1_536.0), "1.5 KiB");
        assert_eq!(bytes(350.0 * 1_048_576.0), "350 MiB");
        let cases = [
            (85, "85 ms"),
            (1_500, "1.5 s"),
            (62_000, "1 min 02 s"),
            (3_780_000, "1 h 03 min"),
            (93_600_000, "1 d 02 h"),
        ];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
