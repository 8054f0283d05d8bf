# Starts Pinion in IBM's POWER functional simulator (Mambo, systemsim).
#
# UNTESTED: written without a simulator at hand, from what skiboot's
# external/mambo/skiboot.tcl is known to need. Commands and their order were
# tried against stand-ins only. Whoever runs it: please correct it.
#
# From the repository's folder, after `cargo xtask image`:
#
#   SKIBOOT=$PWD/skiboot.lid /opt/ibm/systemsim-p8/run/pegasus/power8 -f $PWD/boards/mambo.tcl
#
# That is where the POWER8 simulator's package puts its start script, which sets
# LIB_DIR; those for POWER9 and POWER10 lie elsewhere and are used alike.
#
# Settings, all from the environment:
#   SKIBOOT   firmware, skiboot.lid                        (must be set)
#   PINION    the image                                    target/pinion.elf
#   BUNDLE    a file handed over as initrd                 none
#   APPEND    words for the image                          crash=attn
#   CPUS      cores                                        1
#   THREADS   threads of each core                         1
#   MEMORY    bytes, as the simulator writes them          4G
#   GDB       port to wait on for a debugger               none
#   RUN       1: start at once; 2: and leave at the end    0: prompt

proc setting { name default } {
    global env
    if { [info exists env($name)] } { return $env($name) }
    return $default
}

set firmware [setting SKIBOOT ""]
set image    [setting PINION target/pinion.elf]
set bundle   [setting BUNDLE ""]
set words    [setting APPEND crash=attn]
set cores    [setting CPUS 1]
set threads  [setting THREADS 1]
set memory   [setting MEMORY 4G]

if { $firmware eq "" } { error "SKIBOOT must name skiboot.lid" }
foreach file [list $firmware $image] {
    if { ![file readable $file] } { error "cannot read $file" }
}

# Addresses that skiboot is built for, and places out of everyone's way.
set firmware_at    0x30000000
set firmware_entry 0x30000010
set tree_at        0x1f00000
set image_at       0x20000000
set bundle_at      0x80000000
set nvram_bytes    0x40000
set xscom_at       0x1A0000000000

if { [file size $image] > $firmware_at - $image_at } {
    error "$image does not fit below the firmware"
}

source $env(LIB_DIR)/ppc/util.tcl

# ---------------------------------------------------------------- machine

set processor [display default_configure]
define dup $processor pinion_config

proc configure { args } {
    foreach { option value } $args { pinion_config config $option $value }
}

configure \
    cpus $cores \
    processor/number_of_threads $threads \
    memory_size $memory \
    processor/cpu_frequency 512M \
    processor/timebase_frequency 1/1 \
    processor_option/ATTN_STOP true \
    processor_option/stop_on_illegal_instruction false \
    UART/0/enabled false \
    SimpleUART/enabled false \
    enable_rtas_support false \
    enable_pseries_nvram false \
    machine_option/NO_RAM TRUE \
    machine_option/NO_ROM TRUE \
    machine_option/MEMORY_OVERFLOW FALSE

# Processor versions that skiboot knows; control values belong to them.
switch $processor {
    PEGASUS { configure processor/initial/PVR 0x4b0201 }
    P9 {
        configure processor/initial/PVR 0x4e1203
        configure processor/initial/SIM_CTRL1 0x42283c1710000000
    }
    P10 {
        if { $threads == 8 } {
            configure processor/initial/PVR 0x00800200
            configure processor/initial/SIM_CTRL1 0xc0400c0400040a40
        } else {
            configure processor/initial/PVR 0x00801200
            configure processor/initial/SIM_CTRL1 0xc0400c0401040a40
        }
        configure processor/initial/SIM_CTRL 0x0c1dd60000000000
    }
    default { puts "warning: $processor: neither POWER8, POWER9 nor POWER10" }
}

define machine pinion_config mysim

source $env(LIB_DIR)/common/epapr.tcl
if { ![info exists of::encode_compat] } {
    source $env(LIB_DIR)/common/openfirmware_utils.tcl
}

mysim xscom create $xscom_at

# ---------------------------------------------------------------- device tree

proc node { path } { return [mysim of find_device $path] }
proc child { parent name { unit "" } } { return [mysim of addchild $parent $name $unit] }

# The simulator takes lists by the name of a variable: a global one, so that it
# is found from wherever it is looked up.
proc number { node name value } { mysim of addprop $node int $name $value }
proc text { node name value } { mysim of addprop $node string $name $value }
proc flag { node name } { mysim of addprop $node empty $name "" }
proc cells { node name args } {
    global pinion_list
    set pinion_list $args
    mysim of addprop $node array $name pinion_list
}
proc pairs { node name args } {
    global pinion_list
    set pinion_list $args
    mysim of addprop $node array64 $name pinion_list
}

set root [node /]
text $root epapr-version ePAPR-1.0
mysim of setprop $root compatible ibm,powernv

set cpus_node [node /cpus]
number $cpus_node #address-cells 1
number $cpus_node #size-cells 0
number [node /memory@0] ibm,chip-id 0

set xscom [child $root xscom [format %x $xscom_at]]
pairs $xscom reg $xscom_at 0x10000000
flag $xscom scom-controller
number $xscom ibm,chip-id 0
number $xscom #address-cells 1
number $xscom #size-cells 1
set names [of::encode_compat [list ibm,xscom ibm,power8-xscom]]
mysim of addprop $xscom byte_array compatible $names

# skiboot takes this as the kernel, in place.
set chosen [node /chosen]
pairs $chosen kernel-base-address $image_at

set bundle_end $bundle_at
if { $bundle ne "" } {
    set size [file size $bundle]
    mysim mcm 0 memory fread $bundle_at $size $bundle
    set bundle_end [expr { ($bundle_at + $size + 0xffff) & ~0xffff }]
    number $chosen linux,initrd-start $bundle_at
    number $chosen linux,initrd-end [expr { $bundle_at + $size }]
}

set reserved [child $root reserved-memory]
number $reserved #address-cells 2
number $reserved #size-cells 2
flag $reserved ranges
if { $bundle ne "" } {
    set held [child $reserved initramfs]
    pairs $held reg $bundle_at [expr { $bundle_end - $bundle_at }]
    flag $held name
}
set held [child $reserved ibm,fake-nvram]
pairs $held reg $bundle_end $nvram_bytes
flag $held name

set opal [child $root ibm,opal]
if { $processor ne "PEGASUS" } {
    number [child $opal power-mgt] ibm,enabled-stop-levels 0xffffffff
}

# Threads: all of them enter firmware, each with the device tree in r3.
set count [expr { $cores * $threads }]
set digits [expr { int(ceil(log($count) / log(16))) }]
set pir 0
for { set core 0 } { $core < $cores } { incr core } {
    set cpu [node /cpus/PowerPC@[format %0${digits}x $pir]]
    number $cpu ibm,pir $pir
    number $cpu ibm,chip-id $core
    pairs $cpu ibm,processor-segment-sizes 0x0000001c00000028 0xffffffffffffffff
    if { $processor ne "PEGASUS" } {
        # 4K, 64K, 2M, 1G
        cells $cpu ibm,processor-radix-AP-encodings 0x0000000c 0xa0000010 0x20000015 0x4000001e
    }
    if { $core > 0 } {
        # skiboot makes a chip of each.
        set chip [child $root mambo-chip [format %x $core]]
        number $chip ibm,chip-id $core
        text $chip compatible ibm,mambo-chip
    }
    set servers {}
    for { set thread 0 } { $thread < $threads } { incr thread } {
        mysim mcm 0 cpu $core thread $thread set spr pc $firmware_entry
        mysim mcm 0 cpu $core thread $thread set gpr 3 $tree_at
        mysim mcm 0 cpu $core thread $thread config_on
        mysim mcm 0 cpu $core thread $thread set spr pir $pir
        if { $processor eq "P10" } {
            mysim mcm 0 cpu $core thread $thread set spr ctrl 0x0c1dd60000000000
        }
        lappend servers $pir
        incr pir
    }
    cells $cpu ibm,ppc-interrupt-server#s {*}$servers
}

of::set_bootargs $words

# ---------------------------------------------------------------- load and go

mysim memory fread $firmware_at [file size $firmware] $firmware
mysim memory fread $image_at [file size $image] $image
epapr::of2dtb mysim $tree_at

mysim mode fastest

if { [setting GDB ""] ne "" } { mysim debugger wait [setting GDB ""] }

proc prompt {} {
    if { [catch { package require tclreadline }] == 0 } { ::tclreadline::Loop }
}

set run [setting RUN 0]
if { $run == 0 || [catch { mysim go }] } { prompt }
if { $run == 2 } { quit }
