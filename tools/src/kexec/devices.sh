# Drivers for the devices of a partition, and something to see each work by. Read
# by the first program, whose words say more: `write` something to each drive,
# `network=ADDRESS` for the card.
/bin/busybox mount -t devtmpfs dev /dev
# Not every kernel has them all.
load() {
    for driver in "$@"; do
        [ -e "/sys/module/$(echo "$driver" | /bin/busybox tr - _)" ] && continue
        for file in "/drivers/$driver".ko*; do
            [ -e "$file" ] && /bin/busybox insmod "$file"
        done
    done
}
drives=0
for function in /sys/bus/pci/devices/*; do
    [ -e "$function/class" ] || continue
    read -r class <"$function/class"
    read -r vendor <"$function/vendor"
    read -r device <"$function/device"
    case "$class $vendor:$device" in
    0x010802*)
        load crct10dif_common crc-t10dif crc64 crc64-rocksoft t10-pi nvme-common
        load nvme-auth nvme-core nvme
        drives=$((drives + 1))
        ;;
    *0x8086:0x10d3) load e1000e ;;
    *0x8086:0x10c9) load i2c-algo-bit igb ;;
    esac
done
# Drives come when they are ready.
found() {
    set -- /dev/nvme*n1
    [ -b "$1" ] && echo $# || echo 0
}
tries=0
while [ "$(found)" -lt $drives ] && [ $tries -lt 300 ]; do
    /bin/busybox sleep 0.1
    tries=$((tries + 1))
done
for drive in /dev/nvme*n1; do
    [ -b "$drive" ] || continue
    start=$(/bin/busybox dd if="$drive" bs=512 count=1 2>/dev/null | /bin/busybox tr -d '\000' | /bin/busybox head -c 24)
    if [ -n "$start" ]; then
        echo "linux: drive ${drive##*/} begins with \"$start\""
    else
        echo "linux: drive ${drive##*/} begins with zeros"
    fi
    case "$*" in
    *write*)
        echo "written by Linux in a partition" | /bin/busybox dd of="$drive" bs=512 seek=8 conv=fsync 2>/dev/null &&
            echo "linux: drive ${drive##*/} is written"
        # One command each, and an interrupt.
        /bin/busybox dd if="$drive" of=/dev/null bs=512 count=2000 iflag=direct 2>/dev/null &&
            echo "linux: drive ${drive##*/} was read 2000 times"
        ;;
    esac
done
address=
for word in "$@"; do
    case "$word" in network=*) address=${word#network=} ;; esac
done
for card in /sys/class/net/eth*; do
    [ -e "$card" ] && [ -n "$address" ] || continue
    card=${card##*/}
    /bin/busybox ip link set "$card" up
    /bin/busybox ip address add "$address/24" dev "$card"
    # The router of QEMU's own network. The link takes a while.
    tries=0
    until /bin/busybox ping -c 1 -W 1 10.0.2.2 >/dev/null || [ $tries -ge 30 ]; do
        tries=$((tries + 1))
    done
    [ $tries -lt 30 ] && echo "linux: $card reaches the network as $address"
done
/bin/busybox awk -v cpus="$cpus" '/nvme|eth/ {
    for (i = 2; i <= cpus + 1; i++) times[$NF] += $i
    if (times[$NF]) print "linux: " $NF " interrupted " times[$NF] " times"
}' /proc/interrupts
