// Package journal has the broker's durable records: what the bytes of a session, its
// cursor, a message and a retained message look like in a store.
//
// A record begins with a byte for its version. Numbers are varints, texts have their
// length before them. A decoder allocates no more than a small multiple of its input.
package journal
