package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/sealed"
)

// storeFlags say where the store is and how it is encrypted.
type storeFlags struct {
	StoreKey string `help:"File with the key that the store is encrypted with, 64 hexadecimal digits, mode 0600. If it is missing, a new store makes it. Default: the systemd credential edgekit-store-key if there is one, else DATA-DIR/meta.key. Whoever has both the disk and the key can read everything: use a credential that a TPM seals to keep them apart." placeholder:"FILE"`
}

// config is the configuration for a command. A command does not repair a damaged store;
// edgecore does.
func (f storeFlags) config(cli *cli, keyFile string) badgerstore.Config {
	return badgerstore.Config{Dir: filepath.Join(cli.DataDir, storeDir), KeyFile: keyFile, OnDamage: badgerstore.Fail, Logger: component(cli.Log.Logger(os.Stderr), "store")}
}

// storeCmd works on the store of an agent that does not run.
type storeCmd struct {
	Backup    backupCmd    `cmd:"" aliases:"export" help:"Write the content of the store to a file, encrypted with the store's key or another."`
	Restore   restoreCmd   `cmd:"" aliases:"import" help:"Replace the store by a backup. The present store is kept beside it."`
	RotateKey rotateKeyCmd `cmd:"" name:"rotate-key" help:"Give the store a new key, which replaces the one in the key file."`
	Encrypt   encryptCmd   `cmd:"" help:"Encrypt a store that an older edgecore made without encryption. The disk needs room for two stores meanwhile."`
}

// backupKeyFlag names the key of a backup.
type backupKeyFlag struct {
	BackupKey string `help:"File with the key of the backup, 64 hexadecimal digits, mode 0600. Default: the store's own key, without which the backup cannot be read: keep a copy of it elsewhere." placeholder:"FILE"`
}

// key reads the key of the backup.
func (f backupKeyFlag) key(storeKey string) ([]byte, error) {
	name := cmp.Or(f.BackupKey, storeKey)
	key, err := badgerstore.ReadKey(name)
	if err != nil {
		return nil, &program.UsageError{Setting: "backup-key", Reason: err.Error() + ": give the key file of the backup"}
	}
	return key, nil
}

type backupCmd struct {
	storeFlags
	backupKeyFlag
	Plain bool   `help:"Do not encrypt the backup: whoever reads it has the secrets of the node's pods."`
	File  string `arg:"" help:"The file to write."`
}

// Run writes the backup to a file that is only there when it is whole.
func (c *backupCmd) Run(ctx context.Context, cli *cli) (err error) {
	cfg := c.config(cli, c.currentKeyFile(cli))
	if _, err := os.Stat(cfg.Dir); err != nil {
		return &program.UsageError{Setting: "data-dir", Reason: fmt.Sprintf("there is no store: %v", err)}
	}
	var key []byte
	if !c.Plain {
		if cfg.KeyFile == "" && c.BackupKey == "" {
			return &program.UsageError{Setting: "backup-key", Reason: "the store has no key, so name one for the backup; or give --plain, and keep the backup as safe as the node"}
		}
		if key, err = c.key(cfg.KeyFile); err != nil {
			return err
		}
	}
	s, openErr := badgerstore.Open(cfg)
	if openErr != nil {
		return keyError(openErr)
	}
	defer s.Close()
	v, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer v.Close()
	f, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+"-*") // 0600
	if err != nil {
		return err
	}
	err = errors.Join(writeBackup(ctx, v, f, key), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.File)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if c.Plain {
		fmt.Printf("%s holds revision %d; it is not encrypted, keep it as safe as the node\n", c.File, v.Revision())
		return nil
	}
	fmt.Printf("%s holds revision %d, encrypted with the key in %s\n", c.File, v.Revision(), cmp.Or(c.BackupKey, cfg.KeyFile))
	return nil
}

// writeBackup writes a backup, encrypted unless key is nil.
func writeBackup(ctx context.Context, v meta.Snapshot, to io.Writer, key []byte) error {
	if key == nil {
		return meta.Backup(ctx, v, to)
	}
	w, err := sealed.NewWriter(to, key)
	if err != nil {
		return err
	}
	return errors.Join(meta.Backup(ctx, v, w), w.Close())
}

type restoreCmd struct {
	storeFlags
	backupKeyFlag
	File string `arg:"" help:"The backup, encrypted or not."`
}

// Run restores the backup.
func (c *restoreCmd) Run(ctx context.Context, cli *cli) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	from, err := c.backup(f, c.keyFile(cli))
	if err != nil {
		return err
	}
	before, err := badgerstore.Restore(ctx, c.config(cli, c.keyFile(cli)), from)
	if errors.Is(err, sealed.ErrKey) {
		return &program.UsageError{Setting: "backup-key", Reason: err.Error()}
	}
	if err != nil {
		return err
	}
	if before != "" {
		fmt.Printf("the old store is in %s; remove it when you do not need it\n", before)
	}
	fmt.Println("restored; when edgecore runs, the cloud sends what has changed since the backup")
	return nil
}

// backup opens a backup, which is encrypted or not.
func (c *restoreCmd) backup(f *os.File, storeKey string) (io.Reader, error) {
	in := bufio.NewReader(f)
	if head, err := in.Peek(len(sealed.Head)); err != nil || string(head) != sealed.Head {
		return in, nil // the store finds out whether it is a backup
	}
	key, err := c.key(storeKey)
	if err != nil {
		return nil, err
	}
	return sealed.NewReader(in, key)
}

type rotateKeyCmd struct{ storeFlags }

// Run rotates the key.
func (c *rotateKeyCmd) Run(cli *cli) error {
	keyFile := c.currentKeyFile(cli)
	switch {
	case keyFile == "":
		return &program.UsageError{Setting: "store-key", Reason: "the store is not encrypted: run 'edgecore store encrypt'"}
	case c.StoreKey == "" && keyFile == credential():
		return &program.UsageError{Setting: "store-key", Reason: "the key is a systemd credential, which only systemd can replace: back up the store, put a new key into the credential, and restore"}
	}
	if err := badgerstore.RotateKey(c.config(cli, keyFile)); err != nil {
		return keyError(err)
	}
	fmt.Printf("%s holds the new key\n", keyFile)
	return nil
}

type encryptCmd struct{ storeFlags }

// Run encrypts the store.
func (c *encryptCmd) Run(ctx context.Context, cli *cli) error {
	keyFile := c.keyFile(cli)
	if err := badgerstore.Encrypt(ctx, c.config(cli, keyFile)); err != nil {
		return err
	}
	fmt.Printf("the store is encrypted with the key in %s; keep a copy of it elsewhere: without it the store cannot be read. The plain data may stay on the disk until its blocks are used again\n", keyFile)
	return nil
}
