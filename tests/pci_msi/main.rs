//! How functions are told to send messages, against registers that keep, lose or
//! refuse what is written.

mod connect;
mod lease;
mod messages;

use pinion::pci::capability::{Msi, Msix};
use pinion::pci::msi::{
    ENTRY, Lease, LeaseError, Message, MessageCapability, MessageError, MessageKind, MessagePort,
    MessageTable, Sender, Senders, SourceControl, VectorPool, VectorTable, WireError, Wiring,
    set_pin,
};
use pinion::pci::{Bdfn, ConfigAccess, ConfigError, FunctionId, PeNumber, PhbId, Registers};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const AT: u16 = 0x70;
const CONTROL: u16 = AT + 2;
const FUNCTION: FunctionId = FunctionId::new(PhbId::new(2), Bdfn::from_rid(0x100));
const MESSAGE: Message = Message {
    address: 0x1000_0000_0000_0120,
    data: 0x10,
};

/// Configuration space whose registers keep everything but `stuck` bits.
struct Space {
    bytes: [u8; 256],
    /// Offset of a byte and its bits that cannot be changed.
    stuck: Option<(u16, u8)>,
    /// Refuses all accesses after so many writes.
    writes_left: usize,
    log: Vec<(u16, u32)>,
}

impl Space {
    fn new() -> Self {
        Self {
            bytes: [0; 256],
            stuck: None,
            writes_left: usize::MAX,
            log: Vec::new(),
        }
    }

    fn get16(&self, at: u16) -> u16 {
        u16::from_le_bytes([self.bytes[usize::from(at)], self.bytes[usize::from(at) + 1]])
    }

    fn get32(&self, at: u16) -> u32 {
        u32::from(self.get16(at)) | u32::from(self.get16(at + 2)) << 16
    }

    fn read(&self, offset: u16, size: usize) -> u32 {
        (0..size).fold(0, |value, index| {
            value | u32::from(self.bytes[usize::from(offset) + index]) << (8 * index)
        })
    }

    fn write(&mut self, offset: u16, size: usize, value: u32) -> Result<(), ConfigError> {
        self.writes_left = self
            .writes_left
            .checked_sub(1)
            .ok_or(ConfigError::Refused {
                function: FUNCTION,
                offset,
                status: -6,
            })?;
        self.log.push((offset, value));
        for index in 0..size {
            let at = usize::from(offset) + index;
            let kept = match self.stuck {
                Some((stuck, bits)) if usize::from(stuck) == at => bits,
                _ => 0,
            };
            let byte = (value >> (8 * index)) as u8;
            self.bytes[at] = self.bytes[at] & kept | byte & !kept;
        }
        Ok(())
    }
}

impl ConfigAccess for Space {
    fn read8(&mut self, _: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        Ok(self.read(offset, 1) as u8)
    }
    fn read16(&mut self, _: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        Ok(self.read(offset, 2) as u16)
    }
    fn read32(&mut self, _: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        Ok(self.read(offset, 4))
    }
    fn write8(&mut self, _: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError> {
        self.write(offset, 1, value.into())
    }
    fn write16(&mut self, _: FunctionId, offset: u16, value: u16) -> Result<(), ConfigError> {
        self.write(offset, 2, value.into())
    }
    fn write32(&mut self, _: FunctionId, offset: u16, value: u32) -> Result<(), ConfigError> {
        self.write(offset, 4, value)
    }
    fn pause(&mut self, _: u32) {}
}

fn msi(wide: bool, maskable: bool, vectors: u8) -> MessageCapability {
    let msi = Msi {
        offset: AT,
        vectors,
        wide,
        maskable,
    };
    MessageCapability::new(msi).unwrap()
}

/// A table whose words keep what is written but for one.
struct Words {
    words: Vec<u32>,
    stuck: Option<u32>,
    log: Vec<(u32, u32)>,
}

impl Words {
    fn new(vectors: u32) -> Self {
        Self {
            // As after power-on: whatever, and not masked.
            words: vec![0xdead_beee; (vectors * ENTRY / 4) as usize],
            stuck: None,
            log: Vec::new(),
        }
    }

    fn entry(&self, vector: usize) -> [u32; 4] {
        self.words[vector * 4..][..4].try_into().unwrap()
    }
}

impl VectorTable for Words {
    fn read32(&mut self, offset: u32) -> u32 {
        self.words[(offset / 4) as usize]
    }
    fn write32(&mut self, offset: u32, value: u32) {
        self.log.push((offset, value));
        if self.stuck != Some(offset) {
            self.words[(offset / 4) as usize] = value;
        }
    }
}

fn msix(vectors: u16) -> MessageTable {
    let msix = Msix {
        offset: AT,
        vectors,
        table_bar: 0,
        table_offset: 0x2000,
        pending_bar: 0,
        pending_offset: 0x3000,
    };
    MessageTable::new(FUNCTION, msix)
}

const PE: PeNumber = PeNumber::new(5);

/// PHB and controller, which keep what they are told and refuse at one point.
struct Both {
    log: RefCell<Vec<String>>,
    /// Calls until one is refused; once, or from then on.
    refuse_at: Cell<Option<usize>>,
    for_ever: bool,
    owner: RefCell<BTreeMap<u16, u16>>,
    on: RefCell<BTreeMap<u32, bool>>,
}

impl Both {
    fn new(refuse_at: Option<usize>, for_ever: bool) -> Self {
        Self {
            log: RefCell::default(),
            refuse_at: Cell::new(refuse_at),
            for_ever,
            owner: RefCell::default(),
            on: RefCell::default(),
        }
    }

    fn asked(&self, what: String) -> Result<(), &'static str> {
        self.log.borrow_mut().push(what);
        match self.refuse_at.get() {
            Some(0) => {
                if !self.for_ever {
                    self.refuse_at.set(None);
                }
                Err("refused")
            }
            Some(left) => {
                self.refuse_at.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl MessagePort for Both {
    type Error = &'static str;
    fn give(&self, vector: u16, pe: PeNumber) -> Result<(), Self::Error> {
        self.asked(format!("give {vector} to {}", pe.get()))?;
        self.owner.borrow_mut().insert(vector, pe.get());
        Ok(())
    }
    fn take_back(&self, vector: u16) -> Result<(), Self::Error> {
        self.asked(format!("take {vector}"))?;
        self.owner.borrow_mut().remove(&vector);
        Ok(())
    }
    fn message(&self, vector: u16, _: PeNumber, wide: bool) -> Result<Message, Self::Error> {
        self.asked(format!("message {vector}"))?;
        let low = u64::from(vector) << 4 & !0x1f0;
        Ok(Message {
            address: if wide {
                1 << 60 | low
            } else {
                0xffff_0000 | low
            },
            data: u32::from(vector) & 0x1f,
        })
    }
}

impl SourceControl for Both {
    type Error = &'static str;
    fn register(&self, index: u16, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("register {index} as {source:#x}"))?;
        assert_eq!(self.on.borrow_mut().insert(source, false), None);
        Ok(())
    }
    fn unmask(&self, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("unmask {source:#x}"))?;
        *self.on.borrow_mut().get_mut(&source).unwrap() = true;
        Ok(())
    }
    fn mask(&self, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("mask {source:#x}"))?;
        *self.on.borrow_mut().get_mut(&source).unwrap() = false;
        Ok(())
    }
    fn unregister(&self, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("unregister {source:#x}"))?;
        assert!(self.on.borrow_mut().remove(&source).is_some());
        Ok(())
    }
}
