//! docs/protection.md: what happens to each protected name, measured. `FENCE_BLESS=1 cargo test --test kernel table` writes
//! the table anew.

use crate::guard::{end, start};
use crate::harness::{Ran, World, everybody};
use fence::tables::protected::{PROTECTED, Where};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// A protected name.
struct Row {
    /// As the table has it.
    label: String,
    /// In the home directory (else in the working directory).
    home: bool,
    path: String,
    directory: bool,
}

impl Row {
    /// For a shell in the working directory.
    fn at(&self) -> String {
        if self.home { format!("../home/{}", self.path) } else { self.path.clone() }
    }

    /// The same name in a directory that the command makes.
    fn in_new(&self) -> String {
        if self.home { format!("../home/new/{}", self.path) } else { format!("new/{}", self.path) }
    }

    fn make(&self, at: &str) -> String {
        let parent = at.rsplit_once('/').map_or(".", |(parent, _)| parent);
        let made = if self.directory { format!("mkdir -p {at}") } else { format!("echo x > {at}") };
        format!("mkdir -p {parent} && {made}")
    }

    /// Writes to it.
    fn write(&self) -> String {
        let at = self.at();
        if self.directory { format!("touch {at}/evil") } else { format!("echo evil >> {at}") }
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for row in PROTECTED {
        let mut add = |home: bool| {
            let label = if home {
                format!("`~/{}`", row.name)
            } else {
                format!("`{}` in the working directory", row.name)
            };
            rows.push(Row { label, home, path: row.name.into(), directory: row.directory });
        };
        if row.by_itself || row.place == Where::Home {
            add(true);
        }
        if row.place == Where::Everywhere {
            add(false);
        }
    }
    let git = [
        ("hooks", true),
        ("config", false),
        ("config.worktree", false),
        ("commondir", false),
        ("gitdir", false),
    ];
    rows.extend(git.map(|(name, directory)| Row {
        label: format!("`.git/{name}`"),
        home: false,
        path: format!(".git/{name}"),
        directory,
    }));
    rows.push(Row {
        label: "what `denyWrite` names".into(),
        home: false,
        path: "some/dir/named".into(),
        directory: false,
    });
    rows
}

const POLICY: &str = r#"{"filesystem": {"allowWrite": [".", "~"], "denyWrite": ["some/dir/named"]}}"#;

/// A repository that lacks what counts, and directories for the names.
fn world(who: crate::harness::Who) -> World {
    let world = World::new(who);
    world
        .bare(
            "sh",
            ["-ec", "mkdir -p .git/objects .git/refs some/dir; echo ref: refs/heads/main > .git/HEAD"],
        )
        .ok();
    world
}

fn each(rows: &[Row], line: impl Fn(&Row) -> String) -> String {
    rows.iter()
        .map(|row| format!("( {} ) 2>/dev/null && echo 'DID {}'\n", line(row), row.at()))
        .collect::<String>()
        + "true"
}

fn with_m(world: &World, line: &str) -> Ran {
    let policy = world.root.join("m.json");
    fs::write(&policy, POLICY).unwrap();
    world.run(["-m", "-s", policy.to_str().unwrap(), "--", "sh", "-c", line]).ok()
}

/// What the command did of it all: one cell for each row.
fn cells(rows: &[Row], ran: &Ran, not: &str) -> Vec<String> {
    let cell = |row: &Row| {
        if ran.out.lines().any(|line| line == format!("DID {}", row.at())) {
            "NOT KEPT".into()
        } else {
            not.into()
        }
    };
    rows.iter().map(cell).collect()
}

fn exists(who: crate::harness::Who, rows: &[Row]) -> Vec<String> {
    let world = world(who);
    world.bare("sh", ["-ec", &each(rows, |row| row.make(&row.at()))]).ok();
    let line = each(rows, |row| {
        format!("{} || mv {at} {at}.moved || rm -r {at} || mv some/dir/x {at}", row.write(), at = row.at())
    });
    cells(rows, &world.fenced(POLICY, ["sh", "-c", &line]).ok(), "read-only")
}

fn missing(who: crate::harness::Who, rows: &[Row]) -> Vec<String> {
    let mut all = Vec::new();
    // Some at a time: what is said is bounded.
    for some in rows.chunks(8) {
        let world = world(who);
        let line = each(some, |row| row.make(&row.at())) + "; sleep 0.3";
        let ran = world.fenced(POLICY, ["sh", "-c", &line]).ok();
        all.extend(some.iter().map(|row| {
            let path = fs::canonicalize(world.work()).unwrap().join(row.at());
            let path: PathBuf = path.to_str().unwrap().replace("work/../", "").into();
            let said = ran.err.contains(path.to_str().unwrap());
            match (path.symlink_metadata().is_ok(), said) {
                (false, true) => "moved aside",
                (true, true) => "stays, named at the end",
                (true, false) => "stays",
                (false, false) => "LOST",
            }
            .to_string()
        }));
    }
    all
}

fn in_a_new_directory(who: crate::harness::Who, rows: &[Row]) -> Vec<String> {
    let mut all = Vec::new();
    for some in rows.chunks(4) {
        let world = world(who);
        let ran = with_m(&world, &(each(some, |row| row.make(&row.in_new())) + "; sleep 0.1"));
        all.extend(some.iter().map(|row| {
            let path = world.work().join(row.in_new());
            let named = path.to_str().unwrap().replace("work/../", "");
            let top = named.find("/.git/").map_or(named.as_str(), |at| &named[..at + 5]);
            match (path.exists(), ran.err.contains(top)) {
                (true, true) => "stays, named with `-m`",
                (true, false) => "stays",
                _ => "GONE",
            }
            .to_string()
        }));
    }
    all
}

/// `None` where fence says that the engine can't do it.
fn replaced(who: crate::harness::Who, rows: &[Row]) -> Option<Vec<String>> {
    let world = world(who);
    world.bare("sh", ["-ec", &each(rows, |row| row.make(&row.at()))]).ok();
    if world.engine_lacks(POLICY, "makes no mount again") {
        return None;
    }
    // The guard may need a moment; in the end all is covered again.
    let tries = each(rows, |row| {
        format!(
            "i=0; while {}; do i=$((i+1)); [ $i -lt 200 ] || exit 0; sleep 0.05; done; false",
            row.write()
        )
    });
    let run = start(&world, POLICY, &format!("while [ ! -e go ]; do sleep 0.01; done; {tries}"));
    let by_host = each(rows, |row| match (row.at(), row.directory) {
        (at, true) => format!("mkdir {at}.new && {} exchange {at}.new {at}", world.victim().display()),
        (at, false) => format!("echo good > new.tmp && mv new.tmp {at}"),
    });
    let ran = world.bare("sh", ["-c", &by_host]).ok();
    assert_eq!(ran.out.lines().count(), rows.len(), "{ran:?}");
    world.write("go", "");
    Some(cells(rows, &end(run).ok(), "covered again"))
}

fn ancestor(who: crate::harness::Who, rows: &[Row]) -> Vec<String> {
    let world = world(who);
    world.bare("sh", ["-ec", &each(rows, |row| row.make(&row.at()))]).ok();
    // Each directory above, the writable one itself included.
    let line = each(rows, |row| {
        let at = row.at();
        let above = std::path::Path::new(&at).ancestors().skip(1).filter(|a| !a.ends_with("..")).map(|a| {
            match a.to_str().unwrap() {
                "" => "mv ../work ../w2".to_string(),
                above => format!("mv {above} {above}.moved"),
            }
        });
        above.collect::<Vec<_>>().join(" || ")
    });
    cells(rows, &world.fenced(POLICY, ["sh", "-c", &line]).ok(), "can't be renamed")
}

#[test]
fn the_table_in_the_manual_says_what_happens() {
    let rows = rows();
    let (mut tables, mut complete) = (Vec::new(), true);
    for who in everybody() {
        let again = replaced(who, &rows);
        complete &= again.is_some();
        let columns = [
            exists(who, &rows),
            missing(who, &rows),
            in_a_new_directory(who, &rows),
            again.clone().unwrap_or_else(|| vec![String::new(); rows.len()]),
            ancestor(who, &rows),
        ];
        let mut table = String::from(
            "| name | it exists | it is missing and appears | it is made in a new directory | the host replaces it | a directory above |\n|---|---|---|---|---|---|\n",
        );
        for (n, row) in rows.iter().enumerate() {
            let cells: Vec<&str> = columns.iter().map(|column| column[n].as_str()).collect();
            writeln!(table, "| {} | {} |", row.label, cells.join(" | ")).unwrap();
        }
        tables.push(table);
    }
    assert!(tables.iter().all(|table| *table == tables[0]), "root and others differ: {}", tables.join("\n"));
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/protection.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- table -->\n").unwrap();
    let (old, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("FENCE_BLESS").is_some() {
        fs::write(&file, format!("{before}<!-- table -->\n{}<!-- end -->{after}", tables[0])).unwrap();
    } else {
        // What was not measured is not compared.
        let measured = |table: &str| -> Vec<String> {
            let cells = table.lines().skip(2).map(|line| line.split('|').collect::<Vec<_>>());
            cells
                .map(
                    |cells| {
                        if complete { cells.concat() } else { [&cells[..5], &cells[6..]].concat().concat() }
                    },
                )
                .collect()
        };
        assert!(
            measured(old) == measured(&tables[0]),
            "docs/protection.md says something else. FENCE_BLESS=1 cargo test --test kernel table writes:\n{}",
            tables[0]
        );
    }
}
