//! The last so many bytes of all that was said, in a layout that a memory dump
//! can be read by.
#![forbid(unsafe_code)]

/// First word of a ring in memory.
pub const RING_MAGIC: u64 = u64::from_be_bytes(*b"PINIONLG");

/// A ring of `N` bytes. All zero is a valid, empty ring.
#[derive(Clone)]
#[repr(C)]
pub struct Ring<const N: usize> {
    magic: u64,
    /// `N`, for who reads a dump; 0 while nothing was written.
    capacity: u64,
    /// Bytes written since the start; the next goes to this modulo `N`.
    written: u64,
    bytes: [u8; N],
}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            magic: 0,
            capacity: 0,
            written: 0,
            bytes: [0; N],
        }
    }

    /// Adds bytes; the oldest go.
    pub fn push(&mut self, bytes: &[u8]) {
        self.magic = RING_MAGIC;
        self.capacity = N as u64;
        for &byte in bytes {
            let at = (self.written % N as u64) as usize;
            if let Some(slot) = self.bytes.get_mut(at) {
                *slot = byte;
            }
            self.written += 1;
        }
    }

    /// Bytes written since the start.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What is held, oldest first, in two pieces.
    pub fn contents(&self) -> (&[u8], &[u8]) {
        let at = (self.written % N as u64) as usize;
        if self.written < N as u64 {
            return (self.bytes.get(..at).unwrap_or(&[]), &[]);
        }
        let (newer, older) = self.bytes.split_at(at);
        (older, newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bytes_go_first() {
        let mut ring = Ring::<8>::new();
        ring.push(b"abc");
        assert_eq!(ring.contents(), (&b"abc"[..], &b""[..]));
        ring.push(b"defghij");
        let (older, newer) = ring.contents();
        assert_eq!([older, newer].concat(), b"cdefghij");
        assert_eq!(ring.written(), 10);
    }
}
