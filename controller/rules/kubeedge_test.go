package rules_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	edgerules "github.com/edgekit/edgekit/bus/rules"
	v1 "github.com/edgekit/edgekit/bus/rules/v1"
)

// TestKubeEdgeExamples: the resources that KubeEdge's guide to its message router documents work
// as they stand, with the calls that it documents. Only what names a place is of the test: the
// node, the port of the service and the URL.
func TestKubeEdgeExamples(t *testing.T) {
	c, service, target := newCluster(t), newSite(t), newSite(t)
	places := strings.NewReplacer(`"xxx"`, `"edge-7"`, `"6666"`, `"`+string(service.port())+`"`, "http://a.com", target.URL)
	files, err := filepath.Glob("testdata/kubeedge/*.yaml")
	if err != nil || len(files) != 6 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(places.Replace(string(text)))
		if strings.Contains(file, "ruleEndpoint") {
			e := &v1.RuleEndpoint{}
			if err := yaml.UnmarshalStrict(text, e); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			e.Namespace = "default"
			c.put(t, "ruleendpoints", e)
			continue
		}
		r := &v1.Rule{}
		if err := yaml.UnmarshalStrict(text, r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r.Namespace = "default"
		c.put(t, "rules", r)
	}
	cc := newCloud(t, c, nil)
	var messages *inbox
	n := newNode(t, cc, "edge-7", nil, func(cfg *edgerules.Config) { messages = subscribe(t, cfg.Bus, "#") })
	n.connected(t)
	n.holds(t, 1) // the one that begins at the node

	at := cc.url + "/edge-7/default"
	const sent = `{"message":"hello"}`
	if got := call(t, http.MethodPost, at+"/a", sent, bearer(alice), "Content-Type: application/json"); got.status != http.StatusOK {
		t.Errorf("rest to eventbus: %+v", got)
	}
	messages.wants(t, "test "+sent)
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		service.forget()
		got := call(t, method, at+"/source", sent, bearer(alice), "Content-Type: application/json")
		if calls := service.requests(); got.status != http.StatusOK || len(calls) != 1 || calls[0].method != method || calls[0].uri != "/target" || calls[0].body != sent {
			t.Errorf("rest to servicebus, %s: %+v, the service got %q", method, got, calls)
		}
	}
	n.mqttPublish(t, "default/test", `{"edgemsg":"msgtocloud"}`)
	eventually(t, func() error { return equal(target.bodies(), []string{`{"edgemsg":"msgtocloud"}`}) })
	if in := target.requests()[0]; in.method != http.MethodPost {
		t.Errorf("eventbus to rest: %q", in)
	}
}
