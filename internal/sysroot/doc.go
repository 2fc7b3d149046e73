// Package sysroot turns the layers of a bootable container image into the
// physical root of an ostree deployment, as bootc install would have made it:
// layer commits, merge commit, deployment, boot entries and labels. Content
// goes to a Store as it is read, once; names follow as streams. It refuses
// images that the real importer would refuse, and writes to no file itself.
package sysroot
