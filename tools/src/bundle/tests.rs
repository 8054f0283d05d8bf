//! What the tool writes, as the image reads it.

use std::fs;
use std::process::{Command, id};

use pinion::partition::bundle::Bundle;
use pinion::partition::manifest::{Limits, Manifest, Wanted};

use super::make;

const SOURCE: &str = r#"/dts-v1/;
/ {
	compatible = "pinion,manifest-v1";
	web {
		memory = <0x1 0x10000>;
		cpus = <2>;
		kernel = "boot/vmlinux";
		initrd = "rd";
		bootargs = "console=hvc0 quiet";
		devices = "0000:01:00.0", "1b36:0010";
		dma-limit = <0x0 0x3000>;
		autostart;
		share;
	};
	spare {
		memory = <0x0 0x200000>;
		cpus = <1>;
	};
};
"#;

#[test]
fn the_image_reads_what_the_tool_writes() {
    if Command::new("dtc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no dtc on this machine");
        return;
    }
    let folder = std::env::temp_dir().join(format!("pinion-bundle-{}", id()));
    fs::create_dir_all(folder.join("boot")).unwrap();
    let [source, output, blob, elsewhere] =
        ["manifest.dts", "bundle.cpio", "manifest.dtb", "other"].map(|name| folder.join(name));
    fs::write(&source, SOURCE).unwrap();
    // Lengths that want padding and one that does not.
    fs::write(folder.join("boot/vmlinux"), b"kernel!").unwrap();
    fs::write(&elsewhere, b"disk").unwrap();

    let missing = make(&source, &output, &[], &blob).unwrap_err();
    assert!(
        format!("{missing:#}").contains("names \"rd\""),
        "{missing:#}"
    );
    assert!(!output.exists());
    let files = [format!("rd={}", elsewhere.display())];
    let bytes = make(&source, &output, &files, &blob).unwrap();

    let archive = fs::read(&output).unwrap();
    assert_eq!(archive.len(), bytes);
    let bundle = Bundle::check(&archive).unwrap();
    assert_eq!(bundle.files().count(), 3);
    assert_eq!(bundle.file("boot/vmlinux"), Some(&b"kernel!"[..]));
    assert_eq!(bundle.file("rd"), Some(&b"disk"[..]));
    let limits = Limits {
        memory: 1 << 33,
        threads: 2,
    };
    let tree = bundle.file(super::MANIFEST).unwrap();
    let read = |limits| Manifest::read(tree, limits, |name| bundle.file(name).is_some()).unwrap();
    let manifest = read(&limits);
    assert_eq!((manifest.left_out.len(), manifest.more), (0, 0));
    let [web, spare] = manifest.partitions.as_slice() else {
        panic!("{:?}", manifest.partitions);
    };
    assert_eq!(
        *web,
        Wanted {
            name: "web".into(),
            memory: 0x1_0001_0000,
            cpus: 2,
            kernel: Some("boot/vmlinux".into()),
            initrd: Some("rd".into()),
            bootargs: "console=hvc0 quiet".into(),
            devices: ["0000:01:00.0", "1b36:0010"]
                .map(|name| name.parse().unwrap())
                .into(),
            dma_limit: 0x3000,
            autostart: true,
            share: true,
        }
    );
    assert_eq!((spare.name.as_str(), spare.memory), ("spare", 0x20_0000));
    assert_eq!((&spare.kernel, spare.autostart), (&None, false));
    // Of a smaller machine one is left out, by name.
    let small = read(&Limits {
        threads: 1,
        ..limits
    });
    assert_eq!(
        small.left_out[0].reasons[0].to_string(),
        "/web: cpus: expected 1 to 1 processors, found 2"
    );
    fs::remove_dir_all(&folder).unwrap();
}
