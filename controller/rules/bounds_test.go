package rules

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// TestWaitingIsBounded: messages that wait for nodes have a bound of bytes, which they give
// back when they are removed or move to another node.
func TestWaitingIsBounded(t *testing.T) {
	x := waitingIndex{nodes: make(map[string]map[cache.Name]int)}
	made := func(node string) *v1.RuleMessage {
		m := &v1.RuleMessage{Spec: v1.RuleMessageSpec{NodeName: node, Payload: make([]byte, maxWaitingBody)}}
		stripPayload(m)
		stripPayload(m) // the cache does it twice
		if m.Spec.Payload != nil {
			t.Fatal("the payload stays in the cache")
		}
		return m
	}
	const fit = maxWaitingBytes / maxWaitingBody
	for i := range fit {
		if !x.takes("other", maxWaitingBody) {
			t.Fatalf("message %d is refused", i)
		}
		x.change(cache.Change[*v1.RuleMessage]{Name: cache.Name{Name: string(rune('a' + i))}, New: made(string(rune('a' + i%8)))})
	}
	if x.takes("other", 1) {
		t.Errorf("%d bytes wait, and one more is taken", x.bytes)
	}
	for i := range fit {
		x.change(cache.Change[*v1.RuleMessage]{Name: cache.Name{Name: string(rune('a' + i))}, Old: made(string(rune('a' + i%8)))})
	}
	if x.bytes != 0 || x.count != 0 || len(x.nodes) != 0 {
		t.Errorf("nothing waits, and the index has %d bytes, %d messages, %v", x.bytes, x.count, x.nodes)
	}
}

// TestStatusBackoff: while the API server takes no status, cloudcore tries more and more
// rarely.
func TestStatusBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
		var tries atomic.Int64
		client.PrependReactor("get", "rules", func(clienttesting.Action) (bool, runtime.Object, error) {
			tries.Add(1)
			return true, nil, errors.New("away")
		})
		cfg := Config{Dynamic: client, StatusEvery: 10 * time.Second}
		c := &Controller{cfg: cfg, log: slog.New(slog.DiscardHandler)}
		c.statuses = newStatuses(c)
		c.statuses.judged(&resolved{name: cache.Name{Namespace: "plant", Name: "r"}, rule: &v1.Rule{}, reason: v1.ReasonNoEndpoint})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.statuses.run(ctx); err != nil {
			t.Error(err)
		}
		if n := tries.Load(); n < 5 || n > 12 {
			t.Errorf("%d tries in a minute", n)
		}
	})
}

// TestStatusJudgesNoOthers: a change of a Rule's status is known, and no other rule of the
// namespace is judged for it.
func TestStatusJudgesNoOthers(t *testing.T) {
	rule := func(name, version string) *v1.Rule {
		return &v1.Rule{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name, UID: "u", ResourceVersion: version}}
	}
	a, b := &resolved{name: cache.Name{Namespace: "plant", Name: "a"}, rule: rule("a", "1")}, &resolved{name: cache.Name{Namespace: "plant", Name: "b"}, rule: rule("b", "2")}
	c := &Controller{
		namespaces: map[string]map[string]*resolved{"plant": {"a": a, "b": b}}, order: map[string][]*resolved{"plant": {a, b}},
		judging: true,
	}
	c.ruleChanged(cache.Change[*v1.Rule]{Name: a.name, Old: a.rule, New: rule("a", "3"), Same: true})
	if got := c.rule(a.name); got == a || got.rule.ResourceVersion != "3" || c.order["plant"][0] != got {
		t.Errorf("the rule is %+v", got)
	}
	if c.rule(b.name) != b {
		t.Error("another rule was judged again")
	}
}
