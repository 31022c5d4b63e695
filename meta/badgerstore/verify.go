package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// verify looks at the files before badger does, for what badger does not
// survive: it opens tables in goroutines of its own, and panics there if the
// index of one is damaged; it compacts as soon as it is open, and drops what
// it cannot read; and without a manifest it removes all tables.
func verify(data string, o badger.Options) error {
	if _, err := os.Stat(filepath.Join(data, badger.KeyRegistryFileName)); err == nil {
		// A wrong key is found here, before badger has started goroutines that
		// it would not end.
		if _, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: data, ReadOnly: true, EncryptionKey: o.EncryptionKey}); err != nil {
			return err
		}
	}
	f, err := os.Open(filepath.Join(data, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return wantNoTables(data)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, 0, o)
	if err != nil {
		return err
	}
	var buf []byte
	for id, t := range manifest.Tables {
		name := table.NewFilename(id, data)
		if buf, err = readInto(buf, name); err == nil {
			err = verifyTable(buf, id, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func wantNoTables(data string) error {
	tables, err := filepath.Glob(filepath.Join(data, "*.sst"))
	if err == nil && len(tables) > 0 {
		err = fmt.Errorf("%s is gone, the tables are there", badger.ManifestFilename)
	}
	return err
}

// readInto reads a file into buf, or a larger one, so that one buffer serves
// all tables.
func readInto(buf []byte, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return buf, err
	}
	if int64(cap(buf)) < info.Size() {
		buf = make([]byte, info.Size())
	}
	buf = buf[:info.Size()]
	_, err = io.ReadFull(f, buf)
	return buf, err
}

// verifyTable checks the index of a table, and its blocks if they are not
// encrypted: badger checks those only in a store that is open.
func verifyTable(b []byte, id uint64, t badger.TableManifest) error {
	if err := verifyIndex(b); err != nil {
		return err
	}
	if t.KeyID != 0 {
		return nil
	}
	opened, err := table.OpenInMemoryTable(b, id, &table.Options{ChkMode: options.OnBlockRead, Compression: t.Compression})
	if err != nil {
		return err
	}
	return opened.VerifyChecksum()
}

var errTable = errors.New("table is cut off or overwritten")

// verifyIndex checks a table's end: the index, its length, the checksum of the
// index as protobuf, its length; both lengths big-endian, 4 bytes.
func verifyIndex(b []byte) error {
	sum, b, err := cutLast(b)
	if err != nil {
		return err
	}
	index, _, err := cutLast(b)
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	if len(index) == 0 || want.Sum == 0 {
		return errTable
	}
	return y.VerifyChecksum(index, &want)
}

// cutLast cuts a piece and its length off the end of b.
func cutLast(b []byte) (last, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errTable
	}
	n := binary.BigEndian.Uint32(b[len(b)-4:])
	b = b[:len(b)-4]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, errTable
	}
	return b[len(b)-int(n):], b[:len(b)-int(n)], nil
}

// sweep removes logs without a byte in them: a crash while badger made or
// removed one leaves it, and badger then refuses to open. Nothing can have
// been acknowledged in them.
func sweep(data string) error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		names, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if info, err := os.Stat(name); err != nil || info.Size() > 0 {
				continue
			}
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
