package badgerstore

import (
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// schema is the version of the stored form. Open upgrades an older store in one transaction with its
// next revision, and refuses a newer one.
//
//	1  the first
//	2  the state holds the sum of the content; the files FORMAT and REVISION
const schema = 2

// Format is the version of the stored form that Open brings a store to. It reads 1 to Format.
const Format = schema

// state describes the store at a revision. The last transaction of the revision stores it.
type state struct {
	revision uint64
	content  content
}

func (s state) entry() entry {
	b := binary.BigEndian.AppendUint64(nil, s.revision)
	b = binary.BigEndian.AppendUint64(b, s.content.count)
	return entry{[]byte(stateKey), binary.BigEndian.AppendUint64(b, s.content.sum)}
}

func schemaEntry() entry { return entry{[]byte(schemaKey), binary.AppendUvarint(nil, schema)} }

func newer(cfg Config, have uint64) error {
	return &meta.NewerError{Path: cfg.Dir, Schema: have, KnownSchema: schema}
}

// readState reads the schema and the newest state. Of a schema that is not
// known it reads no more.
func readState(db *badger.DB) (have uint64, s state, err error) {
	err = db.View(func(txn *badger.Txn) error {
		if err := value(txn, schemaKey, func(b []byte) error {
			var n int
			if have, n = binary.Uvarint(b); n <= 0 || have == 0 {
				return errForm
			}
			return nil
		}); err != nil || have > schema {
			return err
		}
		return value(txn, stateKey, func(b []byte) error {
			switch {
			case have == 1 && len(b) == 8:
			case have > 1 && len(b) == 24:
				s.content = content{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
			default:
				return errForm
			}
			s.revision = binary.BigEndian.Uint64(b)
			return nil
		})
	})
	return have, s, err
}

func value(txn *badger.Txn, key string, read func([]byte) error) error {
	item, err := txn.Get([]byte(key))
	if err == nil {
		err = item.Value(read)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", key[1:], err)
	}
	return nil
}

// upgrade returns the entries that make a store of an older schema one of this,
// and brings its state in order. Each step knows the schema before it only.
func upgrade(db *badger.DB, from uint64, s *state) (changes []entry, err error) {
	if from == schema {
		return nil, nil
	}
	if from < 2 {
		if s.content, err = countContent(db, s.revision); err != nil {
			return nil, err
		}
	}
	return []entry{schemaEntry()}, nil
}
