package meta

import "time"

// Stats is what a Store tells of itself for metrics. Counts are since the store
// was opened and only grow; the rest is as of now. What an implementation does
// not know is zero.
type Stats struct {
	Revision  uint64 // the newest
	Batches   uint64 // acknowledged
	Ops       uint64 // in them
	Bytes     uint64 // of keys and values in them
	Commits   uint64 // groups of batches that were made durable together
	Refused   uint64 // batches that failed for the disk's sake: full, read-only, broken
	Sync      Latency
	Watchers  int    // under way
	Lagged    uint64 // watchers that were ended since they did not keep up
	Snapshots int    // open
	Pinned    uint64 // how many revisions back the oldest of them is

	DiskBytes int64 // taken by the store's files
	FreeBytes int64 // left on its disk for this process
	Damaged   int   // damaged stores that were set aside and are still kept
	Failure   error // why nothing can be written now; nil if it can
}

// LatencyBuckets is how many bounds a Latency has.
const LatencyBuckets = 12

// Latency counts how long something took.
type Latency struct {
	Count  uint64
	Sum    time.Duration
	Within [LatencyBuckets]uint64 // Within[i] is how many took at most LatencyBound(i)
}

// LatencyBound is the bound of a bucket: a quarter of a millisecond, and twice
// as much from one to the next, up to half a second.
func LatencyBound(bucket int) time.Duration { return 250 * time.Microsecond << bucket }

// Add counts one that took d.
func (l *Latency) Add(d time.Duration) {
	l.Count++
	l.Sum += d
	for i := range l.Within {
		if d <= LatencyBound(i) {
			l.Within[i]++
		}
	}
}
