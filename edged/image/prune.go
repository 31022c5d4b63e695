package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// pruneAfter is how long an image is missing in what the runtime lists before
	// its records go. A runtime that has just started may list less than it has, and
	// an image without a record is taken for one that somebody brought.
	pruneAfter = time.Hour
	// pullingAfter is the same for a pull whose end is not known: the runtime may
	// still be at it.
	pullingAfter = 24 * time.Hour
	// maxReferences is how many records of references are kept; the oldest go first.
	maxReferences = 1000
)

// Present is an image that the runtime has.
type Present struct {
	ID    string
	Names []string // tags and digests, as the runtime names them
}

// Prune removes the records of images that are gone from the node. It is given all
// that the runtime has, each time that is listed, and removes what has been missing
// for an hour. Of more than a thousand references the oldest are forgotten at once:
// who names one has to pull it again, and nobody gets an image by that. An empty
// list changes nothing: a runtime that is starting gives one. Prune reports how
// many files it removed; that is durable when it returns.
func (p *Pulls) Prune(present []Present) (removed int, err error) {
	if len(present) == 0 {
		return 0, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("image: %w", err)
	}
	files := make(map[string]bool, len(entries))
	for _, e := range entries {
		files[filepath.Join(p.dir, e.Name())] = true
	}
	gone := p.goneLocked(files, present)
	for _, name := range gone {
		delete(files, name)
	}
	gone = append(gone, p.oldestLocked(files)...)
	for _, name := range gone {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("image: %w", err)
		}
		delete(p.missing, name)
		removed++
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, p.sync()
}

// goneLocked lists the files whose image has been missing for long enough. It
// remembers since when each is missing; a pull of the image forgets that.
func (p *Pulls) goneLocked(files map[string]bool, present []Present) []string {
	ids := make(map[string]bool, len(present))
	keep := make(map[string]bool)
	for _, i := range present {
		ids[i.ID] = true
		keep[p.imageFile(i.ID)] = true
		for _, name := range i.Names {
			if ref, err := Parse(name); err == nil {
				keep[p.file(ref)] = true
			}
		}
	}
	maps.DeleteFunc(p.missing, func(name string, _ time.Time) bool { return !files[name] })
	now := time.Now()
	var gone []string
	for name := range files {
		patience := pruneAfter
		switch {
		case strings.HasSuffix(name, ".new"): // of a write that was cut off; none is under way
			gone = append(gone, name)
			continue
		case !strings.HasSuffix(name, ".json"): // not ours
			continue
		case !keep[name] && !isImageFile(name):
			r, err := p.readName(name)
			keep[name] = ids[r.Image] || p.pulling[r.Ref] > 0
			if r.Pulling || err != nil {
				patience = pullingAfter
			}
		}
		since, missing := p.missing[name]
		switch {
		case keep[name]:
			delete(p.missing, name)
		case !missing:
			p.missing[name] = now
		case now.Sub(since) >= patience:
			gone = append(gone, name)
		}
	}
	return gone
}

// oldestLocked lists the records of references that are too many, but for pulls
// whose end is not known.
func (p *Pulls) oldestLocked(files map[string]bool) []string {
	type aged struct {
		name string
		at   time.Time
	}
	var refs []aged
	for name := range files {
		if !strings.HasSuffix(name, ".json") || isImageFile(name) {
			continue
		}
		if info, err := os.Lstat(name); err == nil {
			refs = append(refs, aged{name, info.ModTime()})
		}
	}
	slices.SortFunc(refs, func(a, b aged) int { return a.at.Compare(b.at) })
	var out []string
	for _, r := range refs {
		if len(refs)-len(out) <= maxReferences {
			break
		}
		record, err := p.readName(r.name)
		if p.pulling[record.Ref] > 0 || (record.Pulling || err != nil) && time.Since(r.at) < pullingAfter {
			continue
		}
		out = append(out, r.name)
	}
	return out
}

func isImageFile(name string) bool { return strings.HasPrefix(filepath.Base(name), imagePrefix) }

func (p *Pulls) readName(name string) (record, error) {
	text, err := readFile(name)
	if err != nil {
		return record{}, err
	}
	return parseRecord(text)
}
