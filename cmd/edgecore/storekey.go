package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/meta/badgerstore"
)

const (
	// storeKeyFile is the store's key in the data folder, beside the store.
	storeKeyFile = "meta.key"
	// storeCredential is the name of a systemd credential (LoadCredential=,
	// LoadCredentialEncrypted=) that holds the store's key.
	storeCredential = "edgekit-store-key"
)

// keyFile is the file of the key for a new store: the one that was named, else the
// systemd credential if there is one, else a file beside the store.
func (f storeFlags) keyFile(cli *cli) string {
	if f.StoreKey != "" {
		return f.StoreKey
	}
	if name := credential(); name != "" {
		return name
	}
	return filepath.Join(cli.DataDir, storeKeyFile)
}

// credential is the path of the systemd credential, empty if there is none.
func credential() string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	name := filepath.Join(dir, storeCredential)
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

// currentKeyFile is the file with the store's key: none for a store of a release that did
// not encrypt stores, unless a flag names a key.
func (f storeFlags) currentKeyFile(cli *cli) string {
	if f.StoreKey == "" && badgerstore.Plain(filepath.Join(cli.DataDir, storeDir)) {
		return ""
	}
	return f.keyFile(cli)
}

// warnIfPlain logs once that the store is not encrypted, and what to do.
func warnIfPlain(dataDir string, log *slog.Logger) {
	if dir := filepath.Join(dataDir, storeDir); badgerstore.Plain(dir) {
		log.Warn("the store is not encrypted, so the disk holds the secrets of the node's pods in plain text: stop edgecore, run 'edgecore store encrypt', and start it again", "dir", dir)
	}
}

// keyError adds to a wrong or lost key where else it may be.
func keyError(err error) error {
	if errors.Is(err, badgerstore.ErrKey) {
		return fmt.Errorf("%w; give a key that is not in the data folder with --store-key or as the systemd credential %s", err, storeCredential)
	}
	return err
}
