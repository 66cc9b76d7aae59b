//! From the YAML tree to schema structs.
//!
//! [`schema!`] takes a struct as it would be written anyway (fields, documentation, defaults) and
//! makes three things of it that can so never disagree: the struct, the decoding that collects
//! every error, and the JSON Schema. Rejected: serde with schemars, because a derived `Deserialize`
//! stops at the first error and knows no places.
//!
//! A field whose value is wrong is reported and then takes its default where it has one, so that
//! what depends on the rest of the struct is still checked.

use crate::{
    problem::{Problems, Span, Spanned, did_you_mean},
    yaml::{Key, Kind, Node},
};
use serde_json::{Value, json};

/// What can be read from a YAML node.
pub(crate) trait Decode: Sized {
    /// The key may be absent.
    const OPTIONAL: bool = false;

    /// Reads `node`; `None` after an error, which was reported.
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self>;

    /// The value of an absent key; `None`: it is required.
    fn absent() -> Option<Self> {
        None
    }

    /// Its JSON Schema.
    fn schema() -> Value;
}

/// What can be read from a text.
pub(crate) trait Scalar: Sized {
    /// What it is, for "expected …".
    const EXPECTED: &'static str;
    /// Quoted text is something else (numbers, booleans).
    const PLAIN: bool = false;

    /// Reads the text as written.
    ///
    /// # Errors
    /// What is wrong, and perhaps what would be right.
    fn parse(text: &str) -> Result<Self, Invalid>;

    /// Its JSON Schema.
    fn schema() -> Value;
}

/// Why a text is no such value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Invalid {
    /// With a message alone.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Adds what would be right.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl<T: Scalar> Decode for T {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Kind::Scalar { text, plain } = &node.kind else {
            return wrong_type(node, T::EXPECTED, problems);
        };
        if node.is_null() {
            return wrong_type(node, T::EXPECTED, problems);
        }
        if T::PLAIN && !plain {
            problems
                .error(node.span, format!("expected {}, found text in quotes", T::EXPECTED))
                .help("leave out the quotes".to_owned());
            return None;
        }
        T::parse(text)
            .map_err(|invalid| problems.error(node.span, invalid.message).help(invalid.help).span)
            .ok()
    }

    fn schema() -> Value {
        <T as Scalar>::schema()
    }
}

impl<T: Decode> Decode for Spanned<T> {
    const OPTIONAL: bool = T::OPTIONAL;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::decode(node, problems).map(|value| Self { value, span: node.span })
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Decode> Decode for Option<T> {
    const OPTIONAL: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::decode(node, problems).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema() -> Value {
        T::schema()
    }
}

/// A list without the items that had errors.
#[derive(Debug)]
pub(crate) struct List<T> {
    /// The good ones.
    pub(crate) items: Vec<T>,
    /// None is missing.
    pub(crate) complete: bool,
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: Decode> Decode for List<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Kind::Seq(nodes) = &node.kind else {
            problems.names_missing = true;
            return wrong_type(node, "a list", problems);
        };
        let items: Vec<T> = nodes.iter().filter_map(|node| T::decode(node, problems)).collect();
        let complete = items.len() == nodes.len();
        Some(Self { items, complete })
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// A map from names of the user's choice to values, in the order written.
#[derive(Debug)]
pub(crate) struct Entries<K, V>(pub(crate) Vec<(Spanned<K>, Spanned<V>)>);

impl<K: Scalar, V: Decode> Decode for Entries<K, V> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            return wrong_type(node, "a map", problems);
        };
        let mut decoded = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let kind = Kind::Scalar { text: (*key.text).into(), plain: true };
            let name = Spanned::<K>::decode(&Node { kind, span: key.span }, problems);
            let value = Spanned::<V>::decode(value, problems);
            decoded.extend(name.zip(value));
        }
        Some(Self(decoded))
    }

    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": V::schema() })
    }
}

/// The value of a key whose absence means something: one that is wrong was reported, and is not
/// absent.
#[derive(Debug)]
pub(crate) enum Given<T> {
    Absent,
    Wrong,
    Right(T),
}

impl<T> Given<T> {
    /// The value, if there is a good one.
    pub(crate) fn right(&self) -> Option<&T> {
        match self {
            Self::Right(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }
}

impl<T: Decode> Decode for Given<T> {
    const OPTIONAL: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(T::decode(node, problems).map_or(Self::Wrong, Self::Right))
    }

    fn absent() -> Option<Self> {
        Some(Self::Absent)
    }

    fn schema() -> Value {
        T::schema()
    }
}

/// Reports that `node` is not what was expected.
pub(crate) fn wrong_type<T>(node: &Node, expected: &str, problems: &mut Problems) -> Option<T> {
    problems.error(node.span, format!("expected {expected}, found {}", node.describe()));
    None
}

/// The value of a key that is not there.
#[derive(Clone, Copy)]
pub(crate) enum Fallback {
    Text(&'static str),
    EmptyList,
    EmptyMap,
}

impl Fallback {
    fn node(self, span: Span) -> Node {
        let kind = match self {
            Fallback::Text(text) => Kind::Scalar { text: text.into(), plain: true },
            Fallback::EmptyList => Kind::Seq(Vec::new()),
            Fallback::EmptyMap => Kind::Map(Vec::new()),
        };
        Node { kind, span }
    }
}

/// The entries of a map whose keys are known.
pub(crate) struct Fields<'a> {
    entries: &'a [(Key, Node)],
    span: Span,
    /// Known keys that unknown ones were probably meant to be.
    meant: Vec<&'static str>,
    /// All keys are known.
    pub(crate) all_known: bool,
}

impl<'a> Fields<'a> {
    /// Opens a map and reports its unknown keys.
    pub(crate) fn of(
        node: &'a Node,
        known: &[&'static str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let keys = format!("a map with the keys {}", quoted(known));
            return wrong_type(node, &keys, problems);
        };
        let mut fields = Self { entries, span: node.span, meant: Vec::new(), all_known: true };
        let mut unknown = entries.iter().filter(|(key, _)| !known.contains(&&*key.text)).peekable();
        if unknown.peek().is_none() {
            return Some(fields);
        }
        let free: Vec<&'static str> =
            known.iter().copied().filter(|name| node.get(name).is_none()).collect();
        for (key, _) in unknown {
            let meant = problems.nearest(&key.text, free.iter().copied());
            fields.all_known = false;
            fields.meant.extend(meant);
            let help = meant.map_or_else(|| format!("known here: {}", quoted(known)), did_you_mean);
            problems.error(key.span, format!("unknown key `{}`", key.text)).help(help);
        }
        Some(fields)
    }

    /// Reads one field. One with a wrong value takes its default unless the struct is `whole`.
    pub(crate) fn get<T: Decode>(
        &self,
        name: &'static str,
        fallback: Option<Fallback>,
        whole: bool,
        problems: &mut Problems,
    ) -> Option<T> {
        let entry = self.entries.iter().find(|(key, _)| *key.text == *name);
        if let Some((_, node)) = entry {
            let decoded = T::decode(node, problems);
            if decoded.is_some() || whole {
                return decoded;
            }
        }
        if let Some(fallback) = fallback {
            return T::decode(&fallback.node(self.span), problems);
        }
        let absent = T::absent();
        if absent.is_none() && entry.is_none() && !self.meant.contains(&name) {
            problems.error(self.span, format!("missing key `{name}`"));
        }
        absent
    }
}

/// Remembers the name of something that is left out because of an error.
pub(crate) fn drop_named(node: &Node, problems: &mut Problems) {
    if let Some(Node { kind: Kind::Scalar { text, .. }, .. }) = node.get("name") {
        problems.dropped.insert(text.to_string());
    }
}

/// `` `a`, `b` and `c` ``
pub(crate) fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// The key of a field; `r#match` is the key `match`.
pub(crate) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// A default as a [`Fallback`].
macro_rules! fallback {
    () => {
        None
    };
    ([]) => {
        Some($crate::decode::Fallback::EmptyList)
    };
    ({}) => {
        Some($crate::decode::Fallback::EmptyMap)
    };
    ($text:literal) => {
        Some($crate::decode::Fallback::Text($text))
    };
}

/// Writes schema structs once. A field is required unless its type is an `Option` or a default
/// follows (`= "10s"`, `= []`, `= {}`). `struct Name [whole]` is left out as a whole when one of
/// its fields is wrong.
macro_rules! schema {
    ($(
        $(#[doc = $doc:literal])*
        struct $name:ident $([$whole:ident])? {
            $( $(#[doc = $field_doc:literal])* $field:ident : $type:ty $(= $default:tt)?, )*
        }
    )*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug)]
        #[allow(dead_code, reason = "a key with one possible value is decoded only to be checked")]
        pub(crate) struct $name {
            $( $(#[doc = $field_doc])* pub(crate) $field: $type, )*
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                node: &$crate::yaml::Node,
                problems: &mut $crate::problem::Problems,
            ) -> Option<Self> {
                use $crate::decode::{Fields, drop_named, fallback, key_name};
                const KEYS: &[&str] = &[$(key_name(stringify!($field))),*];
                const WHOLE: bool = !<[&str]>::is_empty(&[$(stringify!($whole))?]);
                let fields = Fields::of(node, KEYS, problems);
                if fields.is_none() {
                    drop_named(node, problems);
                }
                let fields = fields?;
                // All fields are read before the first missing one gives up: each reports its own.
                $(
                    let $field = fields.get::<$type>(
                        key_name(stringify!($field)), fallback!($($default)?), WHOLE, problems,
                    );
                )*
                let usable = fields.all_known || !WHOLE;
                let decoded = usable.then(|| Some(Self { $($field: $field?),* })).flatten();
                if decoded.is_none() {
                    drop_named(node, problems);
                }
                decoded
            }

            fn schema() -> serde_json::Value {
                use $crate::decode::{Decode, fallback, key_name};
                use $crate::describe::{Property, object};
                object(&[$($doc),*], vec![$( Property {
                    name: key_name(stringify!($field)),
                    doc: &[$($field_doc),*],
                    schema: <$type as Decode>::schema(),
                    fallback: fallback!($($default)?),
                    optional: <$type as Decode>::OPTIONAL,
                } ),*])
            }
        }
    )* };
}

pub(crate) use {fallback, schema};
