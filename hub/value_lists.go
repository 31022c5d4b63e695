package hub

// digestSum sums up a set of keys with their versions in 128 bits, whatever their
// order, so that two sides that hold the same say so in one small frame.
type digestSum struct {
	Sum   [16]byte // the sum modulo 2^128 of the entries' hashes, big endian
	Count uint64
}

// entry is a key with its version, as a receiver of state lists what it holds.
type entry struct {
	Key     Key
	Version string
}

// mark is how far the events of one source are done with.
type mark struct {
	Source string
	ID     uint64
}
