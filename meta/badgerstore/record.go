package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// What is in badger, schema 1. The first byte of a key says what it is:
//
//	k KEY         8 bytes revision, uvarint pieces, the value if pieces is 0
//	p KEY 2 bytes one piece of the value of KEY
//	m revision    8 bytes, the newest revision
//	m schema      uvarint
//
// Numbers are big-endian.
const (
	schema      = 1
	recordByte  = 'k'
	pieceByte   = 'p'
	revisionKey = "mrevision"
	schemaKey   = "mschema"
)

var errForm = errors.New("badgerstore: a stored record has an unknown form")

func recordKey(key string) []byte { return append([]byte{recordByte}, key...) }

func pieceKey(key string, n int) []byte {
	return binary.BigEndian.AppendUint16(append([]byte{pieceByte}, key...), uint16(n))
}

// entry is one key and value as badger gets it; a nil value removes the key.
type entry struct{ key, value []byte }

func (e entry) size() int { return len(e.key) + len(e.value) + 32 } // 32: badger's estimate of its own overhead, and more

// encode makes the entries for one record, and gives the copy of the value
// that they hold. had is in how many pieces the key's value was before.
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

// head reads the front of a stored record.
func head(stored []byte) (revision uint64, pieces int, value []byte, err error) {
	if len(stored) < 9 {
		return 0, 0, nil, errForm
	}
	count, n := binary.Uvarint(stored[8:])
	if n <= 0 || count > meta.MaxValue/piece+1 {
		return 0, 0, nil, errForm
	}
	return binary.BigEndian.Uint64(stored), int(count), stored[8+n:], nil
}

// readRecord copies a record out of badger.
func readRecord(txn *badger.Txn, key string, item *badger.Item) (meta.Record, error) {
	r := meta.Record{Key: key}
	var pieces int
	err := item.Value(func(stored []byte) error {
		var value []byte
		var err error
		r.Revision, pieces, value, err = head(stored)
		r.Value = append([]byte{}, value...)
		return err
	})
	for n := 0; n < pieces && err == nil; n++ {
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
