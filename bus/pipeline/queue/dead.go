package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
	"github.com/edgekit/edgekit/meta"
)

// Bounds of the dead letters of one pipeline; the oldest make room.
const (
	maxLetters     = 10_000
	maxLetterBytes = 16 << 20
	maxMessage     = 1024 // bytes
)

// letters are the dead letters of one pipeline. Several goroutines may call all methods at
// once.
type letters struct {
	store  meta.Store
	prefix string
	clock  pipeline.Clock

	loading sync.Mutex // held while the letters of an earlier run are found

	mu     sync.Mutex
	loaded bool
	next   uint64
	list   []letterSize // oldest first
	size   int64
}

type letterSize struct {
	number uint64
	size   int64
}

func (d *letters) key(n uint64) string { return fmt.Sprintf("%s%016x", d.prefix, n) }

// encodeLetter returns the record of l.
func encodeLetter(l pipeline.DeadLetter) ([]byte, error) {
	b := binary.AppendVarint(nil, l.Time.UnixMilli())
	for _, s := range []string{l.Step, l.Reason, shorten(l.Message, maxMessage)} {
		b = value.AppendText(b, s)
	}
	b, err := appendEvent(b, l.Event)
	if err != nil {
		return nil, err
	}
	return seal(b), nil
}

func decodeLetter(b []byte) (pipeline.DeadLetter, error) {
	content, err := unseal(b)
	if err != nil {
		return pipeline.DeadLetter{}, err
	}
	r := value.NewReader(content)
	l := pipeline.DeadLetter{Time: time.UnixMilli(r.Int()).UTC(), Step: r.Text(), Reason: r.Text(), Message: r.Text()}
	l.Event = readEvent(r)
	if r.Err() != nil || r.Len() > 0 {
		return pipeline.DeadLetter{}, errDamaged
	}
	return l, nil
}

// shorten cuts text to at most n bytes, at a rune.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// load finds the letters of an earlier run, once.
func (d *letters) load(ctx context.Context) error {
	d.loading.Lock()
	defer d.loading.Unlock()
	d.mu.Lock()
	loaded := d.loaded
	d.mu.Unlock()
	if loaded {
		return nil
	}
	view, err := d.store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("bus/pipeline/queue: dead letters: %w", err)
	}
	defer view.Close()
	var list []letterSize
	var size int64
	next := uint64(1)
	for r, err := range view.Records(ctx, d.prefix) {
		if err != nil {
			return fmt.Errorf("bus/pipeline/queue: dead letters: %w", err)
		}
		if n, err := strconv.ParseUint(strings.TrimPrefix(r.Key, d.prefix), 16, 64); err == nil {
			list, size, next = append(list, letterSize{n, int64(len(r.Value))}), size+int64(len(r.Value)), n+1
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list, d.size, d.next, d.loaded = list, size, next, true
	return nil
}

// stage prepares to add letters. Nothing is held until Done.
func (d *letters) stage(ctx context.Context, add []pipeline.DeadLetter) (pipeline.Staged, error) {
	if err := d.load(ctx); err != nil {
		return pipeline.Staged{}, err
	}
	var values [][]byte
	for _, l := range add {
		if l.Time.IsZero() {
			l.Time = d.clock.Now()
		}
		b, err := encodeLetter(l)
		if err != nil {
			// The event's data cannot be stored; what else is known of it can.
			l.Event = pipeline.Event{ID: shorten(l.Event.ID, 256), Source: shorten(l.Event.Source, 256), Time: l.Event.Time}
			l.Message = shorten(l.Message, maxMessage/2) + " (its data cannot be stored: " + err.Error() + ")"
			if b, err = encodeLetter(l); err != nil {
				return pipeline.Staged{}, fmt.Errorf("bus/pipeline/queue: dead letters: %w", err)
			}
		}
		values = append(values, b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var ops []meta.Op
	var added []letterSize
	for _, b := range values {
		added = append(added, letterSize{d.next, int64(len(b))})
		ops = append(ops, meta.Op{Key: d.key(d.next), Value: b})
		d.next++
		d.size += int64(len(b))
	}
	gone := 0
	for gone < len(d.list) && (len(d.list)-gone+len(added) > maxLetters || d.size > maxLetterBytes) {
		ops = append(ops, meta.Op{Key: d.key(d.list[gone].number), Delete: true})
		d.size -= d.list[gone].size
		gone++
	}
	evicted := d.list[:gone:gone]
	d.list = d.list[gone:]
	return pipeline.Staged{Ops: ops, Done: func(committed bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if committed {
			d.list = append(d.list, added...)
			return
		}
		for _, l := range added {
			d.size -= l.size
		}
		for _, l := range evicted {
			d.size += l.size
		}
		d.list = append(evicted, d.list...)
	}}, nil
}

// each calls show with the letters that are there now, or those of numbers, oldest first. One
// that cannot be read is removed.
func (d *letters) each(ctx context.Context, numbers map[uint64]bool, show func(uint64, pipeline.DeadLetter) error) error {
	if err := d.load(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	list := d.list // only appended to and cut: what is in it does not change
	d.mu.Unlock()
	for _, s := range list {
		if numbers != nil && !numbers[s.number] {
			continue
		}
		got, err := d.store.Get(ctx, d.key(s.number))
		if errors.Is(err, meta.ErrNotFound) {
			continue // it was dropped meanwhile
		}
		if err != nil {
			return fmt.Errorf("bus/pipeline/queue: dead letters: %w", err)
		}
		l, err := decodeLetter(got.Value)
		if err != nil {
			if err := d.remove(ctx, []uint64{s.number}); err != nil {
				return err
			}
			continue
		}
		if err := show(s.number, l); err != nil {
			return err
		}
	}
	return nil
}

// known says which of the numbers there are; nil means all that there are.
func (d *letters) known(ctx context.Context, numbers map[uint64]bool) ([]uint64, error) {
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []uint64
	for _, l := range d.list {
		if numbers == nil || numbers[l.number] {
			out = append(out, l.number)
		}
	}
	return out, nil
}

// remove removes letters.
func (d *letters) remove(ctx context.Context, numbers []uint64) error {
	for len(numbers) > 0 {
		n := min(len(numbers), 1000)
		gone := make(map[uint64]bool, n)
		ops := make([]meta.Op, 0, n)
		for _, number := range numbers[:n] {
			gone[number] = true
			ops = append(ops, meta.Op{Key: d.key(number), Delete: true})
		}
		if _, err := d.store.Apply(ctx, ops...); err != nil {
			return fmt.Errorf("bus/pipeline/queue: dead letters: %w", err)
		}
		d.mu.Lock()
		var left []letterSize
		for _, l := range d.list {
			if gone[l.number] {
				d.size -= l.size
			} else {
				left = append(left, l)
			}
		}
		d.list = left
		d.mu.Unlock()
		numbers = numbers[n:]
	}
	return nil
}
