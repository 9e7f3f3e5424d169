//! TOML configuration that reports every mistake at once, with its place in the file.
//!
//! Read a [`File`], ask its [`Table`]s for the keys, and [`File::finish`]: whatever was missing, wrong or unknown comes
//! back as one list, sorted by place. A reader that got `None` goes on to the next key instead of giving up.
//!
//! Keys are named by their path from the top of the file. Tables of an array count from 1, as people do:
//! `fixture[2].tcti` is the key of the second `[[fixture]]`.

mod duration;
mod suggestion;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;

pub use self::table::Table;
use self::tree::{TableNode, Value};

/// A station's file has some hundreds of lines; more than this is another kind of file, named by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One mistake; displays as `file:line:column: key: what was wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `file:line:column`, line and column counted from 1, the column in characters. The file alone when it could not be read.
    pub place: String,
    /// The key's path from the top of the file, such as `listen.address` or `fixture[2].tcti`; empty for the file as a whole.
    pub key: String,
    /// What was wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            key => write!(f, "{}: {key}: {}", self.place, self.message),
        }
    }
}

/// Every mistake of a file, sorted by place. Displays one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A mistake before its byte offset became a line and a column. Ordered by place, and equal ones fall together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    at: usize,
    key: String,
    message: String,
}

/// A configuration file that was read and parsed as TOML.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    text: String,
    sha256: [u8; 32],
    root: TableNode,
    found: RefCell<BTreeSet<Found>>,
}

impl File {
    /// Reads and parses.
    ///
    /// # Errors
    /// Unreadable, too large or not UTF-8: that one mistake. Not TOML: every place where the syntax is wrong.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        let whole = |message: String| {
            Mistakes(vec![Mistake { place: path.display().to_string(), key: String::new(), message }])
        };
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| whole(format!("could not be read: {error}; name a readable file with --config")))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(whole(format!(
                "is larger than {FILE_BYTES_MAX} bytes; name a configuration file with --config"
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            let place = place(path, &before, valid);
            Mistakes(vec![Mistake {
                place,
                key: String::new(),
                message: "is not UTF-8; save the file as UTF-8".to_owned(),
            }])
        })?;
        Self::parse(path, text)
    }

    /// Parses `text` as if it had been read from `path`; relative paths start at the directory of `path`.
    ///
    /// # Errors
    /// Not TOML: every place where the syntax is wrong.
    pub fn parse(path: &Path, text: String) -> Result<Self, Mistakes> {
        let (root, errors) = toml::de::DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            let found: BTreeSet<_> = errors
                .iter()
                .map(|error| Found {
                    at: error.span().map_or(0, |span| span.start),
                    key: String::new(),
                    message: format!("is not TOML: {}", error.message().trim().replace('\n', ", ")),
                })
                .collect();
            return Err(mistakes(path, &text, &found));
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let root = TableNode::from_toml(0, root.get_ref());
        Ok(Self { path: path.to_owned(), text, sha256, root, found: RefCell::default() })
    }

    /// The table at the top of the file.
    pub fn root(&self) -> Table<'_> {
        Table::new(self, &self.root, String::new())
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file's bytes.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Every mistake that tables of this file collected, and every key that nobody asked for.
    ///
    /// # Errors
    /// At least one mistake.
    pub fn finish(self) -> Result<(), Mistakes> {
        let mut known = BTreeMap::new();
        where_keys_belong(&self.root, "", &mut known);
        self.find_unknown(&self.root, "", &known);
        let found = self.found.into_inner();
        if found.is_empty() { Ok(()) } else { Err(mistakes(&self.path, &self.text, &found)) }
    }

    /// The keys that tables of this file were asked for and that its text has nowhere, not even in a comment (`#key = …`): an
    /// example that people begin with has none such. Tables of an array are one.
    #[must_use]
    pub fn unmentioned(&self) -> Vec<String> {
        let mut asked = BTreeSet::new();
        asked_keys(&self.root, "", &mut asked);
        let mentioned = mentioned_keys(&self.text);
        asked.into_iter().filter(|key| !mentioned.contains(key)).collect()
    }

    fn add(&self, at: usize, key: String, message: String) {
        self.found.borrow_mut().insert(Found { at, key, message });
    }

    /// The directory that relative paths start from.
    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn find_unknown(&self, table: &TableNode, path: &str, known: &BTreeMap<String, String>) {
        if !table.opened.get() {
            return;
        }
        let asked = table.asked.borrow();
        for entry in &table.entries {
            let path = join(path, &entry.key);
            if !asked.contains(&entry.key) {
                if !table.rest_overlooked.get() {
                    self.add(entry.key_at, path, unknown(&entry.key, table, &asked, known));
                }
                continue;
            }
            match &entry.node.value {
                Value::Table(inner) => self.find_unknown(inner, &path, known),
                Value::Array(nodes) => {
                    for (index, node) in nodes.iter().enumerate() {
                        if let Value::Table(inner) = &node.value {
                            self.find_unknown(inner, &format!("{path}[{}]", index + 1), known);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn unknown(key: &str, table: &TableNode, asked: &BTreeSet<String>, known: &BTreeMap<String, String>) -> String {
    let free = asked.iter().map(String::as_str).filter(|name| table.get(name).is_none());
    if let Some(name) = suggestion::nearest(key, free) {
        return format!("unknown key; did you mean `{name}`?");
    }
    if let Some(home) = known.get(key) {
        return format!("unknown key here; `{key}` belongs {home}");
    }
    if let Some(name) = suggestion::nearest(key, asked.iter().map(String::as_str)) {
        return format!("unknown key; `{name}` is already here, remove this one");
    }
    match asked.len() {
        0 => "unknown key; remove it".to_owned(),
        _ => format!("unknown key; remove it, or use one of: {}", asked.iter().cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// Which table each key that somebody asked for belongs to: a key under the wrong header is TOML's commonest slip.
fn where_keys_belong(table: &TableNode, path: &str, known: &mut BTreeMap<String, String>) {
    if !table.opened.get() {
        return;
    }
    let home = if path.is_empty() {
        "at the top of the file, before the first [table]".to_owned()
    } else {
        format!("in [{path}]")
    };
    for key in table.asked.borrow().iter() {
        known.entry(key.clone()).or_insert_with(|| home.clone());
    }
    for entry in &table.entries {
        match &entry.node.value {
            Value::Table(inner) => where_keys_belong(inner, &join(path, &entry.key), known),
            Value::Array(nodes) => {
                for node in nodes {
                    if let Value::Table(inner) = &node.value {
                        where_keys_belong(inner, &format!("[{}]", join(path, &entry.key)), known);
                    }
                }
            }
            _ => {}
        }
    }
}

fn asked_keys(table: &TableNode, path: &str, asked: &mut BTreeSet<String>) {
    asked.extend(table.asked.borrow().iter().map(|key| join(path, key)));
    for entry in &table.entries {
        let path = join(path, &entry.key);
        match &entry.node.value {
            Value::Table(inner) => asked_keys(inner, &path, asked),
            Value::Array(nodes) => nodes.iter().for_each(|node| {
                if let Value::Table(inner) = &node.value {
                    asked_keys(inner, &path, asked);
                }
            }),
            _ => {}
        }
    }
}

/// Each `key = value`, `[table]` and key of an inline table, with `#` before it or without.
fn mentioned_keys(text: &str) -> BTreeSet<String> {
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let (mut mentioned, mut home) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.trim_start_matches('[').split(']').next()) {
            home = header.to_owned();
            let parts: Vec<&str> = header.split('.').collect();
            mentioned.extend((1..=parts.len()).map(|count| parts[..count].join(".")));
        } else if let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| is_key(key)) {
            let path = join(&home, key);
            let inline = value.strip_prefix('{').into_iter().flat_map(|inner| inner.split(','));
            let inline = inline.filter_map(|part| Some(part.split_once(" = ")?.0.trim())).filter(|key| is_key(key));
            mentioned.extend(inline.map(|key| join(&path, key)));
            mentioned.insert(path);
        }
    }
    mentioned
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn mistakes(path: &Path, text: &str, found: &BTreeSet<Found>) -> Mistakes {
    Mistakes(
        found
            .iter()
            .map(|Found { at, key, message }| Mistake {
                place: place(path, text, *at),
                key: key.clone(),
                message: message.clone(),
            })
            .collect(),
    )
}

fn place(path: &Path, text: &str, at: usize) -> String {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    // A byte order mark has no width.
    let column = before.rsplit('\n').next().unwrap_or("").chars().filter(|c| *c != '\u{feff}').count() + 1;
    format!("{}:{line}:{column}", path.display())
}
