#!/bin/busybox sh
# The first program of a Linux that runs in a partition: says that it is there,
# computes on every CPU at once, and ends as the kernel's arguments say.
/bin/busybox mount -t proc proc /proc
read -r up </proc/uptime
echo "linux: up $up"
/bin/busybox mount -t sysfs sysfs /sys
cpus=$(/bin/busybox grep -c ^processor /proc/cpuinfo)
echo "linux: userspace of $(/bin/busybox uname -r) on $cpus CPU(s)"
/bin/busybox grep -m1 -i ^mmu /proc/cpuinfo
echo "linux: pages of $(/bin/busybox awk '/^KernelPageSize/ { print $2 * 1024; exit }' /proc/self/smaps) bytes"
n=0
while [ $n -lt $cpus ]; do
    /bin/busybox awk 'BEGIN { for (i = 1; i <= 20000; i++) s += 1 / i; printf "linux: sum %.6f\n", s }' &
    n=$((n + 1))
done
wait
/bin/busybox date -u "+linux: the year is %Y"
for function in /sys/bus/pci/devices/*; do
    [ -e "$function/vendor" ] || continue
    read -r vendor <"$function/vendor"
    read -r device <"$function/device"
    read -r registers <"$function/resource"
    group=$(/bin/busybox readlink "$function/iommu_group")
    echo "linux: function ${function##*/} is $vendor:$device, in IOMMU group ${group##*/}"
    echo "linux: registers $registers"
    echo 1 >"$function/enable"
    read -r enabled <"$function/enable"
    echo "linux: enabled $enabled"
done
. /devices
case "$*" in
*vulnerabilities*)
    for file in /sys/devices/system/cpu/vulnerabilities/*; do
        read -r words <"$file"
        echo "linux: ${file##*/}: $words"
    done
    ;;
esac
case "$*" in
*reboot*) /bin/busybox reboot -f ;;
*panic*) echo c >/proc/sysrq-trigger ;;
*shell*) echo "linux: shell"; exec /bin/busybox sh ;;
esac
read -r up </proc/uptime
echo "linux: up $up"
echo "linux: powers off"
/bin/busybox poweroff -f
