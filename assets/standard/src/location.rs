//! Locations with fewer decimals, in the forms that records hold them in.

use serde_json::{Map, Value as Json};
use teraslice_guest_sdk::Value;

/// Returns a location with at most `places` decimals, cut off towards zero; nothing if it is none.
pub(crate) fn truncate(value: Value<'_>, places: u8) -> Option<Json> {
    match value.parse::<Json>().ok()? {
        Json::Number(number) => Some(cut(number.as_f64()?, places)),
        Json::Array(numbers) => numbers
            .iter()
            .map(|number| Some(cut(number.as_f64()?, places)))
            .collect::<Option<_>>()
            .map(Json::Array),
        Json::Object(point) => object(point, places),
        Json::String(text) => self::text(&text, places).map(Json::String),
        Json::Null | Json::Bool(_) => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is checked to be whole and small")]
fn cut(number: f64, places: u8) -> Json {
    let cut = shorten(number, places);
    if cut.fract() == 0.0 && cut.abs() < 1e15 { Json::from(cut as i64) } else { Json::from(cut) }
}

/// Cuts the decimals off the spelled number: arithmetic would make 0.28 of 0.29.
fn shorten(number: f64, places: u8) -> f64 {
    let spelled = number.to_string();
    let end = spelled.find('.').map_or(spelled.len(), |dot| spelled.len().min(dot + 1 + usize::from(places)));
    spelled[..end].parse().unwrap_or(number)
}

fn number(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str()?.trim().parse().ok())
}

fn object(mut point: Map<String, Json>, places: u8) -> Option<Json> {
    if let Some(Json::Array(coordinates)) = point.get("coordinates") {
        let is_point =
            point.get("type").and_then(Json::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("point"));
        let cut =
            coordinates.iter().map(|number| Some(cut(number.as_f64()?, places))).collect::<Option<_>>()?;
        let _before = point.insert("coordinates".to_owned(), Json::Array(cut));
        return is_point.then_some(Json::Object(point));
    }
    for key in ["lat", "lon"] {
        let cut = cut(number(point.get(key)?)?, places);
        let _before = point.insert(key.to_owned(), cut);
    }
    Some(Json::Object(point))
}

fn text(text: &str, places: u8) -> Option<String> {
    let short = |text: &str| text.trim().parse().ok().map(|number: f64| shorten(number, places));
    let inner =
        text.trim().strip_prefix("POINT").and_then(|rest| rest.trim().strip_prefix('(')?.strip_suffix(')'));
    if let Some(inner) = inner {
        let (lon, lat) = inner.trim().split_once(' ')?;
        let has_decimals = lon.contains('.') && lat.contains('.');
        return has_decimals.then(|| Some(format!("POINT ({} {})", short(lon)?, short(lat)?)))?;
    }
    if let Some((lat, lon)) = text.split_once(',') {
        return Some(format!("{}, {}", short(lat)?, short(lon)?));
    }
    let (lat, lon) = decode(text)?;
    Some(encode(shorten(lat, places), shorten(lon, places), text.len()))
}

const GEOHASH: &[u8] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// Halves the ranges of longitude and latitude in turn; `is_upper` says which half to go on with.
fn halve(bits: usize, mut is_upper: impl FnMut(usize, f64) -> bool) -> (f64, f64) {
    let mut ranges = [(-180.0, 180.0), (-90.0, 90.0)];
    for bit in 0..bits {
        let (low, high) = &mut ranges[bit % 2];
        let middle = (*low + *high) / 2.0;
        if is_upper(bit, middle) { *low = middle } else { *high = middle }
    }
    let [lon, lat] = ranges.map(|(low, high)| (low + high) / 2.0);
    (lat, lon)
}

fn decode(text: &str) -> Option<(f64, f64)> {
    let digit = |byte: u8| GEOHASH.iter().position(|known| *known == byte.to_ascii_lowercase());
    let digits = text
        .bytes()
        .map(digit)
        .collect::<Option<Vec<_>>>()
        .filter(|digits| (1..=12).contains(&digits.len()))?;
    Some(halve(5 * digits.len(), |bit, _| digits[bit / 5] >> (4 - bit % 5) & 1 == 1))
}

fn encode(lat: f64, lon: f64, len: usize) -> String {
    let mut digits = vec![0_usize; len];
    let _centre = halve(5 * len, |bit, middle| {
        let is_upper = if bit % 2 == 0 { lon >= middle } else { lat >= middle };
        digits[bit / 5] |= usize::from(is_upper) << (4 - bit % 5);
        is_upper
    });
    digits.into_iter().map(|digit| char::from(GEOHASH[digit])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_lose_decimals() {
        let cases = [
            ("33.12999", "33.12"),
            ("-0.29", "-0.29"),
            ("5", "5"),
            ("[1.999,-2.001]", "[1.99,-2]"),
            (r#"{"lat":"33.129","lon":-112.987}"#, r#"{"lat":33.12,"lon":-112.98}"#),
            (r#"{"type":"Point","coordinates":[1.239,2]}"#, r#"{"type":"Point","coordinates":[1.23,2]}"#),
            (r#""POINT (10.129 -20.129)""#, r#""POINT (10.12 -20.12)""#),
            (r#""33.12345,-112.98765""#, r#""33.12, -112.98""#),
        ];
        for (json, expected) in cases {
            assert_eq!(truncate(Value::new(json.as_bytes()), 2).unwrap().to_string(), expected, "{json}");
        }
    }

    #[test]
    fn geohashes_are_decoded_and_encoded() {
        let (lat, lon) = decode("ezs42").unwrap();
        assert!((lat - 42.605).abs() < 0.03 && (lon + 5.603).abs() < 0.03, "{lat} {lon}");
        assert_eq!(encode(57.64911, 10.40744, 11), "u4pruydqqvj");
        assert_eq!(truncate(Value::new(b"\"u4pruydqqvj\""), 1).unwrap(), encode(57.6, 10.4, 11));
    }

    #[test]
    fn what_is_no_location_is_refused() {
        let cases = [
            "true",
            "null",
            "[\"x\"]",
            "{}",
            r#"{"lat":1}"#,
            r#""nowhere!""#,
            r#""POINT (1 2)""#,
            r#""a,b""#,
            r#""""#,
        ];
        for json in cases {
            assert_eq!(truncate(Value::new(json.as_bytes()), 2), None, "{json}");
        }
    }
}
