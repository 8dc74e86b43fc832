//! From the names in a job's `assets` to published assets.

use std::env::consts;

use semver::Version;
use teraslice_model::{asset::AssetRecord, problem::Problem};

use super::wanted::Wanted;

/// Returns the assets that `names` stand for, in their order: an id, or the highest version that fits.
///
/// # Errors
///
/// Every name that stands for none; pointers are into the job.
pub fn resolve(names: &[String], records: &[AssetRecord]) -> Result<Vec<AssetRecord>, Vec<Problem>> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match find(name, records) {
            Ok(record) => found.push(record.clone()),
            Err(problem) => problems.push(problem.below(&format!("/assets/{index}"))),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn find<'a>(name: &str, records: &'a [AssetRecord]) -> Result<&'a AssetRecord, Problem> {
    if let Some(record) = records.iter().find(|record| record.id == name) {
        return Ok(record);
    }
    let wanted = Wanted::parse(name).map_err(|reason| Problem::new("", reason))?;
    let named = records.iter().filter(|record| record.name == wanted.name);
    // The library lets in no other versions.
    let named = named.filter_map(|record| Some((Version::parse(&record.version).ok()?, record)));
    let mut named: Vec<_> = named.collect();
    if named.is_empty() {
        let mut known: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        return Err(Problem::unknown("", "asset", wanted.name, &known));
    }
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    let fitting = named.iter().filter(|(version, _)| wanted.accepts(version));
    let (able, unable): (Vec<_>, Vec<_>) = fitting.partition(|(_, record)| mismatches(record).is_empty());
    match (able.last(), unable.last()) {
        (Some((_, record)), _) => Ok(record),
        (None, Some((version, record))) => {
            let message =
                format!("asset {:?} has no version for this cluster that fits {name:?}", wanted.name);
            let hint = format!("version {version} is for {}", mismatches(record).join(" and "));
            Err(Problem::new("", message).with_hint(hint))
        }
        (None, None) => {
            let versions: Vec<_> = named.iter().map(|(version, _)| version.to_string()).collect();
            let message = format!("no version of asset {:?} fits {name:?}", wanted.name);
            Err(Problem::new("", message).with_hint(format!("there are: {}", versions.join(", "))))
        }
    }
}

/// Says what an asset asks for that is otherwise here. There is no Node.js, so its version asks for nothing.
fn mismatches(record: &AssetRecord) -> Vec<String> {
    let ours = [("platform", &record.platform, platform()), ("arch", &record.arch, arch())];
    let other = ours.into_iter().filter_map(|(what, wanted, ours)| {
        let wanted = wanted.as_deref().filter(|wanted| *wanted != ours)?;
        Some(format!("{what} {wanted}, this is {ours}"))
    });
    other.collect()
}

/// Returns this platform in the words of Node.js.
fn platform() -> &'static str {
    if consts::OS == "macos" { "darwin" } else { consts::OS }
}

/// Returns this processor in the words of Node.js.
fn arch() -> &'static str {
    match consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::timestamp::Timestamp;

    use super::*;

    fn record(name: &str, version: &str) -> AssetRecord {
        AssetRecord {
            id: format!("{:0>40}", format!("{name}{version}").replace(['.', '-'], "")),
            name: name.to_owned(),
            version: version.to_owned(),
            description: None,
            node_version: None,
            platform: None,
            arch: None,
            minimum_teraslice_version: None,
            sha256: String::new(),
            size: 1,
            created: Timestamp::from_millis(0),
        }
    }

    fn resolved(names: &[&str], records: &[AssetRecord]) -> Result<Vec<String>, Vec<String>> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let text = |problem: &Problem| problem.to_string();
        let shown = |record: &AssetRecord| format!("{}:{}", record.name, record.version);
        resolve(&names, records)
            .map(|found| found.iter().map(shown).collect())
            .map_err(|problems| problems.iter().map(text).collect())
    }

    #[test]
    fn takes_the_highest_version_that_fits_in_the_order_asked_for() {
        let versions = ["1.2.0", "1.10.0", "10.0.0", "2.0.0", "11.0.0-beta.1"];
        let mut records = versions.map(|version| record("mine", version)).to_vec();
        records.push(record("other", "0.1.0"));
        let id = record("mine", "1.2.0").id;
        let cases = [
            ("mine", "mine:11.0.0-beta.1"),
            ("mine:latest", "mine:11.0.0-beta.1"),
            ("mine:*", "mine:11.0.0-beta.1"),
            ("mine:1.2.0", "mine:1.2.0"),
            ("mine:v1.2.0", "mine:1.2.0"),
            ("mine:^1.2", "mine:1.10.0"),
            ("mine:~1.2", "mine:1.2.0"),
            ("mine:1.*", "mine:1.10.0"),
            ("mine:1*", "mine:11.0.0-beta.1"),
            ("mine:>=2 <11", "mine:10.0.0"),
            ("mine:1.2.0 || 2", "mine:2.0.0"),
            ("mine:1.0.0 - 1.5.0", "mine:1.2.0"),
            (id.as_str(), "mine:1.2.0"),
        ];
        for (name, expected) in cases {
            assert_eq!(resolved(&[name], &records).unwrap(), [expected], "{name}");
        }
        let names = ["other", "mine:1.2.0", "other:0.1.0"];
        assert_eq!(resolved(&names, &records).unwrap(), ["other:0.1.0", "mine:1.2.0", "other:0.1.0"]);
    }

    #[test]
    fn says_for_every_name_why_there_is_none() {
        let records = [record("mine", "1.2.0"), record("mine", "1.10.0"), record("other", "1.0.0")];
        let unknown = "a".repeat(40);
        assert_eq!(
            resolved(&["mime", "mine:2", "other:newest", "mine", &unknown], &records).unwrap_err(),
            [
                "/assets/0: unknown asset \"mime\" (did you mean \"mine\"? known: mine, other)",
                "/assets/1: no version of asset \"mine\" fits \"mine:2\" (there are: 1.2.0, 1.10.0)",
                "/assets/2: \"newest\" in \"other:newest\" is neither a version nor a range: unexpected character 'n' while parsing major version number",
                &format!("/assets/4: unknown asset \"{unknown}\" (known: mine, other)"),
            ]
        );
        assert_eq!(
            resolved(&["mine"], &[]).unwrap_err(),
            ["/assets/0: unknown asset \"mine\" (no asset is known here)"]
        );
    }

    #[test]
    fn passes_over_what_is_for_another_platform() {
        let mut darwin = record("mine", "2.0.0");
        darwin.platform = Some("darwin".to_owned());
        let mut ours = record("mine", "1.0.0");
        (ours.platform, ours.arch) = (Some(platform().to_owned()), Some(arch().to_owned()));
        ours.node_version = Some(99);
        let records = [darwin.clone(), ours];
        assert_eq!(resolved(&["mine"], &records).unwrap(), ["mine:1.0.0"]);
        let expected = format!(
            "/assets/0: asset \"mine\" has no version for this cluster that fits \"mine:2\" (version 2.0.0 is for platform darwin, this is {})",
            platform()
        );
        assert_eq!(resolved(&["mine:2"], &records).unwrap_err(), [expected]);
        let mut other = record("only", "1.0.0");
        other.arch = Some("sparc".to_owned());
        let refused = resolved(&["only"], &[other.clone()]).unwrap_err();
        assert!(refused[0].contains("version 1.0.0 is for arch sparc, this is "), "{refused:?}");
        // Whoever names an id knows what they ask for.
        assert_eq!(resolved(&[&other.id], &[other.clone()]).unwrap(), ["only:1.0.0"]);
    }
}
