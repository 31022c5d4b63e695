package twins

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// bookmarkEvery is the time between two bookmarks.
	bookmarkEvery = time.Minute
	// readTime is how long a client may take to read the events that are ready.
	readTime = 30 * time.Second
)

// watcher is one watch of one client.
type watcher struct {
	s       *Server
	q       *request
	w       http.ResponseWriter
	control *http.ResponseController
	out     bytes.Buffer
	columns bool // the client has the columns of the table
	known   map[name]bool
	at      uint64 // the client has everything up to this version
}

// watch answers a watch. Errors that come before the first byte are returned.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, q *request) error {
	c := &watcher{s: s, q: q, w: w, control: http.NewResponseController(w)}
	if !q.labels.Empty() || !q.fields.Empty() {
		c.known = make(map[name]bool)
	}
	fromNow := q.version == "" || q.version == "0"
	if !fromNow {
		version, err := strconv.ParseUint(q.version, 10, 64)
		if err != nil {
			return apierrors.NewBadRequest("resourceVersion is not a number that this server gave")
		}
		if !s.cfg.Store.known(version) {
			return expired()
		}
		c.at = version
		c.assume()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	if fromNow || q.initial {
		c.begin(!q.noInitial)
	}
	return c.follow(r)
}

// begin takes the present devices as the start of the watch, and sends them if the client
// wants them.
func (c *watcher) begin(send bool) {
	all, version := c.s.cfg.Store.snapshot(c.q.namespace)
	c.at = version
	for _, e := range all {
		if !c.q.selects(e.report) {
			continue
		}
		if c.known != nil {
			c.known[name{e.report.Namespace, e.report.Name}] = true
		}
		if send {
			c.event("ADDED", e.report, e.version, e.truncated)
		}
	}
	if c.q.initial && c.q.bookmarks {
		c.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
}

// assume notes which devices a client of a selecting watch has that begins at a version. One
// that changed since may not have been selected then; its client then gets a deletion too many.
func (c *watcher) assume() {
	if c.known == nil {
		return
	}
	all, _ := c.s.cfg.Store.snapshot(c.q.namespace)
	for _, e := range all {
		if e.created <= c.at && (e.version > c.at || c.q.selects(e.report)) {
			c.known[name{e.report.Namespace, e.report.Name}] = true
		}
	}
}

// follow sends changes until the client is gone or the watch has lived long enough.
func (c *watcher) follow(r *http.Request) error {
	end := time.NewTimer(c.q.life)
	defer end.Stop()
	marks := time.NewTicker(bookmarkEvery)
	defer marks.Stop()
	for {
		changed, gone, now, wake, ok := c.s.cfg.Store.since(c.at, c.q.namespace)
		if !ok {
			c.fail(expired())
			c.flush()
			return nil
		}
		c.changes(changed, gone)
		c.at = now
		if !c.flush() {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-end.C:
			return nil
		case <-marks.C:
			if c.q.bookmarks {
				c.bookmark(nil)
			}
		case <-wake:
		}
	}
}

// changes adds the events of what changed, deletions and all others in the order of their
// versions.
func (c *watcher) changes(changed []*entry, gone []tombstone) {
	from := c.at
	for len(changed) > 0 || len(gone) > 0 {
		if len(changed) == 0 || len(gone) > 0 && gone[0].version < changed[0].version {
			t := gone[0]
			gone = gone[1:]
			n := name{t.report.Namespace, t.report.Name}
			if c.known == nil && c.q.selects(t.report) || c.known[n] {
				c.event("DELETED", t.report, t.version, false)
			}
			delete(c.known, n)
			continue
		}
		e := changed[0]
		changed = changed[1:]
		c.change(e, from)
	}
}

func (c *watcher) change(e *entry, from uint64) {
	n := name{e.report.Namespace, e.report.Name}
	selected := c.q.selects(e.report)
	had := e.created <= from
	if c.known != nil {
		had = c.known[n]
		delete(c.known, n)
		if selected {
			c.known[n] = true
		}
	}
	switch {
	case selected && had:
		c.event("MODIFIED", e.report, e.version, e.truncated)
	case selected:
		c.event("ADDED", e.report, e.version, e.truncated)
	case had && c.known != nil:
		c.event("DELETED", e.report, e.version, e.truncated)
	}
}

func (c *watcher) event(kind string, r Report, version uint64, truncated bool) {
	if c.q.table {
		table := newTable(version, !c.columns, []metav1.TableRow{row(r, version, time.Now())})
		c.columns = true
		c.put(kind, table)
		return
	}
	c.put(kind, object(r, version, truncated))
}

// bookmark says up to which version the client has everything.
func (c *watcher) bookmark(annotations map[string]string) {
	meta := metav1.ObjectMeta{ResourceVersion: text(c.at), Annotations: annotations}
	if !c.q.table {
		c.put("BOOKMARK", answered{TypeMeta: metav1.TypeMeta{Kind: "Twin", APIVersion: groupVersion}, ObjectMeta: meta, Status: json.RawMessage("{}")})
		return
	}
	row := metav1.TableRow{Cells: []any{"", "", "", "", ""}}
	row.Object.Object = &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}, ObjectMeta: meta}
	c.put("BOOKMARK", newTable(c.at, !c.columns, []metav1.TableRow{row}))
	c.columns = true
}

func (c *watcher) fail(err error) { c.put("ERROR", statusOf(err)) }

func (c *watcher) put(kind string, obj any) {
	// Encoding these types does not fail.
	_ = json.NewEncoder(&c.out).Encode(struct {
		Type   string `json:"type"`
		Object any    `json:"object"`
	}{kind, obj})
	if c.out.Len() > 64<<10 {
		c.flush()
	}
}

// flush sends what is ready; false if the client is gone or does not read.
func (c *watcher) flush() bool {
	_ = c.control.SetWriteDeadline(time.Now().Add(readTime)) // not every test's writer has one
	_, err := c.w.Write(c.out.Bytes())
	c.out.Reset()
	if err == nil {
		err = c.control.Flush()
	}
	// HTTP/2 ends a stream at its deadline even if nothing is written.
	_ = c.control.SetWriteDeadline(time.Time{})
	return err == nil
}

func expired() error {
	return apierrors.NewResourceExpired("the requested resourceVersion is too old or of another run of cloudcore: list again")
}
