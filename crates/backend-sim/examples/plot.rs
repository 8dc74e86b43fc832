//! Draws the lines of the example `scale` as an SVG: `scale 100 10 1000 | plot > docs/scale.svg`.

#![expect(clippy::print_stdout, reason = "a program that prints a picture")]

use std::io::{self, Read as _};

/// The size of the picture, and the room around the plot.
const SIZE: (f64, f64) = (640.0, 360.0);
const ROOM: f64 = 56.0;
/// What is drawn: the key in the lines, what it is called, and its colour.
const CURVES: [(&str, &str, &str); 2] = [
    ("microseconds_per_worker", "microseconds per worker", "#1f6feb"),
    ("kib_per_worker", "KiB per worker", "#d1570a"),
];
/// The decades of both axes: workers from 100 to 100,000, values from 10 to 10,000.
const WORKERS: (f64, f64) = (2.0, 5.0);
const VALUES: (f64, f64) = (1.0, 4.0);

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("whole ")).collect();
    let (width, height) = SIZE;
    println!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">"
    );
    println!("<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>");
    axes();
    for (index, (key, name, colour)) in CURVES.into_iter().enumerate() {
        let points: Vec<_> = lines.iter().filter_map(|line| point(line, key)).collect();
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        println!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in points {
            println!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let y = ROOM / 2.0 + 16.0 * index as f64;
        println!("<text x=\"{}\" y=\"{y}\" fill=\"{colour}\">{name}</text>", ROOM + 8.0);
    }
    println!("</svg>");
    Ok(())
}

/// Draws a line and a label for each decade.
fn axes() {
    let (width, height) = SIZE;
    for decade in 2..=5 {
        let x = across(f64::from(decade));
        let label = 10_u32.pow(decade);
        println!("<line x1=\"{x}\" y1=\"{ROOM}\" x2=\"{x}\" y2=\"{}\" stroke=\"#ddd\"/>", height - ROOM);
        println!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", height - ROOM + 18.0);
    }
    for decade in 1..=4 {
        let y = up(f64::from(decade));
        let label = 10_u32.pow(decade);
        println!("<line x1=\"{ROOM}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#ddd\"/>", width - ROOM);
        println!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>", ROOM - 6.0, y + 4.0);
    }
    println!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">simulated workers</text>",
        width / 2.0,
        height - 12.0
    );
}

/// Returns where a line's value is drawn.
fn point(line: &str, key: &str) -> Option<(f64, f64)> {
    Some((across(value(line, "workers")?.log10()), up(value(line, key)?.log10())))
}

fn value(line: &str, key: &str) -> Option<f64> {
    line.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

fn across(decade: f64) -> f64 {
    ROOM + (decade - WORKERS.0) / (WORKERS.1 - WORKERS.0) * (SIZE.0 - 2.0 * ROOM)
}

fn up(decade: f64) -> f64 {
    SIZE.1 - ROOM - (decade - VALUES.0) / (VALUES.1 - VALUES.0) * (SIZE.1 - 2.0 * ROOM)
}
