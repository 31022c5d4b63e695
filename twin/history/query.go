package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of a Page.
const (
	DefaultValues = 1000    // what Query.Limit of 0 means
	MaxValues     = 10_000  // the most that Query.Limit may be
	pageBytes     = 1 << 20 // a page ends when its texts have more
)

// Query asks for past values of one property.
type Query struct {
	Device, Property string
	From, To         time.Time // both inclusive, in milliseconds; zero is open
	After            uint64    // only entries with a greater Seq: the Next of the page before
	Limit            int       // entries in a page, at most MaxValues; 0 means DefaultValues
}

// Page is an answer to a Query: the oldest entries first.
type Page struct {
	Entries []Entry
	// Next is the After of the next page; 0 if there is none.
	Next uint64
}

// errRaced is for a chunk that was replaced during a Query.
var errRaced = errors.New("the history has changed too often meanwhile: ask again")

// Query returns past values of a property, those that wait for a Flush included. A property
// without a history has none. It fails when Limit is not valid, the store fails or ctx ends.
func (l *Log) Query(ctx context.Context, q Query) (Page, error) {
	if q.Limit < 0 || q.Limit > MaxValues {
		return Page{}, fmt.Errorf("twin/history: limit is %d: it must be from 1 to %d, or 0 for %d", q.Limit, MaxValues, DefaultValues)
	}
	if q.Limit == 0 {
		q.Limit = DefaultValues
	}
	for range 5 {
		page, err := l.query(ctx, q)
		if !errors.Is(err, errRaced) {
			if err != nil {
				err = fmt.Errorf("twin/history: %w", err)
			}
			return page, err
		}
	}
	return Page{}, fmt.Errorf("twin/history: %w", errRaced)
}

func (l *Log) query(ctx context.Context, q Query) (Page, error) {
	s := series{q.Device, q.Property}
	l.mu.Lock()
	r := l.kept[s]
	if r == nil {
		l.mu.Unlock()
		return Page{}, nil
	}
	chunks, waiting, limit := slices.Clone(r.chunks), slices.Clip(r.waiting), r.limit
	first := uint64(0)
	if n := uint64(max(limit.Values, 0)); n > 0 && r.next > n {
		first = r.next - n
	}
	l.mu.Unlock()
	from, to := l.oldest(limit), int64(maxTime)
	if !q.From.IsZero() {
		from = max(from, q.From.UnixMilli())
	}
	if !q.To.IsZero() {
		to = q.To.UnixMilli()
	}
	first = max(first, q.After+1)
	p := &pager{limit: q.Limit, first: first, from: from, to: to}
	for _, c := range chunks {
		if c.end() <= first || c.newest < from || c.oldest > to {
			continue
		}
		entries, err := l.read(ctx, s, c)
		if errors.Is(err, errDamaged) {
			if !l.has(s, c) {
				return Page{}, errRaced
			}
			l.damaged(s, s.key(c), err)
			return l.query(ctx, q) // without its chunks
		}
		if err != nil {
			return Page{}, err
		}
		if !p.add(entries) {
			return p.page, nil
		}
	}
	p.add(waiting)
	return p.page, nil
}

// has reports whether a chunk is still one of the property's.
func (l *Log) has(s series, c chunk) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.kept[s]
	return r != nil && slices.Contains(r.chunks, c)
}

// pager fills a page.
type pager struct {
	page     Page
	limit    int
	first    uint64
	from, to int64
	bytes    int
}

// add adds the entries that the query asks for. It returns false when the page is full.
func (p *pager) add(entries []Entry) bool {
	for _, e := range entries {
		if e.Seq < p.first || e.Time < p.from || e.Time > p.to {
			continue
		}
		if n := len(p.page.Entries); n > 0 && (n == p.limit || p.bytes > pageBytes) {
			p.page.Next = p.page.Entries[n-1].Seq
			return false
		}
		p.page.Entries = append(p.page.Entries, e)
		p.bytes += len(e.Value) + len(e.Fault)
	}
	return true
}
