//! A vCPU's interrupt presentation controller as LoPAR's XICS has it: priorities
//! 0 (highest) to 255 (none). Its only source is the IPI of other vCPUs.

/// The interrupt number of an IPI.
const IPI: u32 = 2;

/// Priority of nothing.
const NONE: u8 = 0xff;

/// The controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icp {
    /// What the vCPU is busy with: only a lower number interrupts it.
    priority: u8,
    /// The IPI's priority, [`NONE`] while there is none.
    request: u8,
    /// Whether the IPI is presented, and how urgent it was then.
    presented: Option<u8>,
}

impl Default for Icp {
    fn default() -> Self {
        Self {
            priority: 0,
            request: NONE,
            presented: None,
        }
    }
}

impl Icp {
    /// Whether an external interrupt is wanted.
    pub const fn is_pending(&self) -> bool {
        self.presented.is_some()
    }

    fn present(&mut self) {
        if self.request < self.priority {
            self.presented = Some(self.request);
        } else {
            self.presented = None;
        }
    }

    /// H_CPPR: what the vCPU is busy with from now on.
    pub fn set_priority(&mut self, priority: u8) {
        self.priority = priority;
        self.present();
    }

    /// H_IPI: requests an IPI of this priority, or ends the request.
    pub fn request(&mut self, priority: u8) {
        self.request = priority;
        self.present();
    }

    /// H_IPOLL: what H_XIRR would answer, and the IPI's priority.
    pub fn poll(&self) -> (u32, u8) {
        let number = if self.is_pending() { IPI } else { 0 };
        (u32::from(self.priority) << 24 | number, self.request)
    }

    /// H_XIRR: takes the interrupt; the vCPU is busy with it.
    pub fn accept(&mut self) -> u32 {
        let (answer, _) = self.poll();
        if let Some(priority) = self.presented.take() {
            self.priority = priority;
        }
        answer
    }

    /// H_EOI: done with it; back to the priority in the upper byte.
    pub fn end(&mut self, answer: u32) {
        self.set_priority((answer >> 24) as u8);
    }
}
