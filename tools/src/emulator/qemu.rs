//! The command line of an emulated machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::board::Board;
use crate::process;

/// QEMU's trace event for a store to a device's register.
pub const REGISTER_WRITES: &str = "memory_region_ops_write";

/// Everything that says how a machine is started.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The emulator.
    pub program: PathBuf,
    /// The board.
    pub board: Board,
    /// QEMU's -m instead of the board's.
    pub memory: Option<String>,
    /// QEMU's -smp instead of the board's.
    pub smp: Option<String>,
    /// The kernel; `None` where the flash holds it.
    pub kernel: Option<PathBuf>,
    /// The initrd.
    pub initrd: Option<PathBuf>,
    /// An image of the flash.
    pub flash: Option<PathBuf>,
    /// A device tree instead of QEMU's own.
    pub dtb: Option<PathBuf>,
    /// Words for the kernel.
    pub append: Option<String>,
    /// QEMU's -drive, each: disks that devices use.
    pub drives: Vec<String>,
    /// QEMU's -device, each.
    pub devices: Vec<String>,
    /// Further arguments, as they are.
    pub extra: Vec<String>,
    /// Count time in instructions: log2 of nanoseconds for each.
    pub icount_shift: Option<u8>,
    /// A reset restarts the machine instead of ending it.
    pub restarts: bool,
    /// A second serial port: firmware takes COM2, COM1 stays free for the image.
    pub second_serial: Option<Serial>,
    /// Where QEMU writes what a guest did wrong.
    pub log: Option<PathBuf>,
    /// Trace writes to registers into the log from the start.
    pub trace: bool,
    /// The control socket.
    pub control: Option<PathBuf>,
    /// Wait for a debugger on this port of the loopback address.
    pub gdb_port: Option<u16>,
}

/// What the machine's two serial ports are connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// COM1 on standard input and output, COM2 (firmware's) into this file.
    First(PathBuf),
    /// COM2 (firmware's) on standard input and output, COM1 into this file.
    Second(PathBuf),
}

impl Setting {
    /// The board as its file says, with nothing to boot.
    pub fn of(program: &Path, board: Board) -> Self {
        Self {
            program: program.to_path_buf(),
            board,
            memory: None,
            smp: None,
            kernel: None,
            initrd: None,
            flash: None,
            dtb: None,
            append: None,
            drives: Vec::new(),
            devices: Vec::new(),
            extra: Vec::new(),
            icount_shift: None,
            restarts: false,
            second_serial: None,
            log: None,
            trace: false,
            control: None,
            gdb_port: None,
        }
    }

    /// The arguments.
    pub fn arguments(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let smp = self.smp.as_ref().unwrap_or(&self.board.smp);
        let mut line: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-M", &self.board.machine]);
        add(&["-m", self.memory.as_ref().unwrap_or(&self.board.memory)]);
        add(&["-smp", smp]);
        match self.icount_shift {
            Some(shift) => add(&["-icount", &format!("shift={shift},sleep=off")]),
            // With a host thread for each, any thread may win the race to boot.
            None if smp != "1" => add(&["-accel", "tcg,thread=single"]),
            None => {}
        }
        add(&["-display", "none", "-monitor", "none"]);
        match &self.second_serial {
            None => add(&["-serial", "stdio"]),
            Some(Serial::First(file)) => add(&[
                "-serial",
                "stdio",
                "-serial",
                &format!("file:{}", text(file)),
            ]),
            Some(Serial::Second(file)) => add(&[
                "-serial",
                &format!("file:{}", text(file)),
                "-serial",
                "stdio",
            ]),
        }
        // A machine that stops for a crash ends QEMU with status 1.
        add(&["-action", "panic=exit-failure"]);
        if !self.restarts {
            add(&["-no-reboot"]);
        }
        if let Some(kernel) = &self.kernel {
            add(&["-kernel", &text(kernel)]);
        }
        if let Some(initrd) = &self.initrd {
            add(&["-initrd", &text(initrd)]);
        }
        if let Some(flash) = &self.flash {
            add(&["-drive", &format!("file={},format=raw,if=mtd", text(flash))]);
        }
        if let Some(dtb) = &self.dtb {
            add(&["-dtb", &text(dtb)]);
        }
        if let Some(append) = &self.append {
            add(&["-append", append]);
        }
        for drive in &self.drives {
            add(&["-drive", drive]);
        }
        for device in &self.devices {
            add(&["-device", device]);
        }
        if let Some(log) = &self.log {
            add(&["-d", "guest_errors", "-D", &text(log)]);
        }
        if self.trace {
            add(&["-trace", REGISTER_WRITES]);
        }
        if let Some(control) = &self.control {
            add(&[
                "-qmp",
                &format!("unix:{},server=on,wait=off", text(control)),
            ]);
        }
        if let Some(port) = self.gdb_port {
            add(&["-S", "-gdb", &format!("tcp:127.0.0.1:{port}")]);
        }
        line.extend(self.extra.iter().cloned());
        line
    }

    /// The command to start.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments());
        command
    }

    /// The line a person types for the same machine, in the workspace's folder.
    pub fn typed(&self) -> String {
        let mut plain = self.clone();
        plain.control = None;
        process::describe(&plain.command())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        toml::from_str(
            "about = \"x\"\nmachine = \"powernv9\"\nmemory = \"1G\"\nsmp = \"1\"\nicount-shift = 3\nflash-bytes = 1\n",
        )
        .unwrap()
    }

    #[test]
    fn a_crash_is_seen_and_a_reset_ends_the_machine() {
        let line = Setting::of(Path::new("qemu"), board())
            .arguments()
            .join(" ");
        assert!(line.contains("-action panic=exit-failure"), "{line}");
        assert!(line.contains("-no-reboot"), "{line}");
        let mut restarting = Setting::of(Path::new("qemu"), board());
        restarting.restarts = true;
        assert!(!restarting.arguments().contains(&"-no-reboot".to_owned()));
    }

    #[test]
    fn several_threads_take_turns_unless_time_is_counted() {
        let mut setting = Setting::of(Path::new("qemu"), board());
        assert!(
            !setting
                .arguments()
                .contains(&"tcg,thread=single".to_owned())
        );
        setting.smp = Some("4,threads=4".to_owned());
        assert!(
            setting
                .arguments()
                .contains(&"tcg,thread=single".to_owned())
        );
        setting.icount_shift = Some(3);
        let line = setting.arguments().join(" ");
        assert!(
            line.contains("-icount shift=3,sleep=off") && !line.contains("thread=single"),
            "{line}"
        );
    }

    #[test]
    fn a_disk_is_there_before_its_device() {
        let mut setting = Setting::of(Path::new("qemu"), board());
        setting.drives = vec!["file=d.img,if=none,id=d".to_owned()];
        setting.devices = vec!["nvme,drive=d".to_owned()];
        setting.trace = true;
        let line = setting.arguments().join(" ");
        assert!(
            line.contains("-drive file=d.img,if=none,id=d -device nvme,drive=d"),
            "{line}"
        );
        assert!(line.contains("-trace memory_region_ops_write"), "{line}");
    }

    #[test]
    fn the_typed_line_needs_no_control_socket() {
        let mut setting = Setting::of(Path::new("qemu"), board());
        setting.control = Some("target/q.sock".into());
        setting.append = Some("selftest console=com1".to_owned());
        assert!(setting.arguments().contains(&"-qmp".to_owned()));
        let typed = setting.typed();
        assert!(!typed.contains("-qmp"), "{typed}");
        assert!(typed.contains("-append 'selftest console=com1'"), "{typed}");
    }
}
