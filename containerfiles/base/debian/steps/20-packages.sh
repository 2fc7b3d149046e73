# All packages of the base, by name, in one transaction.
. /.aither/steps/env.sh

# The initramfs is made once, by our own step, when its configuration is whole:
# not by package triggers on the way.
export INITRD=No

apt-get update
# Word splitting wanted: one argument a package.
apt-get install --yes $(list $here/packages.txt)
apt-get clean

# The administrators' group of other bootable bases, by the same name.
groupadd --system wheel
