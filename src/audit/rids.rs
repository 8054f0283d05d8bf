//! The RTT, in memory: a 16-bit PE number for each RID.

use super::finding::{Fact, Fault};
use super::{Holders, HostAddr, IodaTables, Listener, Phb, layout};
use crate::pci::{Bdfn, PeNumber};

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn rids(&mut self) {
        let told = self.expected.bases().rtt;
        let mask = self.layout.rtt_mask;
        let Some(base) = self.base("RTT", layout::RTT_BAR, mask, told, layout::RTT_BYTES) else {
            return;
        };
        let reserved = self.expected.reserved();
        let pattern = u64::from(reserved.get()) * 0x0001_0001_0001_0001;
        let mut next = self.expected.next_rid(0);
        for first in (0..=u16::MAX).step_by(4) {
            let at = HostAddr::new(base.get() + u64::from(first) * 2);
            let Some(word) = self.tables.word(at) else {
                let holder = super::Holder::NoMemory;
                let table = "RTT";
                return self.fault(Fault::BaseHolder { table, at, holder });
            };
            // Nearly all words are the reserved PE's, and should be.
            let plain = next.is_none_or(|next| next > first | 3);
            if plain && word == pattern {
                continue;
            }
            for low in 0..4 {
                let value = (word >> (48 - 16 * low)) as u16;
                self.rid(Bdfn::from_rid(first | low), value);
            }
            next = match first.checked_add(4) {
                Some(after) => self.expected.next_rid(after),
                None => None,
            };
        }
    }

    fn rid(&mut self, rid: Bdfn, value: u16) {
        let expected = self.expected.rid(rid);
        if value != expected.get() {
            self.fault(Fault::Rid {
                rid,
                value,
                expected,
            });
        } else if expected != self.expected.reserved() {
            self.audit.totals.rids += 1;
            self.fact(Fact::Rid(rid, PeNumber::new(value)));
        }
    }
}
