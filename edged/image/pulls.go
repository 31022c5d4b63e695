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
	"time"

	"github.com/edgekit/edgekit/edged/internal/durable"
)

// Bounds of a record of pulls.
const (
	maxRecord = 256 << 10 // bytes of its file
	maxKeys   = 256       // credentials of one image; the oldest is forgotten
)

// imagePrefix begins the names of the files of images; those of references are
// hashes alone.
const imagePrefix = "image-"

// Pulls remembers, over restarts, which images were pulled to the node, and with
// which credentials: a pod that has one of them could pull the image, so that it may
// have what is on the node. The credentials themselves are not kept, only salted
// hashes.
//
// Begin comes before a pull, and Note or Fail after it. Begin is durable before the
// runtime is asked: after a power cut in the middle of a pull the image is not taken
// for one that somebody else brought to the node.
//
// Prune removes what is known of images that are gone from the node.
//
// A Pulls may be used by several goroutines.
type Pulls struct {
	dir string

	mu      sync.Mutex     // one writer at a time
	pulling map[string]int // pulls between Begin and Note or Fail, by reference
	// missing is since when the image of a file has been missing in what the
	// runtime lists; see Prune.
	missing map[string]time.Time
}

// NewPulls makes a Pulls whose records are files in dir, an absolute path. It
// does no I/O.
func NewPulls(dir string) *Pulls {
	return &Pulls{dir: dir, pulling: make(map[string]int), missing: make(map[string]time.Time)}
}

// record is the file of one reference. It is about one image: another one under
// the same name begins a new record.
type record struct {
	Ref       string   `json:"ref"`
	Image     string   `json:"image"` // the runtime's id
	Salt      string   `json:"salt"`
	Anonymous bool     `json:"anonymous"` // pulled with no credentials: anyone may have it
	Keys      []string `json:"keys,omitempty"`
	Sources   []Source `json:"sources,omitempty"` // the objects that the credentials came from
	Pulling   bool     `json:"pulling,omitempty"` // a pull has begun, and its end is not known
}

// pulledImage is the file of an image that was pulled, by whatever reference.
type pulledImage struct {
	Image     string `json:"image"`
	Anonymous bool   `json:"anonymous,omitempty"` // a registry gave it without credentials: it is for everybody
}

// Begin records that ref is about to be pulled. It returns when that is durable.
func (p *Pulls) Begin(ref Ref) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.read(ref)
	if err != nil {
		r = record{}
	}
	if !r.Pulling {
		r.Ref, r.Pulling = ref.String(), true
		if err := p.write(p.file(ref), r); err != nil {
			return err
		}
	}
	p.pulling[ref.String()]++
	return nil
}

// Fail records that a pull that has begun brought nothing.
func (p *Pulls) Fail(ref Ref) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(ref)
	r, err := p.read(ref)
	if err != nil || !r.Pulling || p.pulling[ref.String()] > 0 {
		return err
	}
	r.Pulling = false
	return p.write(p.file(ref), r)
}

func (p *Pulls) endLocked(ref Ref) {
	if p.pulling[ref.String()]--; p.pulling[ref.String()] <= 0 {
		delete(p.pulling, ref.String())
	}
}

// Note records that ref was pulled as the image with this id, with key, or with
// no credentials if key is nil. An image that was pulled with a key of the node is for every
// pod that names ref. Note returns when that is durable.
func (p *Pulls) Note(ref Ref, id string, key *Credential) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(ref)
	delete(p.missing, p.file(ref))
	delete(p.missing, p.imageFile(id))
	// The image first: what is not known to have been pulled is for everybody.
	if !p.hasImage(id) || key == nil && !p.isPublic(id) {
		if err := p.write(p.imageFile(id), pulledImage{Image: id, Anonymous: key == nil}); err != nil {
			return err
		}
	}
	r, err := p.read(ref)
	if err != nil || r.Image != id || r.Salt == "" {
		r = record{Ref: ref.String(), Image: id, Salt: rand.Text(), Pulling: r.Pulling}
	}
	changed := r.Pulling
	r.Pulling = false
	switch {
	case key == nil || key.Source.Kind == KindNode:
		changed = changed || !r.Anonymous
		r.Anonymous = true
	default:
		changed = r.add(*key) || changed
	}
	if !changed {
		return nil
	}
	return p.write(p.file(ref), r)
}

// Pulled reports whether the image with this id, which ref names, came to the node
// by a pull, by whatever reference. One that did not was brought by whoever made the
// node. What cannot be read counts as pulled.
func (p *Pulls) Pulled(ref Ref, id string) bool {
	r, err := p.read(ref)
	return err != nil || r.Image == id || r.Pulling || p.hasImage(id)
}

// hasImage reports whether there is a file of the image; one that is damaged is one.
func (p *Pulls) hasImage(id string) bool {
	_, err := os.Lstat(p.imageFile(id))
	return !errors.Is(err, fs.ErrNotExist)
}

// isPublic reports whether a registry once gave the image without credentials,
// under whatever name.
func (p *Pulls) isPublic(id string) bool {
	var image pulledImage
	text, err := readFile(p.imageFile(id))
	return err == nil && json.Unmarshal(text, &image) == nil && image.Image == id && image.Anonymous
}

// Could reports whether ref was once pulled as the image with this id with one of the
// keys, with another key of the same object, or with a key of the node, or the image by
// anyone. What cannot be read was not.
func (p *Pulls) Could(ref Ref, id string, keys []Credential) bool {
	if p.isPublic(id) {
		return true
	}
	r, err := p.read(ref)
	if err != nil || r.Image != id || r.Salt == "" {
		return false
	}
	return r.Anonymous || slices.ContainsFunc(keys, r.has)
}

// add notes a key and the object that it came from, and reports whether that is new.
func (r *record) add(k Credential) (changed bool) {
	if hash := r.hash(k); !slices.Contains(r.Keys, hash) && k.Source.Kind != KindServiceAccount {
		r.Keys = append(r.Keys, hash)
		r.Keys = r.Keys[max(len(r.Keys)-maxKeys, 0):]
		changed = true
	}
	if k.Source != (Source{}) && !slices.Contains(r.Sources, k.Source) {
		r.Sources = append(r.Sources, k.Source)
		r.Sources = r.Sources[max(len(r.Sources)-maxKeys, 0):]
		changed = true
	}
	return changed
}

// has reports whether a key is known, or another key of the same object: an object whose
// credentials are renewed keeps its images. A service account is known by itself only,
// since its credentials are new each time.
func (r record) has(k Credential) bool {
	if k.Source != (Source{}) && slices.Contains(r.Sources, k.Source) {
		return true
	}
	return k.Source.Kind != KindServiceAccount && slices.Contains(r.Keys, r.hash(k))
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

func (p *Pulls) imageFile(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(p.dir, imagePrefix+hex.EncodeToString(sum[:])+".json")
}

// read reads a record; one that is not there is empty.
func (p *Pulls) read(ref Ref) (record, error) {
	text, err := readFile(p.file(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("image: %w", err)
	}
	r, err := parseRecord(text)
	if err != nil || r.Ref != ref.String() {
		return record{}, fmt.Errorf("image: %s is no record of pulls of %s: %w", p.file(ref), ref, err)
	}
	return r, nil
}

// readFile reads the beginning of a file, one byte more than a record may have.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRecord+1))
}

func parseRecord(text []byte) (record, error) {
	if len(text) > maxRecord {
		return record{}, fmt.Errorf("longer than %d bytes", maxRecord)
	}
	var r record
	err := json.Unmarshal(text, &r)
	return r, err
}

// write replaces a file, so that a crash leaves the old or the new one.
func (p *Pulls) write(name string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := durable.WriteFile(name, text); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// sync makes what was renamed or removed durable.
func (p *Pulls) sync() error {
	if err := durable.SyncDir(p.dir); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}
