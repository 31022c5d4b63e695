package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// What is in badger. The first byte of a key says what it is:
//
//	k KEY         8 bytes revision, uvarint pieces, the value if pieces is 0
//	p KEY 2 bytes one piece of the value of KEY
//	m revision    the newest state: 8 bytes each for revision, number of
//	              records, and the sum of their hashes
//	m schema      uvarint
//
// Numbers are big-endian.
const (
	recordByte = 'k'
	pieceByte  = 'p'
	stateKey   = "mrevision"
	schemaKey  = "mschema"
)

var errForm = errors.New("badgerstore: a stored record has an unknown form")

func recordKey(key string) []byte { return append([]byte{recordByte}, key...) }

func pieceKey(key string, n int) []byte {
	return binary.BigEndian.AppendUint16(append([]byte{pieceByte}, key...), uint16(n))
}

// entry is one key and value as badger gets it; a nil value removes the key.
type entry struct{ key, value []byte }

func (e entry) size() int { return len(e.key) + len(e.value) + 32 } // 32: badger's estimate of its own overhead, and more

// encode makes the entries for one record, and returns the copy of the value that they hold. had
// is the number of pieces of the key's value before.
func encode(key string, value []byte, revision uint64, had int) (entries []entry, copied []byte, pieces int) {
	if len(value) > piece {
		pieces = (len(value) + piece - 1) / piece
	}
	head := make([]byte, 0, 9+len(value))
	head = binary.BigEndian.AppendUint64(head, revision)
	head = binary.AppendUvarint(head, uint64(pieces))
	whole := append(head, value...)
	copied = whole[len(head):]
	if pieces == 0 {
		entries = []entry{{recordKey(key), whole}}
	} else {
		entries = []entry{{recordKey(key), whole[:len(head):len(head)]}}
		for n := range pieces {
			entries = append(entries, entry{pieceKey(key, n), copied[n*piece : min((n+1)*piece, len(copied))]})
		}
	}
	return append(entries, drop(key, pieces, had)...), copied, pieces
}

// drop removes the pieces from up to, not including, to.
func drop(key string, from, to int) []entry {
	var entries []entry
	for n := from; n < to; n++ {
		entries = append(entries, entry{key: pieceKey(key, n)})
	}
	return entries
}

// parseHead reads the front of a stored record.
func parseHead(stored []byte) (h head, value []byte, err error) {
	if len(stored) < 9 {
		return head{}, nil, errForm
	}
	count, n := binary.Uvarint(stored[8:])
	if n <= 0 || count > meta.MaxValue/piece+1 {
		return head{}, nil, errForm
	}
	return head{binary.BigEndian.Uint64(stored), int(count)}, stored[8+n:], nil
}

// readHead reads the head of a record; the zero head if there is no record.
func readHead(txn *badger.Txn, key string) (h head, err error) {
	item, err := txn.Get(recordKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return head{}, nil
	}
	if err == nil {
		err = item.Value(func(stored []byte) (err error) {
			h, _, err = parseHead(stored)
			return err
		})
	}
	if err != nil {
		return head{}, fmt.Errorf("badgerstore: reading %q: %w", key, err)
	}
	return h, nil
}

// readRecord copies a record out of badger.
func readRecord(txn *badger.Txn, key string, item *badger.Item) (meta.Record, error) {
	r := meta.Record{Key: key}
	var h head
	err := item.Value(func(stored []byte) error {
		var value []byte
		var err error
		h, value, err = parseHead(stored)
		r.Revision, r.Value = h.revision, append([]byte{}, value...)
		return err
	})
	for n := 0; n < h.pieces && err == nil; n++ {
		var part *badger.Item
		if part, err = txn.Get(pieceKey(key, n)); err == nil {
			err = part.Value(func(b []byte) error {
				r.Value = append(r.Value, b...)
				return nil
			})
		}
	}
	if err != nil {
		return meta.Record{}, fmt.Errorf("badgerstore: reading %q: %w", key, err)
	}
	return r, nil
}
