package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
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
	Backup    backupCmd    `cmd:"" help:"Write the content of the store to a file, which is not encrypted."`
	Restore   restoreCmd   `cmd:"" help:"Replace the store by a backup. The present store is kept beside it."`
	RotateKey rotateKeyCmd `cmd:"" name:"rotate-key" help:"Give the store a new key, which replaces the one in the key file."`
	Encrypt   encryptCmd   `cmd:"" help:"Encrypt a store that an older edgecore made without encryption. The disk needs room for two stores meanwhile."`
}

type backupCmd struct {
	storeFlags
	File string `arg:"" help:"The file to write."`
}

// Run writes the backup to a file that is only there when it is whole.
func (c *backupCmd) Run(ctx context.Context, cli *cli) (err error) {
	cfg := c.config(cli, c.currentKeyFile(cli))
	if _, err := os.Stat(cfg.Dir); err != nil {
		return &program.UsageError{Setting: "data-dir", Reason: fmt.Sprintf("there is no store: %v", err)}
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
	err = errors.Join(meta.Backup(ctx, v, f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.File)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	fmt.Printf("%s holds revision %d; it is not encrypted, keep it as safe as the node\n", c.File, v.Revision())
	return nil
}

type restoreCmd struct {
	storeFlags
	File string `arg:"" help:"The backup."`
}

// Run restores the backup.
func (c *restoreCmd) Run(ctx context.Context, cli *cli) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := badgerstore.Restore(ctx, c.config(cli, c.keyFile(cli)), f)
	if err != nil {
		return err
	}
	if before != "" {
		fmt.Printf("the old store is in %s; remove it when you do not need it\n", before)
	}
	fmt.Println("restored; when edgecore runs, the cloud sends what has changed since the backup")
	return nil
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
