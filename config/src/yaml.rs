//! YAML text to a tree in which every node knows where it was written.
//!
//! Built on the events of `saphyr-parser`. Rejected: `serde_yaml`, which is unmaintained, stops at
//! the first error, and cannot say where a value was written once it is decoded. A configuration
//! needs no tags, no complex keys and no second document, so these are errors; aliases are copied,
//! within bounds that keep a small file from growing into a large one.

use crate::problem::{Problems, Span};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as Place};
use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

/// How deep lists and maps may nest. The schema needs 8.
const MAX_DEPTH: usize = 64;

/// How many nodes anchors may hold and aliases may add.
const MAX_ALIASED: usize = 100_000;

/// Above this many keys a set finds the duplicates, below it a look at each.
const FEW_KEYS: usize = 16;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The value.
    pub(crate) kind: Kind,
    /// Its place.
    pub(crate) span: Span,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Text as written; `plain` without quotes.
    Scalar { text: Box<str>, plain: bool },
    /// A list.
    Seq(Vec<Node>),
    /// A map, in the order written. Keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its text. Shared, because a large file has few different keys.
    pub(crate) text: Rc<str>,
    /// Its place.
    pub(crate) span: Span,
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| *k.text == *key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The node in words, for "expected …, found …".
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Seq(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
            Kind::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Kind::Scalar { text, .. } => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                format!("`{short}{more}`")
            }
        }
    }

    /// No value was written, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, plain: true } => {
                matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// Parses the one document of a file; `None` after a syntax error (reported) or an empty file
/// (reported too).
pub(crate) fn parse(file: u32, text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder::new(file, problems);
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, place)) => builder.event(event, place)?,
            Err(error) => {
                let span = builder.span(Place::empty(*error.marker()));
                builder.problems.error(span, format!("not valid YAML: {}", error.info()));
                return None;
            }
        }
    }
    if builder.root.is_none() || builder.root.as_ref().is_some_and(|root| root.node.is_null()) {
        let start = Span { file, node: 0, line: 1, column: 1, length: 1 };
        builder.problems.error(start, "the file is empty");
        return None;
    }
    builder.root.map(|built| built.node)
}

/// A finished node with its number of nodes and its height.
#[derive(Clone)]
struct Built {
    node: Node,
    nodes: usize,
    height: usize,
}

/// A list or map that is not finished yet.
struct Frame {
    node: Node,
    nodes: usize,
    height: usize,
    anchor: usize,
    flow: bool,
    /// The key whose value comes next; the flag: a duplicate, to be left out.
    key: Option<(Key, bool)>,
    seen: HashSet<Rc<str>>,
}

struct Builder<'p> {
    file: u32,
    problems: &'p mut Problems,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    keys: HashSet<Rc<str>>,
    aliased: usize,
    numbered: u32,
    documents: u32,
    root: Option<Built>,
}

impl<'p> Builder<'p> {
    fn new(file: u32, problems: &'p mut Problems) -> Self {
        Self {
            file,
            problems,
            stack: Vec::new(),
            anchors: HashMap::new(),
            keys: HashSet::new(),
            aliased: 0,
            numbered: 0,
            documents: 0,
            root: None,
        }
    }

    /// Takes one event; `None` stops after an error that leaves nothing sensible to go on with.
    fn event(&mut self, event: Event<'_>, place: Place) -> Option<()> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let span = self.span(place);
                    self.problems
                        .error(span, "a second document begins here")
                        .help("a configuration file is one YAML document".to_owned());
                    return None;
                }
                Some(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let plain = style == ScalarStyle::Plain;
                // Copied, because the parser's strings have room for more.
                let kind = Kind::Scalar { text: (*text).into(), plain };
                let node = Node { kind, span: self.span(place) };
                self.attach(Built { node, nodes: 1, height: 0 }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.open(Kind::Seq(Vec::new()), anchor, place)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.open(Kind::Map(Vec::new()), anchor, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place.start),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
        }
    }

    fn open(&mut self, kind: Kind, anchor: usize, place: Place) -> Option<()> {
        let span = self.span(place);
        if self.stack.len() >= MAX_DEPTH {
            self.problems.error(span, format!("nested more than {MAX_DEPTH} levels deep"));
            return None;
        }
        self.stack.push(Frame {
            node: Node { kind, span },
            nodes: 1,
            height: 0,
            anchor,
            flow: place.end.index() > place.start.index(),
            key: None,
            seen: HashSet::new(),
        });
        Some(())
    }

    /// Ends a list or map; `end` is where its bracket is.
    fn close(&mut self, end: Marker) -> Option<()> {
        let Frame { mut node, nodes, height, anchor, flow, .. } = self.stack.pop()?;
        if flow && to_u32(end.line()) == node.span.line {
            node.span.length = to_u32(end.col() + 2).saturating_sub(node.span.column).max(1);
        } else if let (false, Kind::Map(entries)) = (flow, &node.kind) {
            node.span.length = entries.first().map_or(1, |(key, _)| key.span.length);
        }
        self.attach(Built { node, nodes, height: height + 1 }, anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Option<()> {
        let span = self.span(place);
        let Some(built) = self.anchors.get(&anchor).cloned() else {
            self.problems.error(span, "an alias inside of what it stands for");
            return None;
        };
        self.aliased += built.nodes;
        if self.aliased > MAX_ALIASED || self.stack.len() + built.height > MAX_DEPTH {
            self.problems.error(span, "aliases make this file too large or too deep");
            return None;
        }
        self.attach(built, 0)
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, built: Built, anchor: usize) -> Option<()> {
        if anchor != 0 {
            self.aliased += built.nodes;
            if self.aliased > MAX_ALIASED {
                self.problems.error(built.node.span, "anchors hold too much of this file");
                return None;
            }
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built);
            return Some(());
        };
        frame.nodes += built.nodes;
        frame.height = frame.height.max(built.height);
        let Built { mut node, .. } = built;
        match (&mut frame.node.kind, frame.key.take()) {
            (Kind::Seq(items), _) => items.push(node),
            (Kind::Map(entries), Some((key, duplicate))) => {
                if matches!(&node.kind, Kind::Scalar { text, plain: true } if text.is_empty()) {
                    // What is not there has no place of its own; its key has.
                    node.span = Span { node: node.span.node, ..key.span };
                }
                if !duplicate {
                    entries.push((key, node));
                }
            }
            (Kind::Map(_), None) => return self.key(node),
            (Kind::Scalar { .. }, _) => return None,
        }
        Some(())
    }

    fn key(&mut self, node: Node) -> Option<()> {
        let Kind::Scalar { text, .. } = node.kind else {
            self.problems.error(node.span, "a key has to be plain text");
            return None;
        };
        let text = self.interned(&text);
        let frame = self.stack.last_mut()?;
        let Kind::Map(entries) = &frame.node.kind else { return None };
        if entries.len() == FEW_KEYS {
            frame.seen.extend(entries.iter().map(|(key, _)| Rc::clone(&key.text)));
        }
        let duplicate = if entries.len() < FEW_KEYS {
            entries.iter().any(|(key, _)| Rc::ptr_eq(&key.text, &text))
        } else {
            !frame.seen.insert(Rc::clone(&text))
        };
        if duplicate {
            let first = entries.iter().find(|(key, _)| key.text == text).map(|(key, _)| key.span);
            let problem = self.problems.error(node.span, format!("`{text}` is here twice"));
            if let Some(first) = first {
                problem.note(first, "the first is here");
            }
        }
        frame.key = Some((Key { text, span: node.span }, duplicate));
        Some(())
    }

    /// The one copy of a key.
    fn interned(&mut self, text: &str) -> Rc<str> {
        if let Some(known) = self.keys.get(text) {
            return Rc::clone(known);
        }
        let text: Rc<str> = text.into();
        self.keys.insert(Rc::clone(&text));
        text
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            let span = self.span(place);
            self.problems.error(span, "YAML tags (`!…`) have no meaning here");
        }
    }

    fn span(&mut self, place: Place) -> Span {
        self.numbered += 1;
        let (start, end) = (place.start, place.end);
        let length = if start.line() == end.line() {
            to_u32(end.col().saturating_sub(start.col())).max(1)
        } else {
            u32::MAX
        };
        Span {
            file: self.file,
            node: self.numbered,
            line: to_u32(start.line()).max(1),
            column: to_u32(start.col()).saturating_add(1),
            length,
        }
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
