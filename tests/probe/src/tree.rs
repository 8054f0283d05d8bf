//! The partition's own device tree, as far as it is looked at here.

use core::ffi::CStr;

const BEGIN: u32 = 1;
const END: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;

/// What comes next in the tree.
pub enum Token {
    /// A node begins: its name.
    Node(&'static str),
    /// A node ends.
    End,
    /// A property of the node that is open.
    Property(&'static str, &'static [u8]),
}

/// A walk through the tree in its order.
pub struct Walk {
    at: u64,
    strings: u64,
}

fn word(at: u64) -> u32 {
    // SAFETY: inside the tree, whose words are aligned; nobody writes it.
    unsafe { (at as *const u32).read() }
}

fn text(at: u64) -> &'static str {
    // SAFETY: inside the tree, where each text has its zero.
    let text = unsafe { CStr::from_ptr(at as *const _) };
    text.to_str().unwrap_or("?")
}

impl Walk {
    /// The tree at `tree`.
    pub fn new(tree: u64) -> Self {
        Self {
            at: tree + u64::from(word(tree + 8)),
            strings: tree + u64::from(word(tree + 12)),
        }
    }
}

impl Iterator for Walk {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let at = self.at + 4;
            match word(self.at) {
                BEGIN => {
                    let name = text(at);
                    self.at = at + (name.len() as u64 + 1).next_multiple_of(4);
                    return Some(Token::Node(name));
                }
                END => {
                    self.at = at;
                    return Some(Token::End);
                }
                PROPERTY => {
                    let size = word(at) as usize;
                    let name = text(self.strings + u64::from(word(at + 4)));
                    // SAFETY: inside the tree, as the property says.
                    let value = unsafe { core::slice::from_raw_parts((at + 8) as *const u8, size) };
                    self.at = at + 8 + (size as u64).next_multiple_of(4);
                    return Some(Token::Property(name, value));
                }
                NOTHING => self.at = at,
                _ => return None,
            }
        }
    }
}

/// A cell of a property; 0 if there is none.
pub fn cell(value: &[u8], index: usize) -> u32 {
    let cells = value.as_chunks::<4>().0;
    cells.get(index).map_or(0, |cell| u32::from_be_bytes(*cell))
}

/// Two cells.
pub fn number(value: &[u8], index: usize) -> u64 {
    u64::from(cell(value, index)) << 32 | u64::from(cell(value, index + 1))
}

/// A property of `node`, which is a whole name: of the first such node.
pub fn property(tree: u64, node: &str, name: &str) -> Option<&'static [u8]> {
    let mut inside = false;
    for token in Walk::new(tree) {
        match token {
            Token::Node(found) => inside = found == node,
            Token::Property(found, value) if inside && found == name => return Some(value),
            _ => {}
        }
    }
    None
}

/// Whether a list of texts has this one.
pub fn lists(value: &[u8], wanted: &str) -> bool {
    value
        .split(|byte| *byte == 0)
        .any(|it| it == wanted.as_bytes())
}

/// The first host bridge, and the function behind it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bridge {
    /// What names it.
    pub buid: u64,
    /// Number of its window.
    pub liobn: u64,
    /// First address of the window.
    pub base: u64,
    /// Bytes of the window.
    pub bytes: u64,
    /// The function.
    pub config: u32,
    /// Device id, then vendor id.
    pub identity: u32,
    /// Class code.
    pub class: u32,
    /// Its first registers, and their bytes.
    pub registers: (u64, u64),
    /// Tokens of the four calls for windows.
    pub windows: [u32; 4],
    /// The function's pin, and the source of its line; 0: it has none.
    pub pin: u32,
    pub line: u32,
}

/// The bridge, if there is one.
pub fn bridge(tree: u64) -> Option<Bridge> {
    let mut bridge = Bridge::default();
    // Bus addresses and where processors see them: two entries at most.
    let mut ranges: &[u8] = &[];
    let mut bus = 0;
    let (mut depth, mut found) = (0, None);
    for token in Walk::new(tree) {
        match token {
            Token::Node(name) => {
                depth += 1;
                if name.starts_with("pci@") && found.is_none() {
                    found = Some(depth);
                }
            }
            Token::End => {
                if found == Some(depth) {
                    break;
                }
                depth -= 1;
            }
            Token::Property(name, value) if found == Some(depth) => match name {
                "reg" => bridge.buid = number(value, 0),
                "ranges" => ranges = value,
                "ibm,dma-window" => {
                    bridge.liobn = cell(value, 0).into();
                    (bridge.base, bridge.bytes) = (number(value, 1), number(value, 3));
                }
                "ibm,ddw-applicable" => {
                    let tokens: [u32; 3] = core::array::from_fn(|index| cell(value, index));
                    bridge.windows[..3].copy_from_slice(&tokens);
                }
                "ibm,ddw-extensions" => bridge.windows[3] = cell(value, 1),
                // An address of three cells, a pin, a controller, a source of two.
                "interrupt-map" => bridge.line = cell(value, 5),
                _ => {}
            },
            Token::Property(name, value) if found.is_some_and(|at| at + 1 == depth) => match name {
                "reg" => bridge.config = cell(value, 0),
                "vendor-id" => bridge.identity |= cell(value, 0),
                "device-id" => bridge.identity |= cell(value, 0) << 16,
                "class-code" => bridge.class = cell(value, 0),
                "interrupts" => bridge.pin = cell(value, 0),
                "assigned-addresses" => {
                    bus = number(value, 1);
                    bridge.registers.1 = number(value, 3);
                }
                _ => {}
            },
            Token::Property(..) => {}
        }
    }
    found?;
    for entry in ranges.chunks(28) {
        let (start, host, bytes) = (number(entry, 1), number(entry, 3), number(entry, 5));
        if bus.wrapping_sub(start) < bytes {
            bridge.registers.0 = host + (bus - start);
        }
    }
    Some(bridge)
}
