package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// TestSessionTimes: a session ends after a time without a request, and in any case after a
// longer one. Times are those of the monotonic clock.
func TestSessionTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newSessions(64, 30*time.Minute, 2*time.Hour)
		idle, err := all.add("alice", "a")
		busy, err2 := all.add("bob", "b")
		if err != nil || err2 != nil || idle == busy {
			t.Fatal(err, err2)
		}
		for range 5 {
			time.Sleep(20 * time.Minute)
			if token, ok := all.token(busy, true); !ok || token != "b" {
				t.Error("a session in use is over")
			}
		}
		if _, ok := all.token(idle, false); ok {
			t.Error("a session without requests goes on")
		}
		time.Sleep(20 * time.Minute)
		if _, ok := all.token(busy, true); ok || len(all.byID) != 0 {
			t.Error("a session goes on for ever")
		}
	})
}

// TestAttackSessions: a user who logs in again and again loses the own oldest session, and
// nobody else's; the number of all is bounded.
func TestAttackSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newSessions(32, time.Hour, time.Hour)
		victim, err := all.add("victim", "v")
		if err != nil {
			t.Fatal(err)
		}
		var own []string
		for range 100 {
			time.Sleep(time.Second)
			id, err := all.add("mallory", "m")
			if err != nil {
				t.Fatal(err)
			}
			own = append(own, id)
		}
		_, first := all.token(own[97], false)
		_, last := all.token(own[99], false)
		if _, ok := all.token(victim, false); !ok || len(all.byID) != 3 || first || !last {
			t.Errorf("%d sessions; the victim's stays: %t", len(all.byID), ok)
		}
		for i := range 40 {
			_, err = all.add(fmt.Sprint("user-", i), "x")
		}
		var refused *apiError
		if !errors.As(err, &refused) || refused.Code != http.StatusTooManyRequests || len(all.byID) != 32 {
			t.Errorf("%d sessions: %v", len(all.byID), err)
		}
	})
}

// TestAttackReviews: strangers with many tokens have the API server asked a bounded number of
// times.
func TestAttackReviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(nil, nil)
		allowed := 0
		for range 1000 {
			if u.sender("192.0.2.7:1234").Allow() {
				allowed++
			}
		}
		if allowed != reviewBurst || !u.sender("[2001:db8::1]:5").Allow() || !u.sender("odd").Allow() {
			t.Errorf("%d reviews for one network", allowed)
		}
		for i := range 2 * maxNetworks {
			u.sender(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256))
		}
		if len(u.senders) > maxNetworks {
			t.Errorf("%d networks are remembered", len(u.senders))
		}
	})
}

// stuckWriter is a client that does not read: a write ends at its deadline.
type stuckWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
	waited   time.Duration
}

func (w *stuckWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }

func (w *stuckWriter) Write([]byte) (int, error) {
	w.waited = time.Until(w.deadline)
	return 0, os.ErrDeadlineExceeded
}

// TestSlowReader: a stream whose client does not read ends.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuckWriter{ResponseRecorder: httptest.NewRecorder()}
		out := &stream{w: w, control: http.NewResponseController(w)}
		if out.event("", "x"); out.flush() || w.waited != sendTime {
			t.Errorf("a write may wait for %s", w.waited)
		}
	})
}

func testNode(i int, state corev1.ConditionStatus) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("edge-%06d", i), UID: "u", Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("site-%d", i%300)},
	}}
	n.Status.NodeInfo.KubeletVersion = fmt.Sprintf("v1.34.%d", i%5)
	n.Status.Conditions = []corev1.NodeCondition{{Type: nodelifecycle.ConditionConnected, Status: state, LastTransitionTime: metav1.Unix(1_700_000_000+int64(i), 0)}}
	return n
}

// TestFleetCounts compares the counts that are kept with a count of all nodes, after random
// changes.
func TestFleetCounts(t *testing.T) {
	f := newFleet([]string{corev1.LabelTopologyZone})
	random := rand.New(rand.NewPCG(1, 2))
	have := make(map[int]*corev1.Node)
	for range 5000 {
		i := random.IntN(200)
		old := have[i]
		var now *corev1.Node
		if random.IntN(4) > 0 {
			now = testNode(i, []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}[random.IntN(3)])
			now.Labels[corev1.LabelTopologyZone] = fmt.Sprint("site-", random.IntN(5))
		}
		if old == nil && now == nil {
			continue
		}
		f.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: fmt.Sprintf("edge-%06d", i)}, Old: old, New: now})
		if have[i] = now; now == nil {
			delete(have, i)
		}
	}
	fresh := newFleet(f.siteLabels)
	for i, n := range have {
		fresh.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: fmt.Sprintf("edge-%06d", i)}, New: n})
	}
	a, _ := json.Marshal(f.summary())
	b, _ := json.Marshal(fresh.summary())
	if string(a) != string(b) || f.total != len(have) {
		t.Errorf("kept %s\ncounted %s", a, b)
	}
	for name := range f.rows.orders {
		var rows, want []string
		f.rows.snapshot(name).Ascend(func(r *nodeRow) bool { rows = append(rows, r.name+r.state+r.site); return true })
		fresh.rows.snapshot(name).Ascend(func(r *nodeRow) bool { want = append(want, r.name+r.state+r.site); return true })
		if !slices.Equal(rows, want) {
			t.Errorf("order %s: %q, want %q", name, rows, want)
		}
	}
}

// TestChanges: a stream gets the nodes that changed, or hears that it must read the list again.
func TestChanges(t *testing.T) {
	f := newFleet(nil)
	change := func(i int, before, now corev1.ConditionStatus) {
		c := cache.Change[*corev1.Node]{Name: cache.Name{Name: fmt.Sprintf("edge-%06d", i)}, New: testNode(i, now)}
		if before != "" {
			c.Old = testNode(i, before)
		}
		f.nodeChanged(c)
	}
	for i := range 300 {
		change(i, "", corev1.ConditionTrue)
	}
	seq := f.now()
	if names, more, now := f.since(seq, 200); len(names) != 0 || more || now != seq {
		t.Errorf("nothing: %q, %t", names, more)
	}
	change(7, corev1.ConditionTrue, corev1.ConditionTrue) // nothing that a list shows
	change(8, corev1.ConditionTrue, corev1.ConditionFalse)
	change(8, corev1.ConditionFalse, corev1.ConditionTrue)
	if names, more, _ := f.since(seq, 200); !slices.Equal(names, []string{"edge-000008"}) || more {
		t.Errorf("one node: %q, %t", names, more)
	}
	for i := range 300 {
		change(i, corev1.ConditionTrue, corev1.ConditionFalse)
	}
	if names, more, _ := f.since(seq, 200); len(names) != 200 || !more {
		t.Errorf("many nodes: %d, %t", len(names), more)
	}
	for i := range keptChanges {
		change(i%300, corev1.ConditionFalse, []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}[i/300%2])
	}
	if names, more, _ := f.since(seq, 200); len(names) != 0 || !more {
		t.Errorf("too many changes: %d, %t", len(names), more)
	}
}

// TestAttackTexts: texts that nodes write are cut, so that a summary stays small.
func TestAttackTexts(t *testing.T) {
	f := newFleet([]string{corev1.LabelTopologyZone})
	long := strings.Repeat("x", 4<<10)
	for i := range 2000 {
		n := testNode(i, corev1.ConditionFalse)
		n.Status.NodeInfo.KubeletVersion = fmt.Sprint(i, long)
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: long}}
		n.Labels[corev1.LabelTopologyZone] = fmt.Sprint("site-", i)
		f.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: n.Name}, New: n})
	}
	raw, err := json.Marshal(f.summary())
	if err != nil || len(raw) > 64<<10 || f.summary().SitesTotal != 2000 || len(f.summary().Sites) != maxSites || len(f.summary().Versions) != maxVersions {
		t.Errorf("%v: %d bytes", err, len(raw))
	}
	rows, _, _, err := f.rows.page(context.Background(), query[nodeRow]{order: "version", limit: maxLimit})
	if err != nil || len(rows) != maxLimit || len(rows[0].version) > maxText || len(rows[0].address) > maxText {
		t.Errorf("%v: %d rows", err, len(rows))
	}
}

// TestAttackDecoders: what comes from outside is bounded before it is decoded.
func TestAttackDecoders(t *testing.T) {
	for name, decode := range map[string]func(string){
		"login":  func(s string) { _, _ = decodeLogin(strings.NewReader(s)) },
		"cursor": func(s string) { _, _ = decodeCursor(s, "name") },
	} {
		for _, in := range []string{strings.Repeat("[", 1<<20), strings.Repeat("A", 1<<20), `{"token":"` + strings.Repeat(`\u0000`, 1<<18) + `"}`} {
			result := testing.Benchmark(func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					decode(in)
					if b.N > 100 {
						return
					}
				}
			})
			if got := result.AllocedBytesPerOp(); got > 20*maxLogin {
				t.Errorf("%s of %d bytes takes %d", name, len(in), got)
			}
		}
	}
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add("", "name")
	f.Add(cursor{Sort: "-site", Value: "north", Name: "edge-1"}.String(), "-site")
	f.Add("e30", "name")
	f.Fuzz(func(t *testing.T, text, sort string) {
		c, err := decodeCursor(text, sort)
		if err != nil {
			if known := (*apiError)(nil); !errors.As(err, &known) || known.Code != http.StatusBadRequest {
				t.Error(err)
			}
			return
		}
		if c == nil {
			return
		}
		again, err := decodeCursor(c.String(), sort)
		if err != nil && len(c.String()) <= maxCursor {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil && *again != *c {
			t.Errorf("%+v became %+v", c, again)
		}
		for _, o := range nodeOrders() {
			_ = o.pivot(*c)
		}
		_, _ = jobOrder().pivot(*c), resultOrder().pivot(*c)
	})
}

func FuzzDecodeLogin(f *testing.F) {
	f.Add(`{"token":"a.b.c"}`)
	f.Add(`{"token":"a b"}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, body string) {
		token, err := decodeLogin(strings.NewReader(body))
		if (err == nil) != (token != "") || err == nil && !tokenForm(token) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

func FuzzLists(f *testing.F) {
	f.Add("sort=-site&limit=3&search=a&state=connected&site=x&cursor=x&tail=5&follow=1")
	f.Fuzz(func(t *testing.T, raw string) {
		r := &http.Request{URL: mustURL(raw)}
		o, err := parseList(r.URL.Query(), "name", "site", "state", "version", "since")
		if err == nil && (o.limit < 1 || o.limit > maxLimit || len(o.search) > maxSearch) {
			t.Errorf("%+v", o)
		}
		if err == nil {
			_, _ = nodeQuery(o)
		}
		if out, _, err := logQuery(r.URL.Query()); err == nil && (out.Get("tailLines") == "" || len(out) > 5) {
			t.Errorf("%v", out)
		}
	})
}
