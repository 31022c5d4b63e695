package main

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestStoreCommands backs up a plain store, restores it as one that is encrypted
// with a key of its own place, and gives that another key.
func TestStoreCommands(t *testing.T) {
	c := &cli{DataDir: t.TempDir()}
	file, keyFile := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "key")
	if err := (&backupCmd{Plain: true, File: file}).Run(t.Context(), c); err == nil {
		t.Error("a store that is not there was backed up")
	}
	s, err := badgerstore.Open(storeFlags{}.config(c, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := (&backupCmd{Plain: true, File: file}).Run(t.Context(), c); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("backup under a running agent: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := (&backupCmd{Plain: true, File: file}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup file: %v, %v", info, err)
	}
	sealed := storeFlags{StoreKey: keyFile}
	if err := (&restoreCmd{storeFlags: sealed, File: file}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&rotateKeyCmd{sealed}).Run(c); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(keyFile); err != nil || string(after) == string(before) {
		t.Errorf("the key has not changed, %v", err)
	}
	if s, err = badgerstore.Open(sealed.config(c, keyFile)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Get(t.Context(), "local/a"); err != nil || string(r.Value) != "1" {
		t.Errorf("after all that: %q, %v", r.Value, err)
	}
}

// agentStore opens the store as the agent does, with what the flags say, and gives
// what it logs.
func agentStore(t *testing.T, data string, flags storeFlags) (*node, string, error) {
	t.Helper()
	var log bytes.Buffer
	n, err := openNode(data, "", transportAuto, flags.currentKeyFile(&cli{DataDir: data}), slog.New(slog.NewTextHandler(&log, nil)))
	return n, log.String(), err
}

// put stores a secret and closes the store.
func put(t *testing.T, n *node, err error) {
	t.Helper()
	if err == nil {
		_, err = n.store.Apply(t.Context(), meta.Op{Key: "down/secrets/a/b", Value: []byte("hunter2 hunter2 hunter2")})
		err = errors.Join(err, n.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// onDisk reports whether the secret is in clear below the data folder.
func onDisk(t *testing.T, data string) (found bool) {
	t.Helper()
	if err := filepath.WalkDir(data, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		found = found || bytes.Contains(b, []byte("hunter2 hunter2"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestStoreIsEncrypted starts an agent on a new machine, with no flag.
func TestStoreIsEncrypted(t *testing.T) {
	data := joined(t, -30*time.Minute)
	n, log, err := agentStore(t, data, storeFlags{})
	put(t, n, err)
	key := filepath.Join(data, storeKeyFile)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
	if onDisk(t, data) || strings.Contains(log, "not encrypted") {
		t.Errorf("the secret is on the disk in clear, or the log says so: %s", log)
	}
	// The same again, and with the key lost: nothing is made anew.
	n, _, err = agentStore(t, data, storeFlags{})
	put(t, n, err)
	if err := os.Rename(key, key+".lost"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _, err = agentStore(t, data, storeFlags{})
		if !errors.Is(err, badgerstore.ErrKey) || !strings.Contains(err.Error(), "put the key back") || !strings.Contains(err.Error(), storeCredential) {
			t.Errorf("with the key lost: %v", err)
		}
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("another key was made")
	}
	// The key is elsewhere.
	n, _, err = agentStore(t, data, storeFlags{StoreKey: key + ".lost"})
	put(t, n, err)
	if err := (&rotateKeyCmd{storeFlags{StoreKey: key + ".lost"}}).Run(&cli{DataDir: data}); err != nil {
		t.Error(err)
	}
}

// TestStoreKeyCredential takes the key from systemd.
func TestStoreKeyCredential(t *testing.T) {
	data, credentials := joined(t, -30*time.Minute), t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if err := os.WriteFile(filepath.Join(credentials, storeCredential), []byte(strings.Repeat("5a", 32)), 0o400); err != nil {
		t.Fatal(err)
	}
	n, _, err := agentStore(t, data, storeFlags{})
	put(t, n, err)
	if _, err := os.Stat(filepath.Join(data, storeKeyFile)); err == nil || onDisk(t, data) {
		t.Error("the credential was not used")
	}
	if err := (&rotateKeyCmd{}).Run(&cli{DataDir: data}); err == nil || !strings.Contains(err.Error(), "systemd") {
		t.Errorf("rotating a credential: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, _, err := agentStore(t, data, storeFlags{}); !errors.Is(err, badgerstore.ErrKey) || !strings.Contains(err.Error(), storeCredential) {
		t.Errorf("without the credential: %v", err)
	}
}

// TestPlainStoreGoesOn has a store from before: it works as it is, the log says so
// once with the remedy, and the remedy works.
func TestPlainStoreGoesOn(t *testing.T) {
	data := joined(t, -30*time.Minute)
	c := &cli{DataDir: data}
	n, err := openNode(data, "", transportAuto, "", slog.New(slog.DiscardHandler))
	put(t, n, err)
	n, log, err := agentStore(t, data, storeFlags{})
	put(t, n, err)
	if strings.Count(log, "edgecore store encrypt") != 1 || !onDisk(t, data) {
		t.Errorf("the log is: %s", log)
	}
	if err := (&rotateKeyCmd{}).Run(c); err == nil || !strings.Contains(err.Error(), "store encrypt") {
		t.Errorf("rotating the key of a plain store: %v", err)
	}
	if err := (&encryptCmd{}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	n, log, err = agentStore(t, data, storeFlags{})
	if err != nil || strings.Contains(log, "not encrypted") || onDisk(t, data) {
		t.Fatalf("after that: %v, %s", err, log)
	}
	defer n.Close()
	if r, err := n.store.Get(t.Context(), "down/secrets/a/b"); err != nil || string(r.Value) != "hunter2 hunter2 hunter2" {
		t.Errorf("the store holds %q, %v", r.Value, err)
	}
}

// TestBackupIsEncrypted: a backup has no secret in clear unless that is asked for, and it is
// restored with its key alone.
func TestBackupIsEncrypted(t *testing.T) {
	data := joined(t, -30*time.Minute)
	n, _, err := agentStore(t, data, storeFlags{})
	put(t, n, err)
	c, dir := &cli{DataDir: data}, t.TempDir()
	ownKey := filepath.Join(dir, "own.key")
	if err := os.WriteFile(ownKey, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, cmd := range map[string]*backupCmd{
		"default": {File: file("default")}, "own": {backupKeyFlag: backupKeyFlag{ownKey}, File: file("own")}, "plain": {Plain: true, File: file("plain")},
	} {
		if err := cmd.Run(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, err := os.ReadFile(cmd.File)
		if err != nil || bytes.Contains(text, []byte("hunter2")) != (name == "plain") {
			t.Errorf("%s: secrets in clear: %t, %v", name, bytes.Contains(text, []byte("hunter2")), err)
		}
	}
	storeKey := filepath.Join(data, storeKeyFile)
	for _, tt := range []struct {
		file, key string
		fails     string
	}{
		{"default", storeKey, ""}, {"own", ownKey, ""}, {"plain", "", ""},
		{"default", "", "give the key file of the backup"}, {"default", ownKey, "the key is not that of the stream"}, {"own", "", "give the key file of the backup"},
	} {
		other := &cli{DataDir: t.TempDir()} // a machine that replaces this one
		err := (&restoreCmd{backupKeyFlag: backupKeyFlag{tt.key}, File: file(tt.file)}).Run(t.Context(), other)
		if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s with key %q: %v", tt.file, tt.key, err)
			continue
		}
		if err != nil {
			continue
		}
		s, err := badgerstore.Open(storeFlags{}.config(other, (storeFlags{}).keyFile(other)))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(t.Context(), "down/secrets/a/b"); err != nil || !strings.Contains(string(r.Value), "hunter2") {
			t.Errorf("%s: %q, %v", tt.file, r.Value, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if onDisk(t, other.DataDir) {
			t.Errorf("%s: the restored store is in clear", tt.file)
		}
	}
	for name, bad := range map[string]func() error{
		"cut off": func() error { return os.Truncate(file("own"), 60) },
		"open to others": func() error {
			return os.Chmod(ownKey, 0o644) //nolint:gosec // that is what is refused
		},
	} {
		if err := bad(); err != nil {
			t.Fatal(err)
		}
		if err := (&restoreCmd{backupKeyFlag: backupKeyFlag{ownKey}, File: file("own")}).Run(t.Context(), &cli{DataDir: t.TempDir()}); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}
