//! What a PHB recorded of an error, as firmware hands it out: the registers that
//! say what went wrong (skiboot include/opal-api.h, OpalIoPhb3ErrorData and
//! OpalIoPhb4ErrorData; PHB5 has PHB4's).

/// The longest record that is asked for, in bytes; firmware says in
/// `ibm,phb-diag-data-size` how long it is, some 8 KiB.
pub const MOST_BYTES: usize = 1 << 16;

/// version, type, length: four bytes each.
const HEADER: usize = 12;
const VERSION: u32 = 1;
const PHB3: u32 = 2;
const PHB4: u32 = 3;

/// Why a record says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiagError {
    /// It ends before what it is to hold.
    #[error("{0} bytes hold no error record")]
    Short(usize),
    /// Of a version or kind that is not known.
    #[error("error record of version {version}, kind {kind}")]
    Unknown {
        /// 1 is known.
        version: u32,
        /// 2 is a PHB3's, 3 a PHB4's.
        kind: u32,
    },
}

/// A register's name, its place in the record, and whether it has eight bytes or
/// four.
type Field = (&'static str, u16, bool);

/// The root port's error registers, then each unit's error status with the bit
/// that came first. Masks, logs and link state are left out.
const FIELDS3: [Field; 17] = [
    ("root error", 48, false),
    ("uncorrectable", 52, false),
    ("correctable", 56, false),
    ("source", 76, false),
    ("NFIR", 104, true),
    ("NFIR first", 120, true),
    ("LEM", 144, true),
    ("LEM first", 160, true),
    ("PHB", 168, true),
    ("PHB first", 176, true),
    ("MMIO", 200, true),
    ("MMIO first", 208, true),
    ("DMA0", 232, true),
    ("DMA0 first", 240, true),
    ("DMA1", 264, true),
    ("DMA1 first", 272, true),
    ("secondary status", 44, false),
];

const FIELDS4: [Field; 22] = [
    ("root error", 36, false),
    ("uncorrectable", 40, false),
    ("correctable", 44, false),
    ("source", 64, false),
    ("NFIR", 72, true),
    ("NFIR first", 88, true),
    ("LEM", 112, true),
    ("LEM first", 128, true),
    ("PHB", 136, true),
    ("PHB first", 144, true),
    ("TXE", 168, true),
    ("TXE first", 176, true),
    ("RXE arbiter", 200, true),
    ("RXE arbiter first", 208, true),
    ("RXE merger", 232, true),
    ("RXE merger first", 240, true),
    ("RXE TCE", 264, true),
    ("RXE TCE first", 272, true),
    ("PBL", 296, true),
    ("DLP", 344, true),
    ("REGB", 352, true),
    ("REGB first", 360, true),
];

/// A record whose header was checked.
#[derive(Clone, Copy, Debug)]
pub struct Diag<'a> {
    record: &'a [u8],
    fields: &'static [Field],
}

impl<'a> Diag<'a> {
    /// The record in `buffer`, as OPAL_PCI_GET_PHB_DIAG_DATA2 leaves it.
    ///
    /// # Errors
    /// Too short for what it says it is, or of a kind that is not known.
    pub fn new(buffer: &'a [u8]) -> Result<Self, DiagError> {
        let short = DiagError::Short(buffer.len());
        let word = |at| value(buffer, at, 4).ok_or(short);
        let (version, kind, bytes) = (word(0)? as u32, word(4)? as u32, word(8)?);
        let fields: &[Field] = match (version, kind) {
            (VERSION, PHB3) => &FIELDS3,
            (VERSION, PHB4) => &FIELDS4,
            _ => return Err(DiagError::Unknown { version, kind }),
        };
        let record = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| buffer.get(..bytes))
            .ok_or(short)?;
        let ends = |(_, at, wide): &Field| usize::from(*at) + if *wide { 8 } else { 4 };
        let needed = fields.iter().map(ends).max().unwrap_or(HEADER);
        match record.len() >= needed {
            true => Ok(Self { record, fields }),
            false => Err(short),
        }
    }

    /// The registers in which anything is set, by name.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, u64)> + 'a {
        let record = self.record;
        self.fields.iter().filter_map(move |(name, at, wide)| {
            let found = value(record, (*at).into(), if *wide { 8 } else { 4 })?;
            (found != 0).then_some((*name, found))
        })
    }
}

/// `bytes` big-endian bytes, at most eight.
fn value(record: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let found = record.get(at..at + bytes)?;
    Some(
        found
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn record(kind: u32, bytes: usize) -> Vec<u8> {
        let mut record = std::vec![0; bytes];
        record[3] = 1;
        record[4..8].copy_from_slice(&kind.to_be_bytes());
        record[8..12].copy_from_slice(&(bytes as u32).to_be_bytes());
        record
    }

    #[test]
    fn what_is_set_is_named() {
        let mut phb4 = record(3, 8576);
        assert_eq!(Diag::new(&phb4).unwrap().set().count(), 0);
        phb4[43] = 0x10;
        phb4[264..272].copy_from_slice(&0x8000_0000_0000_0001_u64.to_be_bytes());
        let found: Vec<_> = Diag::new(&phb4).unwrap().set().collect();
        let expected = [("uncorrectable", 0x10), ("RXE TCE", 0x8000_0000_0000_0001)];
        assert_eq!(found, expected);
        let mut phb3 = record(2, 4392);
        phb3[232] = 1;
        // A mask and a log are no errors.
        phb3[112] = 1;
        phb3[248] = 1;
        let found: Vec<_> = Diag::new(&phb3).unwrap().set().collect();
        assert_eq!(found, [("DMA0", 1 << 56)]);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [0, 4, 11] {
            let short = Diag::new(&[0; 11][..bytes]).unwrap_err();
            assert_eq!(short, DiagError::Short(bytes));
        }
        let error = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut it = record(3, 8576);
            change(&mut it);
            Diag::new(&it).map(|it| it.set().count()).unwrap_err()
        };
        let unknown = |version, kind| DiagError::Unknown { version, kind };
        assert_eq!(error(&|it| it[3] = 2), unknown(2, 3));
        assert_eq!(error(&|it| it[7] = 1), unknown(1, 1));
        // It says that it is longer than the buffer, or ends inside a register.
        assert_eq!(error(&|it| it[8] = 0x80), DiagError::Short(8576));
        assert_eq!(error(&|it| it.truncate(400)), DiagError::Short(400));
        let cut = error(&|it| it[8..12].copy_from_slice(&367_u32.to_be_bytes()));
        assert_eq!(cut, DiagError::Short(8576));
    }
}
