use teraslice_core::operation::Slicer as _;

use super::*;

fn generator(seed: u64) -> Generator {
    Generator {
        random: fastrand::Rng::with_seed(seed),
        now: 0,
        start: 0,
        end: 1_000,
        format: None,
        date_key: "created".to_owned(),
        id: None,
        id_start: String::new(),
    }
}

fn record(generator: &mut Generator) -> Value {
    let mut out = Vec::new();
    generator.write(&mut out);
    serde_json::from_slice(&out).unwrap()
}

async fn requests(mut slicer: GeneratorSlicer) -> Vec<String> {
    let sliced = slicer.next(100).await.unwrap();
    assert!(sliced.is_exhausted);
    sliced.requests.iter().map(|request| request.json().to_owned()).collect()
}

#[tokio::test]
async fn cuts_slices_as_the_original_does() {
    let slicer = GeneratorSlicer { total: Some(12), slice_size: 5, processed: 0 };
    let expected =
        ["{\"count\":5,\"processed\":5}", "{\"count\":5,\"processed\":10}", "{\"count\":2,\"processed\":12}"];
    assert_eq!(requests(slicer).await, expected);
    let recovered = GeneratorSlicer { total: Some(15), slice_size: 5, processed: 5 };
    assert_eq!(
        requests(recovered).await,
        ["{\"count\":5,\"processed\":10}", "{\"count\":5,\"processed\":15}"]
    );
}

#[test]
fn makes_the_same_records_of_the_same_seed() {
    let (mut one, mut two) = (generator(7), generator(7));
    assert_eq!(record(&mut one), record(&mut two));
    assert_ne!(record(&mut one), record(&mut generator(8)));
}

#[test]
fn makes_the_fields_of_the_original_in_its_order() {
    let record = record(&mut generator(1));
    let names: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["ip", "userAgent", "url", "uuid", "created", "ipv6", "location", "bytes"]);
    assert_eq!(record["created"], "1970-01-01T00:00:00.000+00:00");
}

#[test]
fn moves_a_renamed_date_to_the_end_and_adds_an_id() {
    let mut renamed = generator(1);
    renamed.date_key = "at".to_owned();
    renamed.format = Some(DateFormat::UtcDate);
    renamed.id = Some(IdKind::LowerHex);
    renamed.id_start = "x".to_owned();
    let record = record(&mut renamed);
    let names: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["ip", "userAgent", "url", "uuid", "ipv6", "location", "bytes", "at", "id"]);
    assert_eq!(record["at"], "1970-01-01T00:00:00.000Z");
    let id = record["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.starts_with('x'), "{id}");
}

#[test]
fn reads_dates_as_text_or_milliseconds() {
    assert_eq!(records::date(Some(&json!("1970-01-02")), "/start").unwrap(), Some(86_400_000));
    assert_eq!(records::date(Some(&json!(5)), "/start").unwrap(), Some(5));
    assert_eq!(records::date(None, "/start").unwrap(), None);
    let problem = records::date(Some(&json!("soon")), "/start").unwrap_err();
    assert_eq!(problem.message, "start is \"soon\", which is no date");
}
