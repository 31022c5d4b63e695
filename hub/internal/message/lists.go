package message

// Digest sums up a set of keys with their versions in 128 bits, whatever their order, so
// that one small frame shows whether two sides hold the same.
type Digest struct {
	Sum   [16]byte // the sum modulo 2^128 of the entries' hashes, big endian
	Count uint64
}

// Entry is a key with its version, as a receiver of state lists what it holds.
type Entry struct {
	Key     Key
	Version string
}

// Mark says that all events of a source up to ID were applied or refused for good.
type Mark struct {
	Source string
	ID     uint64
}
