//! Asking a table for its keys.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    File, duration, join,
    tree::{Entry, Node, TableNode, Value},
};

/// One table. Asking for a key marks it as known. What is missing or wrong is collected for [`File::finish`] and `None`
/// (or the default) returned, so that reading goes on to the next mistake.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    file: &'a File,
    node: &'a TableNode,
    path: String,
}

impl<'a> Table<'a> {
    pub(super) fn new(file: &'a File, node: &'a TableNode, path: String) -> Self {
        node.opened.set(true);
        Self { file, node, path }
    }

    /// A required string; an empty one is a mistake.
    pub fn string(&self, key: &str) -> Option<String> {
        self.required(key, "a string", "\"…\"").and_then(|node| self.read_string(key, node))
    }

    /// An optional string; an empty one is a mistake.
    pub fn optional_string(&self, key: &str) -> Option<String> {
        self.ask(key).and_then(|node| self.read_string(key, node))
    }

    /// A required string that `parse` accepts; its error's `Display` is the mistake.
    pub fn parsed<T, E: Display>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.required(key, "a string", "\"…\"").and_then(|node| self.read_parsed(key, node, parse))
    }

    /// An optional string that `parse` accepts; its error's `Display` is the mistake.
    pub fn optional_parsed<T, E: Display>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.ask(key).and_then(|node| self.read_parsed(key, node, parse))
    }

    /// An integer in a range; accepts TOML hexadecimal as well.
    pub fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let example = range.start().to_string();
        self.required(key, "an integer", &example).and_then(|node| self.read_integer(key, node, &range))
    }

    /// An optional integer in a range.
    pub fn optional_integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.ask(key).and_then(|node| self.read_integer(key, node, &range))
    }

    /// An integer in a range; `default` when absent or wrong.
    pub fn integer_or(&self, key: &str, range: RangeInclusive<i64>, default: i64) -> i64 {
        self.optional_integer(key, range).unwrap_or(default)
    }

    /// `true` or `false`; `default` when absent or wrong.
    pub fn boolean_or(&self, key: &str, default: bool) -> bool {
        match self.ask(key) {
            None => default,
            Some(Node { value: Value::Boolean(boolean), .. }) => *boolean,
            Some(node) => {
                self.wrong_kind(key, node, "true or false, without quotes");
                default
            }
        }
    }

    /// A required duration longer than zero: `"250ms"`, `"30s"`, `"10min"`, `"2h"`, `"365d"`.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.required(key, "a duration", "\"30s\"").and_then(|node| self.read_duration(key, node))
    }

    /// A duration longer than zero; `default` when absent or wrong.
    pub fn duration_or(&self, key: &str, default: Duration) -> Duration {
        self.ask(key).and_then(|node| self.read_duration(key, node)).unwrap_or(default)
    }

    /// A required path; a relative one starts at the file's directory. Whether it exists is for its user to find out.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.required(key, "a path", "\"…\"").and_then(|node| self.read_path(key, node))
    }

    /// An optional path; a relative one starts at the file's directory.
    pub fn optional_path(&self, key: &str) -> Option<PathBuf> {
        self.ask(key).and_then(|node| self.read_path(key, node))
    }

    /// A required sub-table.
    pub fn table(&self, key: &str) -> Option<Table<'a>> {
        let Some(node) = self.ask(key) else {
            let path = join(&self.path, key);
            self.file.add(self.node.at, path.clone(), format!("is missing; add a table [{path}]"));
            return None;
        };
        self.read_table(key, node)
    }

    /// An optional sub-table.
    pub fn optional_table(&self, key: &str) -> Option<Table<'a>> {
        self.ask(key).and_then(|node| self.read_table(key, node))
    }

    /// The tables of `[[key]]`, in their order; empty when absent.
    pub fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let path = join(&self.path, key);
        let Some(node) = self.ask(key) else { return Vec::new() };
        match &node.value {
            Value::Array(nodes) => self
                .elements(key, nodes, |path, node| match &node.value {
                    Value::Table(table) => Some(Table::new(self.file, table, path.to_owned())),
                    other => {
                        let message = format!("must be a table, found {}; write [[{key}]]", other.kind());
                        self.file.add(node.at, path.to_owned(), message);
                        None
                    }
                })
                .collect(),
            Value::Table(table) => {
                let message = format!("may stand several times; write [[{path}]] with two brackets");
                self.file.add(node.at, path.clone(), message);
                // Read on, so that the mistakes inside it are reported as well.
                vec![Table::new(self.file, table, path)]
            }
            _ => {
                self.wrong_kind(key, node, &format!("tables under [[{path}]]"));
                Vec::new()
            }
        }
    }

    /// The keys and string values of a free-form sub-table such as an environment, in the order of the file; empty
    /// when absent. Values may be empty.
    pub fn string_map(&self, key: &str) -> Vec<(String, String)> {
        let Some(table) = self.optional_table(key) else { return Vec::new() };
        let read = |entry: &Entry| match table.ask(&entry.key)? {
            Node { value: Value::String(text), .. } => Some((entry.key.clone(), text.clone())),
            node => {
                table.wrong_kind(&entry.key, node, "a string in quotes");
                None
            }
        };
        table.node.entries.iter().filter_map(read).collect()
    }

    /// The strings of an array; empty when absent. An empty string is a mistake at its own place.
    pub fn string_list(&self, key: &str) -> Vec<String> {
        self.parsed_list(key, |text| Ok::<_, String>(text.to_owned()))
    }

    /// The strings of an array that `parse` accepts; empty when absent. What it refuses is a mistake at the string's place.
    pub fn parsed_list<T, E: Display>(&self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        match self.ask(key) {
            None => Vec::new(),
            Some(Node { value: Value::Array(nodes), .. }) => {
                self.elements(key, nodes, |path, node| self.parse_at(path, node, &parse)).collect()
            }
            Some(node) => {
                self.wrong_kind(key, node, "an array of strings, such as [\"…\"]");
                Vec::new()
            }
        }
    }

    /// Whether the table has `key`. Does not mark it as known.
    pub fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    /// Whether `key` is a table. Does not mark it as known.
    pub fn has_table(&self, key: &str) -> bool {
        self.node.get(key).is_some_and(|entry| matches!(entry.node.value, Value::Table(_)))
    }

    /// Adds a mistake at `key` (at the table when the key is absent), for contradictions that only the caller sees.
    pub fn mistake(&self, key: &str, message: impl Into<String>) {
        let at = self.node.get(key).map_or(self.node.at, |entry| entry.node.at);
        self.file.add(at, join(&self.path, key), message.into());
    }

    /// Takes every key that is still unasked for as known: for when a mistake already leaves open which keys belong here
    /// (an unknown kind of keystore, say), so that one slip is one mistake.
    pub fn overlook_rest(&self) {
        self.node.rest_overlooked.set(true);
    }

    fn ask(&self, key: &str) -> Option<&'a Node> {
        self.node.asked.borrow_mut().insert(key.to_owned());
        self.node.get(key).map(|entry| &entry.node)
    }

    fn required(&self, key: &str, what: &str, example: &str) -> Option<&'a Node> {
        let node = self.ask(key);
        if node.is_none() {
            let place = match self.path.as_str() {
                "" => "at the top of the file, before the first [table]".to_owned(),
                path => format!("to the table {path}"),
            };
            let message = format!("is missing; add {what}, `{key} = {example}`, {place}");
            self.file.add(self.node.at, join(&self.path, key), message);
        }
        node
    }

    fn elements<'n, T>(
        &self,
        key: &str,
        nodes: &'n [Node],
        read: impl Fn(&str, &'n Node) -> Option<T>,
    ) -> impl Iterator<Item = T> {
        let path = join(&self.path, key);
        nodes.iter().enumerate().filter_map(move |(index, node)| read(&format!("{path}[{}]", index + 1), node))
    }

    fn wrong_kind(&self, key: &str, node: &Node, wanted: &str) {
        self.wrong_kind_at(&join(&self.path, key), node, wanted);
    }

    fn wrong_kind_at(&self, path: &str, node: &Node, wanted: &str) {
        self.file.add(node.at, path.to_owned(), format!("must be {wanted}; found {}", node.value.kind()));
    }

    fn read_table(&self, key: &str, node: &'a Node) -> Option<Table<'a>> {
        let path = join(&self.path, key);
        match &node.value {
            Value::Table(table) => Some(Table::new(self.file, table, path)),
            Value::Array(nodes) if nodes.iter().any(|node| matches!(node.value, Value::Table(_))) => {
                self.file.add(node.at, path.clone(), format!("may stand only once; write [{path}] with one bracket"));
                None
            }
            _ => {
                self.wrong_kind(key, node, &format!("a table [{path}]"));
                None
            }
        }
    }

    fn read_string(&self, key: &str, node: &Node) -> Option<String> {
        self.read_parsed(key, node, |text| Ok::<_, String>(text.to_owned()))
    }

    fn read_parsed<T, E: Display>(
        &self,
        key: &str,
        node: &Node,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.parse_at(&join(&self.path, key), node, parse)
    }

    fn parse_at<T, E: Display>(&self, path: &str, node: &Node, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let Value::String(text) = &node.value else {
            self.wrong_kind_at(path, node, "a string in quotes");
            return None;
        };
        if text.is_empty() {
            self.file.add(node.at, path.to_owned(), "is empty; give it a value or remove it".to_owned());
            return None;
        }
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.file.add(node.at, path.to_owned(), error.to_string());
                None
            }
        }
    }

    fn read_integer(&self, key: &str, node: &Node, range: &RangeInclusive<i64>) -> Option<i64> {
        match &node.value {
            Value::Integer(Some(integer)) if range.contains(integer) => Some(*integer),
            Value::Integer(integer) => {
                let found = integer.map_or("a number beyond 64 bits".to_owned(), |integer| integer.to_string());
                let message = format!("must be from {} to {}; found {found}", range.start(), range.end());
                self.file.add(node.at, join(&self.path, key), message);
                None
            }
            _ => {
                self.wrong_kind(key, node, "an integer without quotes");
                None
            }
        }
    }

    fn read_duration(&self, key: &str, node: &Node) -> Option<Duration> {
        let Value::String(_) = &node.value else {
            self.wrong_kind(key, node, "a duration in quotes, such as \"30s\"");
            return None;
        };
        self.read_parsed(key, node, duration::parse)
    }

    fn read_path(&self, key: &str, node: &Node) -> Option<PathBuf> {
        self.read_parsed(key, node, |text| match text.contains('\0') {
            true => Err("contains a NUL character, which no path may"),
            false => Ok(self.file.directory().join(text)),
        })
    }
}
