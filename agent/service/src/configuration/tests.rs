//! Every kind of mistake, at its place.

use std::{fs, path::Path, time::Duration};

use super::{File, Mistakes, Table};

fn file(text: &str) -> File {
    File::parse(Path::new("/etc/station/station.toml"), text.to_owned()).unwrap()
}

/// The mistakes as displayed, without the file's name.
fn lines(mistakes: &Mistakes) -> Vec<String> {
    mistakes.to_string().lines().map(|line| line.trim_start_matches("/etc/station/station.toml:").to_owned()).collect()
}

fn mistakes(text: &str, read: impl FnOnce(&Table<'_>)) -> Vec<String> {
    let file = file(text);
    read(&file.root());
    file.finish().map_or_else(|mistakes| lines(&mistakes), |()| Vec::new())
}

/// A file without mistakes gives every kind of value, and no complaint.
#[test]
fn every_kind_of_value_is_read() {
    let text = r#"
        station = "station-1"
        handle = 0x81000010
        wait = "250ms"
        journal = "journal"
        pin_file = "/run/pin"
        production = true
        keys = ["P-256", "P-384"]
        [listen]
        address = "127.0.0.1:7070"
        [environment]
        EMPTY = ""
        CONF = "a"
        [[fixture]]
        name = "one"
        tpm = { handle = 1 }
        [[fixture]]
        name = "two"
    "#;
    let file = file(text);
    let root = file.root();
    assert_eq!(root.string("station").unwrap(), "station-1");
    assert_eq!(root.optional_string("site"), None);
    assert_eq!(root.integer("handle", 0..=0xffff_ffff), Some(0x8100_0010));
    assert_eq!(root.integer_or("count", 0..=9, 7), 7);
    assert_eq!(root.duration("wait"), Some(Duration::from_millis(250)));
    assert_eq!(root.duration_or("later", Duration::from_secs(1)), Duration::from_secs(1));
    assert_eq!(root.path("journal").unwrap(), Path::new("/etc/station/journal"));
    assert_eq!(root.optional_path("pin_file").unwrap(), Path::new("/run/pin"));
    assert!(root.boolean_or("production", false));
    assert!(root.boolean_or("other", true));
    assert_eq!(root.string_list("keys"), ["P-256", "P-384"]);
    let address = root.table("listen").unwrap().parsed("address", str::parse::<std::net::SocketAddr>);
    assert_eq!(address.unwrap().port(), 7070);
    let environment = [("EMPTY", ""), ("CONF", "a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(root.string_map("environment"), environment);
    assert_eq!(root.string_map("nothing"), []);
    let names: Vec<_> = root.tables("fixture").iter().filter_map(|table| table.string("name")).collect();
    assert_eq!(names, ["one", "two"]);
    let handles: Vec<_> = root
        .tables("fixture")
        .iter()
        .map(|table| table.optional_table("tpm").and_then(|tpm| tpm.integer("handle", 0..=9)))
        .collect();
    assert_eq!(handles, [Some(1), None]);
    file.finish().unwrap();
}

/// Many slips in one file: all are reported in one go, in the order of the file, each with line, column and path.
#[test]
fn every_mistake_is_reported_at_once_and_in_order() {
    let text = r#"statoin = "station-1"
wait = "10 minutes"
[listen]
address = "nowhere"
count = 11
flag = "yes"
[[fixture]]
name = ""
[[fixture]]
name = 7
tcti = ["a", 1]
colour = "blue"
"#;
    let found = mistakes(text, |root| {
        // Deliberately not in the order of the file.
        for fixture in root.tables("fixture") {
            fixture.string("name");
            fixture.string_list("tcti");
        }
        root.string("station");
        root.duration("wait");
        let listen = root.table("listen").unwrap();
        listen.boolean_or("flag", true);
        listen.integer("count", 1..=10);
        listen.parsed("address", str::parse::<std::net::SocketAddr>);
        listen.path("key");
        root.table("authority");
    });
    assert_eq!(
        found,
        [
            "1:1: authority: is missing; add a table [authority]",
            "1:1: station: is missing; add a string, `station = \"…\"`, at the top of the file, before the first [table]",
            "1:1: statoin: unknown key; did you mean `station`?",
            "2:8: wait: has an unknown unit \" minutes\"; use ms, s, min, h or d without spaces",
            "3:1: listen.key: is missing; add a path, `key = \"…\"`, to the table listen",
            "4:11: listen.address: invalid socket address syntax",
            "5:9: listen.count: must be from 1 to 10; found 11",
            "6:8: listen.flag: must be true or false, without quotes; found a string",
            "8:8: fixture[1].name: is empty; give it a value or remove it",
            "10:8: fixture[2].name: must be a string in quotes; found an integer",
            "11:14: fixture[2].tcti[2]: must be a string in quotes; found an integer",
            "12:1: fixture[2].colour: unknown key; remove it, or use one of: name, tcti",
        ]
    );
}

/// Each wrong kind of value names what was found, never the value: a PIN may stand where a file name belongs.
#[test]
fn wrong_kinds_name_what_was_found_and_not_the_value() {
    let text = "a = 123456\nb = 1.5\nc = 1979-05-27\nd = [1]\ne = { x = 1 }\nf = true\n[[g]]\n[h]\n";
    let found = mistakes(text, |root| {
        for key in ["a", "b", "c", "d", "f", "g"] {
            root.string(key);
        }
        root.path("e");
        root.tables("h");
    });
    assert_eq!(
        found,
        [
            "1:5: a: must be a string in quotes; found an integer",
            "2:5: b: must be a string in quotes; found a number with a fraction",
            "3:5: c: must be a string in quotes; found a date or time",
            "4:5: d: must be a string in quotes; found an array",
            "5:5: e: must be a string in quotes; found a table",
            "6:5: f: must be a string in quotes; found a boolean",
            "7:1: g: must be a string in quotes; found an array of tables",
            "8:1: h: may stand several times; write [[h]] with two brackets",
        ]
    );
    let found = mistakes("a = 1\nb = 2\nc = 3\nd = 4\n[[e]]\n", |root| {
        root.tables("a");
        root.string_list("b");
        root.duration("c");
        root.table("d");
        root.table("e");
    });
    assert_eq!(
        found,
        [
            "1:5: a: must be tables under [[a]]; found an integer",
            "2:5: b: must be an array of strings, such as [\"…\"]; found an integer",
            "3:5: c: must be a duration in quotes, such as \"30s\"; found an integer",
            "4:5: d: must be a table [d]; found an integer",
            "5:1: e: may stand only once; write [e] with one bracket",
        ]
    );
}

/// The same slip, asked for twice, is one mistake.
#[test]
fn a_mistake_is_reported_once() {
    let found = mistakes("a = 1\n", |root| {
        root.string("a");
        root.optional_string("a");
        root.string("b");
        root.string("b");
    });
    assert_eq!(found.len(), 2, "{found:?}");
}

/// A key under the wrong header is told where it belongs; one beside its right spelling is told to go.
#[test]
fn misplaced_keys_are_told_where_they_belong() {
    let found = mistakes("[listen]\naddress = \"a\"\njournal = \"j\"\nadress = \"b\"\n", |root| {
        root.optional_string("journal");
        root.table("listen").unwrap().string("address");
    });
    assert_eq!(
        found,
        [
            "3:1: listen.journal: unknown key here; `journal` belongs at the top of the file, before the first [table]",
            "4:1: listen.adress: unknown key; `address` is already here, remove this one",
        ]
    );
}

/// An unknown table is one mistake, and its keys are none; an overlooked rest is none.
#[test]
fn unknown_tables_are_one_mistake() {
    let found = mistakes("[lisen]\na = 1\nb = 2\n[[fixture]]\nkeystore = \"paper\"\nx = 1\n", |root| {
        root.optional_table("listen");
        for fixture in root.tables("fixture") {
            fixture.parsed("keystore", |_| Err::<(), _>("must be tpm or pkcs11"));
            fixture.overlook_rest();
        }
    });
    assert_eq!(
        found,
        ["1:2: lisen: unknown key; did you mean `listen`?", "5:12: fixture[1].keystore: must be tpm or pkcs11"]
    );
}

/// What only the caller sees stands at the key's value, or at the table when the key is absent. Columns are characters.
#[test]
fn contradictions_are_added_at_their_place() {
    let found = mistakes("a = { \"ü\" = \"ü\", b = 1 }\n", |root| {
        let a = root.table("a").unwrap();
        a.string("ü");
        a.integer("b", 0..=9);
        a.mistake("b", "contradicts c");
        a.mistake("c", "contradicts b");
    });
    assert_eq!(found, ["1:5: a.c: contradicts b", "1:22: a.b: contradicts c"]);
}

/// Durations: every unit, and what is none.
#[test]
fn durations_have_a_number_and_a_unit() {
    let read = |text: &str| super::duration::parse(text);
    for (text, seconds) in [("30s", 30), ("10min", 600), ("2h", 7_200), ("365d", 31_536_000)] {
        assert_eq!(read(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(read("250ms"), Ok(Duration::from_millis(250)));
    for (text, problem) in [
        ("s", "must be a whole number"),
        ("-1s", "must be a whole number"),
        ("1.5h", "unknown unit"),
        ("30", "has no unit; write \"30s\""),
        ("5m", "write \"5min\""),
        ("5 s", "unknown unit"),
        ("0s", "longer than zero"),
        ("99999999999999999999s", "too long"),
        ("18446744073709551615d", "too long"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

/// Integers beyond 64 bits and outside the range are mistakes, hexadecimal ones are read.
#[test]
fn integers_have_a_range() {
    let found = mistakes("a = 99999999999999999999\nb = -1\nc = 0xFF\n", |root| {
        root.integer("a", 0..=9);
        root.integer("b", 0..=9);
        assert_eq!(root.integer("c", 0..=255), Some(255));
    });
    assert_eq!(
        found,
        ["1:5: a: must be from 0 to 9; found a number beyond 64 bits", "2:5: b: must be from 0 to 9; found -1"]
    );
}

/// Every place where the syntax is wrong is named.
#[test]
fn syntax_errors_have_places() {
    let error = File::parse(Path::new("x.toml"), "a = \nb = 1\nb = 2\n".to_owned()).unwrap_err();
    let text = error.to_string();
    assert!(text.lines().all(|line| line.starts_with("x.toml:") && line.contains(": is not TOML: ")), "{text}");
    assert!(text.contains("x.toml:1:") && text.contains("x.toml:3:1:"), "{text}");
}

/// Files that cannot be read are named, with the reason.
#[test]
fn unreadable_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    let read = || File::read(&path).unwrap_err().to_string().replace(&path.display().to_string(), "a.toml");
    assert!(read().starts_with("a.toml: could not be read: No such file"), "{}", read());
    fs::write(&path, b"a = 1\nb = \"\xff\"").unwrap();
    assert_eq!(read(), "a.toml:2:6: is not UTF-8; save the file as UTF-8");
    fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(read().contains("larger than"), "{}", read());
    fs::write(&path, "a = 1").unwrap();
    let file = File::read(&path).unwrap();
    assert_eq!(file.sha256()[..], *aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"a = 1").as_ref());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(read().contains("could not be read"), "{}", read());
}

/// What is asked for and stands nowhere is told; what stands in a comment, in an inline table or beneath a header is not.
#[test]
fn what_an_example_leaves_out_is_told() {
    let text = "a = 1\n#b = 2\nc = { d = \"1\" }\n[e]\n#f = 3\n[[g]]\nh = \"x\"\n";
    let file = File::parse("/etc/s.toml".as_ref(), text.to_owned()).unwrap();
    let root = file.root();
    let _ = (root.optional_integer("a", 0..=9), root.optional_integer("b", 0..=9), root.optional_string("away"));
    let (c, e) = (root.table("c").unwrap(), root.table("e").unwrap());
    let _ = (c.string("d"), e.optional_integer("f", 0..=9), e.optional_string("d"));
    for table in root.tables("g") {
        let _ = (table.string("h"), table.optional_string("b"));
    }
    assert_eq!(file.unmentioned(), ["away", "e.d", "g.b"]);
}
