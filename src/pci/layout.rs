//! Places registers in one memory space so that bridges can pass them and
//! groups do not share segments.
//!
//! Each bus becomes a block, from the leaves up. Where all of a bus belongs to
//! one group its pieces are packed tightly; where groups meet, each group's
//! pieces become a block of whole segments. Offsets turn into addresses from
//! the root down. Both are loops over the buses in the scan's order, so that a
//! deep tree costs no stack.

use super::group::GroupIndex;
use super::topology::{BusIndex, FunctionIndex, Topology};
use alloc::vec::Vec;

/// Granularity of a bridge's memory windows in bytes.
pub const BRIDGE_UNIT: u64 = 1 << 20;

/// What is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// BAR number of a function.
    Bar(FunctionIndex, u8),
    /// BAR number of all virtual functions of a physical one.
    VirtualBar(FunctionIndex, u8),
    /// The window of the bridge above this bus.
    Window(BusIndex),
}

/// Who owns a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// One group: may share segments with pieces of the same.
    One(GroupIndex),
    /// Several, each in segments of its own inside: whole segments.
    Many,
}

/// Something to place.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// What.
    pub what: What,
    /// Bytes.
    pub size: u64,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Whose.
    pub owner: Owner,
}

/// Something that got its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What.
    pub what: What,
    /// Offset from the window's start, in bytes.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// The part of a window that may be used, as offsets from its start, which is
/// aligned to every alignment asked for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// First byte.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Bytes of a segment.
    pub segment: u64,
}

/// The pieces need more than there is: so many bytes, if they can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// How far they would reach.
    pub end: Option<u64>,
}

#[derive(Clone, Debug)]
struct Block {
    pieces: Vec<(u64, Piece)>,
    size: u64,
    align: u64,
    owner: Owner,
}

/// Places all that `pieces_of` yields.
pub fn place(
    topology: &Topology,
    room: Room,
    mut pieces_of: impl FnMut(FunctionIndex, &mut Vec<Piece>),
) -> Result<Vec<Placed>, TooMuch> {
    let mut blocks: Vec<Option<Block>> = alloc::vec![None; topology.buses.len()];
    for (at, bus) in topology.iter_buses().rev() {
        let mut pieces = Vec::new();
        for function in &bus.functions {
            pieces_of(*function, &mut pieces);
            let below = topology[*function].bridge.and_then(|it| it.below);
            let inner = below.and_then(|below| Some((below, blocks[below.0].as_ref()?)));
            if let Some((below, inner)) = inner {
                pieces.push(Piece {
                    what: What::Window(below),
                    size: inner.size,
                    align: inner.align,
                    owner: inner.owner,
                });
            }
        }
        let is_root = bus.bridge.is_none();
        let start = if is_root { room.start } else { 0 };
        blocks[at.0] = block(pieces, room.segment, start, is_root).ok_or(TooMuch { end: None })?;
    }
    let end = blocks
        .first()
        .and_then(Option::as_ref)
        .map_or(0, |root| root.size);
    if end > room.end {
        return Err(TooMuch { end: Some(end) });
    }
    Ok(resolve(&blocks))
}

/// One bus's block; `Some(None)` if nothing is on it, `None` beyond 64 bits.
fn block(mut pieces: Vec<Piece>, segment: u64, start: u64, is_root: bool) -> Option<Option<Block>> {
    let Some(first) = pieces.first().map(|piece| piece.owner) else {
        return Some(None);
    };
    let one = first != Owner::Many && pieces.iter().all(|piece| piece.owner == first);
    if one && !is_root {
        let mut block = pack(pieces, first, 0)?;
        block.align = block.align.max(BRIDGE_UNIT);
        block.size = block.size.checked_next_multiple_of(BRIDGE_UNIT)?;
        return Some(Some(block));
    }
    pieces.sort_by_key(|piece| piece.owner);
    let mut parts = Vec::new();
    for run in pieces.chunk_by(|a, b| a.owner == b.owner && a.owner != Owner::Many) {
        let mut part = pack(run.to_vec(), run[0].owner, 0)?;
        part.align = part.align.max(segment);
        part.size = part.size.checked_next_multiple_of(segment)?;
        parts.push(part);
    }
    join(parts, start).map(Some)
}

/// Packs pieces one after the other, large alignments first.
fn pack(mut pieces: Vec<Piece>, owner: Owner, start: u64) -> Option<Block> {
    pieces.sort_by_key(|piece| core::cmp::Reverse((piece.align, piece.size)));
    let mut packed = Vec::with_capacity(pieces.len());
    let (mut end, mut align) = (start, 1);
    for piece in pieces {
        let offset = end.checked_next_multiple_of(piece.align)?;
        end = offset.checked_add(piece.size)?;
        align = align.max(piece.align);
        packed.push((offset, piece));
    }
    Some(Block {
        pieces: packed,
        size: end,
        align,
        owner,
    })
}

/// Puts whole blocks one after the other.
fn join(mut parts: Vec<Block>, start: u64) -> Option<Block> {
    parts.sort_by_key(|part| core::cmp::Reverse((part.align, part.size)));
    let (mut end, mut align) = (start, BRIDGE_UNIT);
    let mut pieces = Vec::new();
    for part in parts {
        let base = end.checked_next_multiple_of(part.align)?;
        end = base.checked_add(part.size)?;
        align = align.max(part.align);
        pieces.extend(
            part.pieces
                .into_iter()
                .map(|(offset, piece)| (base + offset, piece)),
        );
    }
    Some(Block {
        pieces,
        size: end,
        align,
        owner: Owner::Many,
    })
}

fn resolve(blocks: &[Option<Block>]) -> Vec<Placed> {
    let mut bases = alloc::vec![0; blocks.len()];
    let mut placed = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        for (offset, piece) in block.iter().flat_map(|block| &block.pieces) {
            let offset = bases[at] + offset;
            if let What::Window(below) = piece.what {
                // A bus comes after the one above it.
                bases[below.0] = offset;
            }
            placed.push(Placed {
                what: piece.what,
                offset,
                size: piece.size,
            });
        }
    }
    placed
}
