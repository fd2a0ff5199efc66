//! Times commands against each other, round by round: what the machine does meanwhile hits all of them alike, and a
//! ratio is taken inside each round.
//!
//! `bench ROUNDS REFERENCE < ROWS`, where a row is `NAME<TAB>COMMAND ARGUMENTS…`, split at blanks, and `<TAB>DIRECTORY` where it
//! does not run here. Prints, for each row, milliseconds of wall clock, the median ratios to the first row and to the row called
//! REFERENCE, and the median of the milliseconds that it takes more than that one.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

struct Row {
    name: String,
    words: Vec<String>,
    directory: String,
    /// Milliseconds, one per round.
    times: Vec<f64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, reference] = arguments.as_slice() else {
        return Err("usage: bench ROUNDS REFERENCE < ROWS".into());
    };
    let rounds: usize = rounds.parse().ok().filter(|n| *n > 0).ok_or("ROUNDS is a number above 0")?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|e| e.to_string())?;
    let mut rows = text.lines().map(row).collect::<Result<Vec<_>, _>>()?;
    let reference =
        rows.iter().position(|row| row.name == *reference).ok_or("no row has the name REFERENCE")?;
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        for row in &mut rows {
            let time = time(row)?;
            if round > 0 {
                row.times.push(time);
            }
        }
    }
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "name",
        "median ms",
        "min",
        "p90",
        format!("x {}", rows[0].name),
        format!("x {}", rows[reference].name),
        "more ms"
    );
    for row in &rows {
        println!(
            "{:<24} {:>9.3} {:>9.3} {:>9.3} {:>9.2} {:>12.2} {:>9.3}",
            row.name,
            quantile(&row.times, 0.5),
            quantile(&row.times, 0.0),
            quantile(&row.times, 0.9),
            compared(row, &rows[0], |a, b| a / b),
            compared(row, &rows[reference], |a, b| a / b),
            compared(row, &rows[reference], |a, b| a - b)
        );
    }
    Ok(())
}

fn row(line: &str) -> Result<Row, String> {
    let (name, command) = line.split_once('\t').ok_or_else(|| format!("no tab in {line:?}"))?;
    let (command, directory) = command.split_once('\t').unwrap_or((command, "."));
    let words: Vec<String> = command.split_whitespace().map(str::to_string).collect();
    if words.is_empty() {
        return Err(format!("no command in {line:?}"));
    }
    Ok(Row { name: name.to_string(), words, directory: directory.to_string(), times: Vec::new() })
}

/// One run, from before the process is made until it was waited for.
fn time(row: &Row) -> Result<f64, String> {
    let mut command = Command::new(&row.words[0]);
    command
        .args(&row.words[1..])
        .current_dir(&row.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().map_err(|e| format!("{}: {e}", row.words[0]))?;
    let time = start.elapsed().as_secs_f64() * 1e3;
    if status.success() { Ok(time) } else { Err(format!("{}: {status}", row.name)) }
}

/// The median over all rounds.
fn compared(row: &Row, to: &Row, how: fn(f64, f64) -> f64) -> f64 {
    let pairs = row.times.iter().zip(&to.times);
    quantile(&pairs.map(|(a, b)| how(*a, *b)).collect::<Vec<_>>(), 0.5)
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}
