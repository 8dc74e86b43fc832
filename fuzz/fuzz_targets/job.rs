//! Job files: any text is a job or a list of problems, and what a check fills in is right when it is checked again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use teraslice_model::job::{CheckEnvironment, Format, RawJob};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Json, Format::Yaml] {
        let Ok(job) = RawJob::from_text(text, format) else { continue };
        let environment = CheckEnvironment::default();
        let Ok((checked, _)) = job.check(&environment) else { continue };
        let again = RawJob(checked.document.clone()).check(&environment);
        let (again, _) = again.unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(again, checked);
    }
});
