//! A JSON body, parsed in memory that is known beforehand.
//!
//! All values lie one behind the other in one list, each followed by what is in it, so the list's
//! length is bounded by the commas and opening brackets of the text and can be charged before a
//! byte is parsed; dropping it needs no recursion. Texts without escapes are borrowed. Rejected:
//! `serde_json::Value`, whose maps and vectors can take fifty times the memory of the text, which
//! is known only when it is taken.

use crate::{Charge, NotCompared};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A parsed body.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    /// In the order of the text: the root, then what is in it.
    nodes: Vec<Node<'a>>,
}

/// A value and, where it is a member, its name.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) value: Value<'a>,
    /// Where the next value starts that is not in this one.
    end: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    /// Of so many elements.
    Array(u32),
    /// Of so many members, those of the same name counted each.
    Object(u32),
}

/// A number in the only form it can have here, so that equal numbers are equal: integers are
/// exact, and a float is none that is an integer of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) enum Number {
    Natural(u64),
    Negative(i64),
    Float(f64),
}

/// Where a value is in its document.
pub(crate) type Index = u32;

impl<'a> Document<'a> {
    /// Parses `text`, charging what that takes. `None`: it is no JSON, or nested deeper than
    /// [`DEPTH_MAX`].
    pub(crate) fn parse(text: &'a [u8], charge: &mut Charge) -> Result<Option<Self>, NotCompared> {
        let need = Need::of(text);
        let (Some(bytes), Ok(_)) = (need.bytes(), u32::try_from(need.nodes)) else {
            return Err(NotCompared::MemoryBudget);
        };
        let before = charge.bytes();
        if !charge.grow(bytes) {
            return Err(NotCompared::MemoryBudget);
        }
        let mut nodes = Vec::with_capacity(need.nodes);
        let mut source = serde_json::Deserializer::from_slice(text);
        let root = Build { nodes: &mut nodes, name: None, depth: 0 };
        if root.deserialize(&mut source).and_then(|()| source.end()).is_err() {
            charge.back_to(before);
            return Ok(None);
        }
        Ok(Some(Document { nodes }))
    }

    /// The whole.
    pub(crate) const ROOT: Index = 0;

    pub(crate) fn node(&self, index: Index) -> &Node<'a> {
        &self.nodes[index as usize]
    }

    /// The values directly in the one at `index`, in the order of the text.
    pub(crate) fn children(&self, index: Index) -> impl Iterator<Item = Index> {
        let end = self.node(index).end;
        let within = move |child: Index| (child < end).then_some(child);
        std::iter::successors(within(index + 1), move |child| within(self.node(*child).end))
    }

    /// The members of the object at `index`, ordered by name; of the same name only the last.
    pub(crate) fn members(&self, index: Index) -> Vec<Index> {
        let Value::Object(count) = self.node(index).value else { return Vec::new() };
        let mut members = Vec::with_capacity(count as usize);
        members.extend(self.children(index));
        members.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)).then(a.cmp(b)));
        members.dedup_by(|later, kept| {
            let same = self.name(*later) == self.name(*kept);
            if same {
                *kept = *later;
            }
            same
        });
        members
    }

    /// The member `name` of the value at `index`.
    pub(crate) fn member(&self, index: Index, name: &str) -> Option<Index> {
        let Value::Object(_) = self.node(index).value else { return None };
        self.children(index).filter(|child| self.name(*child) == name).last()
    }

    /// The name of a member.
    pub(crate) fn name(&self, index: Index) -> &str {
        self.node(index).name.as_deref().unwrap_or_default()
    }
}

impl Node<'_> {
    #[cfg(test)]
    pub(crate) fn of(value: Value<'_>) -> Node<'_> {
        Node { name: None, value, end: 1 }
    }
}

impl Value<'_> {
    /// Whether both are of the same type.
    pub(crate) fn same_type(&self, other: &Value<'_>) -> bool {
        self.rank() == other.rank()
    }

    /// An order of scalars in which two are equal if they are as JSON; all arrays and all objects
    /// are equal to each other.
    pub(crate) fn order(&self, other: &Value<'_>) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            // No parsed number is NaN.
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Value::Array(_) | Value::Object(_))
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        }
    }
}

impl Number {
    fn of_float(value: f64) -> Self {
        // Both limits are exact in 64 bits of float, and one more than the largest integers.
        const NATURALS: f64 = 18_446_744_073_709_551_616.0;
        const NEGATIVES: f64 = -9_223_372_036_854_775_808.0;
        if value.fract() != 0.0 {
            Number::Float(value)
        } else if (0.0..NATURALS).contains(&value) {
            Number::Natural(value as u64)
        } else if (NEGATIVES..0.0).contains(&value) {
            Number::Negative(value as i64)
        } else {
            Number::Float(value)
        }
    }
}

/// What a text takes at most once it is parsed.
struct Need {
    nodes: usize,
    /// Texts with escapes, which are copied.
    copies: usize,
    /// How much all copies are together.
    copied: usize,
}

impl Need {
    fn of(text: &[u8]) -> Self {
        let (mut followers, mut quotes, mut escapes) = (0, 0, 0);
        for byte in text {
            match byte {
                b',' | b'[' | b'{' => followers += 1,
                b'"' => quotes += 1,
                b'\\' => escapes += 1,
                _ => {}
            }
        }
        // Each value is the root, the first of a container, or behind a comma; each copied text
        // has two quotes and an escape.
        let copied = if escapes == 0 { 0 } else { text.len() };
        Need { nodes: followers + 1, copies: escapes.min(quotes / 2), copied }
    }

    fn bytes(&self) -> Option<usize> {
        let nodes = self.nodes.checked_mul(size_of::<Node<'_>>() + WALK_BYTES)?;
        let copies = self.copies.checked_mul(ALLOCATION_BYTES)?;
        // Once for the copies, twice for the parser's own buffer, which doubles as it grows.
        nodes.checked_add(copies)?.checked_add(self.copied.checked_mul(3)?)
    }
}

/// What walking takes for each value at most: the lists that `elements.rs` makes of an array, twice
/// as long as they need to be. No value is in the lists of two places.
const WALK_BYTES: usize = 96;

/// What an allocation costs beyond its bytes.
const ALLOCATION_BYTES: usize = 32;

/// How deep arrays and objects may be nested. Answers of real services are not half as deep, and
/// the walk recurses.
pub(crate) const DEPTH_MAX: usize = 64;

/// Builds one value, and what is in it, at the end of `nodes`.
struct Build<'n, 'a> {
    nodes: &'n mut Vec<Node<'a>>,
    name: Option<Cow<'a, str>>,
    /// How many containers it is in.
    depth: usize,
}

impl<'a> Build<'_, 'a> {
    fn add<E: Error>(self, value: Value<'a>) -> Result<(), E> {
        // There is room by the way it was counted; if that were wrong, memory would be taken that
        // nobody has charged.
        if self.nodes.len() == self.nodes.capacity() {
            return Err(E::custom("more values than were counted"));
        }
        let end = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { name: self.name, value, end });
        Ok(())
    }

    /// Adds an empty container, calls `fill` for each value in it as long as there are more, and
    /// notes how many there were.
    fn add_container<E: Error>(
        self,
        kind: fn(u32) -> Value<'a>,
        mut fill: impl FnMut(&mut Vec<Node<'a>>, usize) -> Result<bool, E>,
    ) -> Result<(), E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        let Build { nodes, name, depth } = self;
        let index = nodes.len();
        Build { nodes: &mut *nodes, name, depth }.add(kind(0))?;
        let mut count = 0;
        while fill(nodes, depth + 1)? {
            count += 1;
        }
        let end = nodes.len() as u32;
        let node = &mut nodes[index];
        (node.value, node.end) = (kind(count), end);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.add(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.add(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.add(Value::Number(Number::Natural(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        let number = u64::try_from(value).map_or(Number::Negative(value), Number::Natural);
        self.add(Value::Number(number))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.add(Value::Number(Number::of_float(value)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.add(Value::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.add(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.add_container(Value::Array, |nodes, depth| {
            Ok(elements.next_element_seed(Build { nodes, name: None, depth })?.is_some())
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.add_container(Value::Object, |nodes, depth| {
            let Some(name) = members.next_key_seed(Name)? else { return Ok(false) };
            members.next_value_seed(Build { nodes, name: Some(name), depth })?;
            Ok(true)
        })
    }
}

/// Reads the name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
