package nodereset

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/hub/join"
)

// isData reports whether a folder is a data folder of edgecore: it has a file that only edgecore
// makes. Names of folders prove nothing, since other programs have folders meta, api or pods too.
// The files are looked at in the order in which a reset removes them last.
func isData(dir string) bool {
	for _, name := range []string{join.File, join.PendingFile, join.RenewalFile} {
		if bytes.HasPrefix(head(filepath.Join(dir, nodejoin.IdentityDir, name)), []byte("-----BEGIN ")) {
			return true
		}
	}
	for _, pattern := range []string{"slots/boot", "slots/boot.prev", "slots/settings", "meta/data/FORMAT", "meta/damaged-*/FORMAT"} {
		files, _ := fs.Glob(os.DirFS(dir), pattern) // the pattern is good
		for _, file := range files {
			if bytes.HasPrefix(head(filepath.Join(dir, filepath.FromSlash(file))), []byte("edgekit ")) {
				return true
			}
		}
	}
	block, _ := pem.Decode(head(filepath.Join(dir, "api", "ca.pem")))
	if block == nil {
		return false
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	return err == nil && ca.Subject.CommonName == "edgekit node API"
}

// maxHead bounds what is read of a file, in bytes.
const maxHead = 4096

// head is the beginning of a regular file; empty if it cannot be read.
func head(name string) []byte {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() { // a pipe would wait
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxHead)) // what can be read says enough
	return text
}
