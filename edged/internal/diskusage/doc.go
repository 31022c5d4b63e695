// Package diskusage measures what folders take of the disk, as du -x does, with a bound on
// the work of each pass: however large a folder is, a pass costs the same.
//
//	meter := diskusage.New()
//	for { // every ten seconds
//		usage := meter.Measure(ctx, folders, 20_000) // look at 20,000 files at most
//		...
//	}
//
// A folder that is larger than its share of a pass is measured over several; until it has
// been walked to its end, its usage is the larger of what was counted so far and of the
// walk before. So a usage may be old, but a folder that has grown past a limit is found
// out as soon as that much of it was counted.
//
// Blocks are counted, not lengths, and a file with several names once. Other file systems
// below a folder are left out, and files that were removed while they are open are not
// seen. No symbolic link is followed, whatever a pod puts there meanwhile.
//
// A Meter belongs to one goroutine. A call hangs for as long as the disk does.
package diskusage
