// Package sealed encrypts a stream with a key, so that it can be kept where others can read
// it: a backup of a node's store, for example.
//
//	w, err := sealed.NewWriter(file, key)
//	...
//	err = meta.Backup(ctx, snapshot, w)
//	...
//	err = w.Close() // without it the stream is not whole
//
//	r, err := sealed.NewReader(file, key)
//	...
//	before, err := badgerstore.Restore(ctx, cfg, r)
//
// # Form
//
// The line "edgekit sealed 1", then 32 random bytes. With these and the key, HKDF with SHA-256
// gives a key for AES-256-GCM. Then pieces of 64 KiB, each encrypted and 16 bytes longer, the
// last one shorter or empty. The nonce of a piece is its number in 11 bytes, and 1 for the last,
// 0 for all others: pieces cannot be left out, moved, repeated or cut off unnoticed.
//
// # Bounds
//
// A Reader and a Writer each hold one piece. Neither may be used by several goroutines at once.
package sealed
