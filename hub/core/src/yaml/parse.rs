//! From the events of the parser to nodes: anchors, merge keys and tags.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::scalar::{self, TYPES};
use super::{Budget, Data, Document, Error, Key, Node, check_depth, twice};

/// Nodes and their depth and size, under the number of their anchor.
type Anchors = BTreeMap<usize, (Node, usize, usize)>;

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: Anchors,
    budget: Budget,
}

/// A node with what it cost.
struct Built {
    node: Node,
    depth: usize,
    nodes: usize,
}

/// What may stand for a key before it is one.
enum RawKey {
    Merge,
    Key { text: String, written: String },
}

pub(super) fn read(text: &str) -> Result<Vec<Document>, Error> {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: Anchors::new(),
        budget: Budget::new(),
    };
    let mut documents = Vec::new();
    loop {
        let (event, _) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(..) => {
                reader.anchors.clear();
                let (event, span) = reader.next()?;
                let root = reader.node(event, span, 0)?.node;
                documents.push(Document { line: root.line, root });
            }
            _ => {}
        }
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
                Err(Error::new(line, format!("is not YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Built, Error> {
        let line = line(span);
        check_depth(depth, line)?;
        self.budget.take(1, line)?;
        let anchor = event.anchor_id();
        let (data, levels, nodes) = match event {
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain;
                (scalar::read(&text, plain, tag.as_deref(), line)?, 0, 1)
            }
            Event::SequenceStart(_, _, tag) => {
                check_tag(tag.as_deref(), "seq", line)?;
                self.list(depth)?
            }
            Event::MappingStart(_, _, tag) => {
                check_tag(tag.as_deref(), "map", line)?;
                self.map(depth)?
            }
            Event::Alias(id) => return self.alias(id, line, depth),
            _ => return Err(Error::new(line, "is not YAML: a value was expected")),
        };
        let built = Built { node: Node { line, data }, depth: levels, nodes };
        if let Some(id) = anchor {
            self.anchors.insert(id, (built.node.clone(), built.depth, built.nodes));
        }
        Ok(built)
    }

    fn alias(&mut self, id: usize, line: u32, depth: usize) -> Result<Built, Error> {
        let Some((node, levels, nodes)) = self.anchors.get(&id) else {
            return Err(Error::new(line, "an alias lies inside what it stands for"));
        };
        check_depth(depth + levels, line)?;
        self.budget.take(*nodes, line)?;
        Ok(Built { node: node.clone(), depth: *levels, nodes: *nodes })
    }

    fn list(&mut self, depth: usize) -> Result<(Data, usize, usize), Error> {
        let (mut items, mut levels, mut nodes) = (Vec::new(), 1, 1);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((Data::List(items), levels, nodes));
            }
            let item = self.node(event, span, depth + 1)?;
            levels = levels.max(item.depth + 1);
            nodes += item.nodes;
            items.push(item.node);
        }
    }

    fn map(&mut self, depth: usize) -> Result<(Data, usize, usize), Error> {
        let mut entries = Entries::default();
        let (mut levels, mut nodes) = (1, 1);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((Data::Map(entries.list), levels, nodes));
            }
            let line = line(span);
            let key = self.key(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            levels = levels.max(value.depth + 1);
            nodes += value.nodes;
            match key {
                RawKey::Merge => entries.merge(value.node)?,
                RawKey::Key { text, written } => {
                    entries.insert(Key { line, text, written }, value.node)?;
                }
            }
        }
    }

    fn key(&mut self, event: Event<'a>, span: Span) -> Result<RawKey, Error> {
        // Some tools spell it out: yq writes `!!merge <<`.
        if let Event::Scalar(text, ScalarStyle::Plain, _, tag) = &event
            && text == "<<"
            && tag.as_deref().is_none_or(|tag| tag.suffix_in_namespace(TYPES).as_deref() == Some("merge"))
        {
            return Ok(RawKey::Merge);
        }
        let node = self.node(event, span, 0)?.node;
        let refuse = |what| Err(Error::new(node.line, format!("{what} cannot be a key; quote it")));
        match node.data {
            Data::Text(text) => Ok(RawKey::Key { written: text.clone(), text }),
            Data::Bool(value, written) => Ok(RawKey::Key { text: value.to_string(), written }),
            Data::Number(number, written) if !number.is_f64() => Ok(RawKey::Key { text: number.to_string(), written }),
            Data::Number(..) => refuse("a fraction"),
            Data::Null => refuse("nothing"),
            Data::List(_) | Data::Map(_) => refuse("a list or map"),
        }
    }
}

/// The entries of a map under way.
#[derive(Default)]
struct Entries {
    list: Vec<(Key, Node)>,
    /// By key: where it is in `list`, and whether it was written here rather than merged in.
    at: BTreeMap<String, (usize, bool)>,
}

impl Entries {
    fn insert(&mut self, key: Key, value: Node) -> Result<(), Error> {
        match self.at.get_mut(&key.text) {
            Some((at, true)) => Err(twice(&key.text, key.line, self.list[*at].0.line)),
            Some((at, written)) => {
                *written = true;
                self.list[*at] = (key, value);
                Ok(())
            }
            None => {
                self.at.insert(key.text.clone(), (self.list.len(), true));
                self.list.push((key, value));
                Ok(())
            }
        }
    }

    /// Of several merged maps the first wins. What is written after a merge key wins over it, and
    /// it wins over what is written before: so go-yaml 2 has it.
    fn merge(&mut self, value: Node) -> Result<(), Error> {
        match value.data {
            Data::Map(entries) => {
                for (key, value) in entries {
                    if let Some((at, _)) = self.at.get(&key.text) {
                        self.list[*at] = (key, value);
                    } else {
                        self.at.insert(key.text.clone(), (self.list.len(), false));
                        self.list.push((key, value));
                    }
                }
                Ok(())
            }
            Data::List(items) => items.into_iter().rev().try_for_each(|item| match item.data {
                Data::Map(_) => self.merge(item),
                _ => Err(Error::new(item.line, "only maps can be merged with `<<`")),
            }),
            _ => Err(Error::new(value.line, "only maps can be merged with `<<`")),
        }
    }
}

fn line(span: Span) -> u32 {
    u32::try_from(span.start.line()).unwrap_or(u32::MAX)
}

fn check_tag(tag: Option<&Tag>, wanted: &str, line: u32) -> Result<(), Error> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.core_suffix() == Some(wanted) => Ok(()),
        Some(tag) => Err(Error::new(line, format!("tag {} is not supported", tag.original()))),
    }
}
