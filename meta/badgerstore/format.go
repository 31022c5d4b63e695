package badgerstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Two small files beside badger's.
//
// FORMAT is one line: the store's schema, and the key that it is encrypted with. It is read
// before badger opens anything, so that a store of a newer release stays unchanged, and a wrong
// key is not mistaken for damage.
//
// REVISION holds the newest durable revision and a checksum. It is written after each commit
// and not synced: it may lag behind the store and is never ahead. It is how Open notices that the
// newest commits are missing; badger's own files do not show that.
const (
	formatName   = "FORMAT"
	revisionName = "REVISION"
)

// format is the content of the FORMAT file.
type format struct {
	schema uint64
	key    string // fingerprint of the key, or noKey
}

const noKey = "none"

// fingerprint names a key without giving it away.
func fingerprint(key []byte) string {
	if len(key) == 0 {
		return noKey
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("edgekit store key"))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

func (f format) body() string { return fmt.Sprintf("edgekit store schema=%d key=%s", f.schema, f.key) }

func (f format) String() string {
	return fmt.Sprintf("%s sum=%08x\n", f.body(), crc32.ChecksumIEEE([]byte(f.body())))
}

// readFormat returns false for a file that is missing or damaged. Badger's files must then be
// examined instead.
func readFormat(data string) (f format, ok bool) {
	text, err := os.ReadFile(filepath.Join(data, formatName))
	if err != nil || len(text) > 200 {
		return f, false
	}
	var sum uint32
	if _, err := fmt.Sscanf(string(text), "edgekit store schema=%d key=%s sum=%x\n", &f.schema, &f.key, &sum); err != nil {
		return f, false
	}
	return f, sum == crc32.ChecksumIEEE([]byte(f.body()))
}

// writeFormat writes f into the file, unless it is there.
func writeFormat(data string, f format) error {
	if have, ok := readFormat(data); ok && have == f {
		return nil
	}
	return replaceFile(filepath.Join(data, formatName), []byte(f.String()))
}

// replaceFile replaces a file by one with this text and mode 0600. After a crash there is the
// old file or the new one, complete. It removes what an earlier one that was cut off has left.
func replaceFile(name string, text []byte) error {
	// A hidden name: "meta.key-2" may be somebody's copy of the key.
	dir, cutOff := filepath.Dir(name), "."+filepath.Base(name)+"-"
	files, _ := os.ReadDir(dir) // a file that stays does no harm
	for _, f := range files {
		if strings.HasPrefix(f.Name(), cutOff) && f.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, f.Name()))
		}
	}
	f, err := os.CreateTemp(dir, cutOff+"*") // makes it 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// mark is the REVISION file. A nil mark does nothing.
type mark struct{ f *os.File }

// openMark opens the file and returns the revision in it. If the file holds none, missing says
// whether it must have held one: FORMAT was written after the first revision was synced.
func openMark(data string) (m *mark, reached uint64, missing bool, err error) {
	f, err := os.OpenFile(filepath.Join(data, revisionName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, false, err
	}
	var b [12]byte
	if _, err := f.ReadAt(b[:], 0); err != nil || crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		_, missing = readFormat(data)
		return &mark{f}, 0, missing, nil
	}
	return &mark{f}, binary.BigEndian.Uint64(b[:8]), false, nil
}

// set notes a revision that is durable. A mark that cannot be written is
// behind, which is allowed.
func (m *mark) set(revision uint64) {
	b := binary.BigEndian.AppendUint64(nil, revision)
	_, _ = m.f.WriteAt(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)), 0)
}

func (m *mark) Close() error {
	if m == nil {
		return nil
	}
	return m.f.Close()
}

// removeFile removes a file that may be absent.
func removeFile(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
