//! Where records have to be: a box or a circle.

use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_model::problem::Problem;

/// The settings that begin with `geo_`. Empty texts are absent; of what type the values are is checked with their meaning.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Geo {
    geo_field: Option<Value>,
    geo_box_top_left: Option<Value>,
    geo_box_bottom_right: Option<Value>,
    geo_point: Option<Value>,
    geo_distance: Option<Value>,
    geo_sort_point: Option<Value>,
    geo_sort_order: Option<Value>,
    geo_sort_unit: Option<Value>,
}

/// Units of a distance, by their names.
const UNITS: &str = "mi mile miles NM nmi nauticalmile nauticalmiles in inch inches yd yard yards m meter meters km \
                     kilometer kilometers mm millimeter millimeters cm centimeter centimeters ft feet";

/// Returns a setting's text, if it has one.
fn set(value: &Option<Value>) -> Option<&str> {
    value.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Returns what is set, of whatever type.
fn said(value: &Option<Value>) -> Option<&Value> {
    value.as_ref().filter(|value| !value.is_null() && value.as_str() != Some(""))
}

fn point(text: &str) -> Option<(f64, f64)> {
    let (lat, lon) = text.split_once(',')?;
    let (lat, lon): (f64, f64) = (lat.trim().parse().ok()?, lon.trim().parse().ok()?);
    ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)).then_some((lat, lon))
}

fn is_distance(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && UNITS.split_whitespace().any(|unit| unit == text[digits..].trim())
}

impl Geo {
    /// Returns what to ask the server for, if anything.
    pub(crate) fn query(&self) -> Option<Value> {
        let field = set(&self.geo_field)?;
        if let (Some(top_left), Some(bottom_right)) =
            (set(&self.geo_box_top_left), set(&self.geo_box_bottom_right))
        {
            let corners = json!({"top_left": place(top_left), "bottom_right": place(bottom_right)});
            return Some(json!({"geo_bounding_box": {field: corners}}));
        }
        let (center, distance) = (set(&self.geo_point)?, set(&self.geo_distance)?);
        Some(json!({"geo_distance": {"distance": distance, field: place(center)}}))
    }

    /// Returns how records are sorted within a slice, if by their distance.
    pub(crate) fn sort(&self) -> Option<Value> {
        let field = set(&self.geo_field)?;
        let wants = set(&self.geo_sort_point).or(set(&self.geo_sort_order)).or(set(&self.geo_sort_unit));
        let from = set(&self.geo_sort_point).or(wants.and(set(&self.geo_point)))?;
        let order = set(&self.geo_sort_order).unwrap_or("asc");
        let unit = set(&self.geo_sort_unit).unwrap_or("m");
        Some(json!({"_geo_distance": {field: place(from), "order": order, "unit": unit}}))
    }

    /// Checks values and their combination.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = self.check_values();
        let (top_left, bottom_right) = (set(&self.geo_box_top_left), set(&self.geo_box_bottom_right));
        let (center, distance) = (set(&self.geo_point), set(&self.geo_distance));
        let mut both = |one: Option<&str>, other: Option<&str>, name: &str, missing: &str| {
            if one.is_some() && other.is_none() {
                let message = format!("{name} is set without {missing}");
                problems.push(Problem::new(format!("/{name}"), message).with_hint("set both, or none"));
            }
        };
        both(top_left, bottom_right, "geo_box_top_left", "geo_box_bottom_right");
        both(bottom_right, top_left, "geo_box_bottom_right", "geo_box_top_left");
        both(center, distance, "geo_point", "geo_distance");
        both(distance, center, "geo_distance", "geo_point");
        let (has_box, has_circle) = (top_left.or(bottom_right).is_some(), center.or(distance).is_some());
        if has_box && has_circle {
            let message =
                "geo_distance is set beside geo_box_top_left: a box and a distance exclude each other";
            problems.push(Problem::new("/geo_distance", message).with_hint("remove one of them"));
        }
        let has_field = set(&self.geo_field).is_some();
        if !has_field && (has_box || has_circle || set(&self.geo_sort_point).is_some()) {
            let message = "geo_field is missing, which the other geo settings need";
            problems.push(Problem::new("/geo_field", message).with_hint("name the field with the place"));
        }
        if has_field && !has_box && !has_circle {
            let message = "geo_field is set, but neither a box nor a distance";
            problems.push(
                Problem::new("/geo_field", message)
                    .with_hint("set geo_point and geo_distance, or both corners of a box"),
            );
        }
        let sorts = set(&self.geo_sort_order).or(set(&self.geo_sort_unit)).is_some();
        if has_box && sorts && set(&self.geo_sort_point).is_none() {
            let message = "geo_sort_point is missing, which sorting within a box needs";
            problems
                .push(Problem::new("/geo_sort_point", message).with_hint("say from where distances count"));
        }
        problems
    }

    fn check_values(&self) -> Vec<Problem> {
        let points = [
            ("geo_box_top_left", &self.geo_box_top_left),
            ("geo_box_bottom_right", &self.geo_box_bottom_right),
            ("geo_point", &self.geo_point),
            ("geo_sort_point", &self.geo_sort_point),
        ];
        let mut problems = Vec::new();
        for (name, value) in points {
            let wrong = |value: &&Value| value.as_str().and_then(point).is_none();
            if let Some(value) = said(value).filter(wrong) {
                let message = format!("{name} is {value}, which is no place");
                problems
                    .push(Problem::new(format!("/{name}"), message).with_hint("use \"latitude,longitude\""));
            }
        }
        let wrong = |value: &&Value| !value.as_str().is_some_and(is_distance);
        if let Some(value) = said(&self.geo_distance).filter(wrong) {
            let message = format!("geo_distance is {value}, which is no distance");
            problems.push(
                Problem::new("/geo_distance", message).with_hint("use a whole number and a unit, as in 5km"),
            );
        }
        let words = [
            ("geo_sort_order", &self.geo_sort_order, "asc, desc"),
            ("geo_sort_unit", &self.geo_sort_unit, "mi, yd, ft, km, m"),
        ];
        for (name, value, known) in words {
            let wrong = |value: &&Value| !known.split(", ").any(|word| value.as_str() == Some(word));
            if let Some(value) = said(value).filter(wrong) {
                let message = format!("{name} is {value}");
                problems
                    .push(Problem::new(format!("/{name}"), message).with_hint(format!("use one of {known}")));
            }
        }
        problems
    }
}

fn place(text: &str) -> Value {
    let (lat, lon) = point(text).unwrap_or_default();
    json!({"lat": lat, "lon": lon})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geo(settings: Value) -> Geo {
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn asks_for_a_box_or_a_circle() {
        let cornered =
            geo(json!({"geo_field": "at", "geo_box_top_left": "40,-74", "geo_box_bottom_right": "39,-73"}));
        assert_eq!(
            cornered.query().unwrap(),
            json!({"geo_bounding_box": {"at": {
                "top_left": {"lat": 40.0, "lon": -74.0}, "bottom_right": {"lat": 39.0, "lon": -73.0}
            }}})
        );
        let round = geo(
            json!({"geo_field": "at", "geo_point": "1.5,2", "geo_distance": "5km", "geo_sort_order": "desc"}),
        );
        assert_eq!(
            round.query().unwrap(),
            json!({"geo_distance": {"distance": "5km", "at": {"lat": 1.5, "lon": 2.0}}})
        );
        assert_eq!(
            round.sort().unwrap(),
            json!({"_geo_distance": {"at": {"lat": 1.5, "lon": 2.0}, "order": "desc", "unit": "m"}})
        );
        assert!(geo(json!({"geo_field": "", "geo_point": ""})).query().is_none());
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            (
                json!({"geo_point": "91,0", "geo_distance": "5km", "geo_field": "a"}),
                "/geo_point: geo_point is \"91,0\"",
            ),
            (
                json!({"geo_point": "1,0", "geo_distance": "5.5km", "geo_field": "a"}),
                "/geo_distance: geo_distance is \"5.5km\"",
            ),
            (
                json!({"geo_point": "1,0", "geo_field": "a"}),
                "/geo_point: geo_point is set without geo_distance",
            ),
            (json!({"geo_field": "a"}), "/geo_field: geo_field is set, but neither"),
            (json!({"geo_point": "1,0", "geo_distance": "5km"}), "/geo_field: geo_field is missing"),
            (
                json!({"geo_field": "a", "geo_box_top_left": "1,0", "geo_box_bottom_right": "0,1", "geo_sort_order": "asc"}),
                "/geo_sort_point: geo_sort_point is missing",
            ),
            (
                json!({"geo_field": "a", "geo_point": "1,0", "geo_distance": "5km", "geo_sort_unit": "miles"}),
                "/geo_sort_unit: geo_sort_unit is \"miles\"",
            ),
        ];
        for (settings, message) in cases {
            let problems = geo(settings).check();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].to_string().starts_with(message), "{}", problems[0]);
        }
    }
}
