//! Nodes and properties of a checked tree.

use super::Tree;
use super::token::{self, Token};
use core::str;

/// A node. Copying it copies two references.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    tree: Tree<'a>,
    name: &'a [u8],
    /// Offset of the first token behind the node's name.
    body: usize,
}

/// A property of a node.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

/// How many 32-bit cells the addresses and sizes of a node's children have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    address: usize,
    size: usize,
}

/// One entry of a `reg` property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    /// Start address.
    pub start: u64,
    /// Size in bytes.
    pub size: u64,
}

impl<'a> Node<'a> {
    pub(super) fn root(tree: Tree<'a>) -> Self {
        // A checked tree begins with the root's token. Should it not, the
        // offset beyond the block makes a node without anything in it.
        match token::read(tree.structure, 0) {
            Ok((Token::Begin(name), body)) => Self { tree, name, body },
            _ => Self {
                tree,
                name: &[],
                body: tree.structure.len(),
            },
        }
    }

    /// The name with its unit address, `memory@0`. What is not UTF-8 reads as
    /// `?`.
    pub fn name(&self) -> &'a str {
        str::from_utf8(self.name).unwrap_or("?")
    }

    /// The name up to the unit address.
    pub fn base_name(&self) -> &'a str {
        let name = self.name();
        name.split_once('@').map_or(name, |(base, _)| base)
    }

    /// The unit address, behind the `@`.
    pub fn unit(&self) -> Option<&'a str> {
        self.name().split_once('@').map(|(_, unit)| unit)
    }

    /// The node's properties, in their order.
    pub fn properties(&self) -> Properties<'a> {
        Properties {
            tree: self.tree,
            at: self.body,
        }
    }

    /// The property of this name.
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        self.properties()
            .find(|property| property.name == name.as_bytes())
    }

    /// The node's children, in their order.
    pub fn children(&self) -> Children<'a> {
        Children {
            below: Descendants {
                tree: self.tree,
                at: self.body,
                depth: 0,
            },
        }
    }

    /// All nodes below this one, parents before their children, each with its
    /// depth (1 for a child).
    pub fn descendants(&self) -> Descendants<'a> {
        Descendants {
            tree: self.tree,
            at: self.body,
            depth: 0,
        }
    }

    /// The child of this name, with or without its unit address.
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        self.children()
            .find(|child| child.name() == name || child.base_name() == name)
    }

    /// A 32-bit property.
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.property(name)?.u32()
    }

    /// A property of one or two cells, as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.property(name)?.number()
    }

    /// A text property, up to its first NUL.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.property(name)?.texts().next()
    }

    /// Whether one of the `compatible` texts is this one.
    pub fn is_compatible(&self, with: &str) -> bool {
        self.property("compatible")
            .is_some_and(|list| list.texts().any(|text| text == with))
    }

    /// Whether `status` is absent or says that the device can be used.
    pub fn is_usable(&self) -> bool {
        self.text("status")
            .is_none_or(|status| matches!(status, "okay" | "ok"))
    }

    /// The cell counts for this node's children: `#address-cells` of 1 or 2
    /// (2 where there is none), `#size-cells` of 0 to 2 (1 where there is
    /// none). `None` for anything else.
    pub fn cells(&self) -> Option<Cells> {
        let count = |name, default| match self.property(name) {
            Some(property) => property.u32(),
            None => Some(default),
        };
        let (address, size) = (count("#address-cells", 2)?, count("#size-cells", 1)?);
        ((1..=2).contains(&address) && size <= 2).then_some(Cells {
            address: address as usize,
            size: size as usize,
        })
    }

    /// The entries of `reg`, with the cell counts of the parent; `None` where
    /// there is no `reg`, or the cell counts make no sense or do not divide it.
    pub fn reg(&self, parent: &Node<'a>) -> Option<impl Iterator<Item = Reg> + use<'a>> {
        self.reg_with(parent.cells()?)
    }

    /// As [`Node::reg`], for whoever reads many children of one parent.
    pub fn reg_with(&self, cells: Cells) -> Option<impl Iterator<Item = Reg> + use<'a>> {
        let Cells { address, size } = cells;
        let value = self.property("reg")?.value;
        let entry = (address + size) * 4;
        if value.len() % entry != 0 {
            return None;
        }
        Some(value.chunks_exact(entry).map(move |bytes| {
            let (start, length) = bytes.split_at(address * 4);
            Reg {
                start: cells_to_number(start),
                size: cells_to_number(length),
            }
        }))
    }
}

/// At most two cells as a number; none is 0.
fn cells_to_number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl<'a> Property<'a> {
    /// The name. What is not UTF-8 reads as `?`.
    pub fn name(&self) -> &'a str {
        str::from_utf8(self.name).unwrap_or("?")
    }

    /// The value as it stands.
    pub fn bytes(&self) -> &'a [u8] {
        self.value
    }

    /// The value, if it is one cell.
    pub fn u32(&self) -> Option<u32> {
        (self.value.len() == 4).then(|| token::be32(self.value, 0))?
    }

    /// The value, if it is one cell or two.
    pub fn number(&self) -> Option<u64> {
        matches!(self.value.len(), 4 | 8).then(|| cells_to_number(self.value))
    }

    /// The value as cells; an odd rest is left out.
    pub fn cells(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.value
            .chunks_exact(4)
            .filter_map(|cell| token::be32(cell, 0))
    }

    /// The value as pairs of cells; an odd rest is left out.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.value
            .chunks_exact(8)
            .filter_map(|pair| token::be64(pair, 0))
    }

    /// The value as a list of texts, each ended by a NUL; one that is not
    /// UTF-8 reads as `?`.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let value = self.value.strip_suffix(&[0]).unwrap_or(self.value);
        value
            .split(|&byte| byte == 0)
            .map(|text| str::from_utf8(text).unwrap_or("?"))
    }
}

/// Iterator over a node's properties.
#[derive(Clone)]
pub struct Properties<'a> {
    tree: Tree<'a>,
    at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (token, next) = token::read(self.tree.structure, self.at).ok()?;
        let Token::Property(name, value) = token else {
            return None;
        };
        self.at = next;
        let name = token::name(self.tree.strings, name as usize)?;
        Some(Property { name, value })
    }
}

/// Iterator over all nodes below one.
#[derive(Clone)]
pub struct Descendants<'a> {
    tree: Tree<'a>,
    at: usize,
    depth: usize,
}

impl<'a> Iterator for Descendants<'a> {
    type Item = (usize, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (token, next) = token::read(self.tree.structure, self.at).ok()?;
            match token {
                Token::Begin(name) => {
                    self.at = next;
                    self.depth += 1;
                    return Some((
                        self.depth,
                        Node {
                            tree: self.tree,
                            name,
                            body: next,
                        },
                    ));
                }
                // The end of the node itself: stay here, and end again if asked.
                Token::End if self.depth == 0 => return None,
                Token::End => self.depth -= 1,
                Token::Property(_, _) => {}
                Token::Finish => return None,
            }
            self.at = next;
        }
    }
}

/// Iterator over a node's children.
#[derive(Clone)]
pub struct Children<'a> {
    below: Descendants<'a>,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.below
            .find(|&(depth, _)| depth == 1)
            .map(|(_, node)| node)
    }
}
