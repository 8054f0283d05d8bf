use super::icp::Icp;
use super::terminal::{LAST_LINES, Terminal};
use super::*;

/// A partition with 64 KiB of memory.
struct Model {
    memory: Vec<u8>,
    printed: Vec<u8>,
    typed: Vec<u8>,
    entry: Option<u64>,
    little: bool,
    relocates: bool,
    breakpoints: Vec<Breakpoint>,
    breaks: bool,
    areas: [Option<GuestAddr>; 2],
    dispatches: u32,
    favoured: Option<u64>,
    icps: [Icp; 2],
    stopped: [bool; 2],
    prodded: [bool; 2],
    started: Option<(u64, u64, u64)>,
    words: String,
}

impl Model {
    fn new() -> Self {
        Self {
            memory: vec![0; 0x1_0000],
            printed: Vec::new(),
            typed: Vec::new(),
            entry: None,
            little: false,
            relocates: true,
            breakpoints: Vec::new(),
            breaks: true,
            areas: [None; 2],
            dispatches: 1,
            favoured: None,
            icps: [Icp::default(); 2],
            stopped: [false, true],
            prodded: [false; 2],
            started: None,
            words: String::new(),
        }
    }

    fn range(&self, at: GuestAddr, count: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(at.get()).ok()?;
        let end = start.checked_add(count)?;
        (end <= self.memory.len()).then_some(start..end)
    }

    /// A call with these registers from r3 on; status, r4, r5, r6, next.
    fn call(&mut self, registers: &[u64]) -> (i64, [u64; 3], Next) {
        let mut gpr = [0; 32];
        gpr[3..3 + registers.len()].copy_from_slice(registers);
        let next = call(&mut gpr, self);
        (gpr[3] as i64, [gpr[4], gpr[5], gpr[6]], next)
    }

    /// RTAS with its arguments at 0x100; the answers.
    fn rtas(&mut self, token: u32, arguments: &[u32], answers: usize) -> (Vec<u32>, Next) {
        let head = [token, arguments.len() as u32, answers as u32];
        for (index, word) in head.iter().chain(arguments).enumerate() {
            let at = 0x100 + 4 * index;
            self.memory[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        let (status, _, next) = self.call(&[Token::Rtas as u64, 0x100]);
        assert_eq!(status, 0);
        let first = 0x100 + 4 * (3 + arguments.len());
        let words = self.memory[first..first + 4 * answers].chunks(4);
        let words = words.map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        (words.collect(), next)
    }
}

impl Tables for Model {
    type Platform = Flat;

    fn tces(&self) -> Option<TceCalls<'_, Self::Platform>> {
        None
    }
    fn words(&self, _: GuestAddr, _: usize, _: &mut List<'_>) -> bool {
        unreachable!()
    }
}

impl Host for Model {
    fn with_windows(&mut self, _: &mut dyn FnMut(&WindowCalls<'_, Self::Platform>)) -> Option<()> {
        None
    }
    fn with_function(
        &mut self,
        _: u32,
        _: u64,
        _: &mut dyn FnMut(&View, &mut dyn ConfigAccess),
    ) -> Option<()> {
        None
    }
    fn read(&self, from: GuestAddr, to: &mut [u8]) -> bool {
        match self.range(from, to.len()) {
            Some(range) => to.copy_from_slice(&self.memory[range]),
            None => return false,
        }
        true
    }
    fn write(&mut self, to: GuestAddr, bytes: &[u8]) -> bool {
        match self.range(to, bytes.len()) {
            Some(range) => self.memory[range].copy_from_slice(bytes),
            None => return false,
        }
        true
    }
    fn put_terminal(&mut self, bytes: &[u8]) -> bool {
        self.printed.extend(bytes);
        true
    }
    fn get_terminal(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.typed.len());
        for (slot, byte) in to.iter_mut().zip(self.typed.drain(..count)) {
            *slot = byte;
        }
        count
    }
    fn set_process_table(&mut self, entry: u64) {
        self.entry = Some(entry);
    }
    fn set_little_endian(&mut self, on: bool) {
        self.little = on;
    }
    fn set_relocation(&mut self, _: bool) -> bool {
        self.relocates
    }
    fn set_breakpoint(&mut self, breakpoint: Breakpoint) -> bool {
        self.breakpoints.push(breakpoint);
        self.breaks
    }
    fn characteristics(&self) -> [u64; 2] {
        [1 << 63, 1 << 62]
    }
    fn random(&mut self) -> Option<u64> {
        Some(4)
    }
    fn vcpus(&self) -> u64 {
        2
    }
    fn this(&self) -> u64 {
        0
    }
    fn prod(&mut self, vcpu: u64) {
        self.prodded[vcpu as usize] = true;
    }
    fn shares_threads(&self) -> bool {
        true
    }
    fn set_area(&mut self, vcpu: u64, at: Option<GuestAddr>) {
        self.areas[vcpu as usize] = at;
    }
    fn dispatches(&self, _: u64) -> u32 {
        self.dispatches
    }
    fn favour(&mut self, vcpu: u64) {
        self.favoured = Some(vcpu);
    }
    fn with_icp(&mut self, vcpu: u64, act: &mut dyn FnMut(&mut Icp)) -> Option<()> {
        self.icps.get_mut(vcpu as usize).map(act)
    }
    fn is_stopped(&self, vcpu: u64) -> Option<bool> {
        self.stopped.get(vcpu as usize).copied()
    }
    fn start(&mut self, vcpu: u64, at: GuestAddr, r3: u64) -> bool {
        self.started = Some((vcpu, at.get(), r3));
        self.is_stopped(vcpu) == Some(true)
    }
    fn time(&mut self) -> Option<(u64, u32)> {
        Some((1_795_478_400 + 3661, 7))
    }
    fn last_words(&mut self, text: &str) {
        self.words = text.to_owned();
    }
}

#[test]
fn unknown_calls_are_refused_at_once() {
    let mut model = Model::new();
    for token in [0, 1, 0x55, 0x7fc, 0xf004, u64::MAX] {
        let mut gpr = [7; 32];
        gpr[3] = token;
        let answer = quick(&mut gpr, &Model::new());
        assert_eq!(answer, Quick(code::FUNCTION), "{token:#x}");
        assert_eq!(model.call(&[token]).0, code::FUNCTION);
    }
    let mut gpr = [0; 32];
    gpr[3] = Token::Cede as u64;
    assert_eq!(quick(&mut gpr, &Model::new()), Quick::MORE);
    assert_eq!(gpr[3], Token::Cede as u64);
}

#[test]
fn the_terminal_takes_at_most_sixteen_bytes() {
    let mut model = Model::new();
    let put = Token::PutTermChar as u64;
    let (first, second) = (0x4142_4344_4546_4748, 0x494a_0000_0000_0000);
    assert_eq!(model.call(&[put, 0, 10, first, second]).0, code::SUCCESS);
    assert_eq!(
        model.call(&[put, 0x7100_0000, 1, first, second]).0,
        code::SUCCESS
    );
    assert_eq!(model.printed, b"ABCDEFGHIJA");
    assert_eq!(model.call(&[put, 0, 17, first, second]).0, code::PARAMETER);
    assert_eq!(
        model.call(&[put, 0, u64::MAX, first, second]).0,
        code::PARAMETER
    );
    assert_eq!(model.call(&[put, 1, 1, first, second]).0, code::PARAMETER);
    model.typed = b"0123456789abcdefX".to_vec();
    let get = Token::GetTermChar as u64;
    let (status, values, _) = model.call(&[get, 0]);
    assert_eq!(
        (status, values),
        (0, [16, 0x3031_3233_3435_3637, 0x3839_6162_6364_6566])
    );
    assert_eq!(model.call(&[get, 0]).1, [1, 0x5800_0000_0000_0000, 0]);
}

#[test]
fn modes_are_set_or_refused_with_the_parameter_that_is_wrong() {
    let mut model = Model::new();
    let mode = Token::SetMode as u64;
    assert_eq!(model.call(&[mode, 1, 4, 0, 0]).0, code::SUCCESS);
    assert!(model.little);
    assert_eq!(model.call(&[mode, 2, 4, 0, 0]).0, code::UNSUPPORTED_FLAG);
    assert_eq!(model.call(&[mode, 0, 4, 1, 0]).0, code::P3);
    assert_eq!(model.call(&[mode, 0, 4, 0, 1]).0, code::P4);
    assert_eq!(model.call(&[mode, 3, 3, 0, 0]).0, code::SUCCESS);
    assert_eq!(model.call(&[mode, 1, 3, 0, 0]).0, code::UNSUPPORTED_FLAG);
    model.relocates = false;
    assert_eq!(model.call(&[mode, 3, 3, 0, 0]).0, code::P2);
    assert_eq!(model.call(&[mode, 0, 9, 0, 0]).0, code::P2);
}

#[test]
fn what_the_processor_has_and_needs_is_told() {
    let answer = Model::new().call(&[Token::GetCpuCharacteristics as u64]);
    assert_eq!(answer, (0, [1 << 63, 1 << 62, 0], Next::Resume));
}

#[test]
fn areas_are_where_they_may_be_and_say_that_threads_are_shared() {
    let mut model = Model::new();
    model.memory[0x2004..0x2006].copy_from_slice(&640u16.to_be_bytes());
    model.memory[0x2009] = 1;
    let register = |at| [Token::RegisterVpa as u64, 1 << 45, 1, at];
    assert_eq!(model.call(&register(0x2000)).0, code::SUCCESS);
    assert_eq!(model.areas, [None, Some(GuestAddr::new(0x2000))]);
    assert_eq!(model.memory[0x2009], 3);
    for bad in [0, 0x2020, 0x2dc0, 0x3000, 0xffc0, !63] {
        assert_eq!(model.call(&register(bad)).0, code::PARAMETER, "{bad:#x}");
    }
    assert_eq!(model.areas[1], Some(GuestAddr::new(0x2000)));
    let back = [Token::RegisterVpa as u64, 5 << 45, 1, 0];
    assert_eq!(model.call(&back).0, code::SUCCESS);
    assert_eq!(model.areas, [None; 2]);
    let nobodys = [Token::RegisterVpa as u64, 1 << 45, 2, 0x2000];
    assert_eq!(model.call(&nobodys).0, code::PARAMETER);
}

#[test]
fn time_is_given_to_who_waits_for_it() {
    let mut model = Model::new();
    model.dispatches = 7;
    let mut confer = |vcpu, seen| {
        let (status, _, next) = model.call(&[Token::Confer as u64, vcpu, seen]);
        (status, next, model.favoured.take())
    };
    assert_eq!(confer(u64::MAX, 0), (0, Next::Yield, None));
    assert_eq!(confer(2, 0), (code::PARAMETER, Next::Resume, None));
    assert_eq!(confer(0, 0), (0, Next::Doze, None), "itself");
    assert_eq!(confer(1, 7), (0, Next::Yield, Some(1)));
    assert_eq!(confer(1, 5), (0, Next::Resume, None), "it ran since");
    model.dispatches = 8;
    let runs = model.call(&[Token::Confer as u64, 1, 8]);
    assert_eq!((runs.0, runs.2), (0, Next::Resume), "it runs");
}

#[test]
fn breakpoints_are_the_partitions_own() {
    let mut model = Model::new();
    let mut set = |resource, first, second| {
        let answer = model.call(&[Token::SetMode as u64, 0, resource, first, second]);
        (answer.0, model.breakpoints.pop())
    };
    let instruction = Some(Breakpoint::Instruction(0x1006));
    assert_eq!(set(1, 0x1006, 0), (code::SUCCESS, instruction));
    assert_eq!(set(1, 0x1007, 0), (code::P3, None));
    assert_eq!(set(1, 0x1006, 1), (code::P4, None));
    let data = |number| {
        Some(Breakpoint::Data {
            number,
            address: 0x2000,
            what: 0x5b,
        })
    };
    assert_eq!(set(2, 0x2000, 0x5b), (code::SUCCESS, data(0)));
    assert_eq!(set(5, 0x2000, 0x5b), (code::SUCCESS, data(1)));
    assert_eq!(set(2, 0x2000, 0x5f), (code::P4, None));
    assert_eq!(set(5, 0x2000, 4), (code::P4, None));
    let flags = [Token::SetMode as u64, 1, 2, 0, 0];
    assert_eq!(model.call(&flags).0, code::UNSUPPORTED_FLAG);
    model.breaks = false;
    let absent = [Token::SetMode as u64, 0, 2, 0, 0];
    assert_eq!(model.call(&absent).0, code::P2);
}

#[test]
fn process_tables_are_radix_and_aligned() {
    let mut model = Model::new();
    let register = Token::RegisterProcessTable as u64;
    assert_eq!(
        model.call(&[register, 0x1d, 0x100_0000, 0, 12]).0,
        code::SUCCESS
    );
    assert_eq!(model.entry, Some(1 << 63 | 0x100_0000 | 12));
    assert_eq!(model.call(&[register, 0x1d, 0x80_0000, 0, 12]).0, code::P2);
    assert_eq!(model.call(&[register, 0x1d, 0, 0, 1 << 40]).0, code::P2);
    // Hash, and flags that do not exist.
    assert_eq!(model.call(&[register, 0x18, 0, 0, 12]).0, code::PARAMETER);
    assert_eq!(model.call(&[register, 0x3d, 0, 0, 12]).0, code::PARAMETER);
    assert_eq!(model.call(&[register, 0x10, 0, 0, 0]).0, code::SUCCESS);
    assert_eq!(model.entry, Some(1 << 63));
}

#[test]
fn vcpus_that_are_not_there_are_refused() {
    let mut model = Model::new();
    for token in [Token::Prod, Token::Confer, Token::Ipi, Token::Ipoll] {
        assert_eq!(
            model.call(&[token as u64, 2]).0,
            code::PARAMETER,
            "{token:?}"
        );
    }
    assert_eq!(model.call(&[Token::Prod as u64, 1]).0, code::SUCCESS);
    assert!(model.prodded[1]);
    assert_eq!(model.call(&[Token::Confer as u64, u64::MAX]).2, Next::Yield);
    assert_eq!(model.call(&[Token::Cede as u64]).2, Next::Cede);
    let vpa = Token::RegisterVpa as u64;
    model.memory[0x1004..0x1006].copy_from_slice(&640u16.to_be_bytes());
    let flags = 1 << 45;
    assert_eq!(model.call(&[vpa, flags, 0, 0x1000]).0, code::SUCCESS);
    for (vcpu, at) in [
        (2, 0x1000),
        (0, 0),
        (0, 0x1001),
        (0, 0x2000),
        (0, 0x1_0000),
        (0, u64::MAX - 63),
    ] {
        assert_eq!(
            model.call(&[vpa, flags, vcpu, at]).0,
            code::PARAMETER,
            "{at:#x}"
        );
    }
}

#[test]
fn an_ipi_is_taken_once() {
    let mut model = Model::new();
    let this = |model: &mut Model, token: Token, value| model.call(&[token as u64, value]);
    this(&mut model, Token::Cppr, 0xff);
    assert_eq!(this(&mut model, Token::Xirr, 0).1[0], 0xff00_0000);
    assert_eq!(model.call(&[Token::Ipi as u64, 0, 4]).0, code::SUCCESS);
    assert!(model.icps[0].is_pending() && !model.icps[1].is_pending());
    assert_eq!(this(&mut model, Token::Xirr, 0).1[0], 0xff00_0002);
    assert!(!model.icps[0].is_pending());
    // Not again while it is served; again behind its end unless it is taken back.
    model.call(&[Token::Ipi as u64, 0, 0xff]);
    this(&mut model, Token::Eoi, 0xff00_0002);
    assert!(!model.icps[0].is_pending());
    // Masked, then not any more.
    this(&mut model, Token::Cppr, 0);
    model.call(&[Token::Ipi as u64, 0, 4]);
    assert!(!model.icps[0].is_pending());
    this(&mut model, Token::Cppr, 5);
    assert!(model.icps[0].is_pending());
}

#[test]
fn services_answer_what_is_asked() {
    let mut model = Model::new();
    assert_eq!(model.rtas(99, &[], 1), (vec![-3i32 as u32], Next::Resume));
    let (words, _) = model.rtas(2, &[], 8);
    assert_eq!(words, [0, 2026, 11, 24, 1, 1, 1, 7]);
    assert_eq!(model.rtas(8, &[1], 2).0, [0, 0]);
    assert_eq!(model.rtas(8, &[0], 2).0, [0, 2]);
    assert_eq!(model.rtas(8, &[2], 2).0[0] as i32, -3);
    assert_eq!(model.rtas(6, &[1, 0x4000, 1], 1).0, [0]);
    assert_eq!(model.started, Some((1, 0x4000, 1)));
    assert_eq!(model.rtas(6, &[1], 1).0[0] as i32, -3);
    assert_eq!(model.rtas(3, &[0, 0], 1).1, Next::PowerOff);
    assert_eq!(model.rtas(4, &[], 1).1, Next::Reboot);
    assert_eq!(model.rtas(7, &[], 1).1, Next::Stop);
    model.memory[0x800..0x808].copy_from_slice(b"oops\x07!\0x");
    assert_eq!(model.rtas(5, &[0x800], 1).1, Next::Failed);
    assert_eq!(model.words, "oops.!");
    // Address 0 is Linux's way to say nothing.
    model.memory[..2].copy_from_slice(b"x\0");
    assert_eq!(model.rtas(5, &[0], 1).1, Next::Failed);
    assert_eq!(model.words, "");
}

#[test]
fn wild_arguments_of_services_harm_nobody() {
    let mut model = Model::new();
    for at in [0xffff, 0x1_0000, 0xffff_fffc, 0xfff8] {
        assert_eq!(model.call(&[Token::Rtas as u64, at]).2, Next::Resume);
    }
    // More answers than there is room for.
    let at = 0x1_0000 - 12;
    for (offset, word) in [(0, 2u32), (4, 0), (8, 8)] {
        model.memory[at + offset..at + offset + 4].copy_from_slice(&word.to_be_bytes());
    }
    assert_eq!(model.call(&[Token::Rtas as u64, at as u64]).2, Next::Resume);
    // Absurd counts.
    model.rtas(2, &[], 8);
    model.memory[0x104..0x108].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(model.call(&[Token::Rtas as u64, 0x100]).2, Next::Resume);
}

#[test]
fn lines_are_kept_whole_and_clean() {
    let mut terminal = Terminal::default();
    let mut lines = Vec::new();
    terminal.print(b"one\r\ntw", |line| lines.push(line.to_owned()));
    assert_eq!(terminal.unfinished(), "tw");
    terminal.print(b"o\x1b[1;3", |line| lines.push(line.to_owned()));
    terminal.print(b"1mred\x1b[m\xff\n", |line| lines.push(line.to_owned()));
    // One that does not end hides its own line only, and a lone escape a byte.
    terminal.print(b"\x1b[99\nx\x1b\x1b7y\n", |line| {
        lines.push(line.to_owned())
    });
    terminal.print(&[b'x'; 450], |line| lines.push(line.to_owned()));
    terminal.print(b"\n", |line| lines.push(line.to_owned()));
    assert_eq!(lines[..4], ["one", "twored.", "", "xy"]);
    assert_eq!(
        lines[4..].iter().map(String::len).collect::<Vec<_>>(),
        [200, 200, 50]
    );
    assert_eq!(terminal.last_lines().count(), 7);
    // A prompt is the last of the last lines.
    terminal.print(b"# ", |_| {});
    assert_eq!(terminal.last_lines().last(), Some("# "));
    terminal.print(b"\n", |_| {});
    for number in 0..LAST_LINES {
        terminal.print(format!("{number}\n").as_bytes(), |_| {});
    }
    let last: Vec<_> = terminal.last_lines().collect();
    assert_eq!((last.len(), last[0]), (LAST_LINES, "0"));
    let taken = (0..1000).filter(|_| terminal.type_byte(b'a')).count();
    assert_eq!(taken, 256);
}
