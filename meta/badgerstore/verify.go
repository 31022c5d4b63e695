package badgerstore

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// verify checks the files before badger opens them, for damage that badger does not survive: it opens
// tables in its own goroutines and panics there; it compacts at once and drops what it cannot read;
// and without a manifest it removes all tables. verify returns the backlog of compaction.
func verify(data string, o badger.Options) (waiting backlog, err error) {
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: data, ReadOnly: true, EncryptionKey: o.EncryptionKey})
	if err != nil {
		return waiting, err
	}
	f, err := os.Open(filepath.Join(data, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return waiting, wantNoTables(data)
	}
	if err != nil {
		return waiting, err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, 0, o)
	if err != nil {
		return waiting, err
	}
	var buf []byte
	for id, t := range manifest.Tables {
		name := table.NewFilename(id, data)
		if buf, err = readInto(buf, name); err == nil {
			err = verifyTable(buf, id, t, registry)
		}
		if err != nil {
			return waiting, fmt.Errorf("%s: %w", name, err)
		}
		if t.Level == 0 {
			waiting.tables++
			waiting.bytes += len(buf)
		}
	}
	return waiting, nil
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

// verifyTable checks the index of a table and all its blocks.
func verifyTable(b []byte, id uint64, t badger.TableManifest, registry *badger.KeyRegistry) error {
	index, err := verifyIndex(b)
	if err != nil {
		return err
	}
	if t.KeyID != 0 {
		key, err := registry.DataKey(t.KeyID)
		if err != nil {
			return err
		}
		return verifySealed(b, index, key.Data)
	}
	opened, err := table.OpenInMemoryTable(b, id, &table.Options{ChkMode: options.OnBlockRead, Compression: t.Compression})
	if err != nil {
		return err
	}
	return opened.VerifyChecksum()
}

// verifySealed checks the blocks of an encrypted table, which badger cannot
// open without its caches. A block is, once decrypted, what its checksum is of,
// the checksum as protobuf, and the length of that.
func verifySealed(b, index, key []byte) error {
	sealed, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	plain, err := unseal(nil, index, sealed)
	if err != nil {
		return err
	}
	var block []byte // one for all
	blocks := fb.GetRootAsTableIndex(plain, 0)
	for i := range blocks.OffsetsLength() {
		var at fb.BlockOffset
		if !blocks.Offsets(&at, i) || uint64(at.Offset())+uint64(at.Len()) > uint64(len(b)) {
			return errTable
		}
		if block, err = unseal(block, b[at.Offset():at.Offset()+at.Len()], sealed); err != nil {
			return err
		}
		sum, content, err := cutLast(block)
		if err == nil {
			err = verifySum(content, sum)
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

// unseal decrypts data whose initial vector is at its end, into buf if that is large enough.
func unseal(buf, b []byte, block cipher.Block) ([]byte, error) {
	if len(b) < aes.BlockSize {
		return nil, errTable
	}
	at := len(b) - aes.BlockSize
	buf = slices.Grow(buf[:0], at)[:at]
	cipher.NewCTR(block, b[at:]).XORKeyStream(buf, b[:at])
	return buf, nil
}

var errTable = errors.New("table is cut off or overwritten")

// verifyIndex checks the end of a table: the index, its length, the checksum of the index as protobuf,
// its length; both lengths big-endian in 4 bytes. It returns the index.
func verifyIndex(b []byte) ([]byte, error) {
	sum, b, err := cutLast(b)
	if err != nil {
		return nil, err
	}
	index, _, err := cutLast(b)
	if err == nil && len(index) == 0 {
		err = errTable
	}
	if err == nil {
		err = verifySum(index, sum)
	}
	return index, err
}

// verifySum checks bytes against their checksum in protobuf.
func verifySum(b, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	if want.Sum == 0 {
		return errTable
	}
	return y.VerifyChecksum(b, &want)
}

// cutLast removes a piece and its length from the end of b.
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
