package image

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Bounds of a record of pulls.
const (
	maxRecord = 64 << 10 // bytes of its file
	maxKeys   = 256      // credentials of one image; the oldest is forgotten
)

// Pulls remembers, over restarts, which credentials an image was pulled with: a
// pod that has one of them could pull it, so that it may have what is on the
// node. The credentials themselves are not kept, only salted hashes.
//
// A Pulls may be used by several goroutines.
type Pulls struct {
	dir string
	mu  sync.Mutex // one writer at a time
}

// NewPulls makes a Pulls whose records are files in dir, an absolute path. It
// does no I/O.
func NewPulls(dir string) *Pulls { return &Pulls{dir: dir} }

// record is the file of one reference. It is about one image: another one under
// the same name begins a new record.
type record struct {
	Ref       string   `json:"ref"`
	Image     string   `json:"image"` // the runtime's id
	Salt      string   `json:"salt"`
	Anonymous bool     `json:"anonymous"` // pulled with no credentials: anyone may have it
	Keys      []string `json:"keys,omitempty"`
}

// Note records that ref was pulled as the image with this id, with key, or with
// no credentials if key is nil. It returns when that is durable.
func (p *Pulls) Note(ref Ref, id string, key *Credential) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.read(ref)
	if err != nil || r.Image != id || r.Salt == "" {
		r = record{Ref: ref.String(), Image: id, Salt: rand.Text()}
	}
	switch {
	case key == nil && r.Anonymous:
		return nil
	case key == nil:
		r.Anonymous = true
	default:
		hash := r.hash(*key)
		if slices.Contains(r.Keys, hash) {
			return nil
		}
		r.Keys = append(r.Keys, hash)
		r.Keys = r.Keys[max(len(r.Keys)-maxKeys, 0):]
	}
	return p.write(ref, r)
}

// Could reports whether ref was once pulled as the image with this id with one
// of the keys, or by anyone. What cannot be read was not.
func (p *Pulls) Could(ref Ref, id string, keys []Credential) bool {
	r, err := p.read(ref)
	if err != nil || r.Image != id || r.Salt == "" {
		return false
	}
	return r.Anonymous || slices.ContainsFunc(keys, func(k Credential) bool { return slices.Contains(r.Keys, r.hash(k)) })
}

// hash is what is kept of a credential. The server is left out: a secret may
// name it in several ways.
func (r record) hash(k Credential) string {
	h := sha256.New()
	for _, part := range []string{r.Salt, k.Username, k.Password, k.IdentityToken, k.RegistryToken} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (p *Pulls) file(ref Ref) string {
	sum := sha256.Sum256([]byte(ref.String()))
	return filepath.Join(p.dir, hex.EncodeToString(sum[:])+".json")
}

// read reads a record; one that is not there is empty.
func (p *Pulls) read(ref Ref) (record, error) {
	f, err := os.Open(p.file(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("image: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return record{}, fmt.Errorf("image: %w", err)
	}
	r, err := parseRecord(text)
	if err != nil || r.Ref != ref.String() {
		return record{}, fmt.Errorf("image: %s is no record of pulls of %s: %w", f.Name(), ref, err)
	}
	return r, nil
}

func parseRecord(text []byte) (record, error) {
	if len(text) > maxRecord {
		return record{}, fmt.Errorf("longer than %d bytes", maxRecord)
	}
	var r record
	err := json.Unmarshal(text, &r)
	return r, err
}

// write replaces a record, so that a crash leaves the old or the new one.
func (p *Pulls) write(ref Ref, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	temp := p.file(ref) + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.Rename(temp, p.file(ref)); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}
