// Package disktest is a disk whose power a test can cut: a block device with ext4. It shows how a
// store behaves on a disk that fails.
//
//	func TestPowerCut(t *testing.T) {
//		if !disktest.Isolate(t) {
//			return // it ran in a process of its own
//		}
//		disk := disktest.New(t, 64<<20)
//		dir := disk.On(t)
//		// ... write below dir, in another process if it may die of it ...
//		disk.Cut(rng)
//		dir = disk.On(t)
//		// ... everything that was synced is there ...
//	}
//
// The disk is a file system in user space (FUSE, spoken by hand) with one file;
// that file is a loop device, and on the loop device there is ext4. What the
// kernel writes to the disk is in its cache until the kernel flushes it. A cut
// keeps a random choice of what was not flushed, and tears one write at a
// sector. Fail makes the disk refuse what it is asked.
//
// It needs Linux, root, /dev/fuse, loop devices and mkfs.ext4, and skips the
// test with the reason where something is missing. All mounts live in a mount
// namespace of the test's own process, so that none outlives it. TestMain calls
// Serve first, since another process of the test binary is the disk.
package disktest
