package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// place is how far a file was read. It is what a follower remembers.
type place struct {
	Generation uint64 `json:"generation"`
	Offset     int64  `json:"offset"`
	Head       string `json:"head,omitempty"` // hash of the first HeadSize bytes
	HeadSize   int64  `json:"headSize,omitempty"`
}

// load reads the place of an earlier run.
func (f *follower) load() bool {
	if f.state == "" {
		return false
	}
	b, err := os.ReadFile(f.state)
	if err != nil {
		return false
	}
	var p place
	if len(b) > 4096 || json.Unmarshal(b, &p) != nil || p.Offset < 0 || p.HeadSize < 0 || p.HeadSize > headSize {
		f.log.Warn("the place in a file was damaged: the file is read from its beginning", "file", f.path)
		return true
	}
	f.at, f.saved, f.safe = p, p, p
	return true
}

// resume opens the file of the place, under its name or one that it was rotated to.
func (f *follower) resume() {
	if f.at.HeadSize == 0 {
		if f.at.Offset > 0 { // what file it was is not known: its lines' ids must not be given again
			f.at = place{Generation: f.at.Generation + 1}
		}
		return
	}
	for _, name := range append([]string{f.path}, f.siblings()...) {
		file, err := f.openRegular(name)
		if err != nil {
			continue
		}
		info, err := file.Stat()
		if err == nil && info.Size() >= f.at.Offset && fingerprint(file, f.at.HeadSize) == f.at.Head {
			if _, err = file.Seek(f.at.Offset, io.SeekStart); err == nil {
				f.use(file)
				return
			}
		}
		file.Close()
	}
	f.log.Warn("the file that was read is gone: lines may be lost", "file", f.path)
	f.at = place{Generation: f.at.Generation + 1}
}

// fingerprint hashes the first n bytes.
func fingerprint(file *os.File, n int64) string {
	b := make([]byte, n)
	if _, err := file.ReadAt(b, 0); err != nil && n > 0 {
		return ""
	}
	return hash(b)
}

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// save stores the safe place, from time to time or now.
func (f *follower) save(now bool) {
	if f.state == "" {
		return
	}
	f.mu.Lock()
	p, due := f.safe, now || f.clock.Now().Sub(f.last) >= saveEvery
	f.mu.Unlock()
	if !due {
		return
	}
	p.HeadSize = min(p.Offset, headSize)
	if old, ok := f.heads[p.Generation]; ok && int64(len(old)) >= p.HeadSize {
		p.Head = hash(old[:p.HeadSize])
	} else if f.file != nil && p.Generation == f.at.Generation {
		p.Head = fingerprint(f.file, p.HeadSize)
	}
	if p.Head == "" {
		p.HeadSize = 0
	}
	if p == f.saved {
		return
	}
	if err := saveFile(f.state, p); err != nil {
		f.log.Warn("the place in a file cannot be stored: lines may be sent again", "file", f.path, "err", err)
		return
	}
	f.saved, f.last = p, f.clock.Now()
	for g := range f.heads {
		if g < p.Generation {
			delete(f.heads, g)
		}
	}
}

// saveFile replaces a file by the JSON of v.
func saveFile(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".place-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // nothing of it is needed
	}
	return err
}
