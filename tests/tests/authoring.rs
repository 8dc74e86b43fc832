//! The pages for authors of assets, followed word for word.

use std::{
    env, fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use teraslice_tests::{binary, root};

/// A block of a page, with the line before it.
struct Block<'a> {
    before: &'a str,
    language: &'a str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut before, mut open) = ("", None::<Block<'_>>);
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some(Block { before, language, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text.push_str(&format!("{line}\n")),
            (None, None) if line.is_empty() => {}
            (None, None) => before = line,
        }
    }
    blocks
}

/// Returns the path in `Write it into `path`:`.
fn path_of(line: &str) -> Option<&str> {
    line.strip_suffix("`:")?.rsplit('`').next()
}

/// Runs the commands of a block in one shell each, and looks for every other line in what they print.
fn follow_console(folder: &Path, text: &str) {
    let mut printed = String::new();
    for line in text.lines() {
        let Some(command) = line.strip_prefix("$ ") else {
            let line = line.trim_end_matches('.');
            assert!(printed.contains(line), "{line:?} is not in:\n{printed}");
            continue;
        };
        let path = env::var("PATH").unwrap_or_default();
        let programs = binary().parent().expect("a program lies in a folder").display().to_string();
        let ran = Command::new("sh")
            .args(["-c", &format!("{command} 2>&1")])
            .current_dir(folder)
            .env("PATH", format!("{programs}:{path}"))
            .env("TERASLICE_STATE_DIRECTORY", folder.join(".state"))
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .expect("there is a shell");
        printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{command}\n{printed}");
    }
}

fn follow(page: &str) {
    let page = fs::read_to_string(root().join("docs/assets").join(page)).expect("the page is there");
    let folder = tempfile::tempdir().expect("the folder for temporary files can be written");
    let (mut files, mut consoles) = (0, 0);
    for Block { before, language, text } in blocks(&page) {
        match path_of(before) {
            _ if language == "console" => {
                consoles += 1;
                follow_console(folder.path(), &text);
            }
            Some(path) => {
                files += 1;
                fs::write(folder.path().join(path), text).expect("the file can be written");
            }
            None => panic!("nobody says where this goes:\n{text}"),
        }
    }
    assert!(files >= 4 && consoles >= 4, "{files} files, {consoles} blocks of commands");
}

#[test]
fn the_page_for_rust_leads_from_an_empty_folder_to_a_running_operation() {
    follow("rust.md");
}

#[test]
fn the_page_for_c_leads_from_an_empty_folder_to_a_running_operation() {
    let clang = Command::new("clang").arg("--version").stdout(Stdio::null()).status();
    if clang.is_err() || Command::new("wasm-ld").arg("--version").stdout(Stdio::null()).status().is_err() {
        // Not by a macro: the harness would keep it to itself.
        let _told = std::io::stderr().write_all(b"NOT RUN: the page for C, as clang or wasm-ld is missing\n");
        return;
    }
    follow("c.md");
}
