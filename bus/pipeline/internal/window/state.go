package window

import (
	"encoding/binary"

	"github.com/edgekit/edgekit/bus/pipeline/internal/aggregate"
	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
)

// Changes calls f with the state of each key that changed since the last call, nil for those
// that are gone. f may keep state.
func (s *Set) Changes(f func(key string, state []byte)) {
	for key := range s.gone {
		f(key, nil)
	}
	clear(s.gone)
	for _, k := range s.changed {
		k.dirty = false
		if !k.gone {
			f(k.key, s.encode(k))
		}
	}
	clear(s.changed)
	s.changed = s.changed[:0]
}

// encode is version, flags, max, closed, and the windows.
func (s *Set) encode(k *keyState) []byte {
	b := make([]byte, 0, 64)
	flags := byte(0)
	if k.known {
		flags |= 1
	}
	if k.any {
		flags |= 2
	}
	b = append(b, 1, flags)
	b = binary.AppendVarint(b, k.max)
	b = binary.AppendVarint(b, k.closed)
	b = binary.AppendUvarint(b, uint64(len(k.open)))
	for _, w := range k.open {
		b = binary.AppendVarint(b, w.start)
		b = binary.AppendVarint(b, w.end)
		b = value.AppendText(b, w.first)
		b = binary.AppendVarint(b, w.n)
		b = binary.AppendVarint(b, w.due)
		for i, kind := range s.spec.Aggregates {
			b = kind.Append(b, &w.accs[i])
		}
	}
	return b
}

// Restore sets the state of a key to what Changes has given. The time of the key goes on
// from now. Damaged state is an error, and the key begins anew.
func (s *Set) Restore(now int64, key string, state []byte) error {
	r := value.NewReader(state)
	version, flags := r.Byte(), r.Byte()
	k := &keyState{key: key, known: flags&1 != 0, any: flags&2 != 0, seen: now}
	k.max, k.closed = r.Int(), r.Int()
	for n := r.Count(5); n > 0 && r.Err() == nil; n-- {
		w := &open{start: r.Int(), end: r.Int(), first: r.Text(), n: r.Int(), due: r.Int()}
		w.due = min(w.due, now+s.spec.Max)
		w.accs = make([]aggregate.Acc, len(s.spec.Aggregates))
		for i, kind := range s.spec.Aggregates {
			w.accs[i] = kind.Read(r)
		}
		k.open = append(k.open, w)
		if len(k.open) > s.most {
			return value.ErrDamaged
		}
	}
	if r.Err() != nil || r.Len() > 0 || version != 1 {
		return value.ErrDamaged
	}
	if len(s.keys) >= s.spec.MaxKeys || s.keys[key] != nil {
		return ErrKeys
	}
	s.keys[key] = k
	s.open += len(k.open)
	s.schedule(k)
	return nil
}
