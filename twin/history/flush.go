package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/edgekit/edgekit/meta"
)

// plan is what a Flush does to one property.
type plan struct {
	series series
	remove []chunk
	add    []chunk
	values [][]byte // of add
	taken  int      // how many of the waiting entries are in add
}

// Flush makes durable what was appended, and removes what is beyond the limits. What the store
// refuses waits for the next Flush.
func (l *Log) Flush(ctx context.Context) error {
	if err := l.flush(ctx); err != nil {
		return fmt.Errorf("twin/history: %w", err)
	}
	return nil
}

func (l *Log) flush(ctx context.Context) error {
	l.makeRoom()
	if err := l.flushDropped(ctx); err != nil {
		return err
	}
	var plans []plan
	ops, bytes := 0, 0
	commit := func() error {
		err := l.commit(ctx, plans)
		plans, ops, bytes = nil, 0, 0
		return err
	}
	for s, r := range l.kept {
		p, err := l.plan(ctx, s, r)
		if err != nil {
			return err
		}
		if len(p.add)+len(p.remove) == 0 {
			continue
		}
		plans = append(plans, p)
		ops += len(p.add) + len(p.remove)
		for _, c := range p.add {
			bytes += c.bytes
		}
		if ops >= batchOps || bytes >= batchBytes {
			if err := commit(); err != nil {
				return err
			}
		}
	}
	return commit()
}

// flushDropped removes the chunks that are no longer of any property.
func (l *Log) flushDropped(ctx context.Context) error {
	l.mu.Lock()
	dropped := l.dropped
	l.dropped = nil
	l.mu.Unlock()
	for len(dropped) > 0 {
		n := min(len(dropped), batchOps)
		ops := make([]meta.Op, n)
		for i, key := range dropped[:n] {
			ops[i] = meta.Op{Key: key, Delete: true}
		}
		if _, err := l.cfg.Store.Apply(ctx, ops...); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.dropped = append(l.dropped, dropped...)
			return err
		}
		dropped = dropped[n:]
	}
	return nil
}

// plan says what is to be written of a property.
func (l *Log) plan(ctx context.Context, s series, r *record) (plan, error) {
	l.mu.Lock()
	chunks := slices.Clone(r.chunks)
	entries := slices.Clip(r.waiting)
	l.mu.Unlock()
	p := plan{series: s, taken: len(entries)}
	if last := len(chunks) - 1; len(entries) > 0 && last >= 0 && chunks[last].bytes < mergeBytes && chunks[last].end() == entries[0].Seq {
		earlier, err := l.read(ctx, s, chunks[last])
		switch {
		case errors.Is(err, errDamaged):
			l.damaged(s, s.key(chunks[last]), err)
			chunks = nil
		case err != nil:
			return p, err
		default:
			entries = append(earlier, entries...)
			p.remove = append(p.remove, chunks[last])
			chunks = chunks[:last]
		}
	}
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && n < maxCount && size < chunkBytes {
			size += entries[n].size() - entryBytes + 12
			n++
		}
		c, value := encode(entries[:n])
		p.add, p.values = append(p.add, c), append(p.values, value)
		entries = entries[n:]
	}
	return l.trim(p, r.limit, chunks), nil
}

// trim adds to the plan the chunks that are beyond the limit of a property as a whole.
func (l *Log) trim(p plan, limit Limit, chunks []chunk) plan {
	count := 0
	for _, c := range append(chunks, p.add...) {
		count += c.count
	}
	oldest := l.oldest(limit)
	for _, c := range chunks {
		if (limit.Values <= 0 || count-c.count < limit.Values) && c.newest >= oldest {
			break
		}
		count -= c.count
		p.remove = append(p.remove, c)
	}
	return p
}

// oldest is the least time that an entry may have.
func (l *Log) oldest(limit Limit) int64 {
	if limit.Duration <= 0 {
		return 0
	}
	return l.cfg.Now().Add(-limit.Duration).UnixMilli()
}

// commit writes plans as one batch.
func (l *Log) commit(ctx context.Context, plans []plan) error {
	if len(plans) == 0 {
		return nil
	}
	var ops []meta.Op
	for _, p := range plans {
		for _, c := range p.remove {
			ops = append(ops, meta.Op{Key: p.series.key(c), Delete: true})
		}
		for i, c := range p.add {
			ops = append(ops, meta.Op{Key: p.series.key(c), Value: p.values[i]})
		}
	}
	if _, err := l.cfg.Store.Apply(ctx, ops...); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range plans {
		l.adopt(p)
	}
	return nil
}

// adopt notes what the store now has of a property; it needs mu.
func (l *Log) adopt(p plan) {
	r := l.kept[p.series]
	for _, e := range r.waiting[:p.taken] {
		l.waiting -= e.size()
	}
	r.waiting = slices.Clone(r.waiting[p.taken:])
	r.chunks = slices.DeleteFunc(r.chunks, func(c chunk) bool {
		gone := slices.Contains(p.remove, c)
		if gone {
			l.total -= int64(c.bytes)
		}
		return gone
	})
	r.chunks = append(r.chunks, p.add...)
	for _, c := range p.add {
		l.total += int64(c.bytes)
	}
}

// makeRoom drops the oldest chunks of all properties when, with what waits, there would be
// more than Config.MaxBytes.
func (l *Log) makeRoom() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total+int64(l.waiting) <= l.cfg.MaxBytes {
		return
	}
	type place struct {
		series series
		chunk  chunk
	}
	var all []place
	for s, r := range l.kept {
		for _, c := range r.chunks {
			all = append(all, place{s, c})
		}
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.chunk.newest, b.chunk.newest) })
	for _, p := range all {
		if l.total+int64(l.waiting) <= l.cfg.MaxBytes-l.cfg.MaxBytes/16 { // room for some time
			return
		}
		l.total -= int64(p.chunk.bytes)
		l.dropped = append(l.dropped, p.series.key(p.chunk))
		r := l.kept[p.series]
		r.chunks = slices.DeleteFunc(r.chunks, func(c chunk) bool { return c == p.chunk })
	}
}

// read reads one chunk. A chunk that is not there, or not what its key says, is errDamaged.
func (l *Log) read(ctx context.Context, s series, c chunk) ([]Entry, error) {
	r, err := l.cfg.Store.Get(ctx, s.key(c))
	if errors.Is(err, meta.ErrNotFound) {
		return nil, fmt.Errorf("%w: it is not there", errDamaged)
	}
	if err != nil {
		return nil, err
	}
	return decode(c, r.Value)
}
