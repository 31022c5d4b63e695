package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// TestMatch: paths are compared part by part from their beginning, and the longest literal
// beginning wins.
func TestMatch(t *testing.T) {
	paths := []string{"a", "/a/b", "a/{x}", "{y}/b", "a.c", "{y}", "/a/{x}/c", "a/b/{z}"}
	var items []cache.Item[*v1.Rule]
	for i, p := range paths {
		items = append(items, cache.Item[*v1.Rule]{Object: &v1.Rule{
			ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: p, CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0))},
			Spec: v1.RuleSpec{Source: "s", SourceResource: map[string]v1.Setting{"path": v1.Setting(p)},
				Target: "t", TargetResource: map[string]v1.Setting{"topic": "x"}},
		}})
	}
	ends := map[string]v1.EndpointType{"s": v1.Rest, "t": v1.EventBus}
	c := &Controller{order: map[string][]*resolved{"plant": resolve(items, func(name string) (cache.Item[*v1.RuleEndpoint], bool) {
		return cache.Item[*v1.RuleEndpoint]{Object: &v1.RuleEndpoint{Spec: v1.RuleEndpointSpec{RuleEndpointType: ends[name]}}}, true
	})}}
	for path, want := range map[string]string{
		"/n/plant/a": "a", "/n/plant/a/": "a", "/n/plant/abc": "{y}", "/n/plant/a/b": "/a/b", "/n/plant/a/x": "a/{x}", "/n/plant/a/b/c": "a/b/{z}",
		"/n/plant/a/x/c": "/a/{x}/c", "/n/plant/a/x/d": "a/{x}", "/n/plant/z/b": "{y}/b", "/n/plant/abc/b": "{y}/b", "/n/plant/a.c": "a.c", "/n/plant/axc": "{y}", "/n/plant/%61": "a",
	} {
		r, ok := parseRequest(path)
		if !ok {
			t.Errorf("%s is refused", path)
			continue
		}
		got := c.match(r)
		if got == nil || got.name.Name != want {
			t.Errorf("%s: %+v, want %s", path, got, want)
		}
	}
	for _, bad := range []string{"", "/", "/n", "/n/plant", "/n/plant/", "/n//a", "/n/plant/../a", "/n/plant/%2e%2e/a", "/n/plant/a/..%2fb", "/n/plant/a/b%5C..%5Cc", "/n/plant/a//b", "/n/plant/%zz", "/n/plant/a//"} {
		if r, ok := parseRequest(bad); ok {
			t.Errorf("%q is taken as %+v", bad, r)
		}
	}
}

// FuzzParseRequest: what is taken has parts that are no way out of a path, and comes back
// from them.
func FuzzParseRequest(f *testing.F) {
	f.Add("/edge-7/plant/lamp/3")
	f.Add("/n/ns/%2F/%2e%2e")
	f.Fuzz(func(t *testing.T, path string) {
		r, ok := parseRequest(path)
		if !ok {
			return
		}
		if r.node == "" || r.namespace == "" || len(r.parts) == 0 || len(r.raw) != len(r.parts) {
			t.Errorf("%q is taken as %+v", path, r)
		}
		for _, list := range [][]string{r.parts, r.raw} {
			if slices.Contains(list, "") || slices.Contains(list, "..") || slices.Contains(list, ".") {
				t.Errorf("%q is taken as %+v", path, r)
			}
		}
		if !strings.HasSuffix(strings.TrimSuffix(path, "/"), strings.Join(r.raw, "/")) {
			t.Errorf("%q is taken as %+v", path, r)
		}
	})
}

func TestMergeIsBounded(t *testing.T) {
	var st v1.RuleStatus
	for i := range 3 * v1.MaxNodes {
		merge(&st, &tally{
			nodes: map[string]*v1.NodeCount{string(rune('a' + i)): {Node: string(rune('a' + i)), SuccessMessages: 1, LastTime: metav1.NewTime(time.Unix(int64(i), 0))}},
			dead:  []v1.DeadLetter{{Node: "n"}}, given: 1,
		})
	}
	if len(st.PerNode) != v1.MaxNodes || len(st.DeadLetters) != v1.MaxDeadLetters || st.SuccessMessages != 3*v1.MaxNodes || st.DeadLetterMessages != 3*v1.MaxNodes {
		t.Errorf("%d nodes, %d dead letters, %d and %d", len(st.PerNode), len(st.DeadLetters), st.SuccessMessages, st.DeadLetterMessages)
	}
	if st.PerNode[0].LastTime.Unix() != 3*v1.MaxNodes-1 {
		t.Errorf("the first node is of %v", st.PerNode[0].LastTime)
	}
}
