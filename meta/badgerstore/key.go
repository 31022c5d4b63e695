package badgerstore

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// ErrKey is returned by Open when the given key is not the store's. The text says what to do.
// The store is unchanged.
var ErrKey = errors.New("wrong encryption key")

const (
	keyBytes = 32
	// nextSuffix is added to the key file's name for a key that is to replace
	// it. It is there only while RotateKey is at work, or after that was cut
	// off.
	nextSuffix = ".next"
)

// readKey reads the key file. mayMake says that there is no store yet, so a missing key is
// made.
func readKey(name string, mayMake bool) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayMake:
		return makeKey(name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("badgerstore: %w: key file %s is gone and the store cannot be read without it: put the key back, or remove the store's data folder to start with an empty store", ErrKey, name)
	case err != nil:
		return nil, fmt.Errorf("badgerstore: key file: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("badgerstore: key file %s can be read by others (mode %#o): chmod 600 it", name, info.Mode().Perm())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: key file: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("badgerstore: key file %s must hold %d hexadecimal digits", name, 2*keyBytes)
	}
	return key, nil
}

// ReadKey reads a key file: 64 hexadecimal digits, mode 0600.
func ReadKey(name string) ([]byte, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) || name == "" {
		return nil, fmt.Errorf("badgerstore: key file %q does not exist", name)
	}
	return readKey(name, false)
}

// makeKey writes a new key and syncs it before anything is encrypted with it.
func makeKey(name string) ([]byte, error) {
	key := make([]byte, keyBytes)
	rand.Read(key) // never fails
	if err := replaceFile(name, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return nil, fmt.Errorf("badgerstore: making key file %s: %w", name, err)
	}
	return key, nil
}

// fits reports whether a key opens the registry of data keys.
func fits(data string, key []byte) (bool, error) {
	if info, err := os.Stat(filepath.Join(data, badger.KeyRegistryFileName)); err == nil && info.Size() < registryHead {
		return false, errors.New("badgerstore: the registry of data keys is cut off")
	}
	_, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: data, ReadOnly: true, EncryptionKey: key})
	if errors.Is(err, badger.ErrEncryptionKeyMismatch) {
		return false, nil
	}
	return err == nil, err
}

// RotateKey gives the closed store of cfg a new key, which replaces the one in cfg.KeyFile. The
// store is locked during the rotation. If it is interrupted, the next Open finishes or undoes it.
// The data keys, with which the data is encrypted, stay and are only encrypted with the new key;
// badger makes another data key every ten days. If somebody may have copied the folder and the
// old key, back up the store and restore it with a new key: that replaces the data keys too.
func RotateKey(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if cfg.KeyFile == "" {
		return errors.New("badgerstore: Config.KeyFile is required to rotate the key")
	}
	lock, err := claim(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	data := filepath.Join(cfg.Dir, dataName)
	if !hasStore(data) {
		return fmt.Errorf("badgerstore: there is no store in %s", cfg.Dir)
	}
	key, err := settleKey(cfg, data)
	if err != nil {
		return err
	}
	if err := mayOpen(cfg, data, key); err != nil {
		return err
	}
	next, err := makeKey(cfg.KeyFile + nextSuffix)
	if err != nil {
		return err
	}
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: data, ReadOnly: true, EncryptionKey: key})
	if err == nil {
		err = badger.WriteKeyRegistry(registry, badger.KeyRegistryOptions{Dir: data, EncryptionKey: next})
	}
	if err == nil {
		err = adopt(cfg, data, next)
	}
	if err != nil {
		return fmt.Errorf("badgerstore: rotating the key of %s: %w", cfg.Dir, err)
	}
	return nil
}

// settleKey reads the key. Before that it finishes or undoes an interrupted rotation.
func settleKey(cfg Config, data string) ([]byte, error) {
	next := cfg.KeyFile + nextSuffix
	if _, err := os.Stat(next); cfg.KeyFile == "" || err != nil || !hasStore(data) {
		return readKey(cfg.KeyFile, !hasStore(data))
	}
	key, err := readKey(next, false)
	if err != nil {
		return nil, err
	}
	if ok, _ := fits(data, key); ok {
		cfg.Logger.Warn("finishing the rotation of the store's key", "file", cfg.KeyFile)
		return key, adopt(cfg, data, key)
	}
	key, err = readKey(cfg.KeyFile, false)
	if err != nil {
		return nil, err
	}
	if ok, _ := fits(data, key); ok {
		err = removeFile(next)
	}
	return key, err
}

// adopt finishes a rotation after the registry was written.
func adopt(cfg Config, data string, key []byte) error {
	f, ok := readFormat(data)
	if ok {
		f.key = fingerprint(key)
		if err := writeFormat(data, f); err != nil {
			return err
		}
	}
	if err := os.Rename(cfg.KeyFile+nextSuffix, cfg.KeyFile); err != nil {
		return err
	}
	return syncDir(filepath.Dir(cfg.KeyFile))
}

// mayOpen reports without badger whether this release may open a store with this key. It returns
// an error only for what is certain. If FORMAT says that the key is right and the registry says
// that it is wrong, then the registry is damaged. Without a FORMAT the registry decides. A damaged
// FORMAT proves damage, whatever the key is: setting the store aside keeps all of it.
func mayOpen(cfg Config, data string, key []byte) error {
	f, ok := readFormat(data)
	switch {
	case ok && f.schema > schema:
		return newer(cfg, f.schema)
	case ok && f.key == noKey && len(key) > 0, !ok && len(key) > 0 && isPlain(data):
		return fmt.Errorf("badgerstore: %w: store %s is not encrypted: open it without a key file, or back it up and restore it with one", ErrKey, cfg.Dir)
	case ok && f.key == fingerprint(key):
		return nil
	case !ok:
		if _, err := os.Stat(filepath.Join(data, formatName)); err == nil {
			return nil
		}
		right, err := fits(data, key)
		if right || err != nil { // badger reports an error itself
			return nil
		}
	}
	if len(key) == 0 {
		return fmt.Errorf("badgerstore: %w: store %s is encrypted: name its key file", ErrKey, cfg.Dir)
	}
	return fmt.Errorf("badgerstore: %w: the key in %s is not the one that store %s was made with", ErrKey, cfg.KeyFile, cfg.Dir)
}

// isPlain reports whether a store without a usable FORMAT is certainly not encrypted.
func isPlain(data string) bool {
	if _, err := os.Stat(filepath.Join(data, badger.KeyRegistryFileName)); err != nil {
		return false
	}
	plain, err := fits(data, nil)
	return plain && err == nil
}

// mendRegistry removes a data key that a crash cut off while it was added to the registry: badger
// cannot open such a registry, and nothing can have been encrypted with that key yet.
func mendRegistry(data string) error {
	name := filepath.Join(data, badger.KeyRegistryFileName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if end := registryEnd(b); end < len(b) {
		return os.Truncate(name, int64(end))
	}
	return nil
}

// registryHead is the length of the registry's head: a random initial vector, and a known text
// that shows whether a key is right.
const registryHead = 28

// registryEnd returns the length without a last record that is not whole: the
// head, then for each record its length and checksum, 4 bytes each, and the
// record.
func registryEnd(b []byte) int {
	at := registryHead
	for at < len(b) {
		if len(b)-at < 8 {
			return at
		}
		size := uint64(binary.BigEndian.Uint32(b[at:]))
		if size > uint64(len(b)-at-8) {
			return at
		}
		next := at + 8 + int(size)
		if next == len(b) && crc32.Checksum(b[at+8:next], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[at+4:]) {
			return at
		}
		if size == 0 && len(bytes.Trim(b[at:], "\x00")) == 0 {
			return at
		}
		at = next
	}
	return len(b)
}
