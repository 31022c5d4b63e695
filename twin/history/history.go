package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

// Bounds of a Log.
const (
	chunkBytes   = 16 << 10 // a chunk with more is not added to
	mergeBytes   = 512      // a chunk with less is replaced by a larger one
	batchOps     = 256      // in one batch of the store
	batchBytes   = 512 << 10
	waitingBytes = 2 << 20 // more does not wait, or a quarter of Config.MaxBytes
	entryBytes   = 64      // of an Entry in memory, besides its texts
)

// DefaultMaxBytes is what Config.MaxBytes of 0 means: 16 MiB.
const DefaultMaxBytes = 16 << 20

// Config sets up a Log. Store is required.
type Config struct {
	Store meta.Store
	// MaxBytes is the most that all chunks together have, without their keys. 0 means
	// DefaultMaxBytes; less than 64 KiB is refused.
	MaxBytes int64
	Now      func() time.Time // the clock for Limit.Duration; nil means time.Now
	Logger   *slog.Logger     // nil discards
}

// Limit says how much of a property is kept. The zero Limit keeps nothing.
type Limit struct {
	Values   int           `json:"values,omitempty"`   // the last so many; 0 means as many as Duration asks for
	Duration time.Duration `json:"duration,omitempty"` // those that are not older; 0 means that age does not matter
}

// IsZero reports whether nothing is kept.
func (l Limit) IsZero() bool { return l.Values <= 0 && l.Duration <= 0 }

// Entry is a past value.
type Entry struct {
	Seq   uint64 // grows by one with each value of the property, from 1 on
	Time  int64  // when the node stored it, in milliseconds since 1970
	Value string
	Fault string // the limit of the model that it breaks; empty for none
}

// size is about how much memory an entry takes.
func (e Entry) size() int { return entryBytes + len(e.Value) + len(e.Fault) }

// Log keeps the past values of properties. The package comment has the rules.
type Log struct {
	cfg    Config
	faults loglimit.Limiter

	mu      sync.Mutex // guards the fields below against Query; the one goroutine that writes reads without it
	kept    map[series]*record
	dropped []string // keys of chunks that the next Flush removes
	total   int64    // bytes of all chunks
	waiting int      // bytes of all entries that wait for a Flush
	lost    int64    // entries that did not fit into most
	most    int      // bytes that may wait
}

// record is the history of one property.
type record struct {
	limit   Limit
	next    uint64  // Seq of the next entry
	chunks  []chunk // in the store, by seq
	waiting []Entry // after the chunks
}

// New checks cfg and allocates a Log.
func New(cfg Config) (*Log, error) {
	if cfg.Store == nil {
		return nil, errors.New("twin/history: Config.Store is required")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxBytes < 64<<10 {
		return nil, fmt.Errorf("twin/history: Config.MaxBytes is %d: it must be at least 65536, or 0 for %d", cfg.MaxBytes, DefaultMaxBytes)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{cfg: cfg, kept: make(map[series]*record), most: int(min(waitingBytes, cfg.MaxBytes/4))}, nil
}

// Load reads which chunks the store has, once, before all other calls. limit says what is kept
// of a property; what is not kept any more goes at the next Flush. It fails when the store
// does.
func (l *Log) Load(ctx context.Context, limit func(device, property string) Limit) error {
	entries, _, err := l.cfg.Store.Keys(ctx, area)
	if err != nil {
		return fmt.Errorf("twin/history: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries { // in the order of Seq for each property
		s, c, err := parseKey(e.Key)
		keep := Limit{}
		if err == nil {
			keep = limit(s.device, s.property)
		} else {
			l.cfg.Logger.Error("history record is removed", "key", e.Key, "err", err)
		}
		if keep.IsZero() {
			l.dropped = append(l.dropped, e.Key)
			continue
		}
		r := l.kept[s]
		if r == nil {
			r = &record{limit: keep}
			l.kept[s] = r
		}
		if c.seq < r.next { // a crash between two batches left an older form of it
			l.dropped = append(l.dropped, e.Key)
			continue
		}
		r.chunks = append(r.chunks, c)
		r.next = c.end()
		l.total += int64(c.bytes)
	}
	return nil
}

// Keep sets what is kept of a property. The zero Limit removes its history.
func (l *Log) Keep(device, property string, limit Limit) {
	s := series{device, property}
	r := l.kept[s]
	switch {
	case limit.IsZero() && r != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(s)
	case !limit.IsZero() && r == nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.kept[s] = &record{limit: limit, next: 1}
	case r != nil && r.limit != limit:
		l.mu.Lock()
		defer l.mu.Unlock()
		r.limit = limit
	}
}

// RemoveDevice removes the history of all properties of a device.
func (l *Log) RemoveDevice(device string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.kept {
		if s.device == device {
			l.remove(s)
		}
	}
}

// remove needs mu.
func (l *Log) remove(s series) {
	r := l.kept[s]
	for _, c := range r.chunks {
		l.dropped = append(l.dropped, s.key(c))
		l.total -= int64(c.bytes)
	}
	for _, e := range r.waiting {
		l.waiting -= e.size()
	}
	delete(l.kept, s)
}

// Append adds a value; it sets e.Seq. A Limit other than before counts from now on. It never
// waits. urgent says that a Flush should follow now.
func (l *Log) Append(device, property string, limit Limit, e Entry) (urgent bool) {
	l.Keep(device, property, limit)
	r := l.kept[series{device, property}]
	if r == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Time = min(max(e.Time, 0), maxTime)
	e.Seq = max(r.next, 1)
	r.next = e.Seq + 1
	r.waiting = append(r.waiting, e)
	l.waiting += e.size()
	drop := 0
	tooMany := func() bool { return limit.Values > 0 && len(r.waiting)-drop > limit.Values }
	for tooMany() || l.waiting > l.most && drop < len(r.waiting) {
		if !tooMany() {
			l.lost++
		}
		l.waiting -= r.waiting[drop].size()
		drop++
	}
	r.waiting = r.waiting[drop:]
	return l.waiting > l.most/4
}

// Lost is the number of values since the start that were not kept because the store failed
// for too long.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Bytes is how many bytes all chunks have.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// damaged empties the history of a property with a chunk that cannot be read.
func (l *Log) damaged(s series, key string, err error) {
	if skipped, ok := l.faults.Allow(); ok {
		l.cfg.Logger.Error("history of a property cannot be read and begins anew", "device", s.device, "property", s.property, "key", strings.TrimPrefix(key, area), "err", err, "skipped", skipped)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.kept[s]; r != nil {
		for _, c := range r.chunks {
			l.dropped = append(l.dropped, s.key(c))
			l.total -= int64(c.bytes)
		}
		r.chunks = nil
	}
}
