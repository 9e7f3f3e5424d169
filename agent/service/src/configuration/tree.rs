//! The parsed file as a tree of values that know their place and whether somebody asked for them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use toml::de::{DeTable, DeValue};

/// A value and the byte offset where it starts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    String(String),
    /// `None` when it does not fit 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    Array(Vec<Node>),
    Table(TableNode),
    /// Kinds of value that no key of ours has; the text names the kind.
    Other(&'static str),
}

impl Value {
    fn from_toml(at: usize, value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::String(text.clone().into_owned()),
            DeValue::Integer(integer) => Self::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok()),
            DeValue::Boolean(boolean) => Self::Boolean(*boolean),
            DeValue::Array(array) => Self::Array(
                array
                    .iter()
                    .map(|value| {
                        let at = value.span().start;
                        Node { at, value: Self::from_toml(at, value.get_ref()) }
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Self::Table(TableNode::from_toml(at, table)),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date or time"),
        }
    }

    /// The kind of value in words. Never the value itself: a PIN may stand where a file name belongs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Array(nodes) if !nodes.is_empty() && nodes.iter().all(|n| matches!(n.value, Self::Table(_))) => {
                "an array of tables"
            }
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

#[derive(Debug)]
pub(super) struct TableNode {
    pub(super) at: usize,
    /// In the order of their place.
    pub(super) entries: Vec<Entry>,
    /// Whether a reader has it; the keys of a table that no reader has are not called unknown one by one.
    pub(super) opened: Cell<bool>,
    pub(super) asked: RefCell<BTreeSet<String>>,
    pub(super) rest_overlooked: Cell<bool>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: usize,
    pub(super) node: Node,
}

impl TableNode {
    pub(super) fn from_toml(at: usize, table: &DeTable<'_>) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let at = value.span().start;
                Entry {
                    key: key.get_ref().clone().into_owned(),
                    key_at: key.span().start,
                    node: Node { at, value: Value::from_toml(at, value.get_ref()) },
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_at);
        Self { at, entries, opened: Cell::default(), asked: RefCell::default(), rest_overlooked: Cell::default() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}
