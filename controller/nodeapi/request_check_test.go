package nodeapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// TestAllowed checks the allow list of requests that are made as the node.
func TestAllowed(t *testing.T) {
	const merge, strategic = "application/merge-patch+json", "application/strategic-merge-patch+json"
	patch := func(kind, path, body string) wire.Request {
		return wire.Request{Method: "PATCH", Path: path, ContentType: kind, Body: []byte(body)}
	}
	const lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-0"
	for name, tt := range map[string]struct {
		ask wire.Request
		ok  bool
	}{
		"reads":                        {wire.Request{Method: "GET", Path: "/api/v1/namespaces/a/configmaps/b"}, true},
		"reads its Lease":              {wire.Request{Method: "GET", Path: lease}, true},
		"deletes a pod":                {wire.Request{Method: "DELETE", Path: "/api/v1/namespaces/a/pods/b"}, true},
		"evicts a pod":                 {wire.Request{Method: "POST", Path: "/api/v1/namespaces/a/pods/b/eviction"}, true},
		"writes an event":              {wire.Request{Method: "POST", Path: "/api/v1/namespaces/a/events"}, true},
		"writes an event of the group": {wire.Request{Method: "PATCH", Path: "/apis/events.k8s.io/v1/namespaces/a/events/b"}, true},
		"labels itself":                {patch(merge, "/api/v1/nodes/edge-0", `{"metadata":{"labels":{"shift":"early"}}}`), true},
		"removes its label":            {patch(strategic, "/api/v1/nodes/edge-0", `{"metadata":{"labels":{"shift":null}}}`), true},

		"labels another":             {patch(merge, "/api/v1/nodes/edge-1", `{"metadata":{"labels":{"shift":"early"}}}`), false},
		"annotates itself":           {patch(merge, "/api/v1/nodes/edge-0", `{"metadata":{"annotations":{"edgekit.io/autonomy":"forever"}}}`), false},
		"labels and annotates":       {patch(merge, "/api/v1/nodes/edge-0", `{"metadata":{"labels":{"a":"b"},"annotations":{"a":"b"}}}`), false},
		"labels and cordons":         {patch(merge, "/api/v1/nodes/edge-0", `{"metadata":{"labels":{"a":"b"}},"spec":{"unschedulable":true}}`), false},
		"labels by a JSON patch":     {patch("application/json-patch+json", "/api/v1/nodes/edge-0", `[{"op":"add","path":"/metadata/annotations/a","value":"b"}]`), false},
		"labels by apply":            {patch("application/apply-patch+yaml", "/api/v1/nodes/edge-0", `{"metadata":{"labels":{"a":"b"}}}`), false},
		"labels in another case":     {patch(merge, "/api/v1/nodes/edge-0", `{"metadata":{"Labels":{"a":"b"}}}`), false},
		"its status":                 {patch(strategic, "/api/v1/nodes/edge-0/status", `{"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":20007}}}}`), false},
		"labels by its status":       {patch(merge, "/api/v1/nodes/edge-0/status", `{"metadata":{"labels":{"a":"b"}}}`), false},
		"replaces itself":            {wire.Request{Method: "PUT", Path: "/api/v1/nodes/edge-0"}, false},
		"registers":                  {wire.Request{Method: "POST", Path: "/api/v1/nodes"}, false},
		"renews its Lease":           {wire.Request{Method: "PUT", Path: lease}, false},
		"patches its Lease":          {patch(merge, lease, `{}`), false},
		"deletes its Lease":          {wire.Request{Method: "DELETE", Path: lease}, false},
		"makes a pod":                {wire.Request{Method: "POST", Path: "/api/v1/namespaces/a/pods"}, false},
		"a pod's status":             {patch(merge, "/api/v1/namespaces/a/pods/b/status", `{}`), false},
		"deletes all pods":           {wire.Request{Method: "DELETE", Path: "/api/v1/namespaces/a/pods"}, false},
		"deletes a pod of a group":   {wire.Request{Method: "DELETE", Path: "/apis/x.io/v1/namespaces/a/pods/b"}, false},
		"a CSINode":                  {wire.Request{Method: "POST", Path: "/apis/storage.k8s.io/v1/csinodes"}, false},
		"makes a Namespace":          {wire.Request{Method: "POST", Path: "/api/v1/namespaces"}, false},
		"reads certificate requests": {wire.Request{Method: "GET", Path: "/apis/certificates.k8s.io/v1/certificatesigningrequests"}, false},
		"a token":                    {wire.Request{Method: "POST", Path: "/api/v1/namespaces/a/serviceaccounts/b/token"}, false},
		"another group's events":     {wire.Request{Method: "POST", Path: "/apis/x.io/v1/namespaces/a/events"}, false},
	} {
		if err := checkRequest("edge-0", tt.ask); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if !tt.ok {
			tt.ask.Token = "a.b.c"
			if err := checkRequest("edge-0", tt.ask); err != nil {
				t.Errorf("%s with a token, on which the API server decides: %v", name, err)
			}
		}
	}
	if err := checkRequest("edge-0", wire.Request{Method: "POST", Path: "/api/v1/namespaces"}); !strings.Contains(err.Error(), "cannot create resource") {
		t.Error(err)
	}
}

// TestAttackRedirect: the API server redirects a request, or is out of reach. Neither the
// credentials nor its address reach the node.
func TestAttackRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host got %s with %v", r.URL, r.Header)
	}))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL+"/stolen", http.StatusTemporaryRedirect))
	kube := controllertest.NewClientset(podOn("gate-7"))
	cfg := &rest.Config{Host: server.URL, BearerToken: "cloudcores-own"}
	nodeClient, err := impersonate.Client(cfg, impersonate.Constrained)
	must(t, err)
	c, err := New(Config{Cloud: kube, NodeClient: nodeClient, REST: cfg, Accounts: &accounts{}, Namespace: "edgekit-system"})
	must(t, err)
	ask := func(token string) error {
		text, err := wire.Request{Method: "GET", Path: "/api/v1/pods", Token: token}.Encode()
		must(t, err)
		_, err = c.call(t.Context(), hub.Request{Node: "gate-7", Message: hub.Message{Operation: hub.Query, Key: hub.Key{Resource: wire.Call, Name: "request"}, Body: text}})
		return err
	}
	for _, token := range []string{"", token("shop", "web", "u-1")} {
		if err := ask(token); remoteText(err) == "" || strings.Contains(remoteText(err), "127.0.0.1") {
			t.Errorf("a redirect: %v", err)
		}
	}
	server.Close()
	for _, token := range []string{"", token("shop", "web", "u-1")} {
		if err := ask(token); remoteText(err) == "" || strings.Contains(remoteText(err), "127.0.0.1") {
			t.Errorf("out of reach: %v", err)
		}
	}
	for _, d := range []httpDoer{c.forward.anonymous, c.forward.nodeClient} {
		if hc, ok := d.(*http.Client); ok {
			hc.CloseIdleConnections()
		}
	}
}
