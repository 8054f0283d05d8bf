//! Which groups of functions a partition gets for the devices that it names.
//!
//! A group is given as a whole or not at all: its members reach each other, or
//! cannot be told apart. Whoever wants one member must name all of them, so that
//! nobody gets a device without knowing it.

use super::manifest::DeviceName;
use crate::pci::FunctionId;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A function that can be named. Bridges of a group come with it, unnamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it is.
    pub id: FunctionId,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
}

/// A group, as it can be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<K> {
    /// How the caller names it.
    pub key: K,
    /// Its members, in the order of their routing ids.
    pub members: Vec<Member>,
    /// Why it cannot be given to anybody.
    pub refused: Option<String>,
    /// The partition that has it.
    pub owner: Option<String>,
}

/// Why devices are not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// There is none.
    #[error("{0}: there is no such device")]
    Unknown(DeviceName),
    /// Another partition has it, or all of its kind.
    #[error("{device}: \"{owner}\" has it")]
    Taken {
        /// The device.
        device: DeviceName,
        /// Who has it, or the first of its kind.
        owner: String,
    },
    /// Nobody can have it.
    #[error("{device}: it cannot be assigned: {why}")]
    Refused {
        /// The device.
        device: DeviceName,
        /// Why.
        why: String,
    },
    /// It is named twice, or there are fewer of its kind.
    #[error("{0}: it is named more often than it is there")]
    Twice(DeviceName),
    /// Its group has members that are not named.
    #[error("{device}: it can be had only together with {}", Names(others))]
    Apart {
        /// The device.
        device: DeviceName,
        /// The members that are missing.
        others: Vec<FunctionId>,
    },
}

/// Some functions, for a person.
struct Names<'a>(&'a [FunctionId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        for (at, id) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{id}", if at == 0 { "" } else { ", " })?;
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

/// The groups that `wanted` names, in the order of their first names. All or
/// none.
///
/// # Errors
/// The first name that cannot be had.
pub fn assign<K: Copy>(offers: &[Offer<K>], wanted: &[DeviceName]) -> Result<Vec<K>, AssignError> {
    // What was named: offer and member, and by which name.
    let mut named: Vec<(usize, usize, DeviceName)> = Vec::new();
    // Addresses first: a name of a kind takes what is left.
    let at = |device: &&DeviceName| matches!(device, DeviceName::At(_));
    let (addresses, kinds) = (
        wanted.iter().filter(at),
        wanted.iter().filter(|device| !at(device)),
    );
    for &device in addresses.chain(kinds) {
        let (offer, member) = find(offers, device, &named)?;
        named.push((offer, member, device));
    }
    let mut keys = Vec::new();
    let mut seen: Vec<usize> = Vec::new();
    for &(offer, _, device) in &named {
        if seen.contains(&offer) {
            continue;
        }
        seen.push(offer);
        let Some(found) = offers.get(offer) else {
            continue;
        };
        let is_named = |at: usize| named.iter().any(|it| (it.0, it.1) == (offer, at));
        let others: Vec<FunctionId> = (0..)
            .zip(&found.members)
            .filter(|(at, _)| !is_named(*at))
            .map(|(_, member)| member.id)
            .collect();
        if !others.is_empty() {
            return Err(AssignError::Apart { device, others });
        }
        keys.push(found.key);
    }
    Ok(keys)
}

/// The first member that `device` may mean and that can be had.
fn find<K>(
    offers: &[Offer<K>],
    device: DeviceName,
    named: &[(usize, usize, DeviceName)],
) -> Result<(usize, usize), AssignError> {
    // The reason of the first one that cannot be had.
    let mut reason = None;
    for (offer, found) in offers.iter().enumerate() {
        for (at, member) in found.members.iter().enumerate() {
            if !device.is(member) {
                continue;
            }
            let why = if let Some(owner) = &found.owner {
                let owner = owner.clone();
                AssignError::Taken { device, owner }
            } else if let Some(why) = &found.refused {
                let why = why.clone();
                AssignError::Refused { device, why }
            } else if named.iter().any(|it| (it.0, it.1) == (offer, at)) {
                AssignError::Twice(device)
            } else {
                return Ok((offer, at));
            };
            reason.get_or_insert(why);
        }
    }
    Err(reason.unwrap_or(AssignError::Unknown(device)))
}

impl DeviceName {
    /// Whether this may mean the function.
    fn is(self, member: &Member) -> bool {
        match self {
            Self::At(id) => id == member.id,
            Self::Kind { vendor, device } => (vendor, device) == (member.vendor, member.device),
        }
    }
}
