//! The numbers of the calls.

macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A call's number (skiboot include/opal-api.h).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u64)]
        pub enum Token {
            $($(#[$doc])* $name = $number,)*
        }

        impl Token {
            /// All calls that Pinion knows, in ascending order.
            pub const ALL: &[Token] = &[$(Token::$name,)*];
        }
    };
}

tokens! {
    /// Does nothing; returns its argument's success.
    Test = 0,
    /// Writes to a terminal.
    ConsoleWrite = 1,
    /// Reads from a terminal.
    ConsoleRead = 2,
    /// The time of day.
    RtcRead = 3,
    /// Powers the machine off.
    PowerDown = 5,
    /// Reboots the machine.
    Reboot = 6,
    /// Serves an interrupt of firmware's own.
    HandleInterrupt = 9,
    /// Runs what firmware has to do, and returns pending events.
    PollEvents = 10,
    /// Reads a byte of config space.
    PciConfigRead8 = 13,
    /// Reads two bytes of config space.
    PciConfigRead16 = 14,
    /// Reads four bytes of config space.
    PciConfigRead32 = 15,
    /// Writes a byte of config space.
    PciConfigWrite8 = 16,
    /// Writes two bytes of config space.
    PciConfigWrite16 = 17,
    /// Writes four bytes of config space.
    PciConfigWrite32 = 18,
    /// XICS: routes or masks a source.
    SetXive = 19,
    /// How a PE is frozen.
    PciEehFreezeStatus = 23,
    /// Room in a terminal's output buffer.
    ConsoleWriteBufferSpace = 25,
    /// Ends a PE's freeze.
    PciEehFreezeClear = 26,
    /// Turns an M64 BAR on or off.
    PciPhbMmioEnable = 27,
    /// Sets the range of an M64 BAR.
    PciSetPhbMemWindow = 28,
    /// Gives a memory segment to a PE.
    PciMapPeMmioWindow = 29,
    /// Maps RIDs to a PE.
    PciSetPe = 31,
    /// Lets an error of a PE freeze another.
    PciSetPeltv = 32,
    /// Gives an MSI vector to a PE.
    PciSetXivePe = 37,
    /// Address and data of a 32-bit MSI.
    GetMsi32 = 39,
    /// Address and data of a 64-bit MSI.
    GetMsi64 = 40,
    /// Starts a thread.
    StartCpu = 41,
    /// Where a thread is.
    QueryCpuStatus = 42,
    /// Points a TVE of a PE at a TCE table.
    PciMapPeDmaWindow = 44,
    /// Resets a part of a PHB.
    PciReset = 49,
    /// Sets a function up as at the start, after its reset.
    PciReinit = 53,
    /// The next error of a PHB that waits to be served.
    PciNextError = 60,
    /// Waits for a reset.
    PciPoll = 62,
    /// Ends a message-signalled interrupt in a PHB3.
    PciMsiEoi = 63,
    /// What a PHB recorded of an error.
    PciGetPhbDiagData2 = 64,
    /// Reads from the LPC bus.
    LpcRead = 67,
    /// Writes to the LPC bus.
    LpcWrite = 68,
    /// Gives the calling thread back to firmware; returns only on failure.
    ReturnCpu = 69,
    /// Sets endianness of interrupts and the kind of translation.
    ReinitCpus = 70,
    /// Whether a call exists.
    CheckToken = 80,
    /// Fetches a message.
    GetMessage = 85,
    /// Freezes a PE.
    PciEehFreezeSet = 97,
    /// Serves a hypervisor maintenance interrupt.
    HandleHmi = 98,
    /// Reboots with a reason.
    Reboot2 = 116,
    /// Drains a terminal's output buffer.
    ConsoleFlush = 117,
    /// Invalidates cached TCEs (PHB4 and later).
    PciTceKill = 126,
    /// XIVE: resets it, and sets its mode.
    XiveReset = 128,
    /// XIVE: pages and flags of a source.
    XiveGetIrqInfo = 129,
    /// XIVE: routes a source.
    XiveSetIrqConfig = 131,
    /// XIVE: what an event queue escalates to.
    XiveGetQueueInfo = 132,
    /// XIVE: gives a thread an event queue.
    XiveSetQueueInfo = 133,
    /// XIVE: gives firmware a page for its tables.
    XiveDonatePage = 134,
    /// XIVE: new virtual processors.
    XiveAllocateVpBlock = 135,
    /// XIVE: gives such virtual processors back.
    XiveFreeVpBlock = 136,
    /// XIVE: how a virtual processor is dispatched.
    XiveGetVpInfo = 137,
    /// XIVE: turns a virtual processor on or off.
    XiveSetVpInfo = 138,
    /// XIVE: a new source for software.
    XiveAllocateIrq = 139,
    /// XIVE: gives such a source back.
    XiveFreeIrq = 140,
    /// XIVE: waits until what was sent has arrived.
    XiveSync = 141,
    /// Resets a thread, which comes back by its system-reset vector.
    SignalSystemReset = 145,
    /// Serves a hypervisor maintenance interrupt, with flags.
    HandleHmi2 = 166,
}
