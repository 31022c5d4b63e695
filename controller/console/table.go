package console

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"k8s.io/utils/third_party/forked/golang/btree"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	maxCursor    = 4096 // bytes
	maxSearch    = 253  // bytes
	treeDegree   = 32
	checkEvery   = 1 << 12 // rows between two looks whether the client is gone
)

// cursor is the last row of a page: the order, the row's value in it, and its name.
type cursor struct {
	Sort      string `json:"s"`
	Value     string `json:"v,omitempty"`
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"n"`
}

func (c cursor) String() string {
	raw, err := json.Marshal(c)
	if err != nil { // not of strings
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// decodeCursor reads a cursor of the given order; nil of an empty text.
func decodeCursor(text, sort string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	var c cursor
	if len(text) > maxCursor {
		return nil, fail(http.StatusBadRequest, "the cursor is too long: begin at the first page")
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &c) != nil || c.Name == "" {
		return nil, fail(http.StatusBadRequest, "the cursor is none of this console: begin at the first page")
	}
	if c.Sort != sort {
		return nil, fail(http.StatusBadRequest, "the cursor is of another order or filter: begin at the first page")
	}
	return &c, nil
}

// order is one order of the rows of a table.
type order[R any] struct {
	// less is a total order: two rows of which none is less have one name.
	less func(a, b *R) bool
	// cursor returns the value and name of a row, and pivot a row that stands at that place.
	cursor func(*R) cursor
	pivot  func(cursor) *R
}

// table has rows in several orders. Rows are not changed once they are in it. Its methods may be
// called by several goroutines at once; a reader does not hold up the writers.
type table[R any] struct {
	orders map[string]order[R]

	mu    sync.Mutex
	trees map[string]*btree.BTree[*R]
}

func newTable[R any](orders map[string]order[R]) *table[R] {
	t := &table[R]{orders: orders, trees: make(map[string]*btree.BTree[*R], len(orders))}
	for name, o := range orders {
		t.trees[name] = btree.New(treeDegree, o.less)
	}
	return t
}

// replace puts a row in the place of another; nil where there was or is none.
func (t *table[R]) replace(before, now *R) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, o := range t.orders {
		tree := t.trees[name]
		if before != nil && (now == nil || o.less(before, now) || o.less(now, before)) {
			tree.Delete(before)
		}
		if now != nil {
			tree.ReplaceOrInsert(now)
		}
	}
}

// snapshot returns the rows as they are now, in an order.
func (t *table[R]) snapshot(order string) *btree.BTree[*R] {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trees[order].Clone()
}

// get returns the row that stands where pivot does.
func (t *table[R]) get(order string, pivot *R) *R {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, _ := t.trees[order].Get(pivot)
	return row
}

// query says which rows of a table make a page.
type query[R any] struct {
	order string
	desc  bool
	after *cursor // nil: the first page
	limit int
	// spans are the parts of the order that count, in its sequence; none means all of it. Only
	// where desc is false. known is how many rows they have; 0 where it is not known.
	spans []span[R]
	known int
	keep  func(*R) bool // nil keeps all
}

// span is a part of an order: the rows from one on, as long as within is true.
type span[R any] struct {
	from   *R
	within func(*R) bool
}

// pageOf is one page of a list.
type pageOf[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // the cursor of the next page; empty at the last one
	Total int    `json:"total"`          // of all pages
}

// page returns the rows of a page, the cursor of the next one and how many rows there are in all.
// Without a filter it costs the same whatever the number of rows.
func (t *table[R]) page(ctx context.Context, q query[R]) (rows []*R, next string, total int, err error) {
	o := t.orders[q.order]
	return pageOfTree(ctx, t.snapshot(q.order), o, q)
}

func pageOfTree[R any](ctx context.Context, tree *btree.BTree[*R], o order[R], q query[R]) (rows []*R, next string, total int, err error) {
	var pivot *R
	if q.after != nil {
		pivot = o.pivot(*q.after)
	}
	scan := q.keep != nil || len(q.spans) > 0 && q.known == 0 // all must be looked at, to count them
	seen := 0
	visit := func(r *R) bool {
		if seen++; seen%checkEvery == 0 && ctx.Err() != nil {
			err = ctx.Err()
			return false
		}
		if q.keep != nil && !q.keep(r) {
			return true
		}
		total++
		if pivot != nil && (!q.desc && !o.less(pivot, r) || q.desc && !o.less(r, pivot)) {
			return true // it was on an earlier page, or is the last row of it
		}
		if len(rows) <= q.limit {
			rows = append(rows, r)
		}
		return scan || len(rows) <= q.limit
	}
	begin := pivot
	if scan {
		begin = nil
	}
	walk(tree, o, q, begin, visit)
	if err != nil {
		return nil, "", 0, err
	}
	if !scan {
		if total = q.known; len(q.spans) == 0 {
			total = tree.Len()
		}
	}
	if len(rows) > q.limit {
		rows = rows[:q.limit]
		next = withSort(o.cursor(rows[q.limit-1]), sortName(q.order, q.desc)).String()
	}
	return rows, next, total, nil
}

// walk visits the rows of a query in its order, from begin on; nil is the first one.
func walk[R any](tree *btree.BTree[*R], o order[R], q query[R], begin *R, visit func(*R) bool) {
	for _, part := range q.spans {
		from, more := part.from, true
		if begin != nil && o.less(from, begin) {
			from = begin
		}
		tree.AscendGreaterOrEqual(from, func(r *R) bool {
			if !part.within(r) {
				return false
			}
			more = visit(r)
			return more
		})
		if !more {
			return
		}
	}
	switch {
	case len(q.spans) > 0:
	case q.desc && begin == nil:
		tree.Descend(visit)
	case q.desc:
		tree.DescendLessOrEqual(begin, visit)
	case begin == nil:
		tree.Ascend(visit)
	default:
		tree.AscendGreaterOrEqual(begin, visit)
	}
}

func withSort(c cursor, sort string) cursor {
	c.Sort = sort
	return c
}

// sortName is how requests and cursors name an order.
func sortName(order string, desc bool) string {
	if desc {
		return "-" + order
	}
	return order
}

// listOptions are what a request for a list asks for.
type listOptions struct {
	sort   string
	desc   bool
	limit  int
	search string // lower case
	values url.Values
}

// parseList reads the options of a list that has these orders, the first by default.
func parseList(values url.Values, orders ...string) (listOptions, error) {
	o := listOptions{sort: orders[0], limit: defaultLimit, values: values}
	if text := values.Get("sort"); text != "" {
		o.sort, o.desc = strings.CutPrefix(text, "-")
		known := false
		for _, name := range orders {
			known = known || name == o.sort
		}
		if !known {
			return o, fail(http.StatusBadRequest, "sort must be one of %s, with - before it for the other direction", strings.Join(orders, ", "))
		}
	}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return o, fail(http.StatusBadRequest, "limit must be 1 to %d", maxLimit)
		}
		o.limit = min(n, maxLimit)
	}
	if o.search = strings.ToLower(strings.TrimSpace(values.Get("search"))); len(o.search) > maxSearch {
		return o, fail(http.StatusBadRequest, "search is longer than %d bytes", maxSearch)
	}
	return o, nil
}
