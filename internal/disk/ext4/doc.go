// Package ext4 writes ext4 file systems in one streaming pass, without root,
// mounts or other programs, and reads them back.
//
// File contents are placed first, by several goroutines at once, while nothing
// is known yet about names or the final size; Finish then lays names, owners,
// times and all other metadata around them:
//
//	w, err := ext4.NewWriter(dev, ext4.Options{UUID: uuid, HashSeed: seed, Label: "root", Time: epoch})
//	a := w.NewArena(sizeOfLayer)        // one per source, all made before the first Put
//	d, err := a.Put(content, size)      // in the goroutine of that source
//	a.Close()
//	stats, err := w.Finish(ctx, tree, func(u ext4.Usage) int64 { return 2 * u.MinBytes })
//
// The tree's regular files carry d as their Content; anything else is copied in.
// The same arenas, contents and tree give the same bytes, whatever the timing.
//
// The writer refuses what ext4 cannot keep (names over 255 bytes, 65000 links,
// attributes over one block) and what it cannot check (unsorted or repeated
// names). The reader refuses features that it does not know, by name, and never
// trusts a number of the image. Neither replays journals.
//
// The format is described in the Linux documentation, filesystems/ext4; fields
// carry the names used there. As an encoder of a format the package is larger
// than others.
package ext4
