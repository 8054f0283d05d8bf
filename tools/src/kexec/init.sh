#!/bin/busybox sh
# The first program of the Linux that starts the image by kexec. What stands
# behind `--` in the kernel's arguments are the words for the image.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
echo "kexec: Linux $(/bin/busybox uname -r) is up, words for the image: $*"
if /sbin/kexec -l /pinion.elf --append="$*"; then
    echo "kexec: starting the image"
    /sbin/kexec -e
fi
echo "kexec: failed"
/bin/busybox poweroff -f
