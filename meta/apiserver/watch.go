package apiserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/edgekit/edgekit/meta"
)

const (
	// bookmarkEvery is the time between two bookmarks.
	bookmarkEvery = time.Minute
	// briefWatch is the life of a watch of a service account from the store while the link
	// is connected: its client belongs to the API server.
	briefWatch = 30 * time.Second
	// watchLife is the shortest life of a watch whose client sets no timeout.
	watchLife = 30 * time.Minute
)

// watchOptions are the parameters of a watch.
type watchOptions struct {
	listOptions
	version   uint64 // watch after this revision
	current   bool   // no resourceVersion was given: send the present objects first
	initial   bool   // sendInitialEvents=true
	noInitial bool   // sendInitialEvents=false: send changes only
	bookmarks bool
	life      time.Duration
}

func parseWatchOptions(r *http.Request, q request, res *served) (watchOptions, error) {
	o := watchOptions{bookmarks: flag(r.URL, "allowWatchBookmarks")}
	var err error
	if o.listOptions, err = parseListOptions(r.URL, q, res); err != nil {
		return o, err
	}
	values := r.URL.Query()
	text := values.Get("resourceVersion")
	o.current = text == "" || text == "0"
	if !o.current {
		version, ours, err := parseVersion(text)
		if err != nil {
			return o, err
		}
		if o.version = version; !ours {
			return o, apierrors.NewResourceExpired("the resourceVersion is the cloud's, and a watch here cannot begin at it: list first")
		}
	}
	if values.Has("sendInitialEvents") {
		o.initial = flag(r.URL, "sendInitialEvents")
		o.noInitial = !o.initial
		if match := values.Get("resourceVersionMatch"); match != string(metav1.ResourceVersionMatchNotOlderThan) {
			return o, badRequest("sendInitialEvents needs resourceVersionMatch=NotOlderThan")
		}
		if o.initial && !o.bookmarks {
			return o, badRequest("sendInitialEvents needs allowWatchBookmarks=true: a bookmark tells where the initial events end")
		}
	}
	o.life = watchLife + rand.N(watchLife)
	if text := values.Get("timeoutSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return o, badRequest("timeoutSeconds %.40q is not a number of seconds", text)
		}
		if n > 0 {
			o.life = time.Duration(min(n, int(24*time.Hour/time.Second))) * time.Second
		}
	}
	return o, nil
}

// watcher is one watch of one client.
type watcher struct {
	s    *Server
	res  *served
	ns   string
	opts watchOptions
	out  *eventWriter
	// known holds the keys whose object the client has. The type of an event depends on
	// it: whether the object was selected before.
	known map[meta.Key]bool
	// sent is the revision up to which the client has seen everything.
	sent uint64
	// unsure is the revision up to which an event may be about an object that changed
	// between the client's version and the start of this watch. The server cannot know
	// whether the client has such an object.
	unsure uint64
	// online is closed when the link is connected: the watch then ends, so that its client
	// lists all of the cluster. nil never ends it.
	online <-chan struct{}
	// topology decides which endpoints the client sees.
	topology *topology
}

// watch answers a watch. Errors that come before the first byte are returned.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, q request, res *served, who Identity) error {
	f, ok := negotiate(r.Header.Get("Accept"), res.typed)
	if !ok || f.media == runtime.ContentTypeYAML {
		return notAcceptable()
	}
	o, err := parseWatchOptions(r, q, res)
	if err != nil {
		return err
	}
	if !s.watches.enter(who.User) {
		return apierrors.NewTooManyRequests("too many watches: "+strconv.Itoa(s.cfg.MaxWatches)+" of one client are the limit", retrySeconds)
	}
	defer s.watches.leave(who.User)
	wt := &watcher{s: s, res: res, ns: q.namespace, opts: o, known: make(map[meta.Key]bool)}
	if s.mayPass(who) && !s.keepsTopology(r.Context(), q) {
		wt.online = onlineOf(r.Context())
		if s.online(who) {
			wt.opts.life = min(wt.opts.life, briefWatch)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), wt.opts.life)
	defer cancel()
	first, changes, err := wt.begin(ctx)
	if err != nil && !errors.Is(err, meta.ErrCompacted) {
		return err
	}
	s.partialAnswer(w, res)
	wt.out = newEventWriter(s, w, r, f, res)
	if err != nil {
		wt.out.fail(err)
		return nil
	}
	wt.run(ctx, first, changes)
	return nil
}

// begin reads the start of the watch. It returns the objects that the client gets first,
// and the changes that follow.
func (wt *watcher) begin(ctx context.Context) ([]item, <-chan []meta.Event, error) {
	prefixes := []string{wt.res.prefix(wt.ns)}
	if wt.res.status != "" {
		// Two areas make one object, and one watch of both keeps their order.
		prefixes = append(prefixes, wt.res.statusPrefix())
	}
	if isEndpoints(wt.res) {
		prefixes = append(prefixes, topologyPrefixes()...)
	}
	wantFirst := wt.opts.current && !wt.opts.noInitial || wt.opts.initial
	for try := 0; ; try++ {
		items, revision, t, err := wt.s.listSeen(ctx, wt.res, wt.ns)
		if err != nil {
			return nil, nil, err
		}
		wt.topology = t
		after := revision
		if !wt.opts.current {
			switch {
			case wt.opts.version > revision && wt.opts.initial:
				return nil, nil, futureError(revision)
			case !wt.opts.initial:
				after = wt.opts.version
			}
		}
		changes, err := meta.WatchPrefixes(ctx, wt.s.cfg.Store, prefixes, after)
		if errors.Is(err, meta.ErrCompacted) && after == revision && try < 3 {
			continue // overtaken between the two calls
		}
		if err != nil {
			return nil, nil, err
		}
		var first []item
		for _, it := range items {
			if !wt.opts.matches(it) {
				continue
			}
			if wantFirst {
				first = append(first, it)
			}
			// The client has every object that is not newer than its version.
			if wantFirst || it.revision <= after {
				wt.known[it.key] = true
			}
		}
		if wt.sent = after; after < revision {
			wt.unsure = revision
		}
		return first, changes, nil
	}
}

// run sends events until the client, its time or the watch of the store ends.
func (wt *watcher) run(ctx context.Context, first []item, changes <-chan []meta.Event) {
	for _, it := range first {
		if !wt.out.send(watch.Added, it) {
			return
		}
	}
	if wt.opts.initial && !wt.out.bookmark(wt.sent, true) {
		return
	}
	if !wt.out.flush() {
		return
	}
	ticker := time.NewTicker(bookmarkEvery)
	defer ticker.Stop()
	var next uint64 // of the next bookmark: events up to the previous tick were sent by now
	for {
		select {
		case events, ok := <-changes:
			if !ok {
				if ctx.Err() == nil {
					wt.out.fail(apierrors.NewResourceExpired("the watch did not keep up: list again"))
				}
				return
			}
			for _, e := range events {
				if !wt.event(ctx, e) {
					return
				}
				wt.sent = max(wt.sent, e.Revision)
			}
			if !wt.out.flush() {
				return
			}
		case <-wt.online:
			wt.out.fail(againError())
			return
		case <-ticker.C:
			if connected, _ := wt.s.cfg.Connected(); connected && wt.online != nil {
				wt.out.fail(againError())
				return
			}
			if !wt.opts.bookmarks {
				continue
			}
			if !wt.out.bookmark(max(wt.sent, next), false) || !wt.out.flush() {
				return
			}
			if revision, err := wt.s.cfg.Store.Apply(ctx); err == nil {
				next = revision
			}
		case <-ctx.Done():
			return
		}
	}
}

// event sends the client's event for one change of the store.
func (wt *watcher) event(ctx context.Context, e meta.Event) bool {
	var it item
	var ok bool
	switch {
	case strings.HasPrefix(e.Key, wt.res.prefix(wt.ns)):
		if it, ok = wt.s.decode(wt.res, e.Record); !ok {
			return wt.gone(e)
		}
		if wt.res.status != "" {
			status, err := wt.s.cfg.Store.Get(ctx, wt.res.statusKey(it.key))
			if err == nil {
				wt.s.merge(&it, status)
			}
		}
		wt.topology.filter(it)
	case isEndpoints(wt.res):
		return wt.topologyEvent(ctx, e)
	case wt.res.status != "" && !e.Deleted && strings.HasPrefix(e.Key, wt.res.statusPrefix()):
		key, valid := meta.ParsePath(strings.TrimPrefix(e.Key, meta.Up))
		if !valid || wt.ns != "" && key.Namespace != wt.ns {
			return true
		}
		key.Resource = wt.res.Name
		var err error
		if it, err = wt.s.load(ctx, wt.res, key); err != nil {
			return true // the object was deleted, or a later event deletes it
		}
	default:
		return true
	}
	it.at(e.Revision)
	return wt.sendItem(it, e.Deleted)
}

// gone handles a record that cannot be served any more, such as a report that
// became a deletion that waits in the outbox.
func (wt *watcher) gone(e meta.Event) bool {
	key, ok := meta.ParsePath(strings.TrimPrefix(e.Key, wt.res.area()))
	if !ok || !wt.known[key] {
		return true
	}
	obj, _ := wt.s.catalog.new(wt.res).(object)
	if obj == nil {
		return true
	}
	obj.SetNamespace(key.Namespace)
	obj.SetName(key.Name)
	it := item{object: obj, key: key}
	it.GetObjectKind().SetGroupVersionKind(wt.res.kind())
	it.at(e.Revision)
	delete(wt.known, key)
	return wt.out.send(watch.Deleted, it)
}

func (wt *watcher) sendItem(it item, deleted bool) bool {
	known, selected := wt.known[it.key], wt.opts.matches(it)
	switch {
	case deleted:
		delete(wt.known, it.key)
		if !known && !selected {
			return true
		}
		return wt.out.send(watch.Deleted, it)
	case selected:
		wt.known[it.key] = true
		if known {
			return wt.out.send(watch.Modified, it)
		}
		return wt.out.send(watch.Added, it)
	case known || it.revision <= wt.unsure:
		delete(wt.known, it.key)
		return wt.out.send(watch.Deleted, it)
	}
	return true
}
