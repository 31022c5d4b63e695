package meta

import "time"

// Stats are the metrics of a Store. Counts start when the store is opened and only
// grow; the other values are as of now. An implementation leaves a value that it
// does not know at zero.
type Stats struct {
	Revision  uint64 // the newest
	Batches   uint64 // acknowledged
	Ops       uint64 // in them
	Bytes     uint64 // of keys and values in them
	Commits   uint64 // groups of batches that were made durable together
	Refused   uint64 // batches that failed because the disk was full, read-only or broken
	Sync      Latency
	Watchers  int    // open
	Lagged    uint64 // watchers that were ended because they did not keep up
	Snapshots int    // open
	Pinned    uint64 // how many revisions back the oldest of them is

	DiskBytes int64 // taken by the store's files
	FreeBytes int64 // left on its disk for this process
	Damaged   int   // damaged stores that were set aside and are still kept
	Failure   error // why writes fail now; nil if they work
}

// LatencyBuckets is how many bounds a Latency has.
const LatencyBuckets = 12

// Latency is a histogram of durations.
type Latency struct {
	Count  uint64
	Sum    time.Duration
	Within [LatencyBuckets]uint64 // Within[i] counts durations of at most LatencyBound(i)
}

// LatencyBound is the upper bound of a bucket: 250 µs for the first, twice as much
// for each next one, up to about half a second.
func LatencyBound(bucket int) time.Duration { return 250 * time.Microsecond << bucket }

// Add counts one duration.
func (l *Latency) Add(d time.Duration) {
	l.Count++
	l.Sum += d
	for i := range l.Within {
		if d <= LatencyBound(i) {
			l.Within[i]++
		}
	}
}
