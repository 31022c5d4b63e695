package message

// Digest sums up a set of keys with their versions in 128 bits, whatever their
// order, so that two sides that hold the same say so in one small frame.
type Digest struct {
	Sum   [16]byte // the sum modulo 2^128 of the entries' hashes, big endian
	Count uint64
}

// Entry is a key with its version, as a receiver of state lists what it holds.
type Entry struct {
	Key     Key
	Version string
}

// Mark is how far the events of one source are done with.
type Mark struct {
	Source string
	ID     uint64
}
