package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// content identifies the records of a store: their number, and the sum of a hash of each, with
// overflow. It is stored with every revision and computed again by Open, so that a missing, an extra
// or an old record is noticed, whichever file was damaged or lost. badger's own checksums protect the
// content of a record.
type content struct{ count, sum uint64 }

// head is the head of a stored record. The zero head is that of an absent record.
type head struct {
	revision uint64
	pieces   int // of its value; 0 for one that is whole
}

// replace removes the old record of a key and adds the new one.
func (c content) replace(key string, was, is head) content {
	if was.revision != 0 {
		c.count, c.sum = c.count-1, c.sum-was.hash(key)
	}
	if is.revision != 0 {
		c.count, c.sum = c.count+1, c.sum+is.hash(key)
	}
	return c
}

// hash is FNV-1a, 64 bits, of the key, the revision and the number of pieces.
func (h head) hash(key string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	sum := uint64(offset)
	for i := range len(key) {
		sum = (sum ^ uint64(key[i])) * prime
	}
	var b [10]byte
	binary.BigEndian.PutUint64(b[:], h.revision)
	binary.BigEndian.PutUint16(b[8:], uint16(h.pieces))
	for _, x := range b {
		sum = (sum ^ uint64(x)) * prime
	}
	return sum
}

// errContent says that the store does not hold the records that were stored.
var errContent = errors.New("badgerstore: the records are not those that were stored")

// check compares the content of the store at a revision with the state that was stored with it.
func check(db *badger.DB, want state) error {
	have, err := countContent(db, want.revision)
	if err == nil && have != want.content {
		err = fmt.Errorf("%w: it holds %d, want %d", errContent, have.count, want.content.count)
	}
	return err
}

// countContent sums up all records, and fails if one has not all its pieces or
// a piece has no record.
func countContent(db *badger.DB, revision uint64) (content, error) {
	txn := db.NewTransactionAt(revision, false)
	defer txn.Discard()
	var c content
	pieces, missing := make(map[string]int), 0
	err := each(txn, recordByte, func(key, value []byte) error {
		h, _, err := parseHead(value)
		if err != nil {
			return err
		}
		c = c.replace(string(key), head{}, h)
		if h.pieces > 0 {
			pieces[string(key)] = h.pieces
			missing += h.pieces
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	err = each(txn, pieceByte, func(key, _ []byte) error {
		if len(key) < 3 {
			return errForm
		}
		of := string(key[:len(key)-2])
		if n := int(binary.BigEndian.Uint16(key[len(key)-2:])); n >= pieces[of] {
			return fmt.Errorf("%w: piece %d of %q belongs to nothing", errContent, n, of)
		}
		missing--
		return nil
	})
	if err == nil && missing != 0 {
		err = fmt.Errorf("%w: %d pieces of values are missing", errContent, missing)
	}
	return c, err
}

// each visits all records whose keys begin with a byte, without that byte.
func each(txn *badger.Txn, first byte, visit func(key, value []byte) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{first}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(func(value []byte) error { return visit(it.Item().Key()[1:], value) }); err != nil {
			return err
		}
	}
	return nil
}
